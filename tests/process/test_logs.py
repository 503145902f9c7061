"""Logs of a real server: formats, logging configured by a file, files reopened in every process after a rotation."""

import json
import signal
import urllib.request
from pathlib import Path

import pytest

from smoothserve.errors import ExitCode
from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import Server
from tests.process.processes import wait_until


@pytest.fixture
def directory(tmp_path: Path) -> AppDirectory:
    return AppDirectory(tmp_path / "app", app="asgi_plain")


def ask(server: Server, path: str = "/") -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=20) as answer:
        answer.read()


def lines_of(path: Path, count: int = 1) -> list[str]:
    """Wait for that many lines in a file."""
    wait_until(lambda: path.exists() and path.read_text().count("\n") >= count, 20, f"{count} lines in {path}")
    return path.read_text().splitlines()


def test_json_lines_have_the_worker_its_generation_and_the_duration(
    serve: Serve, directory: AppDirectory, tmp_path: Path
) -> None:
    log = tmp_path / "access"
    server = serve(directory, "--access-logfile", str(log), "--access-logformat", "json")
    ask(server, "/a?b=1")
    server.reload()
    ask(server)
    first, second = map(json.loads, lines_of(log, 2))
    assert (first["path"], first["query"], first["status"], first["worker"], first["generation"]) == (
        "/a",
        "b=1",
        200,
        1,
        1,
    )
    assert (second["worker"], second["generation"]) == (2, 2)
    assert 0 < first["duration"] < 20


def test_a_bad_format_is_one_line_at_the_start(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--access-log-format", "%(zz)s", wait=False)
    server.exit_code_expected = ExitCode.USAGE
    assert server.wait_exit() == ExitCode.USAGE
    assert "has %(zz)s, which is not known" in server.log()


CONFIG = """
[formatters.plain]
format = "%(name)s %(levelname)s %(message)s"

[handlers.file]
class = "logging.FileHandler"
filename = "{path}"
formatter = "plain"

[loggers."smoothserve.access"]
level = "INFO"
handlers = ["file"]

[loggers."smoothserve.error"]
level = "INFO"
handlers = ["file"]
"""


def test_log_config_configures_our_loggers_and_usr1_reopens_its_files(
    serve: Serve, directory: AppDirectory, tmp_path: Path
) -> None:
    log, config = tmp_path / "log", tmp_path / "logging.toml"
    config.write_text(CONFIG.format(path=log))
    options = (
        "--access-log",
        "--access-log-format",
        "%(m)s %(U)s %(s)s",
        "--log-config",
        str(config),
        "--lifespan",
        "off",
    )
    server = serve(directory, "--workers", "2", *options)
    ask(server, "/x")
    assert lines_of(log) == ["smoothserve.access INFO GET /x 200"]
    log.rename(tmp_path / "log.1")
    server.kill(signal.SIGUSR1)
    server.wait_log("log files reopened")
    wait_until(lambda: not held(server, tmp_path / "log.1"), 20, "no worker to hold the rotated file")
    ask(server, "/y")
    assert lines_of(log) == ["smoothserve.access INFO GET /y 200"]
    config.write_text("[loggers")
    assert "is no TOML" in server.reload_refused()
    config.write_text("[handlers.x]\nclass = 'nowhere.Handler'\n")
    assert "cannot be used" in server.reload_refused()


def held(server: Server, path: Path) -> bool:
    return any(
        link.exists() and link.resolve() == path for pid in server.workers for link in Path(f"/proc/{pid}/fd").iterdir()
    )


def test_a_log_config_that_cannot_be_read_is_one_line_at_the_start(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--log-config", "/nowhere", wait=False)
    server.exit_code_expected = ExitCode.FILE_FAILED
    assert server.wait_exit() == ExitCode.FILE_FAILED
    assert server.log() == "smoothserve: error: --log-config /nowhere cannot be read: No such file or directory\n"
