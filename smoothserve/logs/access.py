"""The access log: a line for each finished answer.

Lines are collected and written together, once a loop turn: a write for each would cost as much as the request. The
combined format, the default, is rendered in one go here (benchmark: access log on); `formats` renders all others.
"""

import time
from collections.abc import Callable
from typing import Any, Protocol

from smoothserve.logs.formats import (
    Atom,
    Entry,
    LoggedRequest,
    LoggedResponse,
    Process,
    basic_user,
    compile_format,
    quoted,
)

#: Lines that wait for the loop's turn are written at once when there are this many.
MAX_WAITING_LINES = 256
DEFAULT_FORMAT = "combined"


class Writer(Protocol):
    """Takes whole lines."""

    def write(self, text: str) -> None:
        """Write whole lines. Never raises."""


class AccessLog:
    """Notes answers and writes them as lines to a sink.

    `schedule` calls a function soon, on the same thread; the event loop's `call_soon` in a worker. `line_format` is a
    name or a format of `formats.compile_format`, which raises `BadFormatError`.
    """

    def __init__(
        self,
        sink: Writer,
        schedule: Callable[[Callable[[], None]], Any],
        line_format: str = DEFAULT_FORMAT,
        process: Process | None = None,
    ) -> None:
        self._sink = sink
        self._schedule = schedule
        self._render: Atom | None = None if line_format == DEFAULT_FORMAT else compile_format(line_format)
        self._process = process or Process()
        self._lines: list[str] = []
        self._second = 0
        self._stamp = ""

    def note(
        self, client: tuple[str, int] | None, request: LoggedRequest, response: LoggedResponse, seconds: float
    ) -> None:
        """Note an answer that has been sent. `seconds` is how long it took."""
        if not self._lines:
            self._schedule(self.flush)
        host = client[0] if client else "-"
        if self._render is None:
            self._lines.append(self._combined(host, request, response))
        else:
            entry = Entry(host, request, response, seconds, self._now(), self._process)
            self._lines.append(self._render(entry) + "\n")
        if len(self._lines) >= MAX_WAITING_LINES:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._lines:
            text = "".join(self._lines)
            self._lines.clear()
            self._sink.write(text)

    def _combined(self, host: str, request: LoggedRequest, response: LoggedResponse) -> str:
        referer = agent = b"-"
        user = "-"
        for name, value in request.headers:
            if name == b"referer":
                referer = value
            elif name == b"user-agent":
                agent = value
            elif name == b"authorization":
                user = basic_user(value)
        return (
            f"{host} - {user} [{self._now()}] "
            f'"{request.method} {quoted(request.target)} HTTP/{request.http_version}" '
            f'{response.status} {response.bytes_sent or "-"} "{quoted(referer)}" "{quoted(agent)}"\n'
        )

    def _now(self) -> str:
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%d/%b/%Y:%H:%M:%S %z", time.localtime(now))
        return self._stamp
