"""Request bodies: in memory, on disk, and waiting to be asked for."""

import io
import os
import tempfile
import threading
from typing import Any

import pytest

from smoothserve.wsgi.body import BATCH_BYTES, ClientDisconnectedError
from tests.unit.wsgi.fakes import FakeConnection, Server, request

MIB = 1024 * 1024


def echo(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("X-Thread", threading.current_thread().name)])
    return [environ["wsgi.input"].read()]


def upload(server: Server, parts: list[bytes], **options: Any) -> FakeConnection:
    size = sum(map(len, parts))
    connection = FakeConnection()
    exchange = server.application.exchange(connection, request("POST", content_length=size, **options))
    exchange.start()
    for part in parts:
        exchange.data_received(part)
        server.until(lambda: not connection.paused)
    exchange.body_ended()
    server.until(lambda: connection.finished and connection.returned)
    return connection


def test_the_application_is_called_when_the_body_is_complete() -> None:
    called = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        called.append(1)
        return echo(environ, start_response)

    with Server(app) as server:
        connection = FakeConnection()
        exchange = server.application.exchange(connection, request("POST", content_length=6))
        exchange.data_received(b"abc")
        exchange.start()
        server.turn()
        exchange.data_received(b"def")
        server.turn()
        assert not called
        exchange.body_ended()
        server.until(lambda: connection.finished)
        assert connection.body == b"abcdef"
        assert connection.headers["x-thread"] == "smoothserve-wsgi-0"


@pytest.mark.parametrize("size", [1, MIB - 1, MIB, MIB + 1, 3 * MIB + 5])
@pytest.mark.parametrize("step", [65536, 4 * MIB])
def test_bodies_of_any_size_arrive_whole(size: int, step: int) -> None:
    content = os.urandom(size)
    parts = [content[at : at + step] for at in range(0, size, step)]
    with Server(echo) as server:
        assert upload(server, parts).body == content


def test_a_body_beyond_the_limit_is_not_kept_in_memory() -> None:
    kinds = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        kinds.append(hasattr(environ["wsgi.input"], "fileno") and os.fstat(environ["wsgi.input"].fileno()).st_size)
        return echo(environ, start_response)

    with Server(app, spool_bytes=1000) as server:
        assert upload(server, [b"x" * 600, b"y" * 600]).body == b"x" * 600 + b"y" * 600
    assert kinds == [1200]


def test_reading_pauses_while_the_disk_is_behind() -> None:
    with Server(echo, spool_bytes=1000) as server:
        connection = FakeConnection()
        exchange = server.application.exchange(connection, request("POST", chunked=True))
        exchange.start()
        # No turn of the loop: nothing can have been written.
        exchange.data_received(b"x" * 2000)
        assert connection.calls == []
        exchange.data_received(b"y" * BATCH_BYTES)
        assert connection.calls == ["pause_body"]
        exchange.data_received(b"z" * 10)
        server.until(lambda: not connection.paused)
        exchange.body_ended()
        server.until(lambda: connection.finished)
        assert connection.body == b"x" * 2000 + b"y" * BATCH_BYTES + b"z" * 10


@pytest.mark.parametrize("spool_bytes", [5, MIB])
def test_the_input_can_be_read_in_every_way(spool_bytes: int) -> None:
    content = b"one\ntwo\nthree\nfour\nfive\nsix"

    def app(environ: Any, start_response: Any) -> list[bytes]:
        stream = environ["wsgi.input"]
        assert stream.read(0) == b""
        assert stream.read(2) == b"on"
        assert stream.readline() == b"e\n"
        assert stream.readline(2) == b"tw"
        assert stream.readlines(1) == [b"o\n"]
        assert next(iter(stream)) == b"three\n"
        assert list(stream) == [b"four\n", b"five\n", b"six"]
        assert stream.read() == b""
        assert stream.read(10) == b""
        assert stream.readline() == b""
        start_response("200 OK", [])
        return [b"well"]

    with Server(app, spool_bytes=spool_bytes) as server:
        assert upload(server, [content[:10], content[10:]]).body == b"well"
        connection, exchange = server.begin(
            request("POST", content_length=len(content), expect_continue=True), content[:10]
        )
        server.until(lambda: "send_continue" in connection.calls)
        exchange.data_received(content[10:])
        exchange.body_ended()
        server.until(lambda: connection.finished)
        assert connection.body == b"well"
        assert server.log.text == ""


def test_a_client_that_leaves_before_its_body_is_complete_costs_no_call() -> None:
    called = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        called.append(1)
        return echo(environ, start_response)

    with Server(app, spool_bytes=10) as server:
        for received in (b"", b"abc", b"x" * 100):
            connection = FakeConnection()
            exchange = server.application.exchange(connection, request("POST", content_length=1000))
            exchange.start()
            exchange.data_received(received)
            exchange.client_left()
            assert connection.returned == 1
            exchange.data_received(b"late")
            exchange.body_ended()
            server.turn()
        assert server.log.text == ""
    assert not called


