"""Signals in a storm collapse into few reloads, and the workers, who get them too, do not mind."""

import os
import re
import signal
import time

from tests.load.runner import Load
from tests.load.scenarios import get_and_post, new_connections
from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import Server, assert_nothing_dropped
from tests.process.processes import kill, wait_until


def begun(server: Server) -> int:
    # A HUP during the boot of the first successor begins the same generation afresh.
    return len(set(re.findall(r"\] reload: generation (\d+) begins", server.log())))


def ended(server: Server) -> int:
    return len(re.findall(r"\] reload (?:finished|refused|mixed): ", server.log()))


def wait_all_ended(server: Server, load: Load) -> None:
    """Wait until all reloads are over: one that ends may begin the next in the same step, a moment later in the log."""
    over = False
    while not over:
        wait_until(lambda: 0 < begun(server) == ended(server), 60, "the reloads are over")
        load.wait_answers(100)
        over = begun(server) == ended(server)


def test_fifty_hups_to_the_whole_process_group_make_few_reloads_and_drop_nothing(
    serve: Serve, directory: AppDirectory
) -> None:
    server = serve(directory, "--workers", "2")
    with Load(server.target, get_and_post(32), new_connections(4)) as load:
        load.wait_answers(100)
        directory.deploy("2")
        for _ in range(50):
            os.killpg(server.pid, signal.SIGHUP)
            load.wait_answers(5)
        wait_all_ended(server, load)
        server.generation += begun(server)
        load.wait_version("2")
        directory.deploy("3")
        server.reload()
        load.wait_version("3")
    assert_nothing_dropped(load.report, "1", "2", "3")
    assert "died by" not in server.log()
    assert begun(server) <= 6


def test_hups_at_the_very_start_of_a_worker_do_not_kill_it(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--workers", "2")
    with Load(server.target, get_and_post(8)) as load:
        load.wait_answers(50)
        server.hup()
        # Until the new interpreter runs, and long before it has imported anything, there is a HUP at every moment.
        wait_until(lambda: len(server.workers) > 2, 10, "a successor was started")
        deadline = time.monotonic() + 60
        while ended(server) == 0 and begun(server) < 3:
            assert time.monotonic() < deadline, "the reload does not end"
            for pid in server.workers:
                kill(pid, signal.SIGHUP)
                kill(pid, signal.SIGINT)
        wait_all_ended(server, load)
    assert_nothing_dropped(load.report, "1")
    assert "died by" not in server.log()
    assert "refused" not in server.log()
