"""Reloads: slot by slot, successor first; refused or mixed when the new code is broken; one at a time."""

from dataclasses import replace
from signal import SIGKILL, SIGTERM

import pytest

from smoothserve.master import actions, events
from smoothserve.master.crew import HANDOVER_TIMEOUT
from smoothserve.master.policy import Policy
from tests.unit.master.test_state_boot import booted
from tests.unit.master.world import World


def generations(world: World) -> list[int]:
    return sorted(world.processes[number].generation for number in world.accepting)


def test_a_reload_goes_slot_by_slot_and_a_predecessor_drains_once_its_successor_accepts() -> None:
    world = booted(2, soak_interval=0.5)
    world.hangup()
    assert world.booting == [3]
    world.boot(3)
    assert not world.all_said(actions.SendAccept), "the first successor is watched"
    world.pass_time(0.5)
    assert actions.SendAccept(3) in world.said
    assert not world.all_said(actions.SendDrain)
    world.begin_accepting(3)
    assert world.all_said(actions.Pair) == [actions.Pair(receiver=3, sender=1)]
    assert [said.worker for said in world.all_said(actions.SendDrain)] == [1]
    assert world.booting == [4], "the next slot starts at once"
    world.boot(4)
    assert actions.SendAccept(4) in world.said, "later successors are not watched"
    world.begin_accepting(4)
    assert [said.worker for said in world.all_said(actions.SendDrain)] == [1, 2]
    assert not world.all_said(actions.SayReloadFinished)
    world.hand_over(1)
    world.pass_time(0.25)
    world.hand_over(2)
    assert world.all_said(actions.SayReloadFinished) == [actions.SayReloadFinished(2, 0.75, 2)]
    assert not world.all_said(actions.SayReloadDrained)
    world.die(1, 0)
    world.pass_time(10.0)
    world.die(2, 0)
    assert world.all_said(actions.SayReloadDrained) == [actions.SayReloadDrained(2, 10.75)]


def test_with_all_at_once_every_successor_is_ready_before_any_predecessor_drains() -> None:
    world = booted(2, all_at_once=True, soak_interval=0.0)
    world.hangup()
    assert world.booting == [3, 4]
    world.boot(3)
    world.pass_time(20.0)
    assert not world.all_said(actions.SendAccept)
    world.boot(4)
    assert {said.worker for said in world.all_said(actions.SendAccept)} == {3, 4}
    world.begin_accepting(4)
    assert [said.worker for said in world.all_said(actions.SendDrain)] == [2]


def test_new_code_that_does_not_boot_refuses_the_reload_and_the_old_workers_serve_on() -> None:
    world = booted(2)
    world.hangup()
    world.fail(3, "SyntaxError: bad")
    assert world.all_said(actions.SayTraceback)[0].worker == 3
    assert world.all_said(actions.SayReloadRefused) == [actions.SayReloadRefused(2, "SyntaxError: bad", 2, (1,))]
    world.settle()
    assert world.accepting == [1, 2]
    assert not world.all_said(actions.SendDrain)


@pytest.mark.parametrize("status", [0, 1, -SIGKILL])
def test_a_successor_that_dies_at_import_refuses_the_reload(status: int) -> None:
    world = booted(1)
    world.hangup()
    world.die(2, status)
    assert "before it was ready" in world.all_said(actions.SayReloadRefused)[0].reason
    assert world.accepting == [1]


def test_a_successor_that_dies_while_it_is_watched_refuses_the_reload() -> None:
    world = booted(2, soak_interval=0.5)
    world.hangup()
    world.boot(3)
    world.pass_time(0.4)
    world.die(3)
    assert world.all_said(actions.SayReloadRefused)[0].reason == "worker 3 died by SIGKILL"
    world.settle()
    assert world.accepting == [1, 2]


def test_a_successor_that_hangs_at_import_is_killed_and_refuses_the_reload() -> None:
    world = booted(1, boot_timeout=60.0)
    world.hangup()
    world.pass_time(60.0)
    assert actions.Kill(2, SIGTERM) in world.said
    assert "(--boot-timeout)" in world.all_said(actions.SayReloadRefused)[0].reason
    assert world.accepting == [1]


