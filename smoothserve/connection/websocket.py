"""One WebSocket: bytes from the transport to the codec, messages to the application's call, answers back.

Decides when to read, ping, close and give up (RFC 6455 sections 5.5 and 7), and when the connection is offered to the
next worker. Knows neither ASGI nor the frames: they are behind `WebSocketExchange` and `WebSocketCodec`.
`data_received`, `send_text` and `send_bytes` are the hot path.
"""

import asyncio
import base64
import os
from math import inf
from typing import Any, cast

from smoothserve.connection.base import BY_HANDOVER, CLOSING, HELD, Connection
from smoothserve.connection.service import Service
from smoothserve.connection.websocket_options import MAX_STATE_BYTES, WebSocketOptions, WebSocketResumption
from smoothserve.control.scoreboard import Counter
from smoothserve.protocol.events import Request
from smoothserve.protocol.response import Response
from smoothserve.protocol.websocket.events import CloseCode, Closed, Failed, Ping, Pong
from smoothserve.protocol.websocket.exchange import HANDOVER_REASON, WebSocketExchange
from smoothserve.protocol.websocket.handshake import Handshake, render_acceptance

#: The application has not accepted yet.
OPENING = 10
OPEN = 11
#: The application's call has been asked to return, so that the connection can be handed over.
LEAVING = 12
#: We have sent a close frame and wait for the client's.
CLOSE_SENT = 13

#: The application has enough messages.
BY_QUEUE = 8
#: More has come than can be looked at before the application accepts, or behind an end that is not due yet.
BY_AMOUNT = 16
#: What may be read and not looked at.
UNREAD_BYTES = 65536
#: Seconds after which the client's close, or its fault, is answered although the application works on a message.
END_PATIENCE = 1.0
#: Seconds before the drain deadline at which everybody has got a close frame.
CUT_MARGIN = 2.0
#: Seconds after which a WebSocket on which messages flow without a pause is handed over behind an answer of ours, and
#: after as many again all the same.
QUIET_PATIENCE = 1.0
#: Seconds between two looks for the moment behind an answer.
POLL_INTERVAL = 0.005

_PING_BYTES = 4
_WEBSOCKETS = int(Counter.WEBSOCKETS)
_IN_HAND = int(Counter.IN_HAND)
_CONNECTIONS = int(Counter.CONNECTIONS)
_UNANSWERED = int(Counter.UNANSWERED)


