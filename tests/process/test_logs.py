"""Logs of a real server: formats, logging configured by a file, files reopened in every process after a rotation."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tomllib
import urllib.request
from pathlib import Path

import pytest

from smoothserve.errors import ExitCode
from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import Server, clean_environ
from tests.process.processes import session_members, wait_until

FILL = os.O_WRONLY | os.O_NONBLOCK


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


@pytest.mark.parametrize("app", ["asgi_load", pytest.param("wsgi_load", marks=pytest.mark.full)])
def test_headers_of_answers_and_variables_of_requests_are_atoms(
    serve: Serve, directory: AppDirectory, tmp_path: Path, app: str
) -> None:
    log = tmp_path / "access"
    directory.deploy("1", app=app)
    line = "%({Content-Type}o)s|%({server}o)s|%({REQUEST_METHOD}e)s %({PATH_INFO}e)s|%({host}i)s|%({X-None}o)s"
    server = serve(directory, "--access-logfile", str(log), "--access-log-format", line)
    for _ in range(2):
        ask(server, "/echo/t")
    wanted = f"text/plain|smoothserve|GET /echo/t|127.0.0.1:{server.port}|-"
    assert lines_of(log, 2) == [wanted, wanted]


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


INI = """
[loggers]
keys=root,access,error

[handlers]
keys=file

[formatters]
keys=plain

[logger_root]
level=WARNING
handlers=

[logger_access]
qualname=smoothserve.access
level=INFO
handlers=file

[logger_error]
qualname=smoothserve.error
level=INFO
handlers=file

[handler_file]
class=FileHandler
args=({path!r},)
formatter=plain

