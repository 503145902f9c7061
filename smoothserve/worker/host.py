"""What a worker is to the operating system: signals, inherited descriptors, its name, its end.

The application shares the process and may change any of it at import; what the server needs is put right afterwards.
"""

import asyncio
import contextlib
import importlib.util
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from types import FrameType

from smoothserve.control.launch import WorkerLaunch
from smoothserve.errors import ExitCode
from smoothserve.logs.standard import flush_standard_streams
from smoothserve.worker.forks import ForkGuard

#: Signals that mean something to the master and reach the whole process group at times (Ctrl-C, `pkill -HUP`).
#: A handler that does nothing, not SIG_IGN, which the application's children would inherit.
NOT_OURS = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGWINCH,
)
#: TERM ends a worker that still imports (nothing is in its hands); SIGCHLD is the application's.
UNBLOCKED = (*NOT_OURS, signal.SIGTERM, signal.SIGCHLD)


def _ignore(number: int, frame: FrameType | None) -> None:
    del number, frame


def take_signals() -> None:
    """Let the master's signals pass us by, then let signals in: the master has started us with all of them blocked."""
    for number in NOT_OURS:
        signal.signal(number, _ignore)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, UNBLOCKED)


def retake_signals() -> None:
    """Undo what would kill the worker: defaults that the application has put back. Its own handlers stay."""
    for number in NOT_OURS:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _ignore)


def release_signals() -> None:
    """Ignore what may still come: the interpreter restores the defaults while it ends, and a HUP would kill it.

    Blocking would not do, other threads take the signal.
    """
    signal.setitimer(signal.ITIMER_REAL, 0.0)  # an alarm of the application's
    for number in NOT_OURS:
        signal.signal(number, signal.SIG_IGN)


def inherited_descriptors(launch: WorkerLaunch) -> list[int]:
    """Return the descriptors that the master has passed on, the control channel's first."""
    return [launch.control_fd, *shared_descriptors(launch), *(one["fd"] for one in launch.listeners)]


def shared_descriptors(launch: WorkerLaunch) -> list[int]:
    """Return the descriptors of what all workers share with the master."""
    return [launch.scoreboard_fd, *(fd for fd in (launch.dump_fd, launch.lines_fd) if fd >= 0)]


def own_descriptors(launch: WorkerLaunch) -> ForkGuard:
    """Take over the inherited descriptors: processes that the application starts, at import even, must not get them."""
    fds = inherited_descriptors(launch)
    for fd in fds:
        os.set_inheritable(fd, False)
    return ForkGuard(lambda: fds)


def identify(fds: Iterable[int]) -> dict[int, tuple[int, int] | None]:
    """Return what is behind each descriptor, None where it is closed; a number alone can come to mean another file."""
    return {fd: _identity(fd) for fd in fds}


def _identity(fd: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino


@contextlib.contextmanager
def keeping_standard_streams() -> Iterator[None]:
    """Open again what the application closes of descriptors 0 to 2; what it replaces stays.

    Else a client's connection could get such a number, and what is printed.
    """
    copies = [os.dup(fd) for fd in range(3)]
    try:
        yield
        for fd, copy in enumerate(copies):
            if _identity(fd) is None and _identity(copy) is not None:
                os.dup2(copy, fd)
    finally:
        for copy in copies:
            with contextlib.suppress(OSError):
                os.close(copy)


def set_title(title: str) -> None:
    """Name the process for `ps` (setproctitle, where installed) and for `pkill` (Linux)."""
    if importlib.util.find_spec("setproctitle") is not None:
        import setproctitle

        setproctitle.setproctitle(title)
    with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="ascii") as file:
        file.write("smoothserve")


def leave(loop: asyncio.AbstractEventLoop, timeout: float, last_words: Callable[[], None]) -> None:
    """End what the application left running. A thread that never ends must not keep the worker: it has answered all.

    `last_words` writes what the logs still have, where it comes to that.
    """
    # The second is for the first, which may be stuck in what nobody reads.
    for guard in (
        threading.Timer(timeout, _exit_now, (last_words,)),
        threading.Timer(timeout + 3.0, os._exit, (ExitCode.STOPPED,)),
    ):
        guard.daemon = True
        guard.start()
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left, timeout=timeout / 2))
    loop.run_until_complete(loop.shutdown_asyncgens())
    # Not left to the loop's close, which would restore the default: TERM could kill a worker that has done its work.
    loop.remove_signal_handler(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _exit_now(last_words: Callable[[], None]) -> None:
    last_words()
    flush_standard_streams(1.0)
    os._exit(ExitCode.STOPPED)
