"""The access log has a line for each answer that has begun, however it ends."""

import asyncio
import re
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any

from smoothserve.logs.access import AccessLog
from tests.unit.connection.harness import Client, serving, until
from tests.unit.logs.test_lines import ListSink

Run = Callable[[Coroutine[Any, Any, None]], None]


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["path"] == "/silent":
        await asyncio.Event().wait()
    if scope["path"] == "/upload":
        await receive()
        await receive()
    await send({"type": "http.response.start", "status": 201, "headers": []})
    await send({"type": "http.response.body", "body": b"begun", "more_body": True})
    if scope["path"] == "/broken":
        raise RuntimeError("the application breaks off")
    await asyncio.Event().wait()


async def reset(client: Client) -> None:
    """Leave at once: a mere end of what is sent would leave the client there for the answer."""
    client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await client.close()


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def test_an_answer_that_comes_to_no_end_has_its_line_and_a_request_without_an_answer_has_none(
    run: Run, http: str
) -> None:
    sink = ListSink()

    def lines() -> list[tuple[str, str]]:
        return re.findall(r'"(.*?) HTTP/1.1" (\d+ \d+)', sink.text)

    async def scenario() -> None:
        log = AccessLog(sink)
        async with serving(app, http=http, service_options={"access_log": log}) as server:
            silent = await server.connect()
            silent.send(get("/silent"))
            await until(lambda: len(server.service.calls) == 1)
            await reset(silent)
            await until(lambda: not server.service.connections)
            left = await server.connect()
            left.send(get("/left"))
            assert (await left.head())[0] == 201
            await reset(left)
            await until(lambda: len(lines()) == 1)
            broken = await server.connect()
            broken.send(get("/broken"))
            await broken.rest()
            await broken.close()
            await until(lambda: len(lines()) == 2)
            refused = await server.connect()
            refused.send(b"POST /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n")
            assert (await refused.answer())[0] == 400
            await refused.close()
            await until(lambda: len(lines()) == 3)
            (first, second, third) = lines()
            assert first[0] == "GET /left"
            assert first[1].startswith("201 ")
            assert second[0] == "GET /broken"
            assert second[1].startswith("201 ")
            assert third[0] == "POST /upload"
            assert third[1].startswith("400 ")

    run(scenario())
    assert len(lines()) == 3, sink.text
