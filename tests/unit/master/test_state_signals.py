"""TTIN and TTOU adjust the number of workers; USR1 reopens log files; USR2 says that it is not there yet."""

from dataclasses import replace

from smoothserve.master import actions, events
from tests.unit.master.test_state_boot import booted
from tests.unit.master.world import Stage, World


def ttin(world: World) -> None:
    world.tell(events.TtinReceived(world.now))


def ttou(world: World) -> None:
    world.tell(events.TtouReceived(world.now))


def test_ttin_starts_one_worker_more() -> None:
    world = booted(1)
    ttin(world)
    assert world.booting == [2]
    world.settle()
    assert world.accepting == [1, 2]


def test_ttou_drains_the_last_worker() -> None:
    world = booted(3)
    ttou(world)
    assert [(said.worker, said.final) for said in world.all_said(actions.SendDrain)] == [(3, False)]
    world.settle()
    assert world.accepting == [1, 2]


def test_ttou_keeps_the_last_worker() -> None:
    world = booted(1)
    ttou(world)
    world.settle()
    assert world.accepting == [1]
    assert "one worker only" in world.all_said(actions.SayNotice)[0].text


def test_ttou_gives_up_a_slot_that_does_not_accept_rather_than_one_that_does() -> None:
    world = booted(2)
    world.die(1)
    ttou(world)
    world.settle()
    assert world.accepting == [2]


def test_ttin_after_ttou_uses_the_slot_again_while_its_old_worker_drains() -> None:
    world = booted(2)
    ttou(world)
    ttin(world)
    assert world.processes[3].slot == 1
    assert world.in_stage(Stage.DRAINING) == [2]
    world.settle()
    assert world.accepting == [1, 3]


def test_ttin_during_a_reload_adds_a_worker_of_the_new_generation() -> None:
    world = booted(1)
    world.hangup()
    ttin(world)
    world.settle()
    assert {world.processes[number].generation for number in world.accepting} == {2}
    assert len(world.accepting) == 2


def test_ttin_during_a_reload_that_is_refused_still_adds_a_worker() -> None:
    world = booted(1)
    world.hangup()
    ttin(world)
    world.fail(2)
    world.settle()
    assert len(world.accepting) == 2


def test_ttou_during_a_reload_takes_the_slot_out_of_it() -> None:
    world = booted(2)
    world.hangup()
    ttou(world)
    world.settle()
    assert len(world.accepting) == 1
    assert world.all_said(actions.SayReloadFinished)[0].swapped == 1


def test_ttou_of_the_slot_that_is_being_swapped_ends_its_successor() -> None:
    world = booted(2, soak_interval=0.5)
    world.die(2)  # so that slot 1 is the one to give up, and the first to be swapped
    world.hangup()
    successor = max(world.processes)
    assert world.processes[successor].slot == 1
    ttou(world)
    world.settle()
    assert len(world.accepting) == 1
    assert world.all_said(actions.SayReloadFinished)


def test_with_all_at_once_the_next_one_is_watched_when_ttou_takes_the_first() -> None:
    world = booted(2, all_at_once=True, soak_interval=0.5)
    world.hangup()
    world.boot(4)
    world.boot(3)
    world.pass_time(0.25)
    ttou(world)  # worker 4 was the first to be ready
    world.pass_time(0.25)
    assert not world.all_said(actions.SendAccept)
    world.settle()
    assert world.accepting == [3]


def test_usr1_reopens_the_log_files() -> None:
    world = booted(1)
    assert world.tell(events.Usr1Received(world.now)) == [actions.ReopenLogs()]


def test_usr2_says_that_it_is_not_available() -> None:
    world = booted(1)
    world.tell(events.Usr2Received(world.now))
    assert world.all_said(actions.SayNotice)[0].text.startswith("USR2")


def test_ttou_during_a_reload_that_gives_workers_up_keeps_one() -> None:
    world = booted(2)
    world.next_policy = replace(world.policy, workers=1)
    world.hangup()
    world.drain_by_itself(1)
    ttou(world)
    assert "one worker only" in world.all_said(actions.SayNotice)[0].text
    world.settle()
    assert len(world.accepting) == 1
