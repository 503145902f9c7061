"""WebSockets on the wire, on both loops and both codecs."""

import asyncio
import itertools
import zlib
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from smoothserve.asgi.http import ClientDisconnectedError
from smoothserve.connection.service import Timeouts
from smoothserve.control.scoreboard import Counter
from tests.property.frames import frame
from tests.unit.connection.harness import Server, serving, until
from tests.unit.connection.websocket_client import (
    ACCEPT,
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    WebSocketClient,
    connect,
    handshake,
    opened,
)

Run = Callable[[Coroutine[Any, Any, None]], None]

pytestmark = pytest.mark.usefixtures("http")


@pytest.fixture(params=["fast", "wsproto"])
def codec(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def http() -> str:
    """Which HTTP codec reads the handshake makes no difference to what is tested here, but once."""
    return "auto"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] != "websocket.disconnect":
        if message["text"] is not None:
            await send({"type": "websocket.send", "text": message["text"]})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"]})


class Recorder:
    """An application that notes what it receives, and does as told before."""

    def __init__(self, *, accept: bool = True) -> None:
        self.scope: Any = None
        self.events: list[Any] = []
        self.accept = accept
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.returned = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        if self.accept:
            await send({"type": "websocket.accept"})
        while True:
            await self.go_on.wait()
            event = await receive()
            self.events.append(event)
            if event["type"] == "websocket.disconnect":
                self.returned = True
                return

    @property
    def messages(self) -> list[Any]:
        return [event["text"] or event["bytes"] for event in self.events if event["type"] == "websocket.receive"]

    @property
    def disconnect(self) -> tuple[int, str]:
        event = self.events[-1]
        assert event["type"] == "websocket.disconnect"
        return event["code"], event["reason"]


async def finished(server: Server) -> None:
    await until(lambda: not server.service.calls)


# the handshake


@pytest.mark.parametrize("parser", ["httptools", "h11"])
def test_the_handshake_is_answered_and_the_scope_is_as_asgi_says(run: Run, codec: str, parser: str) -> None:
    app = Recorder()

    async def scenario() -> None:
        async with serving(app, http=parser, websocket=codec) as server:
            client, headers = await connect(
                server, "/caf%C3%A9?q=1", b"Sec-WebSocket-Protocol: a, b", b"Sec-WebSocket-Protocol: c", b"X-Y: z"
            )
            assert headers[b"sec-websocket-accept"] == ACCEPT
            assert headers[b"upgrade"] == b"websocket"
            assert headers[b"connection"].lower() == b"upgrade"
            assert b"server" in headers
            assert b"sec-websocket-protocol" not in headers
            assert b"sec-websocket-extensions" not in headers
            client.close(1000)
            assert await client.closed() == (1000, "")
            await client.raw.close()
            await finished(server)
            assert server.service.requests == 1
        scope = app.scope
        assert scope["type"] == "websocket"
        assert scope["asgi"] == {"version": "3.0", "spec_version": "2.5"}
        assert scope["scheme"] == "ws"
        assert scope["http_version"] == "1.1"
        assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/café", b"/caf%C3%A9", b"q=1")
        assert scope["subprotocols"] == ["a", "b", "c"]
        assert (b"x-y", b"z") in scope["headers"]
        assert scope["client"][0] == scope["server"][0] == "127.0.0.1"
        assert "method" not in scope
        assert scope["extensions"]["websocket.http.response"] == {}

    run(scenario())


