import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from smoothserve.errors import ExitCode, FileError
from smoothserve.logs.files import LogFile, check_log_file
from smoothserve.logs.waiting import MAX_WAITING_BYTES, WaitingLines


def test_lines_are_appended(tmp_path: Path) -> None:
    path = tmp_path / "error.log"
    path.write_text("before\n")
    file = LogFile(str(path))
    file.write("one\n")
    file.write("two \N{SNOWMAN} \udcff\n")
    file.close()
    assert path.read_text() == "before\none\ntwo \N{SNOWMAN} \\udcff\n"


def test_after_a_rotation_reopen_writes_to_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "error.log"
    file = LogFile(str(path))
    file.write("old\n")
    path.rename(tmp_path / "error.log.1")
    file.write("old still\n")
    file.reopen()
    file.write("new\n")
    file.close()
    assert (tmp_path / "error.log.1").read_text() == "old\nold still\n"
    assert path.read_text() == "new\n"


def test_a_stream_that_leads_into_the_file_follows_it_and_others_stay(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from smoothserve.logs.files import LogFile\n"
        "os.dup2(os.open('error.log', os.O_WRONLY | os.O_APPEND | os.O_CREAT), 1)\n"
        "os.close(0)\n"
        "file = LogFile('error.log')\n"
        "print('old', flush=True)\n"
        "os.rename('error.log', 'error.log.1')\n"
        "file.reopen()\n"
        "print('new', flush=True)\n"
        "os.system('echo of a child')\n"
        "print('elsewhere', file=sys.stderr)\n"
        "os.close(2)\n"
        "file.reopen()\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.PIPE, text=True, check=True)
    assert (tmp_path / "error.log.1").read_text() == "old\n"
    assert (tmp_path / "error.log").read_text() == "new\nof a child\n"
    assert ran.stderr == "elsewhere\n"


def test_a_reopen_that_fails_goes_on_with_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "error.log"
    path.parent.mkdir()
    file = LogFile(str(path))
    path.parent.rename(tmp_path / "moved")
    file.reopen()
    file.write("line\n")
    file.close()
    assert "cannot be opened" in (tmp_path / "moved" / "error.log").read_text()
    assert (tmp_path / "moved" / "error.log").read_text().endswith("line\n")


def test_the_descriptor_is_not_inherited_and_a_standard_stream_is_left_open(tmp_path: Path) -> None:
    file = LogFile(str(tmp_path / "error.log"))
    assert not os.get_inheritable(file.fileno())
    file.close()
    standard = LogFile("-", 2)
    assert standard.fileno() == 2
    standard.reopen()
    standard.close()
    os.fstat(2)


@pytest.mark.parametrize(("name", "says"), [("none/error.log", "does not exist: create it"), ("", "cannot be opened")])
def test_a_file_that_cannot_be_opened_gets_one_line(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(FileError, match=says) as caught:
        LogFile(str(tmp_path / name))
    assert caught.value.exit_code is ExitCode.FILE_FAILED


def test_a_pipe_that_nobody_reads_never_blocks_and_its_lines_come_later() -> None:
    reader, writer = os.pipe()
    file = LogFile("-", writer)
    line = "x" * 1023 + "\n"
    for _ in range(200):
        file.write(line)
    assert file.waiting_bytes > 0
    received = 0
    while received < 200 * 1024:
        received += len(os.read(reader, 65536))
        file.flush()
    assert file.waiting_bytes == 0
    os.close(reader)
    os.close(writer)


def read_on(reader: int, file: LogFile, done: Callable[[bytes], bool]) -> bytes:
    """Read what the file writes until it is enough; return the end of it."""
    text = b""
    while not done(text):
        with contextlib.suppress(BlockingIOError):
            text = text[-200:] + os.read(reader, 65536)
        file.flush()
    return text


def test_beyond_a_bound_lines_are_dropped_and_counted() -> None:
    reader, writer = os.pipe()
    file = LogFile("-", writer)
    line = "x" * 1023 + "\n"
    for _ in range(MAX_WAITING_BYTES // 1024 + 100):
        file.write(line)
    assert file.waiting_bytes <= MAX_WAITING_BYTES
    while file.waiting_bytes:
        os.read(reader, 65536)
        file.flush()
    os.set_blocking(reader, False)
    file.write("after\n")
    assert b"log lines were lost" in read_on(reader, file, lambda text: text.endswith(b"after\n"))
    os.close(reader)
    os.close(writer)


def test_the_line_about_lost_ones_needs_no_other_line_to_come() -> None:
    reader, writer = os.pipe()
    file = LogFile("-", writer)
    for _ in range(MAX_WAITING_BYTES // 1024 + 100):
        file.write("x" * 1023 + "\n")
    os.set_blocking(reader, False)
    text = read_on(reader, file, lambda text: not file.waiting_bytes and b"lost" in text)
    assert b"log lines were lost" in text
    os.close(reader)
    os.close(writer)


def test_what_another_process_has_left_is_written_with_what_it_has_lost() -> None:
    reader, writer = os.pipe()
    left = WaitingLines()
    left.add(b"one\ntwo\n")
    left.lost = 3
    file = LogFile("-", writer)
    file.take_over(left)
    assert os.read(reader, 1000) == b"one\ntwo\n[3 log lines were lost: nobody read them, or the disk was full]\n"
    assert (len(left), left.lost, file.waiting_bytes) == (0, 0, 0)
    os.close(reader)
    os.close(writer)


def test_what_another_process_has_left_and_has_no_room_here_is_counted() -> None:
    reader, writer = os.pipe()
    left, waiting = WaitingLines(), WaitingLines()
    file = LogFile("-", writer, waiting=waiting)
    while not waiting.lost:
        file.write("x" * 1023 + "\n")
    left.add(b"nineteen characters\n" * 100)
    file.take_over(left)
    assert (len(left), waiting.lost) == (0, 101)
    os.close(reader)
    os.close(writer)


def test_a_reader_that_is_gone_costs_lines_only() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    file = LogFile("-", writer)
    file.write("lost\n")
    assert file.waiting_bytes == 0
    os.close(writer)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_costs_lines_only() -> None:
    file = LogFile("/dev/full")
    file.write("lost\n")
    assert file.waiting_bytes == 0
    file.close()


def test_the_end_waits_for_a_reader_that_goes_on_and_not_for_one_that_is_stuck() -> None:
    reader, writer = os.pipe()
    file = LogFile("-", writer)
    line = "x" * 1023 + "\n"
    for _ in range(200):
        file.write(line)
    began = time.monotonic()
    file.drain(0.05)
    assert 0.05 <= time.monotonic() - began < 5
    assert file.waiting_bytes > 0
    received: list[bytes] = []

    def read_on() -> None:
        while sum(map(len, received)) < 200 * 1024:
            received.append(os.read(reader, 65536))

    thread = threading.Thread(target=read_on)
    thread.start()
    file.drain(20.0)
    thread.join(20)
    assert file.waiting_bytes == 0
    assert b"".join(received) == line.encode() * 200
    os.close(reader)
    os.close(writer)


def test_opening_a_named_pipe_does_not_wait_for_its_reader(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    for attempt in (LogFile, check_log_file):
        with pytest.raises(FileError, match="a pipe that nobody reads: start its reader"):
            attempt(str(path))
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = LogFile(str(path))
    file.write("line\n")
    assert os.read(reader, 100) == b"line\n"
    file.close()
    os.close(reader)


def test_checking_a_log_file_says_what_opening_would_and_creates_nothing(tmp_path: Path) -> None:
    check_log_file("-")
    check_log_file(str(tmp_path / "new.log"))
    assert not (tmp_path / "new.log").exists()
    (tmp_path / "old.log").write_text("old\n")
    check_log_file(str(tmp_path / "old.log"))
    assert (tmp_path / "old.log").read_text() == "old\n"
    with pytest.raises(FileError, match="does not exist: create it"):
        check_log_file(str(tmp_path / "none" / "new.log"))
    with pytest.raises(FileError, match="Is a directory"):
        check_log_file(str(tmp_path))


def test_lines_of_one_turn_are_written_together_and_wait_where_others_can_see_them() -> None:
    reader, writer = os.pipe()
    waiting, turns = WaitingLines(), list[Callable[[], None]]()
    file = LogFile("-", writer, waiting=waiting, schedule=turns.append)
    file.write("one\n")
    file.write("two\n")
    assert len(waiting) == 8
    (turn,) = turns
    turn()
    assert os.read(reader, 100) == b"one\ntwo\n"
    assert len(waiting) == 0
    file.write("three\n")
    assert len(turns) == 2
    file.drain(1.0)
    assert os.read(reader, 100) == b"three\n"
    file.write("x" * 1023 + "\n")
    file.leave_to_parent()
    assert len(waiting) == 1024
    assert file.waiting_bytes == 0
    os.close(reader)
    os.close(writer)


def test_many_lines_do_not_wait_for_the_turn() -> None:
    reader, writer = os.pipe()
    file = LogFile("-", writer, schedule=lambda function: None)
    for _ in range(64):
        file.write("x" * 1023 + "\n")
    assert len(os.read(reader, 65536)) > 32768
    os.close(reader)
    os.close(writer)
