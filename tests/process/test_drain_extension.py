"""An application knows that its worker drains, whatever the cause, and can end a stream early: `smoothserve.drain`."""

import http.client
import os
import signal
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import Server
from tests.process.processes import wait_until


@pytest.fixture
def directory(tmp_path: Path) -> AppDirectory:
    return AppDirectory(tmp_path / "app", "until_drain")


class Stream:
    """A stream that ends only when its worker drains."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        self._connection.request("GET", "/stream")
        self._answer = self._connection.getresponse()
        pid, drains = self._answer.readline().split()
        self.pid = int(pid)
        assert drains == b"False"

    def rest(self) -> str:
        """Wait for the end of the stream; return what it has said of it."""
        rest = self._answer.read().decode()
        self._connection.close()
        return rest


def reload(server: Server, stream: Stream) -> None:
    server.hup()


def stop(server: Server, stream: Stream) -> None:
    server.kill(signal.SIGTERM)


def quit_worker(server: Server, stream: Stream) -> None:
    os.kill(stream.pid, signal.SIGTERM)


def kill_master(server: Server, stream: Stream) -> None:
    server.exit_code_expected = -signal.SIGKILL
    server.kill(signal.SIGKILL)


def recycle(server: Server, stream: Stream) -> None:
    for _ in range(6):
        urllib.request.urlopen(f"http://127.0.0.1:{server.port}/", timeout=20).read()


CAUSES = [reload, stop, quit_worker, kill_master, recycle]


@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.parametrize("interface", ["app", pytest.param("wsgi", marks=pytest.mark.full)])
def test_a_stream_can_end_early_whatever_its_worker_drains_for(
    directory: AppDirectory, serve: Serve, interface: str, cause: Callable[[Server, Stream], None]
) -> None:
    server = serve(
        directory, "--threads", "4", "--soak-interval", "0.05",
        *(["--max-requests", "4"] if cause is recycle else []),
        app=f"app:{interface}",
    )  # fmt: skip
    worker = server.workers
    stream = Stream(server.port)
    cause(server, stream)
    assert stream.rest() == "drains: True, deadline ahead: True"
    server.wait_gone(worker)
    if cause is reload:
        server.wait_reload("finished")
        server.wait_drained()
    assert "cut" not in server.log()


def test_a_worker_fewer_is_a_cause_too_and_the_others_streams_go_on(directory: AppDirectory, serve: Serve) -> None:
    server = serve(directory, "--workers", "2", "--soak-interval", "0.05")
    _, leaves = server.workers
    streams = [Stream(server.port) for _ in range(4)]
    while {stream.pid for stream in streams} != set(server.workers):
        streams.append(Stream(server.port))
        assert len(streams) < 100
    server.kill(signal.SIGTTOU)
    for stream in streams:
        if stream.pid == leaves:
            assert stream.rest() == "drains: True, deadline ahead: True"
    wait_until(lambda: leaves not in server.workers, 20, "it has left")
    server.kill(signal.SIGTERM)
    for stream in streams:
        if stream.pid != leaves:
            assert stream.rest() == "drains: True, deadline ahead: True"
