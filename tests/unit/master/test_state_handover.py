"""Who hands over to whom, and what a lost receiver means."""

from dataclasses import replace

from smoothserve.master import actions, events
from smoothserve.master.crew import ACCEPT_TIMEOUT, GIVE_UP_TIMEOUT
from tests.unit.master.test_state_boot import booted
from tests.unit.master.test_state_reload import generations
from tests.unit.master.world import Stage, World


def swapped_without_handover(workers: int = 1, **policy: float) -> World:
    """Return a world in which the first successor accepts and its predecessor is handing over."""
    world = booted(workers, **policy)
    world.hangup()
    world.boot(workers + 1)
    world.pass_time(1.0)
    world.begin_accepting(workers + 1)
    return world


def test_the_channel_is_there_before_the_predecessor_is_told_to_drain() -> None:
    world = swapped_without_handover()
    kinds = [type(said) for said in world.said if isinstance(said, actions.Pair | actions.SendDrain)]
    assert kinds == [actions.Pair, actions.SendDrain]


def test_when_the_successor_dies_amid_the_handover_the_predecessor_serves_on_and_the_slot_is_swapped_again() -> None:
    world = swapped_without_handover()
    world.die(2)
    assert world.all_said(actions.SendAccept)[-1] == actions.SendAccept(1)
    world.begin_accepting(1)
    assert world.booting == [3]
    assert not world.all_said(actions.SayReloadRefused)
    world.settle()
    assert world.accepting == [3]
    assert world.all_said(actions.Pair) == [actions.Pair(2, 1), actions.Pair(3, 1)]
    assert len(world.all_said(actions.SayReloadFinished)) == 1


def test_when_the_second_successor_dies_so_too_the_reload_is_refused_and_the_predecessor_serves_on() -> None:
    world = swapped_without_handover()
    for successor in (2, 3):
        world.die(successor)
        world.begin_accepting(1)
        if successor == 2:
            world.boot(3)
            world.pass_time(1.0)
            world.begin_accepting(3)
    world.settle()
    assert world.accepting == [1]
    assert len(world.all_said(actions.SayReloadRefused)) == 1


def test_when_the_successor_dies_after_the_handover_it_is_respawned_and_what_is_left_follows_it() -> None:
    world = swapped_without_handover()
    world.hand_over(1)
    world.die(2)
    assert world.all_said(actions.SendAccept)[-1] == actions.SendAccept(2)
    world.pass_time(0.2)
    assert world.booting == [3]
    world.boot(3)
    world.begin_accepting(3)
    assert world.all_said(actions.Pair) == [actions.Pair(2, 1), actions.Pair(3, 1)]


def test_a_stuck_receiver_is_killed_and_the_sender_serves_on() -> None:
    world = swapped_without_handover()
    world.find_stuck(1, 2)
    assert world.processes[2].ended_by
    world.find_stuck(1, 2)  # said twice, done once
    world.die(2)
    world.begin_accepting(1)
    assert world.accepting == [1]


def test_a_worker_that_nobody_succeeds_hands_over_to_all_its_siblings() -> None:
    world = booted(3)
    world.tell(events.TtouReceived(world.now))
    leaving = world.in_stage(Stage.DRAINING)
    assert len(leaving) == 1
    receivers = {said.receiver for said in world.all_said(actions.Pair)}
    assert receivers == set(world.accepting)


def test_a_retiring_worker_that_is_still_busy_follows_every_further_successor() -> None:
    world = booted(1)
    for successor in (2, 3):
        world.hangup()
        world.boot(successor)
        world.pass_time(1.0)
        world.begin_accepting(successor)
        world.hand_over(1 if successor == 2 else 2)
    pairs = world.all_said(actions.Pair)
    assert pairs == [actions.Pair(2, 1), actions.Pair(3, 2), actions.Pair(3, 1)]


def test_nothing_is_handed_over_when_the_server_stops() -> None:
    world = swapped_without_handover()
    before = len(world.all_said(actions.Pair))
    world.term()
    world.settle()
    assert len(world.all_said(actions.Pair)) == before


def test_term_straight_to_a_successor_amid_the_handover_gives_its_predecessor_the_slot_back() -> None:
    world = swapped_without_handover(max_draining=1)
    world.drain_by_itself(2)
    assert world.all_said(actions.SendAccept)[-1] == actions.SendAccept(1)
    assert "--max-draining" not in {said.cause for said in world.all_said(actions.SendDrain)}
    world.begin_accepting(1)
    assert actions.Pair(receiver=1, sender=2) in world.said, "what the successor has goes back"
    world.settle()
    assert world.accepting == [3]


def test_a_predecessor_that_does_not_answer_when_told_to_serve_on_is_drained_and_its_slot_swapped() -> None:
    world = swapped_without_handover()
    world.die(2)
    world.pass_time(ACCEPT_TIMEOUT)
    assert [said.worker for said in world.all_said(actions.SendDrain)] == [1, 1]
    assert world.booting == [3]
    world.boot(3)
    world.begin_accepting(3)
    world.settle()
    assert world.accepting == [3]
    assert len(world.all_said(actions.SayReloadFinished)) == 1


