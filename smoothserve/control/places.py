"""Where control sockets are: the place that a master takes for its own, and the places where a verb looks for them.

Named by the master's process number. A directory that others may write to is no place: who can put a socket there
could pose as the server.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping

from smoothserve.errors import FileError

#: `--control-socket off`: no control socket.
OFF = "off"
#: A path of a unix socket has room for this many bytes (sun_path of Linux, less its end).
MAX_PATH_BYTES = 107
#: systemd's RuntimeDirectory= are here.
RUN = "/run"
_NAME = re.compile(r"smoothserve-([0-9]{1,10})\.sock\Z")


def socket_name(pid: int) -> str:
    """Return the name of a master's control socket within its directory."""
    return f"smoothserve-{pid}.sock"


def parse_socket_name(name: str) -> int | None:
    """Return the process number of the master whose control socket has this name."""
    found = _NAME.match(name)
    return int(found[1]) if found else None


def default_socket(pid: int, environ: Mapping[str, str]) -> str:
    """Return where a master's control socket goes if nobody says otherwise. Raise `FileError` if nowhere can be.

    $RUNTIME_DIRECTORY (systemd), else $XDG_RUNTIME_DIR, else a directory of the user's of its own, which is made.
    """
    directory = _runtime_directory(environ) or environ.get("XDG_RUNTIME_DIR", "")
    if not (directory and os.path.isabs(directory) and os.access(directory, os.W_OK | os.X_OK)):
        directory = _private_directory(os.geteuid())
        _make_private(directory)
    return check_length(os.path.join(directory, socket_name(pid)))


def check_length(path: str) -> str:
    """Return the path. Raise `FileError` if it is too long for a unix socket."""
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise FileError(f"the path of the control socket {path} is too long ({MAX_PATH_BYTES} bytes at most)")
    return path


def sockets_of(pid: int, environ: Mapping[str, str]) -> list[str]:
    """Return the paths at which the master of that number may have its control socket."""
    try:
        owner = os.stat(f"/proc/{pid}").st_uid
    except OSError:
        owner = os.geteuid()
    return [path for path in _every_socket(environ, {owner, os.geteuid()}) if _pid_of(path) == pid]


def sockets_of_user(environ: Mapping[str, str]) -> list[str]:
    """Return the paths of all control sockets of this user's, also those of masters that are gone."""
    return [path for path in _every_socket(environ, {os.geteuid()}) if _owner(path) == os.geteuid()]


def _pid_of(path: str) -> int | None:
    return parse_socket_name(os.path.basename(path))


def _every_socket(environ: Mapping[str, str], owners: set[int]) -> Iterator[str]:
    seen = set()
    for directory in _directories(environ, owners):
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            continue
        for name in names:
            path = os.path.join(directory, name)
            if parse_socket_name(name) is not None and (real := os.path.realpath(path)) not in seen:
                seen.add(real)
                yield path


def _directories(environ: Mapping[str, str], owners: set[int]) -> Iterator[str]:
    yield from filter(None, (_runtime_directory(environ), environ.get("XDG_RUNTIME_DIR")))
    for owner in sorted(owners):
        directory = _private_directory(owner)
        if _is_private(directory, owner):
            yield directory
        yield f"{RUN}/user/{owner}"
    try:
        names = sorted(os.listdir(RUN))
    except OSError:
        return
    yield from (os.path.join(RUN, name) for name in names)


def _runtime_directory(environ: Mapping[str, str]) -> str:
    return environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]


def _private_directory(owner: int) -> str:
    # Not the module tempfile: it loads a great deal into the master.
    return os.path.join(os.environ.get("TMPDIR") or "/tmp", f"smoothserve-{owner}")  # noqa: S108 - closed to others, and checked


def _make_private(directory: str) -> None:
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise FileError(f"{directory} cannot be made: {error.strerror}") from None
    if not _is_private(directory, os.geteuid()):
        raise FileError(f"{directory} is not a directory of this user's that is closed to others (mode 0700)")


def _is_private(directory: str, owner: int) -> bool:
    try:
        found = os.lstat(directory)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == owner and not found.st_mode & 0o077


def _owner(path: str) -> int:
    try:
        return os.lstat(path).st_uid
    except OSError:
        return -1
