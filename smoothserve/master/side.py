"""A process beside the master, for what that must not hold itself: started again when it dies, over with the master.

Its end is seen as the end of file of its lifeline, whose other end it holds.
"""

import contextlib
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable, Sequence

from smoothserve.logs.lines import Level
from smoothserve.master.companion import Companion, Seat
from smoothserve.master.signals import SIGNALS

FIRST_DELAY = 1.0
LONGEST_DELAY = 60.0
#: A process that has lived for this long died of something else than its start.
GOOD_LIFE_SECONDS = 60.0
#: What is kept of a line without an end.
MAX_LINE_BYTES = 1024 * 1024


class SideProcess(Companion):
    """Runs `python -P -m MODULE ...`. `arguments` makes its arguments of its lifeline; None: it cannot be started."""

    def __init__(
        self,
        module: str,
        arguments: Callable[[int], Sequence[str] | None],
        fds: Sequence[int],
        python: str | None = None,
    ) -> None:
        self._module = module
        self._arguments = arguments
        self._fds = fds
        self._python = python or sys.executable
        self._ours: socket.socket | None = None
        self._heard = b""
        self._start_at: float | None = None
        self._started_at = 0.0
        self._delay = FIRST_DELAY

    def open(self, seat: Seat) -> None:
        """Start the process."""
        self._seat = seat
        self._start_at = seat.now()

    def close(self) -> None:
        """Let the process end."""
        self._start_at = None
        if self._ours is not None:
            self._seat.unwatch(self._ours.fileno())
            self._ours.close()
            self._ours = None

    def next_deadline(self) -> float | None:
        """Return when the process is to be started."""
        return self._start_at

    def advance(self, now: float) -> None:
        """Start the process if it is due."""
        if self._start_at is None or now < self._start_at:
            return
        self._start_at, self._started_at = None, now
        self._ours, theirs = socket.socketpair()
        with theirs:
            arguments = self._arguments(theirs.fileno())
            if arguments is None:
                self._ours.close()
                self._ours = None
                return
            self._spawn(arguments, [theirs.fileno(), *self._fds])
        self._heard = b""
        self._seat.watch(self._ours.fileno(), selectors.EVENT_READ, self._on_readable)

    def _spawn(self, arguments: Sequence[str], fds: Sequence[int]) -> None:
        for fd in fds:
            os.set_inheritable(fd, True)
        try:
            # The master's signals are not its own: they stay blocked. TERM ends it.
            blocked = set(SIGNALS) - {signal.SIGTERM}
            command = [self._python, "-P", "-m", self._module, *arguments]
            os.posix_spawn(self._python, command, os.environ, setsigmask=blocked)
        except OSError as error:
            self._seat.log.write(Level.ERROR, f"{self._module} cannot be started: {error.strerror}")
        finally:
            for fd in fds:
                os.set_inheritable(fd, False)

    def heard_line(self, line: bytes) -> None:
        """Take a line that the process has written to its lifeline. This one has nothing to say."""

    def _on_readable(self, mask: int) -> None:
        del mask
        data = b""
        if self._ours is not None:
            with contextlib.suppress(ConnectionError):
                data = self._ours.recv(65536)
        if not data:
            self._on_end()
            return
        *lines, self._heard = (self._heard + data)[-MAX_LINE_BYTES:].split(b"\n")
        for line in lines:
            self.heard_line(line)

    def _on_end(self) -> None:
        self.close()
        now = self._seat.now()
        if now - self._started_at >= GOOD_LIFE_SECONDS:
            self._delay = FIRST_DELAY
        self._start_at = now + self._delay
        text = f"{self._module} has ended: it is started again in {self._delay:g} s"
        self._seat.log.write(Level.WARNING, text)
        self._delay = min(LONGEST_DELAY, 2 * self._delay)
