"""What one WebSocket says and hears: events from the codec to the application's call, pings, and the end.

Decides how far is read ahead of the application, when a close or a fault is answered (RFC 6455 sections 5.5 and 7) and
what counts as open. When the connection moves to another worker is its subclass's.
"""

import os
from math import inf
from typing import Any, cast

from smoothserve.connection.base import CLOSING, HELD, Connection
from smoothserve.connection.service import Service
from smoothserve.connection.websocket_options import WebSocketOptions, WebSocketResumption
from smoothserve.control.scoreboard import Counter
from smoothserve.protocol.events import Request
from smoothserve.protocol.response import Response
from smoothserve.protocol.websocket.events import CloseCode, Closed, Failed, Ping, Pong
from smoothserve.protocol.websocket.exchange import WebSocketExchange
from smoothserve.protocol.websocket.handshake import Handshake

#: The application has not accepted yet.
OPENING = 10
OPEN = 11
#: The application's call has been asked to return, so that the connection can be handed over.
LEAVING = 12
#: We have sent a close frame and wait for the client's.
CLOSE_SENT = 13

#: The application has enough messages.
BY_QUEUE = 8
#: Seconds after which the client's close, or its fault, is answered although the application works on a message.
END_PATIENCE = 1.0

_PING_BYTES = 4
#: The phases, as an operator reads them.
_STATES = {
    OPENING: "opening",
    OPEN: "open",
    LEAVING: "leaving",
    CLOSE_SENT: "closing",
    CLOSING: "closing",
    HELD: "moving",
}
_WEBSOCKETS = int(Counter.WEBSOCKETS)
_UNANSWERED = int(Counter.UNANSWERED)


class Talking(Connection):
    """A WebSocket as far as its messages, its pings and its end go.

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
        "_next_ping",
        "_options",
        "_ping_due",
        "_ping_payload",
        "_pong_waits",
        "_resumed",
        "_spoke_at",
        "_subprotocol",
        "_traffic",
        "handshake",
        "request",
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
        if isinstance(start, WebSocketResumption):
            self.scheme = start.scheme
            self.continue_from(start.past)
            self._subprotocol = start.subprotocol
            self._codec.receive_data(start.leftover)
        self._call: WebSocketExchange | None = None
        #: The client's close or fault, as long as the application works on what came before it.
        self._end: Closed | Failed | None = None
        self._end_by = inf
        self._next_ping = inf
        self._ping_due = inf
        self._ping_payload = b""
        #: Of the client's latest ping, while it takes nothing: one pong answers them all (RFC 6455 section 5.5.3).
        self._pong_waits: bytes | None = None
        self._handshake_began: float | None = None
        self._is_open = False
        #: When the connection's stay with a worker that drains is over.
        self._drain_due: float | None = None
        #: Messages either way; a count that only grows.
        self._traffic = 0
        #: Its number when the last message of ours went.
        self._spoke_at = 0

    def tell(self) -> dict[str, Any]:
        """Return what it is doing, for the operator. Its requests are the messages, either way, in this worker."""
        request = self.request
        return {
            "kind": "websocket",
            "state": _STATES.get(self._phase, "open"),
            "requests": self._traffic,
            "path": f"{request.method} {request.target.decode('latin-1')}",
            "busy": None,
        }

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
                if self._phase == CLOSE_SENT or call is None:
                    continue  # it came after our close frame
                if call.message_received(cast("str | bytes", event)):
                    self._hold_reading(BY_QUEUE)
                    return
            elif isinstance(event, Ping):
                if self._phase != OPEN:
                    continue
                if self.writable:
                    self.write(codec.render_pong(event.payload))
                else:
                    self._pong_waits = event.payload
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
        service.unfinished += 1
        service.counters[_UNANSWERED] = service.unanswered
        if service.measures is not None and status is not None:
            service.measures.note_status(self.request.method, status)
        if service.access_log is not None and status is not None:
            response = Response("GET", "1.1", keep_alive=False)
            response.status = status
            service.access_log.note(self.client, self.request, response, service.loop.time() - began)

    # deadlines

    def _set_deadline(self) -> None:
        due = min(self._end_by, self._ping_due, self._next_ping)
        if self._drain_due is not None:
            due = min(due, self._drain_due)
        if not self.writable:
            due = min(due, self._service.watch_at)
        self.deadline = due

    def _unsent(self) -> int:
        """Return what the client has not taken, less what was sent: it changes only when the client takes something."""
        return super()._unsent() - self.sent

    def _keep_alive(self, now: float) -> None:
        options = self._options
        if not self.writable and self._takes_nothing():
            # It may ask all the same: what it says, a pong too, is not read before it has taken the answers.
            self._cut_off()
            return
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