def test_the_application_chooses_subprotocol_and_headers(run: Run) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        headers = [(b"Set-Cookie", b"a=b"), (b"Connection", b"close"), (b"Sec-WebSocket-Accept", b"x")]
        await send({"type": "websocket.accept", "subprotocol": "b", "headers": headers})
        await receive()

    async def scenario() -> None:
        async with serving(app) as server:
            client, headers = await connect(server, "/", b"Sec-WebSocket-Protocol: a, b")
            assert headers[b"sec-websocket-protocol"] == b"b"
            assert headers[b"set-cookie"] == b"a=b"
            assert headers[b"sec-websocket-accept"] == ACCEPT
            await client.raw.close()

    run(scenario())


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        pytest.param(handshake(version=b"8"), 426, id="another version"),
        pytest.param(handshake().replace(b"Sec-WebSocket-Version: 13\r\n", b""), 400, id="no version"),
        pytest.param(handshake().replace(b"c2l6", b"c2l6").replace(b"dGhl", b"dGh"), 400, id="a short key"),
        pytest.param(handshake().replace(b"dGhl", b"d!hl"), 400, id="a key that is not base64"),
        pytest.param(handshake().replace(b"Sec-WebSocket-Key", b"X"), 400, id="no key"),
        pytest.param(handshake("/", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400, id="two keys"),
        pytest.param(handshake().replace(b"GET", b"POST"), 400, id="POST"),
        pytest.param(handshake("/", b"Content-Length: 3") + b"abc", 400, id="a body"),
        pytest.param(handshake("/", b"Sec-WebSocket-Protocol: a b"), 400, id="a bad subprotocol"),
        pytest.param(handshake("/", b"Sec-WebSocket-Extensions: a;;b"), 400, id="bad extensions"),
        pytest.param(handshake().replace(b"Host: example.org\r\n", b""), 400, id="no host"),
    ],
)
def test_a_handshake_that_is_none_is_refused(run: Run, request_bytes: bytes, status: int) -> None:
    async def scenario() -> None:
        async with serving(echo) as server:
            raw = await server.connect()
            raw.send(request_bytes)
            answer = await raw.answer()
            assert answer[0] == status
            assert answer[1][b"connection"] == b"close"
            if status == 426:
                assert answer[1][b"sec-websocket-version"] == b"13"
            await raw.close()
            assert not server.service.calls

    run(scenario())


async def http_or_websocket(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await echo(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"plain"})


@pytest.mark.parametrize(
    ("request_bytes", "websocket"),
    [
        pytest.param(handshake().replace(b"HTTP/1.1", b"HTTP/1.0"), "fast", id="HTTP/1.0"),
        pytest.param(handshake().replace(b"keep-alive, Upgrade", b"keep-alive"), "fast", id="not in Connection"),
        pytest.param(handshake().replace(b"Upgrade: websocket", b"Upgrade: h2c"), "fast", id="another protocol"),
        pytest.param(handshake(), "none", id="switched off"),
    ],
)
def test_what_is_no_upgrade_to_websocket_is_served_as_http(run: Run, request_bytes: bytes, websocket: str) -> None:
    async def scenario() -> None:
        async with serving(http_or_websocket, websocket=websocket) as server:
            assert (await server.ask(request_bytes))[::2] == (200, b"plain")

    run(scenario())


def test_a_connection_upgrades_after_requests_and_what_came_along_is_not_lost(run: Run, codec: str) -> None:
    async def scenario() -> None:
        async with serving(http_or_websocket, websocket=codec) as server:
            raw = await server.connect()
            raw.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + handshake() + frame(0x81, b"early"))
            assert (await raw.answer())[2] == b"plain"
            assert (await raw.head())[0] == 101
            assert await WebSocketClient(raw).receive_text() == "early"
            await raw.close()

    run(scenario())


# before the acceptance


def test_a_close_before_the_acceptance_is_a_403(run: Run) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.close"})

    async def scenario() -> None:
        async with serving(app) as server:
            assert (await server.ask(handshake()))[0] == 403

    run(scenario())


def test_the_application_may_deny_with_a_response_of_its_own(run: Run) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.http.response.start", "status": 401, "headers": [(b"x", b"y")]})
        await send({"type": "websocket.http.response.body", "body": b"who ", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"are you?"})
        assert (await receive())["type"] == "websocket.disconnect"

    async def scenario() -> None:
        async with serving(app) as server:
            status, headers, body = await server.ask(handshake())
            assert (status, headers[b"x"], body) == (401, b"y", b"who are you?")
            await finished(server)
            assert not server.records.lines

    run(scenario())


