"""The table of signals, and the inbox that they are put into: handlers only enqueue, the loop takes them out."""

import contextlib
import os
import signal
import socket
from collections import deque
from types import FrameType

from smoothserve.master import events

#: What each signal means to the master. Workers are started with all of these blocked.
SIGNALS: dict[signal.Signals, type[events.Event]] = {
    signal.SIGHUP: events.HangupReceived,
    signal.SIGTERM: events.TermReceived,
    signal.SIGINT: events.IntReceived,
    signal.SIGQUIT: events.QuitReceived,
    signal.SIGUSR1: events.Usr1Received,
    signal.SIGUSR2: events.Usr2Received,
    signal.SIGTTIN: events.TtinReceived,
    signal.SIGTTOU: events.TtouReceived,
    signal.SIGWINCH: events.WinchReceived,
}


class SignalInbox:
    """Collects signals; its descriptor becomes readable when there are some."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._received: deque[int] = deque()

    def install(self) -> None:
        """Set the handlers, then let the signals through: whoever started us may have blocked them."""
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in (*SIGNALS, signal.SIGCHLD):
            signal.signal(number, self._enqueue)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [*SIGNALS, signal.SIGCHLD])

    def close(self) -> None:
        """Ignore what comes from now on: a HUP while the interpreter ends must not change the exit code."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        self._reader.close()
        self._writer.close()

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._reader.fileno()

    def take(self) -> list[signal.Signals]:
        """Return what has been received, in order, and empty the inbox."""
        with contextlib.suppress(BlockingIOError):
            while self._reader.recv(4096):
                pass
        received = []
        while self._received:
            received.append(signal.Signals(self._received.popleft()))
        return received

    def _enqueue(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._received.append(number)


def has_terminal() -> bool:
    """Whether this process has a controlling terminal, which sends WINCH when its window is resized."""
    try:
        fd = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    os.close(fd)
    return True
