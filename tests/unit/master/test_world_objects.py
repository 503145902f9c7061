"""Negative controls: a master that breaks a promise is caught by the world that the other tests use."""

import pytest

from smoothserve.master import reload, state
from smoothserve.master.crew import Crew, Phase, Worker
from tests.unit.master.test_state_boot import booted


def test_draining_the_predecessor_before_the_successor_accepts_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def accept(worker: Worker, at: float) -> None:
        assert worker.slot.serving
        crew.retire(worker.slot.serving, at, cause="reload")

    world = booted(2, soak_interval=0.0)
    crew = world.state.crew
    monkeypatch.setattr(crew, "accept", accept)
    world.hangup()
    with pytest.raises(AssertionError, match="no successor accepts"):
        world.settle()


def test_accepting_without_having_been_watched_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    world = booted(2, soak_interval=0.5)
    monkeypatch.setattr(reload.Reload, "_may_accept", lambda self, slot, worker: worker.phase is Phase.READY)
    world.hangup()
    with pytest.raises(AssertionError, match="before it was watched"):
        world.settle()


def test_retiring_without_bound_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    world = booted(1, soak_interval=0.0, max_draining=1)
    monkeypatch.setattr(Crew, "shed", lambda *_: None)
    monkeypatch.setattr(reload.Reload, "_may_accept", lambda self, slot, worker: worker.phase is Phase.READY)
    world.hangup()
    world.boot(2)
    world.begin_accepting(2)
    world.hand_over(1)
    world.hangup()
    world.boot(3)
    with pytest.raises(AssertionError, match="not bounded"):
        world.begin_accepting(3)


def test_a_deadline_that_stays_due_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    world = booted(1)
    monkeypatch.setattr(state.MasterState, "_overdue", lambda *_: None)
    world.hangup()
    with pytest.raises(AssertionError, match="would spin"):
        world.pass_time(100.0)


def test_a_slot_that_nobody_fills_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    world = booted(1)
    monkeypatch.setattr(state.MasterState, "_fill_slots", lambda *_: None)
    monkeypatch.setattr(Crew, "respawn_delay", lambda *_: 0.0)
    world.die(1)
    world.state.crew.slots[0].respawn_at = None
    with pytest.raises(AssertionError, match="nobody cares"):
        world.tick()
