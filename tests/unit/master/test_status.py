"""The server's state in one word, from what the workers are."""

from types import SimpleNamespace
from typing import cast

from smoothserve.master.chronicle import Chronicle
from smoothserve.master.companion import Seat
from smoothserve.master.status import server_state
from tests.unit.master.test_state_boot import booted
from tests.unit.master.world import World


def state_of(world: World, last_result: str) -> str:
    seat = cast("Seat", SimpleNamespace(state=world.state))
    chronicle = SimpleNamespace(ready_seconds=1.0, last_reload=SimpleNamespace(result=last_result))
    return server_state(seat, cast("Chronicle", chronicle))


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
