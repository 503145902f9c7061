"""The master's view of its workers and slots, and the moves that every rule is made of.

Pure: a move changes the view and notes the actions that make it true. When to make which move is decided in
`state.py` and `reload.py`.
"""

from dataclasses import dataclass, field
from enum import Enum
from signal import SIGKILL, SIGTERM

from smoothserve.master.actions import Action, Kill, Pair, SendAccept, SendDrain, Spawn
from smoothserve.master.policy import Policy

#: Seconds for a worker that was told to accept to say that it does.
ACCEPT_TIMEOUT = 10.0
#: Seconds after which a draining worker that says nothing counts as having handed over what it could.
#: Longer than a handover takes to find its receiver stuck.
HANDOVER_TIMEOUT = 15.0
#: Idle connections of a server that stops linger this long: enough for what is on the wire.
FINAL_LINGER_TIMEOUT = 1.0
#: Seconds after SIGKILL until nobody waits any more for a process that the kernel keeps.
GIVE_UP_TIMEOUT = 5.0
FIRST_RESPAWN_DELAY = 0.1
LONGEST_RESPAWN_DELAY = 30.0
#: A worker that has accepted for this long clears its slot's record of failures.
GOOD_LIFE_SECONDS = 30.0


class Phase(Enum):
    """Where a worker is in its life."""

    BOOTING = "booting"
    READY = "ready"
    """Booted, not told to accept yet."""
    TRUSTED = "trusted"
    """Told to accept, has not said yet that it does."""
    ACCEPTING = "accepting"
    DRAINING = "draining"
    ENDING = "ending"
    """Failed or told to go before it served: nothing is expected of it but its exit."""


#: Phases in which a worker is, or is about to be, of use.
ALIVE = frozenset({Phase.BOOTING, Phase.READY, Phase.TRUSTED, Phase.ACCEPTING})


@dataclass(slots=True, eq=False)
class Worker:
    """The master's view of a worker."""

    number: int
    slot: "Slot"
    generation: int
    phase: Phase = Phase.BOOTING
    deadline: float | None = None
    """When the phase must be over: booted, accepting, gone."""
    handover_due: float | None = None
    """When a draining worker that has said nothing counts as having handed over."""
    owes_draining: bool = False
    """It was told to drain and has not said yet that it does. That word may come when it was told to serve on."""
    accepting_since: float | None = None
    receivers: set[int] = field(default_factory=set)
    """The workers that this one hands over to."""
    relievers: set[int] = field(default_factory=set)
    """The workers that take from this one while its threads are all stuck in calls."""
    final: bool = False
    """It drains because the server stops: it hands nothing over."""
    successor: int | None = None
    """The worker that has taken its slot. If that is lost amid the handover, this one serves on."""
    recycle: str = ""
    """Why it asks to be replaced."""
    recycle_asked_at: float = 0.0
    shed: bool = False
    """It was told to end early, to make room for another retiring one."""
    killed: bool = False


@dataclass(slots=True, eq=False)
class Slot:
    """A place for one serving worker; during a swap the reload holds its successor."""

    index: int
    generation: int
    serving: Worker | None = None
    """The worker that holds the slot; it may still be booting."""
    retiring: list[Worker] = field(default_factory=list)
    """Workers that served here and drain, oldest first."""
    failures: int = 0
    respawn_at: float | None = None
    closed: bool = False
    """No longer wanted: its workers leave."""

    @property
    def accepting(self) -> bool:
        """Whether the slot's worker accepts connections."""
        return self.serving is not None and self.serving.phase is Phase.ACCEPTING and not self.serving.killed


def spare(slots: list[Slot]) -> Slot:
    """Return the slot to give up: one that does not accept, else the last one. So the last acceptor stays."""
    return max(slots, key=lambda slot: (not slot.accepting, slot.index))


def back_off(failures: int) -> float:
    """Return how long to wait after a failure, when there have been so many before."""
    return min(LONGEST_RESPAWN_DELAY, FIRST_RESPAWN_DELAY * 2.0 ** min(failures, 16))


