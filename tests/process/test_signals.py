"""The master's signals: what each does, under load where it matters."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.load.outcomes import Outcome
from tests.load.runner import Load
from tests.load.scenarios import get_and_post, new_connections, one_slow_request, streams, uploads
from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import Server, assert_nothing_dropped
from tests.process.processes import free_port, is_listening, wait_until


def wait_workers(server: Server, number: int) -> None:
    wait_until(lambda: len(server.workers) == number, 30, f"{number} workers")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_answers_all_in_hand_and_exits_with_zero(
    serve: Serve, directory: AppDirectory, number: signal.Signals
) -> None:
    server = serve(directory, "--workers", "2")
    in_hand = Load(server.target, one_slow_request(24, 1.5))
    with Load(server.target, get_and_post(24)) as load, in_hand:
        load.wait_answers(200)
        in_hand.wait_until(lambda report: report.connections_opened == 24)
        load.wait_answers(200)
        assert server.stop(number) == 0
    assert in_hand.report.outcomes == {Outcome.OK: 24}
    # The clients who go on find nobody to connect to, and that is all that happens to them.
    assert set(load.report.outcomes) == {Outcome.OK, Outcome.CONNECT_REFUSED}
    server.wait_log("stopped: 0 requests dropped")


def test_a_stop_waits_for_uploads_and_streams(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--workers", "2")
    with Load(server.target, uploads(8, parts=40), streams(8, parts=40)) as load:
        load.wait_until(lambda report: report.connections_opened >= 16)
        time.sleep(0.2)  # into the middle of them
        server.kill(signal.SIGTERM)
        load.stop()
        assert server.wait_exit() == 0
    refused = load.report.outcomes.pop(Outcome.CONNECT_REFUSED, 0)
    assert load.report.dropped == 0, load.report.render()
    assert load.report.answered == 16
    assert refused <= 16
    server.wait_log("stopped: 0 requests dropped")


@pytest.mark.parametrize("first", [None, signal.SIGINT], ids=["QUIT", "second INT"])
def test_quit_and_a_second_int_stop_at_once(
    serve: Serve, directory: AppDirectory, first: signal.Signals | None
) -> None:
    server = serve(directory, "--workers", "2")
    with Load(server.target, one_slow_request(4, 60.0)) as load:
        load.wait_until(lambda report: report.connections_opened == 4)
        wait_until(lambda: len(server.workers) == 2, 5, "two workers")
        if first is not None:
            server.kill(first)
            server.wait_log("stopping: INT")
        began = time.monotonic()
        assert server.stop(signal.SIGQUIT if first is None else signal.SIGINT) == 0
        assert time.monotonic() - began < 10
        load.join()
    assert load.report.answered == 0
    assert load.report.dropped == 4


@pytest.mark.parametrize("app", ["asgi_load", "wsgi_load"])
def test_term_to_the_whole_process_group_answers_all_that_is_in_hand(serve: Serve, tmp_path: Path, app: str) -> None:
    directory = AppDirectory(tmp_path / app, app=app)
    server = serve(directory, "--workers", "2", "--threads", "8")
    with Load(server.target, one_slow_request(12, 2.0, greet=True)) as load:
        load.wait_until(lambda report: report.answered == 12)
        greeted = load.report.now()
        load.wait_until(lambda report: report.now() > greeted + 0.3)
        os.killpg(server.session, signal.SIGTERM)
        load.join()
    assert load.report.outcomes == {Outcome.OK: 24}
    assert server.wait_exit() == 0
    server.wait_log("stopped: 0 requests dropped")


def test_signals_during_the_stop_do_not_change_its_end(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--workers", "2")
    with Load(server.target, one_slow_request(8, 1.0)) as load:
        load.wait_until(lambda report: report.connections_opened == 8)
        load.wait_until(lambda report: report.now() > 0.3)
        server.kill(signal.SIGTERM)
        while server.process.poll() is None:
            for number in (signal.SIGHUP, signal.SIGWINCH, signal.SIGTTIN, signal.SIGTERM, signal.SIGUSR1):
                os.killpg(server.session, number)
            time.sleep(0.001)
        load.join()
    assert load.report.outcomes == {Outcome.OK: 8}


def test_ttin_and_ttou_change_the_number_of_workers_and_drop_nothing(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--workers", "2")
    with Load(server.target, get_and_post(24), new_connections(4)) as load:
        for number, wanted in (
            (signal.SIGTTIN, 3),
            (signal.SIGTTIN, 4),
            (signal.SIGTTOU, 3),
            (signal.SIGTTOU, 2),
            (signal.SIGTTOU, 1),
        ):
            load.wait_answers(100)
            server.kill(number)
            wait_workers(server, wanted)
        directory.deploy("2")
        server.reload()
        load.wait_version("2")
        wait_until(lambda: len(server.workers) == 1, 30, "a reload keeps the number")
    assert_nothing_dropped(load.report, "1", "2")


def test_winch_without_a_terminal_rests_and_hup_brings_the_workers_back(serve: Serve, directory: AppDirectory) -> None:
    port = free_port()  # to be found again: a free port would be another one each time
    server = serve(directory, "--workers", "2", bind=f"127.0.0.1:{port}")
    with Load(server.target, one_slow_request(8, 1.0)) as load:
        load.wait_until(lambda report: report.connections_opened == 8)
        load.wait_until(lambda report: report.now() > 0.3)
        server.kill(signal.SIGWINCH)
        load.join()
    assert load.report.outcomes == {Outcome.OK: 8}
    wait_until(lambda: not server.workers and not is_listening(port), 30, "no workers, no listener")
    assert server.process.poll() is None
    directory.deploy("2")
    server.hup()
    server.wait_log(r"reload finished: generation \d+")
    with Load(server.target, get_and_post(8)) as load:
        load.wait_answers(50)
    assert_nothing_dropped(load.report, "2")


def test_term_to_a_worker_drains_it_and_another_takes_its_place(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--workers", "2")
    with Load(server.target, get_and_post(24), new_connections(4)) as load:
        load.wait_answers(100)
        old = server.workers
        for pid in old:
            before = set(server.workers)
            os.kill(pid, signal.SIGTERM)
            server.wait_gone([pid])
            wait_workers(server, 2)
            assert set(server.workers) - before
        load.wait_until(lambda report: len(report.versions["1"].pids) == 4)
    assert_nothing_dropped(load.report, "1")
    assert not set(old) & set(server.workers)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_usr1_and_usr2_disturb_nobody(serve: Serve, directory: AppDirectory, number: signal.Signals) -> None:
    server = serve(directory, "--workers", "2")
    with Load(server.target, get_and_post(8)) as load:
        load.wait_answers(50)
        workers = server.workers
        os.killpg(server.session, number)
        load.wait_answers(50)
        assert server.workers == workers
    assert_nothing_dropped(load.report, "1")
