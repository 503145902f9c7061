"""What `smoothserve status` tells, as values: from the rules' view of the workers, the scoreboard and /proc."""

import contextlib
import os
from typing import Any

from smoothserve import __version__
from smoothserve.control.measures import render_measures
from smoothserve.control.operator import OPERATOR_VERSION
from smoothserve.control.scoreboard import Counter
from smoothserve.master.chronicle import Chronicle
from smoothserve.master.companion import Seat, WorkerProcess
from smoothserve.master.crew import ALIVE, Phase, Worker

#: Seconds without a turn of the loop after which a worker shows as stuck.
STUCK_AFTER = 5.0
_WORDS = {
    Phase.BOOTING: "booting",
    Phase.READY: "ready",
    Phase.TRUSTED: "ready",
    Phase.ACCEPTING: "serving",
    Phase.DRAINING: "draining",
    Phase.ENDING: "ending",
}
#: Totals, and the counters that they sum up over all workers that ever were.
_TOTALS = {
    "requests": Counter.REQUESTS,
    "dropped": Counter.DROPPED,
    "handed_over": Counter.HANDED_OVER,
    "websockets_carried": Counter.WEBSOCKETS_CARRIED,
    "accepted": Counter.ACCEPTED,
}
_SUMS = ("in_hand", "connections", "websockets", "requests_per_second", "memory_bytes")


def build_status(seat: Seat, chronicle: Chronicle, *, app: str, started_at: float) -> dict[str, Any]:
    """Return all that `status` tells."""
    now, state = seat.now(), seat.state
    workers = [
        _worker(seat, chronicle, process, found, now)
        for process in sorted(seat.processes(), key=lambda one: (one.slot, one.number))
        if (found := state.crew.workers.get(process.number)) is not None
    ]
    totals: dict[str, Any] = {name: seat.tally.total(counter) for name, counter in _TOTALS.items()}
    totals |= {name: sum(one[name] for one in workers) for name in _SUMS}
    reload, last = state.reload, chronicle.last_reload
    return {
        "version": OPERATOR_VERSION,
        "smoothserve": __version__,
        "pid": os.getpid(),
        "instance": f"{os.getpid()}-{started_at}",
        "app": app,
        "state": server_state(seat, chronicle),
        "generation": state.succession.trusted,
        "listening": seat.listening,
        "uptime": round(now - started_at, 1),
        "workers_wanted": len(state.crew.wanted()),
        "workers_serving": len(state.crew.acceptors()),
        "workers": workers,
        "waiting": waiting_slots(seat, chronicle),
        "totals": totals,
        "measures": {**render_measures(seat.tally.measured()), "dropped": seat.tally.dropped_by_reason()},
        "reload": {"generation": reload.generation, "seconds": round(now - reload.began_at, 3)} if reload else None,
        "last_reload": last.render() if last else None,
        "reloads": chronicle.results,
        "reload_seconds": round(chronicle.reload_seconds, 3),
        "restarts": chronicle.restarts,
        "exits": dict(sorted(chronicle.exits.items())),
        "last_error": chronicle.last_error,
    }


def server_state(seat: Seat, chronicle: Chronicle) -> str:
    """Return the server's state in one word."""
    state = seat.state
    if state.ending:
        return "stopping"
    if not state.served or (chronicle.ready_seconds is None):
        return "booting"
    if state.reload:
        return "reloading"
    if state.crew.resting:
        return "resting"
    if len({one.generation for one in state.crew.acceptors()}) > 1:
        return "mixed"
    return "serving" if state.crew.acceptors() else "down"


def waiting_slots(seat: Seat, chronicle: Chronicle) -> list[dict[str, Any]]:
    """Return what there is to tell of the slots that want a worker and have none that serves or boots."""
    state, now = seat.state, seat.now()
    if state.stopping or state.crew.resting:
        return []
    held = {
        process.slot
        for process in seat.processes()
        if (found := state.crew.workers.get(process.number)) is not None and found.phase in ALIVE
    }
    return [
        {
            "slot": slot.index,
            "generation": slot.generation,
            "state": "waits",
            # None: for a reload that is under way, or for a change of files.
            "respawns_in": None if slot.respawn_at is None else round(max(0.0, slot.respawn_at - now), 1),
            "last_error": chronicle.slot_errors.get(slot.index),
        }
        for slot in state.crew.wanted()
        if slot.index not in held
    ]


def _worker(seat: Seat, chronicle: Chronicle, process: WorkerProcess, worker: Worker, now: float) -> dict[str, Any]:
    words = seat.tally.scoreboard.row(process.row)
    progress = words[Counter.PROGRESS]
    silent = max(0.0, now - progress / 1000) if progress else None
    word = _WORDS[worker.phase]
    if worker.killed:
        word = "killed"
    elif silent is not None and silent > STUCK_AFTER and worker.phase in {Phase.ACCEPTING, Phase.DRAINING}:
        word = "stuck"
    return {
        "slot": process.slot,
        "worker": process.number,
        "pid": process.pid,
        "generation": process.generation,
        "state": word,
        "age": round(now - chronicle.born.get(process.number, now), 1),
        "requests": words[Counter.REQUESTS],
        "in_hand": words[Counter.IN_HAND],
        "requests_per_second": words[Counter.RATE] / 1000,
        "connections": words[Counter.CONNECTIONS],
        "websockets": words[Counter.WEBSOCKETS],
        "threads_busy": words[Counter.THREADS_BUSY],
        "memory_bytes": resident_bytes(process.pid),
        "last_progress": round(silent, 1) if silent is not None else None,
        "leaves_within": round(max(0.0, worker.deadline - now), 1)
        if worker.deadline is not None and worker.phase is Phase.DRAINING
        else None,
        "last_error": chronicle.slot_errors.get(process.slot),
    }


def resident_bytes(pid: int) -> int:
    """Return how much memory a process has resident, 0 where that cannot be known."""
    with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
