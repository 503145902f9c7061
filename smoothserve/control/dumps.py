"""What master and worker agree on for a dump of stacks: the signal that asks for it, and the end of the tasks' part."""

import os
import signal

#: A real-time signal, which applications seldom use; None where there are none.
DUMP_SIGNAL: int | None = signal.SIGRTMIN + 9 if hasattr(signal, "SIGRTMIN") else None
TASKS_END = "End of tasks\n"


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal, which would end it otherwise (Linux)."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            caught = next((line.split()[1] for line in file if line.startswith("SigCgt:")), "0")
    except (OSError, IndexError):
        return False
    return bool(int(caught, 16) >> (number - 1) & 1)


def read_dump(fd: int, limit: int) -> str:
    """Return what is in the file of dumps, `limit` bytes at most."""
    return os.pread(fd, limit, 0).decode("utf-8", "replace")
