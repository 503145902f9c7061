"""Recycling: workers that ask to be replaced get a successor of their own generation, one at a time.

A recycle is a reload of one slot, without a new configuration. A reload absorbs it. Pure, as `crew.py`.
"""

from smoothserve.master.actions import SayNotice, SayRecycleBegan, SayRecycled, SayRecycleFailed
from smoothserve.master.crew import Crew, Phase, Slot, Worker
from smoothserve.master.reload import Reload, Result

#: Seconds until the next attempt after a failed one, doubled for each in a row.
FIRST_RETRY_DELAY = 1.0
LONGEST_RETRY_DELAY = 300.0


class Recycle(Reload):
    """The swap of one worker for another of its generation."""

    name = "recycle"

    def __init__(self, crew: Crew, worker: Worker, at: float) -> None:
        super().__init__(crew, worker.slot.generation, [worker.slot], [], at)
        self.all_at_once = False
        self.worker = worker

    def begin(self, at: float, earlier: Reload | None = None) -> None:
        """Start the successor."""
        del earlier
        self._crew.do(SayRecycleBegan(self.worker.number, self.worker.recycle))
        self.advance(at)

    def _make_room(self, slot: Slot, at: float) -> None:
        """Cut nobody: unlike a reload, a recycle can wait until an older one of the slot has left."""


class Recycling:
    """Which worker is recycled, which ones wait for their turn, when to try again after a failure."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self.swap: Recycle | None = None
        """The recycle in progress."""
        self._failures = 0
        self._retry_at: float | None = None

    def request(self, worker: Worker, cause: str, at: float) -> None:
        """Note that a worker asks to be replaced, and why."""
        if not worker.recycle:
            worker.recycle, worker.recycle_asked_at = cause, at

    def deadline(self) -> float | None:
        """Return when there is something to do at the latest."""
        if self.swap is not None:
            return self.swap.deadline()
        return self._retry_at if self._next() is not None else None

    def advance(self, at: float, *, may_begin: bool) -> None:
        """Do what has become possible: end the recycle that is over, begin the next."""
        if self._retry_at is not None and at >= self._retry_at:
            self._retry_at = None
        if self.swap is not None:
            self.swap.advance(at)
            if self.swap.result is not None:
                self._close(self.swap, at)
        worker = self._next()
        if may_begin and self.swap is None and self._retry_at is None and worker is not None:
            self.swap = Recycle(self._crew, worker, at)
            self.swap.begin(at)

    def give_way(self, generation: int, at: float) -> None:
        """A reload begins: it replaces this worker, too."""
        swap = self.swap
        if swap is None:
            return
        if swap.unfinished:
            text = f"recycle: worker {swap.worker.number} is replaced by the reload of generation {generation} instead"
            self._crew.do(SayNotice(text))
            swap.withdraw(at)
            self.swap = None
        else:
            swap.result = Result.FINISHED
            self._close(swap, at)

    def abandon(self, cause: str) -> None:
        """The server stops or rests; who does what is the stop's to say."""
        if self.swap is not None:
            self.swap.abandon(cause)
            self.swap = None

    def _next(self) -> Worker | None:
        """Return the worker that has waited longest. One whose slot is full of retiring workers waits on."""
        waiting = [
            worker
            for slot in self._crew.wanted()
            if (worker := slot.serving) is not None
            and worker.recycle
            and worker.phase is Phase.ACCEPTING
            and not worker.killed
            and self._crew.has_room(slot)
        ]
        return min(waiting, key=lambda worker: (worker.recycle_asked_at, worker.number), default=None)

    def _close(self, swap: Recycle, at: float) -> None:
        self.swap = None
        if swap.result is Result.FINISHED:
            self._failures = 0
            successor = swap.worker.slot.serving
            if swap.has_swapped and successor is not None:
                self._crew.do(SayRecycled(swap.worker.number, successor.number, at - swap.began_at))
            return
        delay = min(LONGEST_RETRY_DELAY, FIRST_RETRY_DELAY * 2.0 ** min(self._failures, 16))
        self._failures += 1
        self._retry_at = at + delay
        serves = swap.worker.slot.serving is swap.worker
        self._crew.do(SayRecycleFailed(swap.worker.number, swap.reason, serves, delay))
