"""A client that pipelines without reading: it costs a bounded amount of memory, and gets all its answers in the end."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest

from smoothserve.connection.fixed import FixedExchange
from smoothserve.connection.http import PIPELINE_BYTES, ROW, HTTPConnection
from smoothserve.connection.service import Timeouts
from smoothserve.protocol.tls import TLSInfo
from tests.benchmarks.micro.cases import Transport
from tests.unit.connection.harness import TIMEOUT, Client, Server, serving, until
from tests.unit.connection.test_handover import Pair

Run = Callable[[Coroutine[Any, Any, None]], None]

#: Of each answer.
SIZE = 100_000
#: So many answers fit no buffers, of the system's neither.
COUNT = 300
#: More than the system's buffers can hold.
MANY = 150
HEAD = "GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"
REQUESTS = b"".join((HEAD % number).encode() for number in range(COUNT))


async def numbered(scope: Any, receive: Any, send: Any) -> None:
    body = scope["path"].encode().ljust(SIZE)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % SIZE)]})
    await send({"type": "http.response.body", "body": body})


class Fixed:
    """Answers each request at once, by itself."""

    saturated = False

    def __init__(self, server: Server) -> None:
        self._defaults = server.service.defaults

    def exchange(self, connection: Any, request: Any) -> FixedExchange:
        body = bytes(request.raw_path).ljust(SIZE)
        headers = [(b"content-length", b"%d" % SIZE)]
        return FixedExchange(connection, request, self._defaults, 200, headers, body)


async def deaf_client(server: Server) -> Client:
    """Connect, with a receive buffer that does not grow, and a reader that takes nothing until told to."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    sock.connect(("127.0.0.1", server.port))
    client = Client(*await asyncio.open_connection(sock=sock))
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    return client


def listen(client: Client) -> None:
    client.writer.transport.resume_reading()  # type: ignore[attr-defined]


async def stuck(server: Server) -> HTTPConnection:
    """Return the one connection, once it waits for its client to take the answers."""
    await until(lambda: any(not one.writable for one in server.service.connections))
    (connection,) = server.service.connections
    assert isinstance(connection, HTTPConnection)
    begun = -1
    while begun != server.service.requests:
        begun = server.service.requests
        await asyncio.sleep(0.1)
    return connection


async def expect(client: Client, numbers: range) -> None:
    for number in numbers:
        status, _, body = await client.answer()
        assert (status, body.rstrip()) == (200, b"/%d" % number)


async def begin_row(server: Server, count: int) -> Client:
    """Send a row of requests that are answered at once; return when the first of them has been begun."""
    server.service.application = Fixed(server)
    client = await server.connect()
    client.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n" * count)
    while not server.service.requests:
        await asyncio.sleep(0)
    return client


def close_links(old: Server) -> None:
    offering = old.service.offering
    if offering is not None:
        offering.close()
        for link in list(offering.links):
            link.channel.close()


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("half_closes", [False, True])
def test_who_does_not_read_gets_no_further_answers_until_it_does(
    run: Run, http: str, fixed: bool, half_closes: bool
) -> None:
    async def scenario() -> None:
        async with serving(numbered, http=http) as server:
            if fixed:
                server.service.application = Fixed(server)
            client = await deaf_client(server)
            client.send(REQUESTS)
            if half_closes:
                client.half_close()
            connection = await stuck(server)
            assert server.service.requests < MANY
            assert connection.tell()["state"] == "sending"
            listen(client)
            await expect(client, range(COUNT))
            if half_closes:
                assert await client.rest() == b""
            else:
                client.send(b"GET /again HTTP/1.1\r\nHost: x\r\n\r\n")
                assert (await client.answer())[2].rstrip() == b"/again"
            await client.close()

    run(scenario())


