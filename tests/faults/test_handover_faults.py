"""Who dies, stops or runs out in the middle of a handover costs what it had acknowledged, and nothing else.

Each fault happens at an exact step: a trap in the worker's code (`tests.process.hooks`), sprung by the first that
comes by. The step is then certain, not a matter of luck and of the machine's speed.
"""

import signal
from pathlib import Path

import pytest

from tests.faults.traps import (
    AFTER_ACCEPTING,
    AMID,
    AMID_AFTER_ACK,
    AMID_BEFORE_ACK,
    BEFORE_RECEIVING,
    CONNECTIONS,
    EATS,
    FORKED_AND_KILLED,
    IMPATIENT,
    KILLED,
    NOTHING_KEPT_FREE,
    OFFERS_QUEUED,
    QUICK,
    STOPPED,
    Faulty,
    tells_master,
)
from tests.load.runner import Load
from tests.load.scenarios import get_and_post, one_slow_request
from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import assert_nothing_dropped
from tests.process.hooks import Hooks
from tests.process.idle import IdleClients
from tests.process.processes import is_running, open_count, wait_until

# the successor dies


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.full)])
@pytest.mark.parametrize(
    ("step", "lost"),
    [
        pytest.param(BEFORE_RECEIVING, 0, id="before it takes the channel up"),
        pytest.param(AFTER_ACCEPTING, 0, id="right after it accepts"),
        pytest.param(AMID_BEFORE_ACK, AMID, id="between an offer and its answer"),
        pytest.param(AMID_AFTER_ACK, AMID, id="after an answer"),
    ],
)
def test_a_successor_killed_amid_the_handover_costs_what_it_had_acknowledged_and_the_slot_is_swapped_again(
    serve: Serve, directory: AppDirectory, tmp_path: Path, step: str, lost: int, workers: int
) -> None:
    faulty = Faulty(serve, directory, tmp_path, KILLED + step, workers)
    server = faulty.server
    with IdleClients(server.target, CONNECTIONS) as idle:
        faulty.begin_reload()
        server.wait_log(r"died by SIGKILL.*amid the handover: worker \d+ of generation 1 serves on")
        idle.ask()
        assert idle.lost == lost
        server.wait_reload("finished")
        server.wait_drained()
        assert idle.versions() == {"2": CONNECTIONS - lost}
        assert idle.lost == lost
        with Load(server.target, get_and_post(8)) as load:
            load.wait_answers(50)
    assert_nothing_dropped(load.report, "2")


def test_a_successor_killed_amid_the_handover_is_known_to_be_dead_even_if_a_child_of_its_lives_on(
    serve: Serve, directory: AppDirectory, tmp_path: Path
) -> None:
    faulty = Faulty(serve, directory, tmp_path, FORKED_AND_KILLED + AMID_BEFORE_ACK)
    server = faulty.server
    with IdleClients(server.target, CONNECTIONS) as idle:
        faulty.begin_reload()
        server.wait_reload("finished", timeout=10)
        server.wait_drained()
        assert idle.versions(timeout=5) == {"2": CONNECTIONS - AMID}
        assert idle.lost == AMID


def test_a_successor_that_is_killed_twice_ends_the_reload_and_the_predecessor_serves_on(
    serve: Serve, directory: AppDirectory, tmp_path: Path
) -> None:
    faulty = Faulty(serve, directory, tmp_path, KILLED + AMID_BEFORE_ACK)
    server = faulty.server
    with IdleClients(server.target, CONNECTIONS) as idle:
        faulty.begin_reload()
        faulty.hooks.set_trap()
        server.wait_log("reload refused: generation 2: .*; 1 worker of generation 1 serves on")
        assert faulty.hooks.sprung()
        assert idle.versions() == {"1": CONNECTIONS - 2 * AMID}
        with IdleClients(server.target, 5) as fresh:
            assert fresh.versions() == {"1": 5}, "the predecessor accepts again"
        directory.deploy("3")
        server.generation = 2
        server.reload()
        assert idle.versions() == {"3": CONNECTIONS - 2 * AMID}
        assert idle.lost == 2 * AMID


# the predecessor dies