@pytest.mark.parametrize("how", ["raises", "returns"])
def test_an_application_that_ends_before_the_acceptance_is_a_500(run: Run, how: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if how == "raises":
            raise KeyError("no such room")

    async def scenario() -> None:
        async with serving(app) as server:
            assert (await server.ask(handshake()))[0] == 500
            await until(lambda: bool(server.records.lines))

    run(scenario())


# messages


def test_text_and_binary_messages_go_both_ways(run: Run, codec: str) -> None:
    async def scenario() -> None:
        async with serving(echo, websocket=codec) as server, opened(server) as client:
            for size in (0, 1, 125, 126, 4096, 65535, 65536, 300_000):
                client.send(TEXT, b"x" * size)
                assert await client.frame() == (0x81, b"x" * size)
                client.send(BINARY, b"\xff" * size)
                assert await client.frame() == (0x82, b"\xff" * size)

    run(scenario())


@pytest.mark.parametrize(
    "offer", [b"permessage-deflate; client_max_window_bits", b"permessage-deflate; server_no_context_takeover"]
)
def test_messages_are_compressed_where_the_client_offers_it(run: Run, codec: str, offer: bytes) -> None:
    async def scenario() -> None:
        async with serving(echo, websocket=codec) as server:
            client, headers = await connect(server, "/", b"Sec-WebSocket-Extensions: " + offer)
            assert headers[b"sec-websocket-extensions"].startswith(b"permessage-deflate")
            compressor, inflater = zlib.compressobj(6, zlib.DEFLATED, -9), zlib.decompressobj(-15)
            for _ in range(3):
                message = b"tell me the same thing again, " * 10
                data = compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH)
                client.raw.send(frame(0xC1, data[:-4]))
                first, payload = await client.frame()
                assert first == 0xC1
                if b"no_context" in offer:
                    inflater = zlib.decompressobj(-15)
                assert inflater.decompress(payload + b"\0\0\xff\xff") == message
            await client.raw.close()

    run(scenario())


def test_compression_can_be_switched_off(run: Run) -> None:
    async def scenario() -> None:
        async with serving(echo, websocket_options={"compression": False}) as server:
            client, headers = await connect(server, "/", b"Sec-WebSocket-Extensions: permessage-deflate")
            assert b"sec-websocket-extensions" not in headers
            await client.raw.close()

    run(scenario())


def test_a_deflate_bomb_is_a_1009_and_is_not_inflated(run: Run, codec: str) -> None:
    app = Recorder()

    async def scenario() -> None:
        async with serving(app, websocket=codec, websocket_options={"max_message_bytes": 1000}) as server:
            async with opened(server, "/", b"Sec-WebSocket-Extensions: permessage-deflate") as client:
                compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
                bomb = compressor.compress(bytes(900_000)) + compressor.flush(zlib.Z_SYNC_FLUSH)
                assert len(bomb) < 1000
                client.raw.send(frame(0xC2, bomb[:-4]))
                assert (await client.closed())[0] == 1009
            await until(lambda: app.returned)
            assert app.disconnect[0] == 1009

    run(scenario())


def test_a_message_beyond_the_limit_is_a_1009_by_its_head_already(run: Run, codec: str) -> None:
    async def scenario() -> None:
        async with serving(echo, websocket=codec, websocket_options={"max_message_bytes": 100}) as server:
            async with opened(server) as client:
                client.raw.send(frame(0x82, bytes(101))[:8])
                assert (await client.closed())[0] == 1009
            async with opened(server) as client:
                client.send(TEXT, b"x" * 60, fin=False)
                client.raw.send(frame(0x80, b"x" * 60)[:7])
                assert (await client.closed())[0] == 1009

    run(scenario())


