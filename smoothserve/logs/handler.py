"""The error logger of a worker: the same lines, in the same file, as the master's."""

import logging
from collections.abc import Callable

from smoothserve.logs.lines import Sink, render_line

ERROR_LOGGER = "smoothserve.error"


class SinkHandler(logging.Handler):
    """Renders records as error log lines. Any thread may log: what touches the sink holds the handler's lock."""

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self._sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record. What cannot be formatted shows in the log, not as an exception."""
        try:
            text = self.format(record)
        except Exception as error:  # noqa: BLE001 - logging never raises into the one who logs
            text = f"log record {record.msg!r} with {record.args!r} cannot be formatted: {error!r}"
        self._sink.write(render_line(record.levelname, text, at=record.created, pid=record.process or 0))

    def flush(self) -> None:
        """Write what waits for a reader, as far as it goes."""
        self._locked(self._sink.flush)

    def drain(self, timeout: float) -> None:
        """Write what waits, at most for `timeout` seconds."""
        self._locked(lambda: self._sink.drain(timeout))

    def reopen(self) -> None:
        """Open the file afresh: it has been rotated."""
        self._locked(self._sink.reopen)

    def _locked(self, action: Callable[[], object]) -> None:
        self.acquire()
        try:
            action()
        finally:
            self.release()


def error_logger(handler: SinkHandler, level: int) -> logging.Logger:
    """Make the error logger. It is not registered: no logging configuration of the application's can silence it."""
    logger = logging.Logger(ERROR_LOGGER, level)  # noqa: LOG001 - see above
    logger.manager = logging.Manager(logging.RootLogger(logging.WARNING))  # logging.disable() is the shared one's
    logger.addHandler(handler)
    return logger


def lend(handler: logging.Handler, level: int) -> None:
    """Let the application use the logger of that name, too, for lines in the server's error log.

    This one is registered: its configuration may take it and silence it, the server's own lines stay.
    """
    logger = logging.getLogger(ERROR_LOGGER)
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False


def take_back(handler: logging.Handler) -> None:
    """Undo `lend`: `--log-config` says where the lines of that logger go."""
    logger = logging.getLogger(ERROR_LOGGER)
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)
    logger.propagate = True
