"""A WSGI worker whose threads are all stuck leaves what comes to its siblings: a slow call is its own trouble."""

import contextlib
import http.client
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import pytest

from tests.load.connection import Target
from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import Server
from tests.process.nginx import Nginx, find_nginx
from tests.process.processes import wait_until

WORKERS = ("--workers", "4", "--threads", "1")
#: Connections that nginx keeps to the workers.
KEPT = 64
#: Seconds that nobody's request takes longer than, but those that the blocked worker has in hand.
LIMIT = 0.5

#: A file tells that the blocking call has begun, and every offer is a line in another one.
WATCHED = """

from smoothserve.connection.relief import Relief

served = app
offer = Relief._offer


def app(environ, start_response):
    if environ["PATH_INFO"].startswith("/slow/block/"):
        open("began.txt", "w").close()
    return served(environ, start_response)


def counted(self, link, connection, **options):
    with open("offers.txt", "a") as file:
        print(os.getpid(), file=file)
    offer(self, link, connection, **options)


Relief._offer = counted
"""

#: The same, but relief is switched off.
NO_RELIEF = f"""{WATCHED}

Relief.note_saturation = lambda self, saturated: None
"""


class Clients:
    """Clients with a kept connection each, which ask in bursts."""

    def __init__(self, target: Target, number: int) -> None:
        self._target = target
        self._kept = [self._connect() for _ in range(number)]
        self._pool = ThreadPoolExecutor(number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._pool.shutdown()
        for one in self._kept:
            one.close()

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._target.host, self._target.port, timeout=30)

    def spread(self, workers: int) -> None:
        """Connect until every worker holds some of the connections: a blocked one that has none proves nothing."""
        end = time.monotonic() + 30
        while len({worker for worker, _ in self.burst("/slow/t/0.01")}) < workers:
            assert time.monotonic() < end, "the connections are not spread over the workers"
            for one in self._kept:
                one.close()

    def burst(self, path: str) -> list[tuple[str, float]]:
        """Ask on all connections at once; return who has answered, and after how many seconds."""
        return list(self._pool.map(lambda one: ask(one, path), self._kept))


def ask(connection: http.client.HTTPConnection, path: str) -> tuple[str, float]:
    began = time.monotonic()
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, body
    assert not answer.will_close
    return body.split()[1].decode(), time.monotonic() - began


@contextlib.contextmanager
def blocked_for(server: Server, target: Target, seconds: float) -> Iterator[threading.Thread]:
    """Let a call block one worker; the block is entered when its worker has had the time to notice."""
    began = server.directory / "began.txt"
    one = http.client.HTTPConnection(target.host, target.port, timeout=30)
    call = threading.Thread(target=ask, args=(one, f"/slow/block/{seconds}"))
    call.start()
    wait_until(began.exists, 20, "the blocking call has begun")
    began.unlink()
    time.sleep(0.1)  # what is read in the first moments waits: that is no part of the promise
    yield call
    call.join()
    one.close()


def slowest_beside_a_blocking_call(clients: Clients, server: Server, target: Target, seconds: float) -> float:
    """Ask all the time while one call blocks a worker, over connections that all workers hold."""
    for _ in range(3):
        clients.burst("/slow/t/0.01")
    found: list[float] = []
    with stalls() as longest, blocked_for(server, target, seconds) as call:
        while call.is_alive():
            found += [taken for _, taken in clients.burst("/echo/t")]
            time.sleep(0.05)
    assert len(found) >= KEPT
    return max(found) - longest()


@contextlib.contextmanager
def stalls() -> Iterator[Callable[[], float]]:
    """Measure for how long the machine itself gives nobody a turn: that is no delay of the server's."""
    longest = 0.0
    over = threading.Event()

    def watch() -> None:
        nonlocal longest
        before = time.monotonic()
        while not over.wait(0.01):
            now = time.monotonic()
            longest, before = max(longest, now - before - 0.01), now

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: longest
    finally:
        over.set()
        watcher.join()


