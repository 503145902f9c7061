"""TERM, INT, QUIT and WINCH: obeyed at once, also in the middle of a reload, whatever the workers do."""

from signal import SIGKILL, SIGTERM

import pytest

from smoothserve.errors import ExitCode
from smoothserve.master import actions, events
from smoothserve.master.crew import GIVE_UP_TIMEOUT
from tests.unit.master.test_state_boot import booted
from tests.unit.master.world import World


def drains(world: World) -> dict[int, actions.SendDrain]:
    return {said.worker: said for said in world.all_said(actions.SendDrain)}


def test_term_drains_every_worker_then_closes_the_listeners_then_exits_with_0() -> None:
    world = booted(2, graceful_timeout=30.0)
    world.term()
    assert world.all_said(actions.SayStopping) == [actions.SayStopping("TERM", 30.0)]
    assert {number: (said.final, said.timeout) for number, said in drains(world).items()} == {
        1: (True, 30.0),
        2: (True, 30.0),
    }
    assert not world.listening
    assert world.said.index(actions.CloseListeners()) > world.said.index(drains(world)[2])
    world.die(1, 0)
    assert not world.all_said(actions.Exit)
    world.die(2, 0)
    assert world.exit_code is ExitCode.STOPPED
    assert world.said[-2:] == [actions.SayStopped(), actions.Exit(ExitCode.STOPPED)]


def test_a_worker_that_does_not_leave_is_killed_after_graceful_and_kill_timeout() -> None:
    world = booted(1, graceful_timeout=30.0, kill_timeout=5.0)
    world.term()
    world.pass_time(34.9)
    assert not world.all_said(actions.Kill)
    world.pass_time(0.2)
    assert world.all_said(actions.Kill) == [actions.Kill(1, SIGKILL)]
    world.settle()
    assert world.exit_code is ExitCode.STOPPED


def test_the_master_leaves_without_a_worker_that_survives_sigkill() -> None:
    world = booted(1, graceful_timeout=30.0, kill_timeout=5.0)
    world.term()
    world.pass_time(35.0 + GIVE_UP_TIMEOUT)
    assert world.exit_code is ExitCode.STOPPED


def test_term_in_the_middle_of_a_reload_wins_at_once() -> None:
    world = booted(2, soak_interval=0.0, graceful_timeout=30.0, drain_timeout=300.0)
    world.hangup()
    world.boot(3)
    world.begin_accepting(3)  # worker 1 drains, with a stream that never ends
    world.said.clear()
    world.term()
    assert world.all_said(actions.SayReloadAbandoned) == [actions.SayReloadAbandoned(2, "TERM", 1, 2)]
    assert actions.Kill(4, SIGTERM) in world.said, "it boots: it has nothing in hand"
    assert {number: said.timeout for number, said in drains(world).items()} == {1: 30.0, 2: 30.0, 3: 30.0}
    world.pass_time(35.0)
    assert {said.worker for said in world.all_said(actions.Kill) if said.signal == SIGKILL} == {1, 2, 3, 4}


def test_term_never_gives_a_draining_worker_more_time_than_it_had() -> None:
    world = booted(1, soak_interval=0.0, graceful_timeout=30.0, drain_timeout=20.0)
    world.hangup()
    world.boot(2)
    world.begin_accepting(2)
    world.pass_time(15.0)
    world.said.clear()
    world.term()
    assert drains(world)[1].timeout == pytest.approx(5.0)
    assert drains(world)[2].timeout == 30.0


def test_a_second_term_changes_nothing() -> None:
    world = booted(1)
    world.term()
    world.said.clear()
    world.term()
    assert world.said == []


@pytest.mark.parametrize("signals", [["int", "int"], ["quit"], ["term", "quit"], ["term", "int"]])
def test_quit_and_a_second_int_stop_now(signals: list[str]) -> None:
    kinds = {"int": events.IntReceived, "quit": events.QuitReceived, "term": events.TermReceived}
    world = booted(2)
    for name in signals:
        world.tell(kinds[name](world.now))
    assert all(said.timeout == 0.0 for said in list(drains(world).values())[-2:])
    world.pass_time(1.0)
    assert {said.worker for said in world.all_said(actions.Kill)} == {1, 2}
    world.settle()
    assert world.exit_code is ExitCode.STOPPED


def test_the_first_int_stops_as_term_does() -> None:
    world = booted(1)
    world.tell(events.IntReceived(world.now))
    assert world.all_said(actions.SayStopping)[0].cause == "INT"
    assert drains(world)[1].timeout == 30.0


@pytest.mark.parametrize(
    "event", [events.HangupReceived, events.TtinReceived, events.TtouReceived, events.WinchReceived]
)
def test_other_signals_after_term_do_nothing(event: type[events.Event]) -> None:
    world = booted(2)
    world.term()
    world.said.clear()
    world.tell(event(world.now))
    assert world.said == []


def test_a_worker_that_crashes_while_the_server_stops_is_not_respawned() -> None:
    world = booted(2)
    world.term()
    world.die(1)
    assert not world.booting


# WINCH


def test_winch_drains_the_workers_and_closes_the_listeners_and_the_master_stays() -> None:
    world = booted(2)
    world.tell(events.WinchReceived(world.now))
    assert all(said.final for said in drains(world).values())
    assert not world.listening
    world.settle()
    assert not world.living()
    assert world.exit_code is None


def test_a_hup_after_winch_brings_listeners_and_workers_back() -> None:
    world = booted(2)
    world.tell(events.WinchReceived(world.now))
    world.settle()
    world.hangup()
    assert world.listening
    assert len(world.booting) == 2, "nobody serves, so all start at once"
    world.settle()
    assert len(world.accepting) == 2
    world.die(world.accepting[0])
    world.settle()
    assert len(world.accepting) == 2


def test_a_hup_after_winch_with_broken_code_leaves_the_master_at_rest_for_the_next_one() -> None:
    world = booted(2)
    world.tell(events.WinchReceived(world.now))
    world.settle()
    world.hangup()
    world.fail(world.booting[0])
    assert world.all_said(actions.SayReloadRefused)[0].serving == 0
    assert not world.listening
    world.settle()
    world.hangup()
    world.settle()
    assert len(world.accepting) == 2


def test_term_at_rest_ends_the_master() -> None:
    world = booted(1)
    world.tell(events.WinchReceived(world.now))
    world.settle()
    world.term()
    assert world.exit_code is ExitCode.STOPPED
