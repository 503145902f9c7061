"""Standard streams as a careless supervisor leaves them: closed, or a pipe whose reader is stuck."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.load.connection import Target
from tests.load.runner import Load
from tests.load.scenarios import get_and_post
from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import LISTENING, READY, assert_nothing_dropped, clean_environ
from tests.process.processes import session_members, wait_until

#: What the application's error lines carry: three of them fill a pipe, the first ones go through.
PADDING = 30_000
FAILING = f"""

served = app


async def app(scope, receive, send):
    if scope["type"] == "http" and scope["path"].startswith("/fail/"):
        raise RuntimeError(scope["path"] + "-" * {PADDING} + "END")
    await served(scope, receive, send)
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_it_serves_reloads_and_stops_with_closed_standard_streams(
    serve: Serve, directory: AppDirectory, tmp_path: Path, closed: str
) -> None:
    log = tmp_path / "error.log"
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "smoothserve", "app:app"]
    server = serve(directory, "--error-logfile", str(log), "--access-log", command=command, wait=False)
    wait_until(lambda: log.exists() and READY.search(log.read_text()), 30, "ready")
    listening = LISTENING.search(log.read_text())
    assert listening is not None
    with Load(Target(port=int(listening["port"])), get_and_post(4)) as load:
        load.wait_version("1")
        directory.deploy("2")
        server.hup()
        load.wait_version("2")
    assert_nothing_dropped(load.report, "1", "2")
    assert server.stop() == 0
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("arguments", "code"), [("--version", 0), ("a:b --check-config", 0), ("--nonsense", 2)])
def test_the_command_line_ends_with_its_code_where_nobody_can_read_it(closed: str, arguments: str, code: int) -> None:
    command = f"{sys.executable} -m smoothserve {arguments} {closed}"
    assert subprocess.run(["sh", "-c", command], check=False, capture_output=True, timeout=60).returncode == code


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_an_output_that_cannot_be_written_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "smoothserve", "a:b", "--print-config"]
        done = subprocess.run(command, check=False, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 6
    (line,) = done.stderr.splitlines()
    assert "standard output cannot be written to" in line


class Piped:
    """A server whose standard error is a pipe that is read when the test says so."""

    def __init__(self, process: "subprocess.Popen[bytes]", reader: int) -> None:
        self.process = process
        self._reader = reader
        self.text = ""

    def read_until(self, pattern: str, timeout: float = 30.0) -> "re.Match[str]":
        def found() -> "re.Match[str] | None":
            with suppress(BlockingIOError):
                self.text += os.read(self._reader, 65536).decode()
            return re.search(pattern, self.text)

        wait_until(found, timeout, pattern)
        match = re.search(pattern, self.text)
        assert match is not None
        return match

    def fail(self, port: int, *names: str) -> None:
        """Have the worker write an error line for each name; it answers, whether they can be written or not."""
        for name in names:
            request = f"curl -s -o /dev/null -m 10 -w %{{http_code}} http://127.0.0.1:{port}/fail/{name}"
            assert subprocess.run(request.split(), check=True, capture_output=True).stdout == b"500"


@contextmanager
def piped(directory: AppDirectory) -> Iterator[tuple[Piped, int]]:
    directory.deploy("1", after=FAILING)
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    process = subprocess.Popen(
        [sys.executable, "-m", "smoothserve", "app:app", "--bind", "127.0.0.1:0"],
        cwd=directory.path,
        env=clean_environ({}),
        stderr=writer,
        start_new_session=True,
    )
    os.close(writer)
    try:
        server = Piped(process, reader)
        port = int(server.read_until(r"listening on http://127\.0\.0\.1:(\d+)")[1])
        server.read_until(r"\] ready: ")
        yield server, port
    finally:
        for pid in session_members(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait()
        os.close(reader)


def test_lines_behind_a_stuck_pipe_come_when_it_is_read_again(directory: AppDirectory) -> None:
    with piped(directory) as (server, port):
        server.fail(port, "one", "two", "three", "four", "five")
        # Nothing more happens that would write a line.
        server.read_until(r"/five-+END\n")
        assert server.text.count("END\n") == 5
        server.process.terminate()
        server.read_until(r"stopped: 0 requests dropped")
        assert server.process.wait(20) == 0


def test_the_last_lines_of_worker_and_master_are_written_when_the_reader_goes_on(directory: AppDirectory) -> None:
    with piped(directory) as (server, port):
        server.fail(port, "one", "two", "three", "four", "five")
        server.process.terminate()
        server.read_until(r"stopped: 0 requests dropped")
        assert server.text.count("END\n") == 5
        assert server.process.wait(20) == 0


def test_a_pipe_that_is_never_read_again_does_not_keep_the_server(directory: AppDirectory) -> None:
    with piped(directory) as (server, port):
        server.fail(port, "one", "two", "three", "four", "five")
        server.process.terminate()
        began = time.monotonic()
        assert server.process.wait(20) == 0
        assert time.monotonic() - began < 15


#: Standard output becomes a pipe that is full; what is printed waits in its buffer until the end.
STUCK_OUTPUT = """
import os, sys

reader, writer = os.pipe()
os.set_blocking(writer, False)
try:
    while True:
        os.write(writer, bytes(4096))
except BlockingIOError:
    os.set_blocking(writer, True)
os.dup2(writer, 1)
sys.stdout = open(1, "w", closefd=False)  # with a buffer, also where PYTHONUNBUFFERED is set
print("at import")
"""


def test_what_the_application_has_printed_into_a_stuck_pipe_does_not_keep_its_worker(
    serve: Serve, directory: AppDirectory
) -> None:
    directory.deploy("1", before=STUCK_OUTPUT)
    server = serve(directory)
    old = server.workers
    directory.deploy("2")
    server.reload()
    # Far from --drain-timeout, when it would be killed.
    server.wait_gone(old, 20)
