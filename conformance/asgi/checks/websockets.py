"""WebSocket: scope, events and their order (ASGI WebSocket 2.5, and its Denial Response extension)."""

import asyncio
from typing import Any

from conformance.asgi.checks.registry import check
from conformance.asgi.events import IntendedError, Message, Receive, Scope, Send
from conformance.exchange import Failure, Level, Talk, expect, expect_equal
from conformance.http1.wire import Read
from conformance.websocket.wire import BINARY, CLOSE, PING, PONG, TEXT, Frame, FrameReader, render_frame

SCOPE = "WebSocket Connection Scope"
RECEIVE = "Receive - receive event"
SEND = "Send - send event"
CLOSING = "Close - send event"
DISCONNECT = "Disconnect - receive event"
KEYS = frozenset(
    [
        "type", "asgi", "http_version", "scheme", "path", "raw_path", "query_string", "root_path", "headers", "client",
        "server", "subprotocols", "state", "extensions",
    ]
)  # fmt: skip
KEY = b"\x01\x02\x03\x04"
LARGE = "0123456789abcdef" * 8192


class Socket:
    """The client's side of a WebSocket."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._reader = FrameReader()
        self._frames: list[Frame] = []

    async def send(self, opcode: int, payload: bytes = b"", *, fin: bool = True) -> None:
        """Send a frame."""
        await self._talk.send(b"".join(render_frame(opcode, payload, KEY, fin=fin)))

    async def frame(self) -> Frame:
        """Return the next frame. Raise `Failure` if none comes."""
        while not self._frames:
            try:
                self._frames += self._reader.receive_data(self._talk.data)
                self._talk.data = b""
                if not self._frames and not await self._talk.read():
                    raise Failure("the connection ends without a close frame")
            except TimeoutError:
                raise Failure("no frame comes") from None
        return self._frames.pop(0)

    async def expect(self, opcode: int, payload: bytes) -> None:
        """Expect the next message or control frame to be this."""
        frame = await self.frame()
        whole = frame.payload
        while not frame.fin and frame.opcode not in (CLOSE, PING, PONG):
            further = await self.frame()
            whole += further.payload
            if further.fin:
                break
        expect_equal((frame.opcode, whole), (opcode, payload), "frame")

    async def close(self, code: int = 1000, reason: bytes = b"") -> None:
        """Close, and wait for the answer and the end."""
        await self.send(CLOSE, code.to_bytes(2) + reason)
        frame = await self.frame()
        while frame.opcode != CLOSE:
            frame = await self.frame()
        await self._talk.end()


async def shake_hands(talk: Talk, suffix: bytes = b"", *fields: bytes) -> Read:
    """Ask for a WebSocket; return the head of the answer."""
    await talk.ask(
        suffix,
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *fields,
    )
    await talk.read_until(b"\r\n\r\n")
    head, _, rest = talk.data.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 101 "):
        return await talk.answer()
    talk.data = rest
    pairs = [line.decode("latin-1").partition(":") for line in head.split(b"\r\n")[1:]]
    return Read(101, [(name.lower(), value.strip()) for name, _, value in pairs])


async def connect(talk: Talk, suffix: bytes = b"", *fields: bytes) -> Socket:
    """Open a WebSocket. Raise `Failure` if it is refused."""
    expect_equal((await shake_hands(talk, suffix, *fields)).status, 101, "status")
    return Socket(talk)


async def open_and_close(talk: Talk) -> None:
    """Be the client's side of checks that need but a WebSocket."""
    socket = await connect(talk, b"/a%20b?c=d", b"Sec-WebSocket-Protocol: one, two", b"X-A: B")
    await socket.close()


async def accept(receive: Receive, send: Send, **keywords: Any) -> None:
    """Take `websocket.connect`, and accept."""
    message = await receive()
    expect_equal(dict(message), {"type": "websocket.connect"}, "the first event")
    await send({"type": "websocket.accept", **keywords})


async def until_disconnect(receive: Receive) -> Message:
    """Wait for the end; return its event."""
    while True:
        message = await asyncio.wait_for(receive(), 10)
        if message["type"] == "websocket.disconnect":
            return message