def test_valid_messages_ahead_of_a_fault_are_answered_first(run: Run, codec: str) -> None:
    async def scenario() -> None:
        async with serving(echo, websocket=codec) as server, opened(server) as client:
            client.raw.send(frame(0x81, b"good") + frame(0xB1, b"bad") + frame(0x89, b"ping"))
            assert await client.receive_text() == "good"
            assert (await client.closed())[0] == 1002
            assert await client.gone()

    run(scenario())


def test_text_that_is_not_utf8_fails_before_its_frame_is_complete(run: Run, codec: str) -> None:
    async def scenario() -> None:
        async with serving(echo, websocket=codec) as server, opened(server) as client:
            client.raw.send(frame(0x81, b"abc\xf4\x90" + b"x" * 100)[:12])
            assert (await client.closed())[0] == 1007

    run(scenario())


def test_pings_are_answered_also_while_the_application_is_busy(run: Run, codec: str) -> None:
    app = Recorder()

    async def scenario() -> None:
        async with serving(app, websocket=codec) as server, opened(server) as client:
            app.go_on.clear()
            client.text("a")
            client.send(PING, b"are you there?")
            assert await client.frame() == (0x8A, b"are you there?")
            app.go_on.set()
            await until(lambda: app.messages == ["a"])

    run(scenario())


# the end


def test_the_clients_close_is_answered_and_the_application_hears_code_and_reason(run: Run, codec: str) -> None:
    app = Recorder()

    async def scenario() -> None:
        async with serving(app, websocket=codec) as server, opened(server) as client:
            client.text("last")
            client.close(4321, "bye")
            assert await client.closed() == (4321, "")
            assert await client.gone()
            await until(lambda: app.returned)
            assert app.messages == ["last"]
            assert app.disconnect == (4321, "bye")
            assert server.service.counters[Counter.WEBSOCKETS] == 0
            assert not server.records.lines

    run(scenario())


def test_a_close_without_a_code_is_1005_for_the_application(run: Run, codec: str) -> None:
    app = Recorder()

    async def scenario() -> None:
        async with serving(app, websocket=codec) as server, opened(server) as client:
            client.close()
            assert await client.closed() == (None, "")
            await until(lambda: app.returned)
            assert app.disconnect == (1005, "")

    run(scenario())


def test_a_client_that_vanishes_is_1006_for_the_application(run: Run, codec: str) -> None:
    app = Recorder()

    async def scenario() -> None:
        async with serving(app, websocket=codec) as server:
            async with opened(server) as client:
                client.text("a")
            await until(lambda: app.returned)
            assert app.messages == ["a"]
            assert app.disconnect == (1006, "")

    run(scenario())


def test_the_application_closes_with_code_and_reason(run: Run, codec: str) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 3999, "reason": "enough"})
        seen.append(await receive())
        seen.append(await receive())
        seen.append(await receive())
        with pytest.raises(OSError, match="closed"):
            await send({"type": "websocket.send", "text": "late"})

    async def scenario() -> None:
        async with serving(app, websocket=codec) as server, opened(server) as client:
            assert await client.closed() == (3999, "enough")
            client.text("crossing")
            client.close(3999)
            assert await client.gone()
            await finished(server)
            assert [event["type"] for event in seen] == ["websocket.connect", *["websocket.disconnect"] * 2]
            assert not server.records.lines

    run(scenario())


def test_a_client_that_never_answers_the_close_is_dropped_after_a_limit(run: Run) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})
        await receive()
        assert (await receive())["code"] == 1006

    async def scenario() -> None:
        options = {"close_timeout": 0.1}
        async with (
            serving(app, timeouts=Timeouts(close=0.1), websocket_options=options) as server,
            opened(server) as client,
        ):
            assert (await client.closed())[0] == 1000
            assert await client.gone()
            await until(lambda: server.service.empty)

    run(scenario())


