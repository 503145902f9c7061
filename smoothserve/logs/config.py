"""`--log-config`: a dictConfig file, TOML or JSON, for a worker's loggers `smoothserve.access` and `smoothserve.error`.

What the file does not configure stays as it is without it. The master's own lines go to --error-logfile in any case.
"""

import json
import logging
import logging.config
import tomllib
from typing import Any

from smoothserve.errors import FileError

ACCESS_LOGGER = "smoothserve.access"
ERROR_LOGGER = "smoothserve.error"


def read_log_config(path: str) -> dict[str, Any]:
    """Read the file. Raise `FileError`, one line, if that cannot be."""
    try:
        with open(path, "rb") as file:
            data = file.read()
        values = json.loads(data) if path.endswith(".json") else tomllib.loads(data.decode())
    except OSError as error:
        raise FileError(f"--log-config {path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        kind = "JSON" if path.endswith(".json") else "TOML"
        raise FileError(f"--log-config {path} is no {kind}: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise FileError(f"--log-config {path} holds no table: see logging.config.dictConfig in Python's documentation")
    return {"version": 1, "disable_existing_loggers": False, **values}


def apply_log_config(path: str) -> None:
    """Configure logging by the file. Raise `FileError`, one line, if it cannot be used."""
    values = read_log_config(path)
    try:
        logging.config.dictConfig(values)
    except (ValueError, TypeError, AttributeError, ImportError, OSError) as error:
        cause = f": {error.__cause__}" if error.__cause__ else ""
        raise FileError(f"--log-config {path} cannot be used: {' '.join(f'{error}{cause}'.split())}") from None


def configures(values: dict[str, Any], name: str) -> bool:
    """Whether the file says something for a logger of ours, or for all of them."""
    loggers = values.get("loggers")
    return isinstance(loggers, dict) and (name in loggers or "smoothserve" in loggers)


class LoggerWriter:
    """Takes lines of the access log as records."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def write(self, text: str) -> None:
        """Log each line as a record of its own."""
        for line in text.splitlines():
            self._logger.info("%s", line)


def reopen_handlers() -> None:
    """Let the handlers of the file open their files afresh: they have been rotated."""
    for reference in list(logging._handlerList):  # type: ignore[attr-defined]
        handler = reference()
        if isinstance(handler, logging.FileHandler):
            handler.acquire()
            try:
                if handler.stream is not None:
                    handler.stream.close()
                    handler.stream = None  # it is opened by the next record
            finally:
                handler.release()