@pytest.mark.alone
@pytest.mark.skipif(find_nginx() is None, reason="nginx is not installed")
@pytest.mark.parametrize("seconds", [2, pytest.param(5, marks=pytest.mark.full)])
@pytest.mark.parametrize("loop", ["uvloop", pytest.param("asyncio", marks=pytest.mark.full)])
def test_behind_nginx_a_blocking_call_delays_nobody_else(serve: Serve, tmp_path: Path, loop: str, seconds: int) -> None:
    directory = AppDirectory(tmp_path / "app", app="wsgi_load")
    directory.deploy("1", after=WATCHED)
    server = serve(directory, *WORKERS, "--loop", loop)
    with Nginx(tmp_path / "nginx", server.target) as nginx:
        with Clients(nginx.target, KEPT) as clients:
            assert slowest_beside_a_blocking_call(clients, server, nginx.target, seconds) < LIMIT
        assert offers(server) > 0
        assert nginx.complaints() == ""


@pytest.mark.skipif(find_nginx() is None, reason="nginx is not installed")
def test_without_relief_that_test_is_red(serve: Serve, tmp_path: Path) -> None:
    directory = AppDirectory(tmp_path / "app", app="wsgi_load")
    directory.deploy("1", after=NO_RELIEF)
    server = serve(directory, *WORKERS)
    slowest: list[float] = []
    with Nginx(tmp_path / "nginx", server.target) as nginx, Clients(nginx.target, KEPT) as clients:
        # Where a call falls on a worker that none of nginx's connections lead to, it delays nobody: up to five calls.
        while len(slowest) < 5 and max(slowest, default=0.0) < 1:
            slowest.append(slowest_beside_a_blocking_call(clients, server, nginx.target, 2))
    assert max(slowest) >= 1, slowest


def offers(server: Server) -> int:
    path = server.directory / "offers.txt"
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_workers_that_are_all_busy_do_not_offer_to_each_other(serve: Serve, tmp_path: Path) -> None:
    directory = AppDirectory(tmp_path / "app", app="wsgi_load")
    directory.deploy("1", after=WATCHED)
    server = serve(directory, *WORKERS)
    with Clients(server.target, 32) as clients:
        answered = sum(len(clients.burst("/slow/t/0.05")) for _ in range(5))
    assert answered == 160
    assert offers(server) <= 2 * answered


@pytest.mark.parametrize("how", ["reload", "term"])
def test_a_worker_that_leaves_amid_relief_drops_nothing(serve: Serve, tmp_path: Path, how: str) -> None:
    directory = AppDirectory(tmp_path / "app", app="wsgi_load")
    directory.deploy("1", after=WATCHED)
    server = serve(directory, *WORKERS)
    with Clients(server.target, 32) as clients:
        clients.spread(4)
        left = threading.Event()

        def leave() -> None:
            if how == "reload":
                server.reload()
            else:
                for pid in server.workers[:2]:
                    os.kill(pid, signal.SIGTERM)
            left.set()

        with blocked_for(server, server.target, 4) as call:
            clients.burst("/echo/t")
            while call.is_alive() and not offers(server):
                clients.burst("/echo/t")
            leaving = threading.Thread(target=leave)
            leaving.start()
            while call.is_alive() or not left.is_set():
                clients.burst("/slow/t/0.01")
            leaving.join()
        clients.burst("/echo/t")
    assert offers(server) > 0


def test_a_request_does_not_wait_for_a_stuck_call_because_its_siblings_are_only_busy(
    serve: Serve, tmp_path: Path
) -> None:
    directory = AppDirectory(tmp_path / "app", app="wsgi_load")
    directory.deploy("1", after=WATCHED)
    server = serve(directory, "--workers", "2", "--threads", "1")
    with Clients(server.target, 16) as clients:
        clients.spread(2)
        time.sleep(0.6)  # each worker looks for its siblings twice a second
        with blocked_for(server, server.target, 8) as stuck:
            with blocked_for(server, server.target, 0.8):
                # The other worker is in a call, too; which ends.
                taken = max(taken for _, taken in clients.burst("/echo/t"))
            assert stuck.is_alive(), f"the requests took {taken:.1f} s, as long as the stuck call"
