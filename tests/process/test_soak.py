"""Twenty minutes of everything, with a reload every five seconds: nothing dropped, nothing grows, nothing is left.

`SOAK_SECONDS` says how long: `SOAK_SECONDS=90 pytest --full tests/process/test_soak.py`.
"""

import os
import re
import time
import urllib.request
from pathlib import Path

import pytest

from tests.load.runner import Load
from tests.process.fixtures import Serve
from tests.process.harness import Server
from tests.process.processes import wait_until
from tests.process.soak import (
    EXPECTED_ERROR,
    Watch,
    lowest,
    slope_per_minute,
    soak_directory,
    soak_traffic,
)
from tests.process.websockets import Numberings

SECONDS = float(os.environ.get("SOAK_SECONDS", "1200"))
RELOAD_INTERVAL = 5.0
#: A share of the time at the end without reloads: only now does a worker live long enough to be seen growing.
CALM = 0.2
LEAST_CALM = 8.0
#: What the allocator and the log of a long life may come to. A leak of a reload or a connection is far above.
MASTER_KIB_PER_MINUTE = 100.0
WORKERS_KIB_PER_MINUTE = 1500.0
#: Memory comes in steps, which make a slope of a short time meaningless: so much is no growth.
STEP_KIB = 1024.0
DEBUG_NOISE = re.compile(r"\bExecuting <|\btook \d+\.\d+ seconds|^poll .* took", re.MULTILINE)


@pytest.mark.full(only="3.13")
@pytest.mark.alone
@pytest.mark.timeout(SECONDS * 1.5 + 300)
@pytest.mark.parametrize(
    ("loop", "environ", "part"),
    [
        pytest.param("auto", {"PYTHONWARNINGS": "always"}, 1.0, id="auto"),
        # asyncio's debug mode sees coroutines that nobody awaits and calls from the wrong thread.
        pytest.param("asyncio", {"PYTHONDEVMODE": "1", "PYTHONWARNINGS": "always"}, 0.2, id="asyncio-debug"),
    ],
)
def test_a_long_run_of_everything_with_a_reload_every_five_seconds(
    serve: Serve, tmp_path: Path, loop: str, environ: dict[str, str], part: float
) -> None:
    directory = soak_directory(tmp_path / "app")
    server = serve(directory, "--workers", "2", "--loop", loop, environ=environ)
    server.tracebacks_expected = True
    tasks, watch = tasks_of(server), Watch(server)
    watch.sample()
    ends_at = time.monotonic() + SECONDS * part * (1 - CALM)
    version = 1
    with (
        Load(server.target, *soak_traffic()) as load,
        Numberings(server.port, 8, pause=0.2) as plain,
        Numberings(server.port, 4, compressed=True, split=True, lock_step=True, pause=0.2) as compressed,
    ):
        while time.monotonic() < ends_at:
            watch.during(RELOAD_INTERVAL)
            version += 1
            directory.write("version.txt", f"{version}\n")
            server.hup()
        load.wait_version(str(version), 120)
        for group in (plain, compressed):
            group.wait_version(str(version), 60)
        wait_until(lambda: is_settled(server.log()), 120, "the last reload is over, and its predecessors have left")
        workers, calm = server.workers, Watch(server)
        calm.during(max(LEAST_CALM, SECONDS * part * CALM))
    for group in (plain, compressed):
        group.assert_whole()
    report = load.report
    assert report.dropped == 0, report.render()
    assert (report.connections_closed_idle, report.connections_reset_after_close) == (0, 0)
    assert server.workers == workers, "no worker died or was replaced while nobody asked for it"

    everything_is_let_go(server, tasks)
    check_growth(watch, calm)
    check_log(server.log(), hups=version - 1)
    assert server.stop() == 0
    assert re.search(r"\] stopped: 0 requests dropped", server.log())


def is_settled(log: str) -> bool:
    """Whether no reload is in progress. HUPs that come amid one on a slow machine make one more in all, not each."""
    begun = re.findall(r"\] reload: generation (\d+) begins", log)
    finished = re.findall(r"\] reload finished: generation (\d+) ", log)
    return begun == finished and f"] reload drained: generation {begun[-1]} " in log


def tasks_of(server: Server) -> set[str]:
    """Return the tasks of a worker, each asked on a connection of its own."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/tasks/x", timeout=20) as answer:
        return set(answer.read().decode().splitlines()[1].split())


def everything_is_let_go(server: Server, tasks: set[str]) -> None:
    """Assert that no task and no connection is left in the workers once the clients have gone."""

    def only_those() -> bool:
        # Whoever asks may be met while its own connection is attached.
        return all(tasks_of(server) <= tasks | {"_attach"} for _ in range(10))

    wait_until(only_those, 30, f"workers with no tasks but {sorted(tasks)}: {sorted(tasks_of(server))}")


def check_growth(watch: Watch, calm: Watch) -> None:
    """Assert that memory and descriptors are flat; print what was measured."""
    master = lowest(watch.samples, "master_kib")
    late = master[len(master) // 4 :]
    growth = slope_per_minute(late)
    descriptors = watch.samples[0].master_descriptors, min(one.master_descriptors for one in calm.samples)
    processes = max(one.processes for one in watch.samples)
    half = calm.samples[len(calm.samples) // 2 :]
    workers = slope_per_minute([(one.at, one.workers_kib) for one in half])
    print(
        f"master: {master[0][1]:.0f} KiB at first, {master[-1][1]:.0f} KiB at last, {growth:+.1f} KiB a minute; "
        f"descriptors {descriptors[0]} at first, {descriptors[1]} at last; at most {processes} processes\n"
        f"workers without reloads: {half[0].workers_kib} KiB, {half[-1].workers_kib} KiB, {workers:+.1f} KiB a minute"
    )
    assert descriptors[1] <= descriptors[0]
    minutes = (late[-1][0] - late[0][0]) / 60
    assert growth * minutes < MASTER_KIB_PER_MINUTE * minutes + STEP_KIB, late
    minutes = (half[-1].at - half[0].at) / 60
    assert workers * minutes < WORKERS_KIB_PER_MINUTE * minutes + STEP_KIB, [one.workers_kib for one in half]
    assert processes <= 1 + 2 + 2 * 3


def check_log(log: str, hups: int) -> None:
    """Assert that every reload went well and nothing is in the log but what the application raised itself."""
    reloads = len(re.findall(r"\] reload finished: ", log))
    print(f"{hups} HUPs made {reloads} reloads")
    assert reloads >= hups / 4
    assert not re.findall(r"\] reload (?:refused|mixed).*", log)
    assert not re.findall(r"defect in smoothserve.*", log)
    ends = re.findall(r"^(\w[\w.]*(?:Error|Exception|Warning|Interrupt|Exit)\b.*)$", log, re.MULTILINE)
    assert set(ends) <= {EXPECTED_ERROR, "ConnectionError: the client left in the middle of its request"}
    quiet = [line for line in log.splitlines() if not DEBUG_NOISE.search(line)]
    warned = [line for line in quiet if re.search(r"Warning\b|never awaited|never retrieved|was destroyed", line)]
    assert not warned, warned[:10]
    loud = [line for line in quiet if re.search(r"\[(?:WARNING|CRITICAL)\]", line)]
    assert not loud, loud[:10]
