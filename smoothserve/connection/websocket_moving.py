"""How a WebSocket leaves a worker that drains: to the next worker when its application has opted in, else by a close.

Decides when the moment has come (a pause in the traffic, the application waiting), and offers the connection only
after the old call has returned. Who may own it when is `control.handover`'s.
"""

import asyncio
import base64
from math import inf
from typing import Any

from smoothserve.connection.base import BY_HANDOVER, HELD
from smoothserve.connection.service import Service
from smoothserve.connection.websocket_options import MAX_STATE_BYTES, WebSocketOptions, WebSocketResumption
from smoothserve.connection.websocket_talking import LEAVING, OPEN, OPENING, Talking
from smoothserve.protocol.events import Request
from smoothserve.protocol.websocket.events import CloseCode
from smoothserve.protocol.websocket.exchange import HANDOVER_REASON, WebSocketExchange
from smoothserve.protocol.websocket.handshake import Handshake

#: Seconds before the drain deadline at which everybody has got a close frame.
CUT_MARGIN = 2.0
#: Seconds after which one without a pause is handed over in any moment behind an answer of ours.
QUIET_PATIENCE = 1.0
#: Seconds until a WebSocket that was refused is offered again: each time costs a call of the application's.
REFUSED_PAUSE = 2.0
#: Seconds between two looks for one that has no answer of ours to come: an answer is looked behind at once.
POLL_INTERVAL = 0.05
#: Looks without an answer of ours after which it is handed over behind a message of the client's: a second's, the first
#: being at its beginning. Looks, not seconds: when the loop is late the application has had no more turns than we have.
UNANSWERED_LOOKS = 21

#: A timer may fire so much early.
_CLOCK_STEP = 0.002


