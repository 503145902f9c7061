"""A reload closes no connection: each is handed over as it is, to new code, and its client sees nothing."""

import itertools
import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.load.answers import AnswerReader
from tests.load.connection import Target
from tests.load.runner import Load
from tests.load.scenarios import get_and_post, idle_clients, pipelined, slow_rows
from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import Server, assert_nothing_dropped
from tests.process.idle import IdleClients
from tests.process.nginx import Nginx, find_nginx
from tests.process.processes import connections_to, open_count, wait_until

#: What is tested begins where the watching of the first successor ends.
QUICK = ("--soak-interval", "0.1")
#: Seconds between two requests where the machine is to have something left for the workers that boot.
THINKING = (0.01, 0.05)
BUSY = 48
SELDOM = 16
#: Five seconds between two requests, so that whole reloads fall into the gap.
SELDOM_ASKING = get_and_post(SELDOM, (5.0, 5.0), "seldom")
#: What is added to the application: it says when its newest worker had loaded it, on the clock of all processes.
SAYS_WHEN = """

import pathlib
import time

pathlib.Path("loaded.txt").write_text(str(time.monotonic()))
"""
#: Reloads, codec, loop, and what a reload may take from the last successor's readiness on. That is a second; the
#: shorter variant shares the machine with other tests.
VARIANTS = [
    pytest.param(4, "auto", "auto", 5.0, id="4"),
    *(
        pytest.param(20, http, loop, 1.0, id=f"20-{http}-{loop}", marks=[pytest.mark.full, pytest.mark.alone])
        for http in ("httptools", "h11")
        for loop in ("uvloop", "asyncio")
    ),
]


def reload_and_see_the_old_code_end(server: Server, load: Load, old: str, new: str) -> float:
    """Reload; after the closing line the old version answers what it has in hand and nothing more.

    Return the seconds from the moment at which the last successor had loaded the application to that line.
    """
    server.reload()
    took = time.monotonic() - float((server.directory / "loaded.txt").read_text())
    load.wait_version(new)
    load.wait_answers(2 * BUSY)
    before = load.report.versions[old].answers
    load.wait_answers(4 * BUSY)
    assert load.report.versions[old].answers == before, f"version {old} still answers after the reload"
    return took


def reloads_keep_connections(
    directory: AppDirectory, server: Server, target: Target, reloads: int, seconds: float
) -> None:
    versions = [str(number + 1) for number in range(reloads + 1)]
    with Load(target, get_and_post(BUSY), SELDOM_ASKING) as load:
        load.wait_until(lambda report: report.connections_opened == BUSY + SELDOM)
        load.wait_answers(10 * BUSY)
        for old, new in itertools.pairwise(versions):
            directory.deploy(new, after=SAYS_WHEN)
            took = reload_and_see_the_old_code_end(server, load, old, new)
            assert took < seconds, f"the reload took {took:.2f} s from the last successor's readiness on"
    assert_nothing_dropped(load.report, *versions)
    assert load.report.connections_opened == BUSY + SELDOM
    assert sum(load.report.by_scenario["seldom"].values()) > SELDOM, "those that ask seldom asked once only"
    assert handed_over(server)[-1] == BUSY + SELDOM
    server.wait_drained()


def handed_over(server: Server) -> list[int]:
    """Return what the closing lines of the reloads say of connections."""
    return [int(number) for number in re.findall(r"(\d+) connections? handed over", server.log())]


@pytest.mark.parametrize(("reloads", "http", "loop", "seconds"), VARIANTS)
def test_busy_and_idle_clients_keep_their_connection_through_reloads(
    serve: Serve, directory: AppDirectory, reloads: int, http: str, loop: str, seconds: float
) -> None:
    server = serve(directory, "--workers", "2", "--http", http, "--loop", loop, *QUICK)
    reloads_keep_connections(directory, server, server.target, reloads, seconds)


def test_connections_move_between_asyncio_and_uvloop_and_between_the_codecs(
    serve: Serve, directory: AppDirectory
) -> None:
    directory.write("smoothserve.toml", 'loop = "uvloop"\nhttp = "httptools"\n')
    server = serve(directory, "--workers", "2", "--config", "smoothserve.toml", *QUICK)
    with Load(server.target, get_and_post(16)) as load:
        load.wait_answers(100)
        for number, (loop, http) in enumerate([("asyncio", "h11"), ("uvloop", "h11"), ("asyncio", "httptools")]):
            directory.write("smoothserve.toml", f'loop = "{loop}"\nhttp = "{http}"\n')
            directory.deploy(str(number + 2))
            server.reload()
            load.wait_version(str(number + 2))
            load.wait_answers(100)
    assert_nothing_dropped(load.report, "1", "2", "3", "4")
    assert load.report.connections_opened == 16


