"""Workers that ask to be replaced: successor first, one at a time, and never at the cost of a worker that serves."""

from smoothserve.master import actions, events
from smoothserve.master.crew import HANDOVER_TIMEOUT
from smoothserve.master.recycling import FIRST_RETRY_DELAY
from tests.unit.master.test_state_boot import booted
from tests.unit.master.world import Stage, World


def recycling(workers: int = 1, **policy: float) -> World:
    """Return a world in which worker 1 has asked for it, and its successor boots."""
    world = booted(workers, **policy)
    world.want_replacement(1, "enough")
    return world


def drains(world: World) -> list[tuple[int, str]]:
    return [(said.worker, said.cause) for said in world.all_said(actions.SendDrain)]


def test_the_successor_accepts_before_the_worker_hands_over_and_leaves() -> None:
    world = recycling(2)
    assert world.all_said(actions.SayRecycleBegan) == [actions.SayRecycleBegan(1, "enough")]
    assert world.booting == [3]
    assert world.processes[3].generation == 1
    assert world.processes[3].slot == world.processes[1].slot
    world.boot(3)
    assert drains(world) == []
    world.pass_time(1.0)
    world.begin_accepting(3)
    assert world.all_said(actions.Pair) == [actions.Pair(3, 1)]
    assert drains(world) == [(1, "recycle")]
    assert not world.all_said(actions.SayRecycled)
    world.hand_over(1)
    (said,) = world.all_said(actions.SayRecycled)
    assert (said.worker, said.successor) == (1, 3)
    world.settle()
    assert world.accepting == [2, 3]
    assert not world.all_said(actions.SayReloadBegan)


def test_asking_twice_replaces_once() -> None:
    world = recycling(1)
    world.want_replacement(1)
    world.settle()
    world.settle()
    assert world.accepting == [2]
    assert len(world.all_said(actions.SayRecycled)) == 1


def test_several_workers_are_replaced_one_at_a_time_in_the_order_in_which_they_asked() -> None:
    world = recycling(3)
    world.pass_time(0.1)
    world.want_replacement(3)
    world.pass_time(0.1)
    world.want_replacement(2)
    assert world.booting == [4]
    world.settle()
    assert [said.worker for said in world.all_said(actions.SayRecycled)] == [1, 3, 2]
    assert world.accepting == [4, 5, 6]


def test_a_successor_that_does_not_boot_leaves_the_worker_and_the_next_attempt_waits_longer_each_time() -> None:
    world = recycling(1)
    delays = []
    for successor in (2, 3, 4):
        assert world.booting == [successor]
        world.fail(successor)
        world.die(successor, 3)
        said = world.all_said(actions.SayRecycleFailed)[-1]
        assert (said.worker, said.reason, said.serves) == (1, "ImportError: no", True)
        delays.append(said.retry_in)
        world.pass_time(said.retry_in * 0.9)
        assert world.booting == []
        world.pass_time(said.retry_in * 0.2)
    assert delays == [FIRST_RETRY_DELAY, 2 * FIRST_RETRY_DELAY, 4 * FIRST_RETRY_DELAY]
    assert drains(world) == []
    world.settle()
    assert world.accepting == [5]


def test_a_successor_that_is_lost_amid_the_handover_gives_the_slot_back_and_is_tried_once_more() -> None:
    world = recycling(1)
    for successor in (2, 3):
        world.boot(successor)
        world.pass_time(1.0)
        world.begin_accepting(successor)
        world.die(successor)
        world.begin_accepting(1)
    assert world.accepting == [1]
    assert len(world.all_said(actions.SayRecycleFailed)) == 1
    world.settle()
    assert world.accepting == [4]


def test_a_worker_that_dies_while_its_successor_boots_is_succeeded_by_it() -> None:
    world = recycling(1)
    world.die(1)
    assert world.booting == [2]
    world.settle()
    assert world.accepting == [2]


def test_a_worker_that_is_silent_does_not_hold_its_recycle_up() -> None:
    world = recycling(1)
    world.boot(2)
    world.pass_time(1.0)
    world.begin_accepting(2)
    world.pass_time(HANDOVER_TIMEOUT)
    assert "the recycle goes on without it" in world.all_said(actions.SayNotice)[-1].text
    assert len(world.all_said(actions.SayRecycled)) == 1


def test_a_reload_replaces_those_who_asked_and_the_recycle_that_was_on_its_way_is_called_off() -> None:
    world = recycling(2)
    world.want_replacement(2)
    world.hangup()
    assert "replaced by the reload of generation 2" in world.all_said(actions.SayNotice)[0].text
    assert world.processes[3].ended_by
    world.settle()
    assert [world.processes[number].generation for number in world.accepting] == [2, 2]
    assert len(world.all_said(actions.SayRecycleBegan)) == 1
    assert len(world.all_said(actions.SayReloadFinished)) == 1


def test_a_reload_that_is_refused_leaves_those_who_asked_to_be_replaced_later() -> None:
    world = recycling(1)
    world.hangup()
    successor = max(world.booting)
    world.fail(successor)
    assert len(world.all_said(actions.SayReloadRefused)) == 1
    world.settle()
    assert len(world.all_said(actions.SayRecycled)) == 1
    assert [world.processes[number].generation for number in world.accepting] == [1]


def test_a_hup_amid_the_handover_of_a_recycle_reloads_at_once() -> None:
    world = recycling(1)
    world.boot(2)
    world.pass_time(1.0)
    world.begin_accepting(2)
    world.hangup()
    assert len(world.all_said(actions.SayRecycled)) == 1
    assert world.booting == [3]
    world.settle()
    assert world.accepting == [3]


def test_a_new_worker_that_asks_amid_the_reload_is_replaced_after_it() -> None:
    world = booted(2, soak_interval=0.0)
    world.hangup()
    world.boot(3)
    world.begin_accepting(3)
    world.want_replacement(3)
    assert not world.all_said(actions.SayRecycleBegan)
    world.settle()
    assert [
        type(said) for said in world.said if isinstance(said, actions.SayReloadFinished | actions.SayRecycleBegan)
    ] == [
        actions.SayReloadFinished,
        actions.SayRecycleBegan,
    ]
    assert world.accepting == [4, 5]


def test_term_ends_a_recycle_at_once() -> None:
    world = recycling(2)
    world.term()
    world.settle()
    assert world.exit_code == 0


def test_ttou_of_the_slot_ends_its_recycle() -> None:
    world = booted(2)
    world.want_replacement(2)
    world.tell(events.TtouReceived(world.now))
    assert world.processes[3].ended_by
    world.settle()
    assert world.accepting == [1]
    assert not world.all_said(actions.SayRecycled)


def test_a_recycle_waits_rather_than_cut_what_older_workers_of_the_slot_have_in_hand() -> None:
    world = recycling(1, max_draining=1)
    world.boot(2)
    world.pass_time(1.0)
    world.begin_accepting(2)
    world.hand_over(1)  # it still has a stream in hand
    world.want_replacement(2)
    assert world.booting == []
    assert "--max-draining" not in {cause for _, cause in drains(world)}
    world.die(1, 0)
    assert world.booting == [3]


def test_a_worker_that_rests_or_leaves_is_not_replaced() -> None:
    world = booted(2)
    world.drain_by_itself(1)
    world.want_replacement(1)
    assert world.in_stage(Stage.DRAINING) == [1]
    assert not world.all_said(actions.SayRecycleBegan)
