"""One reload: which slot is swapped when, when a successor may accept, when it is over, what ends it early.

    slot: SPAWN -> WAIT_READY -> SOAK -> PAIR -> HANDOVER -> next slot

Pure, as `crew.py`. `advance` may be called at any time: it does what has become possible.
"""

from enum import Enum

from smoothserve.master.actions import SayNotice, SayReloadBegan
from smoothserve.master.crew import Crew, Phase, Slot, Worker


class Result(Enum):
    """How a reload ended."""

    FINISHED = "finished"
    REFUSED = "refused"
    MIXED = "mixed"
    ABANDONED = "abandoned"


class Reload:
    """A reload in progress. `slots` are swapped (or filled), `surplus` given up at the end."""

    name = "reload"

    def __init__(self, crew: Crew, generation: int, slots: list[Slot], surplus: list[Slot], at: float) -> None:
        self._crew = crew
        self.generation = generation
        self.began_at = at
        self.result: Result | None = None
        self.reason = ""
        self.all_at_once = crew.policy.all_at_once
        # A slot without an acceptor gains most.
        self._queue = sorted(slots, key=lambda slot: (slot.accepting, slot.index))
        self._surplus = surplus
        self.added: list[Slot] = []
        """Slots that are given up again if it does not succeed."""
        self.opened: set[int] = set()
        """Slots that it fills for the first time."""
        self._active: dict[int, Worker] = {}
        self.swapped: set[int] = set()
        self.has_swapped = False
        """A slot was swapped, though that may have been undone since."""
        self._refreshed: set[int] = set()
        self._lost: set[int] = set()
        self._canary: Worker | None = None
        self._soak_until: float | None = None
        self._soaked = False
        self.predecessors: list[Worker] = []

    # what the state machine asks

    def owns(self, worker: Worker) -> bool:
        """Whether a worker is a successor of this reload that has not taken its slot yet."""
        return self._active.get(worker.slot.index) is worker

    def swaps(self, slot: Slot) -> bool:
        """Whether a successor for the slot is on its way."""
        return slot.index in self._active

    def awaits(self, worker: Worker) -> bool:
        """Whether the reload waits for a predecessor to hand over."""
        return worker in self.predecessors and worker.phase is Phase.DRAINING and worker.handover_due is not None

    def fills(self, slot: Slot) -> bool:
        """Whether it is this reload's to say who holds the slot next, now or when its turn comes; perhaps nobody."""
        return self.swaps(slot) or slot in self._queue or slot in self._surplus

    def staying(self) -> list[Slot]:
        """Return the slots that are to hold a worker once the reload is over."""
        return [slot for slot in self._crew.wanted() if slot not in self._surplus]

    def deadline(self) -> float | None:
        """Return when the soak is over, if that is ahead."""
        return self._soak_until

    @property
    def unfinished(self) -> bool:
        """Whether slots are left to swap or to give up."""
        return bool(self._queue or self._active or self._surplus)

    # moves

    def begin(self, at: float, earlier: "Reload | None" = None) -> None:
        """Start the first successor, or all of them, perhaps afresh: `earlier` had not swapped anything yet."""
        if earlier is None:
            self._crew.do(SayReloadBegan(self.generation))
        else:
            self.began_at = earlier.began_at
            self._refreshed = {slot.index for slot in self._queue}
            self._say_afresh()
        if self.all_at_once:
            while self._queue:
                self._next_slot(at)
        self.advance(at)

    def add(self, slot: Slot) -> None:
        """Fill one slot more (TTIN)."""
        self._queue.append(slot)
        self.opened.add(slot.index)

    def remove(self, slot: Slot, at: float) -> None:
        """Leave a slot out that is given up (TTOU)."""
        self._queue = [one for one in self._queue if one is not slot]
        for marked in (self.swapped, self.opened, self._lost):
            marked.discard(slot.index)
        successor = self._active.pop(slot.index, None)
        if successor is not None:
            self._crew.let_go(successor, at, f"the {self.name} was refused")
        if successor is not None and successor is self._canary and not self._soaked:
            self._canary = self._soak_until = None
            for worker in self._active.values():
                if worker.phase is Phase.READY:
                    self.note_ready(worker, at)

    def note_ready(self, worker: Worker, at: float) -> None:
        """A successor is ready. The first one is the canary: all wait until it has been watched for a while."""
        if not self._soaked and self._canary is None:
            self._canary = worker
            self._soak_until = at + self._crew.policy.soak_interval

    def note_accepting(self, worker: Worker, at: float) -> None:
        """A successor accepts: it takes its slot, and its predecessor drains."""
        slot = worker.slot
        del self._active[slot.index]
        self.swapped.add(slot.index)
        self.has_swapped = True
        predecessor = self._crew.swap(worker, at, self.name)
        if predecessor is not None:
            self.predecessors.append(predecessor)

    def note_lost(self, slot: Slot, what: str, at: float) -> None:
        """A slot that was swapped has lost its worker. Once, its replacement is waited for; then the reload ends."""
        if not self.unfinished or slot.index not in self.swapped:
            return
        if slot.index in self._lost:
            self.abort(f"slot {slot.index}: {what}, and so did its replacement", at)
        self._lost.add(slot.index)

    def note_resumed(self, predecessor: Worker, what: str, at: float) -> None:
        """A successor was lost amid the handover, and its predecessor serves on. Once, the slot is swapped again."""
        slot = predecessor.slot
        if predecessor not in self.predecessors:
            return  # an earlier reload's: the slot's turn is still to come, or on its way
        self.predecessors.remove(predecessor)
        self.swapped.discard(slot.index)
        if slot.index in self._lost:
            self.abort(f"slot {slot.index}: {what}, and so did its replacement", at)
        else:
            self._lost.add(slot.index)
            self._queue.append(slot)

    def refresh(self, at: float) -> None:
        """Start the slots afresh whose successors still boot: they may have read code that is out of date."""
        self._say_afresh()
        for index, worker in list(self._active.items()):
            self._crew.dismiss(worker, at, cause="HUP", timeout=self._crew.policy.graceful_timeout)
            self._refreshed.add(index)
            self._active[index] = self._crew.spawn(worker.slot, self.generation, at)

    def may_refresh(self) -> bool:
        """Whether a HUP can start what is on its way afresh: it still boots, and for the first time."""
        booting = any(worker.phase is Phase.BOOTING for worker in self._active.values())
        trusted = any(worker.phase is Phase.TRUSTED for worker in self._active.values())
        again = not self._refreshed.isdisjoint(self._active)
        return booting and not trusted and not again and not (self.all_at_once and self.has_swapped)

    def abort(self, reason: str, at: float) -> None:
        """End the reload early: what serves, serves on; successors that do not are let go."""
        if self.result is None:
            self.result = Result.MIXED if self.swapped else Result.REFUSED
            self.reason = reason
            self.withdraw(at)

    def abandon(self, cause: str) -> None:
        """End the reload because the server stops; who does what is the stop's to say."""
        self.result = Result.ABANDONED
        self.reason = cause
        self._active.clear()
        self._queue.clear()
        self._surplus.clear()

    def withdraw(self, at: float) -> None:
        """Let every successor go that has not taken its slot."""
        for worker in self._active.values():
            self._crew.let_go(worker, at, f"the {self.name} was refused")
        self._active.clear()
        self._queue.clear()
        self._surplus.clear()

    def advance(self, at: float) -> None:
        """Do what has become possible, and see whether the reload is over."""
        if self.result is not None:
            return
        if self._soak_until is not None and at >= self._soak_until:
            self._soak_until, self._soaked = None, True
        for index, worker in list(self._active.items()):
            slot = self._crew.slots[index]
            if worker.phase is Phase.READY or self.swapped:
                self._make_room(slot, at)
            if self._may_accept(slot, worker):
                self._crew.accept(worker, at)
        if not self._active and self._queue:
            self._next_slot(at)
        if self._surplus and not self._queue and not self._active and self._may_give_up():
            for slot in self._surplus:
                self._give_up(slot, at)
            self._surplus = []
        if not self.unfinished and not any(self.awaits(worker) for worker in self.predecessors):
            self.result = Result.FINISHED

    # inside

    def _make_room(self, slot: Slot, at: float) -> None:
        """See that one more worker of the slot may retire: the oldest ends soon."""
        self._crew.shed(slot, at, max(1, self._crew.policy.max_draining))

    def _say_afresh(self) -> None:
        text = f"reload: generation {self.generation}: HUP while it boots: what has not been swapped starts afresh"
        self._crew.do(SayNotice(text))

    def _next_slot(self, at: float) -> None:
        slot = self._queue.pop(0)
        self._active[slot.index] = self._crew.spawn(slot, self.generation, at)

    def _may_accept(self, slot: Slot, worker: Worker) -> bool:
        if worker.phase is not Phase.READY:
            return False
        if not self._crew.acceptors():
            return True  # nobody serves: there is nothing that waiting would protect
        if slot.serving is None:
            return self._soaked
        if self.all_at_once and any(one.phase is Phase.BOOTING for one in self._active.values()):
            return False
        return self._soaked and self._crew.has_room(slot) and not self._waits_for_lost()

    def _may_give_up(self) -> bool:
        return all(slot.accepting for slot in self.staying())

    def _waits_for_lost(self) -> bool:
        return any(not self._crew.slots[index].accepting for index in self._lost)

    def _give_up(self, slot: Slot, at: float) -> None:
        if slot.serving is not None and slot.serving.phase is not Phase.BOOTING:
            self.predecessors.append(slot.serving)
        self._crew.close_slot(slot, at, "reload: fewer workers")

    def drained(self) -> bool:
        """Whether the last worker that this reload replaced has left."""
        return not any(worker.number in self._crew.workers for worker in self.predecessors)
