"""All logs of a worker, as one thing: opened, reopened, flushed and brought to their end together."""

import logging
import os
import time
from collections.abc import Callable
from typing import Any

from smoothserve.logs.access import DEFAULT_FORMAT, AccessLog, Writer
from smoothserve.logs.files import STDERR, STDOUT, LogFile
from smoothserve.logs.formats import Process
from smoothserve.logs.handler import SinkHandler, error_logger, lend, take_back
from smoothserve.logs.lines import parse_level
from smoothserve.logs.waiting import WaitingLines

#: Seconds that a stuck reader may keep a process that would end.
LAST_LINES_TIMEOUT = 1.0


def open_error_log(path: str, level: str) -> SinkHandler:
    """Open the error log, and let the application use it from its import on. Raise `FileError`."""
    handler = SinkHandler(LogFile(path, STDERR))
    lend(handler, parse_level(level))
    return handler


class WorkerLogs:
    """The error log and, where it is on, the access log. Raise `FileError` if a file cannot be opened.

    `errors` is what `open_error_log` has opened; `access_file` is None where it is off. `config` is a file for
    `--log-config`: a logger of ours that it configures takes the place of our own file. With memory that is `shared`
    with the master, access lines for standard output are written together when the loop turns; `schedule` is its
    `call_soon`.
    """

    def __init__(
        self,
        *,
        errors: SinkHandler,
        level: str,
        access_file: str | None,
        access_format: str = DEFAULT_FORMAT,
        process: Process | None = None,
        config: str | None = None,
        shared: memoryview | None = None,
        schedule: Callable[[Callable[[], None]], Any] | None = None,
    ) -> None:
        self._handler = errors
        self.error = error_logger(self._handler, parse_level(level))
        self._reopen_configured: Callable[[], None] | None = None
        self._access_file: LogFile | None = None
        self.access: AccessLog | None = None
        writer = self._configure(config) if config is not None else None
        if access_file is not None:
            if writer is None:
                writer = self._access_file = _access_log_file(access_file, shared, schedule)
            self.access = AccessLog(writer, access_format, process)

    def _configure(self, path: str) -> Writer | None:
        """Use the file for `--log-config`; return where it wants the access log."""
        # Most servers do without: half of what logging would cost a worker's start.
        from smoothserve.logs import config

        read = config.read_log_config(path)
        if read.configures(config.ERROR_LOGGER):
            take_back(self._handler)
        config.apply_log_config(read)
        if read.configures(config.ERROR_LOGGER):
            self.error = logging.getLogger(config.ERROR_LOGGER)
        self._reopen_configured = config.reopen_handlers
        if read.configures(config.ACCESS_LOGGER):
            return config.LoggerWriter(logging.getLogger(config.ACCESS_LOGGER))
        return None

    def reopen(self) -> None:
        """Open the files afresh: they have been rotated."""
        self._handler.reopen()
        if self._access_file is not None:
            said = self._access_file.reopen()
            if said:
                self.error.warning("%s", said)
        if self._reopen_configured is not None:
            self._reopen_configured()

    def flush(self) -> None:
        """Write what a reader did not take before; called about twice a second."""
        self._handler.flush()
        if self._access_file is not None and self._access_file.waiting_bytes:
            self._access_file.flush()

    def drain(self, timeout: float = LAST_LINES_TIMEOUT) -> None:
        """Write the last lines, at most for `timeout` seconds in all: the worker ends."""
        deadline = time.monotonic() + timeout
        if self._access_file is not None:
            self._access_file.drain(timeout)
        self._handler.drain(max(0.0, deadline - time.monotonic()))


def _access_log_file(
    path: str, shared: memoryview | None, schedule: Callable[[Callable[[], None]], Any] | None
) -> LogFile:
    if shared is None or path != "-":
        return LogFile(path, STDOUT)
    file = LogFile(path, STDOUT, waiting=WaitingLines(shared), schedule=schedule)
    os.register_at_fork(after_in_child=file.leave_to_parent)
    return file
