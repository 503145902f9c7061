"""How many more calls a worker's application threads can take at once: what its accept loop goes by (WSGI).

A connection that has just been accepted counts as a call for a moment, because its request is on the way. Without
this a worker with one free thread would take several that come together, and its siblings would stand idle.
"""

import time
from typing import Protocol

#: Seconds for which a new connection counts as a call, unless its request has come: most bring it at once.
EXPECTED = 0.008
#: Seconds over which it is counted how many calls have ended: as many more will soon have a thread.
LATELY = 0.002


class Threads(Protocol):
    """The threads that make the application's calls."""

    @property
    def free(self) -> int:
        """How many more calls would begin at once; negative if calls wait."""

    @property
    def calls_ended(self) -> int:
        """How many calls have returned so far."""

    @property
    def stuck_since(self) -> float:
        """When the last of all threads began its call, on the monotonic clock; 0.0: one is free."""

    def request_notice(self) -> None:
        """Have the change of room noted as soon as a call has returned."""


class Expected(Protocol):
    """A connection whose next request is on the way."""

    @property
    def awaits_request(self) -> bool:
        """Whether the connection is there, and its request has not come yet."""


class Room:
    """The threads that are free, less the calls that are about to come."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._expected: list[tuple[float, Expected]] = []
        self._since = 0.0
        self._mark = 0
        self._lately = 0

    def expect(self, connection: Expected) -> None:
        """Count a new connection as a call for the moment."""
        now = time.monotonic()
        # Also where nobody asks for room (a worker alone): else all that were ever accepted would stay.
        self._forget(now)
        self._expected.append((now + EXPECTED, connection))

    def _forget(self, now: float) -> None:
        self._expected = [one for one in self._expected if now < one[0] and one[1].awaits_request]

    def request_notice(self) -> None:
        """Have the worker told as soon as a call has returned."""
        self._threads.request_notice()

    @property
    def free(self) -> int:
        """How many calls can begin at once, beside those that are about to come."""
        if self._expected:
            self._forget(time.monotonic())
        return self._threads.free - len(self._expected)

    @property
    def threads_free(self) -> int:
        """How many calls can begin at once, whatever is about to come; negative if calls wait."""
        return self._threads.free

    @property
    def calls_ended(self) -> int:
        """How many calls have returned so far."""
        return self._threads.calls_ended

    @property
    def stuck_since(self) -> float:
        """When the last of all threads began its call, on the monotonic clock; 0.0: one is free."""
        return self._threads.stuck_since

    def allows_one(self, *, patient: bool = True) -> bool:
        """Whether a thread is free for one more connection's request, or will soon be: calls end one after the other.

        Not `patient`: do not wait any longer for the requests of those that have just been accepted.
        """
        free = self.free if patient else self._threads.free
        return free + self._ended_lately() > 0

    def _ended_lately(self) -> int:
        now, ended = time.monotonic(), self._threads.calls_ended
        passed = now - self._since
        if passed > LATELY:
            self._lately = ended - self._mark if passed < 2 * LATELY else 0
            self._since, self._mark = now, ended
        return max(self._lately, ended - self._mark)