def expect_code(message: Message, code: int) -> None:
    """Expect the code of a disconnect: an int of any class."""
    expect(isinstance(message["code"], int) and message["code"] == code, f"code is {message['code']!r}, not {code}")


# scope


@check(SCOPE, ask=open_and_close)
async def websocket_scope_is_whole(scope: Scope, receive: Receive, send: Send) -> None:
    """Type, versions, scheme, path, query and headers are as on HTTP; there is no method."""
    expect_equal(scope["type"], "websocket", "type")
    expect_equal(scope["asgi"]["version"], "3.0", "version")
    expect_equal(scope.get("http_version", "1.1"), "1.1", "http_version")
    expect_equal(scope.get("scheme", "ws"), "ws", "scheme")
    expect(scope["path"].endswith("/a b"), f"path is {scope['path']!r}")
    expect_equal(scope.get("query_string", b""), b"c=d", "query_string")
    expect(all(type(name) is bytes and type(value) is bytes for name, value in scope["headers"]), "headers")
    expect((b"x-a", b"B") in [tuple(pair) for pair in scope["headers"]], "a header is missing")
    expect("method" not in scope, "there is a method")
    await accept(receive, send)
    await until_disconnect(receive)


@check(SCOPE, Level.SHOULD, ask=open_and_close)
async def websocket_scope_has_no_keys_of_its_own(scope: Scope, receive: Receive, send: Send) -> None:
    """What the specification does not name is in extensions."""
    expect(scope.keys() <= KEYS, f"unknown keys: {sorted(scope.keys() - KEYS)}")
    await accept(receive, send)
    await until_disconnect(receive)


@check(SCOPE, ask=open_and_close)
async def websocket_has_its_addresses(scope: Scope, receive: Receive, send: Send) -> None:
    """Client and server are host and port."""
    for name in ("client", "server"):
        host, port = scope[name]
        expect(isinstance(host, str) and type(port) is int, f"{name} is {scope[name]!r}")
    await accept(receive, send)
    await until_disconnect(receive)


@check(SCOPE, ask=open_and_close)
async def subprotocols_are_a_list(scope: Scope, receive: Receive, send: Send) -> None:
    """The subprotocols are those that the client offers, in its order."""
    expect_equal(list(scope["subprotocols"]), ["one", "two"], "subprotocols")
    await accept(receive, send)
    await until_disconnect(receive)


@check("Lifespan State", ask=open_and_close)
async def websocket_has_a_copy_of_the_state(scope: Scope, receive: Receive, send: Send) -> None:
    """A WebSocket has a copy of the lifespan's state, too."""
    expect_equal(scope["state"].get("number"), 1, "the state that the lifespan has set")
    expect("mine" not in scope["state"], "what a request has set is seen")
    scope["state"]["mine"] = True
    await accept(receive, send)
    await until_disconnect(receive)


# the handshake


@check("Accept - send event")
async def accept_opens_it(scope: Scope, receive: Receive, send: Send) -> None:
    """The handshake is answered on accept, not before; a subprotocol and headers go along."""
    message = await receive()
    expect_equal(dict(message), {"type": "websocket.connect"}, "the first event")
    await asyncio.sleep(0.2)
    await send({"type": "websocket.accept", "subprotocol": "two", "headers": [(b"x-a", b"b"), (b"set-cookie", b"c=d")]})
    await until_disconnect(receive)


@accept_opens_it.client
async def look_at_the_handshake(talk: Talk) -> None:
    answered = await shake_hands(talk, b"", b"Sec-WebSocket-Protocol: one, two")
    expect_equal(answered.status, 101, "status")
    expect_equal(answered.values("sec-websocket-protocol"), ["two"], "subprotocol")
    expect_equal(answered.values("sec-websocket-accept"), ["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="], "Sec-WebSocket-Accept")
    expect_equal((answered.values("x-a"), answered.values("set-cookie")), (["b"], ["c=d"]), "headers")
    await Socket(talk).close()


