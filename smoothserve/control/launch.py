"""What a process is started with: versioned JSON in an anonymous file whose descriptor is passed on the command line.

`MasterLaunch` goes from the command line to the master, `WorkerLaunch` from the master to a worker. Unknown fields
are ignored: after an upgrade on disk a worker may be newer than the master that starts it.
"""

import json
import os
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from smoothserve.control.scoreboard import anonymous_file
from smoothserve.errors import SmoothserveError

#: Raised when an older reader could no longer understand the message.
LAUNCH_VERSION = 1


class LaunchError(SmoothserveError):
    """A launch message that this version cannot understand."""


@dataclass(frozen=True, slots=True)
class MasterLaunch:
    """From the command line to the master, through exec."""

    flags: dict[str, Any] = field(default_factory=dict)
    """Settings given as flags, by setting name, as parsed values that JSON holds."""
    config: str | None = None
    """The configuration file as given, or None: it is searched for."""
    script: str = ""
    """The command as it was invoked (`sys.argv[0]`), unresolved: `bin/python` is looked for beside it."""
    executable: str = ""
    """`sys.executable` of the command line's process."""
    directory: str = ""
    """The working directory as typed or from $PWD, unresolved."""
    ready_fd: int = -1
    """A descriptor to which `ready` is written once all workers accept (`smoothserve start -d`); -1: none."""
    version: int = LAUNCH_VERSION


@dataclass(frozen=True, slots=True)
class ListenerLaunch:
    """An inherited listening socket."""

    fd: int
    name: str
    """The address as the user reads it: `http://127.0.0.1:8000`, `unix:/run/app.sock`."""


@dataclass(frozen=True, slots=True)
class WorkerLaunch:
    """From the master to a worker, through fork and exec."""

    worker: int = 0
    """Number of this worker, never used again in a master's life."""
    slot: int = 0
    generation: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    """All settings (`Settings.to_dict`)."""
    directory: str = ""
    """The working directory, symbolic links resolved when the worker was spawned."""
    listeners: list[dict[str, Any]] = field(default_factory=list)
    """`ListenerLaunch` fields, one for each."""
    control_fd: int = -1
    scoreboard_fd: int = -1
    scoreboard_rows: int = 0
    scoreboard_row: int = 0
    measure_words: int = 0
    """How long the scoreboard's rows of measures are; 0: it has none."""
    dump_fd: int = -1
    """The file that all workers append their stacks to when they are asked for them; -1: none."""
    lines_fd: int = -1
    """Memory for the access lines that wait, shared with the master (`control.regions`); -1: none."""
    lines_bytes: int = 0
    """How much of it each row of the scoreboard has."""
    version: int = LAUNCH_VERSION


Launch = TypeVar("Launch", MasterLaunch, WorkerLaunch)


def write_launch(message: MasterLaunch | WorkerLaunch) -> int:
    """Write a launch message into an anonymous file; return its descriptor (not inheritable), at the start."""
    fd = anonymous_file("smoothserve-launch")
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(json.dumps(asdict(message)).encode())
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def read_launch(kind: type[Launch], fd: int) -> Launch:
    """Read a launch message and close the descriptor. Raise `LaunchError` if it can't be understood."""
    with os.fdopen(fd, "rb") as file:
        file.seek(0)
        values = json.loads(file.read())
    if values.get("version") != LAUNCH_VERSION:
        raise LaunchError(
            f"this smoothserve reads launch messages of version {LAUNCH_VERSION}, the master sent version "
            f"{values.get('version')}: upgrade the master (stop and start it)"
        )
    known = {one.name for one in fields(kind)}
    return kind(**{name: value for name, value in values.items() if name in known})
