"""Tells whoever started the server in the background that it is ready (`smoothserve start -d`)."""

import contextlib
import os
from collections.abc import Sequence

from smoothserve.master import actions, events
from smoothserve.master.companion import Companion

READY = b"ready\n"


class Herald(Companion):
    """Writes one line to a descriptor, then closes it. Its end without the line: nothing came of it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        os.set_inheritable(fd, False)

    def note(self, event: events.Event, actions_: Sequence[actions.Action]) -> None:
        """Wait for all workers to accept."""
        del event
        if self._fd >= 0 and any(isinstance(one, actions.SayReady) for one in actions_):
            with contextlib.suppress(OSError):  # it waits no more
                os.write(self._fd, READY)
            self.close()

    def close(self) -> None:
        """Close the descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