@check("Accept - send event")
async def accept_without_a_subprotocol_names_none(scope: Scope, receive: Receive, send: Send) -> None:
    """Without a subprotocol there is none in the answer."""
    await accept(receive, send)
    await until_disconnect(receive)


@accept_without_a_subprotocol_names_none.client
async def look_for_no_subprotocol(talk: Talk) -> None:
    answered = await shake_hands(talk, b"", b"Sec-WebSocket-Protocol: one, two")
    expect_equal((answered.status, answered.values("sec-websocket-protocol")), (101, []), "status and subprotocol")
    await Socket(talk).close()


@check(CLOSING)
async def close_ahead_of_accept_is_a_403(scope: Scope, receive: Receive, send: Send) -> None:
    """A close in the place of accept is a 403."""
    await receive()
    await send({"type": "websocket.close"})


async def want_403(talk: Talk) -> None:
    expect_equal((await shake_hands(talk)).status, 403, "status")


close_ahead_of_accept_is_a_403.client(want_403)


@check("Websocket Denial Response")
async def denial_is_an_answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Where the extension is offered the application can refuse with an answer of its own."""
    await receive()
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close"})
        return
    await send({"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-a", b"b")]})
    await send({"type": "websocket.http.response.body", "body": b"who ", "more_body": True})
    await send({"type": "websocket.http.response.body", "body": b"are you"})


@denial_is_an_answer.client
async def look_at_the_denial(talk: Talk) -> None:
    answered = await shake_hands(talk)
    expect(answered.status in (401, 403), f"status {answered.status}")
    if answered.status == 401:
        expect_equal((answered.body, answered.values("x-a")), (b"who are you", ["b"]), "body and header")


@check("Error Handling")
async def exception_ahead_of_accept_is_a_500(scope: Scope, receive: Receive, send: Send) -> None:
    """An exception ahead of accept is a 500."""
    raise IntendedError("raised by the suite, on purpose")


@exception_ahead_of_accept_is_a_500.client
async def want_500(talk: Talk) -> None:
    expect_equal((await shake_hands(talk)).status, 500, "status")


@check("Error Handling", Level.RELIED)
async def exception_behind_accept_is_a_1011(scope: Scope, receive: Receive, send: Send) -> None:
    """An exception behind accept closes with 1011."""
    await accept(receive, send)
    raise IntendedError("raised by the suite, on purpose")


@exception_behind_accept_is_a_1011.client
async def want_1011(talk: Talk) -> None:
    frame = await (await connect(talk)).frame()
    expect_equal((frame.opcode, frame.payload[:2]), (CLOSE, (1011).to_bytes(2)), "frame")


# messages


@check(RECEIVE)
async def messages_are_received(scope: Scope, receive: Receive, send: Send) -> None:
    """Text comes as text, bytes as bytes, each whole and in order, empty ones and fragmented ones, too."""
    await accept(receive, send)
    for wanted in ("text \xe9\u20ac", b"by\0tes", "", b"", "in two parts", LARGE):
        message = await asyncio.wait_for(receive(), 10)
        expect_equal(message["type"], "websocket.receive", "type")
        text, data = message.get("text"), message.get("bytes")
        expect((text is None) != (data is None), "not exactly one of text and bytes is there")
        expect(type(wanted) is type(text if data is None else data), f"{wanted[:20]!r} is of another type")
        expect((text if data is None else data) == wanted, f"not {wanted[:20]!r}")
    await until_disconnect(receive)


@messages_are_received.client
async def send_messages(talk: Talk) -> None:
    socket = await connect(talk)
    await socket.send(TEXT, "text \xe9\u20ac".encode())
    await socket.send(BINARY, b"by\0tes")
    await socket.send(TEXT)
    await socket.send(BINARY)
    await socket.send(TEXT, b"in two ", fin=False)
    await socket.send(PING, b"amid it")
    await socket.send(0, b"parts")
    await socket.send(TEXT, LARGE.encode())
    await socket.close()


@check(SEND)
async def messages_are_sent(scope: Scope, receive: Receive, send: Send) -> None:
    """Text goes out as text, bytes as bytes, in order; a key of None is as good as none."""
    await accept(receive, send)
    await send({"type": "websocket.send", "text": "text \xe9"})
    await send({"type": "websocket.send", "bytes": b"by\0tes"})
    await send({"type": "websocket.send", "text": None, "bytes": b"bytes"})
    await send({"type": "websocket.send", "text": "text", "bytes": None})
    await send({"type": "websocket.send", "text": ""})
    await send({"type": "websocket.send", "text": LARGE})
    await until_disconnect(receive)


@messages_are_sent.client
async def receive_messages(talk: Talk) -> None:
    socket = await connect(talk)
    await socket.expect(TEXT, "text \xe9".encode())
    await socket.expect(BINARY, b"by\0tes")
    await socket.expect(BINARY, b"bytes")
    await socket.expect(TEXT, b"text")
    await socket.expect(TEXT, b"")
    await socket.expect(TEXT, LARGE.encode())
    await socket.close()


@check(RECEIVE)
async def cancelled_websocket_receive_loses_nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """A receive() that is cancelled while it waits takes no message with it."""
    await accept(receive, send)
    for number in range(20):
        waiting = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        await send({"type": "websocket.send", "text": "go on"})
        message = await asyncio.wait_for(receive(), 10)
        expect_equal(message.get("text"), str(number), "message")
    await until_disconnect(receive)


@cancelled_websocket_receive_loses_nothing.client
async def send_when_asked(talk: Talk) -> None:
    socket = await connect(talk)
    for number in range(20):
        await socket.expect(TEXT, b"go on")
        await socket.send(TEXT, str(number).encode())
    await socket.close()


@check(RECEIVE)
async def pings_are_the_servers(scope: Scope, receive: Receive, send: Send) -> None:
    """A ping is answered by the server, and is no event."""
    await accept(receive, send)
    message = await asyncio.wait_for(receive(), 10)
    expect_equal(message.get("text"), "behind the ping", "message")
    await until_disconnect(receive)


@pings_are_the_servers.client
async def ping(talk: Talk) -> None:
    socket = await connect(talk)
    await socket.send(PING, b"are you there")
    await socket.expect(PONG, b"are you there")
    await socket.send(TEXT, b"behind the ping")
    await socket.close()


# the end


@check(DISCONNECT)
async def clients_close_is_told(scope: Scope, receive: Receive, send: Send) -> None:
    """The client's code and reason are told."""
    await accept(receive, send)
    message = await until_disconnect(receive)
    expect_code(message, 3456)
    expect_equal(message.get("reason", ""), "I am off \xe9", "reason")


