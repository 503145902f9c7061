"""One measurement of one server in one case; each kind returns its figures by name."""

import os
import resource
import socket
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.compare.cases import Case
from tests.benchmarks.compare.generators import Load, run_load
from tests.benchmarks.compare.processes import BenchmarkError, Server
from tests.load.connection import Target
from tests.process.nginx import Nginx, find_nginx

SERVER_CORES = {0}
LOAD_CORES = {1}
IDLE_CONNECTIONS = 2000
RELOAD_INTERVAL = 2.0


@dataclass(frozen=True, slots=True)
class Setup:
    """What all measurements of a run share."""

    python: str
    seconds: float
    warm_up: float
    log: Path
    pinned: bool = True
    older_python: str = ""
    """For the cases that are about it; empty: they are left out."""
    rate: float = 1000.0
    """Requests per second that stand for the whole of the slowest peer's capacity."""


def measure(case: Case, name: str, setup: Setup) -> dict[str, float]:
    """Start the server, measure it in its way, stop it."""
    return _KINDS[case.kind](case, name, setup)


def _server(case: Case, name: str, setup: Setup, *, pinned: bool = True) -> Server:
    cores = SERVER_CORES if pinned and setup.pinned else None
    return Server(name, setup.python, case.app, case.options, cores=cores, log=setup.log)


def _check_answer(load: Load, port: int) -> None:
    """Make one request, so that no server is fast by a wrong answer."""
    if load.tool != "wrk":
        return
    request = urllib.request.Request(f"http://127.0.0.1:{port}{load.path}", data=load.body or None, method=load.method)
    for header in load.headers:
        request.add_header(*header.split(": ", 1))
    with urllib.request.urlopen(request, timeout=10) as answer:
        body = answer.read()
    if load.expected is not None and body != load.expected:
        raise BenchmarkError(f"a wrong answer: {body[:80]!r}")


def _throughput(case: Case, name: str, setup: Setup) -> dict[str, float]:
    load_cores = LOAD_CORES if setup.pinned else None
    with _server(case, name, setup) as server, _front(case, server.port, load_cores) as port:
        _check_answer(case.load, port)
        run_load(case.load, port, setup.warm_up, load_cores)
        before = server.cpu_seconds()
        counted = run_load(case.load, port, setup.seconds, load_cores)
        cpu = server.cpu_seconds() - before
    requests = counted["requests"]
    return {
        "per_second": requests / counted["seconds"],
        "per_cpu_second": requests / cpu if cpu else 0.0,
        **{key: value for key, value in counted.items() if key.startswith("p")},
    }


@contextmanager
def _front(case: Case, port: int, cores: set[int] | None) -> Iterator[int]:
    """Put nginx in front of the server, on the load's core, if the case wants it; yield the port to send to."""
    if not case.proxied:
        yield port
        return
    if find_nginx() is None:
        raise BenchmarkError("nginx is not installed")
    mine = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory() as directory:
        if cores:
            os.sched_setaffinity(0, cores)  # what is started from here on keeps it
        try:
            nginx = Nginx(Path(directory) / "nginx", Target(port=port))
        finally:
            os.sched_setaffinity(0, mine)
        with nginx:
            yield nginx.port


def _paced_load(case: Case, setup: Setup) -> Load:
    parameters = dict(case.load.parameters)
    parameters["rate"] = max(50.0, setup.rate * parameters.pop("share"))
    return Load(tool="paced", connections=case.load.connections, parameters=parameters)


def _latency(case: Case, name: str, setup: Setup) -> dict[str, float]:
    load = _paced_load(case, setup)
    load_cores = LOAD_CORES if setup.pinned else None
    with _server(case, name, setup) as server:
        run_load(load, server.port, setup.warm_up, load_cores)
        return run_load(load, server.port, setup.seconds, load_cores)


def _reload(case: Case, name: str, setup: Setup) -> dict[str, float]:
    """Measure the steady latency, then that with reloads: ours and each peer's, errors counted."""
    load = _paced_load(case, setup)
    with _server(case, name, setup, pinned=False) as server:
        run_load(load, server.port, setup.warm_up, None)
        steady = run_load(load, server.port, setup.seconds, None)
        with _Reloads(server):
            moving = run_load(load, server.port, max(4 * RELOAD_INTERVAL, setup.seconds), None)
    return {"steady_p99": steady["p99"], **moving}


class _Reloads:
    """Sends HUP at a constant interval, from a thread."""

    def __init__(self, server: Server) -> None:
        import threading

        self._server = server
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exc: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(RELOAD_INTERVAL):
            self._server.reload()


def _idle(case: Case, name: str, setup: Setup) -> dict[str, float]:
    return _memory_of_connections(case, name, setup, _ask_once)


def _idle_websocket(case: Case, name: str, setup: Setup) -> dict[str, float]:
    return _memory_of_connections(case, name, setup, _shake_hands)


def _memory_of_connections(
    case: Case, name: str, setup: Setup, open_one: Callable[[int], socket.socket]
) -> dict[str, float]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, IDLE_CONNECTIONS * 2)), hard))
    with _server(case, name, setup) as server:
        # The first ones fill the allocator's pools, which are not a connection's.
        sockets = [open_one(server.port) for _ in range(200)]
        time.sleep(1)
        before = sum(server.pss_kib().values())
        sockets += [open_one(server.port) for _ in range(IDLE_CONNECTIONS)]
        time.sleep(1)
        after = sum(server.pss_kib().values())
        for sock in sockets:
            sock.close()
    return {"kib": (after - before) / IDLE_CONNECTIONS}


def _ask_once(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), 10)
    sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    _expect(sock, b"HTTP/1.1 200")
    return sock


def _shake_hands(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), 10)
    sock.sendall(
        b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    _expect(sock, b"HTTP/1.1 101")
    return sock


def _expect(sock: socket.socket, start: bytes) -> None:
    data = sock.recv(65536)
    if not data.startswith(start):
        raise BenchmarkError(f"not {start!r}: {data[:60]!r}")


def _boot(case: Case, name: str, setup: Setup) -> dict[str, float]:
    with _server(case, name, setup) as server:
        pass  # compiled files and the page cache are warm from here on
    with _server(case, name, setup) as server:
        time.sleep(1)
        return {
            "boot_seconds": server.boot_seconds,
            "worker_boot_seconds": server.worker_boot_seconds,
            "tree_pss_mib": sum(server.pss_kib().values()) / 1024,
            "worker_pss_mib": max(server.pss_kib().values()) / 1024,
            "worker_rss_mib": max(server.rss_kib().values()) / 1024,
        }


_KINDS: dict[str, Callable[[Case, str, Setup], dict[str, float]]] = {
    "throughput": _throughput,
    "latency": _latency,
    "reload": _reload,
    "idle": _idle,
    "idle-websocket": _idle_websocket,
    "boot": _boot,
}
