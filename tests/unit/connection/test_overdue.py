"""Requests that take too long (`--request-timeout`), on both codecs, both loops and both interfaces."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from smoothserve.connection.overdue import Overdue
from tests.unit.connection.harness import Server, serving, until
from tests.unit.connection.test_http import GET
from tests.unit.wsgi.test_wire import get, serving_wsgi

Run = Callable[[Coroutine[Any, Any, None]], None]

POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"


def bounded(server: Server, timeout: float = 0.2) -> None:
    server.service.overdue = Overdue(timeout, server.service.calls)


async def wait_for_ever() -> None:
    await asyncio.sleep(3600)


def test_a_call_that_does_not_answer_is_cancelled_and_the_client_gets_504(run: Run, http: str) -> None:
    ended: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await wait_for_ever()
        finally:
            ended.append(scope["path"])

    async def scenario() -> None:
        async with serving(app, http=http) as server:
            bounded(server)
            status, headers, body = await server.ask(GET)
            assert (status, headers[b"connection"], body) == (504, b"close", b"Gateway Timeout\n")
            await until(lambda: server.service.empty)
            assert ended == ["/a"]
            assert "no answer within 0.2 s (--request-timeout): answered with 504" in server.log
            assert "in wait_for_ever" in server.log
            assert server.log.count("ERROR") == 1, server.log

    run(scenario())


def test_an_application_that_began_its_answer_but_sent_nothing_gets_504_and_what_it_sends_then_goes_nowhere(
    run: Run, http: str
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            await wait_for_ever()
        except asyncio.CancelledError:
            await send({"type": "http.response.body", "body": b"late"})
            assert (await receive())["type"] == "http.request"
            assert (await receive())["type"] == "http.disconnect"

    async def scenario() -> None:
        async with serving(app, http=http) as server:
            bounded(server)
            client = await server.connect()
            client.send(GET)
            assert (await client.answer())[0] == 504
            assert await client.rest() == b""
            await client.close()
            await until(lambda: server.service.empty)
            assert server.log.count("ERROR") == 1, server.log

    run(scenario())


def test_a_stream_that_has_begun_and_a_background_task_take_any_time(run: Run, http: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/stream":
            await send({"type": "http.response.body", "body": b"one", "more_body": True})
            await asyncio.sleep(0.6)
        await send({"type": "http.response.body", "body": b"two"})
        await asyncio.sleep(0.6)
        ended.append(scope["path"])

    ended: list[str] = []

    async def scenario() -> None:
        async with serving(app, http=http) as server:
            bounded(server)
            stream = await server.ask(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
            assert stream[::2] == (200, b"onetwo")
            assert (await server.ask(GET))[::2] == (200, b"two")
            await until(lambda: server.service.empty)
            assert sorted(ended) == ["/a", "/stream"]
            assert "ERROR" not in server.log

    run(scenario())


def test_time_in_which_the_client_is_waited_for_does_not_count(run: Run, http: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"whole"})

    async def scenario() -> None:
        async with serving(app, http=http) as server:
            bounded(server)
            client = await server.connect()
            client.send(POST)
            for byte in b"abcde":
                await asyncio.sleep(0.15)
                client.send(bytes([byte]))
            assert (await client.answer())[::2] == (200, b"whole")
            await client.close()

    run(scenario())


def test_a_websocket_takes_any_time(run: Run, http: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "websocket.connect"
        await asyncio.sleep(0.6)
        await send({"type": "websocket.accept"})
        await asyncio.sleep(0.6)
        await send({"type": "websocket.send", "text": "late"})

    async def scenario() -> None:
        async with serving(app, http=http) as server:
            bounded(server)
            client = await server.connect()
            client.send(
                b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            assert (await client.head())[0] == 101
            assert (await client.reader.readexactly(6)) == b"\x81\x04late"
            await client.close()

    run(scenario())


def test_a_thread_that_does_not_answer_has_its_stack_logged_and_what_waits_for_it_is_not_called(
    run: Run, http: str
) -> None:
    release = threading.Event()
    called: list[str] = []

    def hold_the_thread() -> None:
        release.wait(30)

    def app(environ: Any, start_response: Any) -> Any:
        called.append(environ["PATH_INFO"])
        hold_the_thread()
        start_response("200 OK", [])
        return [b"late"]

    async def scenario() -> None:
        async with serving_wsgi(app, http) as server:
            bounded(server)
            stuck, waiting = await server.connect(), await server.connect()
            stuck.send(get("/stuck"))
            await until(lambda: called == ["/stuck"])
            waiting.send(get("/waiting", "Content-Length: 0", method="POST"))
            for client in (stuck, waiting):
                assert (await client.answer())[0] == 504
            assert "in hold_the_thread" in server.log
            assert server.log.count("no answer within 0.2 s (--request-timeout): answered with 504") == 2
            application: Any = server.service.application
            await until(lambda: application.timed_out == 1)
            release.set()
            await until(lambda: not server.service.calls)
            assert called == ["/stuck"]
            assert application.timed_out == 1, "no thread is stuck in what only waited"
            for client in (stuck, waiting):
                assert await client.rest() == b""
                await client.close()

    run(scenario())


def test_a_wsgi_stream_that_has_begun_and_a_slow_upload_take_any_time(run: Run, http: str) -> None:
    release = threading.Event()

    def stream() -> Iterator[bytes]:
        yield b"one"
        release.wait(30)
        yield b"two"

    def app(environ: Any, start_response: Any) -> Any:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length)
        start_response("200 OK", [])
        return stream() if environ["PATH_INFO"] == "/stream" else [body]

    async def scenario() -> None:
        async with serving_wsgi(app, http, threads=2) as server:
            bounded(server)
            streamed, upload, asked = [await server.connect() for _ in range(3)]
            streamed.send(get("/stream"))
            upload.send(POST)
            asked.send(POST[:-2] + b"Expect: 100-continue\r\n\r\n")
            assert (await asked.head())[0] == 100
            for byte in b"abcde":
                await asyncio.sleep(0.15)
                upload.send(bytes([byte]))
                asked.send(bytes([byte]))
            for client in (upload, asked):
                assert (await client.answer())[::2] == (200, b"abcde")
            release.set()
            assert (await streamed.answer())[::2] == (200, b"onetwo")
            for client in (streamed, upload, asked):
                await client.close()

    run(scenario())


def test_the_time_of_a_call_begins_with_the_look_that_finds_it() -> None:
    class Call:
        def __init__(self) -> None:
            self.awaited = True
            self.timed_out = 0

        def time_out(self, timeout: float) -> None:
            self.timed_out += 1
            self.awaited = False

    calls: set[Any] = set()
    overdue = Overdue(2.0, calls)
    first, second = Call(), Call()
    calls.add(first)
    overdue.look(10.0)
    calls.add(second)
    overdue.look(11.9)
    told = [(first.timed_out, second.timed_out)]
    overdue.look(12.0)
    overdue.look(12.5)
    told.append((first.timed_out, second.timed_out))
    second.awaited = False  # the application waits for its client
    overdue.look(13.8)
    second.awaited = True
    overdue.look(14.0)
    told.append((first.timed_out, second.timed_out))
    overdue.look(16.0)
    told.append((first.timed_out, second.timed_out))
    assert told == [(0, 0), (1, 0), (1, 0), (1, 1)]