def test_a_returning_application_closes_normally_a_raising_one_with_1011(run: Run, codec: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        if scope["path"] == "/raise":
            raise KeyError("lost")

    async def scenario() -> None:
        async with serving(app, websocket=codec) as server:
            async with opened(server, "/return") as client:
                assert (await client.closed())[0] == 1000
                assert not server.records.lines
            async with opened(server, "/raise") as client:
                assert (await client.closed())[0] == 1011
                assert any("exception in the application: WebSocket /raise" in line for line in server.records.lines)

    run(scenario())


def test_sending_to_a_client_that_has_gone_raises_an_oserror(run: Run, codec: str) -> None:
    raised: list[BaseException] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        assert (await receive())["type"] == "websocket.disconnect"
        await send({"type": "websocket.close"})
        try:
            await send({"type": "websocket.send", "text": "late"})
        except OSError as error:
            raised.append(error)
            raise

    async def scenario() -> None:
        async with serving(app, websocket=codec) as server:
            async with opened(server) as client:
                client.close(1000)
                assert (await client.closed())[0] == 1000
            await finished(server)
            assert type(raised[0]) is ClientDisconnectedError
            assert not server.records.lines, "its own end is no fault of the application's"

    run(scenario())


# flow control


def test_a_cancelled_receive_loses_nothing(run: Run, codec: str) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            try:
                event = await asyncio.wait_for(receive(), 0.001)
            except TimeoutError:
                continue
            if event["type"] == "websocket.disconnect":
                return
            seen.append(event["text"])

    async def scenario() -> None:
        async with serving(app, websocket=codec) as server, opened(server) as client:
            for number in range(100):
                client.text(str(number))
                await asyncio.sleep(0.001)
            client.close()
            await client.closed()
            assert seen == [str(number) for number in range(100)]

    run(scenario())


@pytest.mark.parametrize("field", [{"bytes": 5}, {"bytes": "x"}, {"bytes": [1]}, {"text": 5}, {"text": b"x"}, {}])
def test_a_message_of_a_wrong_type_raises_and_sends_nothing(run: Run, codec: str, field: dict[str, Any]) -> None:
    raised: list[Exception] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        try:
            await send({"type": "websocket.send", **field})
        except (TypeError, ValueError, AttributeError) as error:
            raised.append(error)
        await send({"type": "websocket.send", "bytes": memoryview(b"abc")})
        await receive()

    async def scenario() -> None:
        async with serving(app, websocket=codec) as server, opened(server) as client:
            assert await client.frame() == (0x82, b"abc")
            assert len(raised) == 1
            client.close()

    run(scenario())


def test_cancelled_receives_and_sends_leave_nothing_behind(run: Run) -> None:
    servers: list[Server] = []
    lists: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        (call,) = servers[0].service.calls
        for _ in range(50):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(receive(), 0.001)
        lists.append(len(getattr(call, "_receivers") or ()))  # noqa: B009
        for _ in range(50):
            with suppress(TimeoutError):
                await asyncio.wait_for(send({"type": "websocket.send", "bytes": bytes(1 << 20)}), 0.001)
        lists.append(len(getattr(call, "_senders") or ()))  # noqa: B009

    async def scenario() -> None:
        async with serving(app) as server:
            servers.append(server)
            client, _ = await connect(server)
            client.raw.stop_reading()
            await until(lambda: len(lists) == 2 or bool(server.records.lines))
            client.raw.writer.transport.abort()
            assert not server.records.lines
            assert lists == [0, 0]

    run(scenario())


def test_an_application_that_does_not_receive_holds_the_client_back_and_loses_nothing(run: Run, codec: str) -> None:
    app = Recorder()

    async def scenario() -> None:
        async with serving(app, websocket=codec, max_queue=4) as server, opened(server) as client:
            app.go_on.clear()
            messages = [f"{number:08}" * 1000 for number in range(2000)]
            for message in messages:
                client.text(message)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.raw.writer.drain(), 0.2)
            (connection,) = server.service.connections
            assert connection._read_holds
            app.go_on.set()
            await until(lambda: len(app.messages) == len(messages), 20)
            assert app.messages == messages
            client.close()
            await client.closed()

    run(scenario())


