"""WSGI calls find the threads that are free, and one busy worker or stream is nobody else's trouble."""

import contextlib
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.load.connection import Target
from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import Server

CLOSE = "Connection: close\r\n"

#: An endless stream of small parts, as fast as they come.
FAST_STREAM = """

served = app


def app(environ, start_response):
    if environ["PATH_INFO"] != "/fast":
        return served(environ, start_response)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return endless()


def endless():
    while True:
        yield b"0123456789"
"""

#: One worker, the first that is asked, blocks its event loop again and again.
BLOCKED_LOOP = """

import asyncio

served = app
blocking = []


async def app(scope, receive, send):
    if scope["type"] == "http" and scope["path"] == "/block" and not blocking:
        blocking.append(asyncio.get_running_loop().create_task(block()))
        scope = {**scope, "path": "/echo/token"}
    await served(scope, receive, send)


async def block():
    while True:
        time.sleep(0.4)
        await asyncio.sleep(0.001)


import time
"""


def ask(target: Target, path: str, fields: str = CLOSE) -> socket.socket:
    """Send a request on a new connection."""
    sock = socket.create_connection((target.host, target.port), timeout=30)
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\n{fields}\r\n".encode())
    return sock


def answered_by(sock: socket.socket) -> str:
    """Read an answer that the connection ends with; return the process that gave it."""
    with sock:
        data = b""
        while part := sock.recv(65536):
            data += part
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), data[:200]
    return body.split()[1].decode()


def wait_known(server: Server) -> None:
    """Wait until the workers have looked around for each other: all have accepted something, or half a second."""
    end = time.monotonic() + 10
    seen: Counter[str] = Counter()
    while len(seen) < len(server.workers) and time.monotonic() < end:
        seen.update(answered_by(one) for one in [ask(server.target, "/echo/t") for _ in range(16)])


@pytest.mark.alone
@pytest.mark.parametrize("rounds", [1, 2])
def test_simultaneous_calls_are_spread_over_one_thread_workers(serve: Serve, tmp_path: Path, rounds: int) -> None:
    directory = AppDirectory(tmp_path / "app", app="wsgi_load")
    server = serve(directory, "--workers", "4", "--threads", "1")
    wait_known(server)
    spread = []
    for _ in range(3):
        calls = [ask(server.target, "/slow/t/0.5") for _ in range(4 * rounds)]
        spread.append(sorted(Counter(answered_by(one) for one in calls).values()))
    # One of three may be spoilt by a machine that was busy elsewhere just then.
    assert spread.count([rounds] * 4) >= 2, spread


@pytest.mark.full
@pytest.mark.alone
def test_a_new_connection_for_each_call_is_not_slowed_down(serve: Serve, tmp_path: Path) -> None:
    directory = AppDirectory(tmp_path / "app", app="wsgi_load")
    server = serve(directory, "--workers", "4", "--threads", "1")
    wait_known(server)
    target, answered = server.target, 0
    end = time.monotonic() + 2
    while time.monotonic() < end:
        for one in [ask(target, "/echo/t") for _ in range(16)]:
            answered_by(one)
            answered += 1
    # A quiet machine manages thousands a second; a wait for each would make it some hundred.
    assert answered > 800


@contextlib.contextmanager
def blocked_sibling(server: Server) -> Iterator[None]:
    """Let one worker block its event loop, and the other one hold many connections."""
    with contextlib.ExitStack() as stack:
        assert answered_by(ask(server.target, "/block"))
        for _ in range(40):
            stack.enter_context(ask(server.target, "/echo/t", "")).recv(65536)
        yield


@pytest.mark.full
@pytest.mark.alone
def test_new_connections_do_not_wait_for_a_sibling_whose_loop_is_blocked(serve: Serve, directory: AppDirectory) -> None:
    directory.deploy("1", after=BLOCKED_LOOP)
    server = serve(directory, "--workers", "2")
    with blocked_sibling(server):
        times = []
        end = time.monotonic() + 3
        while time.monotonic() < end:
            began = time.monotonic()
            answered_by(ask(server.target, "/echo/t"))
            times.append(time.monotonic() - began)
    # Those that the blocked worker takes in its moments wait for it; it was 45 a second of the others.
    prompt = [seconds for seconds in times if seconds < 0.1]
    waited = sum(times) - sum(prompt)
    assert len(prompt) / max(0.1, 3 - waited) > 150, (len(prompt), waited)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_fast_stream_leaves_its_neighbours_their_turn(serve: Serve, tmp_path: Path, loop: str) -> None:
    directory = AppDirectory(tmp_path / "app", app="wsgi_load")
    directory.deploy("1", after=FAST_STREAM)
    server = serve(directory, "--workers", "1", "--threads", "2", "--loop", loop)
    target = server.target
    with ask(target, "/fast") as stream:
        read = len(stream.recv(65536))
        for number in range(10):
            neighbour = ask(target, "/echo/t")
            neighbour.setblocking(False)
            began = time.monotonic()
            while True:
                read += len(stream.recv(65536))
                with contextlib.suppress(BlockingIOError):
                    assert neighbour.recv(65536, socket.MSG_PEEK)
                    break
                assert time.monotonic() - began < 5, f"neighbour {number} is not answered"
            neighbour.setblocking(True)
            answered_by(neighbour)
    assert read > 65536
