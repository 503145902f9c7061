"""Whether a client does its part: an amount that grows, or a measure that changes, and since when it has not.

Bodies and answers are bounded by lack of progress, never in all. Looked at by the sweep, never per request.
"""

import fcntl
import struct
import termios


class Progress:
    """Since when there has been no progress. Times are the loop's, in seconds."""

    __slots__ = ("_amount", "_since")

    def __init__(self, amount: int, now: float) -> None:
        self._amount = amount
        self._since = now

    def stalled(self, amount: int, now: float, least: int = 1) -> float:
        """Return for how many seconds the amount has not grown by `least`."""
        if amount - self._amount >= least:
            self._amount = amount
            self._since = now
        return now - self._since

    def unchanged(self, amount: int, now: float) -> float:
        """Return for how many seconds the amount has been the same."""
        if amount != self._amount:
            self._amount = amount
            self._since = now
        return now - self._since


def bytes_in_kernel(fd: int) -> int:
    """Return how much of what was sent the other side has not taken yet, as far as the system tells (Linux).

    A socket's buffer may hold megabytes, and says that it can be written to only when a third of it is free: a slow
    reader's progress is seen here long before.
    """
    try:
        return int(struct.unpack("i", fcntl.ioctl(fd, termios.TIOCOUTQ, b"\0\0\0\0"))[0])
    except (OSError, ValueError):
        return 0