def test_a_client_that_does_not_read_holds_the_application_back(run: Run, codec: str) -> None:
    sent = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send({"type": "websocket.accept"})
        while True:
            await send({"type": "websocket.send", "bytes": bytes(65536)})
            sent += 1

    async def scenario() -> None:
        async with serving(app, websocket=codec) as server:
            client, _ = await connect(server)
            client.raw.stop_reading()
            before = -1
            while before != sent:
                before = sent
                await asyncio.sleep(0.1)
            assert sent < 500
            client.raw.writer.transport.abort()
            await finished(server)

    run(scenario())


@pytest.mark.parametrize("pings", [0.0, 0.2])
def test_a_client_that_asks_and_takes_no_answer_is_cut_off_after_the_write_timeout(
    run: Run, codec: str, pings: float
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            await send({"type": "websocket.send", "bytes": bytes(65536)})

    async def scenario() -> None:
        options = {"ping_interval": pings, "ping_timeout": 0.3}
        async with serving(app, websocket=codec, websocket_options=options, timeouts=Timeouts(write=0.5)) as server:
            client, _ = await connect(server)
            client.raw.stop_reading()
            for _ in range(1000):
                client.send(BINARY, b"x")
            await finished(server)
            client.raw.writer.transport.abort()

    run(scenario())


def test_a_client_that_takes_its_answers_slowly_is_not_cut_off(run: Run, codec: str) -> None:
    size = 32 * 1024 * 1024

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "bytes": bytes(size)})
        await receive()

    async def scenario() -> None:
        options = {"ping_interval": 0.0}
        async with serving(app, websocket=codec, websocket_options=options, timeouts=Timeouts(write=2.0)) as server:
            client, _ = await connect(server)
            taken = 0
            while taken < size + 10:
                data = await client.raw.reader.read(131072)
                assert data
                taken += len(data)
                await asyncio.sleep(0.01)
            assert server.service.calls
            await client.raw.close()

    run(scenario())


# pings of the server


def test_an_open_websocket_is_pinged_and_one_that_does_not_answer_given_up(run: Run, codec: str) -> None:
    app = Recorder()

    async def scenario() -> None:
        options = {"ping_interval": 0.1, "ping_timeout": 0.3}
        async with serving(app, websocket=codec, websocket_options=options) as server, opened(server) as client:
            for _ in range(3):
                first, payload = await client.frame()
                assert (first, len(payload)) == (0x89, 4)
                client.send(PONG, payload)
            first, _ = await client.frame()
            assert first == 0x89
            assert await client.closed() == (1011, "no answer to a ping")
            await until(lambda: app.returned)
            assert app.disconnect[0] == 1011

    run(scenario())


def test_without_an_interval_there_are_no_pings(run: Run) -> None:
    async def scenario() -> None:
        async with serving(echo, websocket_options={"ping_interval": 0.0}) as server, opened(server) as client:
            (connection,) = server.service.connections
            assert connection.deadline == float("inf")
            client.text("a")
            assert await client.receive_text() == "a"

    run(scenario())


# draining


def test_a_websocket_is_in_hand_and_is_closed_with_1012_when_its_time_is_up(run: Run, codec: str) -> None:
    app = Recorder()

    async def scenario() -> None:
        options = {"drain_timeout": 0.2, "close_spread": 0.0}
        async with (
            serving(app, websocket=codec, timeouts=Timeouts(close=0.1), websocket_options=options) as server,
            opened(server) as client,
        ):
            empty = asyncio.Event()
            server.service.begin_drain(1.0, empty.set)
            client.text("still here")
            assert (await client.closed())[0] == 1012
            assert not empty.is_set()
            client.close(1012)
            await asyncio.wait_for(empty.wait(), 5)
            assert app.messages == ["still here"]
            assert server.service.dropped == 0

    run(scenario())


