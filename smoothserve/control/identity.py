"""Whom workers run as (--user, --group): found by the master, which stays what it is, taken on by a child for good.

Must be complete before the child executes anything of the user's: the interpreter, its site-packages, the application.
"""

import contextlib
import grp
import os
import pwd
import stat
from collections.abc import Iterable
from dataclasses import dataclass

from smoothserve.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Identity:
    """A user, a group, and the further groups of that user."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str
    """As messages name it: `www-data (user 33, group 33)`."""


def find_identity(user: str | None, group: str | None) -> Identity | None:
    """Return whom workers are to run as; None: as the master does.

    `user` and `group` are names or numbers. A user without a group has the one that the system lists for it, and in
    either case all of its further groups (initgroups(3)). Raise `SettingsError`, one line, for a name that is not
    known, and if somebody else than root asks for another user than itself.
    """
    if user is None and group is None:
        return None
    entry = _find_user(user) if user is not None else None
    uid = entry.pw_uid if entry is not None else int(user) if user is not None else os.geteuid()
    if group is not None:
        gid = find_group(group, "--group")
    elif entry is not None:
        gid = entry.pw_gid
    else:
        raise SettingsError(f"--user {user}: the system lists no such user, so its group is not known: add --group")
    if os.geteuid() != 0:
        if (uid, gid) == (os.geteuid(), os.getegid()):
            return None
        what = " ".join(f"--{name} {given}" for name, given in (("user", user), ("group", group)) if given is not None)
        raise SettingsError(f"{what}: only root can change its user and group: start it as root, or leave it out")
    groups = os.getgrouplist(entry.pw_name, gid) if entry is not None else [gid]
    shown = f"{entry.pw_name if entry is not None else uid} (user {uid}, group {gid})"
    return Identity(uid, gid, tuple(groups), shown)


def find_user(text: str, flag: str) -> int:
    """Return the number of a user. Raise `SettingsError` if there is none of that name."""
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid
    except KeyError:
        raise SettingsError(f"{flag} {text}: there is no such user: correct it, or make that user") from None


def find_group(text: str, flag: str) -> int:
    """Return the number of a group. Raise `SettingsError` if there is none of that name."""
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        raise SettingsError(f"{flag} {text}: there is no such group: correct it, or make that group") from None


def _find_user(text: str) -> pwd.struct_passwd | None:
    """Return the system's entry; None for a number that has none, which is a user all the same."""
    uid = find_user(text, "--user")
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(uid) if text.isdigit() else pwd.getpwnam(text)
    return None


def take_on(identity: Identity) -> None:
    """Become it, for good: real, effective and saved ids. Raise `OSError` if the system refuses."""
    os.setgroups(identity.groups)
    os.setgid(identity.gid)
    os.setuid(identity.uid)


def give_log_files(paths: Iterable[str], identity: Identity) -> None:
    """Make log files that are not there, and let the user of the workers write them.

    Only plain files: through a link, or a second name of a file, whoever may write the directory would be given what
    is not his. What cannot be given is found out by the worker that opens it.
    """
    for path in paths:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
        with contextlib.suppress(OSError):
            fd = os.open(path, flags, 0o644)
            try:
                found = os.fstat(fd)
                theirs = (found.st_uid, found.st_gid) == (identity.uid, identity.gid)
                if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and not theirs:
                    os.fchown(fd, identity.uid, identity.gid)
            finally:
                os.close(fd)