@check(DISCONNECT, Level.RELIED)
async def clients_close_is_told_again(scope: Scope, receive: Receive, send: Send) -> None:
    """Whoever asks again is told again."""
    await accept(receive, send)
    for _ in range(2):
        expect_code(await until_disconnect(receive), 3456)


@clients_close_is_told.client
@clients_close_is_told_again.client
async def close_with_a_reason(talk: Talk) -> None:
    await (await connect(talk)).close(3456, "I am off \xe9".encode())


@check(DISCONNECT)
async def close_without_a_code_is_1005(scope: Scope, receive: Receive, send: Send) -> None:
    """A close without a code is told as 1005."""
    await accept(receive, send)
    expect_code(await until_disconnect(receive), 1005)


@close_without_a_code_is_1005.client
async def close_without_a_code(talk: Talk) -> None:
    socket = await connect(talk)
    await socket.send(CLOSE)
    await talk.end()


@check(DISCONNECT)
async def connection_that_breaks_is_1006(scope: Scope, receive: Receive, send: Send) -> None:
    """A connection that ends without a close is told as 1006."""
    await accept(receive, send)
    expect_code(await until_disconnect(receive), 1006)


@connection_that_breaks_is_1006.client
async def break_it(talk: Talk) -> None:
    await connect(talk)
    await talk.reset()


