"""A world for the state machine: fake processes and a fake clock, which hold the machine to its promises.

`World` performs actions as the driver would, and raises AssertionError when one of them breaks a promise that can be
seen from outside. What the processes do, and when, is up to the test.
"""

from dataclasses import dataclass, field
from enum import Enum
from signal import SIGKILL, SIGTERM
from typing import TypeVar

from smoothserve.errors import ExitCode
from smoothserve.master import actions, events
from smoothserve.master.policy import Policy
from smoothserve.master.state import MasterState

SaidType = TypeVar("SaidType", bound=actions.Action)


class Stage(Enum):
    """What a fake process really does, whatever the master believes."""

    BOOTING = "booting"
    READY = "ready"
    ACCEPTING = "accepting"
    DRAINING = "draining"
    FAILED = "failed"
    DEAD = "dead"


@dataclass
class Process:
    number: int
    slot: int
    generation: int
    stage: Stage = Stage.BOOTING
    ready_at: float | None = None
    told_to_accept: bool = False
    told_to_drain: bool = False
    ended_by: int = 0
    """The signal that is to end it, as soon as the test lets it die."""
    disconnected: bool = False
    owes_draining: bool = False
    """Told to drain, and its `Draining` is still on the way."""
    handed_over: bool = False
    served: bool = False
    resuming: bool = False
    """Told to accept again: its successor is gone."""
    receivers: list[int] = field(default_factory=list)
    relievers: list[int] = field(default_factory=list)


