"""What has been printed is flushed at the end, also where the interpreter makes no thread for it any more."""

import io
import sys
import threading

import pytest

from smoothserve.logs.standard import flush_standard_streams


class Flushed(io.StringIO):
    times = 0

    def flush(self) -> None:
        self.times += 1


def test_what_has_been_printed_is_flushed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", stream := Flushed())
    assert flush_standard_streams(5.0)
    assert stream.times == 1


def test_it_is_flushed_where_no_thread_can_be_made_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr(sys, "stdout", stream := Flushed())
    assert flush_standard_streams(5.0)
    assert stream.times == 1


def test_a_stream_whose_reader_is_stuck_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    class Stuck(io.StringIO):
        def flush(self) -> None:
            go_on.wait(20)

    monkeypatch.setattr(sys, "stderr", Stuck())
    assert not flush_standard_streams(0.05)
    go_on.set()
