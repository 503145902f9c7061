"""A worker's logs together."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from smoothserve.errors import FileError
from smoothserve.logs.worker import WorkerLogs


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


def logs(directory: Path, *, access: bool = True) -> tuple[WorkerLogs, list[Callable[[], None]]]:
    scheduled: list[Callable[[], None]] = []
    access_file = str(directory / "access.log") if access else None
    one = WorkerLogs(
        error_file=str(directory / "error.log"), level="info", access_file=access_file, schedule=scheduled.append
    )
    return one, scheduled


def test_last_lines_are_written_though_the_loop_does_not_turn_any_more(tmp_path: Path) -> None:
    one, scheduled = logs(tmp_path)
    assert one.access is not None
    one.access.note(("10.0.0.1", 5), Request(), Response(), 0.1)
    one.error.error("the last one")
    assert len(scheduled) == 1
    one.drain()
    assert '"GET /a?b=c HTTP/1.1" 200 5' in (tmp_path / "access.log").read_text()
    assert "[ERROR] the last one" in (tmp_path / "error.log").read_text()


def test_both_files_are_opened_afresh(tmp_path: Path) -> None:
    one, _ = logs(tmp_path)
    for name in ("error.log", "access.log"):
        (tmp_path / name).rename(tmp_path / f"{name}.1")
    one.reopen()
    one.error.error("new")
    one.flush()
    assert "new" in (tmp_path / "error.log").read_text()
    assert (tmp_path / "access.log").exists()


def test_without_an_access_log_there_is_none(tmp_path: Path) -> None:
    one, _ = logs(tmp_path, access=False)
    assert one.access is None
    one.flush()
    one.drain()
    one.reopen()
    assert os.listdir(tmp_path) == ["error.log"]


def test_a_file_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="does not exist"):
        logs(tmp_path / "none")
