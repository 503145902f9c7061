"""Endless streams hold neither a reload nor a stop up, and retiring workers do not pile up."""

import contextlib
import time

import pytest

from tests.load.outcomes import Outcome
from tests.load.runner import Load
from tests.load.scenarios import event_streams, get_and_post
from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import assert_nothing_dropped
from tests.process.processes import wait_until


@pytest.mark.parametrize("workers", [1, 2])
def test_two_event_streams_are_held_through_five_reloads(serve: Serve, directory: AppDirectory, workers: int) -> None:
    server = serve(directory, "--workers", str(workers), "--max-draining", "2")
    versions = [str(number) for number in range(1, 7)]
    with Load(server.target, event_streams(2), get_and_post(8)) as load:
        load.wait_answers(50)
        holders = set(server.workers)
        for version in versions[1:]:
            directory.deploy(version)
            server.reload()
            load.wait_version(version)
            assert len(server.workers) <= workers + workers * 2
            # Workers without a stream are not in the way of those with one for long.
            wait_until(lambda: len(set(server.workers) - holders) <= workers, 30, "the others left")
    assert_nothing_dropped(load.report, *versions)
    assert load.report.by_scenario["events"] == {Outcome.OK: 2}


def test_retiring_workers_are_bounded_and_what_that_cuts_is_counted(serve: Serve, directory: AppDirectory) -> None:
    server = serve(
        directory, "--workers", "1", "--max-draining", "2", "--linger-timeout", "0.5", "--graceful-timeout", "1"
    )
    with contextlib.ExitStack() as stack:
        loads = []
        for number in range(1, 6):
            # A stream for each generation: its worker cannot leave while it is open.
            load = stack.enter_context(Load(server.target, event_streams(1)))
            loads.append(load)
            load.wait_until(lambda report: report.connections_opened == 1)
            version = str(number + 1)
            with Load(server.target, get_and_post(4)) as others:
                others.wait_answers(10)
                directory.deploy(version)
                server.reload()
                others.wait_version(version)
            assert others.report.dropped == 0
            wait_until(lambda: len(server.workers) <= 3, 30, "one worker that serves, two that drain")
        # Generations 1 to 3 had to make room, 4 and 5 still hold their streams.
        outcomes = [load.stop().outcomes for load in loads]
    assert outcomes[:3] == [{Outcome.TRUNCATED_BODY: 1}] * 3
    assert outcomes[3:] == [{Outcome.OK: 1}] * 2
    assert server.stop() == 0
    server.wait_log("stopped: 3 requests dropped")


@pytest.mark.parametrize("moment", ["while the new code boots", "after the swap"])
def test_term_in_a_reload_with_an_endless_stream_is_obeyed_within_the_graceful_timeout(
    serve: Serve, directory: AppDirectory, moment: str
) -> None:
    server = serve(directory, "--workers", "2", "--graceful-timeout", "2")
    with Load(server.target, event_streams(2)) as load:
        load.wait_until(lambda report: report.connections_opened == 2)
        if moment == "after the swap":
            server.reload()
        else:
            directory.deploy("2", before="import time\ntime.sleep(30)\n")
            server.hup()
            server.wait_log("reload: generation 2 begins")
            wait_until(lambda: len(server.workers) == 3, 10, "the successor was started")
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 2 + 8
        load.join()
    assert load.report.outcomes == {Outcome.TRUNCATED_BODY: 2}
    server.wait_log("stopped: 2 requests dropped")
