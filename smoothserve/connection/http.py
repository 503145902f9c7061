"""One HTTP/1 connection: bytes from the transport to the codec, requests to exchanges, answers back, in order.

Decides when a connection is kept, closed, half-closed or lingered on (RFC 9112 section 9). Knows neither ASGI nor WSGI
nor a parser: they are behind `Exchange` and `Codec`. `data_received` to `answer_finished` is the hot path.
"""

import asyncio
from collections.abc import Iterable
from math import inf
from time import monotonic
from typing import Any, cast

from smoothserve.connection.base import (
    BUSY,
    BY_BODY,
    BY_PIPELINE,
    CLOSING,
    HALF_CLOSED,
    HEAD,
    HELD,
    IDLE,
)
from smoothserve.connection.moving import Movable, Resumption
from smoothserve.connection.service import Service
from smoothserve.connection.websocket import WebSocketConnection
from smoothserve.connection.websocket_options import WebSocketOptions
from smoothserve.control.measures import USUAL_SECONDS
from smoothserve.control.scoreboard import Counter
from smoothserve.protocol.events import END_OF_REQUEST, Event, Malformed, Request
from smoothserve.protocol.exchange import Exchange
from smoothserve.protocol.response import Response
from smoothserve.protocol.websocket.handshake import Refusal, is_websocket, read_handshake

#: Bytes of further requests that are taken in while one is being answered; beyond that reading pauses.
PIPELINE_BYTES = 65536
#: Pipelined requests that are answered in one turn of the loop; then the other connections have theirs.
ROW = 50

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_ERROR_HEADERS = [(b"content-type", b"text/plain; charset=utf-8")]
_UNANSWERED = int(Counter.UNANSWERED)
_IN_HAND = int(Counter.IN_HAND)
_CONNECTIONS = int(Counter.CONNECTIONS)
#: The phases, as an operator reads them.
_STATES = {IDLE: "idle", HEAD: "head", BUSY: "busy", HALF_CLOSED: "half-closed", CLOSING: "closing", HELD: "moving"}


