"""A master that is killed: its workers close their listeners, finish what they have in hand, and leave."""

import signal

from tests.load.outcomes import Outcome
from tests.load.runner import Load
from tests.load.scenarios import event_streams, get_and_post, one_slow_request
from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import assert_nothing_dropped


def test_workers_of_a_killed_master_drain_and_leave_and_a_new_master_binds_at_once(
    serve: Serve, directory: AppDirectory
) -> None:
    first = serve(directory, "--workers", "2")
    first.exit_code_expected = -signal.SIGKILL
    workers = first.workers
    with Load(first.target, one_slow_request(16, 2.0)) as load:
        load.wait_until(lambda report: report.connections_opened == 16)
        load.wait_until(lambda report: report.now() > 0.5)
        first.kill(signal.SIGKILL)
        directory.deploy("2")
        # While the old workers still answer what they have in hand.
        second = serve(directory, "--workers", "2", bind=f"127.0.0.1:{first.port}")
        with Load(second.target, get_and_post(8)) as others:
            others.wait_answers(50)
        assert_nothing_dropped(others.report, "2")
        load.join()
    assert load.report.outcomes == {Outcome.OK: 16}
    first.wait_gone(workers)


def test_workers_of_a_killed_master_leave_within_the_graceful_timeout_whatever_is_open(
    serve: Serve, directory: AppDirectory
) -> None:
    server = serve(directory, "--workers", "2", "--graceful-timeout", "1")
    server.exit_code_expected = -signal.SIGKILL
    workers = server.workers
    with Load(server.target, event_streams(2)) as load:
        load.wait_until(lambda report: report.connections_opened == 2)
        server.kill(signal.SIGKILL)
        server.wait_gone(workers, timeout=1 + 10)
        load.join()
    assert load.report.outcomes == {Outcome.TRUNCATED_BODY: 2}


def test_a_master_killed_in_the_middle_of_a_reload_leaves_nobody_behind(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--workers", "2")
    server.exit_code_expected = -signal.SIGKILL
    server.tracebacks_expected = True
    directory.deploy("2", before="import time\ntime.sleep(1)\n")
    with Load(server.target, one_slow_request(8, 1.5)) as load:
        load.wait_until(lambda report: report.connections_opened == 8)
        server.hup()
        server.wait_log("reload: generation 2 begins")
        workers = server.workers
        server.kill(signal.SIGKILL)
        load.join()
    assert load.report.dropped == 0
    server.wait_gone(workers)
