"""What /proc tells about processes: children, sessions, sockets, maps. Linux only, as the tests that need it."""

import contextlib
import os
import random
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

POLL_INTERVAL = 0.02


def wait_until(condition: Callable[[], object], timeout: float, what: str) -> None:
    """Poll until the condition is true. Fail with `what` at the deadline."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(POLL_INTERVAL)


def stat_fields(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on (field 3), none if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()


def is_running(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    fields = stat_fields(pid)
    return bool(fields) and fields[0] not in "ZX"


def session_members(session: int) -> list[int]:
    """Return the running processes of a session."""
    members = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            fields = stat_fields(int(entry))
            if fields and int(fields[3]) == session and fields[0] not in "ZX":
                members.append(int(entry))
    return members


def children(pid: int) -> list[int]:
    """Return the running children of a process, oldest first."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            fields = stat_fields(int(entry))
            if fields and int(fields[1]) == pid and fields[0] not in "ZX":
                found.append((int(fields[19]), int(entry)))
    return [child for _, child in sorted(found)]


def mapped_files(pid: int) -> set[str]:
    """Return the paths of the files mapped into a process."""
    files = set()
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        words = line.split(maxsplit=5)
        if len(words) == 6 and words[5].startswith("/"):
            files.add(words[5])
    return files


def descriptors(pid: int) -> list[str]:
    """Return what a process's open descriptors refer to, as `socket:[INODE]` and the like; none of one that is gone."""
    found = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for entry in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                found.append(os.readlink(f"/proc/{pid}/fd/{entry}"))
    return found


def open_count(pid: int) -> int:
    """Return how many descriptors a process has open, 0 if it is gone."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except (FileNotFoundError, ProcessLookupError):
        return 0


def connections_to(port: int) -> set[int]:
    """Return the client ports of the established connections to a port of 127.0.0.1."""
    remote = f"0100007F:{port:04X}"
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return {int(row[1].partition(":")[2], 16) for row in rows if row[2] == remote and row[3] == "01"}


def free_port() -> int:
    """Return a port that nobody listens on, and that the kernel gives to nobody who asks for any port."""
    for port in random.sample(range(20_000, 32_000), 50):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port is free")


def is_listening(port: int) -> bool:
    """Whether any process listens on the port of 127.0.0.1."""
    local = f"0100007F:{port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[1] == local and words[3] == "0A":
            return True
    return False


def kill(pid: int, number: signal.Signals) -> None:
    """Send a signal; a process that has gone meanwhile is no error."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def running(master: int, module: str) -> list[int]:
    """Return the children of a master that run a module of ours. Others may leave while one looks."""
    found = []
    for pid in children(master):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found
