"""Connections change hands as descriptors: none is left behind, and no child of the application keeps one."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import Server
from tests.process.idle import IdleClients
from tests.process.processes import descriptors, kill, open_count

QUICK = ("--soak-interval", "0.1")

#: Children that live on: one by fork and exec with every descriptor that is inheritable, one by fork alone.
SPAWNS = """

import subprocess
import time

served = app


def forked():
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    return pid


async def app(scope, receive, send):
    if scope["type"] == "http" and scope["path"].startswith("/spawn"):
        pids = [forked(), subprocess.Popen(["sleep", "60"], close_fds=False).pid]
        await answer(send, " ".join(map(str, pids)).encode())
    else:
        await served(scope, receive, send)
"""


def counts(server: Server) -> list[int]:
    """Return how many descriptors each process of the server has, the master first."""
    return [open_count(pid) for pid in (server.pid, *server.workers)]


@pytest.mark.parametrize("reloads", [pytest.param(10, id="10"), pytest.param(50, id="50", marks=pytest.mark.full)])
@pytest.mark.parametrize(
    "loop", [pytest.param("uvloop", id="uvloop"), pytest.param("asyncio", id="asyncio", marks=pytest.mark.full)]
)
def test_reloads_leave_no_descriptor_behind(serve: Serve, directory: AppDirectory, loop: str, reloads: int) -> None:
    server = serve(directory, "--workers", "1", "--soak-interval", "0", "--loop", loop)
    with IdleClients(server.target, 50) as idle:
        seen = []
        for number in range(reloads + 1):
            directory.deploy(str(number + 2))
            server.reload()
            server.wait_drained()
            assert idle.versions() == {str(number + 2): 50}
            seen.append(counts(server))
    assert seen[-1] == seen[0], f"descriptors of the master and its workers, reload after reload: {seen}"


class Children:
    """Processes that the application has spawned; killed at the end."""

    def __init__(self) -> None:
        self.pids: list[int] = []

    def spawn(self, sock: socket.socket, *fields: str) -> None:
        """Ask the application for children."""
        sock.sendall("\r\n".join(("GET /spawn HTTP/1.1", "Host: a", *fields, "", "")).encode())
        body = sock.recv(65536).partition(b"\r\n\r\n")[2]
        self.pids += [int(word) for word in body.split()]
        assert self.pids


@pytest.fixture
def children() -> Iterator[Children]:
    spawned = Children()
    yield spawned
    for pid in spawned.pids:
        kill(pid, signal.SIGKILL)


def sockets(pid: int) -> set[str]:
    return {name for name in descriptors(pid) if name.startswith("socket:")}


def channels() -> set[str]:
    """Return the packet sockets of this machine, as /proc/PID/fd names them: control and handover channels."""
    rows = (line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:])
    return {f"socket:[{row[6]}]" for row in rows if row[4] == "0005"}


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_children_of_the_application_hold_no_connection_that_was_handed_over(
    serve: Serve, directory: AppDirectory, children: Children, loop: str
) -> None:
    directory.deploy("1", after=SPAWNS)
    server = serve(directory, "--workers", "1", "--loop", loop, *QUICK)
    with IdleClients(server.target, 10) as idle, socket.create_connection(("127.0.0.1", server.port), 10) as client:
        children.spawn(client)
        directory.deploy("2", after=SPAWNS)
        server.reload()
        children.spawn(client)
        assert idle.versions() == {"2": 10}
        children.spawn(client, "Connection: close")
        client.settimeout(5)
        assert client.recv(100) == b"", "not closed"
        os.kill(server.pid, signal.SIGTERM)
        for sock in idle.connections:
            sock.settimeout(10)
            assert sock.recv(100) == b"", "not closed"
        for pid in children.pids:
            kill(pid, signal.SIGKILL)


def test_children_forked_amid_a_handover_hold_neither_channel_nor_connection(
    serve: Serve, directory: AppDirectory, children: Children
) -> None:
    directory.deploy("1", after=SPAWNS)
    server = serve(directory, "--workers", "1", *QUICK)
    with (
        socket.create_connection(("127.0.0.1", server.port), 10) as slow,
        socket.create_connection(("127.0.0.1", server.port), 10) as client,
    ):
        # The predecessor is still there when the successor forks, and so is the channel between them.
        slow.sendall(b"GET /slow/a/3.0 HTTP/1.1\r\nHost: a\r\n\r\n")
        children.spawn(client)
        directory.deploy("2", after=SPAWNS)
        (old,) = server.workers
        server.reload()
        children.spawn(client)
        (new,) = set(server.workers) - {old}
        held = sockets(old) | sockets(new)
        assert channels() & sockets(new), "no channel is there"
        for pid in children.pids:
            assert not channels() & held & sockets(pid), "a child holds a channel"
        assert slow.recv(65536)
        server.wait_drained()
        for pid in children.pids:
            kill(pid, signal.SIGKILL)


def test_a_fork_of_a_killed_successor_does_not_hide_its_death(
    serve: Serve, directory: AppDirectory, children: Children
) -> None:
    directory.deploy("1", after=SPAWNS)
    server = serve(directory, "--workers", "1", *QUICK)
    with (
        socket.create_connection(("127.0.0.1", server.port), 10) as slow,
        socket.create_connection(("127.0.0.1", server.port), 10) as client,
    ):
        slow.sendall(b"GET /slow/a/2.0 HTTP/1.1\r\nHost: a\r\n\r\n")
        (old,) = server.workers
        children.spawn(client)
        directory.deploy("2", after=SPAWNS)
        server.reload()
        children.spawn(client)
        (new,) = set(server.workers) - {old}
        os.kill(new, signal.SIGKILL)
        server.wait_log("died by SIGKILL")
        slow.settimeout(10)
        assert slow.recv(65536)
        # Nobody waits for the dead one: the connection goes to the worker that serves now.
        server.wait_gone([old], timeout=10)
        slow.sendall(b"GET /echo/b HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"\r\n\r\n2 " in slow.recv(65536)
        for pid in children.pids:
            kill(pid, signal.SIGKILL)
