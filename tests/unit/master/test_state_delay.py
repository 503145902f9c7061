"""The delay before the stop: workers serve on, what becomes ready meanwhile is told, quitting does not wait."""

from smoothserve.master import actions, events
from smoothserve.master.policy import Policy
from smoothserve.master.state import MasterState

POLICY = Policy(workers=1, shutdown_delay=10.0)


def serving() -> MasterState:
    state = MasterState(POLICY)
    state.handle(events.Started(0.0))
    state.handle(events.WorkerReady(1.0, 1, "asgi"))
    state.handle(events.WorkerAccepting(1.0, 1))
    return state


def kinds(done: list[actions.Action]) -> set[type[actions.Action]]:
    return {type(action) for action in done}


def test_term_announces_the_stop_and_the_delay_ends_in_it() -> None:
    state = serving()
    assert kinds(state.handle(events.TermReceived(2.0))) == {actions.SayStopping, actions.AnnounceStop}
    assert not state.stopping
    assert state.next_deadline() == 12.0
    assert state.handle(events.TermReceived(3.0)) == []
    assert {actions.SendDrain, actions.CloseListeners} <= kinds(state.handle(events.Tick(12.0)))
    assert state.stopping


def test_a_worker_that_becomes_ready_meanwhile_is_told() -> None:
    state = serving()
    state.handle(events.TermReceived(2.0))
    state.handle(events.WorkerExited(3.0, 1, -9))
    done = state.handle(events.Tick(4.0))
    done += state.handle(events.WorkerReady(5.0, 2, "asgi"))
    assert actions.AnnounceStop in kinds(done)


def test_a_second_interrupt_and_quit_do_not_wait() -> None:
    for first, second in ((events.IntReceived, events.IntReceived), (events.TermReceived, events.QuitReceived)):
        state = serving()
        state.handle(first(2.0))
        assert actions.SendDrain in kinds(state.handle(second(3.0)))
        assert state.stopping


def test_without_anybody_who_accepts_there_is_no_delay() -> None:
    state = MasterState(POLICY)
    state.handle(events.Started(0.0))
    state.handle(events.TermReceived(1.0))
    assert state.stopping