def test_a_successor_that_was_told_to_accept_and_says_nothing_is_drained_not_killed() -> None:
    world = booted(1, soak_interval=0.0)
    world.hangup()
    world.boot(2)
    world.pass_time(20.0)
    assert world.all_said(actions.SayReloadRefused)
    assert [said.worker for said in world.all_said(actions.SendDrain)] == [2]
    assert not world.all_said(actions.Kill)


def test_a_good_hup_after_a_refused_one_works() -> None:
    world = booted(2)
    world.hangup()
    world.fail(3)
    world.hangup()
    world.settle()
    assert generations(world) == [3, 3]
    assert world.all_said(actions.SayReloadFinished)[0].generation == 3


def test_a_failure_after_some_slots_were_swapped_leaves_the_reload_mixed_and_the_next_hup_tries_again() -> None:
    world = booted(3, soak_interval=0.0)
    world.hangup()
    world.boot(4)
    world.begin_accepting(4)
    world.fail(5, "MemoryError")
    assert world.all_said(actions.SayReloadMixed) == [actions.SayReloadMixed(2, "MemoryError", 1, 3)]
    world.settle()
    assert generations(world) == [1, 1, 2]
    world.hangup()
    world.settle()
    assert generations(world) == [3, 3, 3]


def test_a_bad_configuration_refuses_the_reload_before_anything_is_started() -> None:
    world = booted(2)
    world.next_refusal = "workers: 'many' is not a number"
    world.hangup()
    assert world.all_said(actions.SayReloadRefused) == [
        actions.SayReloadRefused(2, "workers: 'many' is not a number", 2, (1,))
    ]
    assert not world.booting


# several HUPs


def test_a_hup_while_the_successor_boots_starts_it_afresh_once() -> None:
    world = booted(1)
    world.hangup()
    world.hangup()
    assert actions.Kill(2, SIGTERM) in world.said
    assert world.booting == [2, 3]
    world.hangup()
    assert world.booting == [2, 3], "once per slot and reload"
    world.settle()
    assert generations(world) == [3], "the third HUP asked for one reload more"
    assert [said.generation for said in world.all_said(actions.SayReloadFinished)] == [2, 3]


def test_a_hup_that_starts_the_first_slot_afresh_reads_the_configuration_again() -> None:
    world = booted(1, soak_interval=0.0)
    world.hangup()
    world.next_policy = replace(world.policy, workers=3)
    world.hangup()
    world.settle()
    assert generations(world) == [2, 2, 2]


def test_a_bad_configuration_then_leaves_the_reload_in_progress_alone() -> None:
    world = booted(1)
    world.hangup()
    world.next_refusal = "bad"
    world.hangup()
    assert world.booting == [2]
    world.settle()
    assert [said.generation for said in world.all_said(actions.SayReloadFinished)] == [2]


def test_a_hup_in_a_later_slot_starts_it_afresh_and_asks_for_one_reload_more() -> None:
    world = booted(2, soak_interval=0.0)
    world.hangup()
    world.boot(3)
    world.begin_accepting(3)
    world.hangup()
    assert actions.Kill(4, SIGTERM) in world.said
    world.settle()
    assert generations(world) == [3, 3]


@pytest.mark.parametrize("when", ["idle", "booting", "soaking", "handover"])
def test_a_storm_of_hups_leads_to_one_reload_more(when: str) -> None:
    world = booted(2, soak_interval=0.5)
    if when != "idle":
        world.hangup()
    if when in {"soaking", "handover"}:
        world.boot(3)
    if when == "handover":
        world.pass_time(0.5)
        world.begin_accepting(3)
    for _ in range(50):
        world.hangup()
    world.settle()
    assert world.begun == 2
    assert world.reloading is None


# what happens in the middle


def test_a_predecessor_that_dies_before_it_has_handed_over_does_not_hold_the_reload() -> None:
    world = booted(1, soak_interval=0.0)
    world.hangup()
    world.boot(2)
    world.begin_accepting(2)
    world.die(1, -SIGKILL)
    assert world.all_said(actions.SayReloadFinished)
    assert actions.Forget(1, clean=False) in world.said