def test_requests_that_come_one_by_one_wait_too(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with serving(numbered, http=http) as server:
            client = await deaf_client(server)
            for number in range(COUNT):
                client.send((HEAD % number).encode())
                await asyncio.sleep(0)
            await stuck(server)
            assert server.service.requests < MANY
            client.send((HEAD % COUNT).encode())
            listen(client)
            await expect(client, range(COUNT + 1))
            await client.close()

    run(scenario())


def test_who_reads_nothing_for_too_long_is_cut_off(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with serving(numbered, http=http, timeouts=Timeouts(write=0.3)) as server:
            client = await deaf_client(server)
            client.send(REQUESTS)
            await stuck(server)
            await until(lambda: server.service.empty)
            assert server.service.requests < MANY
            assert "took nothing of its answer for 0.3 s" in server.log
            await client.close()

    run(scenario())


def test_a_drain_answers_what_has_come_however_late_it_is_taken(run: Run, http: str) -> None:
    async def scenario() -> None:
        empty = asyncio.Event()
        async with serving(numbered, http=http) as server:
            client = await deaf_client(server)
            client.send(REQUESTS)
            await stuck(server)
            server.acceptor.stop()
            server.service.begin_drain(0.05, empty.set)
            await asyncio.sleep(0.2)
            assert not empty.is_set()
            listen(client)
            await expect(client, range(COUNT))
            assert await client.rest() == b""
            await until(empty.is_set)
            assert server.service.dropped == 0
            await client.close()

    run(scenario())


def test_a_cut_counts_what_was_not_taken_as_dropped(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with serving(numbered, http=http) as server:
            client = await deaf_client(server)
            client.send(REQUESTS)
            await stuck(server)
            assert server.service.cut() == 1
            await until(lambda: server.service.empty)
            await client.close()

    run(scenario())


def test_what_waits_is_answered_by_the_successor(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with serving(numbered, http=http) as old, serving(numbered, http=http) as new:
            both = Pair(old, new)
            client = await deaf_client(old)
            client.send(REQUESTS)
            await stuck(old)
            both.link()
            both.drain()
            await asyncio.sleep(0.1)
            assert old.service.handed_over == 0
            listen(client)
            await expect(client, range(COUNT))
            assert old.service.handed_over == 1
            assert new.service.requests > 0
            assert old.service.requests + new.service.requests == COUNT
            assert old.service.dropped == new.service.dropped == 0
            client.send(b"GET /again HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await client.answer())[2].rstrip() == b"/again"
            await client.close()
            await until(both.empty.is_set)
            close_links(old)

    run(scenario())


def test_what_is_read_ahead_is_bounded_however_many_requests_it_is(run: Run, http: str) -> None:
    most = 0
    server: Any = None

    async def watching(scope: Any, receive: Any, send: Any) -> None:
        nonlocal most
        await asyncio.sleep(0)
        (connection,) = server.service.connections
        assert isinstance(connection, HTTPConnection)
        most = max(most, connection._codec.ahead)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def scenario() -> None:
        nonlocal server
        async with serving(watching, http=http) as server:
            client = await server.connect()
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 20_000)
            for _ in range(3000):
                assert (await client.head())[0] == 204
            # A read of either loop is no longer than 256 KiB.
            assert most <= PIPELINE_BYTES + 262_144
            client.writer.transport.abort()

    run(scenario())


def test_a_long_head_behind_a_request_is_read_to_its_end(run: Run, http: str) -> None:
    """The bound on what is read ahead does not hold back what the request itself needs."""
    release = asyncio.Event()

    async def waits(scope: Any, receive: Any, send: Any) -> None:
        await release.wait()
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        body += message.get("body", b"")
        answer = b"%d" % len(body)
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(answer))]}
        )
        await send({"type": "http.response.body", "body": answer})

    async def scenario() -> None:
        async with serving(waits, http=http) as server:
            client = await server.connect()
            post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + bytes(1_000_000)
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + post + post)
            await until(lambda: server.service.requests == 1)
            release.set()
            async with asyncio.timeout(TIMEOUT):
                assert [(await client.answer())[2] for _ in range(3)] == [b"0", b"1000000", b"1000000"]
            await client.close()

    run(scenario())


