"""Error log lines: `[2026-11-21 03:42:59 +0000] [pid] [INFO] message`.

The master writes its lines with `Log`, which does without the logging package; what formats a worker's records
calls `render_line`. Where lines go is not known here (`files.LogFile`).
"""

import os
import time
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Protocol


class Level(IntEnum):
    """How grave a line is; the numbers are the logging package's."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40
    CRITICAL = 50


class Sink(Protocol):
    """Where lines go."""

    @property
    def waiting_bytes(self) -> int:
        """How much waits to be written."""

    def flush(self) -> None:
        """Write what waits, as far as the other side takes it."""

    def drain(self, timeout: float) -> None:
        """Write what waits, at most for `timeout` seconds."""

    def write(self, text: str) -> None:
        """Write whole lines. Never raises."""

    def reopen(self) -> object:
        """Open the file afresh: it has been rotated."""


def render_line(level: str, message: str, *, at: float, pid: int) -> str:
    """Render one line (of several, if the message has line ends in it, as a traceback has).

    `at` is in seconds since the epoch.
    """
    stamp = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(at))
    return f"[{stamp}] [{pid}] [{level}] {message}\n"


def parse_level(name: str) -> Level:
    """Return the level of that name, in any case; what is not known counts as INFO."""
    return Level.__members__.get(name.upper(), Level.INFO)


class Log:
    """The master's own log."""

    def __init__(self, sink: Sink, level: Level = Level.INFO, clock: Callable[[], float] = time.time) -> None:
        self._sink = sink
        self._clock = clock
        self.level = level
        self._write_elsewhere: Callable[[Level, str], None] | None = None
        self._reopen_elsewhere: Callable[[], None] | None = None
        self._sinks = [sink]

    def add_sinks(self, sinks: Iterable[Sink]) -> None:
        """Flush and drain these, too: what lines are diverted to may write there."""
        self._sinks += sinks

    def divert(self, write: Callable[[Level, str], None] | None, reopen: Callable[[], None] | None = None) -> None:
        """Let something else take each line, whatever its level, and open its files afresh; None: the sink again."""
        self._write_elsewhere = write
        self._reopen_elsewhere = reopen

    def write(self, level: Level, message: str) -> None:
        """Write a line if its level is not below the log's."""
        if self._write_elsewhere is not None:
            self._write_elsewhere(level, message.rstrip("\n"))
        elif level >= self.level:
            self._sink.write(render_line(level.name, message.rstrip("\n"), at=self._clock(), pid=os.getpid()))

    def debug(self, message: str) -> None:
        """Write what only a developer of smoothserve wants to know."""
        self.write(Level.DEBUG, message)

    def info(self, message: str) -> None:
        """Write what happens as it should."""
        self.write(Level.INFO, message)

    def warning(self, message: str) -> None:
        """Write what an operator should look at some day."""
        self.write(Level.WARNING, message)

    def error(self, message: str) -> None:
        """Write what went wrong."""
        self.write(Level.ERROR, message)

    def critical(self, message: str) -> None:
        """Write what ends the server."""
        self.write(Level.CRITICAL, message)

    @property
    def waiting(self) -> bool:
        """Whether lines wait for somebody to read them."""
        return any(sink.waiting_bytes for sink in self._sinks)

    def flush(self) -> None:
        """Write what waits, as far as the other side takes it."""
        for sink in self._sinks:
            sink.flush()

    def drain(self, timeout: float) -> None:
        """Write what waits, at most for `timeout` seconds: the master ends."""
        deadline = time.monotonic() + timeout
        for sink in self._sinks:
            sink.drain(max(0.0, deadline - time.monotonic()))

    def reopen(self) -> None:
        """Open the file afresh: it has been rotated."""
        self._sink.reopen()
        if self._reopen_elsewhere is not None:
            self._reopen_elsewhere()