def test_a_predecessor_that_says_nothing_does_not_hold_the_reload() -> None:
    world = booted(1, soak_interval=0.0)
    world.hangup()
    world.boot(2)
    world.begin_accepting(2)
    world.pass_time(HANDOVER_TIMEOUT)
    assert world.all_said(actions.SayReloadFinished)
    assert "does not answer" in world.all_said(actions.SayNotice)[0].text


def test_a_worker_still_draining_at_its_deadline_is_killed_after_the_kill_timeout() -> None:
    world = booted(1, soak_interval=0.0, drain_timeout=300.0, kill_timeout=5.0)
    world.hangup()
    world.boot(2)
    world.begin_accepting(2)
    world.hand_over(1)
    world.pass_time(304.9)
    assert not world.all_said(actions.Kill)
    world.pass_time(0.2)
    assert world.all_said(actions.Kill) == [actions.Kill(1, SIGKILL)]
    world.settle()
    assert world.all_said(actions.SayReloadDrained)
    assert "did not leave in time" in world.all_said(actions.SayWorkerLost)[0].what


def test_retiring_workers_are_bounded_and_reloads_go_on() -> None:
    world = booted(1, soak_interval=0.0, max_draining=2)
    for number in (2, 3, 4, 5):  # streams keep every replaced worker
        world.hangup()
        world.boot(number)
        assert world.processes[number].told_to_accept or number > 3
        if number > 3:
            world.die(number - 3, 0)  # the oldest was told to end, and does
        world.begin_accepting(number)
        world.hand_over(number - 1)
    assert len(world.all_said(actions.SayReloadFinished)) == 4
    ended = [said.worker for said in world.all_said(actions.SendDrain) if said.cause == "--max-draining"]
    assert ended == [1, 2]
    assert len(world.living()) == 3


def test_a_retiring_worker_that_does_not_end_is_killed_and_the_reload_goes_on() -> None:
    world = booted(1, soak_interval=0.0, max_draining=1)
    for number in (2, 3):
        world.hangup()
        world.boot(number)
        # The second one waits for the first predecessor, for the graceful timeout and the kill timeout.
        world.pass_time(36.0 if number == 3 else 0.0)
        world.begin_accepting(number)
        world.hand_over(number - 1)
    assert actions.Kill(1, SIGKILL) in world.said
    assert len(world.all_said(actions.SayReloadFinished)) == 2


def test_a_successor_that_dies_after_its_predecessor_drains_is_replaced_at_once() -> None:
    world = booted(1, soak_interval=0.0)
    world.hangup()
    world.boot(2)
    world.begin_accepting(2)
    world.die(2)
    assert world.booting == [3]
    assert world.processes[3].generation == 2


def test_the_next_slot_waits_for_the_replacement_of_a_successor_that_died() -> None:
    world = booted(2, soak_interval=0.0)
    world.hangup()
    world.boot(3)
    world.begin_accepting(3)
    world.hand_over(1)
    world.die(3)
    assert world.booting == [4, 5]
    world.boot(4)
    assert actions.SendAccept(4) not in world.said, "the last old worker stays until the new code serves"
    world.boot(5)
    world.begin_accepting(5)
    assert actions.SendAccept(4) in world.said
    world.settle()
    assert generations(world) == [2, 2]


def test_new_code_that_dies_again_and_again_once_it_serves_ends_the_reload() -> None:
    world = booted(3, soak_interval=0.0)
    world.hangup()
    world.boot(4)
    world.begin_accepting(4)
    world.hand_over(1)
    world.die(4)
    world.boot(6)
    world.begin_accepting(6)
    world.die(6)
    assert world.all_said(actions.SayReloadMixed)[0].swapped == 1
    assert world.accepting == [2, 3]


def test_an_old_worker_that_dies_during_a_reload_is_replaced_and_its_slot_is_swapped_later() -> None:
    world = booted(2, soak_interval=0.0)
    world.hangup()
    world.die(2)
    assert world.booting == [3, 4]
    world.settle()
    assert generations(world) == [2, 2]


