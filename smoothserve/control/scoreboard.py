"""Counters in shared memory: a row for each worker, written by it, read by the master, alive after a crash.

A row is 32 signed 64-bit integers; a store of an aligned word is atomic on the machines CPython runs on, and
each word has one writer, so there are no locks. Behind all rows comes a second one for each worker, of `measures`:
siblings look through the first ones, and need not touch the memory of these.
"""

import mmap
import os
from enum import IntEnum

from smoothserve.control.measures import WORDS as MEASURE_WORDS

ROW_WORDS = 32
ROW_BYTES = ROW_WORDS * 8


class Counter(IntEnum):
    """The words of a row."""

    REQUESTS = 0
    """Requests begun."""
    IN_HAND = 1
    """Application calls that have not returned, and answers that are not complete."""
    CONNECTIONS = 2
    """Open connections."""
    DROPPED = 3
    """Requests that reached the worker and got no whole answer through the server's doing."""
    HANDED_OVER = 4
    """Connections handed over to other workers."""
    WEBSOCKETS = 5
    """Open WebSockets."""
    WEBSOCKETS_CARRIED = 6
    """WebSockets handed over to other workers."""
    PROGRESS = 7
    """Milliseconds of the monotonic clock when the loop last turned."""
    UNANSWERED = 8
    """Requests whose answer is not complete: what a crash loses now."""
    ADOPTED = 9
    """Connections taken over from other workers."""
    ACCEPTING = 10
    """1 while the worker accepts connections."""
    RATE = 11
    """Requests per 1000 seconds, an average over the last few seconds."""
    THREADS_BUSY = 12
    """Threads that are in a call of a WSGI application."""
    THREADS_STUCK = 13
    """Milliseconds of the monotonic clock when the last of all threads began its call; 0: not all are in one."""
    ACCEPTED = 14
    """Connections accepted so far."""
    DROPPED_AT_DRAIN = 15
    """Those of `DROPPED` that were cut because a replaced worker's time was up."""
    DROPPED_AT_STOP = 16
    """Those of `DROPPED` that were cut because the time to stop was up."""
    RELIEVED = 17
    """Requests that siblings have served because no thread was free here."""
    UNREAD = 18
    """Requests that have come and are held, unread, for siblings: a crash loses them now."""


class Scoreboard:
    """The shared memory. The master makes it; workers open it by the descriptor they inherit.

    `measure_words` is how long the second rows are; 0: the master that made it has none.
    """

    def __init__(self, fd: int, rows: int, measure_words: int = 0) -> None:
        self.fd = fd
        self.rows = rows
        self.measure_words = measure_words
        self._map = mmap.mmap(fd, rows * (ROW_BYTES + measure_words * 8))
        #: All rows, one after the other.
        self.words = memoryview(self._map).cast("q")

    @classmethod
    def create(cls, rows: int) -> "Scoreboard":
        """Make a scoreboard of `rows` rows, all zero."""
        fd = anonymous_file("smoothserve-scoreboard")
        os.ftruncate(fd, rows * (ROW_BYTES + MEASURE_WORDS * 8))
        return cls(fd, rows, MEASURE_WORDS)

    def row(self, index: int) -> memoryview:
        """Return the words of a row, to be indexed by `Counter`."""
        return self.words[index * ROW_WORDS : (index + 1) * ROW_WORDS]

    def measures(self, index: int) -> memoryview:
        """Return the words of a worker's second row, to be read and written by `measures`."""
        start = self.rows * ROW_WORDS + index * self.measure_words
        return self.words[start : start + self.measure_words]

    def clear(self, index: int) -> None:
        """Set a worker's rows to zero, before another worker gets them."""
        for row in (self.row(index), self.measures(index)):
            for word in range(len(row)):
                row[word] = 0


def anonymous_file(name: str) -> int:
    """Return the descriptor of a file without a name (memfd, or an unlinked temporary file). Not inheritable."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name, os.MFD_CLOEXEC)
    import tempfile  # it loads a great deal, and Linux does without

    fd, path = tempfile.mkstemp(prefix=name)
    os.unlink(path)
    return fd
