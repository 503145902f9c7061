"""Who relieves a worker whose threads are all stuck in calls."""

from smoothserve.master import actions
from tests.unit.master.test_state_boot import booted
from tests.unit.master.test_state_handover import swapped_without_handover
from tests.unit.master.world import World


def reliefs(world: World) -> list[tuple[int, int]]:
    return [(said.receiver, said.sender) for said in world.all_said(actions.Pair) if said.relief]


def test_all_siblings_that_serve_relieve_a_worker_and_are_paired_with_it_once() -> None:
    world = booted(3)
    world.saturate(2)
    world.saturate(2)
    assert reliefs(world) == [(1, 2), (3, 2)]
    world.die(3)
    world.settle(1.0)
    world.saturate(2)
    assert reliefs(world)[2:] == [(4, 2)]


def test_a_channel_for_relief_that_was_lost_or_given_up_is_made_anew() -> None:
    world = booted(3)
    world.saturate(2)
    world.saturate(2, lost=3)
    assert reliefs(world) == [(1, 2), (3, 2), (3, 2)]


def test_a_worker_of_newer_code_is_not_relieved_by_one_of_older_code() -> None:
    world = swapped_without_handover(2)
    world.saturate(3)
    assert reliefs(world) == []
    world.saturate(2)
    assert reliefs(world) == [(3, 2)]


def test_nobody_relieves_a_worker_that_leaves_or_a_server_that_stops() -> None:
    world = swapped_without_handover(2)
    world.saturate(1)
    assert reliefs(world) == [], "it drains"
    world.term()
    world.saturate(2)
    assert reliefs(world) == []


def test_a_worker_that_serves_on_after_all_is_paired_afresh() -> None:
    world = booted(2)
    world.saturate(1)
    world.hangup()
    world.boot(3)
    world.pass_time(1.0)
    world.begin_accepting(3)
    world.die(3)
    world.begin_accepting(1)
    world.saturate(1)
    assert reliefs(world) == [(2, 1), (2, 1)]
