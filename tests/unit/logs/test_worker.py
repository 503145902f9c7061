"""A worker's logs together."""

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from smoothserve.errors import FileError
from smoothserve.logs.worker import WorkerLogs, open_error_log


@dataclass
class Request:
    method: str = "GET"
    target: bytes = b"/a?b=c"
    http_version: str = "1.1"
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


@dataclass
class Response:
    status: int = 200
    bytes_sent: int = 5
    head: bytes = b""


@pytest.fixture(autouse=True)
def lent_logger() -> Iterator[None]:
    yield
    logger = logging.getLogger("smoothserve.error")
    for handler in [*logger.handlers, *logging.getLogger("smoothserve").handlers]:
        logger.removeHandler(handler)
        logging.getLogger("smoothserve").removeHandler(handler)
        handler.close()
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


def logs(directory: Path, *, access: bool = True, config: str | None = None) -> WorkerLogs:
    access_file = str(directory / "access.log") if access else None
    errors = open_error_log(str(directory / "error.log"), "info")
    return WorkerLogs(errors=errors, level="info", access_file=access_file, config=config)


def test_an_answer_has_its_line_before_anything_else_happens(tmp_path: Path) -> None:
    one = logs(tmp_path)
    assert one.access is not None
    one.access.note(("10.0.0.1", 5), Request(), Response(), 0.1)
    assert '"GET /a?b=c HTTP/1.1" 200 5' in (tmp_path / "access.log").read_text()
    one.error.error("the last one")
    assert "[ERROR] the last one" in (tmp_path / "error.log").read_text()


def test_the_application_may_log_to_the_error_log_and_cannot_silence_it(tmp_path: Path) -> None:
    errors = open_error_log(str(tmp_path / "error.log"), "info")
    theirs = logging.getLogger("smoothserve.error")
    theirs.info("at import")
    theirs.debug("below the level")
    one = WorkerLogs(errors=errors, level="info", access_file=None)
    theirs.warning("later")
    theirs.disabled = True
    try:
        one.error.error("ours")
    finally:
        theirs.disabled = False
    text = (tmp_path / "error.log").read_text()
    assert [line.split("] ", 3)[-1] for line in text.splitlines()] == ["at import", "later", "ours"]


@pytest.mark.parametrize("name", ["smoothserve", "smoothserve.error"])
def test_log_config_takes_the_logger_as_a_whole(tmp_path: Path, name: str) -> None:
    config = {
        "version": 1,
        "handlers": {"file": {"class": "logging.FileHandler", "filename": str(tmp_path / "configured.log")}},
        "loggers": {name: {"level": "INFO", "handlers": ["file"]}},
    }
    (tmp_path / "logging.json").write_text(json.dumps(config))
    one = logs(tmp_path, access=False, config=str(tmp_path / "logging.json"))
    logging.getLogger("smoothserve.error").info("theirs")
    one.error.info("ours")
    assert (tmp_path / "configured.log").read_text() == "theirs\nours\n"
    assert (tmp_path / "error.log").read_text() == ""


def test_both_files_are_opened_afresh(tmp_path: Path) -> None:
    one = logs(tmp_path)
    for name in ("error.log", "access.log"):
        (tmp_path / name).rename(tmp_path / f"{name}.1")
    one.reopen()
    one.error.error("new")
    one.flush()
    assert "new" in (tmp_path / "error.log").read_text()
    assert (tmp_path / "access.log").exists()


def test_an_access_log_that_cannot_be_opened_afresh_is_told_in_the_error_log(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    errors = open_error_log(str(tmp_path / "error.log"), "info")
    one = WorkerLogs(errors=errors, level="info", access_file=str(tmp_path / "logs" / "access.log"))
    (tmp_path / "logs").rename(tmp_path / "old")
    one.reopen()
    text = (tmp_path / "error.log").read_text()
    assert "[WARNING] the log file" in text
    assert "its directory does not exist: create it; writing on to the old one" in text
    assert one.access is not None
    one.access.note(None, Request(), Response(), 0.1)
    assert '"GET /a?b=c HTTP/1.1" 200 5' in (tmp_path / "old" / "access.log").read_text()


def test_without_an_access_log_there_is_none(tmp_path: Path) -> None:
    one = logs(tmp_path, access=False)
    assert one.access is None
    one.flush()
    one.drain()
    one.reopen()
    assert os.listdir(tmp_path) == ["error.log"]


def test_a_file_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="does not exist"):
        logs(tmp_path / "none")
