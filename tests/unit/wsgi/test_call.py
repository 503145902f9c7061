"""What an application may do by PEP 3333, and what it gets for what it may not do."""

import sys
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from smoothserve.protocol.memory import FAST_PATHS
from tests.unit.wsgi.fakes import FakeConnection, Server, request

PLAIN = [("Content-Type", "text/plain")]


class Closing:
    """An iterable whose `close()` is seen."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self.parts = iter(parts)
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return self.parts

    def close(self) -> None:
        self.closed += 1


def answering(result: Any, status: Any = "200 OK", headers: Any = None) -> Any:
    def app(environ: Any, start_response: Any) -> Any:
        start_response(status, PLAIN if headers is None else headers)
        return result

    return app


def answer(app: Any, head: Any = None, body: bytes = b"", **options: Any) -> tuple[FakeConnection, str]:
    with Server(app, **options) as server:
        return server.answer(head, body), server.log.text


# the framing


def test_a_list_of_one_part_is_answered_in_one_write_with_its_length() -> None:
    connection, log = answer(answering([b"hello"]))
    assert connection.status == "200 OK"
    assert connection.headers["content-length"] == "5"
    assert connection.headers["content-type"] == "text/plain"
    assert connection.headers["server"] == "smoothserve"
    assert connection.body == b"hello"
    assert connection.writes == 1
    assert connection.calls == ["write", "answer_finished", "call_returned"]
    assert log == ""


@pytest.mark.parametrize("result", [[b"hel", b"", b"lo"], (b"hello",), (b"hel", b"lo")])
def test_lists_and_tuples_are_answered_with_their_length(result: Any) -> None:
    connection, _ = answer(answering(result))
    assert connection.headers["content-length"] == "5"
    assert connection.body == b"hello"
    assert connection.writes == 1


@pytest.mark.parametrize("result", [[], (), [b""], iter([]), iter([b"", b""])])
def test_an_empty_body_is_an_answer_of_length_0(result: Any) -> None:
    connection, log = answer(answering(result))
    assert connection.status == "200 OK"
    assert connection.headers["content-length"] == "0"
    assert connection.body == b""
    assert log == ""


def test_a_generator_is_answered_in_chunks() -> None:
    with Server(lambda environ, start_response: parts(start_response)) as server:
        release: list[bool] = []
        released: list[bool] = []

        def parts(start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", PLAIN)
            yield b""
            yield b"one"
            released.append(wait_until(lambda: release))
            yield b"two"

        connection, _ = server.begin()
        server.until(lambda: connection.sent)
        assert connection.headers["transfer-encoding"] == "chunked"
        assert connection.body == b"one"
        release.append(True)
        server.until(lambda: connection.returned)
        assert connection.body == b"onetwo"
        assert connection.sent.endswith(b"0\r\n\r\n")
        assert connection.finished
        assert released == [True]


def wait_until(holds: Any) -> bool:
    """Wait on an application thread."""
    import time

    end = time.monotonic() + 20
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True


def test_an_old_client_gets_the_end_of_the_connection_as_the_end_of_the_body() -> None:
    connection, _ = answer(answering(iter([b"one", b"two"])), request(http_version="1.0", keep_alive=False))
    assert "transfer-encoding" not in connection.headers
    assert connection.headers["connection"] == "close"
    assert connection.body == b"onetwo"


def test_an_answer_whose_declared_length_is_reached_does_not_wait_for_the_end_of_the_iteration() -> None:
    release: list[bool] = []

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [*PLAIN, ("Content-Length", "5")])
        yield b"hello"
        wait_until(lambda: release)

    with Server(app) as server:
        connection, _ = server.begin()
        server.until(lambda: connection.finished)
        assert not connection.returned
        assert connection.body == b"hello"
        assert connection.writes == 1
        release.append(True)
        server.until(lambda: connection.returned)
        assert connection.calls == ["write", "answer_finished", "call_returned"]


@pytest.mark.parametrize("result", [[b"hello"], iter([b"hello", b"again"])])
def test_head_gets_no_body(result: Any) -> None:
    connection, log = answer(answering(result, headers=[("Content-Length", "5")]), request("HEAD"))
    assert connection.headers["content-length"] == "5"
    assert connection.body == b""
    assert connection.finished
    assert log == ""


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_statuses_without_content_get_none(status: str) -> None:
    connection, _ = answer(answering(iter([b"hello", b"again"]), status, []))
    assert connection.status == status
    assert connection.body == b""
    assert connection.finished


def test_the_iteration_ends_early_when_no_body_is_wanted() -> None:
    yielded = []

    def endless() -> Iterator[bytes]:
        while True:
            yielded.append(1)
            yield b"more"

    connection, _ = answer(answering(endless()), request("HEAD"))
    assert connection.finished
    assert len(yielded) == 1


def test_the_connection_closes_after_the_answer_when_it_may_not_stay() -> None:
    connection = FakeConnection()
    connection.stays_open = False
    with Server(answering([b"hello"])) as server:
        _, exchange = server.begin(connection=connection)
        server.until(lambda: connection.returned)
    assert connection.headers["connection"] == "close"
    assert not exchange.response.keep_alive


@pytest.mark.parametrize(
    ("status", "line"),
    [
        ("200 Fine", "200 Fine"),
        ("200", "200 OK"),
        ("404 Not Found", "404 Not Found"),
        ("299 \xe9t\xe9", "299 \xe9t\xe9"),
        ("799 ", "799 "),
    ],
)
def test_the_reason_phrase_is_the_applications(status: str, line: str) -> None:
    connection, _ = answer(answering([b"hello"], status))
    assert connection.status == line


# start_response and write


def test_a_second_start_response_replaces_the_first_with_exc_info_before_the_head_is_sent() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", "100"), ("X-First", "1")])
        try:
            raise ValueError("too late")
        except ValueError:
            start_response("503 Service Unavailable", PLAIN, sys.exc_info())
        return [b"sorry"]

    connection, log = answer(app)
    assert connection.status == "503 Service Unavailable"
    assert "x-first" not in connection.headers
    assert connection.headers["content-length"] == "5"
    assert connection.body == b"sorry"
    assert log == ""


def test_exc_info_is_raised_again_once_the_head_has_been_sent() -> None:
    raised = []

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", PLAIN)
        yield b"begun"
        try:
            raise ValueError("in the middle")
        except ValueError:
            try:
                start_response("500 Oops", PLAIN, sys.exc_info())
            except ValueError as error:
                raised.append(str(error))
                raise

    connection, log = answer(app)
    assert raised == ["in the middle"]
    assert connection.failed
    assert not connection.finished
    assert b"begun" in connection.sent
    assert not connection.sent.endswith(b"0\r\n\r\n")
    assert "ValueError: in the middle" in log


def test_a_second_start_response_without_exc_info_is_an_error() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PLAIN)
        start_response("200 OK", PLAIN)
        return [b"hello"]

    connection, log = answer(app)
    assert connection.status == "500 Internal Server Error"
    assert "start_response() was called a second time, without exc_info" in log


def test_write_sends_before_what_is_returned() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", PLAIN)
        write(b"one ")
        write(b"")
        write(b"two ")
        return [b"three"]

    connection, _ = answer(app)
    assert connection.body == b"one two three"
    assert connection.finished


def test_write_takes_bytes_only() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PLAIN)("text")
        return []

    connection, log = answer(app)
    assert connection.status == "500 Internal Server Error"
    assert "write() takes bytes, not str" in log


def test_exc_info_does_no_harm_in_the_first_start_response() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        try:
            raise ValueError("early")
        except ValueError:
            start_response("503 Service Unavailable", PLAIN, sys.exc_info())
        return [b"sorry"]

    connection, _ = answer(app)
    assert (connection.status, connection.body) == ("503 Service Unavailable", b"sorry")


def test_what_is_returned_after_the_declared_length_was_written_is_not_sent() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", "5")])(b"hello")
        return [b"again"]

    connection, log = answer(app)
    assert connection.body == b"hello"
    assert connection.finished
    assert "the body is longer than its Content-Length" in log


# close()


def test_close_is_called_after_the_iteration() -> None:
    result = Closing([b"one", b"two"])
    connection, _ = answer(answering(result))
    assert connection.body == b"onetwo"
    assert result.closed == 1


def test_close_is_called_when_the_iteration_raises() -> None:
    def broken() -> Iterator[bytes]:
        yield b"one"
        raise ValueError("broken")

    result = Closing(broken())
    connection, log = answer(answering(result))
    assert connection.failed
    assert result.closed == 1
    assert "ValueError: broken" in log


def test_close_is_called_when_what_is_yielded_is_no_bytes() -> None:
    result = Closing(["text"])  # type: ignore[list-item]
    connection, log = answer(answering(result))
    assert connection.status == "500 Internal Server Error"
    assert result.closed == 1
    assert "the application yielded str, not bytes: GET /" in log


def test_the_answer_does_not_wait_for_close() -> None:
    release: list[bool] = []

    class Slow(Closing):
        def close(self) -> None:
            super().close()
            wait_until(lambda: release)

    result = Slow([b"hello"])
    with Server(answering(result)) as server:
        connection, _ = server.begin()
        server.until(lambda: connection.finished)
        assert not connection.returned
        release.append(True)
        server.until(lambda: connection.returned)


def test_an_error_in_close_is_logged_and_leaves_the_answer_whole() -> None:
    class Broken(Closing):
        def close(self) -> None:
            raise SystemExit("from close")

    connection, log = answer(answering(Broken([b"hello"])))
    assert connection.body == b"hello"
    assert connection.finished
    assert "exception in close() of what the application returned: GET /" in log
    assert "SystemExit: from close" in log


# errors of the application's


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_an_exception_before_the_head_is_answered_with_500_and_its_traceback_logged(error: Any) -> None:
    calls = []

    def fails(environ: Any, start_response: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise error("boom")
        return answering([b"well"])(environ, start_response)

    with Server(fails) as server:
        connection = server.answer(request(target="/path?query"))
        assert connection.status == "500 Internal Server Error"
        assert connection.headers["content-type"] == "text/plain; charset=utf-8"
        assert connection.body == b"Internal Server Error"
        assert connection.finished
        assert server.log.messages == ["exception in the application: GET /path?query"]
        text = server.log.text
        assert f"{error.__name__}: boom" in text
        assert "in fails" in text
        assert "smoothserve/wsgi" not in text
        assert server.answer().body == b"well"


def test_an_exception_after_start_response_and_before_the_body_is_answered_with_500() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", "3"), ("X-Mine", "1")])
        raise ValueError("boom")

    connection, _ = answer(app)
    assert connection.status == "500 Internal Server Error"
    assert "x-mine" not in connection.headers
    assert connection.body == b"Internal Server Error"


def test_an_exception_after_the_answer_is_complete_is_logged_only() -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", "3")])
        yield b"all"
        raise ValueError("afterwards")

    connection, log = answer(app)
    assert connection.body == b"all"
    assert connection.finished
    assert "ValueError: afterwards" in log


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (None, "the application returned None, not an iterable of bytes"),
        (42, "the application returned int, not an iterable of bytes"),
        ("text", "the application returned str, not an iterable of bytes"),
        (b"bytes", "the application returned bytes, not an iterable of bytes"),
        (["text"], "the application returned a list with str in it, not bytes"),
        (iter([None]), "the application yielded None, not bytes"),
        (iter([bytearray(b"x")]), "the application yielded bytearray, not bytes"),
    ],
)
def test_what_is_no_iterable_of_bytes_is_answered_with_500_and_named(result: Any, text: str) -> None:
    connection, log = answer(answering(result))
    assert connection.status == "500 Internal Server Error"
    assert log == f"{text}: GET /"


@pytest.mark.parametrize(
    ("result", "what"),
    [
        ([b"hello"], "sent a body before it called"),
        (iter([b"hello"]), "sent a body before it called"),
        ([], "returned without calling"),
        ([b""], "returned without calling"),
        (iter([]), "returned without calling"),
    ],
)
def test_an_answer_without_start_response_is_answered_with_500(result: Any, what: str) -> None:
    connection, log = answer(lambda environ, start_response: result)
    assert connection.status == "500 Internal Server Error"
    assert f"the application {what} start_response()" in log
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("status", "headers", "text"),
    [
        (200, PLAIN, "status 200 is not text"),
        (b"200 OK", PLAIN, "status b'200 OK' is not text"),
        (["200 OK"], PLAIN, "is not text such as '200 OK'"),
        ("OK", PLAIN, "status 'OK' is not text such as '200 OK'"),
        ("200OK", PLAIN, "status '200OK' is not text such as '200 OK'"),
        ("100 Continue", PLAIN, "status 100 is not a number from 200 to 999"),
        ("200 \u20ac", PLAIN, "has characters beyond latin-1"),
        ("200 O\r\nK", PLAIN, "has control characters"),
        ("200 OK", [("X-Name", 1)], "header value 1 is int, not str (of header 'X-Name')"),
        ("200 OK", [("X-Name", None)], "header value None is NoneType, not str"),
        ("200 OK", [("X-Name", b"1")], "header value b'1' is bytes, not str"),
        ("200 OK", [(b"X-Name", "1")], "header name b'X-Name' is bytes, not str"),
        ("200 OK", [("X-Name", "\u20ac")], "has characters beyond latin-1 (of header 'X-Name')"),
        ("200 OK", [("X-N\u20ac", "1")], "has characters beyond latin-1"),
        ("200 OK", [("X Name", "1")], "has characters that no name may have"),
        ("200 OK", [("X-Name", "1\r\nX-Other: 2")], "has a line break or another control character in it"),
        ("200 OK", [("X-Name",)], "header ('X-Name',) is not a (name, value) tuple"),
        ("200 OK", ["X-Name: 1"], "header 'X-Name: 1' is not a (name, value) tuple"),
        ("200 OK", [(["X"], "1")], "is list, not str"),
        ("200 OK", None.__class__, "headers are type, not a list"),
        ("200 OK", iter([("X-Name", 1)]), "the headers are not a list of (name, value) tuples"),
        ("200 OK", [("Content-Length", "five")], "Content-Length b'five' is not a number"),
    ],
)
def test_a_status_or_header_that_cannot_be_sent_is_answered_with_500_and_named(
    status: Any, headers: Any, text: str
) -> None:
    connection, log = answer(answering([b"hello"], status, headers))
    assert connection.status == "500 Internal Server Error"
    assert connection.body == b"Internal Server Error"
    assert text in log
    assert "in app" in log  # the traceback leads to the application's line


def test_headers_that_are_the_servers_are_left_out_with_one_warning() -> None:
    headers = [*PLAIN, ("Keep-Alive", "timeout=5"), ("Transfer-Encoding", "chunked"), ("Connection", "keep-alive")]
    with Server(answering([b"hello"], headers=headers)) as server:
        for _ in range(3):
            connection = server.answer()
            assert connection.status == "200 OK"
            assert connection.body == b"hello"
            for name in ("keep-alive", "transfer-encoding", "connection"):
                assert name not in connection.headers
        warnings = [message for message in server.log.messages if "hop-by-hop" in message]
        assert len(warnings) <= 3


# a body that is longer or shorter than its Content-Length


@pytest.mark.parametrize("result", [[b"hello, world"], iter([b"hel", b"lo, ", b"world"])])
def test_a_body_that_is_longer_than_its_content_length_is_cut_and_logged(result: Any) -> None:
    connection, log = answer(answering(result, headers=[("Content-Length", "5")]))
    assert connection.body == b"hello"
    assert "the body is longer than its Content-Length" in log
    assert connection.failed


def test_what_is_yielded_after_the_declared_length_is_not_sent() -> None:
    connection, log = answer(answering(iter([b"hello", b"again"]), headers=[("Content-Length", "5")]))
    assert connection.body == b"hello"
    assert connection.finished
    assert "the body is longer than its Content-Length" in log


@pytest.mark.parametrize("result", [[b"hel"], iter([b"h", b"el"]), []])
def test_a_body_that_is_shorter_than_its_content_length_is_cut_and_logged(result: Any) -> None:
    connection, log = answer(answering(result, headers=[("Content-Length", "5")]))
    assert connection.failed
    assert not connection.finished
    assert "shorter than its Content-Length: GET /" in log


@pytest.mark.parametrize("result", [[b"HTTP/1.1 200 OK\r\n\r\n"], [], [b""]])
def test_a_body_never_goes_out_without_a_head(result: list[bytes]) -> None:
    """Neither when the application swallows that its second head is refused, and so is what it writes."""

    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", PLAIN)
        try:
            raise ValueError("early")
        except ValueError:
            with pytest.raises(ValueError, match="line break"):
                start_response("500 Oops", [("X-Bad", "a\r\nb")], sys.exc_info())
        with pytest.raises(Exception, match="before it called"):
            write(b"part")
        return result

    connection, log = answer(app)
    assert connection.status == "500 Internal Server Error"
    assert "start_response()" in log


def test_what_is_written_after_a_whole_body_is_dropped_and_logged() -> None:
    kept: list[Any] = []

    def app(environ: Any, start_response: Any) -> Any:
        kept.append(start_response("200 OK", PLAIN))
        return [b"whole"]

    with Server(app) as server:
        connection, exchange = server.begin()
        server.until(lambda: connection.returned and connection.finished)
        for _ in range(20):
            kept[0](b"x" * 100_000)
        assert connection.body == b"whole"
        assert exchange.output is not None
        assert exchange.output.empty
        assert "the body is longer than its Content-Length" in server.log.text


def test_a_whole_body_is_not_kept_after_the_answer() -> None:
    with Server(answering([b"x" * 1000])) as server:
        connection, exchange = server.begin()
        server.until(lambda: connection.returned and connection.finished)
        # The thread's own frame may hold the exchange until the next call.
        assert not exchange.whole


def test_a_head_is_not_remembered_by_headers_that_are_left_out() -> None:
    with Server(answering([b"hello"], headers=[*PLAIN, ("Keep-Alive", "x" * 10_000)])) as server:
        for _ in range(3):
            assert server.answer().body == b"hello"
        assert not any("Keep-Alive" in str(key) for key in server.application.defaults.heads)
    with Server(answering([b"hello"])) as server:
        for _ in range(3):
            assert server.answer().body == b"hello"
        assert bool(server.application.defaults.heads) == FAST_PATHS
