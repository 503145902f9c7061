"""Clients that hold on to what the server has: light load beside them is served, and they are closed on time."""

import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from tests.faults.attackers import (
    IDLE,
    SILENT,
    SILENT_BODY,
    SLOW_BODY,
    SLOW_READER,
    SLOWLORIS,
    Attack,
    Attackers,
)
from tests.load.runner import Load
from tests.load.scenarios import get_and_post
from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import Server
from tests.process.processes import stat_fields, wait_until

PAGE = 4096
#: What a closing may take beyond the setting: a quarter of it for the coarse look, two sweeps, a loaded machine.
SLACK = 15.0
BOUNDS = ("--head-timeout", "2", "--body-timeout", "2", "--write-timeout", "2", "--keep-alive-timeout", "2")


def resident_bytes(server: Server) -> int:
    return sum(int(stat_fields(pid)[21]) * PAGE for pid in server.workers)


def statuses(attackers: Attackers) -> Counter[bytes]:
    return Counter(answer[9:12] for answer in attackers.answers)


def served_beside(server: Server, attack: Attack, count: int, expected: bytes, seconds: float) -> None:
    """Attack while there is light load; assert that it is served, and what becomes of the attackers and when."""
    server.tracebacks_expected = True  # the application raises when a body breaks off
    with Load(server.target, get_and_post(4)) as load:
        load.wait_answers(50)
        before = resident_bytes(server)
        with Attackers(server.target, attack, count) as attackers:
            took = attackers.run(lambda: not attackers.left, seconds + SLACK)
            load.wait_answers(50)
        assert took > seconds * 0.5
        assert statuses(attackers) == {expected: count}
    assert load.report.dropped == 0, load.report.render()
    assert resident_bytes(server) - before < 40_000_000 + count * 100_000


@pytest.mark.parametrize(
    ("attack", "expected"),
    [(SLOWLORIS, b"408"), (SILENT_BODY, b"408"), (SILENT, b""), (IDLE, b"200")],
    ids=lambda one: one.name.replace(" ", "-") if isinstance(one, Attack) else None,
)
def test_attackers_are_closed_on_time_and_light_load_beside_them_is_served(
    serve: Serve, directory: AppDirectory, attack: Attack, expected: bytes
) -> None:
    server = serve(directory, "--workers", "1", *BOUNDS)
    served_beside(server, attack, 200, expected, 2.0)


def test_a_body_that_drips_below_the_minimum_rate_is_a_408(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--workers", "1", *BOUNDS, "--min-body-rate", "100")
    served_beside(server, SLOW_BODY, 100, b"408", 2.0)


def test_clients_that_do_not_read_are_cut_off(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--workers", "1", *BOUNDS)
    with Load(server.target, get_and_post(4)) as load:
        load.wait_answers(50)
        with Attackers(server.target, SLOW_READER, 5) as attackers:
            attackers.run(lambda: not attackers.left, 2.0 + SLACK)
            load.wait_answers(50)
    server.wait_log("connection closed: the client took nothing of its answer for 2 s", count=5)
    assert load.report.dropped == 0, load.report.render()


def test_a_flood_of_connects_keeps_nobody_from_being_served(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--workers", "2", *BOUNDS)
    flood(server, 1000)


def flood(server: Server, count: int) -> None:
    with Load(server.target, get_and_post(4)) as load:
        load.wait_answers(50)
        for _ in range(count):
            socket.create_connection((server.target.host, server.target.port), timeout=10).close()
        load.wait_answers(50)
    assert load.report.dropped == 0, load.report.render()


def test_beyond_max_concurrent_requests_the_rest_is_503_and_nothing_is_lost(
    serve: Serve, directory: AppDirectory
) -> None:
    server = serve(directory, "--workers", "1", "--limit-concurrency", "5")
    asked = [socket.create_connection((server.target.host, server.port), timeout=20) for _ in range(20)]
    for sock in asked:
        sock.sendall(b"GET /slow/a/1 HTTP/1.1\r\nHost: x\r\n\r\n")
    answers = [sock.recv(4096) for sock in asked]
    assert Counter(answer[9:12] for answer in answers) == {b"200": 5, b"503": 15}
    assert all(b"retry-after: 1\r\n" in answer for answer in answers if answer[9:12] == b"503")
    server.wait_log("overloaded: requests answered with 503")
    for sock in asked:
        sock.close()


def test_beyond_the_wsgi_queue_the_rest_is_503(serve: Serve, directory: AppDirectory) -> None:
    directory.deploy("1", app="wsgi_load")
    server = serve(directory, "--workers", "1", "--threads", "2", "--max-queued-requests", "3")
    # They are open before the first request: a worker whose threads are busy accepts no further connection.
    asked = [socket.create_connection((server.target.host, server.port), timeout=20) for _ in range(20)]
    for sock in asked:
        sock.sendall(b"GET /echo/a HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(4096)[9:12] == b"200"
    for sock in asked:
        sock.sendall(b"GET /slow/a/1 HTTP/1.1\r\nHost: x\r\n\r\n")
    answers = [sock.recv(4096) for sock in asked]
    assert Counter(answer[9:12] for answer in answers) == {b"200": 5, b"503": 15}
    for sock in asked:
        sock.close()


#: In a process of its own: beside the clients of the light load it would hold their interpreter up.
FLOOD = """
import socket, sys
for _ in range(int(sys.argv[2])):
    socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=20).close()
"""


@pytest.mark.full(only="3.13")
@pytest.mark.alone
@pytest.mark.timeout(600)
def test_light_load_hardly_notices_5000_attackers_of_each_kind(serve: Serve, directory: AppDirectory) -> None:
    bounds = [word if word.startswith("--") else "20" for word in BOUNDS]
    server = serve(directory, "--workers", "2", *bounds, "--min-body-rate", "100")
    server.tracebacks_expected = True

    def p99(meanwhile: Callable[[], object]) -> float:
        with Load(server.target, get_and_post(4)) as load:
            load.wait_answers(50)
            meanwhile()
        assert load.report.dropped == 0, load.report.render()
        return load.report.latency(0.99)

    quiet = p99(lambda: time.sleep(5.0))
    bound = max(2 * quiet, quiet + 0.02)
    for attack, count, expected in (
        (SILENT, 5000, b""),
        (IDLE, 5000, b"200"),
        (SLOWLORIS, 1000, b"408"),
        (SILENT_BODY, 1000, b"408"),
        (SLOW_BODY, 500, b"408"),
        (SLOW_READER, 20, b""),
    ):
        before = resident_bytes(server)
        with Attackers(server.target, attack, count) as attackers:
            began = time.monotonic()
            assert p99(partial(attackers.run_for, 5.0)) <= bound, attack.name
            # Of each that does not read there are 8 MB of a body and as much of an answer in hand.
            assert resident_bytes(server) - before < 60_000_000 + (attack is SLOW_READER) * count * 20_000_000
            attackers.run(lambda: not attackers.left, 40.0 + SLACK)
            assert time.monotonic() - began < 20.0 * 1.5 + SLACK, f"{attack.name}: closed on time"
            assert statuses(attackers) == {expected: count}

    def flood_beside() -> None:
        subprocess.run([sys.executable, "-c", FLOOD, str(server.port), "20000"], check=True, timeout=120)

    assert p99(flood_beside) <= bound, "flood"
    wait_until(lambda: resident_bytes(server) < 300_000_000, 10, "memory is bounded")
