"""All logs of a worker, as one thing: opened, reopened, flushed and brought to their end together."""

import logging
import time
from collections.abc import Callable
from typing import Any

from smoothserve.logs.access import DEFAULT_FORMAT, AccessLog, Writer
from smoothserve.logs.config import (
    ACCESS_LOGGER,
    ERROR_LOGGER,
    LoggerWriter,
    apply_log_config,
    read_log_config,
    reopen_handlers,
)
from smoothserve.logs.files import STDERR, STDOUT, LogFile
from smoothserve.logs.formats import Process
from smoothserve.logs.handler import SinkHandler, error_logger
from smoothserve.logs.lines import parse_level

#: Seconds that a stuck reader may keep a process that would end.
LAST_LINES_TIMEOUT = 1.0


class WorkerLogs:
    """The error log and, where it is on, the access log. Raise `FileError` if a file cannot be opened.

    `access_file` is None where it is off; `schedule` calls a function soon on the loop's thread. `config` is a file for
    `--log-config`: a logger of ours that it configures takes the place of our own file.
    """

    def __init__(
        self,
        *,
        error_file: str,
        level: str,
        access_file: str | None,
        schedule: Callable[[Callable[[], None]], Any],
        access_format: str = DEFAULT_FORMAT,
        process: Process | None = None,
        config: str | None = None,
    ) -> None:
        self._handler = SinkHandler(LogFile(error_file, STDERR))
        self.error = error_logger(self._handler, parse_level(level))
        read = read_log_config(config) if config is not None else None
        if read is not None:
            apply_log_config(read)
        self._configured = read is not None
        if read is not None and read.configures(ERROR_LOGGER):
            self.error = logging.getLogger(ERROR_LOGGER)
        self._access_file: LogFile | None = None
        self.access: AccessLog | None = None
        if access_file is not None:
            writer: Writer
            if read is not None and read.configures(ACCESS_LOGGER):
                writer = LoggerWriter(logging.getLogger(ACCESS_LOGGER))
            else:
                writer = self._access_file = LogFile(access_file, STDOUT)
            self.access = AccessLog(writer, schedule, access_format, process)

    def reopen(self) -> None:
        """Open the files afresh: they have been rotated."""
        self._handler.reopen()
        if self._access_file is not None:
            self._access_file.reopen()
        if self._configured:
            reopen_handlers()

    def flush(self) -> None:
        """Write what a reader did not take before; called about twice a second."""
        self._handler.flush()
        if self._access_file is not None and self._access_file.waiting_bytes:
            self._access_file.flush()

    def drain(self, timeout: float = LAST_LINES_TIMEOUT) -> None:
        """Write the last lines, at most for `timeout` seconds in all: the worker ends."""
        deadline = time.monotonic() + timeout
        if self.access is not None:
            self.access.flush()
        if self._access_file is not None:
            self._access_file.drain(timeout)
        self._handler.drain(max(0.0, deadline - time.monotonic()))