def test_connections_on_a_unix_socket_stay_open_through_reloads(
    serve: Serve, directory: AppDirectory, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # A directory of its own: the path of a unix socket is short.
    path = tmp_path_factory.mktemp("s") / "s"
    server = serve(directory, "--workers", "2", *QUICK, bind=f"unix:{path}")
    with Load(server.target, get_and_post(BUSY, THINKING)) as load, IdleClients(server.target, 100) as idle:
        for version in ("2", "3"):
            directory.deploy(version)
            server.reload()
            load.wait_version(version)
        assert idle.versions() == {"3": 100}
    assert_nothing_dropped(load.report, "1", "2", "3")
    assert load.report.connections_opened == BUSY


def test_pipelining_clients_keep_their_connection_and_what_they_have_sent(
    serve: Serve, directory: AppDirectory
) -> None:
    server = serve(directory, "--workers", "2", *QUICK)
    with Load(server.target, pipelined(12, think=THINKING), slow_rows(12)) as load:
        load.wait_answers(200)
        for version in ("2", "3"):
            directory.deploy(version)
            server.reload()
            load.wait_version(version)
            load.wait_answers(200)
    assert_nothing_dropped(load.report, "1", "2", "3")
    assert load.report.connections_opened == 24


@pytest.mark.skipif(find_nginx() is None, reason="nginx is not installed")
def test_nginx_keeps_its_upstream_connections_through_reloads(
    serve: Serve, directory: AppDirectory, tmp_path: Path
) -> None:
    server = serve(directory, "--workers", "2", *QUICK)
    with Nginx(tmp_path / "nginx", server.target) as nginx:
        with Load(nginx.target, get_and_post(BUSY, THINKING)) as load:
            load.wait_version("1")
            load.wait_answers(20 * BUSY)
            kept = connections_to(server.port)
            for version in ("2", "3"):
                directory.deploy(version)
                server.reload()
                load.wait_version(version)
                load.wait_answers(10 * BUSY)
            assert kept <= connections_to(server.port), "nginx has lost connections that it had kept"
        assert_nothing_dropped(load.report, "1", "2", "3")
        assert nginx.complaints() == ""


@pytest.mark.parametrize("http", ["h11", "httptools"])
def test_a_client_in_the_middle_of_a_head_moves_with_what_it_has_sent(
    serve: Serve, directory: AppDirectory, http: str
) -> None:
    server = serve(directory, "--workers", "1", "--http", http, *QUICK)
    with IdleClients(server.target, 1) as client:
        (sock,) = client.connections
        sock.sendall(b"GET /echo/half HTTP/1.1\r\nHost: a\r\nX-Long: begun")
        # Its bytes are with the worker, not in the kernel: it answers what came after them.
        with IdleClients(server.target, 1) as later:
            later.ask()
        directory.deploy("2")
        server.reload()
        sock.sendall(b" and ended\r\n\r\n")
        reader = AnswerReader()
        while not reader.answers or not reader.answers[0].complete:
            data = sock.recv(65536)
            assert data, "the connection was closed in the middle of the head"
            reader.receive_data(data)
        assert reader.answers[0].body.split()[0] == b"2"
        assert not reader.answers[0].closes
        server.wait_drained()
        assert client.versions() == {"2": 1}


# many connections


@pytest.mark.parametrize(
    ("count", "seconds", "latency"),
    [
        pytest.param(2_000, 2.0, None, id="2000", marks=pytest.mark.alone),
        pytest.param(2_000, 2.0, 0.25, id="2000-latency", marks=[pytest.mark.full, pytest.mark.alone]),
        pytest.param(10_000, 15.0, None, id="10000", marks=pytest.mark.full),
    ],
)
def test_thousands_of_idle_connections_move_while_others_are_served(
    serve: Serve, directory: AppDirectory, count: int, seconds: float, latency: float | None
) -> None:
    server = serve(directory, "--workers", "1", *QUICK)
    (old,) = server.workers
    with IdleClients(server.target, count) as idle, Load(server.target, get_and_post(4, (0.01, 0.03))) as load:
        load.wait_answers(20)
        directory.deploy("2")
        server.hup()
        wait_until(lambda: open_count(old) < count, 30, "the handover began")
        began = time.monotonic()
        wait_until(lambda: open_count(old) < 100, 60, "the connections moved")
        took = time.monotonic() - began
        server.wait_reload("finished")
        load.wait_version("2")
        load.wait_answers(50)
        slowest = max(load.report.latencies)
        assert idle.versions() == {"2": count}
        assert idle.lost == 0
    assert_nothing_dropped(load.report, "1", "2")
    assert load.report.connections_opened == 4
    assert took < seconds, f"{count} connections took {took:.2f} s"
    if latency is not None:
        assert slowest < latency


# scaling down, workers that leave


def test_ttou_hands_connections_over_to_the_siblings(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--workers", "3", *QUICK)
    with Load(server.target, get_and_post(16)) as load:
        # By then each worker knows its siblings, and leaves them their share.
        load.wait_until(lambda report: report.now() > 1.5)
        with IdleClients(server.target, 300) as idle:
            holders = {pid for _, pid in idle.ask()}
            for workers in (2, 1):
                server.kill(signal.SIGTTOU)
                wait_workers(server, workers)
                answers = idle.ask()
                assert {pid for _, pid in answers} <= set(server.workers)
                assert sum(answers.values()) == 300
                load.wait_answers(50)
            assert not holders <= set(server.workers), "no connection had to move"
    assert_nothing_dropped(load.report, "1")
    assert load.report.connections_opened == 16


def wait_workers(server: Server, number: int) -> None:
    wait_until(lambda: len(server.workers) == number, 20, f"{number} workers are left")


def test_a_worker_that_gets_term_hands_its_connections_over_to_its_siblings(
    serve: Serve, directory: AppDirectory
) -> None:
    server = serve(directory, "--workers", "2", *QUICK)
    with IdleClients(server.target, 200) as idle, Load(server.target, get_and_post(16)) as load:
        (_, victim), _ = idle.ask().most_common(1)[0]
        os.kill(victim, signal.SIGTERM)
        server.wait_gone([victim])
        assert sum(idle.ask().values()) == 200
        load.wait_answers(50)
    assert_nothing_dropped(load.report, "1")
    assert load.report.connections_opened == 16


def test_a_worker_that_gets_term_keeps_its_connections_until_the_master_names_its_siblings(
    serve: Serve, directory: AppDirectory
) -> None:
    server = serve(directory, "--workers", "2", *QUICK)
    with IdleClients(server.target, 100) as idle, Load(server.target, get_and_post(16)) as load:
        (_, victim), _ = idle.ask().most_common(1)[0]
        server.kill(signal.SIGSTOP)
        try:
            os.kill(victim, signal.SIGTERM)
            for _ in range(5):
                load.wait_answers(100)
                assert victim in {pid for _, pid in idle.ask()}
        finally:
            server.kill(signal.SIGCONT)
        server.wait_gone([victim])
        assert sum(idle.ask().values()) == 100
        load.wait_answers(50)
    assert idle.lost == 0
    assert_nothing_dropped(load.report, "1")
    assert load.report.connections_opened == 16


def test_a_worker_that_gets_term_and_has_no_sibling_hands_over_to_the_one_that_replaces_it(
    serve: Serve, directory: AppDirectory
) -> None:
    server = serve(directory, "--workers", "1", *QUICK)
    directory.deploy("2", before="import time\ntime.sleep(1.0)\n")
    with IdleClients(server.target, 100) as idle, Load(server.target, get_and_post(8)) as load:
        (victim,) = server.workers
        os.kill(victim, signal.SIGTERM)
        server.wait_gone([victim])
        assert idle.versions() == {"2": 100}
        load.wait_answers(50)
    assert idle.lost == 0
    assert_nothing_dropped(load.report, "1", "2")
    assert load.report.connections_opened == 8


@pytest.mark.full
def test_clients_that_are_idle_for_any_time_notice_no_reload(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--workers", "2", *QUICK)
    with Load(server.target, idle_clients(64, 2.0)) as load:
        load.wait_until(lambda report: report.connections_opened == 64)
        for number in range(4):
            directory.deploy(str(number + 2))
            server.reload()
        load.wait_version("5")
    assert load.report.dropped == 0, load.report.render()
    assert load.report.connections_closed_idle == 0
    assert load.report.connections_opened == 64
