"""What has happened, for those who ask: reloads and how they ended, exits, last errors. Watches, decides nothing."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from smoothserve.control.operator import PROGRESS, Line
from smoothserve.control.scoreboard import Counter
from smoothserve.master import actions, events
from smoothserve.master.state import describe_exit
from smoothserve.master.tally import Tally

#: Reloads that are remembered.
MAX_RELOADS = 16
FINISHED, REFUSED, MIXED, ABANDONED = "finished", "refused", "mixed", "abandoned"
#: Why workers are replaced without a reload: they died, or by the option that asks for it.
RESTARTS = ("died", "max-requests", "max-worker-lifetime", "max-memory", "request-timeout", "timeout")
_OPTION = re.compile(r"\(--([a-z-]+)\)")
_LASTING = {
    "handed_over": Counter.HANDED_OVER,
    "websockets_carried": Counter.WEBSOCKETS_CARRIED,
    "dropped": Counter.DROPPED,
}


@dataclass(slots=True)
class ReloadRecord:
    """A reload, in progress (`result` is empty) or over."""

    generation: int
    began_at: float
    result: str = ""
    reason: str = ""
    traceback: str = ""
    seconds: float = 0.0
    swapped: int = 0
    workers: int = 0
    drained: bool = False
    drained_seconds: float = 0.0
    before: dict[str, int] = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)

    def render(self) -> Line:
        """Return what an operator is told."""
        return {
            "generation": self.generation,
            "result": self.result,
            "reason": self.reason,
            "traceback": self.traceback,
            "seconds": round(self.seconds, 3),
            "swapped": self.swapped,
            "workers": self.workers,
            "drained": self.drained,
            "drained_seconds": round(self.drained_seconds, 3),
            **self.counted,
        }


@dataclass(frozen=True, slots=True)
class _Known:
    slot: int
    generation: int


class Chronicle:
    """Takes note of events and actions; keeps what `status` and `reload` tell."""

    def __init__(self, tally: Tally, clock: Callable[[], float] = time.time) -> None:
        self._tally = tally
        self._clock = clock
        self.reloads: dict[int, ReloadRecord] = {}
        self.exits: dict[str, int] = {}
        self.results: dict[str, int] = dict.fromkeys((FINISHED, REFUSED, MIXED, ABANDONED), 0)
        """How many reloads have ended in which way."""
        self.reload_seconds = 0.0
        """How long all of them took together."""
        self.restarts: dict[str, int] = dict.fromkeys(RESTARTS, 0)
        """How many workers were replaced for which cause, other than a reload."""
        self._recycled: dict[int, str] = {}
        self.slot_errors: dict[int, Line] = {}
        self.last_error: Line | None = None
        self.ready_seconds: float | None = None
        self.born: dict[int, float] = {}
        """When each worker was started (monotonic seconds)."""
        self._workers: dict[int, _Known] = {}
        self._departed: int | None = None
        self._by_type: dict[type[actions.Action], Callable[[Any, float], Line | None]] = {
            actions.Spawn: self._spawn,
            actions.Forget: self._forget,
            actions.SayReady: self._ready,
            actions.SayTraceback: self._traceback,
            actions.SayWorkerLost: self._lost,
            actions.SayRecycleBegan: self._recycle_began,
            actions.SayRecycled: self._recycle_over,
            actions.SayRecycleFailed: self._recycle_over,
            actions.SayReloadBegan: self._began,
            actions.SayReloadFinished: self._finished,
            actions.SayReloadDrained: self._drained,
            actions.SayReloadRefused: self._refused,
            actions.SayReloadMixed: self._mixed,
            actions.SayReloadAbandoned: self._abandoned,
        }

    @property
    def last_reload(self) -> ReloadRecord | None:
        """The last reload that is over."""
        return next((one for one in reversed(self.reloads.values()) if one.result), None)

    def note(self, event: events.Event, decided: Sequence[actions.Action]) -> list[Line]:
        """Take note; return what those who wait for a reload want to see of it."""
        lines = [self._note_event(event)]
        for action in decided:
            by_type = self._by_type.get(type(action))
            lines.append(by_type(action, event.at) if by_type else None)
        return [line for line in lines if line is not None]

    def _note_event(self, event: events.Event) -> Line | None:
        if isinstance(event, events.WorkerExited):
            what = describe_exit(event.status)
            self.exits[what] = self.exits.get(what, 0) + 1
        elif isinstance(event, events.WorkerReady):
            return self._progress(event.worker, "ready")
        elif isinstance(event, events.WorkerAccepting):
            return self._progress(event.worker, "serves")
        return None

    def _progress(self, worker: int, state: str) -> Line | None:
        known = self._workers.get(worker)
        if known is None:
            return None
        return {
            "kind": PROGRESS,
            "generation": known.generation,
            "slot": known.slot,
            "worker": worker,
            "state": state,
        }

    def _spawn(self, action: actions.Spawn, at: float) -> Line | None:
        self._workers[action.worker] = _Known(action.slot, action.generation)
        self.born[action.worker] = at
        return self._progress(action.worker, "boots")

    def _forget(self, action: actions.Forget, at: float) -> None:
        del at
        self.born.pop(action.worker, None)
        # The words about its exit come after it.
        if self._departed is not None:
            self._workers.pop(self._departed, None)
        self._departed = action.worker

    def _ready(self, said: actions.SayReady, at: float) -> None:
        del at
        self.ready_seconds = said.seconds

    def _traceback(self, said: actions.SayTraceback, at: float) -> None:
        del at
        known = self._workers.get(said.worker)
        record = self.reloads.get(known.generation) if known else None
        if record is not None and not record.traceback:
            record.traceback = said.traceback

    def _lost(self, said: actions.SayWorkerLost, at: float) -> None:
        del at
        known = self._workers.get(said.worker)
        self.last_error = {"at": self._clock(), "text": f"worker {said.worker} {said.what}"}
        if known is not None:
            self.slot_errors[known.slot] = self.last_error
        if said.respawn_in is not None:
            self.restarts["died"] += 1

    def _recycle_began(self, said: actions.SayRecycleBegan, at: float) -> None:
        del at
        option = _OPTION.search(said.cause)
        self._recycled = {said.worker: option[1] if option else "other"}

    def _recycle_over(self, said: actions.SayRecycled | actions.SayRecycleFailed, at: float) -> None:
        del at
        cause = self._recycled.pop(said.worker, "other")
        if isinstance(said, actions.SayRecycled):
            self.restarts[cause] = self.restarts.get(cause, 0) + 1

    # reloads

    def _began(self, said: actions.SayReloadBegan, at: float) -> Line:
        self._open(said.generation, at)
        return {"kind": PROGRESS, "generation": said.generation, "state": "began"}

    def _open(self, generation: int, at: float) -> ReloadRecord:
        record = self.reloads.get(generation)
        if record is None:
            record = ReloadRecord(generation, at)
            record.before = {name: self._tally.total(counter) for name, counter in _LASTING.items()}
            self.reloads[generation] = record
            while len(self.reloads) > MAX_RELOADS:
                self.reloads.pop(next(iter(self.reloads)))
        return record

    def _end(self, said: actions.SayReload, at: float, result: str, reason: str, swapped: int, workers: int) -> None:
        record = self._open(said.generation, at)
        record.result = result
        self.results[result] += 1
        record.reason = reason
        record.seconds = at - record.began_at
        self.reload_seconds += record.seconds
        record.swapped = swapped
        record.workers = workers
        self._count(record)
        if result in {REFUSED, MIXED}:
            self.last_error = {"at": self._clock(), "text": f"reload {result}: {reason}"}

    def _count(self, record: ReloadRecord) -> None:
        record.counted = {
            name: self._tally.total(counter) - record.before.get(name, 0) for name, counter in _LASTING.items()
        }

    def _finished(self, said: actions.SayReloadFinished, at: float) -> None:
        self._end(said, at, FINISHED, "", said.swapped, said.swapped + said.added)

    def _drained(self, said: actions.SayReloadDrained, at: float) -> None:
        del at
        record = self.reloads.get(said.generation)
        if record is not None:
            record.drained = True
            record.drained_seconds = said.seconds
            self._count(record)

    def _refused(self, said: actions.SayReloadRefused, at: float) -> None:
        self._end(said, at, REFUSED, said.reason, 0, said.serving)

    def _mixed(self, said: actions.SayReloadMixed, at: float) -> None:
        self._end(said, at, MIXED, said.reason, said.swapped, said.workers)

    def _abandoned(self, said: actions.SayReloadAbandoned, at: float) -> None:
        self._end(said, at, ABANDONED, said.cause, said.swapped, said.workers)
