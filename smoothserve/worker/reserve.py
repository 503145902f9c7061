"""A few descriptors kept free for the master's messages, in a process that may have used up all others.

A message without room for the descriptor that it brings loses it for good (MSG_CTRUNC): no channel, no handover.
"""

import os

#: As many channels as the master may give in one go, and still be taken up by a worker that is at its limit.
SPARES = 4


class Reserve:
    """Holds descriptors on /dev/null, to give their place up for a moment."""

    def __init__(self, size: int = SPARES) -> None:
        self._size = size
        self._held: list[int] = []
        self.restore()

    def release(self) -> None:
        """Give all of it up: there is room now."""
        while self._held:
            os.close(self._held.pop())

    def restore(self) -> None:
        """Take back what there is room for."""
        while len(self._held) < self._size:
            try:
                self._held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            except OSError:
                return
