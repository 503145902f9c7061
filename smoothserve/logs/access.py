"""The access log: a line for each finished answer, in the combined format that gunicorn writes by default.

Lines are collected and written together, once a loop turn: a write for each would cost as much as the request.
"""

import time
from collections.abc import Callable
from typing import Any, Protocol

from smoothserve.logs.lines import Sink

#: Lines that wait for the loop's turn are written at once when there are this many.
MAX_WAITING_LINES = 256


class LoggedRequest(Protocol):
    """What the access log reads of a request."""

    method: str
    target: bytes
    http_version: str
    headers: list[tuple[bytes, bytes]]


class LoggedResponse(Protocol):
    """What the access log reads of a response."""

    status: int
    bytes_sent: int


class AccessLog:
    """Notes answers and writes them as lines to a sink.

    `schedule` calls a function soon, on the same thread; the event loop's `call_soon` in a worker.
    """

    def __init__(self, sink: Sink, schedule: Callable[[Callable[[], None]], Any]) -> None:
        self._sink = sink
        self._schedule = schedule
        self._lines: list[str] = []
        self._second = 0
        self._stamp = ""

    def note(
        self, client: tuple[str, int] | None, request: LoggedRequest, response: LoggedResponse, seconds: float
    ) -> None:
        """Note an answer that has been sent. `seconds` is how long it took (not part of this format)."""
        del seconds
        referer = agent = b"-"
        for name, value in request.headers:
            if name == b"referer":
                referer = value
            elif name == b"user-agent":
                agent = value
        if not self._lines:
            self._schedule(self.flush)
        self._lines.append(
            f"{client[0] if client else '-'} - - [{self._now()}] "
            f'"{request.method} {_quoted(request.target)} HTTP/{request.http_version}" '
            f'{response.status} {response.bytes_sent or "-"} "{_quoted(referer)}" "{_quoted(agent)}"\n'
        )
        if len(self._lines) >= MAX_WAITING_LINES:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._lines:
            text = "".join(self._lines)
            self._lines.clear()
            self._sink.write(text)

    def _now(self) -> str:
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%d/%b/%Y:%H:%M:%S %z", time.localtime(now))
        return self._stamp


def _quoted(value: bytes) -> str:
    """Render what a client sent so that it cannot forge a line or leave its quotes."""
    text = value.decode("latin-1")
    if '"' not in text and "\\" not in text and text.isprintable():
        return text
    return text.encode("unicode_escape").decode("ascii").replace('"', '\\"')
