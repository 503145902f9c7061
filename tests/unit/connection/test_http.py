"""What a client may rely on, on both codecs and both loops."""

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from smoothserve.connection.service import Timeouts
from tests.unit.connection.harness import serving, until

Run = Callable[[Coroutine[Any, Any, None]], None]


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def parts(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for part in (b"one", b"", b"two"):
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b"three"})


GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"


def test_a_connection_serves_one_request_after_another(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with serving(hello, http=http) as server:
            client = await server.connect()
            for path in (b"/a", b"/b%20c", b"/d?q=1"):
                client.send(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path)
                status, headers, body = await client.answer()
                assert status == 200
                assert body == path.split(b"?")[0].replace(b"%20", b" ")
                assert b"connection" not in headers
                assert headers[b"server"] == b"smoothserve"
                assert b"GMT" in headers[b"date"]
            assert len(server.service.connections) == 1
            await client.close()
            await until(lambda: server.service.empty)
            assert server.service.unanswered == 0

    run(scenario())


def test_pipelined_requests_are_answered_in_order(run: Run, http: str) -> None:
    async def slow_first(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/0":
            await asyncio.sleep(0.05)
        await hello(scope, receive, send)

    async def scenario() -> None:
        async with serving(slow_first, http=http) as server:
            client = await server.connect()
            client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(50)))
            for number in range(50):
                assert (await client.answer())[2] == b"/%d" % number
            await client.close()

    run(scenario())


