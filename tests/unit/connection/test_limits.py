"""What a client may not do: each bound with its answer, on both codecs and both loops."""

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from smoothserve.connection.overload import Overload
from smoothserve.connection.progress import Progress
from smoothserve.connection.service import Timeouts
from smoothserve.protocol.events import Limits
from tests.unit.connection.harness import Client, Server, serving, until
from tests.unit.connection.test_http import GET, echo, hello

Run = Callable[[Coroutine[Any, Any, None]], None]

QUICK = Timeouts(keep_alive=5.0, head=0.3, body=0.3, write=0.3, close=0.3)


async def big(scope: Any, receive: Any, send: Any) -> None:
    """Answer with more than any buffer holds, in parts."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(2000):
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def drip(client: Client, pieces: int, piece: bytes, gap: float = 0.05) -> None:
    for _ in range(pieces):
        client.send(piece)
        await asyncio.sleep(gap)


@pytest.mark.parametrize("framing", [b"Content-Length: 100", b"Transfer-Encoding: chunked"])
def test_a_body_that_stands_still_is_a_408(run: Run, http: str, framing: bytes) -> None:
    async def scenario() -> None:
        async with serving(echo, http=http, timeouts=QUICK) as server:
            client = await server.connect()
            client.send(b"POST / HTTP/1.1\r\nHost: x\r\n%b\r\n\r\n5\r\n" % framing)
            status, headers, _ = await client.answer()
            assert (status, headers[b"connection"]) == (408, b"close")
            await client.close()
            await until(lambda: server.service.empty)

    run(scenario())


def test_a_body_that_drips_takes_any_time_but_not_below_a_minimum_rate(run: Run, http: str) -> None:
    async def scenario() -> None:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\n"
        async with serving(echo, http=http, timeouts=QUICK) as server:
            client = await server.connect()
            client.send(head)
            await drip(client, 30, b"a")
            assert (await client.answer())[::2] == (200, b"a" * 30)
            await client.close()
        async with serving(echo, http=http, timeouts=QUICK, service_options={"min_body_rate": 100}) as server:
            client = await server.connect()
            client.send(head)
            dripping = asyncio.ensure_future(drip(client, 29, b"a"))
            assert (await client.answer())[0] == 408
            dripping.cancel()
            await client.close()

    run(scenario())


def test_a_chunked_body_whose_trailers_drip_is_a_408(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with serving(echo, http=http, timeouts=QUICK) as server:
            client = await server.connect()
            client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n")
            dripping = asyncio.ensure_future(drip(client, 100, b"a: b\r\n"))
            assert (await client.answer())[0] == 408
            dripping.cancel()
            await client.close()

    run(scenario())


def test_a_body_that_the_application_does_not_read_is_not_the_clients_fault(run: Run, http: str) -> None:
    async def reads_late(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(1.0)
        await echo(scope, receive, send)

    async def scenario() -> None:
        async with serving(reads_late, http=http, timeouts=QUICK) as server:
            client = await server.connect()
            client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n" + b"a" * 10_000_000)
            status, _, body = await client.answer()
            assert (status, len(body)) == (200, 10_000_000)
            asking = await server.connect()
            asking.send(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
            assert (await asking.head())[0] == 100
            asking.send(b"a")
            assert (await asking.answer())[::2] == (200, b"a")
            for one in (client, asking):
                await one.close()

    run(scenario())


def test_an_unread_body_that_stands_still_after_its_answer_closes_the_connection(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with serving(hello, http=http, timeouts=Timeouts(keep_alive=0.3, body=0.3, close=0.3)) as server:
            client = await server.connect()
            client.send(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\n")
            assert (await client.answer())[2] == b"/a"
            await drip(client, 20, b"a")  # longer than the keep-alive time in all
            assert server.service.connections
            assert await client.rest() == b""
            await client.close()

    run(scenario())


def test_a_longer_body_is_a_413(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with serving(echo, http=http, limits=Limits(body_bytes=10)) as server:
            for framing in (
                b"Content-Length: 10\r\n\r\n0123456789",
                b"Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n",
            ):
                assert (await server.ask(b"POST / HTTP/1.1\r\nHost: x\r\n" + framing))[::2] == (200, b"0123456789")
            for framing in (
                b"Content-Length: 11\r\n\r\n",
                b"Content-Length: 11\r\nExpect: 100-continue\r\n\r\n",
                b"Transfer-Encoding: chunked\r\n\r\nb\r\n0123456789a",
                b"Transfer-Encoding: chunked\r\n\r\n6\r\n012345\r\n5\r\n67890",
            ):
                status, headers, _ = await server.ask(b"POST / HTTP/1.1\r\nHost: x\r\n" + framing)
                assert (status, headers[b"connection"]) == (413, b"close")
            await until(lambda: server.service.empty)
            assert "body is longer than 10 bytes" in server.log

    run(scenario())


@pytest.mark.parametrize("at_once", [False, True])
def test_a_client_that_takes_nothing_of_its_answer_is_cut_off(run: Run, http: str, at_once: bool) -> None:
    async def all_at_once(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 30_000_000})

    async def scenario() -> None:
        async with serving(all_at_once if at_once else big, http=http, timeouts=QUICK) as server:
            client = slow_client(server)
            client.sendall(GET)
            await until(lambda: server.service.requests == 1)
            await until(lambda: server.service.empty)
            assert "took nothing of its answer for 0.3 s" in server.log
            client.close()

    run(scenario())


def test_a_slow_reader_that_makes_progress_may_take_any_time(run: Run, http: str) -> None:
    async def some(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3000000")]})
        await send({"type": "http.response.body", "body": b"x" * 3_000_000})

    async def scenario() -> None:
        timeouts = Timeouts(keep_alive=0.5, body=0.6, write=0.6)
        async with serving(some, http=http, timeouts=timeouts) as server:
            client = slow_client(server)
            client.sendall(GET)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            read = 0
            while read < 2_900_000:
                data = await loop.sock_recv(client, 50_000)
                assert data
                read += len(data)
                await asyncio.sleep(0.01)
            # The idle time begins when the answer is out: the connection can still be used.
            while b"\r\n\r\n" not in data:
                if read < 3_000_000 + 100:
                    data = await loop.sock_recv(client, 50_000)
                    read += len(data)
                if read > 3_000_000:
                    break
            await loop.sock_sendall(client, GET)
            assert (await loop.sock_recv(client, 10)).startswith(b"HTTP/1.1")
            client.close()

    run(scenario())


def slow_client(server: Server) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    client.connect(("127.0.0.1", server.port))
    return client


def test_the_last_request_of_a_connection_is_answered_with_close(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with serving(hello, http=http, service_options={"max_requests": 3}) as server:
            client = await server.connect()
            for number in range(3):
                client.send(GET)
                status, headers, _ = await client.answer()
                assert status == 200
                assert (headers.get(b"connection") == b"close") is (number == 2)
            assert await client.rest() == b""
            await client.close()

    run(scenario())


def test_beyond_the_limit_connections_wait_until_there_is_room(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with serving(hello, http=http, max_connections=2) as server:
            first, second, third = [await server.connect() for _ in range(3)]
            for client in (first, second):
                client.send(GET)
                assert (await client.answer())[0] == 200
            third.send(GET)
            await asyncio.sleep(0.1)
            assert len(server.service.connections) == 2
            await first.close()
            assert (await third.answer())[0] == 200
            for client in (second, third):
                await client.close()

    run(scenario())


def test_beyond_the_limit_requests_are_answered_with_503_and_retry_after(run: Run, http: str) -> None:
    release = asyncio.Event()

    async def waits(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            await release.wait()
        await hello(scope, receive, send)

    async def scenario() -> None:
        async with serving(waits, http=http) as server:
            service = server.service
            service.application = Overload(
                service.application,
                lambda: len(service.calls) >= 2,
                defaults=service.defaults,
                error_log=service.error_log,
            )
            slow = [await server.connect() for _ in range(2)]
            for client in slow:
                client.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: len(service.calls) == 2)
            client = await server.connect()
            for request in (GET, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"):
                client.send(request)
                status, headers, _ = await client.answer()
                assert (status, headers[b"retry-after"]) == (503, b"1")
            assert server.log.count("overloaded: requests answered with 503: 1") == 1
            release.set()
            for one in slow:
                assert (await one.answer())[0] == 200
            client.send(GET)
            assert (await client.answer())[0] == 200  # the connection has survived its refusals
            assert service.unanswered == 0
            for one in (client, *slow):
                await one.close()

    run(scenario())


def test_refusals_are_counted_between_two_lines_of_the_log() -> None:
    now = 0.0
    lines: list[str] = []

    class Log(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    log = logging.Logger("test")  # noqa: LOG001 - of its own
    log.addHandler(Log())
    overload = Overload(None, lambda: True, defaults=None, error_log=log, clock=lambda: now)  # type: ignore[arg-type]
    for moment in (0.0, 1.0, 2.0, 10.5):
        now = moment
        overload._note()
    assert lines == ["overloaded: requests answered with 503: 1", "overloaded: requests answered with 503: 3"]


def test_progress_is_growth_by_enough_or_any_change() -> None:
    growing = Progress(0, 0.0)
    assert growing.stalled(5, 1.0, least=10) == 1.0
    assert growing.stalled(9, 2.0, least=10) == 2.0
    assert growing.stalled(10, 3.0, least=10) == 0.0
    changing = Progress(10, 0.0)
    assert changing.unchanged(10, 1.0) == 1.0
    assert changing.unchanged(9, 2.0) == 0.0
    assert changing.unchanged(9, 2.5) == 0.5
