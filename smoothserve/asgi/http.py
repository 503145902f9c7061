"""One HTTP exchange through ASGI: scope, `receive`, `send`, and the task that runs the application's call.

Obeys ASGI 3.0, HTTP and WebSocket message format 2.3 (as announced by default) to 2.5. Must not know sockets, loops'
transports or processes: the connection behind `ExchangeConnection` does. Runs per request: this is the hot path.
"""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from time import monotonic
from typing import Any
from urllib.parse import unquote_to_bytes

from smoothserve.asgi.stacks import render_stack
from smoothserve.protocol.events import Request
from smoothserve.protocol.exchange import ExchangeConnection
from smoothserve.protocol.memory import FAST_PATHS
from smoothserve.protocol.response import DefaultHeaders, InvalidResponseError, Response
from smoothserve.protocol.tls import VERSIONS, TLSInfo
from smoothserve.protocol.websocket.exchange import WebSocketLink

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGICallable = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Parts of a streamed answer are collected, until the loop turns, up to so much; longer ones are sent by themselves.
PARTS_BYTES = 65536
PART_BYTES = 16384
#: A streaming call asks the clock once in this many sends, and one (a bit mask), ...
FAIR_SENDS = 15
#: ... and lets others have their turn after so many seconds: what it sends in a turn goes out in one piece.
FAIR_SECONDS = 0.001
#: Request body that waits for `receive()` beyond this pauses reading from the client.
BODY_HIGH_WATER_BYTES = 65536

HAS_EAGER_TASKS = sys.version_info >= (3, 12) and FAST_PATHS
ERROR_HEADERS = [(b"content-type", b"text/plain; charset=utf-8")]


class ClientDisconnectedError(OSError):
    """What `send()` raises once the client has gone (ASGI HTTP 2.4: "should raise ... a subclass of OSError")."""


class ASGIApplication:
    """The loaded ASGI application of a worker, and what all its exchanges share."""

    saturated = False

    def __init__(
        self,
        app: ASGICallable,
        *,
        loop: asyncio.AbstractEventLoop,
        defaults: DefaultHeaders,
        error_log: logging.Logger,
        state: dict[str, Any] | None = None,
        spec_version: str = "2.3",
        root_path: str = "",
        extensions: dict[str, Any] | None = None,
    ) -> None:
        self.app = app
        self.loop = loop
        self.defaults = defaults
        self.error_log = error_log
        self.state = state if state is not None else {}
        self.spec_version = spec_version
        self.root_path = root_path
        self.raw_root_path = root_path.encode("utf-8")
        self.extensions = extensions if extensions is not None else {}
        #: From HTTP 2.4 on, `send()` tells the application that the client has gone.
        self.send_raises = tuple(int(part) for part in spec_version.split(".")) >= (2, 4)
        self.tasks: set[asyncio.Task[None]] = set()

    def exchange(self, connection: ExchangeConnection, request: Request) -> "ASGIExchange":
        """Make the exchange for a request."""
        return ASGIExchange(self, connection, request)

    def scope(self, connection: ExchangeConnection | WebSocketLink, request: Request) -> dict[str, Any]:
        """Build the connection scope (ASGI HTTP, "HTTP Connection Scope").

        As with uvicorn, a configured root path is in front of `path` and `raw_path`; so is what a proxy has cut off.
        """
        raw_path = request.raw_path
        if b"%" in raw_path:
            path = unquote_to_bytes(raw_path).decode("utf-8", "replace")
        else:
            path = raw_path.decode("utf-8", "replace")
        root_path = self.root_path
        if request.prefix is not None:
            root_path = request.prefix
            path = root_path + path
            raw_path = root_path.encode("utf-8") + raw_path
        elif root_path:
            path = root_path + path
            raw_path = self.raw_root_path + raw_path
        extensions = self.extensions.copy()
        if connection.tls is not None:
            extensions["tls"] = tls_extension(connection.tls)
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": self.spec_version},
            "http_version": request.http_version,
            "method": request.method.upper(),
            "scheme": connection.scheme,
            "path": path,
            "raw_path": raw_path,
            "query_string": request.query_string,
            "root_path": root_path,
            "headers": request.headers.copy(),
            "client": connection.client,
            "server": connection.server,
            "state": self.state.copy(),
            "extensions": extensions,
        }