def test_a_body_that_cannot_be_stored_is_answered_with_500(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        called.append(1)
        return echo(environ, start_response)

    with Server(app, spool_bytes=10) as server:
        monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
        connection = FakeConnection()
        exchange = server.application.exchange(connection, request("POST", content_length=1000))
        exchange.start()
        exchange.data_received(b"x" * 500)
        server.until(lambda: connection.finished)
        assert connection.status == "500 Internal Server Error"
        assert connection.returned == 1
        exchange.data_received(b"x" * 500)
        exchange.body_ended()
        assert "the request body could not be stored" in server.log.text
        monkeypatch.undo()
        assert upload(server, [b"y" * 100]).body == b"y" * 100
    assert called == [1]


def test_a_disk_that_fills_up_in_the_middle_is_answered_with_500(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any, /) -> int:
            if self.tell():
                raise OSError(28, "No space left on device")
            return super().write(data)

    files: list[Full] = []

    def make(**options: Any) -> Full:
        files.append(Full())
        return files[0]

    monkeypatch.setattr(tempfile, "TemporaryFile", make)
    with Server(echo, spool_bytes=10) as server:
        connection = FakeConnection()
        exchange = server.application.exchange(connection, request("POST", content_length=10 * BATCH_BYTES))
        exchange.start()
        for _ in range(3):
            exchange.data_received(b"x" * BATCH_BYTES)
        assert connection.paused
        server.until(lambda: connection.finished)
        assert connection.status == "500 Internal Server Error"
        assert "No space left on device" in server.log.text
        assert files[0].closed


# Expect: 100-continue


def expecting(length: int = 6, **options: Any) -> Any:
    return request("POST", content_length=length, expect_continue=True, **options)


def test_the_first_read_asks_the_client_for_its_body() -> None:
    entered = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        entered.append(environ["CONTENT_LENGTH"])
        return echo(environ, start_response)

    with Server(app) as server:
        connection, exchange = server.begin(expecting())
        server.until(lambda: "send_continue" in connection.calls)
        assert entered == ["6"]
        exchange.data_received(b"abc")
        server.turn()
        assert not connection.sent
        exchange.data_received(b"def")
        exchange.body_ended()
        server.until(lambda: connection.finished)
        assert connection.body == b"abcdef"
        assert connection.calls.count("send_continue") == 1


def test_an_exchange_whose_answer_is_over_leaves_the_reading_to_the_next_one() -> None:
    release = threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", "5")])
        yield b"hello"
        assert release.wait(20)

    with Server(app, spool_bytes=10) as server:
        connection, exchange = server.begin(expecting(10 * BATCH_BYTES))
        exchange.data_received(b"x" * 100)
        exchange.data_received(b"x" * BATCH_BYTES)
        assert connection.paused
        server.until(lambda: connection.finished)
        calls = len(connection.calls)
        release.set()
        server.until(lambda: connection.returned)
        server.loop.run_until_complete(server.loop.shutdown_default_executor())
        server.turn()
        assert connection.calls[calls:] == ["call_returned"]


def test_an_application_that_does_not_read_asks_for_nothing() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("401 Unauthorized", [])
        return [b"who are you?"]

    with Server(app) as server:
        connection, exchange = server.begin(expecting())
        server.until(lambda: connection.finished and connection.returned)
        assert connection.status == "401 Unauthorized"
        assert "send_continue" not in connection.calls
        exchange.data_received(b"abcdef")
        exchange.body_ended()


def test_a_body_that_has_come_without_being_asked_for_is_there_at_once() -> None:
    with Server(echo) as server:
        connection = FakeConnection()
        exchange = server.application.exchange(connection, expecting())
        exchange.data_received(b"abcdef")
        exchange.body_ended()
        exchange.start()
        server.until(lambda: connection.finished)
        assert connection.body == b"abcdef"
        assert "send_continue" not in connection.calls


@pytest.mark.parametrize("leave", ["client_left", "cancel"])
def test_a_read_that_waits_ends_when_the_client_leaves(leave: str) -> None:
    raised: list[BaseException] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        try:
            environ["wsgi.input"].read()
        except OSError as error:
            raised.append(error)
            raise
        raise AssertionError

    with Server(app) as server:
        connection, exchange = server.begin(expecting())
        server.until(lambda: "send_continue" in connection.calls)
        exchange.data_received(b"abc")
        getattr(exchange, leave)()
        assert not connection.returned
        server.until(lambda: connection.returned)
        assert isinstance(raised[0], ClientDisconnectedError)
        assert not connection.sent
        assert server.log.text == ""


def test_a_read_after_the_answer_ends_too() -> None:
    raised: list[BaseException] = []

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", "5")])
        yield b"hello"
        try:
            environ["wsgi.input"].read()
        except OSError as error:
            raised.append(error)

    with Server(app) as server:
        connection, _ = server.begin(expecting())
        server.until(lambda: connection.finished and connection.returned)
        assert isinstance(raised[0], ClientDisconnectedError)
        assert "send_continue" not in connection.calls


def test_a_chunked_body_is_asked_for_at_once_so_that_its_length_is_known() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [environ.get("CONTENT_LENGTH", "unknown").encode(), environ["wsgi.input"].read()]

    with Server(app) as server:
        connection, exchange = server.begin(request("POST", chunked=True, expect_continue=True))
        server.until(lambda: "send_continue" in connection.calls)
        exchange.data_received(b"abcdef")
        exchange.body_ended()
        server.until(lambda: connection.finished)
        assert connection.body == b"6abcdef"


def test_a_body_that_is_asked_for_and_cannot_be_stored_fails_the_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(echo, spool_bytes=10) as server:
        monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
        connection, exchange = server.begin(expecting(1000))
        server.until(lambda: "send_continue" in connection.calls)
        exchange.data_received(b"x" * 1000)
        exchange.body_ended()
        server.until(lambda: connection.finished)
        assert connection.status == "500 Internal Server Error"