class WebSocketConnection(Connection):
    """One WebSocket; implements `WebSocketLink` for its exchange and `HandoverControls` for its application.

    Made of a handshake, or of an open WebSocket of another worker's.
    """

    __slots__ = (
        "_call",
        "_codec",
        "_drain_due",
        "_end",
        "_end_by",
        "_handshake_began",
        "_is_open",
        "_move_began",
        "_move_timer",
        "_next_ping",
        "_opted_in",
        "_options",
        "_ping_due",
        "_ping_payload",
        "_resumed",
        "_spoke_last",
        "_subprotocol",
        "_traffic",
        "_traffic_seen",
        "_unread",
        "handshake",
        "request",
        "state",
        "subprotocols",
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
        super().__init__(service, client, server)
        self._options = options
        self.request = request
        resumed = isinstance(start, WebSocketResumption)
        self.handshake = start.handshake if isinstance(start, WebSocketResumption) else start
        self.subprotocols = self.handshake.subprotocols
        self._codec = options.make_codec(
            options.max_message_bytes,
            self.handshake.deflate,
            remembers=options.handover.mode != "off",
            window=start.window if isinstance(start, WebSocketResumption) else b"",
        )
        self._phase = OPENING
        self._resumed = resumed
        self._subprotocol: str | None = None
        self.state: bytes | None = None
        self._opted_in: bool | None = None
        if isinstance(start, WebSocketResumption):
            self.scheme = start.scheme
            self._subprotocol = start.subprotocol
            self.state = start.state
            self._opted_in = start.opted_in
            self._codec.receive_data(start.leftover)
        self._call: WebSocketExchange | None = None
        self._unread = 0
        #: The client's close or fault, as long as the application works on what came before it.
        self._end: Closed | Failed | None = None
        self._end_by = inf
        self._next_ping = inf
        self._ping_due = inf
        self._ping_payload = b""
        self._handshake_began: float | None = None
        self._is_open = False
        self._drain_due: float | None = None
        self._traffic = 0
        self._traffic_seen = 0
        self._spoke_last = False
        self._move_timer: asyncio.TimerHandle | None = None
        self._move_began = 0.0

    # from the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve, with the application's call."""
        self._transport = cast("asyncio.Transport", transport)
        service = self._service
        service.connections.add(self)
        service.counters[_CONNECTIONS] = len(service.connections)
        if not self._resumed:
            self._handshake_began = service.loop.time()
            service.requests += 1
            service.unanswered += 1
            service.counters[_UNANSWERED] = service.unanswered
        self._enter()

    def _enter(self) -> None:
        """Call the application."""
        service = self._service
        controls = self if self._options.handover.mode != "off" else None
        self._call = call = self._options.application.websocket(self, controls, resumed=self._resumed)
        service.calls.add(call)
        service.counters[_IN_HAND] = len(service.calls)
        call.start()

    def data_received(self, data: bytes) -> None:
        """Take what has come, and deliver what the application may have of it."""
        phase = self._phase
        if phase == CLOSING:
            self._closing_goes_on()
            return
        self._codec.receive_data(data)
        if (phase == OPEN and not self._read_holds and self._end is None) or phase == CLOSE_SENT:
            self._read_events()
        else:
            self._unread += len(data)
            if self._unread > UNREAD_BYTES:
                self._hold_reading(BY_AMOUNT)

    def eof_received(self) -> bool:
        """Take note that the client sends no more: without a close frame, it has gone (RFC 6455 section 7.1.5)."""
        self._eof = True
        if self._phase == CLOSING:
            return False
        if self._end is not None:
            self._apply_end()
            return False
        self._disconnect(CloseCode.ABNORMAL, "")
        self._close()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note that the connection is gone."""
        del exc
        self._gone = True
        self.writable = True
        self.deadline = inf
        service = self._service
        service.connections.discard(self)
        service.counters[_CONNECTIONS] = len(service.connections)
        self._stop_moving()
        if service.offering is not None:
            service.offering.drop(self)
        self._note_answer(None)
        self._count_closed()
        self._phase = CLOSING
        self._disconnect(CloseCode.ABNORMAL, "")
        service.check_empty()
        service.note_room()

    def pause_writing(self) -> None:
        """Let the application wait: the transport holds enough."""
        self.writable = False

    def resume_writing(self) -> None:
        """Let it go on."""
        self.writable = True
        if self._call is not None:
            self._call.writable_again()

    # messages

    def _read_events(self) -> None:
        """Take events from the codec, as far as the application has room, and no further than a fault or a close."""
        codec = self._codec
        call = self._call
        while True:
            event = codec.next_event()
            if event is None:
                return
            kind = type(event)
            if kind is str or kind is bytes:
                self._traffic += 1
                self._spoke_last = False
                if self._phase == CLOSE_SENT or call is None:
                    continue  # it came after our close frame
                if call.message_received(cast("str | bytes", event)):
                    self._hold_reading(BY_QUEUE)
                    return
            elif isinstance(event, Ping):
                if self._phase == OPEN:
                    self.write(codec.render_pong(event.payload))
            elif isinstance(event, Pong):
                if event.payload == self._ping_payload and self._ping_payload:
                    self._ping_payload = b""
                    self._ping_due = inf
                    self._set_deadline()
            else:
                self._take_end(cast("Closed | Failed", event))
                return

    def _take_end(self, end: Closed | Failed) -> None:
        """Answer a close or a fault: when what came before it has been dealt with, or soon after."""
        self._end = end
        call = self._call
        if self._phase != OPEN or call is None or call.idle or call.untouched:
            self._apply_end()
        else:
            call.watched = True
            self._end_by = self._service.loop.time() + END_PATIENCE
            self._set_deadline()

    def _apply_end(self) -> None:
        end, self._end = self._end, None
        if self._phase in (CLOSING, HELD) or end is None:
            return
        if self._phase == OPEN:
            # A close is answered with its own code (RFC 6455 section 5.5.1).
            self.write(self._codec.render_close(end.code, end.reason if isinstance(end, Failed) else ""))
        if isinstance(end, Failed):
            self._service.error_log.info("WebSocket failed with %d: %s (client %s)", end.code, end.reason, self.client)
        self._count_closed()
        self._close_lingering()
        self._disconnect(end.code, end.reason)

    def _disconnect(self, code: int, reason: str) -> None:
        if self._call is not None:
            self._call.disconnected(code, reason)

    # WebSocketLink

    def accept(self, subprotocol: str | None, header_lines: bytes) -> None:
        """Open the WebSocket, or go on with one that is open already."""
        service = self._service
        if self._phase != OPENING:
            return
        self._phase = OPEN
        self._count_open()
        if self._options.ping_interval:
            self._next_ping = service.loop.time() + self._options.ping_interval
        self._set_deadline()
        if self._resumed:
            self._resumed = False
            if subprotocol != self._subprotocol:
                self.close(CloseCode.SERVICE_RESTART, "another subprotocol")
                self._disconnect(CloseCode.SERVICE_RESTART, "another subprotocol")
                return
        else:
            self._subprotocol = subprotocol
            self.write(render_acceptance(self.handshake, subprotocol, header_lines))
            self._note_answer(101)
        self._unread = 0
        self._release_reading(BY_AMOUNT)
        if service.draining:
            self.begin_drain()
        self._read_events()

    def deny(self, data: bytes, response: Response) -> None:
        """Answer the handshake with something else than a WebSocket."""
        if self._phase != OPENING:
            return
        if self._resumed:
            # It is open already: only a close frame can say so.
            self._resumed = False
            self._phase = OPEN
            self._count_open()
            self.close(1008, "")
            return
        if response.error is not None:
            self._note_answer(None)
            self._cut_off()
            return
        self.write(data)
        if response.complete:
            self._note_answer(response.status)
            self._close_lingering()
            self._disconnect(CloseCode.ABNORMAL, "")

    def send_text(self, text: str) -> None:
        """Send a text message."""
        self._traffic += 1
        self._spoke_last = True
        data = self._codec.render_text(text)
        if not self._gone:
            self._transport.write(data)

    def send_bytes(self, data: bytes) -> None:
        """Send a binary message."""
        self._traffic += 1
        self._spoke_last = True
        data = self._codec.render_bytes(data)
        if not self._gone:
            self._transport.write(data)

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake (RFC 6455 section 7.1.2)."""
        if self._phase == OPENING and self._resumed:
            self._resumed = False
            self._phase = OPEN
            self._count_open()
        if self._phase not in (OPEN, LEAVING):
            return
        if self._end is not None:
            self._apply_end()
            return
        self._stop_moving()
        self._phase = CLOSE_SENT
        self.write(self._codec.render_close(code, reason))
        self._count_closed()
        self.deadline = self._service.loop.time() + self._options.close_timeout
        self._release_reading(self._read_holds)
        self._read_events()

    def room(self) -> None:
        """Read on: the application has taken what it had."""
        if self._read_holds & BY_QUEUE:
            # What is here goes first, and may be enough again.
            self._read_holds &= ~BY_QUEUE
            self._unread = 0
            if self._phase == OPEN and self._end is None:
                self._read_events()
            if not self._read_holds & BY_QUEUE:
                self._read_holds |= BY_QUEUE
                self._release_reading(BY_QUEUE | BY_AMOUNT)

    def application_waits(self) -> None:
        """Do what has waited for the application."""
        if self._end is not None:
            self._apply_end()
        elif self._move_began and self._phase == OPEN:
            self._look_for_a_pause()

    def call_returned(self, exchange: WebSocketExchange) -> None:
        """Take note that the application's call has returned."""
        service = self._service
        service.calls.discard(exchange)
        service.counters[_IN_HAND] = len(service.calls)
        if exchange is self._call:
            self._call = None
            if self._phase == LEAVING:
                self._hold()
        if service.draining:
            service.check_empty()

    # counting

    def _count_open(self) -> None:
        service = self._service
        self._is_open = True
        service.websockets_open += 1
        service.counters[_WEBSOCKETS] = service.websockets_open

    def _count_closed(self) -> None:
        if self._is_open:
            self._is_open = False
            service = self._service
            service.websockets_open -= 1
            service.counters[_WEBSOCKETS] = service.websockets_open

    def _note_answer(self, status: int | None) -> None:
        """Count the handshake as answered, with this status, or as lost (None)."""
        began, self._handshake_began = self._handshake_began, None
        if began is None:
            return
        service = self._service
        service.unanswered -= 1
        service.counters[_UNANSWERED] = service.unanswered
        if service.access_log is not None and status is not None:
            response = Response("GET", "1.1", keep_alive=False)
            response.status = status
            service.access_log.note(self.client, self.request, response, service.loop.time() - began)

    # deadlines

    def _set_deadline(self) -> None:
        due = min(self._end_by, self._ping_due, self._next_ping)
        if self._drain_due is not None:
            due = min(due, self._drain_due)
        self.deadline = due

    def timed_out(self) -> None:
        """Do what is due at the deadline; called by the sweep."""
        now = self._service.loop.time()
        if self._phase == CLOSING:
            self._closing_timed_out()
        elif self._phase == CLOSE_SENT:
            # It does not answer our close frame (RFC 6455 section 7.1.1 lets us close at any time).
            self._disconnect(CloseCode.ABNORMAL, "")
            self._close_lingering()
        elif self._drain_due is not None and self._drain_due <= now:
            self._close_for_drain()
        elif self._phase == LEAVING:
            self._left_too_late()
        elif self._end is not None and self._end_by <= now:
            self._apply_end()
        elif self._phase == OPEN:
            self._keep_alive(now)
        else:
            self.deadline = inf

    def _keep_alive(self, now: float) -> None:
        options = self._options
        if self._ping_due <= now:
            if not self._read_holds:
                self._ping_due = inf
                self._end = Failed(CloseCode.INTERNAL_ERROR, "no answer to a ping")
                self._apply_end()
                return
            # The pong may be here, behind messages that the application has not taken.
            self._ping_due = now + options.ping_timeout
        if self._next_ping <= now:
            self._next_ping = now + options.ping_interval
            if not self._ping_payload:
                self._ping_payload = os.urandom(_PING_BYTES)
                if options.ping_timeout:
                    self._ping_due = now + options.ping_timeout
                self.write(self._codec.render_ping(self._ping_payload))
        self._set_deadline()

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
        return self._opted and self._end is None and offering is not None and offering.wants(self)

    def _begin_move(self) -> None:
        """Wait for a pause in the traffic, then ask the call to make room."""
        if not self._move_began:
            service = self._service
            self._move_began = service.loop.time()
            if service.offering is not None:
                service.offering.expect(self)
            self._wait_for_a_pause()

    def _wait_for_a_pause(self) -> None:
        self._traffic_seen = self._traffic
        self._move_timer = self._service.loop.call_later(self._options.handover.quiet, self._look_for_a_pause)

    def _look_for_a_pause(self) -> None:
        """Ask the call to leave if nothing is undelivered and no message has come or gone for a while."""
        if self._move_timer is not None:
            self._move_timer.cancel()
            self._move_timer = None
        call = self._call
        if self._phase != OPEN or call is None or not (self._service.draining and self._moves()):
            self._stop_moving()
            return
        waited = self._service.loop.time() - self._move_began
        if waited < QUIET_PATIENCE:
            good = self._traffic == self._traffic_seen
        else:
            # Behind an answer of ours a client in lock-step has nothing on its way, wherever the application queues.
            good = self._spoke_last or waited >= 2 * QUIET_PATIENCE
        if good and call.idle and not self._read_holds:
            self._ask_to_leave(call)
        elif waited < QUIET_PATIENCE:
            self._wait_for_a_pause()
        else:
            # The application is at work, or behind: when it waits again may be the moment. The reload waits not long.
            call.watched = True
            loop = self._service.loop
            self._move_timer = (
                loop.call_later(POLL_INTERVAL, self._look_for_a_pause)
                if waited < 2 * QUIET_PATIENCE
                else loop.call_later(QUIET_PATIENCE, self._expect_no_more)
            )

    def _expect_no_more(self) -> None:
        """Let the reload end without us; we may still move later."""
        if self._service.offering is not None:
            self._service.offering.drop(self)

    def _ask_to_leave(self, call: WebSocketExchange) -> None:
        service = self._service
        self._stop_moving()
        self._phase = LEAVING
        self.deadline = service.loop.time() + self._options.handover.timeout
        self._hold_reading(BY_HANDOVER)
        if service.offering is not None:
            service.offering.expect(self)
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
        if self._move_began and self._service.offering is not None:
            self._service.offering.drop(self)
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
        }
        return meta, self._codec.leftover()

    def take_back(self, leftover: bytes) -> None:
        """Go on here: call the application again, as the next worker would have."""
        del leftover  # the codec still has it
        self._count_closed()
        self._phase = OPENING
        self._resumed = True
        self._enter()
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

    # the end

    def cut(self) -> None:
        """End the connection now: the drain deadline has passed."""
        call = self._call
        if call is not None:
            call.dropped = True
            call.cancel()
        if self._phase not in (CLOSING, CLOSE_SENT):
            self._service.note_dropped()
        if self._phase in (OPEN, LEAVING):
            self.write(self._codec.render_close(CloseCode.SERVICE_RESTART, ""))
        self._note_answer(None)
        self._count_closed()
        self._phase = CLOSING
        if not self._gone:
            # What is written stays in the kernel for the client.
            self._transport.abort() if not self.flushed else self._transport.close()