@dataclass
class World:
    policy: Policy = field(default_factory=Policy)
    now: float = 1000.0

    def __post_init__(self) -> None:
        self.state = MasterState(self.policy)
        self.processes: dict[int, Process] = {}
        self.said: list[actions.Action] = []
        self.exit_code: ExitCode | None = None
        self.listening = True
        self.next_policy: Policy | None = None
        self.next_refusal: str | None = None
        self.configurations = {1}
        self.reloading: int | None = None
        self.recycling: int | None = None
        """The worker that is being recycled."""
        self.begun = 0
        self.trusted: set[int] = {1}
        self.asked_to_stop = False
        self.ever_ready = False

    # what tests do

    def start(self) -> None:
        self.tell(events.Started(self.now))

    def tell(self, event: events.Event) -> list[actions.Action]:
        """Feed an event and what follows at once from its actions."""
        queue = [event]
        done: list[actions.Action] = []
        while queue:
            assert self.exit_code is None, f"{event} after the exit"
            told = queue.pop(0)
            if isinstance(told, events.TermReceived | events.IntReceived | events.QuitReceived):
                self.asked_to_stop = True
            found = self.state.handle(told)
            for action in found:
                queue += self._perform(action)
            done += found
        self._check()
        return done

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with a tick at every deadline on the way."""
        until = self.now + seconds
        while self.exit_code is None:
            deadline = self.state.next_deadline()
            if deadline is None or deadline > until:
                break
            self.now = max(self.now, deadline)
            self.tick()
        self.now = max(self.now, until)

    def tick(self) -> None:
        self.tell(events.Tick(self.now))
        deadline = self.state.next_deadline()
        assert deadline is None or deadline > self.now, (
            f"a tick at {self.now} leaves {deadline} due: the loop would spin:\n{self.picture()}"
        )

    def boot(self, number: int) -> None:
        process = self.processes[number]
        assert process.stage is Stage.BOOTING
        process.stage = Stage.READY
        process.ready_at = self.now
        self.ever_ready = self.ever_ready or not self.state.stopping
        self.tell(events.WorkerReady(self.now, number, "asgi"))

    def begin_accepting(self, number: int) -> None:
        process = self.processes[number]
        assert process.told_to_accept
        if process.owes_draining:
            self.say_draining(number)  # in the order of what it was told
        process.resuming = False
        process.stage = Stage.ACCEPTING
        process.served = True
        self.tell(events.WorkerAccepting(self.now, number))

    def fail(self, number: int, reason: str = "ImportError: no") -> None:
        self.processes[number].stage = Stage.FAILED
        self.tell(events.WorkerFailed(self.now, number, reason, f"Traceback ...\n{reason}"))

    def die(self, number: int, status: int = -SIGKILL) -> None:
        self.processes[number].stage = Stage.DEAD
        self.tell(events.WorkerExited(self.now, number, status))

    def hand_over(self, number: int) -> None:
        self.processes[number].handed_over = True
        self.tell(events.WorkerHandedOver(self.now, number))

    def want_replacement(self, number: int, cause: str = "because") -> None:
        self.tell(events.WorkerWantsReplacement(self.now, number, cause))

    def saturate(self, number: int, lost: int | None = None) -> None:
        """Let a worker ask for relief; its channel to `lost` is of no use any more."""
        relievers = self.processes[number].relievers
        if lost in relievers:
            relievers.remove(lost)
        self.tell(events.WorkerSaturated(self.now, number, frozenset(relievers)))

    def find_stuck(self, sender: int, receiver: int) -> None:
        self.tell(events.ReceiverGotStuck(self.now, sender, receiver))

    def say_draining(self, number: int) -> None:
        """The answer to `SendDrain`, which the master may read after it has told the worker to serve on."""
        self.processes[number].owes_draining = False
        self.tell(events.WorkerDraining(self.now, number))

    def drain_by_itself(self, number: int) -> None:
        self.processes[number].stage = Stage.DRAINING
        self.processes[number].owes_draining = False
        self.tell(events.WorkerDraining(self.now, number))

    def disconnect(self, number: int) -> None:
        self.processes[number].disconnected = True
        self.processes[number].stage = Stage.DRAINING
        self.tell(events.WorkerDisconnected(self.now, number))

    def hangup(self) -> None:
        self.tell(events.HangupReceived(self.now))

    def term(self) -> None:
        self.tell(events.TermReceived(self.now))

    def obey(self, process: Process) -> bool:
        """Let a process take the next step of those that a good one takes; False: there is none."""
        number = process.number
        if process.stage is Stage.DEAD:
            return False
        if process.ended_by:
            self.die(number, -process.ended_by)
        elif process.stage is Stage.FAILED:
            self.die(number, 3)
        elif process.told_to_drain and not process.handed_over:
            process.stage = Stage.DRAINING
            self.hand_over(number)
        elif process.told_to_drain:
            self.die(number, 0)
        elif process.stage is Stage.BOOTING:
            self.boot(number)
        elif process.told_to_accept and (process.stage is Stage.READY or process.resuming):
            self.begin_accepting(number)
        else:
            return False
        return True

    def settle(self, seconds: float = 60.0) -> None:
        """Let all processes do what they are told, for some time."""
        until = self.now + seconds
        while self.exit_code is None:
            if any(self.obey(process) for process in self.living()):
                continue
            deadline = self.state.next_deadline()
            if deadline is None or deadline > until:
                return
            self.now = max(self.now, deadline)
            self.tick()

    # what tests see

    def living(self) -> list[Process]:
        return [process for process in list(self.processes.values()) if process.stage is not Stage.DEAD]

    def in_stage(self, stage: Stage) -> list[int]:
        return [process.number for process in self.living() if process.stage is stage]

    @property
    def accepting(self) -> list[int]:
        """What the master has killed is no acceptor, though it has not died yet."""
        return [number for number in self.in_stage(Stage.ACCEPTING) if self.processes[number].ended_by != SIGKILL]

    @property
    def booting(self) -> list[int]:
        return self.in_stage(Stage.BOOTING)

    def all_said(self, kind: type[SaidType]) -> list[SaidType]:
        return [action for action in self.said if isinstance(action, kind)]

    def picture(self) -> str:
        """Render everything, for the message of a failure."""
        lines = [f"at {self.now}, reload {self.state.reload and vars(self.state.reload)}"]
        for worker in self.state.crew.workers.values():
            process = self.processes.get(worker.number) or Process(worker.number, worker.slot.index, worker.generation)
            lines.append(
                f"  worker {worker.number} slot {worker.slot.index} generation {worker.generation}:"
                f" {worker.phase.name}, really {process.stage.name},"
                f" due {worker.deadline}, handover due {worker.handover_due}"
            )
        return "\n".join([*lines, *(f"  {action}" for action in self.said[-20:])])

    # the driver's part, with the promises

    def _perform(self, action: actions.Action) -> list[events.Event]:
        self.said.append(action)
        match action:
            case actions.Spawn():
                assert action.worker not in self.processes
                assert self.listening, "a worker without listeners"
                assert action.generation in self.configurations
                self.processes[action.worker] = Process(action.worker, action.slot, action.generation)
            case actions.LoadConfiguration():
                return [self._answer(action.generation)]
            case actions.KeepConfiguration():
                assert action.generation in self.configurations
                self.configurations = {action.generation}
            case actions.DropConfiguration():
                self.configurations.discard(action.generation)
            case actions.CloseListeners():
                self.listening = False
            case actions.Exit():
                assert self.asked_to_stop or not self.ever_ready, "the master ended by itself"
                assert not self.listening
                self.exit_code = action.code
            case actions.SayReload():
                self._check_report(action)
            case actions.SayRecycleBegan():
                before = self.processes.get(self.recycling or 0)
                assert before is None or before.told_to_drain or before.stage is Stage.DEAD, "two recycles at a time"
                assert self.reloading is None, "a recycle amid a reload"
                assert len(self.accepting) >= 1
                self.recycling = action.worker
            case actions.SayRecycled() | actions.SayRecycleFailed():
                assert self.recycling == action.worker, "a report of a recycle that is not in progress"
                self.recycling = None
            case _:
                self._do_to_worker(action)
        return []

    def _do_to_worker(self, action: actions.Action) -> None:
        match action:
            case actions.Pair():
                assert action.sender != action.receiver
                assert self._alive(action.receiver).stage is Stage.ACCEPTING
                sender = self._alive(action.sender)
                assert sender.told_to_accept, "a sender that never had a connection"
                if action.relief:
                    receiver = self.processes[action.receiver]
                    assert sender.stage is Stage.ACCEPTING or sender.disconnected or sender.told_to_drain
                    assert receiver.generation >= sender.generation, "relief by older code"
                    assert not receiver.ended_by, "relief by a worker that is to die"
                    assert not self.state.stopping, "relief while the server stops"
                paired = sender.relievers if action.relief else sender.receivers
                assert action.receiver not in paired
                paired.append(action.receiver)
            case actions.SendAccept():
                self.processes[action.worker].relievers.clear()  # its links ended with its drain
                self._check_accept(self._alive(action.worker))
            case actions.SendDrain():
                self._check_drain(self._alive(action.worker), action)
            case actions.Kill():
                process = self._alive(action.worker)
                assert action.signal in {SIGTERM, SIGKILL}
                if action.signal == SIGKILL or process.stage is Stage.BOOTING:
                    process.ended_by = action.signal
            case actions.Forget():
                assert self.processes[action.worker].stage is Stage.DEAD

    def _alive(self, number: int) -> Process:
        process = self.processes[number]
        assert process.stage is not Stage.DEAD, f"worker {number} is gone"
        return process

    def _answer(self, generation: int) -> events.Event:
        if self.next_refusal is not None:
            refusal, self.next_refusal = self.next_refusal, None
            return events.ConfigurationRefused(self.now, refusal)
        self.configurations.add(generation)
        self.listening = True
        if self.next_policy is not None:
            self.policy = self.next_policy
        return events.ConfigurationLoaded(self.now, self.policy)

    def _check_accept(self, process: Process) -> None:
        if process.told_to_drain:
            assert process.receivers, "told to serve on without ever having had a successor"
            assert self.processes[process.receivers[-1]].stage in {Stage.DEAD, Stage.DRAINING}
            assert not process.handed_over, "told to serve on after it had handed over"
            process.told_to_drain = False
            process.resuming = True
            process.receivers.clear()
            return
        assert process.stage is Stage.READY, "told to accept before it was ready"
        assert not process.told_to_accept
        process.told_to_accept = True
        acceptors = [number for number in self.accepting if not self.processes[number].ended_by]
        if process.generation not in self.trusted and acceptors:
            canaries = [
                one for one in self.living() if one.generation == process.generation and one.ready_at is not None
            ]
            watched = max(self.now - (one.ready_at or self.now) for one in canaries)
            # One tick's worth of rounding: deadlines are sums of floats.
            assert watched >= self.state.crew.policy.soak_interval - 1e-6, "told to accept before it was watched"
        self.trusted.add(process.generation)

    def _check_drain(self, process: Process, action: actions.SendDrain) -> None:
        was_accepting = process.stage is Stage.ACCEPTING
        if was_accepting:
            process.stage = Stage.DRAINING
        process.owes_draining = process.owes_draining or not process.told_to_drain
        process.told_to_drain = True
        process.resuming = False
        if action.final or not was_accepting:
            return
        assert self.accepting, f"{action} takes the last acceptor"
        if action.cause == "reload":
            successors = [self.processes[number] for number in self.accepting]
            assert any(one.slot == process.slot and one.generation > process.generation for one in successors), (
                f"{action}: no successor accepts in slot {process.slot}"
            )
        if action.cause == "recycle":
            assert process.number == self.recycling
            successors = [self.processes[number] for number in self.accepting]
            assert any(one.slot == process.slot and one.number > process.number for one in successors), (
                f"{action}: no successor accepts in slot {process.slot}"
            )
        if action.cause == "reload: fewer workers":
            assert len(self.accepting) >= len(self.state.crew.wanted()), "fewer acceptors than wanted"

    def _check_report(self, action: actions.SayReload) -> None:
        match action:
            case actions.SayReloadBegan():
                assert self.reloading is None, "two reloads at a time"
                self.begun += 1
                self.reloading = action.generation
            case actions.SayReloadDrained():
                assert self.reloading != action.generation
            case actions.SayReloadRefused() if self.reloading is None:
                pass  # its configuration was refused, it never began
            case _:
                assert self.reloading == action.generation, "a report of a reload that is not in progress"
                self.reloading = None

    def _check(self) -> None:
        """The promises that hold after every event."""
        if self.exit_code is not None:
            return
        state = self.state
        assert (state.reload is not None) == (self.reloading is not None)
        swap = state.succession.swap
        recycle = state.succession.recycling.swap
        assert recycle is None or recycle.worker.number == self.recycling
        assert recycle is None or not (state.reload or state.stopping or state.crew.resting)
        self.recycling = recycle.worker.number if recycle else None
        for slot in state.crew.slots.values():
            staying = [worker for worker in slot.retiring if not worker.shed]
            assert len(staying) <= max(1, state.crew.policy.max_draining), "retiring workers are not bounded"
            for worker in [*slot.retiring, *([slot.serving] if slot.serving else [])]:
                assert self.processes[worker.number].stage is not Stage.DEAD
        if swap or state.stopping:
            assert state.next_deadline() is not None, f"nothing bounds what is awaited:\n{self.picture()}"
        if state.served and not state.stopping and not state.crew.resting and not state.reload:
            for slot in state.crew.wanted():
                cared_for = slot.serving or slot.respawn_at is not None or (swap and swap.swaps(slot))
                assert cared_for, f"nobody cares for slot {slot.index}"
