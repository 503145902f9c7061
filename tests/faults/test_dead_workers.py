"""A worker that dies costs only what it held, the log says how much, and another takes its place."""

import contextlib
import os
import re
import signal
import socket

import pytest

from tests.load.outcomes import Outcome
from tests.load.runner import Load
from tests.load.scenarios import get_and_post, new_connections, one_slow_request
from tests.process.directory import BROKEN, AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import Server, assert_nothing_dropped
from tests.process.processes import children, kill, wait_until

LOST = {Outcome.EOF_BEFORE_ANSWER, Outcome.RESET_BEFORE_ANSWER, Outcome.WRITE_RESET}


def dropped_by(server: Server, pid: int) -> int:
    """Return the number of dropped requests that the log gives for a killed worker."""
    name = rf"worker \d+ \(pid {pid}, slot \d, generation \d+\)"
    match = server.wait_log(rf"{name} died by SIGKILL, (\d+) requests? dropped")
    return int(match[1])


def test_kill_9_loses_exactly_the_requests_that_the_worker_held(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--workers", "2")
    with Load(server.target, one_slow_request(24, 3.0, greet=True)) as load:
        load.wait_until(lambda report: report.answered == 24)
        report = load.report
        # All slow ones are in the application's hands by then; the first answer is seconds away.
        greeted = report.now()
        load.wait_until(lambda report: report.now() > greeted + 0.5)
        victim = next(iter(report.versions["1"].pids))
        os.kill(victim, signal.SIGKILL)
        lost = dropped_by(server, victim)
        load.join()
    assert lost > 0
    assert report.dropped == lost
    assert set(report.outcomes) <= {Outcome.OK, *LOST}
    assert report.answered == 24 + 24 - lost
    assert {failure.served_by for failure in report.failures} == {victim}
    wait_until(lambda: len(server.workers) == 2, 10, "a new worker")


def test_kill_9_under_load_touches_no_connection_of_another_worker(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--workers", "2")
    held = Load(server.target, one_slow_request(16, 3.0))
    with Load(server.target, get_and_post(32), new_connections(2)) as load, held:
        load.wait_answers(200)
        held.wait_until(lambda report: report.connections_opened == 16)
        load.wait_answers(500)
        victim = server.workers[0]
        os.kill(victim, signal.SIGKILL)
        counted = dropped_by(server, victim)
        load.wait_answers(500)
        wait_until(lambda: len(server.workers) == 2, 10, "a new worker")
        load.wait_until(lambda report: len(report.versions["1"].pids) == 3)
        held.join()
    failures = load.report.failures
    assert {failure.outcome for failure in failures} <= LOST
    # A new connection has no past: it may have been accepted by the victim, or not at all.
    assert {failure.served_by for failure in failures} <= {victim, None}
    # The victim counted what it had begun; what lay unread in its sockets it could not know.
    assert held.report.dropped <= counted <= held.report.dropped + load.report.dropped
    assert held.report.answered + held.report.dropped == 16


def test_a_master_survives_a_crash_loop_and_the_next_good_deploy_ends_it(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--workers", "2")
    server.tracebacks_expected = True
    directory.deploy("broken", before=BROKEN["os._exit at import"])
    server.reload_refused()
    for pid in server.workers:
        kill(pid, signal.SIGKILL)
    # Nobody is left to serve, and what is on disk does not boot: again and again, more and more slowly.
    server.wait_log(r"before it was ready.*respawning in", timeout=30, count=4)
    delays = [float(delay) for delay in re.findall(r"before it was ready.*respawning in ([\d.]+) s", server.log())]
    assert max(delays) > min(delays)
    assert server.process.poll() is None
    with Load(server.target, one_slow_request(4, 0.1)) as load:
        # They wait in the listener's queue, for the deploy that brings the workers back.
        load.wait_until(lambda report: report.connections_opened == 4)
        directory.deploy("2")
        server.reload()
        load.join()
    assert_nothing_dropped(load.report, "2")
    wait_until(lambda: len(children(server.pid)) == 2, 10, "two workers")


def test_a_worker_that_dies_while_it_drains_does_not_hold_the_reload_up(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--workers", "2")
    with Load(server.target, one_slow_request(8, 30.0)) as load:
        load.wait_until(lambda report: report.connections_opened == 8)
        load.wait_until(lambda report: report.now() > 0.5)
        old = server.workers
        directory.deploy("2")
        server.reload()
        for pid in old:
            kill(pid, signal.SIGKILL)  # one that held nothing has left already
        server.wait_drained()
        load.join()
    counts = re.findall(r"died by SIGKILL while it drained, (\d+) requests? dropped", server.log())
    assert sum(map(int, counts)) == load.report.dropped == 8
    with Load(server.target, get_and_post(8)) as load:
        load.wait_answers(50)
    assert_nothing_dropped(load.report, "2")


def test_a_successor_killed_while_it_boots_aborts_the_reload(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--workers", "2")
    with Load(server.target, get_and_post(16)) as load:
        load.wait_answers(50)
        old = set(server.workers)
        directory.deploy("2", before="import time\ntime.sleep(30)\n")
        server.hup()
        wait_until(lambda: len(server.workers) == 3, 10, "the successor was started")
        (successor,) = set(server.workers) - old
        os.kill(successor, signal.SIGKILL)
        assert "SIGKILL" in server.wait_reload("refused")
        directory.deploy("2")
        server.reload()
        load.wait_version("2")
    assert_nothing_dropped(load.report, "1", "2")


LAST_WORDS = """

import logging
import os
import signal

served = app
error_log = logging.getLogger("smoothserve.error")
error_log.info("imported")


async def app(scope, receive, send):
    if scope["type"] == "http" and scope["path"] == "/die":
        print("printed")
        error_log.error("last words")
        os.kill(os.getpid(), signal.SIGKILL)
    await served(scope, receive, send)
"""


@pytest.mark.parametrize("access_log", ["-", "access.log"])
def test_the_log_lines_of_a_worker_that_is_killed_are_not_lost(
    serve: Serve, directory: AppDirectory, access_log: str
) -> None:
    """Not one of those in the same packet as the request that kills it either."""
    directory.deploy("1", after=LAST_WORDS)
    server = serve(directory, "--workers", "1", "--access-log", "--access-logfile", access_log)
    clients = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(8)]
    requests = [
        b"".join(b"GET /echo/c%dr%d HTTP/1.1\r\nHost: x\r\n\r\n" % (client, number) for number in range(3))
        for client in range(8)
    ]
    requests[4] += b"GET /die HTTP/1.1\r\nHost: x\r\n\r\n"
    for client, row in zip(clients, requests, strict=True):
        client.sendall(row)
    answered = [number for client in clients for number in answers(client)]
    server.wait_log(r"died by SIGKILL, \d+ requests? dropped")
    for pattern in (r"\[INFO\] imported", r"\[ERROR\] last words", "printed"):
        server.wait_log(pattern)
    text = server.log() if access_log == "-" else (directory.path / access_log).read_text()
    logged = re.findall(r"GET /echo/(c\d+r\d+) ", text)
    assert len(set(answered)) == len(answered) >= 3
    assert sorted(set(answered) - set(logged)) == []
    assert len(set(logged)) == len(logged)


def answers(client: socket.socket) -> list[str]:
    """The paths that have been answered until the connection ended."""
    received = b""
    with client, contextlib.suppress(ConnectionResetError):
        while data := client.recv(65536):
            received += data
    return re.findall(r"c\d+r\d+", received.decode())
