"""Lists of workers' connections: each worker asked writes into an anonymous file of its own, and says when it is done.

The master does not look into the files. It waits with a deadline: who has not answered by then is named.
"""

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from smoothserve.control.messages import ConnectionsListed, ListConnections, Message
from smoothserve.control.operator import RESULT, Line, render_line
from smoothserve.control.scoreboard import Counter, anonymous_file
from smoothserve.errors import SmoothserveError
from smoothserve.master.companion import Companion, Seat, WorkerProcess
from smoothserve.master.control_socket import Pieces
from smoothserve.master.crew import Phase

#: Seconds for a worker to answer.
ANSWER_TIMEOUT = 3.0
#: Longer than any list that is asked for; what is beyond is some application's doing.
MAX_FILE_BYTES = 64 * 1024 * 1024
_PIECE_BYTES = 65536
_SERVING = frozenset({Phase.TRUSTED, Phase.ACCEPTING, Phase.DRAINING})


@dataclass(slots=True)
class _Question:
    """One verb's."""

    answer: Callable[[Pieces], None]
    gives_up_at: float
    waiting: dict[int, int] = field(default_factory=dict)
    """The files of the workers that have not answered."""
    files: list[int] = field(default_factory=list)
    total: int = 0


class ConnectionLists(Companion):
    """Asks workers for their connections."""

    def __init__(self) -> None:
        self._number = 0
        self._questions: dict[int, _Question] = {}

    def open(self, seat: Seat) -> None:
        """Take the seat."""
        self._seat = seat

    def ask(self, limit: int, sort: str, answer: Callable[[Pieces], None]) -> None:
        """Ask every worker; `answer` gets the lines for the verb, the last one included, to be closed."""
        self._number += 1
        question = _Question(answer, self._seat.now() + ANSWER_TIMEOUT)
        self._questions[self._number] = question
        for process in self._seat.processes():
            worker = self._seat.state.crew.workers.get(process.number)
            if worker is None or worker.phase not in _SERVING:
                continue  # it has none
            try:
                fd = anonymous_file("smoothserve-connections")
            except OSError as error:
                raise SmoothserveError(f"no file for the list of connections: {error.strerror}") from None
            question.waiting[process.number] = fd
            with contextlib.suppress(OSError):
                self._seat.send(process.number, ListConnections(self._number, limit, sort), fd)
        self._look(self._number)

    def next_deadline(self) -> float | None:
        """Return when the first question's time is up."""
        return min((one.gives_up_at for one in self._questions.values()), default=None)

    def advance(self, now: float) -> None:
        """Answer the questions whose time is up, or whose workers have left."""
        for number, question in list(self._questions.items()):
            if now >= question.gives_up_at:
                self._finish(number, question)
            else:
                self._look(number)

    def heard(self, worker: int, message: Message) -> None:
        """Take a worker's answer."""
        if not isinstance(message, ConnectionsListed):
            return
        question = self._questions.get(message.question)
        fd = question.waiting.pop(worker, None) if question is not None else None
        if question is not None and fd is not None:
            question.files.append(fd)
            question.total += message.total
            self._look(message.question)

    def _look(self, number: int) -> None:
        question = self._questions[number]
        alive = {one.number for one in self._seat.processes()}
        if not alive.intersection(question.waiting):
            self._finish(number, question)

    def _finish(self, number: int, question: _Question) -> None:
        del self._questions[number]
        silent = [self._name(one) for one in self._seat.processes() if one.number in question.waiting]
        for fd in question.waiting.values():
            os.close(fd)
        total = question.total + sum(one["connections"] for one in silent)
        last = {"kind": RESULT, "total": total, "silent": silent}
        question.answer(_Pieces(question.files, last))

    def _name(self, process: WorkerProcess) -> dict[str, Any]:
        words = self._seat.tally.scoreboard.row(process.row)
        progress = words[Counter.PROGRESS]
        return {
            "worker": process.number,
            "slot": process.slot,
            "pid": process.pid,
            "connections": words[Counter.CONNECTIONS],
            "last_progress": round(max(0.0, self._seat.now() - progress / 1000), 1) if progress else None,
        }


class _Pieces:
    """What is in the files, and the last line. `close` closes the files, used up or not."""

    def __init__(self, files: list[int], last: Line) -> None:
        self._files = files
        self._last = render_line(last)
        for fd in files:
            os.lseek(fd, 0, os.SEEK_SET)

    def take(self) -> bytes:
        """Return the next piece, nothing at the end."""
        while self._files:
            fd = self._files[0]
            data = os.read(fd, _PIECE_BYTES) if os.fstat(fd).st_size <= MAX_FILE_BYTES else b""
            if data:
                return data
            os.close(self._files.pop(0))
        last, self._last = self._last, b""
        return last

    def close(self) -> None:
        """Close the files."""
        for fd in self._files:
            os.close(fd)
        self._files = []
