"""All logs of a worker, as one thing: opened, reopened, flushed and brought to their end together."""

import time
from collections.abc import Callable
from typing import Any

from smoothserve.logs.access import AccessLog
from smoothserve.logs.files import STDERR, STDOUT, LogFile
from smoothserve.logs.handler import SinkHandler, error_logger
from smoothserve.logs.lines import parse_level

#: Seconds that a stuck reader may keep a process that would end.
LAST_LINES_TIMEOUT = 1.0


class WorkerLogs:
    """The error log and, where it is on, the access log. Raise `FileError` if a file cannot be opened.

    `access_file` is None where it is off; `schedule` calls a function soon on the loop's thread.
    """

    def __init__(
        self, *, error_file: str, level: str, access_file: str | None, schedule: Callable[[Callable[[], None]], Any]
    ) -> None:
        self._handler = SinkHandler(LogFile(error_file, STDERR))
        self.error = error_logger(self._handler, parse_level(level))
        self._access_file = LogFile(access_file, STDOUT) if access_file is not None else None
        self.access = AccessLog(self._access_file, schedule) if self._access_file is not None else None

    def reopen(self) -> None:
        """Open the files afresh: they have been rotated."""
        self._handler.reopen()
        if self._access_file is not None:
            self._access_file.reopen()

    def flush(self) -> None:
        """Write what a reader did not take before; called about twice a second."""
        self._handler.flush()
        if self._access_file is not None and self._access_file.waiting_bytes:
            self._access_file.flush()

    def drain(self, timeout: float = LAST_LINES_TIMEOUT) -> None:
        """Write the last lines, at most for `timeout` seconds in all: the worker ends."""
        deadline = time.monotonic() + timeout
        if self.access is not None and self._access_file is not None:
            self.access.flush()
            self._access_file.drain(timeout)
        self._handler.drain(max(0.0, deadline - time.monotonic()))