def test_nothing_is_sent_behind_the_close_frame_of_a_drain(run: Run, codec: str) -> None:
    raised = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        try:
            while True:
                await send({"type": "websocket.send", "text": "tick"})
                await asyncio.sleep(0.01)
        except OSError:
            raised.set()

    async def scenario() -> None:
        options = {"drain_timeout": 0.1, "close_spread": 0.0}
        async with (
            serving(app, websocket=codec, timeouts=Timeouts(close=0.1), websocket_options=options) as server,
            opened(server) as client,
        ):
            server.service.begin_drain(1.0, lambda: None)
            while (seen := await client.frame())[0] == 0x81:
                assert seen[1] == b"tick"
            assert seen[0] == 0x88
            await asyncio.wait_for(raised.wait(), 5)
            client.close(1012)
            assert await client.gone()

    run(scenario())


def test_closes_come_before_the_drain_deadline(run: Run) -> None:
    async def scenario() -> None:
        async with serving(echo, websocket_options={"drain_timeout": 1000.0, "close_spread": 4.0}) as server:
            clients = [(await connect(server))[0] for _ in range(10)]
            now = server.service.loop.time()
            server.service.drain.begin(10.0)
            server.service.begin_drain(1.0, lambda: None)
            due = [getattr(one, "_drain_due") - now for one in server.service.connections]  # noqa: B009
            assert all(3.0 < one < 9.0 for one in due), due
            assert max(due) - min(due) > 2
            for client in clients:
                await client.raw.close()

    run(scenario())


def test_closes_are_spread(run: Run) -> None:
    async def scenario() -> None:
        async with serving(echo, websocket_options={"drain_timeout": 1000.0, "close_spread": 100.0}) as server:
            clients = [(await connect(server))[0] for _ in range(20)]
            server.service.begin_drain(1.0, lambda: None)
            due = sorted(getattr(one, "_drain_due") for one in server.service.connections)  # noqa: B009
            assert due[-1] - due[0] > 80
            assert max(after - before for before, after in itertools.pairwise(due)) < 20
            for client in clients:
                await client.raw.close()

    run(scenario())


def test_at_the_stop_websockets_are_closed_with_1001(run: Run, codec: str) -> None:
    async def scenario() -> None:
        async with serving(echo, websocket=codec) as server, opened(server) as client:
            server.service.stopping = True
            server.service.begin_drain(1.0, lambda: None)
            assert (await client.closed())[0] == 1001
            client.close(1001)
            assert await client.gone()

    run(scenario())


LONG = [pytest.mark.full(only="3.13"), pytest.mark.timeout(600)]


@pytest.mark.parametrize(
    ("codec", "count"),
    [
        ("fast", 20),
        ("wsproto", 4),
        pytest.param("fast", 1000, marks=LONG),
        pytest.param("wsproto", 100, marks=LONG),
    ],
)
def test_one_byte_fragments_on_many_connections_hold_bounded_memory(run: Run, codec: str, count: int) -> None:
    import tracemalloc

    async def scenario() -> None:
        options = {"max_message_bytes": 4096, "ping_interval": 0.0}
        async with serving(echo, websocket=codec, websocket_options=options) as server:
            clients = [(await connect(server))[0] for _ in range(count)]
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            for first in range(0, count, 20):
                some = clients[first : first + 20]
                for client in some:
                    client.send(BINARY, b"x", fin=False)
                    client.raw.send(frame(0x00, b"x") * 2000)
                await asyncio.sleep(0)
                for client in some:
                    client.send(PING, b"through?")
                    assert await client.frame() == (0x8A, b"through?")
            held = (tracemalloc.get_traced_memory()[0] - before) / count
            tracemalloc.stop()
            assert held < 16_384, f"{held:.0f} bytes for each connection"
            assert len(server.service.connections) == count
            for client in clients:
                client.send(CLOSE)
                await client.raw.close()

    run(scenario())