def test_a_bad_request_is_answered_after_the_good_ones_ahead_of_it(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with serving(hello, http=http) as server:
            client = await server.connect()
            client.send(GET + b"GET / HTTP/1.1\r\nbad header\r\n\r\n" + GET)
            assert (await client.answer())[2] == b"/a"
            status, headers, _ = await client.answer()
            assert status == 400
            assert headers[b"connection"] == b"close"
            assert await client.rest() == b""
            await client.close()

    run(scenario())


@pytest.mark.parametrize(
    ("head", "kept"),
    [
        (b"GET /a HTTP/1.0\r\n\r\n", False),
        (b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
        (b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", False),
        (GET, True),
    ],
)
def test_the_connection_is_kept_as_version_and_header_say(run: Run, http: str, head: bytes, kept: bool) -> None:
    async def scenario() -> None:
        async with serving(hello, http=http) as server:
            client = await server.connect()
            client.send(head)
            status, headers, body = await client.answer()
            assert (status, body) == (200, b"/a")
            if kept:
                assert headers.get(b"connection") == (b"keep-alive" if b"1.0" in head else None)
                client.send(head)
                assert (await client.answer())[2] == b"/a"
            else:
                assert headers[b"connection"] == b"close"
                assert await client.rest() == b""
            await client.close()

    run(scenario())


def test_an_http_1_0_client_gets_a_streamed_answer_without_chunks(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with serving(parts, http=http) as server:
            status, headers, body = await server.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert (status, body) == (200, b"onetwothree")
            assert headers[b"connection"] == b"close"
            status, headers, body = await server.ask(GET)
            assert (status, body) == (200, b"onetwothree")
            assert headers[b"transfer-encoding"] == b"chunked"

    run(scenario())


def test_head_204_and_304_have_no_body(run: Run, http: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        status = int(scope["path"][1:])
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"body"})

    async def scenario() -> None:
        async with serving(app, http=http) as server:
            client = await server.connect()
            for method, status in ((b"HEAD", 200), (b"GET", 204), (b"GET", 304), (b"GET", 200)):
                client.send(b"%b /%d HTTP/1.1\r\nHost: x\r\n\r\n" % (method, status))
                got, headers, body = await client.answer(method.decode())
                assert got == status
                assert body == (b"body" if (method, status) == (b"GET", 200) else b"")
                assert (b"content-length" in headers) == (status != 204)
            await client.close()

    run(scenario())


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_request_body_reaches_the_application_whole(run: Run, http: str, chunked: bool) -> None:
    async def scenario() -> None:
        body = bytes(range(256)) * 4096
        async with serving(echo, http=http) as server:
            client = await server.connect()
            if chunked:
                client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
                for start in range(0, len(body), 30000):
                    chunk = body[start : start + 30000]
                    client.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                client.send(b"0\r\n\r\n")
            else:
                client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            assert (await client.answer())[2] == body
            client.send(GET)
            assert (await client.answer())[2] == b""
            await client.close()

    run(scenario())


def test_an_application_that_does_not_read_holds_the_client_back(run: Run, http: str) -> None:
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        await echo(scope, receive, send)

    async def scenario() -> None:
        size = 32 * 1024 * 1024
        async with serving(app, http=http) as server:
            client = await server.connect()
            client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
            client.send(b"x" * size)
            await until(lambda: len(server.service.calls) == 1)
            await asyncio.sleep(0.1)
            assert client.writer.transport.get_write_buffer_size() > size // 2
            go.set()
            assert len((await client.answer())[2]) == size
            await client.close()

    run(scenario())


def test_a_client_that_does_not_read_holds_the_application_back(run: Run, http: str) -> None:
    sent = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(600):
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            sent += 1
        await send({"type": "http.response.body"})

    async def scenario() -> None:
        async with serving(app, http=http) as server:
            client = await server.connect()
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            client.send(GET)
            await asyncio.sleep(0.2)
            before = sent
            await asyncio.sleep(0.1)
            assert sent == before < 600
            client.writer.transport.resume_reading()  # type: ignore[attr-defined]
            assert len((await client.answer())[2]) == 600 * 65536
            await client.close()

    run(scenario())


def test_100_continue_is_sent_only_when_the_application_reads(run: Run, http: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await (echo if scope["path"] == "/read" else hello)(scope, receive, send)

    async def scenario() -> None:
        head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        async with serving(app, http=http) as server:
            client = await server.connect()
            client.send(head % b"/read")
            assert (await client.head())[0] == 100
            client.send(b"body")
            assert (await client.answer())[2] == b"body"
            client.send(head % b"/refuse")
            status, headers, body = await client.answer()
            assert (status, body) == (200, b"/refuse")
            assert headers[b"connection"] == b"close"
            assert await client.rest() == b""
            await client.close()

    run(scenario())


def test_a_half_closed_client_gets_its_answers(run: Run, http: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.1)
        await hello(scope, receive, send)

    async def scenario() -> None:
        async with serving(app, http=http) as server:
            client = await server.connect()
            client.send(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n")
            client.half_close()
            assert (await client.answer())[2] == b"/1"
            assert (await client.answer())[2] == b"/2"
            assert await client.rest() == b""
            await client.close()
            assert server.log == ""

    run(scenario())


@pytest.mark.parametrize("half", [True, False])
def test_an_application_that_waits_for_it_hears_of_the_clients_leaving(run: Run, http: str, half: bool) -> None:
    heard = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "http.request"
        assert (await receive())["type"] == "http.disconnect"
        assert (await receive())["type"] == "http.disconnect"
        heard.set()
        await hello(scope, receive, send)

    async def scenario() -> None:
        async with serving(app, http=http, timeouts=Timeouts(half_closed=0.05)) as server:
            client = await server.connect()
            client.send(GET)
            await until(lambda: len(server.service.calls) == 1)
            if half:
                client.half_close()
                assert (await client.answer())[2] == b"/a"
            else:
                await client.close()
            await until(heard.is_set)
            await until(lambda: not server.service.calls)
            await client.close()
            assert server.log == ""

    run(scenario())


def test_sending_to_a_client_that_left_is_silent_in_2_3_and_raises_from_2_4_on(run: Run, http: str) -> None:
    raised: list[BaseException | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in range(20):
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
                await asyncio.sleep(0.005)
            await send({"type": "http.response.body"})
        except OSError as error:
            raised.append(error)
            raise
        raised.append(None)

    async def scenario() -> None:
        for version in ("2.3", "2.5"):
            async with serving(app, http=http, spec_version=version) as server:
                client = await server.connect()
                client.send(GET)
                await until(lambda server=server: len(server.service.calls) == 1)  # type: ignore[misc]
                await client.close()
                await until(lambda server=server: not server.service.calls)  # type: ignore[misc]
                assert server.log == ""
        assert raised[0] is None
        assert isinstance(raised[1], OSError)

    run(scenario())


def test_an_exception_before_the_answer_is_a_500_with_the_traceback_in_the_log(run: Run, http: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/started":
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise SystemExit("boom") if scope["path"] == "/exit" else ValueError("boom")

    async def scenario() -> None:
        for path in (b"/", b"/exit", b"/started"):
            async with serving(app, http=http) as server:
                client = await server.connect()
                for _ in range(2):
                    client.send(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path)
                    status, _, body = await client.answer()
                    assert (status, body) == (500, b"Internal Server Error")
                await client.close()
                assert "Traceback" in server.log
                assert "boom" in server.log
                assert "smoothserve/asgi" not in server.log

    run(scenario())


def test_an_exception_amid_the_answer_cuts_it_off(run: Run, http: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        if scope["path"] == "/raise":
            raise ValueError("boom")

    async def scenario() -> None:
        for path, line in ((b"/raise", "boom"), (b"/return", "without completing")):
            async with serving(app, http=http) as server:
                client = await server.connect()
                client.send(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path)
                assert (await client.head())[0] == 200
                assert not (await client.rest()).endswith(b"0\r\n\r\n")
                await client.close()
                assert line in server.log

    run(scenario())


def test_an_application_that_returns_without_answering_is_a_500(run: Run, http: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        pass

    async def scenario() -> None:
        async with serving(app, http=http) as server:
            assert (await server.ask(GET))[0] == 500
            assert "without answering" in server.log

    run(scenario())


@pytest.mark.parametrize(("length", "line"), [(b"3", "longer"), (b"9", "shorter")])
def test_a_body_that_belies_its_content_length_closes_the_connection(
    run: Run, http: str, length: bytes, line: str
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": b"12345"})

    async def scenario() -> None:
        async with serving(app, http=http) as server:
            client = await server.connect()
            client.send(GET)
            await client.head()
            assert await client.rest() == (b"123" if length == b"3" else b"12345")
            await client.close()
            assert line in server.log

    run(scenario())


@pytest.mark.parametrize(
    "header",
    [(b"x-a", b"1\r\nx-b: 2"), (b"x a", b"1"), (b"x-a", "text"), (b"x-a", b"1\n2"), (b"content-length", b"+1")],
)
def test_an_invalid_response_header_never_reaches_the_wire(run: Run, http: str, header: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [header]})
        await send({"type": "http.response.body", "body": b"12345"})

    async def scenario() -> None:
        async with serving(app, http=http) as server:
            status, headers, _ = await server.ask(GET)
            assert status == 500
            assert b"x-a" not in headers
            assert b"x-b" not in headers
            assert "InvalidResponseError" in server.log

    run(scenario())


def test_an_unread_body_does_not_disturb_the_next_request(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with serving(hello, http=http) as server:
            client = await server.connect()
            client.send(b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n")
            assert (await client.answer())[2] == b"/p"
            client.send(b"GET / HTTP/1.1\r\n" * 12500 + GET)
            assert (await client.answer())[2] == b"/a"
            await client.close()

    run(scenario())


def test_an_idle_connection_is_closed_silently_and_a_dripping_head_is_a_408(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with serving(hello, http=http, timeouts=Timeouts(keep_alive=0.05, head=0.3)) as server:
            client = await server.connect()
            assert await client.rest() == b""
            await client.close()
            client = await server.connect()
            client.send(b"GET / HT")
            assert (await client.answer())[0] == 408
            assert await client.rest() == b""
            await client.close()

    run(scenario())


def test_a_draining_connection_answers_close_and_lets_an_idle_client_ask_once_more(run: Run, http: str) -> None:
    release = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            await release.wait()
        await hello(scope, receive, send)

    async def scenario() -> None:
        async with serving(app, http=http) as server:
            idle, busy, silent = await server.connect(), await server.connect(), await server.connect()
            idle.send(GET)
            await idle.answer()
            busy.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: len(server.service.calls) == 1 and len(server.service.connections) == 3)
            empty = asyncio.Event()
            server.service.begin_drain(0.4, empty.set)
            idle.send(GET)
            status, headers, body = await idle.answer()
            assert (status, body, headers[b"connection"]) == (200, b"/a", b"close")
            assert await idle.rest() == b""
            release.set()
            status, headers, body = await busy.answer()
            assert (status, body, headers[b"connection"]) == (200, b"/slow", b"close")
            assert await busy.rest() == b""
            assert not empty.is_set()
            assert await silent.rest() == b""
            for client in (idle, busy, silent):
                await client.close()
            await until(empty.is_set)
            assert server.service.dropped == 0

    run(scenario())


def test_a_request_is_in_hand_until_the_application_call_has_returned(run: Run, http: str) -> None:
    release = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await hello(scope, receive, send)
        await release.wait()

    async def scenario() -> None:
        async with serving(app, http=http) as server:
            empty = asyncio.Event()
            client = await server.connect()
            client.send(GET)
            assert (await client.answer())[2] == b"/a"
            client.send(GET)  # the connection is free while the first call still works
            assert (await client.answer())[2] == b"/a"
            await client.close()
            await until(lambda: not server.service.connections)
            server.service.begin_drain(0, empty.set)
            assert len(server.service.calls) == 2
            assert not empty.is_set()
            release.set()
            await until(empty.is_set)

    run(scenario())


def test_the_deadline_cuts_what_is_left_and_counts_it_as_dropped(run: Run, http: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/background":
            await hello(scope, receive, send)
        await asyncio.sleep(60)

    async def scenario() -> None:
        async with serving(app, http=http) as server:
            waiting, answered = await server.connect(), await server.connect()
            waiting.send(GET)
            answered.send(b"GET /background HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await answered.answer())[0] == 200
            await until(lambda: len(server.service.calls) == 2)
            assert server.service.cut() == 1
            assert await waiting.rest() in (b"", b"<reset>")
            await until(lambda: server.service.empty)
            assert server.service.dropped == 1
            for client in (waiting, answered):
                await client.close()
            assert "Traceback" not in server.log

    run(scenario())


def test_no_connection_is_lost_between_accept_and_attach(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with serving(hello, http=http) as server:
            clients = [await server.connect() for _ in range(40)]
            for client in clients:
                client.send(GET)
            empty = asyncio.Event()
            server.acceptor.accept_the_rest_and_close()
            server.service.begin_drain(5.0, empty.set)
            for client in clients:
                assert (await client.answer())[2] == b"/a"
                await client.close()
            await until(empty.is_set)

    run(scenario())


@pytest.mark.parametrize("body", ["text", None, 3, [b"x"]])
def test_a_body_that_is_not_bytes_is_a_500_and_the_connection_goes_on(run: Run, http: str, body: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async def scenario() -> None:
        async with serving(app, http=http) as server:
            client = await server.connect()
            for _ in range(2):
                client.send(GET)
                assert (await client.answer())[0] == 500
            await client.close()
            assert "not bytes" in server.log

    run(scenario())


def test_a_generator_exit_in_the_application_is_an_exception_like_any_other(run: Run, http: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise GeneratorExit

    async def scenario() -> None:
        async with serving(app, http=http) as server:
            assert (await server.ask(GET))[0] == 500
            assert "GeneratorExit" in server.log

    run(scenario())


def test_no_100_continue_is_sent_amid_an_answer(run: Run, http: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun ", "more_body": True})
        message = await receive()
        await send({"type": "http.response.body", "body": message["body"]})

    async def scenario() -> None:
        async with serving(app, http=http) as server:
            client = await server.connect()
            client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
            await asyncio.sleep(0.05)
            client.send(b"body")
            assert (await client.answer())[2] == b"begun body"
            await client.close()

    run(scenario())


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_an_endless_stream_leaves_the_others_their_turn(run: Run, http: str, method: bytes) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != "/endless":
            await hello(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})

    async def scenario() -> None:
        async with serving(app, http=http) as server:
            client = await server.connect()
            client.send(method + b" /endless HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await client.head())[0] == 200
            assert (await server.ask(GET))[2] == b"/a"
            client.writer.transport.abort()
            for _ in range(3):
                assert (await server.ask(GET))[2] == b"/a"

    run(scenario())


def test_a_bad_chunk_after_an_early_answer_is_not_answered_again(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with serving(hello, http=http) as server:
            client = await server.connect()
            client.send(b"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            assert (await client.answer())[2] == b"/p"
            client.send(b"what?\r\n")
            assert await client.rest() == b""
            await client.close()

    run(scenario())


def test_a_client_that_still_sends_when_its_answer_says_close_is_not_reset(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with serving(hello, http=http, timeouts=Timeouts(close=0.3)) as server:
            client = await server.connect()
            client.send(b"POST /p HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1000000\r\n\r\n")
            for _ in range(10):
                client.send(b"x" * 1000)
                await asyncio.sleep(0.1)
            assert (await client.answer())[2] == b"/p"
            assert await client.rest() == b""
            await client.close()
            client = await server.connect()  # and one that neither sends nor closes is let go of
            client.send(b"POST /p HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1000000\r\n\r\n")
            await client.answer()
            await until(lambda: not server.service.connections)
            await client.close()

    run(scenario())


def test_requests_that_came_while_the_loop_was_blocked_are_answered(run: Run, http: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/block":
            time.sleep(1.5)
        await hello(scope, receive, send)

    async def scenario() -> None:
        async with serving(app, http=http, timeouts=Timeouts(keep_alive=0.5)) as server:
            client = await server.connect()
            client.send(GET)
            await client.answer()
            port = server.port

            def ask_while_blocked() -> bytes:
                """From another thread, since the client's loop is the blocked one, too."""
                with (
                    socket.create_connection(("127.0.0.1", port)) as one,
                    socket.create_connection(("127.0.0.1", port)) as two,
                ):
                    one.sendall(GET)
                    one.recv(65536)
                    two.sendall(GET.replace(b"/a", b"/block"))
                    time.sleep(0.2)
                    one.sendall(GET)
                    return one.recv(65536)

            answer = await asyncio.get_running_loop().run_in_executor(None, ask_while_blocked)
            assert b"/a" in answer
            await client.close()

    run(scenario())


def test_without_keep_alive_every_answer_says_close_and_a_slow_first_request_is_waited_for(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with serving(hello, http=http, timeouts=Timeouts(keep_alive=0.0)) as server:
            client = await server.connect()
            await asyncio.sleep(0.2)
            client.send(GET)
            _, headers, body = await client.answer()
            assert (headers[b"connection"], body) == (b"close", b"/a")
            assert await client.rest() == b""
            await client.close()

    run(scenario())


def test_an_answer_that_ends_with_the_connection_is_cut_off_with_a_reset(run: Run, http: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        if scope["path"] == "/wait":
            await asyncio.sleep(60)
        raise ValueError("boom")

    async def scenario() -> None:
        async with serving(app, http=http) as server:
            client = await server.connect()
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            assert (await client.rest()).endswith(b"<reset>")
            await client.close()
            client = await server.connect()
            client.send(b"GET /wait HTTP/1.0\r\n\r\n")
            await client.head()
            server.service.cut()
            assert (await client.rest()).endswith(b"<reset>")
            await client.close()

    run(scenario())
