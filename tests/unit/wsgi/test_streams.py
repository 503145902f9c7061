"""`wsgi.errors` and `wsgi.file_wrapper`."""

import gzip
import io
import threading
import traceback
from pathlib import Path
from typing import Any

import pytest

from smoothserve.wsgi.output import TAKE_BYTES
from smoothserve.wsgi.streams import ErrorLogStream, FileWrapper
from tests.unit.wsgi.fakes import FakeConnection, Records, Server, private_logger, request


def error_stream() -> tuple[ErrorLogStream, Records]:
    records = Records()
    return ErrorLogStream(private_logger(records)), records


def test_lines_become_entries_of_the_error_log() -> None:
    errors, log = error_stream()
    errors.write("one ")
    assert log.messages == []
    errors.write("line\nanother 100 %\nthe be")
    assert log.messages == ["one line\nanother 100 %"]
    errors.writelines(["ginning\n", "end"])
    assert log.messages == ["one line\nanother 100 %", "the beginning"]
    errors.flush()
    assert log.messages[-1] == "end"
    assert log.flushes == 1
    errors.flush()
    assert len(log.messages) == 3


def test_a_traceback_can_be_printed_to_it() -> None:
    errors, log = error_stream()
    try:
        raise ValueError("boom")
    except ValueError:
        traceback.print_exc(file=errors)
    assert log.messages[0] == "Traceback (most recent call last):"
    assert log.messages[-1] == "ValueError: boom"


def test_print_with_flush_works() -> None:
    errors, log = error_stream()
    print("a", "b", end="", file=errors, flush=True)
    assert log.messages == ["a b"]


def test_threads_do_not_share_a_line() -> None:
    errors, log = error_stream()
    errors.write("mine ")
    thread = threading.Thread(target=lambda: errors.write("theirs\n"))
    thread.start()
    thread.join()
    errors.write("too\n")
    assert log.messages == ["theirs", "mine too"]


def test_a_line_without_end_is_bounded() -> None:
    errors, log = error_stream()
    errors.write("x" * 70000)
    assert len(log.messages) == 1


def test_only_text_is_taken() -> None:
    errors, _ = error_stream()
    with pytest.raises(TypeError, match="takes str, not bytes"):
        errors.write(b"bytes")  # type: ignore[arg-type]


class Seen(io.BytesIO):
    sizes: list[int]

    def read(self, size: int | None = -1, /) -> bytes:
        self.__dict__.setdefault("sizes", []).append(size)
        return super().read(size)


def test_the_file_wrapper_reads_blocks_and_closes() -> None:
    file = Seen(b"x" * 10)
    wrapper = FileWrapper(file, 4)
    assert list(wrapper) == [b"xxxx", b"xxxx", b"xx"]
    assert set(file.sizes) == {4}
    wrapper.close()
    assert file.closed


def test_the_file_wrapper_has_no_close_where_the_file_has_none() -> None:
    class Readable:
        def read(self, size: int) -> bytes:
            return b""

    wrapper = FileWrapper(Readable())
    assert not hasattr(wrapper, "close")
    assert list(wrapper) == []


def sending(open_file: Any, headers: list[tuple[str, str]] | None = None) -> Any:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", headers or [])
        return environ["wsgi.file_wrapper"](open_file(), 4096)

    return app


CONTENT = bytes(range(256)) * (3 * TAKE_BYTES // 256) + b"the end"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    return path


@pytest.mark.parametrize("buffering", [0, -1])
@pytest.mark.parametrize("headers", [[], [("Content-Length", str(len(CONTENT)))]])
def test_a_large_file_is_sent_whole_and_closed(path: Path, buffering: int, headers: Any) -> None:
    opened: list[Any] = []

    def open_file() -> Any:
        opened.append(path.open("rb", buffering=buffering))
        return opened[0]

    with Server(sending(open_file, headers)) as server:
        connection = server.answer()
        assert connection.body == CONTENT
        assert connection.finished
        assert opened[0].closed
        assert server.log.text == ""


def test_a_large_file_does_not_hold_the_thread_while_a_slow_client_takes_it(path: Path) -> None:
    with Server(sending(lambda: path.open("rb"))) as server:
        connection = FakeConnection()
        connection.high_water = 1
        _, exchange = server.begin(connection=connection)
        server.until(lambda: connection.returned)
        while not connection.finished:
            connection.drain(exchange)
        assert connection.writes > 2
        assert connection.body == CONTENT


def test_a_file_is_sent_from_its_position_as_far_as_its_content_length(path: Path) -> None:
    def open_file() -> Any:
        file = path.open("rb")
        file.seek(100)
        file.read(11)
        return file

    length = 2 * TAKE_BYTES
    with Server(sending(open_file, [("Content-Length", str(length))])) as server:
        connection = server.answer()
        assert connection.body == CONTENT[111 : 111 + length]
        assert connection.finished


def test_what_only_looks_like_a_regular_file_is_read_by_its_own_read(tmp_path: Path) -> None:
    path = tmp_path / "content.gz"
    path.write_bytes(gzip.compress(CONTENT))
    with Server(sending(lambda: gzip.open(path))) as server:
        assert server.answer().body == CONTENT
    with Server(sending(lambda: io.BytesIO(CONTENT))) as server:
        assert server.answer().body == CONTENT


def test_a_file_that_becomes_shorter_meanwhile_cuts_the_answer(path: Path) -> None:
    with Server(sending(lambda: path.open("rb"), [("Content-Length", str(len(CONTENT)))])) as server:
        connection = FakeConnection()
        connection.high_water = 1
        _, exchange = server.begin(connection=connection)
        server.until(lambda: connection.returned)
        path.write_bytes(b"")
        connection.drain(exchange)
        assert connection.failed
        assert "has become shorter" in server.log.text


def test_head_of_a_file_sends_none_of_it(path: Path) -> None:
    opened: list[Any] = []

    def open_file() -> Any:
        opened.append(path.open("rb"))
        return opened[0]

    with Server(sending(open_file)) as server:
        connection = server.answer(request("HEAD"))
        assert connection.body == b""
        assert connection.finished
        assert opened[0].closed