def test_a_predecessors_word_that_it_drains_does_not_undo_that_it_is_to_serve_on() -> None:
    world = swapped_without_handover()
    world.die(2)
    world.say_draining(1)  # said before it was told to serve on, read after it
    world.begin_accepting(1)
    assert world.accepting == [1]
    assert [said.worker for said in world.all_said(actions.SendDrain)] == [1]


def test_term_straight_to_a_worker_that_serves_on_lets_it_leave_all_the_same() -> None:
    world = swapped_without_handover()
    world.die(2)
    world.begin_accepting(1)
    world.drain_by_itself(1)
    assert [said.worker for said in world.all_said(actions.SendDrain)] == [1, 1]


def test_when_a_chain_of_successors_is_lost_amid_the_handover_the_last_that_can_serves_on() -> None:
    world = swapped_without_handover(workers=2)
    world.fail(4)  # the reload is mixed, and worker 1 still hands over to worker 3
    world.hangup()
    world.boot(5)
    world.pass_time(1.0)
    world.begin_accepting(5)
    world.die(5)
    assert world.all_said(actions.SendAccept)[-1] == actions.SendAccept(3)
    world.die(3)
    assert world.all_said(actions.SendAccept)[-1] == actions.SendAccept(1)
    world.settle()
    assert generations(world) == [3, 3]


def test_a_stuck_receiver_that_survives_its_sigkill_is_waited_for_by_nobody() -> None:
    world = swapped_without_handover()
    world.find_stuck(1, 2)
    world.pass_time(GIVE_UP_TIMEOUT)
    assert actions.SendAccept(1) not in world.said, "its end is still to come, and that decides what it owns"
    assert world.booting == [3]
    world.boot(3)
    world.begin_accepting(3)
    assert actions.Pair(receiver=3, sender=1) in world.said
    world.hand_over(1)
    assert len(world.all_said(actions.SayReloadFinished)) == 1
    world.settle()
    assert world.accepting == [3]


def test_a_hup_after_a_slot_was_given_back_asks_for_one_reload_more() -> None:
    world = swapped_without_handover()
    world.die(2)
    world.begin_accepting(1)
    world.hangup()
    world.settle()
    assert [said.generation for said in world.all_said(actions.SayReloadFinished)] == [2, 3]
    assert generations(world) == [3]


def test_a_worker_that_is_given_up_and_still_busy_follows_every_further_successor() -> None:
    world = booted(2, soak_interval=0.0)
    world.tell(events.TtouReceived(world.now))
    world.hand_over(2)
    world.hangup()
    world.boot(3)
    world.begin_accepting(3)
    assert {said.receiver for said in world.all_said(actions.Pair) if said.sender == 2} == {1, 3}


def test_a_worker_that_never_served_hands_nothing_over() -> None:
    world = booted(2)
    world.die(2)
    assert world.booting == [3]
    world.tell(events.TtouReceived(world.now))
    assert not world.all_said(actions.Pair)


# a reload's surplus slots, while workers are lost


def shrinking(to: int, workers: int) -> World:
    """Return a world in which a reload to fewer workers has swapped the first slot, and it has handed over."""
    world = booted(workers, soak_interval=0.0)
    world.next_policy = replace(world.policy, workers=to)
    world.hangup()
    world.boot(workers + 1)
    world.begin_accepting(workers + 1)
    world.hand_over(1)
    return world


def test_no_worker_is_given_up_while_one_that_is_to_stay_does_not_accept() -> None:
    world = shrinking(2, workers=3)
    world.find_stuck(1, 4)
    world.boot(5)
    world.begin_accepting(5)
    assert "reload: fewer workers" not in {said.cause for said in world.all_said(actions.SendDrain)}
    world.die(4)
    world.boot(6)
    world.begin_accepting(6)
    assert world.all_said(actions.SendDrain)[-1].cause == "reload: fewer workers"
    world.settle()
    assert generations(world) == [2, 2]


def test_ttou_does_not_take_the_only_worker_that_a_reload_leaves() -> None:
    world = booted(2, soak_interval=0.0)
    world.next_policy = replace(world.policy, workers=1)
    world.hangup()
    world.tell(events.TtouReceived(world.now))
    assert "stays" in world.all_said(actions.SayNotice)[-1].text
    world.settle()
    assert generations(world) == [2]


def test_a_slot_that_was_added_and_lost_its_workers_is_given_up_with_the_reload() -> None:
    world = booted(1, soak_interval=0.0)
    world.next_policy = replace(world.policy, workers=3)
    world.hangup()
    for successor, replacement in ((2, 4), (4, None)):
        world.boot(successor)
        world.begin_accepting(successor)
        world.drain_by_itself(successor)
        assert replacement is None or replacement in world.booting
    assert len(world.all_said(actions.SayReloadMixed)) == 1
    world.settle()
    assert generations(world) == [1]


def test_a_worker_that_is_lost_while_a_reload_brings_the_workers_back_is_replaced() -> None:
    world = booted(2, soak_interval=0.0)
    world.tell(events.WinchReceived(world.now))
    world.settle(0.0)
    world.hangup()
    for successor in (3, 4):
        world.boot(successor)
    world.begin_accepting(3)
    world.die(3)
    assert world.booting == [5]
    world.settle()
    assert generations(world) == [2, 2]
