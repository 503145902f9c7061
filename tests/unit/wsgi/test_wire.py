"""What a client sees of a WSGI application through the real connection, on both codecs and both loops."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

from smoothserve.protocol.response import DefaultHeaders
from smoothserve.wsgi.application import WSGIApplication
from tests.unit.connection.harness import Server, serving, until

Run = Callable[[Coroutine[Any, Any, None]], None]

LARGE = bytes(range(256)) * 16384


@asynccontextmanager
async def serving_wsgi(app: Any, http: str, *, threads: int = 1) -> AsyncIterator[Server]:
    applications: list[WSGIApplication] = []

    def make(loop: asyncio.AbstractEventLoop, defaults: DefaultHeaders, log: logging.Logger) -> WSGIApplication:
        application = WSGIApplication(
            app, loop=loop, threads=threads, defaults=defaults, error_log=log, multiprocess=False
        )
        application.start()
        applications.append(application)
        return application

    async with serving(app, http=http, make_application=make) as server:
        yield server
    await applications[0].stop(10.0)


def site(environ: Any, start_response: Any) -> Any:
    path = environ["PATH_INFO"]
    if path == "/refuse":
        start_response("403 Forbidden", [("Content-Type", "text/plain")])
        return [b"no"]
    if path == "/broken":
        raise ValueError("boom")
    if path == "/cut":
        return cut(start_response)
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/echo":
        return [environ["wsgi.input"].read()]
    if path == "/large":
        return iter([LARGE] * 3)
    if path == "/parts":
        return iter([b"one", b"", b"two", b"three"])
    return [path.encode("latin-1")]


def cut(start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Length", "10")])
    yield b"12345"
    raise ValueError("boom")


def get(path: str, *fields: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *fields, "", ""]).encode()


def test_a_connection_serves_one_request_after_another(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with serving_wsgi(site, http) as server:
            client = await server.connect()
            for path, body in (("/a", b"/a"), ("/b%20c", b"/b c"), ("/parts", b"onetwothree"), ("/d?q", b"/d")):
                client.send(get(path))
                status, headers, answer = await client.answer()
                assert (status, answer) == (200, body)
                assert b"connection" not in headers
            await client.close()
            await until(lambda: server.service.empty)

    run(scenario())


def test_pipelined_requests_are_answered_in_order(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with serving_wsgi(site, http, threads=4) as server:
            client = await server.connect()
            post = get("/echo", "Content-Length: 3", method="POST") + b"abc"
            client.send((get("/one") + post + get("/parts")) * 20)
            for _ in range(20):
                assert [(await client.answer())[2] for _ in range(3)] == [b"/one", b"abc", b"onetwothree"]
            await client.close()

    run(scenario())


def test_many_connections_share_the_threads(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with serving_wsgi(site, http, threads=3) as server:

            async def ask(number: int) -> None:
                client = await server.connect()
                for turn in range(10):
                    client.send(get(f"/{number}/{turn}"))
                    assert (await client.answer())[2] == f"/{number}/{turn}".encode()
                await client.close()

            await asyncio.gather(*[ask(number) for number in range(20)])

    run(scenario())


def test_bodies_arrive_with_a_length_and_in_chunks(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with serving_wsgi(site, http) as server:
            client = await server.connect()
            for body in (b"", b"small", LARGE):
                client.send(get("/echo", f"Content-Length: {len(body)}", method="POST") + body)
                assert (await client.answer())[2] == body
                client.send(get("/echo", "Transfer-Encoding: chunked", method="POST"))
                for at in range(0, len(body), 1 << 20):
                    part = body[at : at + (1 << 20)]
                    client.send(b"%x\r\n%b\r\n" % (len(part), part))
                client.send(b"0\r\n\r\n")
                assert (await client.answer())[2] == body
            await client.close()

    run(scenario())


def test_100_continue_is_sent_when_the_application_reads(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with serving_wsgi(site, http) as server:
            client = await server.connect()
            for _ in range(3):
                client.send(get("/echo", "Content-Length: 5", "Expect: 100-continue", method="POST"))
                assert (await client.head())[0] == 100
                client.send(b"hello")
                assert (await client.answer())[2] == b"hello"
            client.send(get("/refuse", "Content-Length: 5", "Expect: 100-continue", method="POST"))
            status, headers, body = await client.answer()
            assert (status, headers[b"connection"], body) == (403, b"close", b"no")
            assert await client.rest() == b""
            await client.close()

    run(scenario())


def test_an_old_client_is_served(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with serving_wsgi(site, http) as server:
            client = await server.connect()
            client.send(b"GET /parts HTTP/1.0\r\n\r\n")
            status, headers, body = await client.answer()
            assert (status, body) == (200, b"onetwothree")
            assert b"transfer-encoding" not in headers
            assert await client.rest() == b""
            await client.close()

    run(scenario())


def test_an_error_costs_the_request_and_not_the_connection(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with serving_wsgi(site, http) as server:
            client = await server.connect()
            client.send(get("/broken") + get("/after"))
            assert (await client.answer())[0] == 500
            assert (await client.answer())[2] == b"/after"
            assert "ValueError: boom" in server.log
            client.send(get("/cut"))
            assert (await client.head())[1][b"content-length"] == b"10"
            assert await client.rest() == b"12345"
            await client.close()

    run(scenario())


def test_a_half_closed_client_gets_its_answer(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with serving_wsgi(site, http) as server:
            client = await server.connect()
            client.send(get("/large"))
            client.half_close()
            assert (await client.answer())[2] == LARGE * 3
            await client.close()

    run(scenario())


def test_a_slow_reader_holds_neither_thread_nor_loop(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with serving_wsgi(site, http) as server:
            slow = await server.connect()
            slow.send(get("/large"))
            await slow.head()
            for _ in range(5):
                assert (await server.ask(get("/quick")))[2] == b"/quick"
            await until(lambda: not server.service.calls)
            assert server.service.unanswered == 1
            received = 0
            while size := int(await slow.reader.readline(), 16):
                received += len(await slow.reader.readexactly(size + 2)) - 2
            assert received == 3 * len(LARGE)
            await slow.close()

    run(scenario())


def test_a_client_that_leaves_ends_the_iteration(run: Run, http: str) -> None:
    closed = threading.Event()

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            while True:
                time.sleep(0.001)
                yield b"tick"
        finally:
            closed.set()

    async def scenario() -> None:
        async with serving_wsgi(app, http) as server:
            client = await server.connect()
            client.send(get("/"))
            await client.head()
            await client.close()
            await until(closed.is_set)
            await until(lambda: server.service.empty)
            assert server.log == ""

    run(scenario())


_ANSWERS: dict[str, tuple[str, Any, list[bytes]]] = {
    "/plain": ("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")], [b"ok"]),
    "/own-reason": ("200 Fine", [("Content-Type", "text/plain"), ("Content-Length", "2")], [b"ok"]),
    "/not-found": ("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", "2")], [b"no"]),
    "/cookies": ("200 OK", [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")], [b"ok"]),
    "/lists": ("200 OK", [["Content-Type", "text/plain"]], [b"ok"]),
    "/tuple": ("200 OK", (("Content-Type", "text/html"),), [b"ok"]),
    "/not-modified": ("304 Not Modified", [("ETag", "x")], []),
    "/closing": ("200 OK", [("Connection", "close"), ("Content-Length", "2")], [b"ok"]),
    "/short": ("200 OK", [("Content-Length", "9")], [b"ok"]),
    "/injected": ("200 OK", [("X", "a\r\nb: c")], [b"ok"]),
}


def test_an_answer_that_has_been_given_before_is_given_again_as_at_first(run: Run, http: str) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        status, headers, body = _ANSWERS[environ["PATH_INFO"]]
        start_response(status, headers)
        return body

    async def scenario() -> None:
        async with serving_wsgi(app, http) as server:

            async def ask(path: str, method: str) -> bytes:
                client = await server.connect()
                client.send(get(path, "Connection: close", method=method))
                data = b""
                while part := await asyncio.wait_for(client.reader.read(), 10):
                    data += part
                await client.close()
                return b"\r\n".join(line for line in data.split(b"\r\n") if not line.startswith(b"date:"))

            first = {(path, method): await ask(path, method) for path in _ANSWERS for method in ("GET", "HEAD")}
            for _ in range(2):
                assert {key: await ask(*key) for key in first} == first
            assert first["/plain", "GET"].startswith(b"HTTP/1.1 200 OK\r\n")
            assert first["/own-reason", "GET"].startswith(b"HTTP/1.1 200 Fine\r\n")
            assert first["/injected", "GET"].startswith(b"HTTP/1.1 500 ")

    run(scenario())