def test_a_predecessor_that_dies_while_its_successor_boots_is_not_replaced_twice() -> None:
    world = booted(2)
    world.hangup()
    world.die(1)
    assert world.booting == [3]
    assert world.all_said(actions.SayWorkerLost)[0].respawn_in is None
    world.settle()
    assert generations(world) == [2, 2]


def test_if_that_successor_fails_the_slot_is_filled_all_the_same() -> None:
    world = booted(2)
    world.hangup()
    world.die(1)
    world.fail(3)
    assert world.all_said(actions.SayReloadRefused)
    assert len(world.booting) == 1
    world.settle()
    assert len(world.accepting) == 2


def test_with_one_worker_that_dies_its_successor_accepts_without_being_watched() -> None:
    world = booted(1, soak_interval=0.5)
    world.hangup()
    world.boot(2)
    world.die(1)
    assert actions.SendAccept(2) in world.said


def test_a_reload_begins_with_a_slot_whose_worker_can_not_boot() -> None:
    world = booted(2)
    world.die(2)
    world.fail(3)
    world.hangup()
    assert world.processes[max(world.processes)].slot == 1


def test_a_worker_that_boots_as_its_slot_is_swapped_is_ended_by_term() -> None:
    world = booted(2, soak_interval=0.0)
    world.die(2)  # worker 3 boots in its place
    world.hangup()
    world.boot(4)  # the successor, in slot 1
    world.begin_accepting(4)
    assert actions.Kill(3, SIGTERM) in world.said
    world.settle()
    assert generations(world) == [2, 2]


def test_term_straight_to_a_successor_refuses_the_reload() -> None:
    world = booted(1)
    world.hangup()
    world.boot(2)
    world.drain_by_itself(2)
    assert world.all_said(actions.SayReloadRefused)
    world.settle()
    assert world.accepting == [1]


# the number of workers


def test_a_reload_adds_workers_after_the_others_were_swapped() -> None:
    world = booted(1, soak_interval=0.0)
    world.next_policy = replace(world.policy, workers=3)
    world.hangup()
    world.settle()
    assert generations(world) == [2, 2, 2]
    (said,) = world.all_said(actions.SayReloadFinished)
    assert (said.swapped, said.added) == (1, 2)


def test_a_reload_gives_workers_up_after_the_others_were_swapped() -> None:
    world = booted(4, soak_interval=0.0)
    world.next_policy = replace(world.policy, workers=2)
    world.hangup()
    world.boot(5)
    world.begin_accepting(5)
    assert len(world.accepting) == 4
    world.settle()
    assert generations(world) == [2, 2]
    assert len(world.living()) == 2


def test_a_refused_reload_leaves_the_number_of_workers_as_it_was() -> None:
    world = booted(2, soak_interval=0.0)
    world.next_policy = replace(world.policy, workers=4)
    world.hangup()
    world.fail(3)
    world.settle()
    assert len(world.accepting) == 2
    world.hangup()
    world.settle()
    assert len(world.accepting) == 4


def test_a_reload_keeps_a_number_that_was_adjusted_by_signals() -> None:
    world = booted(2)
    world.tell(events.TtinReceived(world.now))
    world.settle()
    assert len(world.accepting) == 3
    world.hangup()
    world.settle()
    assert generations(world) == [2, 2, 2]


def test_policy_defaults_are_the_designs() -> None:
    assert Policy() == Policy(1, False, 0.5, 60.0, 30.0, 300.0, 5.0, 10.0, 2)


def test_a_slot_that_a_reload_abandoned_by_winch_has_opened_is_not_filled_with_its_untrusted_generation() -> None:
    world = booted(1)
    world.next_policy = replace(world.policy, workers=2)
    world.hangup()
    world.tell(events.WinchReceived(world.now))
    world.settle(0.0)
    world.hangup()
    first, second = world.booting
    world.boot(first)
    world.begin_accepting(first)
    world.fail(second)
    world.die(second, 3)
    world.settle()
    assert len(world.all_said(actions.SayReloadMixed)) == 1
    assert generations(world) == [1, 3]
