"""The PID file: written by rename, never another live master's, removed only while it is still ours."""

import contextlib
import errno
import os

from smoothserve.errors import FileError

#: What `/proc/PID/comm` of a master of ours says.
PROCESS_NAME = "smoothserve"


class PidFile:
    """A file that holds the master's process number."""

    def __init__(self, path: str) -> None:
        self.path = path

    def check(self) -> None:
        """Raise `FileError` if another master that lives has the file, or if it is no PID file at all."""
        try:
            text = self._read()
        except FileNotFoundError:
            return
        except OSError as error:
            raise FileError(f"the PID file {self.path} cannot be read: {error.strerror}") from None
        if text and not (text.isascii() and text.isdigit()):
            raise FileError(
                f"the PID file {self.path} holds something else than a process number: remove it or choose another"
            )
        if text and is_master(int(text)):
            raise FileError(
                f"another server (pid {text}) has the PID file {self.path}: stop it first (kill {text}), reload it"
                f" (kill -HUP {text}), or choose another --pid-file"
            )

    def write(self) -> None:
        """Write our process number. Raise `FileError` if that cannot be."""
        self.check()
        temporary = f"{self.path}.{os.getpid()}"
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            with open(temporary, "w", encoding="ascii", opener=_create) as file:
                file.write(f"{os.getpid()}\n")
            os.rename(temporary, self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise FileError(f"the PID file {self.path} cannot be written: {_advice(error)}") from None

    def remove(self) -> None:
        """Remove the file if it still holds our process number."""
        with contextlib.suppress(OSError):
            if self._read() == str(os.getpid()):
                os.unlink(self.path)

    def _read(self) -> str:
        with open(self.path, encoding="ascii", errors="replace") as file:
            return file.read(64).strip()


def _advice(error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"{error.strerror}: free some there, or choose another --pid-file"
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        return "its directory does not exist: create it, or choose another --pid-file"
    return f"{error.strerror}: check the permissions of its directory, or choose another --pid-file"


def _create(path: str, flags: int) -> int:
    """Open a new file that only its owner may write, whatever the umask: who can write it chooses whom a script kills.

    Never one that is there: whoever may write its directory could let us write through a link.
    """
    return os.open(path, flags | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)


def is_master(pid: int) -> bool:
    """Whether a process of that number lives and may be a master. Numbers are used again, so its name counts, too."""
    if pid in {0, os.getpid()}:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip() == PROCESS_NAME
    except FileNotFoundError:
        # No /proc at all: rather refuse than take a live master's file.
        return not os.path.exists("/proc/self/comm")
    except OSError:
        return True
