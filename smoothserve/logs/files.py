"""Where log lines go: a file that can be reopened after a rotation, or a descriptor that is there already.

A log that cannot be written (disk full, a pipe whose reader is stuck or gone) costs lines, never the server:
nothing here blocks or raises once the file has been opened.
"""

import errno
import os
import select
import stat
import time
from collections.abc import Callable
from typing import Any, Final

from smoothserve.errors import FileError
from smoothserve.logs.waiting import WaitingLines

STDOUT: Final = 1
STDERR: Final = 2
#: What waits for the loop's turn is written at once when it is this much.
_TURN_BYTES = 64 * 1024
#: A pipe that polls writable takes this much without blocking (POSIX: PIPE_BUF is at least 512).
_PIPE_BYTES = getattr(select, "PIPE_BUF", 512)


class LogFile:
    """A log file, or a standard stream (`path` is `-`, `standard` its descriptor).

    Lines are written as they come: whoever writes may crash in the next moment. With `schedule`, which calls a
    function soon on the same thread (an event loop's `call_soon`), those of one turn are written together: each write
    to a pipe wakes its reader. `waiting` should be shared with the master then.
    """

    def __init__(
        self,
        path: str,
        standard: int = STDERR,
        *,
        waiting: WaitingLines | None = None,
        schedule: Callable[[Callable[[], None]], Any] | None = None,
    ) -> None:
        self.path = path
        self._standard = standard
        self._fd = self._open()
        self._careful = _may_block(self._fd)
        self._waiting = WaitingLines() if waiting is None else waiting
        self._schedule = schedule
        self._scheduled = False
        self._at_once = not self._careful and schedule is None

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._fd

    @property
    def waiting_bytes(self) -> int:
        """How much waits for a stuck reader; `flush` tries again."""
        return len(self._waiting)

    def write(self, text: str) -> None:
        """Write whole lines, as far as the other side takes them now."""
        data = text.encode("utf-8", "backslashreplace")
        waiting = self._waiting
        if self._at_once and not waiting.lost and not waiting:
            self._write_through(data)
            return
        if waiting.lost and not waiting:
            self._say_what_is_lost()
        if not waiting.add(data):
            waiting.lost += data.count(b"\n")
        elif self._schedule is None or len(waiting) >= _TURN_BYTES:
            self.flush()
        elif not self._scheduled:
            self._scheduled = True
            self._schedule(self._take_turn)

    def take_over(self, left: WaitingLines) -> None:
        """Write what another process has left, which is gone, as far as the other side takes it now."""
        self._waiting.lost += left.lost
        left.lost = 0
        size = len(left)
        lines = left.first(size)
        if not self._waiting.add(lines):
            self._waiting.lost += bytes(lines).count(b"\n")
        left.clear()
        if self._waiting.lost and not self._waiting:
            self._say_what_is_lost()
        self.flush()

    def _say_what_is_lost(self) -> None:
        """Let a line wait that says how many are missing."""
        waiting = self._waiting
        waiting.add(f"[{waiting.lost} log lines were lost: nobody read them, or the disk was full]\n".encode())
        waiting.lost = 0

    def _take_turn(self) -> None:
        self._scheduled = False
        self.flush()

    def _write_through(self, data: bytes) -> None:
        """Write to a plain file, which takes all or is full: the usual case, a call for each request."""
        try:
            written = os.write(self._fd, data)
        except OSError:
            self._waiting.lost += data.count(b"\n")
            return
        if written < len(data):
            self._waiting.add(data[written:])
            self.flush()

    def flush(self) -> None:
        """Write what waits, as far as the other side takes it."""
        waiting = self._waiting
        try:
            while waiting:
                if self._careful and not _writable(self._fd):
                    return
                waiting.drop(os.write(self._fd, waiting.first(_PIPE_BYTES if self._careful else len(waiting))))
                if waiting.lost and not waiting:  # the reader goes on
                    self._say_what_is_lost()
        except BlockingIOError:
            return
        except OSError:
            # Disk full, reader gone: these lines are lost, later ones may not be.
            waiting.lost += bytes(waiting.first(len(waiting))).count(b"\n")
            waiting.clear()

    def leave_to_parent(self) -> None:
        """In a forked child: what waits is the parent's, and so is memory that is shared."""
        self._waiting = WaitingLines()

    def drain(self, timeout: float) -> None:
        """Write what waits, at most for `timeout` seconds: this process ends, and nobody tries again after that."""
        deadline = time.monotonic() + timeout
        self.flush()
        while self._waiting:
            left = deadline - time.monotonic()
            if left <= 0 or not _writable(self._fd, left):
                return
            self.flush()

    def reopen(self) -> str:
        """Open the file afresh. If that fails, go on with the one that is open, say so in it, and return what is said.

        Else return nothing.
        """
        if self.path == "-":
            return ""
        try:
            fd = self._open()
        except FileError as error:
            said = f"{error}; writing on to the old one"
            self.write(f"[{said}]\n")
            return said
        self.flush()
        _move_streams(self._fd, fd)
        os.close(self._fd)
        self._fd = fd
        self._careful = _may_block(fd)
        self._at_once = not self._careful and self._schedule is None
        return ""

    def close(self) -> None:
        """Write what can be written and close the file (a standard stream stays open)."""
        self.flush()
        if self.path != "-":
            os.close(self._fd)

    def _open(self) -> int:
        if self.path == "-":
            return self._standard
        try:
            # O_NONBLOCK: opening a named pipe must not wait for its reader.
            return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
        except OSError as error:
            raise _cannot_open(self.path, error) from None


def check_log_file(path: str) -> None:
    """Raise `FileError`, as opening it would, if a log file cannot be written. Creates nothing."""
    if path == "-":
        return
    try:
        if os.path.lexists(path):
            os.close(os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK))
        else:
            directory = os.path.dirname(path) or "."
            os.stat(directory)
            if not os.access(directory, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _cannot_open(path, error) from None


def _cannot_open(path: str, error: OSError) -> FileError:
    return FileError(f"the log file {path} cannot be opened: {_reason(error)}")


def _move_streams(old: int, new: int) -> None:
    """Let the standard streams that lead into the old file lead into the new one: a daemon's do (`start -d`)."""
    if _may_block(new):
        return
    for stream in (STDOUT, STDERR):
        try:
            if os.path.sameopenfile(stream, old):
                os.dup2(new, stream)
        except OSError:  # closed, which is its user's choice
            continue


def _may_block(fd: int) -> bool:
    try:
        return not stat.S_ISREG(os.fstat(fd).st_mode)
    except OSError:
        return False


def _writable(fd: int, timeout: float = 0.0) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(timeout * 1000))


def _reason(error: OSError) -> str:
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return f"{error.strerror}: check the permissions of it and of its directory"
    if error.errno == errno.ENOENT:
        return "its directory does not exist: create it"
    if error.errno == errno.ENXIO:
        return "it is a pipe that nobody reads: start its reader first"
    return error.strerror or str(error)
