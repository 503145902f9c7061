"""Stacks of live workers: one dump after the other, into one anonymous file that all workers share.

The signal has the stacks of all threads written by the worker's C code, whatever its Python code does; the message
has the event loop add its tasks, if it turns. Waited for with deadlines, never blocking.
"""

import contextlib
import os
from collections import deque
from collections.abc import Callable

from smoothserve.control.dumps import DUMP_SIGNAL, TASKS_END, catches, read_dump
from smoothserve.control.messages import DumpTasks
from smoothserve.master.companion import Companion, Seat

#: Seconds between two looks at the file, and until the loop counts as not answering.
LOOK_INTERVAL = 0.05
TASKS_TIMEOUT = 1.0
MAX_DUMP_BYTES = 1024 * 1024

Answer = Callable[[str], None]


class Dumper(Companion):
    """Fetches stacks. `fd` is the shared file, open for appending."""

    def __init__(self, fd: Callable[[], int]) -> None:
        self._find_fd = fd
        self._waiting: deque[tuple[int, Answer]] = deque()
        self._answer: Answer | None = None
        self._look_at: float | None = None
        self._gives_up_at = 0.0

    def open(self, seat: Seat) -> None:
        """Take the seat."""
        self._seat = seat

    def dump(self, worker: int, answer: Answer) -> None:
        """Fetch the stacks of a worker; `answer` gets the text, or why there is none."""
        self._waiting.append((worker, answer))
        self._next()

    def next_deadline(self) -> float | None:
        """Return when to look at the file."""
        return self._look_at

    def advance(self, now: float) -> None:
        """Look whether the dump is there."""
        if self._look_at is None or now < self._look_at or self._answer is None:
            return
        text = read_dump(self._find_fd(), MAX_DUMP_BYTES)
        if not text.endswith(TASKS_END) and now < self._gives_up_at:
            self._look_at = now + LOOK_INTERVAL
            return
        if not text.endswith(TASKS_END):
            text += "\nTasks: unknown, the event loop does not turn\n"
        answer, self._answer, self._look_at = self._answer, None, None
        answer(text)
        self._next()

    def _next(self) -> None:
        while self._waiting and self._answer is None:
            worker, answer = self._waiting.popleft()
            refusal = self._begin(worker)
            if refusal:
                answer(refusal)
            else:
                self._answer = answer

    def _begin(self, worker: int) -> str:
        process = next((one for one in self._seat.processes() if one.number == worker), None)
        if process is None:
            return f"worker {worker} has left\n"
        if DUMP_SIGNAL is None or not catches(process.pid, DUMP_SIGNAL):
            return f"worker {worker} (pid {process.pid}) cannot be asked for its stacks: it only begins, or ends\n"
        os.ftruncate(self._find_fd(), 0)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, DUMP_SIGNAL)
        self._seat.send(worker, DumpTasks())
        now = self._seat.now()
        self._look_at, self._gives_up_at = now + LOOK_INTERVAL, now + TASKS_TIMEOUT
        return ""
