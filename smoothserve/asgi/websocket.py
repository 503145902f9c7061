"""One WebSocket in the hands of an ASGI application: scope, `receive` and `send` (ASGI HTTP and WebSocket 2.5).

Knows the application's messages and its call; the wire, the closing handshake and the time-outs are the connection's.
`message_received`, `receive` and `send` run for each message: this is the hot path of WebSocket.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable
from typing import Any

from smoothserve.asgi.http import (
    ERROR_HEADERS,
    HAS_EAGER_TASKS,
    ASGIApplication,
    ClientDisconnectedError,
    Message,
    stems_from_disconnect,
    without_our_frame,
)
from smoothserve.asgi.streams import FAIR_SENDS
from smoothserve.protocol.response import Response
from smoothserve.protocol.websocket.events import CloseCode, may_close_with
from smoothserve.protocol.websocket.exchange import HANDOVER_REASON, HandoverControls, WebSocketLink
from smoothserve.protocol.websocket.handshake import OWN_HEADERS

SPEC_VERSION = "2.5"
#: Bytes of undelivered messages beyond which no further one is taken, whatever the queue's length.
QUEUE_BYTES = 1024 * 1024
ATTACH = "websocket.smoothserve.attach"

_CONNECTING, _OPEN, _DENYING, _CLOSED = range(4)


class ASGIWebSockets:
    """The WebSocket side of a loaded application; implements `WebSocketApplication`."""

    def __init__(self, application: ASGIApplication, *, max_queue: int = 32) -> None:
        self._application = application
        self._max_queue = max_queue

    def websocket(self, link: WebSocketLink, handover: HandoverControls | None, *, resumed: bool) -> "ASGIWebSocket":
        """Make the exchange for a handshake, or for an open WebSocket."""
        return ASGIWebSocket(self._application, link, handover, self._max_queue, resumed=resumed)


class ASGIWebSocket:
    """An application call for a WebSocket."""

    awaited = False

    __slots__ = (
        "_application",
        "_connect_delivered",
        "_disconnect",
        "_full",
        "_handover",
        "_leaving",
        "_link",
        "_max_queue",
        "_queue",
        "_queued_bytes",
        "_receivers",
        "_response",
        "_resumed",
        "_senders",
        "_sends",
        "_state",
        "_task",
        "_touched",
        "_waiting",
        "dropped",
        "watched",
    )

    def __init__(
        self,
        application: ASGIApplication,
        link: WebSocketLink,
        handover: HandoverControls | None,
        max_queue: int,
        *,
        resumed: bool,
    ) -> None:
        self._application = application
        self._link = link
        self._handover = handover
        self._resumed = resumed
        self._max_queue = max_queue
        self.dropped = False
        self.watched = False
        self._state = _CONNECTING
        self._connect_delivered = False
        self._queue: deque[str | bytes] = deque()
        self._queued_bytes = 0
        self._full = False
        self._disconnect: tuple[int, str] | None = None
        self._leaving = False
        self._waiting = 0
        self._touched = False
        self._receivers: list[asyncio.Future[None]] | None = None
        self._senders: list[asyncio.Future[None]] | None = None
        self._sends = 0
        self._response: Response | None = None
        self._task: asyncio.Task[None] | None = None

    # from the connection

    @property
    def idle(self) -> bool:
        """Whether the application waits in `receive()` and nothing is undelivered."""
        return self._waiting > 0 and not self._queue and self._connect_delivered and self._state == _OPEN

    @property
    def untouched(self) -> bool:
        """Whether no message has been delivered since the application last waited."""
        return not (self._touched or self._queue)

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
        self._task = task
        application.tasks.add(task)
        task.add_done_callback(application.tasks.discard)

    def message_received(self, message: str | bytes) -> bool:
        """Take a message for `receive()`. Return whether that is enough for now."""
        queue = self._queue
        queue.append(message)
        self._queued_bytes += len(message)
        if self._receivers is not None:
            self._wake_receivers()
        self._full = len(queue) >= self._max_queue or self._queued_bytes > QUEUE_BYTES
        return self._full

    def disconnected(self, code: int, reason: str) -> None:
        """Take note that nothing more comes and nothing can be sent."""
        if self._disconnect is None or self._leaving:
            self._leaving = False
            self._disconnect = self._disconnect or (code, reason)
            self._state = _CLOSED
            self._wake_receivers()
            self.writable_again()

    def leave(self) -> None:
        """Ask the call to end; what it sends still goes out."""
        self._leaving = True
        self._disconnect = (CloseCode.SERVICE_RESTART, HANDOVER_REASON)
        self._wake_receivers()

    def writable_again(self) -> None:
        """Let a waiting `send()` return."""
        waiters, self._senders = self._senders, None
        _wake(waiters)

    def cancel(self) -> None:
        """Cut the application's call."""
        if self._task is not None:
            # As in `ASGIExchange.cancel`: its first step comes before.
            cancel = self._task.cancel
            self._application.loop.call_soon(cancel, "smoothserve: the drain deadline has passed")

    def time_out(self, timeout: float) -> None:
        """Go on: a WebSocket may take any time."""

    # the application's side

    async def receive(self) -> Message:
        """Return the next event: `websocket.connect`, then messages, then `websocket.disconnect`, again and again.

        A cancelled call loses nothing: a message leaves the queue only when it is returned.
        """
        if not self._connect_delivered:
            self._connect_delivered = True
            return {"type": "websocket.connect"}
        queue = self._queue
        if not queue:
            await self._await_event()
            if not queue:
                code, reason = self._disconnect or (CloseCode.ABNORMAL, "")
                return {"type": "websocket.disconnect", "code": int(code), "reason": reason}
        message = queue.popleft()
        self._queued_bytes -= len(message)
        self._touched = True
        if self._full and not queue:
            self._full = False
            self._link.room()
        if type(message) is str:
            return {"type": "websocket.receive", "text": message, "bytes": None}
        return {"type": "websocket.receive", "text": None, "bytes": message}

    async def _await_event(self) -> None:
        """Wait until there is a message or the end."""
        self._waiting += 1
        self._touched = False
        try:
            while not self._queue and self._disconnect is None:
                if self.watched:
                    self._link.application_waits()
                    if self._queue or self._disconnect is not None:
                        return
                waiter = self._application.loop.create_future()
                if self._receivers is None:
                    self._receivers = [waiter]
                else:
                    self._receivers.append(waiter)
                await waiter
        except asyncio.CancelledError:
            self._receivers = _undone(self._receivers)
            raise
        finally:
            self._waiting -= 1

    async def send(self, message: Message) -> None:
        """Take a message of the application's. Returns when the transport can take more."""
        if self._state != _OPEN or message["type"] != "websocket.send":
            await self._send_other(message)
            return
        link = self._link
        text = message.get("text")
        if type(text) is str:
            link.send_text(text)
        elif text is not None:
            link.send_text(_as_text(text))
        else:
            data = message.get("bytes")
            if data is None:
                raise ValueError("a 'websocket.send' message has neither text nor bytes")
            link.send_bytes(data if type(data) is bytes else _as_bytes(data))
        if self.watched and self._waiting:
            # When the loop has written it: behind an answer is a good moment for what waits for the application.
            self._application.loop.call_soon(self._tell_that_it_waits)
        self._sends += 1
        if not self._sends & FAIR_SENDS:
            # An endless stream to a client that takes all must not keep the loop for itself.
            await asyncio.sleep(0)
        if not link.writable:
            await self._await_writable()

    def _tell_that_it_waits(self) -> None:
        """Call when a message of ours is out: the application may wait in `receive()` in another task meanwhile."""
        if self.watched and self.idle and self._disconnect is None:
            self._link.application_waits()

    async def _await_writable(self) -> None:
        while not self._link.writable and self._state in (_OPEN, _DENYING):
            waiter = self._application.loop.create_future()
            if self._senders is None:
                self._senders = [waiter]
            else:
                self._senders.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                self._senders = _undone(self._senders)
                raise

    async def _send_other(self, message: Message) -> None:
        kind = message["type"]
        if kind == ATTACH:
            if self._handover is not None:
                self._handover.attach(message["state"])
        elif self._state == _CONNECTING:
            self._answer(kind, message)
            await self._await_writable()
        elif self._state == _OPEN:
            if kind != "websocket.close":
                raise RuntimeError(f"expected 'websocket.send' or 'websocket.close', but the application sent {kind!r}")
            self._close(message)
        elif self._state == _DENYING:
            if kind != "websocket.http.response.body":
                raise RuntimeError(f"expected 'websocket.http.response.body', but the application sent {kind!r}")
            self._deny(message)
            await self._await_writable()
        elif self._disconnect is None:
            raise RuntimeError(f"the application sent {kind!r} after it had closed or refused the WebSocket")
        elif kind != "websocket.close":
            raise ClientDisconnectedError("the WebSocket is closed")
        # else: who closes what is closed already has what they want

    def _answer(self, kind: str, message: Message) -> None:
        """Take the answer to the handshake."""
        if kind == "websocket.accept":
            lines = self._header_lines(message.get("headers", ()))
            subprotocol = message.get("subprotocol")
            if subprotocol is not None and not self._resumed and subprotocol not in self._link.subprotocols:
                raise RuntimeError(f"the application chose the subprotocol {subprotocol!r}, which was not offered")
            self._state = _OPEN
            self._link.accept(subprotocol, lines)
        elif kind == "websocket.close":
            self._state = _CLOSED
            if self._resumed:
                self._close(message)
            else:
                self._refuse(403, b"")
        elif kind == "websocket.http.response.start":
            response = Response("GET", "1.1", keep_alive=False)
            response.start(message["status"], message.get("headers", ()), self._application.defaults)
            self._response = response
            self._state = _DENYING
        else:
            raise RuntimeError(
                "expected 'websocket.accept', 'websocket.close' or 'websocket.http.response.start', "
                f"but the application sent {kind!r}"
            )

    def _header_lines(self, headers: Any) -> bytes:
        """Render the acceptance's headers, the server's own included."""
        response = Response("GET", "1.1", keep_alive=True)
        kept = [(name, value) for name, value in headers if name.lower() not in OWN_HEADERS]
        if any(name.lower() == b"sec-websocket-protocol" for name, _ in kept):
            raise RuntimeError("a subprotocol is chosen by the field 'subprotocol', not by a header")
        response.start(200, kept, self._application.defaults)
        head: bytes = response.data_to_send(b"", more=False).partition(b"\r\n")[2]
        return head.replace(b"content-length: 0\r\n", b"").removesuffix(b"\r\n")

    def _close(self, message: Message) -> None:
        code = message.get("code")
        code = CloseCode.NORMAL if code is None else code
        if not may_close_with(code) and code != CloseCode.NO_STATUS:
            raise RuntimeError(f"a WebSocket cannot be closed with the code {code!r}")
        self._state = _CLOSED
        if not self._leaving:
            self._link.close(code, message.get("reason") or "")
        # else: it is the end of the call, not of the WebSocket

    def _deny(self, message: Message) -> None:
        """Send a part of a denial (extension `websocket.http.response`)."""
        response = self._response
        assert response is not None  # noqa: S101 - it was made on the way into this state
        data = response.data_to_send(message.get("body", b""), more=message.get("more_body", False))
        if response.complete:
            self._state = _CLOSED
        self._link.deny(data, response)

    def _refuse(self, status: int, body: bytes) -> None:
        """Answer the handshake with an error."""
        response = Response("GET", "1.1", keep_alive=False)
        response.start(status, ERROR_HEADERS, self._application.defaults)
        self._state = _CLOSED
        self._link.deny(response.data_to_send(body, more=False), response)

    # the call

    async def _run(self) -> None:
        application = self._application
        try:
            call: Awaitable[object] = application.app(self._scope(), self.receive, self.send)
            result = await call
        except BaseException as error:
            if isinstance(error, GeneratorExit) and not application.loop.is_running():
                raise  # the loop is being closed
            self._call_failed(error)
        else:
            if result is not None:
                self._log_error(f"the application returned {result!r}, an ASGI application returns None")
            self._call_ended()
        finally:
            # Whoever still waits in another task of the application's must not wait for ever.
            self.disconnected(CloseCode.ABNORMAL, "")
            self._link.call_returned(self)

    def _scope(self) -> dict[str, Any]:
        link = self._link
        scope = self._application.scope(link, link.request)
        scope["type"] = "websocket"
        scope["asgi"] = {"version": "3.0", "spec_version": SPEC_VERSION}
        scope["scheme"] = "wss" if link.scheme == "https" else "ws"
        scope["subprotocols"] = link.subprotocols
        del scope["method"]
        scope["extensions"]["websocket.http.response"] = {}
        if self._handover is not None:
            scope["extensions"]["smoothserve.handover"] = _extension(self._handover, resumed=self._resumed)
        return scope

    def _call_ended(self) -> None:
        if self._leaving or self._disconnect is not None:
            return
        if self._state == _CONNECTING:
            self._log_error("the application returned without answering")
            self._fail()
        elif self._state == _DENYING:
            self._log_error("the application returned without completing its answer")
            self._fail()
        elif self._state == _OPEN:
            self._close({})

    def _call_failed(self, error: BaseException) -> None:
        if not self._is_ours(error):
            self._application.error_log.error(
                "exception in the application: WebSocket %s",
                self._link.request.target.decode("latin-1"),
                exc_info=without_our_frame(error),
            )
        if not self._leaving and self._disconnect is None:
            self._fail()

    def _fail(self) -> None:
        """End the WebSocket in the application's place."""
        if self._state == _OPEN or (self._state == _CONNECTING and self._resumed):
            self._close({"code": CloseCode.INTERNAL_ERROR})
        elif self._state == _CONNECTING or (self._response is not None and self._response.head_pending):
            self._refuse(500, b"Internal Server Error")
        elif self._state == _DENYING:
            self._state = _CLOSED
            assert self._response is not None  # noqa: S101
            self._response.error = "cut"
            self._link.deny(b"", self._response)

    def _is_ours(self, error: BaseException) -> bool:
        """Whether the call ended because the WebSocket did: cut, closed, or asked to leave."""
        if isinstance(error, asyncio.CancelledError):
            return self.dropped or self._disconnect is not None
        if self._disconnect is None:
            return False
        # Starlette's WebSocketDisconnect and its like are how an application hears of the end.
        return stems_from_disconnect(error) or "Disconnect" in type(error).__name__

    def _log_error(self, text: str) -> None:
        self._application.error_log.error("%s: WebSocket %s", text, self._link.request.target.decode("latin-1"))

    def _wake_receivers(self) -> None:
        waiters, self._receivers = self._receivers, None
        _wake(waiters)