def test_a_predecessor_killed_with_offers_in_the_queue_costs_what_it_still_owned(
    serve: Serve, directory: AppDirectory, tmp_path: Path
) -> None:
    faulty = Faulty(serve, directory, tmp_path, KILLED + OFFERS_QUEUED)
    server = faulty.server
    with IdleClients(server.target, CONNECTIONS) as idle:
        faulty.begin_reload()
        server.wait_reload("finished")
        # What it had offered is taken over without it; what it had not is gone with it.
        answers = idle.versions()
        assert set(answers) == {"2"}
        assert answers["2"] >= 8
        assert idle.lost == CONNECTIONS - answers["2"]
        assert idle.versions() == answers
    server.wait_log("died by SIGKILL while it drained, 0 requests dropped")


# the successor stops, or is out of something


def test_a_successor_stopped_amid_the_handover_is_killed_and_nothing_else_is_lost(
    serve: Serve, directory: AppDirectory, tmp_path: Path
) -> None:
    faulty = Faulty(serve, directory, tmp_path, STOPPED + AMID_BEFORE_ACK)
    server = faulty.server
    with IdleClients(server.target, CONNECTIONS) as idle:
        faulty.begin_reload()
        server.wait_log("answers no offers of worker 1: killed, to know who owns what", timeout=20)
        server.wait_reload("finished")
        server.wait_drained()
        assert idle.versions() == {"2": CONNECTIONS - AMID}
        assert idle.lost == AMID


def test_a_successor_out_of_descriptors_refuses_and_the_predecessor_serves_on(
    serve: Serve, directory: AppDirectory
) -> None:
    server = serve(directory, "--workers", "1", "--linger-timeout", "1", *QUICK)
    with IdleClients(server.target, CONNECTIONS) as idle:
        directory.deploy("2", before="import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n")
        server.reload()
        # Refused for the moment only: they are offered again and again, and answered in between.
        for _ in range(3):
            answers = idle.versions()
            assert answers["1"] > CONNECTIONS - 64
            assert answers["2"] > 0
        directory.deploy("3")
        server.reload()
        server.wait_drained()
        server.wait_log("reload drained: generation 2")
        assert idle.lost == 0
        assert idle.versions() == {"3": CONNECTIONS}


def test_an_offer_whose_descriptor_the_kernel_cannot_give_is_refused_and_nothing_is_lost(
    serve: Serve, directory: AppDirectory, tmp_path: Path
) -> None:
    hooks = Hooks(tmp_path / "hooks", NOTHING_KEPT_FREE)
    hooks.set_trap()
    server = serve(directory, "--workers", "1", "--linger-timeout", "1", *QUICK, environ=hooks.environ)
    with IdleClients(server.target, CONNECTIONS) as idle:
        directory.deploy("2", before="import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n")
        server.reload()
        wait_until(hooks.sprung, 20, "a message has come without its descriptor (MSG_CTRUNC)")
        answers = idle.versions()
        assert answers["1"] > CONNECTIONS - 64
        assert answers["2"] > 0
        directory.deploy("3")
        server.reload()
        server.wait_drained()
        server.wait_log("reload drained: generation 2")
        assert idle.lost == 0
        assert idle.versions() == {"3": CONNECTIONS}