class MovableWebSocket(Talking):
    """A WebSocket as far as draining and handover go; implements `HandoverControls` for its application."""

    __slots__ = (
        "_move_after",
        "_move_began",
        "_move_timer",
        "_opted_in",
        "_quiet_since",
        "_refused_by",
        "_spoke_seen",
        "_traffic_seen",
        "_unanswered_looks",
        "state",
    )

    def __init__(
        self,
        service: Service,
        options: WebSocketOptions,
        client: tuple[str, int] | None,
        server: tuple[str, int | None] | None,
        start: Handshake | WebSocketResumption,
        request: Request,
    ) -> None:
        super().__init__(service, options, client, server, start, request)
        self.state: bytes | None = start.state if isinstance(start, WebSocketResumption) else None
        self._opted_in: bool | None = start.opted_in if isinstance(start, WebSocketResumption) else None
        self._traffic_seen = 0
        self._quiet_since = 0.0
        self._spoke_seen = 0
        self._unanswered_looks = 0
        self._move_timer: asyncio.TimerHandle | None = None
        self._move_began = 0.0
        self._move_after = 0.0
        self._refused_by = 0

    def enter(self) -> None:
        """Call the application."""
        raise NotImplementedError

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake."""
        raise NotImplementedError

    # draining

    def begin_drain(self) -> None:
        """Move to the next worker if the application has opted in; else stay for a while, and be closed then.

        Called again and again while the worker drains: what the application has said may have changed.
        """
        service = self._service
        if self._phase != OPEN:
            return
        if service.stopping:
            self._close_ourselves(CloseCode.GOING_AWAY, "the server stops")
        elif self._moves():
            self._drain_due = None
            self._begin_move()
            self._set_deadline()
        elif self._drain_due is None and not (self._opted and service.keeps(self)):
            now = service.loop.time()
            spread = self._options.close_spread * service.next_in_spread()
            due = now + self._options.drain_timeout + spread
            if service.drain.deadline is not None:
                # Rather a close frame than being cut.
                due = min(due, max(now, service.drain.deadline - CUT_MARGIN - self._options.close_spread + spread))
            self._drain_due = due
            self._set_deadline()

    def _close_for_drain(self) -> None:
        """The time is up of a WebSocket that stays with a worker which has been replaced."""
        self._drain_due = None
        if self._phase == OPENING:
            self.deadline = inf
            return
        self._close_ourselves(CloseCode.SERVICE_RESTART, "the server was reloaded")

    def _close_ourselves(self, code: int, reason: str) -> None:
        """Close without the application's doing: it hears of it at once, and sends nothing behind the close frame."""
        self.close(code, reason)
        self._disconnect(code, reason)

    def end_drain(self) -> None:
        """Stay: the worker serves on."""
        self._stop_moving()
        self._drain_due = None
        if self._phase == OPEN:
            self._set_deadline()

    @property
    def _opted(self) -> bool:
        if self._options.handover.mode == "off":
            return False
        if self._opted_in is not None:
            return self._opted_in
        return self._options.handover.opts_in(self.request.raw_path.decode("latin-1"))

    def _moves(self) -> bool:
        offering = self._service.offering
        if not self._opted or self._end is not None or offering is None or not offering.wants(self):
            return False
        return self._refused_by != offering.receivers or self._service.loop.time() >= self._move_after

    def _expect_to_be_held(self) -> None:
        """Let the reload wait for us, unless we have been refused: that may happen again and again."""
        offering = self._service.offering
        if offering is not None and self._refused_by != offering.receivers:
            offering.expect(self)

    def _begin_move(self) -> None:
        """Wait for a pause in the traffic, then ask the call to make room."""
        if not self._move_began:
            self._move_began = self._quiet_since = self._service.loop.time()
            self._traffic_seen = self._traffic
            self._spoke_seen = self._spoke_at
            self._unanswered_looks = 0
            self._expect_to_be_held()
            self._wait_for_a_pause()

    def _wait_for_a_pause(self) -> None:
        self._move_timer = self._service.loop.call_later(self._options.handover.quiet, self._look_for_a_pause)

    def _is_good_moment(self, now: float) -> bool:
        """Whether nothing is on its way: no message has come or gone for a while, and the last one was not a question.

        An application that reads ahead of its work waits in `receive()` with a question in its hands: only the
        answer tells. A client in lock-step has nothing on its way behind an answer, wherever the application queues.
        """
        if self._traffic != self._traffic_seen:
            self._traffic_seen = self._traffic
            self._quiet_since = now
        if self._spoke_at != self._spoke_seen:
            self._spoke_seen = self._spoke_at
            self._unanswered_looks = 0
        spoke_last = self._spoke_at == self._traffic
        if now - self._move_began < QUIET_PATIENCE:
            return spoke_last and now - self._quiet_since >= self._options.handover.quiet - _CLOCK_STEP
        return spoke_last or self._unanswered_looks >= UNANSWERED_LOOKS

    def _look_for_a_pause(self) -> None:
        """Look when the time has come to."""
        self._move_timer = None
        if self._service.loop.time() - self._move_began >= QUIET_PATIENCE:
            self._unanswered_looks += 1
        self._leave_in_a_good_moment()

    def _leave_in_a_good_moment(self) -> None:
        """Ask the call to leave if nothing is undelivered and no message has come or gone for a while."""
        call = self._call
        if self._phase != OPEN or call is None or not (self._service.draining and self._moves()):
            self._stop_moving()
            return
        now = self._service.loop.time()
        waited = now - self._move_began
        # What is not flushed cannot be offered: its call would be gone, and the reload wait for a client that stalls.
        if self._is_good_moment(now) and call.idle and self.flushed and not self._read_holds:
            self._ask_to_leave(call)
        elif self._move_timer is not None:
            pass  # the application waits, or has answered; the next look is due all the same
        elif waited < QUIET_PATIENCE:
            self._wait_for_a_pause()
        else:
            # The application is at work, or behind: when it waits again may be the moment. The reload waits not long.
            call.watched = True
            if waited >= 3 * QUIET_PATIENCE:
                self._expect_no_more()
            if call.idle or waited < 3 * QUIET_PATIENCE:
                self._move_timer = self._service.loop.call_later(POLL_INTERVAL, self._look_for_a_pause)

    def _expect_no_more(self) -> None:
        """Let the reload end without us; we may still move later."""
        if self._service.offering is not None:
            self._service.offering.expect_no_more(self)

    def _ask_to_leave(self, call: WebSocketExchange) -> None:
        service = self._service
        self._wait_no_more()
        self._phase = LEAVING
        self.deadline = service.loop.time() + self._options.handover.timeout
        self._hold_reading(BY_HANDOVER)
        self._expect_to_be_held()
        call.leave()

    def _left_too_late(self) -> None:
        """The call has not returned in time: it may still, until the connection's time is up."""
        service = self._service
        service.error_log.warning(
            "WebSocket %s: the application has not returned within %g s of its disconnect (1012, %s); "
            "it is not handed over before that",
            self.request.target.decode("latin-1"),
            self._options.handover.timeout,
            HANDOVER_REASON,
        )
        self._expect_no_more()
        self._drain_due = self.deadline = service.loop.time() + self._options.drain_timeout

    def _stop_moving(self) -> None:
        if self._move_began:
            self._expect_no_more()
        self._wait_no_more()

    def _wait_no_more(self) -> None:
        self._move_began = 0.0
        if self._move_timer is not None:
            self._move_timer.cancel()
            self._move_timer = None
        if self._call is not None and self._end is None:
            self._call.watched = False

    # handover

    def _hold(self) -> None:
        """Be offered as soon as everything sent is out: the old call has returned."""
        self._phase = HELD
        self._drain_due = None
        self.deadline = inf
        offering = self._service.offering
        if offering is not None and not offering.closed:
            offering.hold(self)
        else:
            self.take_back(b"")

    def describe(self) -> tuple[dict[str, Any], bytes]:
        """Return what the next worker must know, and the input that is read and not delivered."""
        request = self.request
        deflate = self.handshake.deflate
        meta: dict[str, Any] = {
            "kind": "websocket",
            "client": self.client,
            "server": self.server,
            "scheme": self.scheme,
            "target": request.target.decode("latin-1"),
            "raw_path": request.raw_path.decode("latin-1"),
            "query_string": request.query_string.decode("latin-1"),
            "headers": [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers],
            "prefix": request.prefix,
            "subprotocols": self.subprotocols,
            "subprotocol": self._subprotocol,
            "deflate": None if deflate is None else deflate.to_dict(),
            "window": base64.b64encode(self._codec.window()).decode(),
            "state": None if self.state is None else base64.b64encode(self.state).decode(),
            "opted_in": self._opted_in,
            "past": self.tell_past(),
        }
        return meta, self._codec.leftover()

    def take_back(self, leftover: bytes) -> None:
        """Go on here: call the application again, as the next worker would have."""
        del leftover  # the codec still has it
        self._count_closed()
        self._phase = OPENING
        self._resumed = True
        offering = self._service.offering
        if offering is not None and offering.usable:
            self._refused_by = offering.receivers
            self._move_after = self._service.loop.time() + REFUSED_PAUSE
        self.enter()
        self._release_reading(BY_HANDOVER)

    def let_go(self) -> None:
        """Forget the connection: it is another worker's."""
        self._service.note_carried()
        super().let_go()

    # HandoverControls

    def opt_in(self) -> None:
        """Let the WebSocket be handed over."""
        self._opted_in = True

    def opt_out(self) -> None:
        """Keep it in this process."""
        self._opted_in = False

    def attach(self, state: bytes) -> None:
        """Let it be handed over, with this state for the next call."""
        if not isinstance(state, bytes | bytearray | memoryview):
            raise TypeError(f"the attached state is {type(state).__name__}, not bytes")
        if len(state) > MAX_STATE_BYTES:
            raise ValueError(f"the attached state has {len(state)} bytes, more than {MAX_STATE_BYTES}")
        self.state = bytes(state)
        self._opted_in = True
