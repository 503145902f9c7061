"""Bytes that wait in memory that may be shared."""

import mmap
import os

import pytest

from smoothserve.control.regions import Regions
from smoothserve.logs.waiting import MAX_WAITING_BYTES, REGION_BYTES, WaitingLines


def content(lines: WaitingLines) -> bytes:
    return bytes(lines.first(len(lines)))


def test_it_is_a_queue() -> None:
    lines = WaitingLines()
    assert len(lines) == 0
    assert lines.add(b"one\n")
    assert lines.add(b"two\n")
    assert content(lines) == b"one\ntwo\n"
    lines.drop(4)
    assert content(lines) == b"two\n"
    lines.drop(4)
    assert len(lines) == 0
    assert lines.add(b"three\n")
    assert content(lines) == b"three\n"


def test_a_piece_ends_with_a_line_where_one_ends() -> None:
    lines = WaitingLines()
    lines.add(b"one\ntwo\nthree and more\n")
    assert bytes(lines.first(10)) == b"one\ntwo\n"
    lines.drop(8)
    assert bytes(lines.first(10)) == b"three and "
    lines.drop(10)
    assert bytes(lines.first(10)) == b"more\n"


def test_what_has_room_after_what_was_written_is_taken_and_the_rest_is_not() -> None:
    lines = WaitingLines()
    line = b"x" * 1023 + b"\n"
    count = 0
    while lines.add(line):
        count += 1
    assert count == MAX_WAITING_BYTES // 1024
    lines.drop(1024)
    assert lines.add(b"y" * 1023 + b"\n")
    assert not lines.add(line)
    assert content(lines) == line * (count - 1) + b"y" * 1023 + b"\n"


@pytest.mark.parametrize(("start", "end"), [(-1, 5), (5, 1), (0, REGION_BYTES), (2**60, 2**61)])
def test_whatever_has_been_written_over_the_bounds_it_is_no_queue_then(start: int, end: int) -> None:
    region = memoryview(mmap.mmap(-1, REGION_BYTES))
    lines = WaitingLines(region)
    lines.add(b"one\n")
    words = region[:16].cast("q")
    words[0], words[1] = start, end
    assert len(lines) == 0
    assert lines.add(b"two\n")
    assert content(lines) == b"two\n"


def test_another_process_reads_what_one_that_was_killed_has_left() -> None:
    regions = Regions.create(REGION_BYTES)
    for row in (0, 2):
        regions.provide(row)
    pid = os.fork()
    if pid == 0:
        WaitingLines(regions.open(2)).add(b"last\n")
        os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
    left = WaitingLines(regions.open(2))
    assert content(left) == b"last\n"
    assert len(WaitingLines(regions.open(0))) == 0
    left.clear()
    assert len(WaitingLines(regions.open(2))) == 0
    os.close(regions.fd)
