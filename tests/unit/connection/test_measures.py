"""What is measured of answers, beside the hot path: every answer once, by method, status and duration."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from smoothserve.control.measures import BOUNDS, WORDS, render_measures
from tests.unit.connection.harness import Server, serving, until

HEAD = b"HTTP/1.1\r\nHost: a\r\n"


async def app(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        return
    if scope["path"] == "/slow":
        await asyncio.sleep(0.06)
    if scope["path"] == "/endless":
        await asyncio.Event().wait()
    status = 404 if scope["path"] == "/none" else 200
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"3")]})
    if scope["path"] == "/broken":
        raise RuntimeError("the application breaks off")
    if scope["path"] == "/cut":
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        return
    await send({"type": "http.response.body", "body": b"abc"})


def measured(words: memoryview, server: Server) -> dict[str, Any]:
    server.service.publish()
    return render_measures(words)


async def scenario() -> None:
    words = memoryview(bytearray(WORDS * 8)).cast("q")
    async with serving(app, service_options={"measures": words}) as server:
        for line in (b"GET /", b"GET /slow", b"GET /none", b"POST /", b"BREW /"):
            await server.ask(line + b" " + HEAD + b"\r\n")
        assert (await server.ask(b"GET / HTTP/1.1\r\n\r\n"))[0] == 400
        told = measured(words, server)
        assert told["answers"]["GET"] == {"1xx": 0, "2xx": 2, "3xx": 0, "4xx": 2, "5xx": 0}
        assert told["answers"]["POST"]["2xx"] == told["answers"]["other"]["2xx"] == 1
        assert told["durations"]["count"] == 5
        assert sum(told["durations"]["counts"][BOUNDS.index(0.1) :]) >= 1
        assert told["durations"]["sum"] >= 0.06
        assert told["unfinished"] == {"client": 0, "application": 0}

        await server.ask(b"GET /broken " + HEAD + b"\r\n")
        client = await server.connect()
        client.send(b"GET /cut " + HEAD + b"\r\n")
        await client.rest()
        await client.close()
        client = await server.connect()
        client.send(b"GET /endless " + HEAD + b"\r\n")
        await until(lambda: len(server.service.calls) == 1)
        linger = struct.pack("ii", 1, 0)
        client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        await client.close()
        await until(lambda: not server.service.connections)
        assert measured(words, server)["unfinished"] == {"client": 1, "application": 1}
        upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        client = await server.connect()
        client.send(b"GET /ws " + HEAD + upgrade + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        assert (await client.head())[0] == 101
        await client.close()
        await until(lambda: not server.service.connections)
        told = measured(words, server)
        assert told["answers"]["GET"]["1xx"] == 1
        assert told["answers"]["GET"]["5xx"] == 1
        assert told["durations"]["count"] == 6, "a WebSocket's life is no duration"


async def bytes_add_up() -> None:
    words = memoryview(bytearray(WORDS * 8)).cast("q")
    async with serving(app, service_options={"measures": words}) as server:
        client = await server.connect()
        request = b"POST / " + HEAD + b"Content-Length: 5\r\n\r\n12345"
        received = 0
        for _ in range(3):
            client.send(request)
            head = await client.reader.readuntil(b"\r\n\r\n")
            received += len(head) + len(await client.reader.readexactly(3))
        open_ = measured(words, server)
        await client.close()
        await until(lambda: not server.service.connections)
        for told in (open_, measured(words, server)):
            assert (told["bytes_received"], told["bytes_sent"]) == (3 * len(request), received)


def test_every_answer_is_counted_once_by_method_status_and_duration() -> None:
    asyncio.run(scenario())


def test_bytes_of_open_and_ended_connections_add_up() -> None:
    asyncio.run(bytes_add_up())


def test_without_anybody_to_ask_nothing_is_timed() -> None:
    async def run() -> None:
        async with serving(app) as server:
            await server.ask(b"GET / " + HEAD + b"\r\n")
            assert (server.service.measures, server.service.seconds) == (None, 0.0)

    asyncio.run(run())
