"""The watchdog (`--timeout`): a worker whose event loop, or whose every WSGI thread, makes no progress is replaced.

Its stacks are logged first; its successor comes before it goes. One whose loop does not turn cannot leave by itself: it
is killed once its successor serves and the graceful time has passed. What workers publish is all that is looked at.
"""

import contextlib
import os
from signal import SIGKILL

from smoothserve.control.scoreboard import Counter
from smoothserve.logs.lines import Level
from smoothserve.master import events
from smoothserve.master.companion import Companion, Seat, WorkerProcess
from smoothserve.master.crew import Phase
from smoothserve.master.dumps import Dumper

CHECK_INTERVAL = 1.0
#: A round that comes later than this finds workers that had no time either: it is left out.
_LATE = 3.0


class Watchdog(Companion):
    """Looks at every worker's progress about once a second."""

    def __init__(self, dumper: Dumper) -> None:
        self._dumper = dumper
        self._due = 0.0
        self._stuck: set[int] = set()
        self._killed: set[int] = set()

    def open(self, seat: Seat) -> None:
        """Take the seat."""
        self._seat = seat
        self._due = seat.now() + CHECK_INTERVAL

    def next_deadline(self) -> float | None:
        """Return when the next round is due."""
        return self._due if self._seat.state.crew.policy.watchdog_timeout else None

    def advance(self, now: float) -> None:
        """Look at every worker."""
        timeout = self._seat.state.crew.policy.watchdog_timeout
        if not timeout or now < self._due:
            return
        late = now - self._due > _LATE
        self._due = now + CHECK_INTERVAL
        if late:
            return
        processes = list(self._seat.processes())
        alive = {one.number for one in processes}
        self._stuck &= alive
        self._killed &= alive
        for process in processes:
            self._look(process, now, timeout)

    def _look(self, process: WorkerProcess, now: float, timeout: float) -> None:
        worker = self._seat.state.crew.workers.get(process.number)
        if worker is None or worker.killed or worker.phase not in {Phase.ACCEPTING, Phase.DRAINING}:
            return
        words = self._seat.tally.scoreboard.row(process.row)
        loop = now - words[Counter.PROGRESS] / 1000 if words[Counter.PROGRESS] else 0.0
        threads = now - words[Counter.THREADS_STUCK] / 1000 if words[Counter.THREADS_STUCK] else 0.0
        if max(loop, threads) <= timeout:
            if process.number in self._stuck:
                self._stuck.discard(process.number)
                self._seat.log.write(Level.WARNING, f"worker {process.number} (pid {process.pid}) makes progress again")
            return
        if process.number not in self._stuck:
            self._stuck.add(process.number)
            what = "its event loop has not turned" if loop > timeout else "no thread of it has finished a call"
            self._report(process, f"{what} for {max(loop, threads):.0f} s (--timeout)")
        grace = self._seat.state.crew.policy.graceful_timeout
        if worker.phase is Phase.DRAINING and loop > timeout + grace and process.number not in self._killed:
            self._killed.add(process.number)
            text = f"worker {process.number} (pid {process.pid}) is replaced and still stuck after {loop:.0f} s: killed"
            self._seat.log.write(Level.ERROR, text)
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, SIGKILL)

    def _report(self, process: WorkerProcess, what: str) -> None:
        name = f"worker {process.number} (pid {process.pid}, slot {process.slot})"
        self._seat.log.write(Level.ERROR, f"{name} is stuck: {what}")

        def log_stacks(text: str) -> None:
            self._seat.log.write(Level.ERROR, f"stacks of {name}:\n{text}")

        self._dumper.dump(process.number, log_stacks)
        self._seat.submit(events.WorkerWantsReplacement(self._seat.now(), process.number, f"stuck: {what}"))
