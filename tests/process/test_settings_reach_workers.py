"""Settings arrive where they matter, in a real worker, from each of the places where they can be written."""

import http.client
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import Server
from tests.process.processes import wait_until

#: Tells about itself what settings decide.
TELLING = """
import json, logging, os, sys, threading

logging.getLogger("app").warning("a line of the application's own")


def made():
    return app


def app(environ, start_response):
    if environ["PATH_INFO"] == "/raise":
        raise RuntimeError("told")
    told = {
        "script_name": environ["SCRIPT_NAME"],
        "path": environ["PATH_INFO"],
        "multithread": environ["wsgi.multithread"],
        "threads": sum(one.name.startswith("smoothserve-wsgi-") for one in threading.enumerate()),
        "directory": os.getcwd(),
        "module": __file__,
        "variables": {name: value for name, value in os.environ.items() if name.startswith(("TOLD_", "MALLOC_"))},
    }
    body = json.dumps(told).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""

FILE = """
root_path = "/from/file"
threads = 3
keep_alive_timeout = 0
server_header = false
header = ["X-One: file", "X-Two: file"]
chdir = "work"
app_dir = "../code"
env = ["TOLD_BY=env", "TOLD_MORE=a b"]
env_file = "told.env"
factory = true
access_logfile = "access.log"
max_request_line_bytes = 100
"""
ENVIRON = {
    "SMOOTHSERVE_ROOT_PATH": "/from/environ",
    "SMOOTHSERVE_THREADS": "4",
    "SMOOTHSERVE_KEEP_ALIVE_TIMEOUT": "30",
    "SMOOTHSERVE_SERVER_HEADER": "yes",
    "SMOOTHSERVE_HEADER": "X-One: environ",
}
FLAGS = (
    "--root-path",
    "/from/flag",
    "--threads",
    "1",
    "--keep-alive",
    "0",
    "--no-server-header",
    "--header",
    "X-One: flag",
)


class Answer:
    """One answer, with what it says about the server."""

    def __init__(self, server: Server, target: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.request("GET", target, headers={"User-Agent": "teller"})
        response = connection.getresponse()
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()
        connection.close()

    @property
    def told(self) -> dict[str, Any]:
        told = json.loads(self.body)
        assert isinstance(told, dict)
        return told


@pytest.fixture
def place(tmp_path: Path) -> AppDirectory:
    directory = AppDirectory(tmp_path / "place")
    for name in ("work", "code"):
        (directory.path / name).mkdir()
    (directory.path / "code" / "telling.py").write_text(TELLING)
    (directory.path / "work" / "told.env").write_text("TOLD_BY=env-file\nexport TOLD_FILE='yes'\n")
    (directory.path / "settings.toml").write_text(FILE)
    return directory


@pytest.mark.parametrize(
    ("source", "environ", "flags", "threads", "kept", "headers"),
    [
        ("file", {}, (), 3, False, {"x-one": "file", "x-two": "file"}),
        ("environ", ENVIRON, (), 4, True, {"x-one": "environ", "server": "smoothserve"}),
        ("flag", ENVIRON, FLAGS, 1, False, {"x-one": "flag"}),
    ],
)
def test_settings_reach_a_worker_from_file_environment_and_flags(
    serve: Serve,
    place: AppDirectory,
    source: str,
    environ: dict[str, str],
    flags: tuple[str, ...],
    threads: int,
    kept: bool,
    headers: dict[str, str],
) -> None:
    server = serve(place, "--config", "settings.toml", *flags, app="telling:made", environ=environ)
    answer = Answer(server, "/x")
    assert answer.told == {
        "script_name": f"/from/{source}",
        "path": "/x",
        "multithread": threads > 1,
        "threads": threads,
        "directory": str(place.path / "work"),
        "module": str(place.path / "code" / "telling.py"),
        "variables": {"TOLD_BY": "env", "TOLD_MORE": "a b", "TOLD_FILE": "yes"},
    }
    assert {name: answer.headers[name] for name in ("server", "x-one", "x-two") if name in answer.headers} == headers
    assert (answer.headers.get("connection") != "close") == kept
    assert Answer(server, "/" + "x" * 100).status == 414
    server.wait_log(r"a line of the application's own")
    log = place.path / "work" / "access.log"
    wait_until(lambda: '"GET /x HTTP/1.1" 200' in log.read_text(), 10, "the line of an answer")
    assert '"-" "teller"' in log.read_text()


def test_a_reload_brings_what_file_and_environment_file_say_by_then(serve: Serve, place: AppDirectory) -> None:
    server = serve(place, "--config", "settings.toml", app="telling:made")
    assert Answer(server, "/x").told["variables"]["TOLD_FILE"] == "yes"
    assert Answer(server, "/" + "x" * 100).status == 414
    server.wait_log("request refused with 414")
    (place.path / "work" / "told.env").write_text("TOLD_FILE=anew\n")
    (place.path / "settings.toml").write_text(FILE.replace("threads = 3", "threads = 2") + 'log_level = "error"\n')
    old = server.workers
    server.hup()
    # The line of the reload's end is below that level.
    server.wait_gone(old)
    told = Answer(server, "/x").told
    assert (told["variables"]["TOLD_FILE"], told["threads"]) == ("anew", 2)
    assert Answer(server, "/" + "x" * 100).status == 414
    server.tracebacks_expected = True
    assert Answer(server, "/raise").status == 500
    server.wait_log("RuntimeError: told")
    assert server.log().count("request refused with 414") == 1


def test_a_workers_malloc_is_told_what_the_application_need_not_know(serve: Serve, place: AppDirectory) -> None:
    server = serve(place, "--config", "settings.toml", app="telling:made")
    environ = Path(f"/proc/{server.workers[0]}/environ").read_bytes().split(b"\0")
    assert b"MALLOC_TRIM_THRESHOLD_=16777216" in environ
    assert Answer(server, "/x").told["variables"].keys() == {"TOLD_BY", "TOLD_MORE", "TOLD_FILE"}


def test_a_file_that_became_a_pipe_refuses_the_reload_and_holds_nobody_up(serve: Serve, place: AppDirectory) -> None:
    server = serve(place, "--config", "settings.toml", app="telling:made")
    (place.path / "settings.toml").unlink()
    os.mkfifo(place.path / "settings.toml")
    assert "name a regular file" in server.reload_refused()
    (place.path / "settings.toml").unlink()
    (place.path / "settings.toml").write_text(FILE)
    (place.path / "work" / "told.env").unlink()
    os.mkfifo(place.path / "work" / "told.env")
    assert "name a regular file" in server.reload_refused()
    assert Answer(server, "/x").told["variables"]["TOLD_FILE"] == "yes"
    assert server.stop() == 0
