"""Crashes: respawn with back-off, for ever; what a crashed worker held is counted, nothing else happens."""

from itertools import pairwise
from signal import SIGKILL, SIGSEGV, SIGTERM

from smoothserve.master import actions, events
from smoothserve.master.crew import GOOD_LIFE_SECONDS, LONGEST_RESPAWN_DELAY
from smoothserve.master.state import describe_exit
from tests.unit.master.test_state_boot import booted


def test_a_worker_that_dies_is_respawned_at_once_and_its_dead_are_counted() -> None:
    world = booted(2)
    world.die(1, -SIGKILL)
    assert world.said == [
        actions.Forget(1, clean=False),
        actions.SayWorkerLost(1, "died by SIGKILL", 0.0),
        actions.Spawn(3, 0, 1),
    ]
    world.settle()
    assert len(world.accepting) == 2


def test_a_crash_loop_backs_off_up_to_half_a_minute_and_never_ends_the_master() -> None:
    world = booted(2)
    delays = []
    for _ in range(20):
        number = max(world.processes)
        if world.processes[number].slot == 1:
            world.fail(number) if number > 2 else world.die(number)
        if number > 2:
            world.die(number, 3)
        lost = world.all_said(actions.SayWorkerLost)[-1]
        assert lost.respawn_in is not None
        delays.append(lost.respawn_in)
        world.pass_time(lost.respawn_in)
    assert delays[:5] == [0.0, 0.1, 0.2, 0.4, 0.8]
    assert all(later >= earlier for earlier, later in pairwise(delays))
    assert delays[-1] == LONGEST_RESPAWN_DELAY
    assert world.exit_code is None
    assert world.accepting == [1]


def test_a_good_life_clears_the_record() -> None:
    world = booted(1)
    for _ in range(4):
        world.die(world.accepting[0])
        world.settle(5.0)
    world.pass_time(GOOD_LIFE_SECONDS)
    world.die(world.accepting[0])
    assert world.all_said(actions.SayWorkerLost)[-1].respawn_in == 0.0


def test_after_a_refused_reload_a_crashed_workers_replacement_fails_and_the_others_serve_on() -> None:
    world = booted(2)
    world.hangup()
    world.fail(3)
    world.die(3, 3)
    world.die(1, -SIGSEGV)
    replacement = world.booting[0]
    world.fail(replacement)
    lost = world.all_said(actions.SayWorkerLost)[-1]
    assert lost.worker == replacement
    assert lost.respawn_in == 0.1
    assert "1 other worker serves on" in lost.hint
    assert world.accepting == [2]


def test_a_worker_that_exits_by_itself_with_status_0_is_respawned_too() -> None:
    world = booted(1)
    world.die(1, 0)
    assert world.all_said(actions.SayWorkerLost)[0].what == "exited with status 0"
    assert len(world.booting) == 1


def test_term_straight_to_a_worker_replaces_it_while_it_drains() -> None:
    world = booted(2)
    world.drain_by_itself(1)
    assert world.booting == [3]
    world.pass_time(1.0)
    world.die(1, 0)
    assert actions.Forget(1, clean=True) in world.said
    world.settle()
    assert len(world.accepting) == 2


def test_a_worker_without_a_control_socket_is_replaced() -> None:
    world = booted(1)
    world.disconnect(1)
    assert actions.Kill(1, SIGTERM) in world.said, "it may have closed the socket itself and live on"
    assert world.booting == [2]


def test_a_draining_worker_that_dies_loses_what_it_held_and_is_not_respawned() -> None:
    world = booted(1, soak_interval=0.0)
    world.hangup()
    world.boot(2)
    world.begin_accepting(2)
    world.die(1, -SIGSEGV)
    assert actions.SayWorkerLost(1, "died by SIGSEGV while it drained", None) in world.said
    assert not world.booting


def test_words_of_a_worker_that_is_gone_are_ignored() -> None:
    world = booted(1)
    world.die(1)
    for event in (
        events.WorkerReady(world.now, 1),
        events.WorkerFailed(world.now, 1),
        events.WorkerAccepting(world.now, 1),
        events.WorkerDraining(world.now, 1),
        events.WorkerHandedOver(world.now, 1),
        events.WorkerDisconnected(world.now, 1),
        events.WorkerExited(world.now, 1),
    ):
        assert world.tell(event) == []


def test_exits_are_described_by_signal_name_or_status() -> None:
    assert describe_exit(3) == "exited with status 3"
    assert describe_exit(-9) == "died by SIGKILL"
    assert describe_exit(-99) == "died by signal 99"
