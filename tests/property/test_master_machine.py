"""The promises of the master, against workers, operators and clocks that do anything in any order."""

from dataclasses import replace
from signal import SIGKILL, SIGSEGV
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from smoothserve.errors import ExitCode
from smoothserve.master import actions, events
from smoothserve.master.policy import Policy
from tests.unit.master.world import Process, Stage, World

STATUSES = st.sampled_from([0, 1, 3, -SIGKILL, -SIGSEGV])


class MasterMachine(RuleBasedStateMachine):
    """Rules are what can happen to a master; what must never happen is asserted by `World` at every step."""

    world: World

    @initialize(
        workers=st.integers(1, 4),
        all_at_once=st.booleans(),
        max_draining=st.integers(1, 2),
        soak_interval=st.sampled_from([0.0, 0.5]),
    )
    def start(self, workers: int, all_at_once: bool, max_draining: int, soak_interval: float) -> None:
        self.world = World(
            Policy(workers=workers, all_at_once=all_at_once, max_draining=max_draining, soak_interval=soak_interval)
        )
        self.world.start()

    # the workers

    def pick(self, data: st.DataObject, *stages: Stage, **wanted: Any) -> Process | None:
        found = [
            process
            for process in self.world.living()
            if (not stages or process.stage in stages)
            and all(getattr(process, name) == value for name, value in wanted.items())
        ]
        if not found:
            return None
        number = data.draw(st.sampled_from([process.number for process in found]), label="worker")
        return self.world.processes[number]

    def running(self) -> bool:
        return self.world.exit_code is None

    @precondition(lambda self: self.world.exit_code is not None)
    @rule()
    def nothing_more_happens(self) -> None:
        """The master has ended."""

    @precondition(running)
    @rule(data=st.data())
    def a_worker_does_as_told(self, data: st.DataObject) -> None:
        process = self.pick(data)
        if process:
            self.world.obey(process)

    @precondition(running)
    @rule()
    def all_workers_do_as_told(self) -> None:
        for process in self.world.living():
            if self.running() and process.stage is not Stage.DEAD:
                self.world.obey(process)

    @precondition(running)
    @rule(data=st.data())
    def a_worker_fails_to_boot(self, data: st.DataObject) -> None:
        process = self.pick(data, Stage.BOOTING)
        if process:
            self.world.fail(process.number)

    @precondition(running)
    @rule(data=st.data(), status=STATUSES)
    def a_worker_dies(self, data: st.DataObject, status: int) -> None:
        process = self.pick(data)
        if process:
            self.world.die(process.number, status)

    @precondition(running)
    @rule(data=st.data())
    def a_worker_gets_term(self, data: st.DataObject) -> None:
        process = self.pick(data, Stage.READY, Stage.ACCEPTING)
        if process:
            self.world.drain_by_itself(process.number)

    @precondition(running)
    @rule(data=st.data())
    def a_worker_disconnects(self, data: st.DataObject) -> None:
        process = self.pick(data, disconnected=False)
        if process:
            self.world.disconnect(process.number)

    @precondition(running)
    @rule(data=st.data())
    def a_worker_says_at_last_that_it_drains(self, data: st.DataObject) -> None:
        process = self.pick(data, owes_draining=True)
        if process:
            self.world.say_draining(process.number)

    @precondition(running)
    @rule(data=st.data())
    def a_worker_finds_its_receiver_stuck(self, data: st.DataObject) -> None:
        process = self.pick(data, Stage.DRAINING)
        if process and process.receivers:
            self.world.find_stuck(process.number, data.draw(st.sampled_from(process.receivers), label="receiver"))

    @precondition(running)
    @rule(data=st.data())
    def a_worker_has_no_thread_free(self, data: st.DataObject) -> None:
        process = self.pick(data, Stage.ACCEPTING, Stage.DRAINING)
        if process:
            self.world.saturate(process.number)

    @precondition(running)
    @rule(data=st.data())
    def a_worker_asks_to_be_replaced(self, data: st.DataObject) -> None:
        process = self.pick(data, Stage.ACCEPTING, Stage.DRAINING)
        if process:
            self.world.want_replacement(process.number)

    @precondition(running)
    @rule(data=st.data())
    def a_draining_worker_exits(self, data: st.DataObject) -> None:
        process = self.pick(data, Stage.DRAINING)
        if process:
            self.world.die(process.number, 0)

    # the operator

    @precondition(running)
    @rule(times=st.integers(1, 5), refusal=st.sampled_from([None, None, None, "bad value"]))
    def hup(self, times: int, refusal: str | None) -> None:
        self.world.next_refusal = refusal
        for _ in range(times):
            self.world.hangup()

    @precondition(running)
    @rule(workers=st.integers(1, 4))
    def configure_workers(self, workers: int) -> None:
        self.world.next_policy = replace(self.world.policy, workers=workers)

    @precondition(running)
    @rule(more=st.booleans())
    def ttin_or_ttou(self, more: bool) -> None:
        event = events.TtinReceived if more else events.TtouReceived
        if not more or len(self.world.state.crew.wanted()) <= 6:
            self.world.tell(event(self.world.now))

    @precondition(lambda self: self.running() and self.world.begun >= 2)
    @rule()
    def winch(self) -> None:
        self.world.tell(events.WinchReceived(self.world.now))

    @precondition(lambda self: self.running() and self.world.begun >= 2)
    @rule(kind=st.sampled_from([events.TermReceived, events.IntReceived, events.QuitReceived]))
    def stop(self, kind: type[events.Event]) -> None:
        self.world.tell(kind(self.world.now))

    # the clock

    @precondition(running)
    @rule(seconds=st.sampled_from([0.01, 0.5, 1.0, 5.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @precondition(running)
    @rule()
    def the_next_deadline_comes(self) -> None:
        deadline = self.world.state.next_deadline()
        if deadline is not None:
            self.world.now = max(self.world.now, deadline)
            self.world.tick()

    @invariant()
    def a_reload_that_has_ended_has_one_report(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        passing = (actions.SayReloadBegan, actions.SayReloadDrained)
        reported = [said.generation for said in world.all_said(actions.SayReload) if not isinstance(said, passing)]
        assert len(reported) == len(set(reported)), "two reports of one reload"

    # the end: whatever has happened, this must be possible

    def teardown(self) -> None:
        if not hasattr(self, "world") or not self.running():
            return
        if self.world.state.stopping:
            self.hanging_workers_do_not_keep_it()
        elif self.world.now % 2 < 1:
            self.hanging_workers_end_every_reload()
        else:
            self.good_workers_bring_it_back()

    def good_workers_bring_it_back(self) -> None:
        world = self.world
        world.next_refusal = None
        world.settle(600.0)
        if world.exit_code is not None:
            assert world.exit_code is ExitCode.BOOT_FAILED
            return
        begun = world.begun
        for _ in range(50):
            world.hangup()
        world.settle(600.0)
        assert world.begun - begun <= 2, "a storm of HUPs asks for one reload more, not for many"
        assert world.reloading is None
        assert world.recycling is None
        wanted = world.state.crew.wanted()
        assert sorted(world.accepting) == sorted(slot.serving.number for slot in wanted if slot.serving)
        assert len(world.accepting) == len(wanted) == len(world.living())
        assert {world.processes[number].generation for number in world.accepting} == {world.state.succession.generation}

    def hanging_workers_end_every_reload(self) -> None:
        """Nobody answers any more; SIGKILL works."""
        self.let_hanging(lambda: self.world.state.succession.swap is None, 7000.0)
        if self.running():
            self.world.term()
            self.hanging_workers_do_not_keep_it()

    def hanging_workers_do_not_keep_it(self) -> None:
        policy = self.world.state.crew.policy
        self.let_hanging(lambda: not self.running(), policy.graceful_timeout + policy.kill_timeout + 10.0)
        assert not self.running(), "TERM is obeyed in bounded time"

    def let_hanging(self, over: Any, seconds: float) -> None:
        world = self.world
        until = world.now + seconds
        while self.running() and not over():
            killed = [process for process in world.living() if process.ended_by]
            if killed:
                world.die(killed[0].number, -killed[0].ended_by)
                continue
            deadline = world.state.next_deadline()
            assert deadline is not None
            assert deadline <= until, "it waits for longer than it may"
            world.now = max(world.now, deadline)
            world.tick()


class LongMasterMachine(MasterMachine):
    """The same, at length."""


SETTINGS = settings(max_examples=300, stateful_step_count=80, deadline=None, report_multiple_bugs=False)
MasterMachine.TestCase.settings = SETTINGS
LongMasterMachine.TestCase.settings = settings(SETTINGS, max_examples=5000, stateful_step_count=120)

TestMaster = MasterMachine.TestCase
TestMasterAtLength = pytest.mark.full(only="3.13")(pytest.mark.timeout(1200)(LongMasterMachine.TestCase))
