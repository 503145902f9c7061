"""One HTTP exchange through ASGI: scope, `receive`, `send`, and the task that runs the application's call.

Obeys ASGI 3.0, HTTP and WebSocket message format 2.3 (as announced by default) to 2.5. Must not know sockets, loops'
transports or processes: the connection behind `ExchangeConnection` does. Runs per request: this is the hot path.
"""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from smoothserve.asgi.scope import ScopeBuilder
from smoothserve.asgi.stacks import render_stack
from smoothserve.asgi.streams import Stream
from smoothserve.protocol.events import Request
from smoothserve.protocol.exchange import ExchangeConnection
from smoothserve.protocol.memory import FAST_PATHS
from smoothserve.protocol.response import DefaultHeaders, InvalidResponseError, Response

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGICallable = Callable[[Scope, Receive, Send], Awaitable[None]]

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
        self.extensions = extensions if extensions is not None else {}
        self.scope = ScopeBuilder(
            spec_version=spec_version, root_path=root_path, state=self.state, extensions=self.extensions
        ).build
        #: From HTTP 2.4 on, `send()` tells the application that the client has gone.
        self.send_raises = tuple(int(part) for part in spec_version.split(".")) >= (2, 4)
        self.tasks: set[asyncio.Task[None]] = set()

    def exchange(self, connection: ExchangeConnection, request: Request) -> "ASGIExchange":
        """Make the exchange for a request."""
        return ASGIExchange(self, connection, request)


class ASGIExchange:
    """One request in the hands of an ASGI application."""

    # No slots: the interpreter makes instances of a plain class without leaving its loop (CPython 3.13).

    def __init__(self, application: ASGIApplication, connection: ExchangeConnection, request: Request) -> None:
        self._application = application
        self._connection = connection
        self.request = request
        self.response = Response(request.method, request.http_version, request.keep_alive)
        self.dropped = False
        self._body: list[bytes] | None = None
        self._body_ended = request.quick
        self._body_delivered = False
        self._client_left = False
        self._input_ended = False
        self._waiters: list[asyncio.Future[None]] | None = None
        self._task: asyncio.Task[None] | None = None
        self._answered = False
        self._stream: Stream | None = None
        # Where there is a `_body`: how long it is, and whether the client waits until it is taken.
        self._body_size: int
        self._paused: bool

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
        # The loop holds tasks weakly; a call that waits must not be collected. `_run` takes it out: a callback would be
        # a turn of the loop for each request.
        self._task = task
        application.tasks.add(task)

    def data_received(self, data: bytes) -> None:
        """Take a part of the request body, for `receive()`."""
        if self.response.complete:
            return
        if self._body is None:
            self._body = [data]
            self._body_size = len(data)
            self._paused = False
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
        if self._stream is not None:
            self._stream.discard()
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
        body = b""
        if parts is not None:
            body = parts[0] if len(parts) == 1 else b"".join(parts)
            self._body = None
            if self._paused:
                self._connection.resume_body()
        # Resuming may have brought the rest of the body at once.
        more = not self._body_ended or self._body is not None
        self._body_delivered = not more
        return {"type": "http.request", "body": body, "more_body": more}

    async def send(self, message: Message) -> None:  # noqa: C901 - in one piece: a call costs as much as the rest
        """Take a message of the answer. Returns when the transport can take more."""
        response = self.response
        if not response.started:
            if message["type"] != "http.response.start":
                raise _unexpected("http.response.start", message)
            if not self._connection.keep_alive_allowed():
                response.keep_alive = False
            response.start(message["status"], message.get("headers", ()), self._application.defaults)
            return
        if message["type"] != "http.response.body":
            raise _unexpected("http.response.body", message)
        if response.complete:
            raise RuntimeError("the application sent 'http.response.body' after the response was complete")
        more = message.get("more_body", False)
        data = response.data_to_send(message.get("body", b""), more)
        stream = self._stream
        if more and stream is None:
            self._stream = stream = Stream(self._application.loop, self._connection)
        if self._client_left:
            if self._application.send_raises:
                raise ClientDisconnectedError("the client has disconnected")
        elif stream is not None:
            stream.send(data, more)
        elif data:
            self._connection.write(data)
        if not more or stream is None:
            if not self._client_left:
                self._finish()
            return
        if stream.turn_is_over():
            await stream.give_way()
        while not (self._connection.writable or self._client_left):
            await self._wait()
            stream.begin_turn()

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
            scope = application.scope(self._connection, self.request)
            result: object = await application.app(scope, self.receive, self.send)  # type: ignore[func-returns-value]
        except BaseException as error:
            if isinstance(error, GeneratorExit) and not application.loop.is_running():
                raise  # the loop is being closed
            # SystemExit and the like, too: they must not end the worker.
            self._call_failed(error)
        else:
            if result is not None:
                self._log_error(f"the application returned {result!r}, an ASGI application returns None")
            if not self._answered:  # in a forked child always: see `forked`
                self._call_ended()
        finally:
            if self._task is not None:
                application.tasks.discard(self._task)
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
        response = Response(self.request.method, self.request.http_version, self.request.keep_alive)
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
        if self._stream is not None:
            self._stream.flush()
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


def _unexpected(expected: str, message: Message) -> RuntimeError:
    return RuntimeError(f"expected the message {expected!r}, but the application sent {message['type']!r}")


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
