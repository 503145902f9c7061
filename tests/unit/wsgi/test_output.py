"""The way of an answer from a thread to the loop."""

import os
import tempfile
import threading
from typing import Any

import pytest

from smoothserve.wsgi.output import MEMORY_BYTES, TAKE_BYTES, Output

MIB = 1024 * 1024


def put_all(output: Output, parts: list[bytes]) -> None:
    for part in parts:
        output.put(part)


def impatient(disk_bytes: int) -> Output:
    """Make an output that goes to disk as soon as memory is full."""
    output = Output(disk_bytes)
    output._patient = False
    return output


def drain(output: Output) -> bytes:
    taken = b""
    while data := output.take():
        taken += data
    return taken


def test_parts_come_out_in_order_and_small_ones_together() -> None:
    output = Output(MIB)
    for part in (b"one", b"two", b"three"):
        output.put(part)
    assert output.take() == b"onetwothree"
    assert output.take() == b""
    assert output.empty


def test_a_large_part_is_passed_on_uncopied() -> None:
    output = Output(MIB)
    large = bytes(TAKE_BYTES)
    output.put(large)
    output.put(b"small")
    assert output.take() is large
    assert output.take() == b"small"


def test_what_is_beyond_memory_goes_to_disk_and_comes_back_in_order() -> None:
    output = Output(64 * MIB)
    content = [os.urandom(100_000) for _ in range(50)]
    for part in content:
        output.put(part)
    assert output._put - output._taken <= MEMORY_BYTES + 100_000
    assert drain(output) == b"".join(content)
    # Once the disk has been read, memory is used again.
    output.put(b"later")
    assert output._chunks
    assert drain(output) == b"later"
    for part in content:
        output.put(part)
    assert drain(output) == b"".join(content)
    output.close()


def test_memory_is_not_used_again_before_all_of_the_disk_has_been_taken() -> None:
    output = Output(64 * MIB)
    parts = [bytes([number]) * MIB for number in range(4)]
    for part in parts[:3]:
        output.put(part)
    assert output.take() == parts[0]
    assert output.take() == parts[1]
    output.put(parts[3])
    assert not output._chunks
    assert drain(output) == parts[2] + parts[3]
    output.close()


def test_an_extract_of_a_file_comes_last() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"0123456789")
        file.flush()
        output = Output(MIB)
        output.put(b"before ")
        output.put_file(file.fileno(), 2, 5)
    assert output.take() == b"before "
    assert (output.empty, output.take()) == (False, b"23456")
    assert output.empty
    output.close()
    assert output.empty


@pytest.mark.parametrize("step", [1000, 70_000, 2 * MIB])
@pytest.mark.parametrize("disk", [0, 3 * MIB, 64 * MIB])
@pytest.mark.parametrize("patient", [True, False])
def test_thread_and_loop_may_work_at_once(step: int, disk: int, patient: bool) -> None:
    content = os.urandom(5 * MIB)
    output = Output(disk) if patient else impatient(disk)

    def produce() -> None:
        for at in range(0, len(content), step):
            output.put(content[at : at + step])
        output.ended = True

    thread = threading.Thread(target=produce)
    thread.start()
    taken: list[bytes] = []
    while True:
        ended = output.ended
        data = output.take()
        if data:
            taken.append(data)
        elif ended and output.empty:
            break
    thread.join()
    output.close()
    assert b"".join(taken) == content


def test_a_client_that_keeps_up_needs_no_disk() -> None:
    output = Output(64 * MIB)
    parts = [bytes(100_000)] * 200
    thread = threading.Thread(target=put_all, args=(output, parts))
    thread.start()
    size = 0
    while size < 20_000_000:
        size += len(output.take())
    thread.join()
    # A machine that is busy otherwise may have made the client seem slow.
    assert output._spool is None or not output._patient
    output.close()


def test_a_disk_that_cannot_be_written_makes_the_thread_wait_for_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    output = Output(64 * MIB)
    parts = [bytes([number]) * MIB for number in range(6)]
    thread = threading.Thread(target=put_all, args=(output, parts))
    thread.start()
    taken = b""
    while len(taken) < 6 * MIB:
        taken += output.take()
        assert output._put - output._taken <= 2 * MIB
    thread.join()
    assert taken == b"".join(parts)


def test_a_disk_that_fills_up_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    real_pwrite = os.pwrite
    writes = []

    def pwrite(fd: int, data: Any, offset: int) -> int:
        writes.append(len(data))
        if len(writes) == 3:
            return real_pwrite(fd, bytes(data)[:1000], offset)
        if len(writes) == 4:
            raise OSError(28, "No space left on device")
        return real_pwrite(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    output = impatient(64 * MIB)
    parts = [bytes([number]) * MIB for number in range(10)]
    thread = threading.Thread(target=put_all, args=(output, parts))
    thread.start()
    taken = b""
    while len(taken) < 10 * MIB:
        taken += output.take()
    thread.join()
    output.close()
    assert taken == b"".join(parts)
    assert len(writes) >= 4


def test_an_abandoned_output_takes_everything_and_keeps_nothing() -> None:
    output = Output(0)
    output.put(b"x" * MIB)
    output.put(b"x" * MIB)
    thread = threading.Thread(target=put_all, args=(output, [b"x" * MIB] * 10))
    thread.start()
    output.abandon()
    thread.join(20)
    assert not thread.is_alive()
    assert output.take() == b""
    output.close()
