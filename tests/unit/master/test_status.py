"""The server's state in one word, from what the workers are."""

from types import SimpleNamespace
from typing import Any, cast

from smoothserve.master import events
from smoothserve.master.chronicle import Chronicle
from smoothserve.master.companion import Seat
from smoothserve.master.status import server_state, waiting_slots
from tests.unit.master.test_state_boot import booted
from tests.unit.master.world import Stage, World


def state_of(world: World, last_result: str) -> str:
    seat = cast("Seat", SimpleNamespace(state=world.state))
    chronicle = SimpleNamespace(ready_seconds=1.0, last_reload=SimpleNamespace(result=last_result))
    return server_state(seat, cast("Chronicle", chronicle))


def waiting(world: World) -> list[dict[str, Any]]:
    living = [process for process in world.processes.values() if process.stage is not Stage.DEAD]
    seat = SimpleNamespace(state=world.state, processes=lambda: living, now=lambda: world.now)
    return waiting_slots(cast("Seat", seat), cast("Chronicle", SimpleNamespace(slot_errors={})))


def test_two_generations_that_serve_are_mixed_whatever_became_of_the_reload_after_that() -> None:
    world = booted(2, soak_interval=0.0)
    assert state_of(world, "finished") == "serving"
    world.hangup()
    world.boot(3)
    world.begin_accepting(3)
    assert state_of(world, "finished") == "reloading"
    world.fail(4)
    world.settle()
    assert state_of(world, "mixed") == "mixed"
    world.next_refusal = "workers: 'many' is not a number"
    world.hangup()
    assert state_of(world, "refused") == "mixed"
    world.next_refusal = None
    world.hangup()
    world.settle()
    assert state_of(world, "finished") == "serving"


def test_a_server_that_has_served_and_whose_workers_are_all_gone_is_down_until_one_accepts() -> None:
    world = booted(2, soak_interval=0.0)
    world.die(1)
    assert state_of(world, "finished") == "serving"
    world.die(2)
    assert state_of(world, "finished") == "down"
    world.settle()
    assert state_of(world, "finished") == "serving"
    world.tell(events.WinchReceived(world.now))
    assert state_of(world, "finished") == "resting"


def test_a_slot_that_waits_is_told_until_it_has_a_process_and_not_where_none_is_wanted() -> None:
    world = booted(2)
    assert waiting(world) == []
    for number in (1, 2, 3):
        world.die(number)
        world.tick()
    # The first death is made good at once, by 3; the second in its slot has to wait.
    assert [(one["slot"], one["respawns_in"]) for one in waiting(world)] == [(0, 0.1)]
    world.pass_time(0.2)
    assert waiting(world) == []
    world.term()
    assert waiting(world) == []