def tls_extension(tls: TLSInfo) -> dict[str, Any]:
    """Say what the ASGI TLS extension (0.2) says of a session. Whoever fails verification does not get this far."""
    return {
        "server_cert": tls.server_certificate,
        "client_cert_chain": tls.client_chain,
        "client_cert_name": tls.client_subject,
        "client_cert_error": None,
        "tls_version": VERSIONS.get(tls.version),
        "cipher_suite": tls.cipher_number,
    }


class ASGIExchange:
    """One request in the hands of an ASGI application."""

    __slots__ = (
        "_answered",
        "_application",
        "_body",
        "_body_delivered",
        "_body_ended",
        "_body_size",
        "_client_left",
        "_connection",
        "_input_ended",
        "_parts",
        "_parts_size",
        "_paused",
        "_sends",
        "_task",
        "_turn_ends",
        "_waiters",
        "dropped",
        "request",
        "response",
    )

    def __init__(self, application: ASGIApplication, connection: ExchangeConnection, request: Request) -> None:
        self._application = application
        self._connection = connection
        self.request = request
        self.response = Response(request.method, request.http_version, keep_alive=request.keep_alive)
        self.dropped = False
        self._body: list[bytes] | None = None
        self._body_size = 0
        self._body_ended = False
        self._body_delivered = False
        self._client_left = False
        self._input_ended = False
        self._paused = False
        self._waiters: list[asyncio.Future[None]] | None = None
        self._task: asyncio.Task[None] | None = None
        self._answered = False
        self._sends = 0
        self._turn_ends = 0.0
        self._parts: list[bytes] | None = None
        self._parts_size: int  # of `_parts`, where there are any

    # from the connection

    def start(self) -> None:
        """Run the application's call in a task of its own, at once where tasks can start eagerly."""
        application = self._application
        loop = application.loop
        if HAS_EAGER_TASKS:
            task: asyncio.Task[None] = asyncio.Task(self._run(), loop=loop, eager_start=True)  # type: ignore[call-arg]
            if task.done():
                return
        else:
            task = asyncio.Task(self._run(), loop=loop)
        # The loop holds tasks weakly; a call that waits must not be collected.
        self._task = task
        application.tasks.add(task)
        task.add_done_callback(application.tasks.discard)

    def data_received(self, data: bytes) -> None:
        """Take a part of the request body, for `receive()`."""
        if self.response.complete:
            return
        if self._body is None:
            self._body = [data]
        else:
            self._body.append(data)
        self._body_size += len(data)
        if self._body_size > BODY_HIGH_WATER_BYTES and not self._paused:
            self._paused = True
            self._connection.pause_body()
        if self._waiters is not None:
            self._wake()

    def body_ended(self) -> None:
        """Take note that the request body is complete."""
        self._body_ended = True
        if self._waiters is not None:
            self._wake()

    def input_ended(self) -> None:
        """Take note that the client sends no more: it may have gone, so `receive()` says `http.disconnect`."""
        self._input_ended = True
        if self._waiters is not None:
            self._wake()

    def client_left(self) -> None:
        """Take note that the connection is gone."""
        self._client_left = True
        self._input_ended = True
        self._body = None
        if self._waiters is not None:
            self._wake()

    def writable_again(self) -> None:
        """Let a waiting `send()` return."""
        if self._waiters is not None:
            self._wake()

    def cancel(self) -> None:
        """Cut the application's call."""
        if self._task is not None:
            # A task that is cancelled before its first step never runs, and would be in hand for ever: it comes first.
            cancel = self._task.cancel
            self._application.loop.call_soon(cancel, "smoothserve: the drain deadline has passed")

    @property
    def awaited(self) -> bool:
        """Whether the client has done its part and nothing of the answer has been sent to it."""
        response = self.response
        if self._answered or self._client_left or (response.started and not response.head_pending):
            return False
        # Before the body is delivered, the application waits for nothing but the client.
        return self._waiters is None or self._body_delivered or self._body_ended

    def time_out(self, timeout: float) -> None:
        """Answer 504 in the application's place after `timeout` seconds, and cancel the call."""
        task = self._task
        if task is None:
            return
        self._application.error_log.error(
            "%s %s: no answer within %g s (--request-timeout): answered with 504, the call is cancelled here:\n%s",
            self.request.method,
            self.request.target.decode("latin-1"),
            timeout,
            render_stack(task),
        )
        self._connection.request_timed_out(self)
        self.dropped = True
        task.cancel("smoothserve: the request has timed out")

    # the application's side

    async def receive(self) -> Message:
        """Return the next event: `http.request` until the body is delivered, then `http.disconnect` when it is due."""
        if not self._body_delivered:
            while True:
                if self._body_ended or self._body is not None:
                    return self._take_body()
                if self._input_ended or self.response.complete:
                    break
                self._connection.send_continue()
                await self._wait()
        while not (self._input_ended or self.response.complete):
            await self._wait()
        return {"type": "http.disconnect"}

    def _take_body(self) -> Message:
        parts = self._body
        body = b"" if parts is None else parts[0] if len(parts) == 1 else b"".join(parts)
        self._body = None
        self._body_size = 0
        if self._paused:
            self._paused = False
            self._connection.resume_body()
        # Resuming may have brought the rest of the body at once.
        more = not self._body_ended or self._body is not None
        self._body_delivered = not more
        return {"type": "http.request", "body": body, "more_body": more}

    async def send(self, message: Message) -> None:
        """Take a message of the answer. Returns when the transport can take more."""
        response = self.response
        if not response.started:
            self._start_response(message)
            return
        if message["type"] != "http.response.body":
            raise RuntimeError(
                f"expected the message 'http.response.body', but the application sent {message['type']!r}"
            )
        if response.complete:
            raise RuntimeError("the application sent 'http.response.body' after the response was complete")
        more = message.get("more_body", False)
        data = response.data_to_send(message.get("body", b""), more=more)
        connection = self._connection
        if self._client_left:
            if self._application.send_raises:
                raise ClientDisconnectedError("the client has disconnected")
        elif more or self._parts is not None:
            self._send_part(data, more=more)
        elif data:
            connection.write(data)
        if not more:
            if not self._client_left:
                self._finish()
            return
        self._sends += 1
        if not self._sends & FAIR_SENDS and self._turn_ends < monotonic():
            await self._give_way()
        while not (connection.writable or self._client_left):
            await self._wait()
            self._turn_ends = 0.0

    def _send_part(self, data: bytes, *, more: bool) -> None:
        """Send a part of a streamed answer together with those of the same turn: each write is a system call."""
        parts = self._parts
        if parts is not None:
            parts.append(data)
            self._parts_size += len(data)
            if not more or self._parts_size >= PARTS_BYTES:
                self._send_parts()
        elif len(data) >= PART_BYTES:
            self._connection.write(data)
        elif data:
            self._parts = [data]
            self._parts_size = len(data)
            self._application.loop.call_soon(self._send_parts)

    def _send_parts(self) -> None:
        parts = self._parts
        if parts is not None:
            self._parts = None
            if not self._client_left:
                self._connection.write(parts[0] if len(parts) == 1 else b"".join(parts))

    async def _give_way(self) -> None:
        """Let others have their turn: an endless stream to a client that takes all, or has gone, would keep the loop.

        When the call has begun to stream, its time does.
        """
        if self._turn_ends:
            await asyncio.sleep(0)
        self._turn_ends = monotonic() + FAIR_SECONDS

    def _start_response(self, message: Message) -> None:
        if message["type"] != "http.response.start":
            raise RuntimeError(
                f"expected the message 'http.response.start', but the application sent {message['type']!r}"
            )
        if not self._connection.keep_alive_allowed():
            self.response.keep_alive = False
        self.response.start(message["status"], message.get("headers", ()), self._application.defaults)

    def _finish(self) -> None:
        self._answered = True
        error = self.response.error
        if error is not None:
            self._log_error(error)
            self._connection.answer_failed(self)
        else:
            self._connection.answer_finished(self)
        if self._waiters is not None:
            self._wake()

    # the call

    async def _run(self) -> None:
        application = self._application
        try:
            call: Awaitable[object] = application.app(
                application.scope(self._connection, self.request), self.receive, self.send
            )
            result = await call
        except BaseException as error:
            if isinstance(error, GeneratorExit) and not application.loop.is_running():
                raise  # the loop is being closed
            # SystemExit and the like, too: they must not end the worker.
            self._call_failed(error)
        else:
            if result is not None:
                self._log_error(f"the application returned {result!r}, an ASGI application returns None")
            self._call_ended()
        finally:
            self._connection.call_returned(self)

    def _call_ended(self) -> None:
        response = self.response
        if self._answered or self._client_left:
            return
        if response.head_pending or not response.started:
            self._log_error("the application returned without answering")
            self._answer_error()
        elif not self.dropped:
            self._log_error("the application returned without completing its answer")
            self._fail()

    def _call_failed(self, error: BaseException) -> None:
        if not self._is_ours(error):
            self._application.error_log.error(
                "exception in the application: %s %s",
                self.request.method,
                self.request.target.decode("latin-1"),
                exc_info=without_our_frame(error),
            )
        response = self.response
        if self._answered or self._client_left:
            return
        if response.started and not response.head_pending:
            self._fail()
        else:
            self._answer_error()

    def _is_ours(self, error: BaseException) -> bool:
        """Whether the call failed through the server's or client's doing: cut at the deadline, or the client left."""
        if isinstance(error, asyncio.CancelledError):
            return self.dropped or self._client_left
        return self._client_left and stems_from_disconnect(error)

    def _answer_error(self) -> None:
        """Answer 500 in the application's place; nothing of its answer has been sent."""
        response = Response(self.request.method, self.request.http_version, keep_alive=self.request.keep_alive)
        self.response = response
        if not self._connection.keep_alive_allowed():
            response.keep_alive = False
        try:
            response.start(500, ERROR_HEADERS, self._application.defaults)
        except InvalidResponseError:  # pragma: no cover - our own headers are valid
            self._fail()
            return
        self._connection.write(response.data_to_send(b"Internal Server Error", more=False))
        self._finish()

    def _fail(self) -> None:
        """Cut the answer off: it cannot be completed."""
        self._send_parts()
        self._answered = True
        self._connection.answer_failed(self)

    def _log_error(self, text: str) -> None:
        self._application.error_log.error("%s: %s %s", text, self.request.method, self.request.target.decode("latin-1"))

    # waiting: several calls may wait at once, and a cancelled one must not disturb the others

    async def _wait(self) -> None:
        waiter = self._application.loop.create_future()
        if self._waiters is None:
            self._waiters = [waiter]
        else:
            self._waiters.append(waiter)
        await waiter

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)


def stems_from_disconnect(error: BaseException | None) -> bool:
    """Whether `ClientDisconnectedError` is the error, its cause, or all that an exception group holds."""
    seen = 0
    while error is not None and seen < 20:
        if isinstance(error, ClientDisconnectedError):
            return True
        if isinstance(error, BaseExceptionGroup):
            return all(stems_from_disconnect(inner) for inner in error.exceptions)
        error = error.__cause__ or error.__context__
        seen += 1
    return False


def without_our_frame(error: BaseException) -> BaseException:
    """Drop the server's own frame from the traceback: it begins in the application's call."""
    if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
        return error.with_traceback(error.__traceback__.tb_next)
    return error