def _as_text(text: object) -> str:
    if not isinstance(text, str):
        raise TypeError(f"'text' of a 'websocket.send' message is {type(text).__name__}, not str")
    return text


def _as_bytes(data: object) -> bytes:
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"'bytes' of a 'websocket.send' message is {type(data).__name__}, not bytes")
    return bytes(data)


def _undone(waiters: list[asyncio.Future[None]] | None) -> list[asyncio.Future[None]] | None:
    """Return those that are still waited for, None without any: cancelled ones must not pile up."""
    return [waiter for waiter in waiters or () if not waiter.done()] or None


def _wake(waiters: list[asyncio.Future[None]] | None) -> None:
    for waiter in waiters or ():
        if not waiter.done():
            waiter.set_result(None)


def _extension(controls: HandoverControls, *, resumed: bool) -> dict[str, Any]:
    """Return the extension `smoothserve.handover`: plain functions, which survive a deepcopy of the scope."""

    def opt_in() -> None:
        """Let the WebSocket be handed over to the next worker."""
        controls.opt_in()

    def opt_out() -> None:
        """Keep the WebSocket in this worker."""
        controls.opt_out()

    def attach(state: bytes) -> None:
        """Opt in, and give this to the next call as `state`; the last one counts."""
        controls.attach(state)

    return {
        "version": 1,
        "resumed": resumed,
        "state": controls.state,
        "opt_in": opt_in,
        "opt_out": opt_out,
        "attach": attach,
    }