@check(CLOSING)
async def applications_close_is_sent(scope: Scope, receive: Receive, send: Send) -> None:
    """The application's code and reason are sent; then there is but the disconnect."""
    await accept(receive, send)
    await send({"type": "websocket.close", "code": 4321, "reason": "enough \xe9"})
    message = await asyncio.wait_for(receive(), 10)
    expect_equal(message["type"], "websocket.disconnect", "type")


@applications_close_is_sent.client
async def want_4321(talk: Talk) -> None:
    socket = await connect(talk)
    frame = await socket.frame()
    expect_equal((frame.opcode, frame.payload), (CLOSE, (4321).to_bytes(2) + "enough \xe9".encode()), "frame")
    await socket.send(CLOSE, frame.payload)
    await talk.end()


@check(CLOSING)
async def close_has_a_code_by_default(scope: Scope, receive: Receive, send: Send) -> None:
    """The code is 1000 by default."""
    await accept(receive, send)
    await send({"type": "websocket.close"})


@close_has_a_code_by_default.client
async def want_1000(talk: Talk) -> None:
    socket = await connect(talk)
    frame = await socket.frame()
    expect_equal((frame.opcode, frame.payload[:2]), (CLOSE, (1000).to_bytes(2)), "frame")
    await socket.send(CLOSE, frame.payload)
    await talk.end()


@check(DISCONNECT)
async def messages_ahead_of_the_close_are_received(scope: Scope, receive: Receive, send: Send) -> None:
    """Messages that came ahead of the client's close are received ahead of the disconnect."""
    await accept(receive, send)
    await asyncio.sleep(0.2)
    for number in range(3):
        message = await asyncio.wait_for(receive(), 10)
        expect_equal(message.get("text"), str(number), "message")
    expect_equal((await receive())["type"], "websocket.disconnect", "type")


@messages_ahead_of_the_close_are_received.client
async def send_and_close(talk: Talk) -> None:
    socket = await connect(talk)
    for number in range(3):
        await socket.send(TEXT, str(number).encode())
    await socket.close()


@check("Send - send event", Level.SHOULD)
async def send_to_a_closed_websocket_raises(scope: Scope, receive: Receive, send: Send) -> None:
    """From WebSocket 2.4 on sending to a client that has left raises OSError; before it does nothing."""
    await accept(receive, send)
    await until_disconnect(receive)
    new = tuple(map(int, scope["asgi"].get("spec_version", "2.0").split("."))) >= (2, 4)
    try:
        await send({"type": "websocket.send", "text": "too late"})
    except OSError as error:
        expect(new, f"send() raises {error!r} before 2.4")
        return
    expect(not new, "send() does not raise OSError from 2.4 on")


send_to_a_closed_websocket_raises.client(open_and_close)


@check("Error Handling", Level.SHOULD)
async def wrong_websocket_messages_raise(scope: Scope, receive: Receive, send: Send) -> None:
    """What is no message, or none at this point, raises: a send ahead of accept, a second accept, an unknown type."""
    await receive()
    await expect_raises(send, {"type": "websocket.send", "text": "too early"})
    await expect_raises(send, {"type": "http.response.start", "status": 200})
    await send({"type": "websocket.accept"})
    await expect_raises(send, {"type": "websocket.accept"})
    await expect_raises(send, {"type": "websocket.nonsense"})
    await expect_raises(send, {"type": "websocket.send"})
    await until_disconnect(receive)


wrong_websocket_messages_raise.client(open_and_close)


async def expect_raises(send: Send, message: Message) -> None:
    """Expect `send` to raise for a message that is none."""
    try:
        await send(message)
    except Exception:
        return
    raise Failure(f"send() takes {message!r}")


@check("Connection Scope", Level.RELIED)
async def return_closes_it(scope: Scope, receive: Receive, send: Send) -> None:
    """A call that returns leaves no WebSocket open."""
    await accept(receive, send)


@return_closes_it.client
async def want_a_close(talk: Talk) -> None:
    socket = await connect(talk)
    frame = await socket.frame()
    expect_equal(frame.opcode, CLOSE, "opcode")
    await socket.send(CLOSE, frame.payload)
    await talk.end()
