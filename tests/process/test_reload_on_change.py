"""`--reload`: an edit is served on the same connection; a bad one shows once; what does not count does nothing."""

import http.client
import os
import re
import signal
from pathlib import Path
from typing import Self

import pytest

from smoothserve.errors import ExitCode
from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import Server
from tests.process.processes import mapped_files, running, wait_until

PLAIN = """
import extra


async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": b"{version} " + extra.NAME}})
"""


@pytest.fixture
def directory(tmp_path: Path) -> AppDirectory:
    made = AppDirectory(tmp_path / "app")
    made.write("extra.py", "NAME = b'extra'\n")
    made.write("app.py", PLAIN.format(version=1))
    return made


class Browser:
    """One kept connection. What it asks on another is no proof that this one has lived."""

    def __init__(self, server: Server) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        self.connection.connect()
        self.port = self.connection.sock.getsockname()[1]

    def ask(self) -> str:
        self.connection.request("GET", "/")
        answer = self.connection.getresponse().read().decode()
        assert self.connection.sock is not None, "the server has closed the connection"
        assert self.connection.sock.getsockname()[1] == self.port
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def wait(self, answer: str) -> None:
        wait_until(lambda: self.ask() == answer, 30, f"{answer!r} on the same connection")


def watchers(server: Server) -> list[int]:
    return running(server.pid, "smoothserve.watch")


def watching(serve: Serve, directory: AppDirectory, *options: str) -> Server:
    server = serve(directory, "--reload", "--lifespan", "off", *options)
    server.wait_log(r"watching \S+: a change reloads")
    return server


def test_an_edit_and_a_new_file_are_served_on_the_same_connection(serve: Serve, directory: AppDirectory) -> None:
    server = watching(serve, directory)
    with Browser(server) as browser:
        assert browser.ask() == "1 extra"
        directory.write("app.py", PLAIN.format(version=2))
        browser.wait("2 extra")
        server.wait_log(r"changed: app\.py\n")
        directory.write("new.py", "NAME = b'new'\n")
        server.wait_log(r"changed: new\.py\n")
        directory.write("extra.py", "from new import NAME\n")
        browser.wait("2 new")
        assert not any("watchfiles" in name for name in mapped_files(server.pid)), "the master holds no library"


def test_a_syntax_error_shows_once_and_the_old_code_serves_on(serve: Serve, directory: AppDirectory) -> None:
    server = watching(serve, directory, "--workers", "2")
    server.tracebacks_expected = True
    with Browser(server) as browser:
        directory.write("app.py", "def broken(:\n")
        server.wait_log(r"reload refused: .*SyntaxError")
        assert browser.ask() == "1 extra"
        directory.write("app.py", PLAIN.format(version=2))
        browser.wait("2 extra")
        assert len(re.findall(r"(?m)^SyntaxError", server.log())) == 1
        assert server.log().count("reload refused") == 1


def test_a_first_start_that_does_not_boot_waits_for_the_next_edit(serve: Serve, directory: AppDirectory) -> None:
    directory.write("app.py", "def broken(:\n")
    server = serve(directory, "--reload", "--lifespan", "off", "--workers", "2", wait=False)
    server.tracebacks_expected = True
    server.wait_log(r"nothing boots: .*SyntaxError: .*; waiting for a change \(--reload\)")
    directory.write("app.py", "import nothing_of_that_name\n")
    server.wait_log(r"nothing boots: .*ModuleNotFoundError: .*nothing_of_that_name")
    directory.write("app.py", PLAIN.format(version=2))
    server.wait_ready()
    with Browser(server) as browser:
        assert browser.ask() == "2 extra"
        directory.write("app.py", PLAIN.format(version=3))
        browser.wait("3 extra")
    server.wait_log(r"reload finished: generation 2\b")
    assert "generation 3" not in server.log(), "what boots at last is not reloaded once more"
    assert len(re.findall(r"(?m)^SyntaxError", server.log())) == 1


def test_a_server_that_waits_for_an_edit_stops_at_once(serve: Serve, directory: AppDirectory) -> None:
    directory.write("app.py", "def broken(:\n")
    server = serve(directory, "--reload", wait=False)
    server.tracebacks_expected = True
    server.wait_log(r"nothing boots: .*SyntaxError")
    server.kill(signal.SIGTERM)
    assert server.wait_exit() == 0


def test_excluded_files_and_others_do_nothing_included_ones_reload(serve: Serve, directory: AppDirectory) -> None:
    (directory.path / "tests").mkdir()
    server = watching(serve, directory, "--reload-include", "*.html", "--reload-exclude", "tests/*")
    with Browser(server) as browser:
        directory.write("page.html", "<p>")
        server.wait_log(r"changed: page\.html\n")
        server.wait_log(r"reload finished: generation 2")
        for name in ("tests/test_app.py", "notes.txt", ".hidden.py"):
            (directory.path / name).write_text("x = 1\n")
        directory.write("extra.py", "NAME = b'seen'\n")
        browser.wait("1 seen")
        changed = re.findall(r"changed: (.*)", server.log())
        assert not re.search("test_app|notes|hidden", " ".join(changed))
        assert changed[-1] == "extra.py"


def test_named_directories_are_watched_and_no_others(serve: Serve, directory: AppDirectory, tmp_path: Path) -> None:
    library = tmp_path / "library"
    library.mkdir()
    server = watching(serve, directory, "--reload-dir", str(library))
    directory.write("extra.py", "NAME = b'unseen'\n")
    (library / "part.py").write_text("")
    server.wait_log(r"changed: part\.py\n")
    assert "extra.py" not in server.log()


def test_a_killed_watcher_comes_again_and_finds_what_has_changed_meanwhile(
    serve: Serve, directory: AppDirectory
) -> None:
    server = watching(serve, directory)
    with Browser(server) as browser:
        (watcher,) = watchers(server)
        os.kill(watcher, signal.SIGKILL)
        directory.write("app.py", PLAIN.format(version=2))
        server.wait_log(r"smoothserve\.watch has ended: it is started again in 1 s")
        browser.wait("2 extra")
        wait_until(lambda: watchers(server) not in ([], [watcher]), 30, "another watcher")
        directory.write("app.py", PLAIN.format(version=3))
        browser.wait("3 extra")


def test_an_open_stream_does_not_keep_edits_waiting(serve: Serve, directory: AppDirectory) -> None:
    directory.deploy("1")
    server = watching(serve, directory)
    streams = []
    for version in range(2, 7):
        stream = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        stream.request("GET", "/events/token/0.05")
        assert stream.getresponse().read(1)
        streams.append(stream)
        directory.deploy(str(version))
        server.wait_log(rf"reload finished: generation {version}\b", 15)
    for stream in streams:
        stream.close()


def test_without_watchfiles_one_line_says_what_to_install(
    serve: Serve, directory: AppDirectory, tmp_path: Path
) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text("import sys\nsys.modules['watchfiles'] = None\n")
    server = serve(directory, "--reload", wait=False, environ={"PYTHONPATH": str(hidden)})
    server.exit_code_expected = ExitCode.FILE_FAILED
    assert server.wait_exit() == ExitCode.FILE_FAILED
    (line,) = server.log().splitlines()
    assert line.startswith("smoothserve: error: --reload needs the package watchfiles, which is not installed: pip")


def test_a_directory_that_is_not_there_is_one_line(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--reload", "--reload-dir", "nowhere", wait=False)
    server.exit_code_expected = ExitCode.FILE_FAILED
    assert server.wait_exit() == ExitCode.FILE_FAILED
    assert "nowhere is no directory: name one to watch" in server.log()