class HTTPConnection(Movable):
    """One connection; implements `ExchangeConnection` for the exchange it carries."""

    __slots__ = ("_next_waits", "_processing", "_row", "_started")

    def __init__(
        self,
        service: Service,
        client: tuple[str, int] | None,
        server: tuple[str, int | None] | None,
        resumption: Resumption | None = None,
    ) -> None:
        super().__init__(service, client, server, resumption)
        self._processing = False
        self._next_waits = False
        """The next request is begun later: when the client takes its answers (`resume_writing`), or after the others'
        turn (`_end_row`)."""
        self._row = 0
        """How many pipelined requests have been answered in this turn of the loop."""
        self._started = 0.0

    @property
    def awaits_request(self) -> bool:
        """Whether a request would be news: none is in hand, and the client has not gone."""
        return self._exchange is None and not self._gone and self._phase != CLOSING

    def tell(self) -> dict[str, Any]:
        """Return what it is doing, for the operator."""
        exchange, state = self._exchange, _STATES[self._phase]
        if exchange is None:
            if (self._phase == IDLE or self._next_waits) and not (self._gone or self.flushed):
                state = "sending"
        elif self._phase == BUSY and not self._body_done:
            state = "body"
        request = exchange.request if exchange is not None else None
        return {
            "kind": "http",
            "state": state,
            "requests": self.requests,
            "path": f"{request.method} {request.target.decode('latin-1')}" if request is not None else None,
            "busy": round(monotonic() - self._started, 6) if request is not None and self._service.timed else None,
        }

    # from the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve."""
        self._transport = cast("asyncio.Transport", transport)
        service = self._service
        service.connections.add(self)
        service.counters[_CONNECTIONS] = len(service.connections)
        self.deadline = service.idle_deadline(self)
        if self._resumption is not None:
            self._resume(self._resumption)

    def data_received(self, data: bytes) -> None:
        """Parse, and answer what can be answered."""
        self.received += len(data)
        if self._phase == IDLE and self._exchange is None and not self._discarding:
            if self._service.relieving and not data.startswith(self._service.checks):
                self._hold_unread(data)
                return
            request = self._codec.take_known(data)
            if request is not None:
                self._begin(request, b"")
                return
            if data[:1] == b"P":  # for POST, PUT and PATCH: others have no body as a rule
                whole = self._codec.take_whole(data)
                if whole is not None:
                    self._begin(*whole)
                    return
        elif self._phase == CLOSING:
            self._closing_goes_on()
            return
        self._codec.receive_data(data)
        if self._body_done:
            # A request is being answered, or the next one waits for the client to take the answers.
            if self._codec.ahead > PIPELINE_BYTES and not self._read_holds & BY_PIPELINE:
                self._hold_reading(BY_PIPELINE)
            return
        self._process()
        if self._exchange is None and self._phase == IDLE and not (self._codec.at_boundary or self._discarding):
            self._phase = HEAD
            self.deadline = self._service.now + self._service.timeouts.head

    def eof_received(self) -> bool:
        """Take note that the client sends no more; what it has sent is answered (half-close)."""
        if self._phase == CLOSING:
            return False
        self._eof = True
        self._codec.receive_eof()
        if not self._body_done:
            self._process()
        if self._exchange is None and not self._next_waits:
            return self._phase == CLOSING
        self._phase = HALF_CLOSED
        self.deadline = self._service.now + self._service.timeouts.half_closed
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note that the connection is gone."""
        del exc  # whoever is to blame, the client has gone
        self._gone = True
        self.writable = True
        self.deadline = inf
        service = self._service
        self.note_end()
        if self._exchange is not None and service.measures is not None:
            service.measures.client_left += 1
        if self._phase == HELD and service.offering is not None:
            service.offering.drop(self)
        if service.relief is not None:
            self._forget_unread()
            service.relief.drop(self)
        self._leave_exchange()
        service.check_empty()
        service.note_room()

    def pause_writing(self) -> None:
        """Let exchanges wait: the transport holds enough."""
        self.writable = False

    def resume_writing(self) -> None:
        """Let exchanges go on."""
        self.writable = True
        if self._exchange is not None:
            self._exchange.writable_again()
        else:
            self._go_on()

    def _end_row(self) -> None:
        """Begin another row: the other connections have had their turn."""
        self._row = 0
        self._go_on()

    def _go_on(self) -> None:
        """Begin the request that has waited, unless something has happened since."""
        if self._next_waits and self.writable and self._phase != CLOSING and not self._transport.is_closing():
            self._next_waits = False
            self._next_request()

    # the requests

    def _process(self) -> None:
        """Take events from the codec as far as the order of answers allows."""
        if self._processing:
            return
        self._processing = True
        events = self._codec.events
        while events and self._phase != CLOSING:
            exchange = self._exchange
            if exchange is None:
                event = events.popleft()
                if type(event) is Request:
                    self._begin(event)
                elif self._discarding:
                    self._discard(event)
                elif type(event) is Malformed:
                    self._refuse(event.status, event.reason, event.method)
            elif self._body_done:
                break
            else:
                event = events.popleft()
                if event is END_OF_REQUEST:
                    self._body_done = True
                    exchange.body_ended()
                elif type(event) is bytes:
                    self._continue_pending = False
                    self._body_bytes += len(event)
                    exchange.data_received(event)
                elif type(event) is Malformed:
                    self._refuse(event.status, event.reason)
        self._processing = False

    def _discard(self, event: Event) -> None:
        """Take a part of the body of a request that has its answer."""
        if event is END_OF_REQUEST:
            self._next_request()
        elif type(event) is bytes:
            self._body_bytes += len(event)
        else:
            self._close_lingering()

    def _begin(self, request: Request, body: bytes | None = None) -> None:
        """Begin a request: with its body, if it is known to be the whole; what has come of it is taken, if it is None.

        An empty one is for a `quick` request.
        """
        service = self._service
        if self._peer is not None:
            request = self._read_forwarded(request, *self._peer)
        if request.upgrade is not None and service.websockets is not None and is_websocket(request):
            self._upgrade(request, service.websockets)
            return
        service.requests += 1
        service.unanswered = service.counters[_UNANSWERED] = service.unanswered + 1
        if service.timed:
            # Not the loop's time: uvloop keeps that for a whole turn, an application that blocks included.
            self._started = monotonic()
        if self._eof:
            self._phase = HALF_CLOSED
            self.deadline = service.now + service.timeouts.half_closed
        else:
            self._phase = BUSY
            self.deadline = service.watch_at
        self._continue_pending = request.expect_continue
        self._body_done = body is not None
        self._exchange = exchange = service.application.exchange(self, request)
        service.calls.add(exchange)
        service.counters[_IN_HAND] = len(service.calls)
        if body is not None:
            if body:
                self._body_bytes += len(body)
                exchange.data_received(body)
                exchange.body_ended()
            exchange.start()
            return
        # The body that has come with the head is there when the application asks for it.
        events = self._codec.events
        while events:
            event = events[0]
            if event is END_OF_REQUEST:
                events.popleft()
                self._body_done = True
                exchange.body_ended()
                break
            if type(event) is not bytes:
                break
            events.popleft()
            self._continue_pending = False
            self._body_bytes += len(event)
            exchange.data_received(event)
        exchange.start()

    def _read_forwarded(
        self, request: Request, client: tuple[str, int] | None, server: tuple[str, int | None] | None
    ) -> Request:
        """Take from the proxy's headers where the request came from: another client for each."""
        service = self._service
        scheme = "http" if self.tls is None else "https"
        if service.forwarding is not None:
            origin = service.forwarding.read(request, client, server, scheme)
            if origin is not None:
                client, server, scheme, request = origin.client, origin.server, origin.scheme, origin.request
        self.client = client
        self.server = server
        self.scheme = scheme
        return request

    def _upgrade(self, request: Request, options: WebSocketOptions) -> None:
        """Pass the transport, and what has come behind the head, to a WebSocket."""
        handshake = read_handshake(request, compression=options.compression)
        if isinstance(handshake, Refusal):
            self._refuse(handshake.status, handshake.reason, headers=handshake.headers)
            return
        self._phase = CLOSING
        self._release_reading(self._read_holds)
        self._codec.events.clear()
        leftover = self._codec.trailing_data()
        self._service.connections.discard(self)
        websocket = WebSocketConnection(self._service, options, self.client, self.server, handshake, request)
        websocket.scheme = self.scheme
        websocket.born, websocket.past, websocket.sent = self.born, self.past, self.sent
        websocket.received = self.received - len(leftover or b"")
        websocket.tls = self.tls
        transport = self._transport
        transport.set_protocol(websocket)
        self._gone = True
        if leftover:
            websocket.data_received(leftover)
        websocket.connection_made(transport)
        if self._eof:
            websocket.eof_received()

    def _next_request(self) -> None:
        """Go on to the next request: the answer is sent and the request's body is through.

        Not while the client takes nothing of its answers: they would all be kept here. And not at once after a row
        of others that this client has sent together: the loop is not its alone.
        """
        self._discarding = False
        self._body_done = False
        service = self._service
        codec = self._codec
        if service.draining and self._is_wanted():
            self._codec_waits = True
            self._phase = IDLE
            self.deadline = service.idle_deadline(self)
            self._hold()
            self._release_reading(BY_PIPELINE)
            return
        if (self._processing and codec.ahead) or self.tls is not None:
            # By turns, not by reads: TLS reads many records in one, each of which may be a request.
            if not self._row:
                service.loop.call_soon(self._end_row)
            self._row += 1
        if not self.writable or self._row >= ROW:
            self._next_waits = self._body_done = True
            self._phase = HALF_CLOSED if self._eof else BUSY
            self.deadline = service.watch_at
            return
        at_boundary = codec.next_request()
        if self._read_holds & BY_PIPELINE and not (codec.events and codec.ahead > PIPELINE_BYTES):
            self._release_reading(BY_PIPELINE)
        if codec.events:
            if not self._processing:
                self._process()
        elif self._eof:
            self._close()
        elif at_boundary:
            self._phase = IDLE
            self.deadline = service.idle_deadline(self) if service.draining else service.idle_until
        else:
            self._phase = HEAD
            self.deadline = service.now + service.timeouts.head

    def _is_wanted(self) -> bool:
        """Whether the connection is to be handed over now."""
        # Not while the transport is being made: uvloop would read on. The sweep finds it idle.
        if self._eof or self._resumption is not None:
            return False
        offering = self._service.offering
        return offering is not None and offering.wants(self)

    def _refuse(
        self, status: int, reason: str, method: str = "GET", headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        """Answer what is no request that we serve, and close (RFC 9112 section 2.2)."""
        service = self._service
        service.error_log.info("request refused with %d: %s (client %s)", status, reason, self.client)
        exchange = self._exchange
        started = exchange is not None and exchange.response.started and not exchange.response.head_pending
        self._leave_exchange()
        if exchange is not None:
            if started and exchange.response.ends_with_connection:
                self._cut_off()
                return
            method = exchange.request.method
        if not started:
            response = Response(method, "1.1", keep_alive=False)
            response.start(status, [*_ERROR_HEADERS, *headers], service.defaults)
            self.write(response.data_to_send(reason.encode("utf-8", "replace") + b"\n", more=False))
            if service.measures is not None:
                service.measures.note_status(method, status)
            if exchange is not None and service.access_log is not None:
                service.access_log.note(self.client, exchange.request, response, monotonic() - self._started)
        self._close_lingering()

    def _leave_exchange(self) -> None:
        """Part from an exchange whose answer can no longer be sent."""
        exchange = self._exchange
        if exchange is not None:
            self._exchange = None
            self._answered()
            self._note_begun(exchange)
            exchange.client_left()

    def _note_begun(self, exchange: Exchange) -> None:
        """Log an answer that has begun and comes to no end, as far as it was sent."""
        access_log, response = self._service.access_log, exchange.response
        if access_log is not None and response.started and not response.head_pending:
            access_log.note(self.client, exchange.request, response, monotonic() - self._started)

    def _answered(self) -> None:
        """Take note of a request that has ended without a whole answer."""
        service = self._service
        service.unfinished += 1
        service.unanswered -= 1
        service.counters[_UNANSWERED] = service.unanswered

    # ExchangeConnection

    def send_continue(self) -> None:
        """Send `100 Continue` if the client waits for it (RFC 9110 section 10.1.1)."""
        if self._continue_pending:
            self._continue_pending = False
            self.write(_CONTINUE)

    def pause_body(self) -> None:
        """Stop reading: the exchange holds enough."""
        self._hold_reading(BY_BODY)

    def resume_body(self) -> None:
        """Read on."""
        self._release_reading(BY_BODY)

    def keep_alive_allowed(self) -> bool:
        """Whether the connection may stay open after the answer that is about to start.

        A client that still waits for `100 Continue` may or may not send the body: only closing tells where the
        next request begins; from here on it is not asked any more. A draining connection stays for the pipelined
        requests that have come already.
        """
        if self._continue_pending:
            self._continue_pending = False
            return False
        service = self._service
        if self.requests >= service.last_request:
            return False
        if not service.draining or service.keeps(self):
            return True
        return self._body_done and not self._codec.at_boundary

    def answer_finished(self, exchange: Exchange) -> None:
        """Go on after an answer: to the next request, or to the connection's end."""
        if exchange is not self._exchange:
            return
        service = self._service
        self._exchange = None
        self.requests += 1
        service.unanswered = service.counters[_UNANSWERED] = service.unanswered - 1
        if service.timed:
            seconds = monotonic() - self._started
            service.seconds += seconds
            status, method = exchange.response.status, exchange.request.method
            if (seconds > USUAL_SECONDS or status != 200 or method != "GET") and service.measures is not None:
                service.measures.note_unusual(method, status, seconds)
            if service.access_log is not None:
                service.access_log.note(self.client, exchange.request, exchange.response, seconds)
        if self._read_holds & BY_BODY:
            self._release_reading(BY_BODY)
        if not exchange.response.keep_alive:
            if exchange.request.keep_alive or not self._body_done:
                # Ours to close: the client may be sending already, which must not reset the answer.
                self._close_lingering()
            else:
                self._close()
        elif self._body_done:
            self._next_request()
        else:
            self._discarding = True
            self._phase = IDLE
            self.deadline = service.idle_deadline(self)
            if not self._processing:
                self._process()

    def answer_failed(self, exchange: Exchange) -> None:
        """Cut the answer off, so that the client sees that it is not whole (RFC 9112 section 8)."""
        if exchange is not self._exchange:
            return
        self._exchange = None
        self._answered()
        self._note_begun(exchange)
        if self._service.measures is not None:
            self._service.measures.failed += 1
        if exchange.response.ends_with_connection:
            self._cut_off()
        else:
            self._close()

    def request_timed_out(self, exchange: Exchange) -> None:
        """Answer 504 in the application's place, and close: it has taken too long (RFC 9110 section 15.6.5)."""
        if exchange is not self._exchange:
            return
        service = self._service
        self._leave_exchange()
        response = Response(exchange.request.method, "1.1", keep_alive=False)
        response.start(504, _ERROR_HEADERS, service.defaults)
        self.write(response.data_to_send(b"Gateway Timeout\n", more=False))
        if service.access_log is not None:
            service.access_log.note(self.client, exchange.request, response, monotonic() - self._started)
        if service.measures is not None:
            service.measures.note_status(exchange.request.method, 504)
        self._close_lingering()

    def call_returned(self, exchange: Exchange) -> None:
        """Take note that the request is no longer in hand."""
        service = self._service
        service.calls.discard(exchange)
        service.counters[_IN_HAND] = len(service.calls)
        if service.draining:
            service.check_empty()

    # the end

    def cut(self) -> None:
        """End the connection now: the drain deadline has passed. An answer that is not out counts as dropped."""
        exchange = self._exchange
        if exchange is not None:
            exchange.dropped = True
            exchange.cancel()
        waits = self._next_waits and not self._codec.at_boundary
        if exchange is not None or (not self._gone and (waits or self._brings_request or not self.flushed)):
            self._service.note_dropped()
        self._leave_exchange()
        if exchange is not None and exchange.response.ends_with_connection:
            self._cut_off()
        elif not self._gone:
            self._transport.abort()
