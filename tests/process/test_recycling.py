"""Workers are replaced after a number of requests, and nobody notices: successor first, connections handed over."""

import re

import pytest

from tests.load.runner import Load
from tests.load.scenarios import get_and_post, slow_requests
from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import Server, assert_nothing_dropped
from tests.process.idle import IdleClients
from tests.process.processes import wait_until

QUICK = ("--soak-interval", "0")
BUSY = 48
#: What is left of the machine is for the workers that boot.
THINKING = (0.02, 0.06)
RECYCLED = r"\] recycled: worker (\d+) .*, (\d+) requests \(--max-requests\): worker (\d+) has taken its place in"


def recycled(server: Server) -> list[tuple[int, int, int]]:
    """Return (worker, requests, successor) for each recycle that the log tells of."""
    return [(int(one[1]), int(one[2]), int(one[3])) for one in re.finditer(RECYCLED, server.log())]


@pytest.mark.parametrize("recycles", [pytest.param(6, id="6"), pytest.param(40, id="40", marks=pytest.mark.full)])
def test_workers_are_recycled_under_load_and_no_connection_is_closed(
    serve: Serve, directory: AppDirectory, recycles: int
) -> None:
    # Forty recycles may take longer than an idle connection is kept.
    kept = ("--keep-alive-timeout", "600")
    server = serve(directory, "--workers", "2", "--max-requests", "200", "--max-requests-jitter", "50", *kept, *QUICK)
    with (
        Load(server.target, get_and_post(BUSY, THINKING), slow_requests(4, (0.2, 0.6))) as load,
        IdleClients(server.target, 50) as idle,
    ):
        server.wait_log(RECYCLED, timeout=60 + 5 * recycles, count=recycles)
        assert sum(idle.ask().values()) == 50
        assert idle.lost == 0
    assert_nothing_dropped(load.report, "1")
    assert load.report.connections_opened == BUSY + 4
    seen = recycled(server)
    assert all(requests >= 200 for _, requests, _ in seen)
    assert len({worker for worker, _, _ in seen}) == len(seen), "a worker was recycled twice"
    assert "ERROR" not in server.log()


def test_a_recycle_whose_successor_does_not_boot_costs_nothing_and_is_tried_again(
    serve: Serve, directory: AppDirectory
) -> None:
    server = serve(directory, "--workers", "1", "--max-requests", "10", *QUICK)
    server.tracebacks_expected = True
    directory.deploy("2", before="raise RuntimeError('broken on disk')\n")
    (old,) = server.workers
    with Load(server.target, get_and_post(4, THINKING)) as load:
        server.wait_log(r"recycle failed: .*RuntimeError: broken on disk; worker 1 serves on, trying again in 1 s")
        server.wait_log(r"recycle failed: .* trying again in 2 s")
        assert old in server.workers
        directory.deploy("3")
        server.wait_log(RECYCLED)
        load.wait_version("3")
    assert_nothing_dropped(load.report, "1", "3")
    assert load.report.connections_opened == 4


def test_reloads_amid_recycling_drop_nothing(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--workers", "2", "--max-requests", "100", *QUICK)
    with Load(server.target, get_and_post(16, THINKING)) as load:
        for version in ("2", "3"):
            server.wait_log(r"\] recycle: worker", count=int(version) - 1)
            directory.deploy(version)
            server.reload()
            load.wait_version(version)
        server.wait_log(RECYCLED)
    assert_nothing_dropped(load.report, "1", "2", "3")
    assert load.report.connections_opened == 16


def test_a_worker_that_has_not_served_its_number_stays(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--workers", "1", "--max-requests", "1000000", *QUICK)
    workers = server.workers
    with Load(server.target, get_and_post(4)) as load:
        load.wait_until(lambda report: report.now() > 1.5)
    assert server.workers == workers
    wait_until(lambda: "recycle" not in server.log(), 1, "nothing is said of recycling")


def test_a_worker_that_is_old_or_large_is_replaced(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--max-worker-lifetime", "1")
    server.wait_log(r"recycled: worker 1 .*, \d+ s of life \(--max-worker-lifetime\): worker 2 has taken its place", 60)
    server.stop()
    large = serve(directory, "--max-memory", "1")
    large.wait_log(r"recycled: worker 1 .*, \d+ MiB resident \(--max-memory\): worker 2 has taken its place", 60)


def test_workers_of_the_same_age_are_replaced_one_after_the_other(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--workers", "3", "--max-worker-lifetime", "1", *QUICK)
    with Load(server.target, get_and_post(4, THINKING)) as load:
        server.wait_log(r"\] recycled: worker", 90, count=3)
    assert_nothing_dropped(load.report, "1")
    steps = re.findall(r"\] (recycled?): worker", server.log())
    assert steps[:6] == ["recycle", "recycled"] * 3
