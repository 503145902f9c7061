"""The first boot: all workers at once, and a failure ends the master only until one has been ready."""

from signal import SIGKILL, SIGTERM

from smoothserve.errors import ExitCode
from smoothserve.master import actions, events
from smoothserve.master.policy import Policy
from tests.unit.master.world import World


def booted(workers: int = 2, **policy: float) -> World:
    """Return a world whose workers all accept."""
    world = World(Policy(workers=workers, **policy))  # type: ignore[arg-type] # numbers by name
    world.start()
    world.settle()
    world.said.clear()
    return world


def test_all_workers_boot_at_once_and_each_accepts_as_soon_as_it_is_ready() -> None:
    world = World(Policy(workers=3))
    world.start()
    assert world.booting == [1, 2, 3]
    world.boot(2)
    assert world.all_said(actions.SendAccept) == [actions.SendAccept(2)]


def test_ready_is_said_once_when_all_workers_accept() -> None:
    world = World(Policy(workers=2))
    world.start()
    world.boot(1)
    world.begin_accepting(1)
    assert not world.all_said(actions.SayReady)
    world.pass_time(0.25)
    world.boot(2)
    world.begin_accepting(2)
    assert world.all_said(actions.SayReady) == [actions.SayReady("asgi", 0.25, 2)]
    world.die(1)
    world.settle()
    assert len(world.all_said(actions.SayReady)) == 1


def test_a_first_boot_that_fails_ends_the_master_with_the_traceback_and_exit_code_3() -> None:
    world = World(Policy(workers=2))
    world.start()
    world.fail(1, "ImportError: no module named nothing")
    assert [said.traceback for said in world.all_said(actions.SayTraceback)] == [
        "Traceback ...\nImportError: no module named nothing"
    ]
    assert world.all_said(actions.SayBootFailed) == [actions.SayBootFailed("ImportError: no module named nothing")]
    assert actions.Kill(2, SIGTERM) in world.said
    assert not world.listening
    world.settle()
    assert world.exit_code is ExitCode.BOOT_FAILED
    assert not world.living()


def test_only_the_first_of_several_failures_is_reported() -> None:
    world = World(Policy(workers=2))
    world.start()
    world.fail(1)
    world.fail(2)
    assert len(world.all_said(actions.SayBootFailed)) == len(world.all_said(actions.SayTraceback)) == 1


def test_a_worker_that_exits_while_it_boots_fails_the_first_boot() -> None:
    world = World()
    world.start()
    world.die(1, 0)
    assert world.all_said(actions.SayBootFailed)[0].reason == "worker 1 exited with status 0 before it was ready"
    assert world.exit_code is ExitCode.BOOT_FAILED


def test_a_worker_that_hangs_while_it_boots_is_killed_and_fails_the_first_boot() -> None:
    world = World(Policy(boot_timeout=60.0, kill_timeout=5.0))
    world.start()
    world.pass_time(60.0)
    assert "was not ready within 60 s" in world.all_said(actions.SayBootFailed)[0].reason
    assert actions.Kill(1, SIGTERM) in world.said
    world.pass_time(5.0)
    assert actions.Kill(1, SIGKILL) in world.said
    world.settle()
    assert world.exit_code is ExitCode.BOOT_FAILED


def test_once_a_worker_has_been_ready_another_that_fails_does_not_end_the_master() -> None:
    world = World(Policy(workers=2))
    world.start()
    world.boot(1)
    world.fail(2)
    world.settle()
    assert world.exit_code is None
    assert len(world.accepting) == 2


def test_a_hup_during_the_first_boot_is_kept_until_the_first_worker_is_ready() -> None:
    world = World(Policy(workers=1))
    world.start()
    world.hangup()
    assert not world.all_said(actions.LoadConfiguration)
    world.settle()
    assert world.begun == 1
    assert world.processes[world.accepting[0]].generation == 2


def test_a_term_during_the_first_boot_is_obeyed() -> None:
    world = World(Policy(workers=2))
    world.start()
    world.boot(1)
    world.term()
    world.settle()
    assert world.exit_code is ExitCode.STOPPED


def test_where_files_are_watched_a_first_boot_that_fails_waits_for_a_change() -> None:
    world = World(Policy(workers=2, waits_for_change=True))
    world.start()
    world.fail(1, "SyntaxError: invalid syntax")
    assert actions.Kill(2, SIGTERM) in world.said
    world.fail(2)
    assert len(world.all_said(actions.SayTraceback)) == 1
    assert world.all_said(actions.SayNotice)[0].text == (
        "nothing boots: SyntaxError: invalid syntax; waiting for a change (--reload)"
    )
    world.settle()
    world.pass_time(3600.0)
    assert not world.living()
    assert world.exit_code is None
    world.tell(events.FilesChanged(world.now))
    world.settle()
    assert len(world.accepting) == 2
    assert not world.all_said(actions.LoadConfiguration)


def test_a_hup_while_nothing_boots_boots_and_reads_the_configuration_again() -> None:
    world = World(Policy(workers=1, waits_for_change=True))
    world.start()
    world.fail(1)
    world.settle()
    world.hangup()
    world.settle()
    assert len(world.accepting) == 1
    assert len(world.all_said(actions.LoadConfiguration)) == 1


def test_a_server_that_waits_for_a_change_obeys_term() -> None:
    world = World(Policy(workers=2, waits_for_change=True))
    world.start()
    world.fail(1)
    world.tell(events.TermReceived(world.now))
    world.settle()
    assert world.exit_code is ExitCode.STOPPED


def test_a_change_during_the_boot_that_fails_boots_once_more_and_is_not_waited_for() -> None:
    world = World(Policy(workers=2, waits_for_change=True))
    world.start()
    world.tell(events.FilesChanged(world.now))
    world.fail(1, "SyntaxError: invalid syntax")
    assert "once more, files have changed" in world.all_said(actions.SayNotice)[0].text
    world.fail(2)
    assert len(world.all_said(actions.SayTraceback)) == 1, "the one that was told to go says nothing"
    world.settle()
    assert len(world.accepting) == 2
    assert not world.all_said(actions.LoadConfiguration), "what boots at last is not reloaded once more"


def test_a_reload_asked_for_while_nothing_boots_is_given_up_when_that_fails_again() -> None:
    world = World(Policy(workers=1, waits_for_change=True))
    world.start()
    world.fail(1)
    world.settle()
    world.hangup()
    assert world.state.succession.promised == 2
    world.fail(2)
    assert world.state.succession.promised == 1
    world.settle()
    world.tell(events.FilesChanged(world.now))
    world.settle()
    assert len(world.accepting) == 1
    assert not world.all_said(actions.LoadConfiguration)