def test_a_predecessor_out_of_descriptors_hands_its_connections_over_all_the_same(
    serve: Serve, directory: AppDirectory
) -> None:
    directory.deploy("1", after=EATS)
    server = serve(directory, "--workers", "1", *QUICK)
    with IdleClients(server.target, 40) as idle:
        idle.connections[0].sendall(b"GET /eat HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"eaten" in idle.connections[0].recv(65536)
        directory.deploy("2")
        server.reload()
        server.wait_drained()
        assert idle.versions() == {"2": 40}
        assert idle.lost == 0
    assert "no descriptor" not in server.log()


def test_a_successor_that_is_short_of_descriptors_keeps_some_for_itself_and_says_so(
    serve: Serve, directory: AppDirectory
) -> None:
    server = serve(directory, "--workers", "1", "--linger-timeout", "1", *QUICK)
    with IdleClients(server.target, CONNECTIONS) as idle:
        directory.deploy("2", before="import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))\n")
        server.reload()
        (new,) = set(server.workers[1:])
        server.wait_log(rf"\[{new}\] \[WARNING\] short of descriptors: connections stay with the worker")
        wait_until(lambda: idle.versions().get("2", 0) > 50, 20, "it has taken what it can")
        assert open_count(new) <= 128 - 16
        assert server.log().count("short of descriptors") == 1
        assert idle.lost == 0


def test_a_successor_stopped_before_it_greets_is_killed_and_nothing_is_lost(
    serve: Serve, directory: AppDirectory, tmp_path: Path
) -> None:
    faulty = Faulty(serve, directory, tmp_path, IMPATIENT + STOPPED + BEFORE_RECEIVING)
    server = faulty.server
    with IdleClients(server.target, CONNECTIONS) as idle:
        faulty.begin_reload()
        server.wait_log("answers no offers of worker 1: killed")
        server.wait_reload("finished")
        server.wait_drained()
        assert idle.versions() == {"2": CONNECTIONS}
        assert idle.lost == 0


# the master dies, or is told something


def test_a_master_killed_amid_the_handover_loses_no_request(
    serve: Serve, directory: AppDirectory, tmp_path: Path
) -> None:
    faulty = Faulty(serve, directory, tmp_path, tells_master(signal.SIGKILL) + AMID_BEFORE_ACK)
    server = faulty.server
    server.exit_code_expected = -signal.SIGKILL
    workers = server.workers
    with (
        IdleClients(server.target, CONNECTIONS),
        Load(server.target, one_slow_request(8, 2.0)) as load,
    ):
        load.wait_until(lambda report: report.connections_opened == 8 and report.now() > 0.5)
        faulty.hooks.set_trap()
        directory.deploy("2")
        server.hup()
        wait_until(lambda: not is_running(server.pid), 30, "the master is killed")
        load.join()
    assert load.report.dropped == 0, load.report.render()
    assert load.report.answered == 8
    server.wait_gone(workers)


def test_a_second_hup_amid_the_handover_reloads_once_more(
    serve: Serve, directory: AppDirectory, tmp_path: Path
) -> None:
    faulty = Faulty(serve, directory, tmp_path, tells_master(signal.SIGHUP) + AMID_BEFORE_ACK, workers=2)
    server = faulty.server
    with IdleClients(server.target, CONNECTIONS) as idle, Load(server.target, get_and_post(16)) as load:
        faulty.begin_reload()
        directory.deploy("3")
        server.wait_reload("finished")
        server.wait_reload("finished")
        server.wait_drained()
        load.wait_version("3")
        assert idle.versions() == {"3": CONNECTIONS}
        assert idle.lost == 0
    assert load.report.dropped == 0, load.report.render()
    assert load.report.connections_opened == 16
    assert load.report.connections_closed_idle == 0


def test_term_amid_the_handover_stops_the_server_in_time_and_answers_all_in_hand(
    serve: Serve, directory: AppDirectory, tmp_path: Path
) -> None:
    faulty = Faulty(serve, directory, tmp_path, tells_master(signal.SIGTERM) + AMID_BEFORE_ACK)
    server = faulty.server
    with (
        IdleClients(server.target, CONNECTIONS),
        Load(server.target, one_slow_request(16, 2.0)) as load,
    ):
        load.wait_until(lambda report: report.connections_opened == 16 and report.now() > 0.5)
        faulty.begin_reload()
        load.join()
        assert server.wait_exit() == 0
    assert load.report.dropped == 0, load.report.render()
    assert load.report.answered == 16
    server.wait_log("stopped: 0 requests dropped")


def test_ttou_amid_the_handover_loses_nothing(serve: Serve, directory: AppDirectory, tmp_path: Path) -> None:
    faulty = Faulty(serve, directory, tmp_path, tells_master(signal.SIGTTOU) + AMID_BEFORE_ACK, workers=2)
    server = faulty.server
    with IdleClients(server.target, CONNECTIONS) as idle, Load(server.target, get_and_post(16)) as load:
        faulty.begin_reload()
        server.wait_reload("finished")
        server.wait_drained()
        wait_until(lambda: len(server.workers) == 1, 20, "one worker is left")
        load.wait_version("2")
        assert idle.versions() == {"2": CONNECTIONS}
        assert idle.lost == 0
    assert load.report.dropped == 0, load.report.render()
    assert load.report.connections_opened == 16
