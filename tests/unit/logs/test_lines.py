import os
import re

import pytest

from smoothserve.logs.lines import Level, Log, parse_level, render_line


class ListSink:
    """Keeps what is written."""

    waiting_bytes = 0

    def __init__(self) -> None:
        self.text = ""
        self.reopened = 0
        self.flushed = 0

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        self.flushed += 1

    def drain(self, timeout: float) -> None:
        self.flushed += 1

    def reopen(self) -> None:
        self.reopened += 1


def test_a_line_has_time_with_zone_pid_level_and_message() -> None:
    line = render_line("INFO", "ready", at=0.0, pid=7)
    assert re.fullmatch(r"\[19(70-01-01|69-12-31) \d\d:\d\d:\d\d [+-]\d{4}\] \[7\] \[INFO\] ready\n", line)


def test_a_log_writes_its_own_pid_and_what_is_not_below_its_level() -> None:
    sink = ListSink()
    log = Log(sink, Level.WARNING, clock=lambda: 0.0)
    log.debug("one")
    log.info("two")
    log.warning("three")
    log.error("four\n")
    log.critical("five")
    assert re.findall(rf"\[{os.getpid()}\] \[(\w+)\] (\w+)\n", sink.text) == [
        ("WARNING", "three"),
        ("ERROR", "four"),
        ("CRITICAL", "five"),
    ]


def test_reopen_and_flush_go_to_the_file() -> None:
    sink = ListSink()
    log = Log(sink)
    log.reopen()
    log.flush()
    assert (sink.reopened, sink.flushed, log.waiting) == (1, 1, False)


@pytest.mark.parametrize(("name", "level"), [("info", Level.INFO), ("ERROR", Level.ERROR), ("what", Level.INFO)])
def test_levels_are_parsed(name: str, level: Level) -> None:
    assert parse_level(name) is level
