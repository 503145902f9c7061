"""Parts of a streamed answer: what one turn of the loop yields goes out in one write, and nothing waits longer."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from smoothserve.asgi.streams import PART_BYTES, PARTS_BYTES
from smoothserve.connection.base import Connection
from tests.unit.connection.harness import serving, until

Run = Callable[[Coroutine[Any, Any, None]], None]

GET = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What connections have passed to their transports, piece by piece."""
    pieces: list[bytes] = []
    write = Connection.write

    def noting(connection: Connection, data: bytes) -> None:
        pieces.append(data)
        write(connection, data)

    monkeypatch.setattr(Connection, "write", noting)
    return pieces


async def start(send: Any, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": headers or []})


async def part(send: Any, body: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


def test_what_comes_in_one_turn_is_one_write(run: Run, http: str, writes: list[bytes]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        for number in range(100):
            await part(send, b"%03d\n" % number)
        await part(send, b"", more=False)

    async def scenario() -> None:
        async with serving(app, http=http) as server:
            body = (await server.ask(GET % b"/"))[2]
            assert body == b"".join(b"%03d\n" % number for number in range(100))
            # On a slow machine the call gives others their turn once or twice.
            assert len(writes) < 10

    run(scenario())


def test_a_part_is_there_before_the_application_goes_on(run: Run, http: str) -> None:
    goes_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await part(send, b"first")
        await goes_on.wait()
        await part(send, b"second", more=False)

    async def scenario() -> None:
        async with serving(app, http=http) as server:
            client = await server.connect()
            client.send(GET % b"/")
            assert (await client.head())[0] == 200
            async with asyncio.timeout(20):
                assert await client.reader.readexactly(10) == b"5\r\nfirst\r\n"
            goes_on.set()
            async with asyncio.timeout(20):
                assert await client.reader.readexactly(16) == b"6\r\nsecond\r\n0\r\n\r\n"
            await client.close()

    run(scenario())


@pytest.mark.parametrize("length", [None, 7 * PARTS_BYTES])
def test_no_more_than_so_much_is_collected_and_long_parts_are_not(
    run: Run, http: str, writes: list[bytes], length: int | None
) -> None:
    sizes = [PART_BYTES, 1, PART_BYTES - 1] * 20

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send, [(b"content-length", b"%d" % sum(sizes))] if length else None)
        for size in sizes:
            await part(send, b"x" * size)
        await part(send, b"", more=False)

    async def scenario() -> None:
        async with serving(app, http=http) as server:
            assert len((await server.ask(GET % b"/"))[2]) == sum(sizes)
            assert max(map(len, writes)) < PARTS_BYTES + PART_BYTES + 100

    run(scenario())


def test_what_was_sent_before_the_application_fails_is_sent(run: Run, http: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await part(send, b"begun")
        if scope["path"] == "/raise":
            raise RuntimeError("broken")

    async def scenario() -> None:
        async with serving(app, http=http) as server:
            for path in (b"/raise", b"/return"):
                client = await server.connect()
                client.send(GET % path)
                assert (await client.head())[0] == 200
                assert await client.rest() == b"5\r\nbegun\r\n"
                await client.close()

    run(scenario())


def test_parts_for_a_client_that_has_gone_are_dropped_and_the_next_is_served(run: Run, http: str) -> None:
    sent = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await start(send)
        if scope["path"] == "/":
            await part(send, b"whole", more=False)
            return
        for _ in range(2000):
            await part(send, b"x" * 1000)
            sent += 1
            if sent == 1000:
                await asyncio.sleep(0.2)
        await part(send, b"", more=False)

    async def scenario() -> None:
        async with serving(app, http=http) as server:
            client = await server.connect()
            client.send(GET % b"/long")
            await client.head()
            client.writer.transport.abort()
            await until(lambda: sent == 2000 and not server.service.calls)
            assert (await server.ask(GET % b"/"))[2] == b"whole"
            assert not server.log

    run(scenario())


def test_pipelined_requests_and_streams_keep_their_order(run: Run, http: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        for number in range(20):
            await part(send, b"%b %d\n" % (scope["raw_path"], number))
        await part(send, b"end\n", more=False)

    async def scenario() -> None:
        async with serving(app, http=http) as server:
            client = await server.connect()
            client.send(b"".join(GET % (b"/%d" % number) for number in range(30)))
            for number in range(30):
                body = (await client.answer())[2]
                assert body == b"".join(b"/%d %d\n" % (number, line) for line in range(20)) + b"end\n"
            await client.close()

    run(scenario())