class Crew:
    """All workers and slots of a master."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.slots: dict[int, Slot] = {}
        self.workers: dict[int, Worker] = {}
        self.actions: list[Action] = []
        self.resting = False
        """WINCH: no workers, no listeners, until a HUP."""
        self._spawned = 0

    def do(self, action: Action) -> None:
        """Note an action for the driver."""
        self.actions.append(action)

    # what there is

    def wanted(self) -> list[Slot]:
        """Return the slots that are to hold a worker, in order."""
        return [slot for _, slot in sorted(self.slots.items()) if not slot.closed]

    def acceptors(self) -> list[Worker]:
        """Return the workers that accept connections."""
        return [one for one in self.workers.values() if one.phase is Phase.ACCEPTING and not one.killed]

    def deadlines(self) -> list[float]:
        """Return all moments at which something is due."""
        due = [worker.deadline for worker in self.workers.values()]
        due += [worker.handover_due for worker in self.workers.values()]
        due += [slot.respawn_at for slot in self.slots.values()]
        return [at for at in due if at is not None]

    # slots

    def open_slot(self, generation: int) -> Slot:
        """Add a slot: the lowest number that is free or closed."""
        index = next(i for i in range(len(self.slots) + 1) if i not in self.slots or self.slots[i].closed)
        slot = self.slots.get(index)
        if slot is None:
            slot = self.slots[index] = Slot(index, generation)
        slot.closed = False
        slot.generation = generation
        slot.failures = 0
        return slot

    def close_slot(self, slot: Slot, at: float, cause: str) -> None:
        """Give a slot up: its worker drains."""
        slot.closed = True
        slot.respawn_at = None
        if slot.serving is not None:
            self.pair_with_siblings(slot.serving)
            self.retire(slot.serving, at, cause=cause)
        self._tidy(slot)

    def _tidy(self, slot: Slot) -> None:
        """Strike out a closed slot that holds nobody."""
        if slot.closed and not any(worker.slot is slot for worker in self.workers.values()):
            self.slots.pop(slot.index, None)

    # workers

    def spawn(self, slot: Slot, generation: int, at: float) -> Worker:
        """Start a worker for a slot; who it becomes there is the caller's to say."""
        self._spawned += 1
        worker = Worker(self._spawned, slot, generation, deadline=at + self.policy.boot_timeout)
        self.workers[worker.number] = worker
        slot.respawn_at = None
        self.do(Spawn(worker.number, slot.index, generation))
        return worker

    def staff(self, slot: Slot, at: float) -> None:
        """Start a worker that is to hold the slot."""
        slot.serving = self.spawn(slot, slot.generation, at)

    def accept(self, worker: Worker, at: float) -> None:
        """Let a worker that is ready accept."""
        worker.phase = Phase.TRUSTED
        worker.deadline = at + ACCEPT_TIMEOUT
        self.do(SendAccept(worker.number))

    def pair(self, receiver: Worker, sender: Worker) -> None:
        """Let a worker that leaves hand its connections over to one that accepts."""
        if receiver.number not in sender.receivers and not (sender.final or sender.killed or receiver.killed):
            sender.receivers.add(receiver.number)
            self.do(Pair(receiver.number, sender.number))

    def pair_with_siblings(self, sender: Worker) -> None:
        """Let a worker that leaves without a successor hand over to the workers that serve on."""
        if sender.phase in {Phase.BOOTING, Phase.ENDING}:
            return  # it has none
        for receiver in self.acceptors():
            if receiver is not sender and not receiver.slot.closed:
                self.pair(receiver, sender)

    def pair_for_relief(self, sender: Worker, have: frozenset[int]) -> None:
        """Let a worker that has no thread free offer what comes to its siblings, if they are not of older code.

        It has channels to those that it says: one that was made may have been lost on its way, or given up.
        """
        if sender.killed:
            return
        sender.relievers &= have
        for receiver in self.acceptors():
            serves = receiver.slot.serving is receiver and not receiver.slot.closed
            if receiver is sender or not serves or receiver.generation < sender.generation:
                continue
            if receiver.number not in sender.relievers:
                sender.relievers.add(receiver.number)
                self.do(Pair(receiver.number, sender.number, relief=True))

    def pair_retiring(self, receiver: Worker) -> None:
        """Let workers that still drain hand what becomes free over to a worker that has begun to accept.

        Those of its own slot, and those whose slot is given up: nobody else will succeed these.
        """
        for slot in self.slots.values():
            if slot is receiver.slot or slot.closed:
                for sender in slot.retiring:
                    if sender.phase is Phase.DRAINING and not sender.shed:
                        self.pair(receiver, sender)

    def interrupted(self, worker: Worker) -> Worker | None:
        """Return the predecessor that was handing over to a worker when that was lost, and can serve on."""
        if worker.phase in ALIVE:
            return None  # its process is there: its end, which decides what it owns, is still to come
        for sender in reversed(worker.slot.retiring):
            unfinished = sender.phase is Phase.DRAINING and sender.handover_due is not None
            if sender.successor == worker.number and unfinished and not (sender.killed or sender.shed or sender.final):
                return sender
        return None

    def resume(self, worker: Worker, at: float) -> None:
        """Let a worker whose successor is gone amid the handover accept again and hold its slot."""
        slot = worker.slot
        slot.retiring.remove(worker)
        slot.serving = worker
        slot.generation = worker.generation
        worker.handover_due = None
        worker.successor = None
        worker.receivers.clear()
        worker.relievers.clear()
        self.accept(worker, at)

    def swap(self, successor: Worker, at: float, cause: str) -> Worker | None:
        """Let a worker that accepts take its slot; return the one that held it, if that hands over now."""
        slot = successor.slot
        predecessor, slot.serving = slot.serving, successor
        slot.generation = successor.generation
        slot.failures = 0
        slot.respawn_at = None
        if predecessor is None:
            return None
        if predecessor.phase is Phase.BOOTING:
            self.dismiss(predecessor, at, cause=cause, timeout=self.policy.graceful_timeout)
            return None
        predecessor.successor = successor.number
        self.pair(successor, predecessor)
        self.retire(predecessor, at, cause=cause)
        return predecessor

    def let_go(self, successor: Worker, at: float, cause: str) -> None:
        """Let a worker go that has not taken its slot. One that was told to accept may hold connections."""
        if successor.phase is Phase.TRUSTED:
            self.part(successor)
        if successor.phase in {Phase.BOOTING, Phase.READY, Phase.TRUSTED}:
            self.dismiss(successor, at, cause=cause, timeout=self.policy.drain_timeout)

    def part(self, worker: Worker) -> None:
        """Count a worker that leaves without a successor among the retiring ones: its siblings take over from it."""
        self.pair_with_siblings(worker)
        worker.slot.retiring.append(worker)

    def retire(self, worker: Worker, at: float, *, cause: str, final: bool = False) -> None:
        """Let the worker that holds a slot go. What it has in hand it finishes, within the drain timeout."""
        slot = worker.slot
        if slot.serving is worker:
            slot.serving = None
        if worker.phase is not Phase.BOOTING:
            slot.retiring.append(worker)
        self.dismiss(worker, at, cause=cause, final=final, timeout=self.policy.drain_timeout)

    def has_room(self, slot: Slot) -> bool:
        """Whether one more of the slot's workers may retire. What SIGKILL does not end, nobody waits for."""
        staying = [worker for worker in slot.retiring if not worker.killed]
        return len(staying) < max(1, self.policy.max_draining)

    def bound_retiring(self, at: float) -> None:
        """See that no slot has more than `max_draining` retiring workers: beyond that the oldest end soon.

        Only once all that follows from an event is decided: an old one may be needed again.
        """
        for slot in self.slots.values():
            self.shed(slot, at, max(1, self.policy.max_draining) + 1)

    def shed(self, slot: Slot, at: float, limit: int) -> None:
        """Let the oldest retiring workers of a slot end within the graceful time, so that fewer than `limit` stay."""
        staying = [worker for worker in slot.retiring if not worker.shed]
        for worker in staying[: max(0, len(staying) - limit + 1)]:
            worker.shed = True
            self.drain(worker, at, timeout=self.policy.graceful_timeout, linger=0.0, cause="--max-draining")

    def dismiss(self, worker: Worker, at: float, *, cause: str, timeout: float, final: bool = False) -> None:
        """Let a worker go, whatever it does: one that boots gets TERM, all others drain."""
        if worker.phase in {Phase.BOOTING, Phase.ENDING}:
            self.end(worker, at, told=False)
            return
        linger = FINAL_LINGER_TIMEOUT if final else self.policy.linger_timeout
        self.drain(worker, at, timeout=timeout, linger=linger, final=final, cause=cause)

    def drain(
        self, worker: Worker, at: float, *, timeout: float, linger: float, cause: str, final: bool = False
    ) -> None:
        """Tell a worker to drain; one that drains already gets its deadline brought down, never up."""
        if worker.killed:
            return
        worker.final = worker.final or final
        gone_by = at + timeout + self.policy.kill_timeout
        if worker.phase is not Phase.DRAINING:
            worker.phase = Phase.DRAINING
            worker.owes_draining = True
            worker.deadline = gone_by
            worker.handover_due = at + HANDOVER_TIMEOUT
        elif worker.deadline is None or gone_by < worker.deadline:
            worker.deadline = gone_by
        else:
            timeout = max(0.0, worker.deadline - self.policy.kill_timeout - at)
        # Its receiver may have to boot first.
        receiver_timeout = 0.0 if final else self.policy.boot_timeout + ACCEPT_TIMEOUT
        self.do(SendDrain(worker.number, timeout, min(linger, timeout), final, cause, receiver_timeout))

    def end(self, worker: Worker, at: float, *, told: bool) -> None:
        """Expect nothing but the exit of a worker that never served. Not `told`: it gets TERM."""
        if worker.phase is Phase.ENDING:
            return
        worker.phase = Phase.ENDING
        worker.deadline = at + self.policy.kill_timeout
        worker.handover_due = None
        if not told:
            self.do(Kill(worker.number, SIGTERM))

    def kill(self, worker: Worker, at: float) -> None:
        """End a worker that has had its time. If it survives that, nobody waits for it."""
        worker.killed = True
        worker.deadline = at + GIVE_UP_TIMEOUT
        worker.handover_due = None
        self.do(Kill(worker.number, SIGKILL))

    def forget(self, worker: Worker) -> None:
        """Strike out a worker that is gone."""
        del self.workers[worker.number]
        worker.handover_due = None
        slot = worker.slot
        if slot.serving is worker:
            slot.serving = None
        if worker in slot.retiring:
            slot.retiring.remove(worker)
        self._tidy(slot)

    # respawn

    def respawn_delay(self, slot: Slot, worker: Worker, at: float) -> float:
        """Note a failure in a slot; return how long to wait before the next worker: nothing after a good life."""
        if worker.accepting_since is not None and at - worker.accepting_since >= GOOD_LIFE_SECONDS:
            slot.failures = 0
        failures, slot.failures = slot.failures, slot.failures + 1
        if failures == 0 and worker.accepting_since is not None:
            return 0.0
        return back_off(max(failures - 1, 0))
