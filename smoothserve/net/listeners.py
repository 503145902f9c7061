"""Listening sockets: opened by the master once, inherited by all workers, closed by whoever stops serving.

TCP sockets are made with IPPROTO_TCP, because asyncio sets TCP_NODELAY only on connections whose listener says so.
There is no SO_REUSEPORT: a socket of such a group that is closed resets the connections that wait in its queue.
"""

import contextlib
import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass

from smoothserve.errors import BindError
from smoothserve.net.addresses import Address, FdAddress, TcpAddress, UnixAddress

#: Unless the user says otherwise: a proxy of another user must be able to connect, which on Linux needs write
#: permission (nginx and uvicorn do the same, whatever the umask).
UNIX_SOCKET_MODE = 0o666
_RETRY_INTERVAL = 0.05


class Listener:
    """A listening socket and its name as the user reads it."""

    def __init__(self, sock: socket.socket, name: str, path: str | None = None) -> None:
        self.sock = sock
        self.name = name
        self._path = path
        self._identity = _identity(path) if path is not None else None

    def close(self) -> None:
        """Close the socket. The file of a unix socket is removed if it is still the one that was made here."""
        if self._path is not None and self._identity is not None and _identity(self._path) == self._identity:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
        self._path = None
        self.sock.close()


@dataclass(frozen=True, slots=True)
class UnixAccess:
    """Who may connect to the unix sockets that are made here."""

    mode: int = UNIX_SOCKET_MODE
    owner: int | None = None
    """The number of a user; None is that of the process."""
    group: int | None = None
    """The number of a group; None is that of the process."""


def open_listener(address: Address, backlog: int, patience: float = 0.0, access: UnixAccess | None = None) -> Listener:
    """Open a non-blocking listening socket. Raise `BindError`, one line, if that cannot be.

    An address in use is tried again for `patience` seconds: the workers of a master that was killed may still be on
    their way out.
    """
    gives_up_at = time.monotonic() + patience
    while True:
        try:
            return _open(address, backlog, access or UnixAccess())
        except _InUseError:
            if time.monotonic() >= gives_up_at:
                raise
        time.sleep(_RETRY_INTERVAL)


class _InUseError(BindError):
    """Somebody listens there."""


def _open(address: Address, backlog: int, access: UnixAccess) -> Listener:
    if isinstance(address, TcpAddress):
        return _open_tcp(address, backlog)
    if isinstance(address, UnixAddress):
        return _open_unix(address, backlog, access)
    return _adopt(address, backlog)


def _open_tcp(address: TcpAddress, backlog: int) -> Listener:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a host name"
        raise BindError(
            f"cannot listen on {address}: the host {address.host!r} was not found ({reason}): check its spelling"
        ) from None
    # A name with both kinds of addresses (localhost) means IPv4, as it does to gunicorn and uvicorn.
    family, _, _, _, target = min(found, key=lambda one: one[0] != socket.AF_INET)
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # As nginx: [::] means IPv6 only, whatever net.ipv6.bindv6only says, so that 0.0.0.0 can stand beside it.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(target)
        sock.listen(backlog)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise _bind_error(address, error) from None
    return Listener(sock, _name(sock))


def _open_unix(address: UnixAddress, backlog: int, access: UnixAccess) -> Listener:
    path = address.path
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _directory_lock(path):
            _remove_stale(address)
            sock.bind(path)
            # Nobody can connect before it listens.
            _give_access(address, access)
            sock.listen(backlog)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise _bind_error(address, error) from None
    except BindError:
        sock.close()
        raise
    return Listener(sock, str(address), os.path.abspath(path))


def _give_access(address: UnixAddress, access: UnixAccess) -> None:
    """Set owner, group and mode of a socket just made, whatever somebody who may write its directory puts there."""
    if not hasattr(os, "O_PATH"):
        _set_access(address.path, address, access)
        return
    fd = os.open(address.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink != 1:
            raise BindError(
                f"cannot listen on {address}: somebody has put something else there: choose another directory"
            )
        _set_access(f"/proc/self/fd/{fd}", address, access)
    finally:
        os.close(fd)


def _set_access(path: str, address: UnixAddress, access: UnixAccess) -> None:
    if access.owner is not None or access.group is not None:
        owner = -1 if access.owner is None else access.owner
        group = -1 if access.group is None else access.group
        try:
            os.chown(path, owner, group)
        except PermissionError:
            raise BindError(
                f"cannot listen on {address}: only root can give a socket to another user or to a group that this "
                "user is not in: start it as root, or leave --uds-owner and --uds-group out"
            ) from None
    os.chmod(path, access.mode)


@contextlib.contextmanager
def _directory_lock(path: str) -> Iterator[None]:
    """Let one server at a time look at what is at `path` and replace it."""
    fd = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _remove_stale(address: UnixAddress) -> None:
    try:
        mode = os.lstat(address.path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise BindError(
            f"cannot listen on {address}: there is a file that is no socket: remove it or choose another path"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(address.path)
        except ConnectionRefusedError:
            os.unlink(address.path)
            return
        except FileNotFoundError:
            return
        except BlockingIOError:  # its queue is full: somebody listens
            pass
    raise _InUseError(f"cannot listen on {address}: another server listens there: stop it or choose another address")


def _adopt(address: FdAddress, backlog: int) -> Listener:
    try:
        sock = socket.socket(fileno=os.dup(address.fd))
        # Whoever started us left it inheritable; the workers get ours.
        os.set_inheritable(address.fd, False)
    except OSError:
        raise BindError(
            f"cannot listen on {address}: descriptor {address.fd} is not an open socket: check what starts the server"
        ) from None
    if sock.type != socket.SOCK_STREAM:
        sock.close()
        raise BindError(f"cannot listen on {address}: descriptor {address.fd} is not a stream socket: use another")
    try:
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.listen(backlog)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise _bind_error(address, error) from None
    return Listener(sock, _name(sock))


def _name(sock: socket.socket) -> str:
    if sock.family == socket.AF_UNIX:
        path = sock.getsockname()
        return f"unix:{path if isinstance(path, str) else path.decode(errors='replace').replace(chr(0), '@')}"
    host, port = sock.getsockname()[:2]
    return f"http://{TcpAddress(host, port)}"


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _bind_error(address: Address, error: OSError) -> BindError:
    what = f"cannot listen on {address}"
    if error.errno == errno.EADDRINUSE:
        return _InUseError(f"{what}: it is in use: is another server running? stop it or choose another address")
    if error.errno in {errno.EACCES, errno.EPERM}:
        if isinstance(address, TcpAddress):
            return BindError(f"{what}: not permitted: ports below 1024 need privileges: choose a higher one")
        return BindError(f"{what}: not permitted: check the permissions of the directory")
    if error.errno == errno.EADDRNOTAVAIL:
        return BindError(f"{what}: this machine does not have that address: choose one it has, or 0.0.0.0")
    if error.errno == errno.EAFNOSUPPORT:
        return BindError(f"{what}: this machine does not speak that kind of address: choose another address")
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        return BindError(f"{what}: its directory does not exist: create it or choose another path")
    return BindError(f"{what}: {error.strerror or error}")
