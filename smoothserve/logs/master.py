"""`--log-config` in the master: its lines go to the logger `smoothserve.error`, if the file configures it.

The master imports nothing but the standard library: a file that names anything else (a formatter of the application's,
a library's handler) is the workers' only, and the master's lines go on to --error-logfile.
"""

import logging

from smoothserve.errors import FileError
from smoothserve.logs.config import ERROR_LOGGER, LogConfig, apply_log_config, read_log_config, reopen_handlers
from smoothserve.logs.lines import Level, Log


class MasterLogs:
    """Puts a logger in the place of the master's own file, and takes it away again."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._applied: LogConfig | None = None

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
            raise
        self._applied = config
        self._log.divert(_write if config.configures(ERROR_LOGGER) else None, reopen_handlers)

    def files(self) -> set[str]:
        """Return the files that the handlers write, which workers of another user write as well."""
        if self._applied is None:
            return set()
        handlers = [one for name in (ERROR_LOGGER, "smoothserve", None) for one in logging.getLogger(name).handlers]
        return {one.baseFilename for one in handlers if isinstance(one, logging.FileHandler)}


def _write(level: Level, message: str) -> None:
    logging.getLogger(ERROR_LOGGER).log(level, "%s", message)
