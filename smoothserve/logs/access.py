"""The access log: a line for each finished answer.

Each line is written as soon as it is noted: the next request may crash the worker, and this one has been served. The
combined format, the default, is rendered in one go here (benchmark: access log on); `formats` renders all others.
"""

import time
from typing import Protocol

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

DEFAULT_FORMAT = "combined"


class Writer(Protocol):
    """Takes whole lines."""

    def write(self, text: str) -> None:
        """Write whole lines. Never raises."""


class AccessLog:
    """Notes answers and writes them as lines to a sink.

    `line_format` is a name or a format of `formats.compile_format`, which raises `BadFormatError`.
    """

    def __init__(self, sink: Writer, line_format: str = DEFAULT_FORMAT, process: Process | None = None) -> None:
        self._write = sink.write
        self._render: Atom | None = None if line_format == DEFAULT_FORMAT else compile_format(line_format)
        self._process = process or Process()
        self._second = 0
        self._stamp = ""

    def note(
        self, client: tuple[str, int] | None, request: LoggedRequest, response: LoggedResponse, seconds: float
    ) -> None:
        """Note an answer that has been sent. `seconds` is how long it took."""
        host = client[0] if client else "-"
        if self._render is None:
            self._write(self._combined(host, request, response))
        else:
            entry = Entry(host, request, response, seconds, self._now(), self._process)
            self._write(self._render(entry) + "\n")

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
