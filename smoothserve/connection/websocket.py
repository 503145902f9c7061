"""One WebSocket: bytes from the transport to the codec, messages to the application's call, answers back.

Decides when to read, open, close and give up (RFC 6455 section 7). Knows neither ASGI nor the frames: they are behind
`WebSocketExchange` and `WebSocketCodec`. `data_received`, `send_text` and `send_bytes` are the hot path.
"""

import asyncio
from math import inf
from typing import cast

from smoothserve.connection.base import CLOSING, HELD
from smoothserve.connection.service import Service
from smoothserve.connection.websocket_moving import MovableWebSocket
from smoothserve.connection.websocket_options import WebSocketOptions, WebSocketResumption
from smoothserve.connection.websocket_talking import BY_QUEUE, CLOSE_SENT, LEAVING, OPEN, OPENING
from smoothserve.control.scoreboard import Counter
from smoothserve.protocol.events import Request
from smoothserve.protocol.response import Response
from smoothserve.protocol.websocket.events import CloseCode
from smoothserve.protocol.websocket.exchange import WebSocketExchange
from smoothserve.protocol.websocket.handshake import Handshake, render_acceptance

#: More has come than can be looked at before the application accepts, or behind an end that is not due yet.
BY_AMOUNT = 16
#: What may be read and not looked at.
UNREAD_BYTES = 65536

_IN_HAND = int(Counter.IN_HAND)
_CONNECTIONS = int(Counter.CONNECTIONS)
_UNANSWERED = int(Counter.UNANSWERED)


class WebSocketConnection(MovableWebSocket):
    """One WebSocket; implements `WebSocketLink` for its exchange."""

    __slots__ = ("_unread",)

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
        self._unread = 0

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
        self.enter()

    def enter(self) -> None:
        """Call the application."""
        service = self._service
        # Also where it cannot be moved, as with TLS: what the application says is the same everywhere.
        controls = self if self._options.handover.mode != "off" else None
        self._call = call = self._options.application.websocket(self, controls, resumed=self._resumed)
        service.calls.add(call)
        service.counters[_IN_HAND] = len(service.calls)
        call.start()

    def data_received(self, data: bytes) -> None:
        """Take what has come, and deliver what the application may have of it."""
        self.received += len(data)
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
        self.note_end()
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
        if self._phase == OPEN:
            self._sending = None
            self._set_deadline()

    def resume_writing(self) -> None:
        """Let it go on."""
        self.writable = True
        payload, self._pong_waits = self._pong_waits, None
        if payload is not None and self._phase in (OPEN, LEAVING, HELD):
            self.write(self._codec.render_pong(payload))
        if self._call is not None:
            self._call.writable_again()

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
        self._spoke_at = self._traffic = self._traffic + 1
        data = self._codec.render_text(text)
        if not self._gone:
            self.sent += len(data)
            self._transport.write(data)

    def send_bytes(self, data: bytes) -> None:
        """Send a binary message."""
        self._spoke_at = self._traffic = self._traffic + 1
        data = self._codec.render_bytes(data)
        if not self._gone:
            self.sent += len(data)
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
            self._leave_in_a_good_moment()

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

    # deadlines

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