[formatter_plain]
format=%(name)s %(levelname)s %(message)s
"""


def as_json(path: Path) -> str:
    return json.dumps(tomllib.loads(CONFIG.format(path=path)))


def access_lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line.startswith("smoothserve.access")]


@pytest.mark.parametrize(
    "kind", ["toml", pytest.param("json", marks=pytest.mark.full), pytest.param("ini", marks=pytest.mark.full)]
)
def test_log_config_configures_master_and_workers_and_usr1_reopens_its_files(
    serve: Serve, directory: AppDirectory, tmp_path: Path, kind: str
) -> None:
    log, config = tmp_path / "log", tmp_path / f"logging.{kind}"
    text = {"toml": CONFIG.format(path=log), "json": as_json(log), "ini": INI.format(path=str(log))}[kind]
    config.write_text(text)
    access = ("--access-log", "--access-log-format", "%(m)s %(U)s %(s)s")
    server = serve(directory, "--workers", "2", *access, "--log-config", str(config), wait=False)

    def wait_line(pattern: str) -> None:
        wait_until(lambda: log.exists() and re.search(pattern, log.read_text()), 30, f"{pattern} in {log}")

    wait_line(r"(?m)^smoothserve\.error INFO ready: 2 workers serve")
    assert server.log() == "", "all lines of the master's go where the file says"
    port = int(re.findall(r"listening on http://127\.0\.0\.1:(\d+)", log.read_text())[0])
    urlopen(port, "/x")
    wait_until(lambda: access_lines(log) == ["smoothserve.access INFO GET /x 200"], 20, "the access line")
    log.rename(tmp_path / "log.1")
    server.kill(signal.SIGUSR1)
    wait_line("log files reopened")
    wait_until(lambda: not held(server, tmp_path / "log.1"), 20, "nobody to hold the rotated file")
    urlopen(port, "/y")
    wait_until(lambda: access_lines(log) == ["smoothserve.access INFO GET /y 200"], 20, "the access line")
    config.write_text("[loggers" if kind != "json" else "{")
    server.hup()
    name = {"toml": "TOML", "json": "JSON", "ini": "INI file"}[kind]
    wait_line(rf"smoothserve\.error ERROR reload refused: .*is no {name}")
    if kind == "toml":
        bad = CONFIG.format(path="/nowhere/log")
        config.write_text(bad)
        server.hup()
        wait_line(r"reload refused: .*cannot be used: .*nowhere")
    config.write_text(text.replace("%(name)s", "NEW %(name)s"))
    server.hup()
    wait_line(r"(?m)^NEW smoothserve\.error INFO reload finished")


def urlopen(port: int, path: str) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
        answer.read()


def test_a_log_config_that_names_others_code_is_the_workers_only(
    serve: Serve, directory: AppDirectory, tmp_path: Path
) -> None:
    log, config = tmp_path / "log", tmp_path / "logging.toml"
    directory.write(
        "shouting.py",
        "import logging\nclass Shouting(logging.Formatter):\n    def format(self, record):\n"
        "        return super().format(record).upper()\n",
    )
    config.write_text(CONFIG.format(path=log) + '\n[formatters.loud]\n"()" = "shouting.Shouting"\n')
    server = serve(directory, "--access-log", "--log-config", str(config))
    server.wait_log(r"--log-config names shouting\.Shouting, which the master does not import: its own lines go to")
    ask(server)
    wait_until(lambda: access_lines(log), 20, "the access line")
    config.write_text("[handlers.x]\nclass = 'nowhere.Handler'\n")
    assert "cannot be used" in server.reload_refused()


STREAM = """
version = 1
[formatters.plain]
format = "%(name)s %(levelname)s %(message)s"
[handlers.stream]
class = "{handler}"
formatter = "plain"
{more}
[loggers."smoothserve.error"]
level = "INFO"
handlers = ["stream"]
"""


def test_a_standard_stream_that_nobody_reads_holds_up_no_master_whose_lines_log_config_sends_there(
    directory: AppDirectory, tmp_path: Path
) -> None:
    config = tmp_path / "logging.toml"
    config.write_text(STREAM.format(handler="logging.StreamHandler", more='stream = "ext://sys.stderr"'))
    command = [sys.executable, "-m", "smoothserve", "app:app", "--bind", "127.0.0.1:0", "--log-config", str(config)]
    process = subprocess.Popen(
        command, cwd=directory.path, env=clean_environ({}), stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        assert process.stderr is not None
        seen = ""
        while "smoothserve.error INFO ready: " not in seen:
            line = process.stderr.readline().decode()
            assert line, seen
            seen += line
        os.set_blocking(process.stderr.fileno(), False)
        with open(f"/proc/{process.pid}/fd/2", "wb", buffering=0, opener=lambda path, _: os.open(path, FILL)) as pipe:
            while pipe.write(b"x" * 4096):  # None: it is full
                pass
        process.send_signal(signal.SIGUSR1)
        process.terminate()
        assert process.wait(30) == 0
    finally:
        for pid in session_members(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def test_a_handler_that_may_wait_is_the_workers_only(serve: Serve, directory: AppDirectory, tmp_path: Path) -> None:
    config = tmp_path / "logging.toml"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(str(tmp_path / "syslog"))
        more = f"address = '{tmp_path / 'syslog'}'"
        config.write_text(STREAM.format(handler="logging.handlers.SysLogHandler", more=more))
        server = serve(directory, "--log-config", str(config))
        server.wait_log(r"--log-config has a SysLogHandler for smoothserve\.error, .* go to --error-logfile")


def held(server: Server, path: Path) -> bool:
    return any(
        link.exists() and link.resolve() == path
        for pid in [server.pid, *server.workers]
        for link in Path(f"/proc/{pid}/fd").iterdir()
    )


def test_a_log_config_that_cannot_be_read_is_one_line_at_the_start(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--log-config", "/nowhere", wait=False)
    server.exit_code_expected = ExitCode.FILE_FAILED
    assert server.wait_exit() == ExitCode.FILE_FAILED
    assert server.log() == "smoothserve: error: --log-config /nowhere cannot be read: No such file or directory\n"
