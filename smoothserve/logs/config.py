"""`--log-config`: a file for `logging.config`, for the loggers `smoothserve.access` and `smoothserve.error`.

TOML or JSON is for dictConfig; `.ini`, `.conf` and `.cfg` are for fileConfig, as with uvicorn. What the file does not
configure stays as it is without it.
"""

import configparser
import json
import logging
import logging.config
import logging.handlers
import os
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from smoothserve.errors import FileError
from smoothserve.rereading import read_again

ACCESS_LOGGER = "smoothserve.access"
ERROR_LOGGER = "smoothserve.error"
_INI = (".ini", ".conf", ".cfg")
_KINDS = {".json": "JSON", ".yaml": "YAML", ".yml": "YAML", **dict.fromkeys(_INI, "INI file")}
#: Keys whose values name what dictConfig imports.
_IMPORTED = {"class", "()", "listener", "queue"}


@dataclass(frozen=True, slots=True)
class LogConfig:
    """A file that has been read."""

    path: str
    content: dict[str, Any] | configparser.RawConfigParser
    loggers: frozenset[str]
    """The loggers that it configures, by name."""

    def configures(self, name: str) -> bool:
        """Whether the file says something for a logger of ours, or for all of them."""
        return name in self.loggers or "smoothserve" in self.loggers

    def foreign(self) -> str:
        """Return the first name in it that is not of the standard library; nothing, if there is none."""
        names = _ini_imports(self.content) if not isinstance(self.content, dict) else _imports(self.content)
        return next((name for name in names if not _is_standard(name)), "")


def read_log_config(path: str) -> LogConfig:
    """Read the file. Raise `FileError`, one line, if that cannot be."""
    suffix = os.path.splitext(path)[1]
    kind = _KINDS.get(suffix, "TOML")
    if kind == "YAML":
        raise FileError(f"--log-config {path}: YAML is not read: write it as TOML or JSON")
    try:
        text = read_again(path).decode()
        if suffix in _INI:
            return _read_ini(path, text)
        values = json.loads(text) if kind == "JSON" else tomllib.loads(text)
    except OSError as error:
        raise FileError(f"--log-config {path} cannot be read: {error.strerror or error}") from None
    except (ValueError, configparser.Error) as error:
        raise FileError(f"--log-config {path} is no {kind}: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise FileError(f"--log-config {path} holds no table: see logging.config.dictConfig in Python's documentation")
    loggers = values.get("loggers")
    names = frozenset(loggers) if isinstance(loggers, dict) else frozenset[str]()
    return LogConfig(path, {"version": 1, "disable_existing_loggers": False, **values}, names)


def _read_ini(path: str, text: str) -> LogConfig:
    parser = configparser.ConfigParser()
    parser.read_string(text)
    sections = [parser[name] for name in parser.sections() if name.startswith("logger_")]
    return LogConfig(path, parser, frozenset(one.get("qualname", "", raw=True) for one in sections))


def apply_log_config(config: LogConfig) -> None:
    """Configure logging by the file. Raise `FileError`, one line, if it cannot be used."""
    try:
        if isinstance(config.content, dict):
            logging.config.dictConfig(config.content)
        else:
            logging.config.fileConfig(config.content, disable_existing_loggers=False)
    except Exception as error:  # noqa: BLE001 - whatever the classes that it names make of their arguments
        cause = f": {error.__cause__}" if error.__cause__ else ""
        what = f"{error}" if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise FileError(f"--log-config {config.path} cannot be used: {' '.join(f'{what}{cause}'.split())}") from None


def _imports(content: Any) -> Iterator[str]:
    if isinstance(content, dict):
        yield from (value for key, value in content.items() if key in _IMPORTED and isinstance(value, str))
    elif isinstance(content, str) and content.startswith("ext://"):
        yield content.removeprefix("ext://")
    for value in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
        yield from _imports(value)


def _ini_imports(content: configparser.RawConfigParser) -> Iterator[str]:
    for name in content.sections():
        found = content.get(name, "class", raw=True, fallback="")
        # fileConfig looks into the package logging first.
        if found and not hasattr(logging, found.partition(".")[0]):
            yield found


def _is_standard(name: str) -> bool:
    return name.removeprefix("ext://").partition(".")[0] in sys.stdlib_module_names


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
