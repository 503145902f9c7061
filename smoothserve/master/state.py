"""The master's rules: `MasterState.handle(event)` decides and returns actions. No clock, no fork, no sleep in here.

Events carry the moment at which they were seen; `next_deadline` says when a `Tick` is due at the latest. Which reload
comes when is in `succession.py`, the rules of one in `reload.py`, the moves in `crew.py`.
"""

from collections.abc import Callable
from signal import SIGTERM, Signals
from typing import Any

from smoothserve.master import events
from smoothserve.master.actions import (
    Action,
    AnnounceStop,
    CloseListeners,
    Forget,
    Kill,
    ReopenLogs,
    SayNotice,
    SayReady,
    SayTraceback,
    SayWorkerLost,
)
from smoothserve.master.crew import ALIVE, Crew, Phase, Slot, Worker, spare
from smoothserve.master.policy import Policy
from smoothserve.master.reload import Reload
from smoothserve.master.stop import Stop
from smoothserve.master.succession import Succession


class MasterState:
    """What the master knows and decides."""

    def __init__(self, policy: Policy) -> None:
        self.crew = Crew(policy)
        self.succession = Succession(self.crew)
        self.served = False
        """A worker has been ready: nothing that the application does ends the master any more."""
        self._stop = Stop(self.crew, self.succession)
        self._started_at = 0.0
        self._announced = False
        self._waiting = False
        """The first boot has failed, and is tried again at the next change."""
        self._changed = False
        """Files have changed since the first boot began."""
        self._interface = ""
        self._handlers: dict[type[events.Event], Callable[[Any], None]] = {
            events.Started: self._on_started,
            events.Tick: self._on_tick,
            events.WorkerReady: self._on_ready,
            events.WorkerFailed: self._on_failed,
            events.WorkerAccepting: self._on_accepting,
            events.WorkerDraining: self._on_draining,
            events.WorkerHandedOver: self._on_handed_over,
            events.ReceiverGotStuck: self._on_stuck,
            events.WorkerSaturated: self._on_saturated,
            events.WorkerWantsReplacement: self._on_wants_replacement,
            events.WorkerDisconnected: self._on_disconnected,
            events.WorkerExited: self._on_exited,
            events.ConfigurationLoaded: self._on_configuration,
            events.ConfigurationRefused: self._on_configuration_refused,
            events.HangupReceived: self._on_hangup,
            events.FilesChanged: self._on_hangup,
            events.TermReceived: lambda event: self._stop.stop("TERM", event.at),
            events.IntReceived: lambda event: self._stop.interrupt(event.at),
            events.QuitReceived: lambda event: self._stop.quit("QUIT", event.at),
            events.TtinReceived: self._on_ttin,
            events.TtouReceived: self._on_ttou,
            events.WinchReceived: self._on_winch,
            events.Usr1Received: self._on_usr1,
            events.Usr2Received: self._on_usr2,
        }

    def handle(self, event: events.Event) -> list[Action]:
        """Take an event in and return what is to be done, in order."""
        self._handlers[type(event)](event)
        self._move_on(event.at)
        actions, self.crew.actions = self.crew.actions, []
        return actions

    @property
    def reload(self) -> Reload | None:
        """The reload in progress."""
        return self.succession.reload

    @property
    def stopping(self) -> bool:
        """Whether the server stops."""
        return self._stop.under_way

    @property
    def ending(self) -> bool:
        """Whether a stop has been asked for: it is under way, or begins after `--shutdown-delay`."""
        return self._stop.under_way or self._stop.begins_at is not None

    @property
    def _at_rest(self) -> bool:
        """Whether no worker is wanted: from WINCH until a reload brings them back, and while nothing boots."""
        return self._waiting or (self.crew.resting and self.reload is None)

    def next_deadline(self) -> float | None:
        """Return when a `Tick` is due at the latest (monotonic seconds), None: not at all."""
        due = self.crew.deadlines()
        reload = self.reload.deadline() if self.reload else None
        for deadline in (reload, self.succession.recycling.deadline(), self._stop.begins_at):
            if deadline is not None:
                due.append(deadline)
        return min(due, default=None)

    # workers

    def _on_started(self, event: events.Started) -> None:
        self._started_at = event.at
        for _ in range(self.crew.policy.workers):
            self.crew.open_slot(self.succession.generation)

    def _on_ready(self, event: events.WorkerReady) -> None:
        worker = self._worker(event, Phase.BOOTING)
        if worker is None:
            return
        worker.phase = Phase.READY
        worker.deadline = None
        self.served = True
        self._interface = event.interface
        if self._stop.begins_at is not None:
            self.crew.do(AnnounceStop())
        swap = self.succession.swap
        if swap and swap.owns(worker):
            swap.note_ready(worker, event.at)
        else:
            self.crew.accept(worker, event.at)

    def _on_accepting(self, event: events.WorkerAccepting) -> None:
        worker = self._worker(event, Phase.TRUSTED)
        if worker is None:
            return
        worker.phase = Phase.ACCEPTING
        worker.deadline = None
        worker.accepting_since = event.at
        swap = self.succession.swap
        if swap and swap.owns(worker):
            swap.note_accepting(worker, event.at)
        self.crew.pair_retiring(worker)

    def _on_failed(self, event: events.WorkerFailed) -> None:
        worker = self._worker(event)
        if worker is None:
            return
        if event.traceback and not self.stopping and (self.served or worker.phase in ALIVE):
            self.crew.do(SayTraceback(worker.number, event.traceback))
        if worker.phase in ALIVE:
            self.crew.end(worker, event.at, told=True)
            self._lose(worker, f"did not boot: {event.reason}", event.at, event.reason)

    def _on_draining(self, event: events.WorkerDraining) -> None:
        worker = self._worker(event)
        if worker is None:
            return
        answers, worker.owes_draining = worker.owes_draining, False
        if not (answers or worker.killed) and worker.phase in ALIVE:
            self._leave(worker, "drains: it was told to leave (TERM)", event.at)

    def _on_saturated(self, event: events.WorkerSaturated) -> None:
        worker = self._worker(event, Phase.ACCEPTING)
        if worker is not None and not self.stopping:
            self.crew.pair_for_relief(worker, event.have)

    def _on_wants_replacement(self, event: events.WorkerWantsReplacement) -> None:
        worker = self._worker(event)
        if worker is not None:
            self.succession.recycling.request(worker, event.cause, event.at)

    def _on_disconnected(self, event: events.WorkerDisconnected) -> None:
        worker = self._worker(event)
        if worker is None or worker.killed or worker.phase not in ALIVE:
            return
        if worker.phase is not Phase.BOOTING:
            # No word of ours reaches it any more; TERM asks for the same.
            self.crew.do(Kill(worker.number, SIGTERM))
        self._leave(worker, "closed its control socket", event.at)

    def _leave(self, worker: Worker, what: str, at: float) -> None:
        """Part with a worker that goes by itself."""
        if worker.phase in {Phase.TRUSTED, Phase.ACCEPTING}:
            self.crew.part(worker)
        self.crew.dismiss(worker, at, cause="it leaves", timeout=self.crew.policy.drain_timeout)
        self._lose(worker, what, at)

    def _on_handed_over(self, event: events.WorkerHandedOver) -> None:
        worker = self._worker(event, Phase.DRAINING)
        if worker is not None:
            worker.handover_due = None

    def _on_stuck(self, event: events.ReceiverGotStuck) -> None:
        receiver = self.crew.workers.get(event.receiver)
        if receiver is not None and not receiver.killed and not self.stopping:
            text = f"worker {receiver.number} answers no offers of worker {event.worker}: killed, to know who owns what"
            self.crew.do(SayNotice(text, grave=True))
            self.crew.kill(receiver, event.at)

    def _on_exited(self, event: events.WorkerExited) -> None:
        worker = self._worker(event)
        if worker is None:
            return
        phase, killed = worker.phase, worker.killed
        self.crew.do(Forget(worker.number, clean=phase is Phase.DRAINING and event.status == 0))
        what = describe_exit(event.status)
        if phase in ALIVE:
            if phase is Phase.BOOTING:
                what += f" before it was ready{event.remark}"
            worker.phase = Phase.ENDING
            self._lose(worker, what, event.at)
        elif phase is Phase.DRAINING and event.status != 0 and not killed:
            self.crew.do(SayWorkerLost(worker.number, f"{what} while it drained", None))
        elif killed and phase is Phase.DRAINING:
            self.crew.do(SayWorkerLost(worker.number, f"{what}: it did not leave in time", None))
        self.crew.forget(worker)

    def _lose(self, worker: Worker, what: str, at: float, reason: str = "") -> None:
        """A worker of which something was expected is of no use any more: decide what that means.

        `what` goes on after the worker's name; `reason` says it without that.
        """
        slot, swap = worker.slot, self.succession.swap
        reason = reason or f"worker {worker.number} {what}"
        if self.stopping:
            return
        if not self.served:
            self._fail_boot(reason, at)
            return
        if swap and swap.owns(worker):
            swap.abort(reason, at)
            return
        if slot.serving is not worker:
            return
        slot.serving = None
        delay = None
        predecessor = None if slot.closed or self._at_rest else self.crew.interrupted(worker)
        if predecessor is not None:
            self.crew.resume(predecessor, at)
            hint = f"amid the handover: worker {predecessor.number} of generation {predecessor.generation} serves on"
            self.crew.do(SayWorkerLost(worker.number, what, None, hint))
            if swap:
                swap.note_resumed(predecessor, what, at)
            return
        if not (slot.closed or self._at_rest):
            if swap:
                swap.note_lost(slot, what, at)
            if not (swap and swap.swaps(slot)):
                delay = self.crew.respawn_delay(slot, worker, at)
                slot.respawn_at = at + delay
        hint = ""
        if self.succession.refused and worker.accepting_since is None:
            hint = "what is on disk does not boot since the reload that was refused; "
            others = len(self.crew.acceptors())
            hint += f"{others} other {'worker serves' if others == 1 else 'workers serve'} on"
        self.crew.do(SayWorkerLost(worker.number, what, delay, hint))

    def _fail_boot(self, reason: str, at: float) -> None:
        """The first generation does not boot: end, or wait for better code."""
        if not self.crew.policy.waits_for_change:
            self._stop.fail_boot(reason, at)
        elif not self._waiting:
            self._waiting, self._changed = not self._changed, False
            next_ = "waiting for a change (--reload)" if self._waiting else "once more, files have changed"
            self.crew.do(SayNotice(f"nothing boots: {reason}; {next_}", grave=True))
            self.succession.forget_request()
            self._started_at = at
            for slot in self.crew.slots.values():
                slot.serving = slot.respawn_at = None
            for worker in self.crew.workers.values():
                self.crew.end(worker, at, told=False)

    # time

    def _on_tick(self, event: events.Tick) -> None:
        self._stop.tick(event.at)
        for worker in list(self.crew.workers.values()):
            if worker.handover_due is not None and event.at >= worker.handover_due:
                swap = self.succession.swap
                if swap and swap.awaits(worker):
                    text = f"worker {worker.number} does not answer: the {swap.name} goes on without it"
                    self.crew.do(SayNotice(text, grave=True))
                worker.handover_due = None
            if worker.deadline is not None and event.at >= worker.deadline:
                self._overdue(worker, event.at)

    def _overdue(self, worker: Worker, at: float) -> None:
        policy = self.crew.policy
        if worker.killed:
            worker.deadline = None
            if self.stopping:
                self.crew.do(SayNotice(f"worker {worker.number} survives SIGKILL: leaving without it", grave=True))
                self.crew.forget(worker)
            elif worker.phase in ALIVE:
                self._lose(worker, "survives SIGKILL: going on without it", at)
        elif worker.phase is Phase.BOOTING:
            self.crew.end(worker, at, told=False)
            self._lose(worker, f"was not ready within {policy.boot_timeout:g} s (--boot-timeout)", at)
        elif worker.phase is Phase.TRUSTED:
            self._leave(worker, "was ready and then did not answer", at)
        else:
            self.crew.kill(worker, at)

    def _move_on(self, at: float) -> None:
        """After each event: do what has become possible."""
        self.succession.advance(at)
        self.crew.bound_retiring(at)
        if self.stopping:
            self._stop.advance()
            return
        wanted = self.crew.wanted()
        if not self._announced and self.served and all(slot.accepting for slot in wanted):
            self._announced = True
            self.crew.do(SayReady(self._interface, at - self._started_at, len(wanted)))
        if self.served:
            self.succession.go_on()
        if not self._at_rest:
            self._fill_slots(at)

    def _fill_slots(self, at: float) -> None:
        """Staff the slots that nobody holds, unless their respawn is not due yet or the reload fills them."""
        for slot in self.crew.wanted():
            if slot.serving is not None:
                continue
            if slot.respawn_at is not None:
                due = at >= slot.respawn_at
            else:
                swap = self.succession.swap
                due = not (swap and swap.fills(slot))
            if due:
                self.crew.staff(slot, at)

    # reload

    def _on_hangup(self, event: events.HangupReceived) -> None:
        if self.stopping:
            return
        changed = isinstance(event, events.FilesChanged)
        if self._waiting:
            self._waiting = False
            self._started_at = event.at
            if changed:
                return
        elif changed and not self.served:
            # Those that boot may have read the old code.
            self._changed = True
        self.succession.request(event.at, ready=self.served)

    def _on_configuration(self, event: events.ConfigurationLoaded) -> None:
        if not self.stopping:
            self.succession.configure(event.policy, event.at)

    def _on_configuration_refused(self, event: events.ConfigurationRefused) -> None:
        if not self.stopping:
            self.succession.refuse_configuration(event.reason)

    # the operator

    def _on_ttin(self, event: events.TtinReceived) -> None:
        del event
        if self.stopping:
            return
        slot = self.crew.open_slot(self.succession.trusted)
        if self.reload:
            self.reload.add(slot)
        self._say_wanted("TTIN")

    def _on_ttou(self, event: events.TtouReceived) -> None:
        if self.stopping:
            return
        wanted = self._wanted()
        if len(wanted) <= 1:
            self.crew.do(SayNotice("TTOU: there is one worker only, which stays"))
            return
        slot = spare(wanted)
        if self.succession.swap:
            self.succession.swap.remove(slot, event.at)
        self.crew.close_slot(slot, event.at, "TTOU")
        self._say_wanted("TTOU")

    def _wanted(self) -> list[Slot]:
        """Return the slots that are to hold a worker, without those that the reload is about to give up."""
        return self.reload.staying() if self.reload else self.crew.wanted()

    def _say_wanted(self, cause: str) -> None:
        wanted = len(self._wanted())
        self.crew.do(SayNotice(f"{cause}: {wanted} {'worker' if wanted == 1 else 'workers'} from now on"))

    def _on_winch(self, event: events.WinchReceived) -> None:
        if self.stopping or self.crew.resting or not self.served:
            return
        self.crew.do(SayNotice("WINCH: draining the workers and closing the listeners; HUP brings them back"))
        self.succession.abandon("WINCH")
        self.crew.resting = True
        for worker in list(self.crew.workers.values()):
            if worker.slot.serving is worker:
                self.crew.retire(worker, event.at, cause="WINCH", final=True)
            elif worker.phase in ALIVE:
                self.crew.dismiss(worker, event.at, cause="WINCH", timeout=self.crew.policy.drain_timeout, final=True)
        for slot in self.crew.slots.values():
            slot.respawn_at = None
        self.crew.do(CloseListeners())

    def _on_usr1(self, event: events.Usr1Received) -> None:
        del event
        self.crew.do(ReopenLogs())

    def _on_usr2(self, event: events.Usr2Received) -> None:
        del event
        self.crew.do(SayNotice("USR2: this version cannot upgrade in place yet; reload with HUP, or stop and start"))

    def _worker(self, event: events.WorkerEvent, phase: Phase | None = None) -> Worker | None:
        worker = self.crew.workers.get(event.worker)
        return worker if worker is not None and phase in {None, worker.phase} else None


def describe_exit(status: int) -> str:
    """Say how a process ended: its exit status, or minus the signal that killed it."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        name = Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"died by {name}"
