"""Metrics come from a process beside the master, and go on through reloads and the deaths of workers and its own."""

import os
import re
import signal
import urllib.error
import urllib.request
from pathlib import Path

from smoothserve.errors import ExitCode
from tests.load.runner import Load
from tests.load.scenarios import get_and_post
from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import Server
from tests.process.processes import children, wait_until


def metrics(server: Server) -> dict[str, float]:
    """Return the samples by name and labels; none while nobody answers."""
    url = server.wait_log(r"metrics at (http\S+)")[1]
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            lines = answer.read().decode().splitlines()
    except (urllib.error.URLError, ConnectionError):
        return {}
    samples = {}
    for line in lines:
        if not line.startswith("#"):
            assert re.fullmatch(r'[a-z_]+(\{([a-z]+="[^"]*",?)*\})? [0-9.e+-]+', line), line
            name, _, value = line.rpartition(" ")
            samples[name] = float(value)
    return samples


def side_process(server: Server) -> int:
    found = [pid for pid in children(server.pid) if b"smoothserve.metrics" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return found[0] if found else 0


def test_metrics_add_up_through_reloads_and_deaths(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--metrics-bind", "127.0.0.1:0")
    with Load(server.target, get_and_post(2)) as load:
        load.wait_answers(50)
    answered = load.report.answered
    wait_until(lambda: metrics(server).get("smoothserve_requests_total", 0) >= answered, 20, "all requests counted")
    before = metrics(server)["smoothserve_requests_total"]
    server.reload()
    server.wait_drained()
    after = metrics(server)
    assert after["smoothserve_requests_total"] >= before
    assert after["smoothserve_dropped_total"] == 0
    assert after['smoothserve_reloads_total{result="finished"}'] == 1
    assert after["smoothserve_generation"] == 2
    os.kill(side_process(server), signal.SIGKILL)
    server.wait_log("smoothserve.metrics has ended: it is started again")
    wait_until(lambda: metrics(server).get("smoothserve_requests_total", 0) >= before, 30, "metrics again")


def test_the_metrics_process_ends_with_a_master_that_is_killed(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--metrics-bind", "127.0.0.1:0")
    wait_until(lambda: metrics(server), 20, "metrics")
    pids = [side_process(server), *server.workers]
    server.exit_code_expected = -signal.SIGKILL
    server.kill(signal.SIGKILL)
    server.wait_gone(pids)


def test_an_address_for_metrics_that_is_in_use_is_one_line(serve: Serve, directory: AppDirectory) -> None:
    first = serve(directory)
    second = serve(directory, "--metrics-bind", f"127.0.0.1:{first.port}", wait=False)
    second.exit_code_expected = ExitCode.BIND_FAILED
    assert second.wait_exit() == ExitCode.BIND_FAILED
    assert "in use" in second.log().splitlines()[-1]