@pytest.mark.parametrize("half_closes", [False, True])
def test_a_long_row_leaves_the_loop_to_others_in_between(run: Run, http: str, half_closes: bool) -> None:
    most = turns = 0
    count = 3000

    async def watch(server: Server) -> None:
        nonlocal most, turns
        before = 0
        while True:
            begun = server.service.requests
            most, turns, before = max(most, begun - before), turns + (begun > before), begun
            await asyncio.sleep(0)

    async def scenario() -> None:
        async with serving(numbered, http=http) as server:
            server.service.application = Fixed(server)
            watching = asyncio.create_task(watch(server))
            client = await server.connect()
            client.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n" * count)
            if half_closes:
                client.half_close()
            for _ in range(count):
                assert (await client.head())[0] == 200
            if half_closes:
                assert await client.rest() == b""
            watching.cancel()
            await client.close()
            assert server.service.requests == count
            # The first of a row is taken by itself.
            assert most <= ROW + 1
            assert turns >= count // (ROW + 1)

    run(scenario())


@pytest.mark.parametrize(
    "request_bytes",
    [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"],
)
def test_a_long_row_of_tls_records_leaves_the_loop_to_others_in_between(
    run: Run, http: str, request_bytes: bytes
) -> None:
    """TLS reads many records in a turn, and each may bring a whole request."""

    async def scenario() -> None:
        async with serving(numbered, http=http) as server:
            service = server.service
            service.application = Fixed(server)
            connection = HTTPConnection(service, ("192.0.2.7", 1), ("192.0.2.1", 443))
            connection.connection_made(cast("asyncio.Transport", Transport()))
            connection.secure(TLSInfo(version="TLSv1.3", cipher="TLS_AES_128_GCM_SHA256", cipher_number=0x1301))
            for number in range(1, 4):
                for _ in range(100):
                    connection.data_received(request_bytes)
                assert service.requests - (number - 1) * 100 <= ROW, "so many are begun in one turn"
                async with asyncio.timeout(TIMEOUT):
                    while connection.requests < number * 100:
                        await asyncio.sleep(0)
            connection.connection_lost(None)

    run(scenario())


def test_a_client_that_leaves_amid_its_row_gets_no_further_request_begun(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with serving(numbered, http=http) as server:
            client = await begin_row(server, 20_000)
            (connection,) = server.service.connections
            assert isinstance(connection, HTTPConnection)
            connection._transport.abort()
            begun = server.service.requests
            assert begun < 20_000
            await until(lambda: server.service.empty)
            await asyncio.sleep(0.05)
            assert server.service.requests == begun
            client.writer.transport.abort()

    run(scenario())


def test_a_row_that_waits_for_its_turn_is_counted_when_it_is_cut(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with serving(numbered, http=http) as server:
            client = await begin_row(server, 2000)
            begun = server.service.requests
            assert begun < 2000
            assert server.service.cut() == 1
            await until(lambda: server.service.empty)
            assert server.service.requests == begun
            await client.close()

    run(scenario())


def test_a_row_that_waits_for_its_turn_goes_on_in_the_successor(run: Run, http: str) -> None:
    count = 2000

    async def scenario() -> None:
        async with serving(numbered, http=http) as old, serving(numbered, http=http) as new:
            both = Pair(old, new)
            new.service.application = Fixed(new)
            both.link()
            client = await begin_row(old, count)
            both.drain()
            for _ in range(count):
                assert (await client.head())[0] == 200
            assert old.service.handed_over == 1
            assert new.service.requests > 0
            assert old.service.requests + new.service.requests == count
            assert old.service.dropped == new.service.dropped == 0
            await client.close()
            await until(both.empty.is_set)
            close_links(old)

    run(scenario())
