"""`--log-config` in the master: its lines go to the logger `smoothserve.error`, if the file configures it.

The master imports nothing but the standard library: a file that names anything else (a formatter of the application's,
a library's handler) is the workers' only, and the master's lines go on to --error-logfile. So is one whose handlers may
wait for somebody (a socket, syslog): the master has one thread, which nobody may hold up. For the standard streams it
has writers of its own that never wait.
"""

import logging
import logging.handlers
import os
import stat
from collections.abc import Iterator

from smoothserve.errors import FileError
from smoothserve.logs.config import ERROR_LOGGER, LogConfig, apply_log_config, read_log_config, reopen_handlers
from smoothserve.logs.files import STDERR, STDOUT, LogFile
from smoothserve.logs.lines import Level, Log

_TO_FILES = (
    logging.FileHandler,
    logging.handlers.WatchedFileHandler,
    logging.handlers.RotatingFileHandler,
    logging.handlers.TimedRotatingFileHandler,
)


class _Stream:
    """A standard stream, as a handler wants it."""

    def __init__(self, file: LogFile) -> None:
        self.write = file.write
        self.flush = file.flush


class MasterLogs:
    """Puts a logger in the place of the master's own file, and takes it away again."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._applied: LogConfig | None = None
        self._standard = {fd: LogFile("-", fd) for fd in (STDOUT, STDERR)}
        # What logging itself would print there, and wait: lines of loggers without a handler, and its own failures.
        logging.raiseExceptions = False
        last = logging.StreamHandler(_Stream(self._standard[STDERR]))
        last.setLevel(logging.WARNING)
        logging.lastResort = last
        log.add_sinks(self._standard.values())

    def configure(self, path: str | None) -> None:
        """Take the file as it is now; None: no file. Raise `FileError` if it cannot be used; all stays as it was."""
        if path is None:
            self._log.divert(None)
            self._applied = None
            return
        config = read_log_config(path)
        foreign = config.foreign()
        if foreign:
            text = (
                f"--log-config names {foreign}, which the master does not import: its own lines go to --error-logfile"
            )
            self._log.divert(None)
            self._applied = None
            self._log.write(Level.WARNING, text)
            return
        try:
            apply_log_config(config)
        except FileError:
            if self._applied is not None:
                apply_log_config(self._applied)
                self._mind_handlers()
            raise
        self._applied = config
        waits = self._mind_handlers()
        self._log.divert(_write if config.configures(ERROR_LOGGER) and not waits else None, reopen_handlers)
        if waits and config.configures(ERROR_LOGGER):
            text = f"--log-config has {waits} for {ERROR_LOGGER}, which may wait for its other side"
            text += ", as the master must not: the workers use it, its own lines go to --error-logfile"
            self._log.write(Level.WARNING, text)

    def files(self) -> set[str]:
        """Return the files that the handlers write, which workers of another user write as well."""
        if self._applied is None:
            return set()
        handlers = [one for name in (ERROR_LOGGER, "smoothserve", None) for one in logging.getLogger(name).handlers]
        return {one.baseFilename for one in handlers if isinstance(one, logging.FileHandler)}

    def _mind_handlers(self) -> str:
        """Give the handlers of the standard streams writers that do not wait; return the first that may, or nothing."""
        waits = ""
        for handler in _handlers(logging.getLogger(ERROR_LOGGER)):
            kind = type(handler)
            if kind is logging.StreamHandler and (file := self._standard.get(_fileno(handler))) is not None:
                handler.setStream(_Stream(file))  # type: ignore[attr-defined]
            elif kind is not logging.NullHandler and not (kind in _TO_FILES and _is_plain(handler)):
                waits = waits or f"a {kind.__name__}"
        return waits


def _handlers(logger: logging.Logger | None) -> Iterator[logging.Handler]:
    """Yield the handlers that a logger's records come to."""
    while logger is not None:
        yield from logger.handlers
        logger = logger.parent if logger.propagate else None


def _fileno(handler: logging.Handler) -> int:
    try:
        return int(handler.stream.fileno())  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return -1


def _is_plain(handler: logging.Handler) -> bool:
    """Whether a handler's file is one, or will be: not a pipe or a terminal."""
    path = handler.baseFilename  # type: ignore[attr-defined]
    try:
        return path == os.devnull or stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return True  # it is not there yet


def _write(level: Level, message: str) -> None:
    logging.getLogger(ERROR_LOGGER).log(level, "%s", message)
