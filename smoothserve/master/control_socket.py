"""The control socket: a unix socket of the owner's only, on which a verb sends a line and gets lines back.

Knows nothing of what verbs mean. It never blocks, and what one local process can cost is bounded: so many sessions at
a time, so many bytes in, so many waiting to go out, so many seconds to send its line and to take its answer.
"""

import contextlib
import os
import selectors
import socket
import stat
import struct
from collections.abc import Callable
from typing import Protocol

from smoothserve.control.operator import ERROR, MAX_REQUEST_BYTES, Line, OperatorError, parse_request, render_line
from smoothserve.control.places import parse_socket_name
from smoothserve.errors import FileError
from smoothserve.master.companion import Seat

MAX_SESSIONS = 16
#: What may wait for a reader that does not read.
MAX_WAITING_BYTES = 8 * 1024 * 1024
#: Seconds for a verb to send its line, and for taking something of what waits for it.
SESSION_TIMEOUT = 10.0
_ACCEPTS_A_TURN = 8
_CREDENTIALS = struct.Struct("3i")


class Pieces(Protocol):
    """An answer that is longer than may wait for its reader."""

    def take(self) -> bytes:
        """Return the next piece of rendered lines, nothing at the end."""

    def close(self) -> None:
        """Nobody wants more."""


class Session:
    """One verb's connection."""

    def __init__(self, socket_: "ControlSocket", sock: socket.socket, now: float) -> None:
        self._owner = socket_
        self.sock = sock
        self._inbox = bytearray()
        self._outbox = bytearray()
        self._asked = False
        self._finished = False
        self._pieces: Pieces | None = None
        self.closed = False
        self.deadline: float | None = now + SESSION_TIMEOUT

    def say(self, line: Line) -> None:
        """Send a line, now or when the other side takes it."""
        if self.closed or self._finished:
            return
        self._outbox += render_line(line)
        if len(self._outbox) > MAX_WAITING_BYTES:
            self.close()
            return
        self._flush()

    def finish(self, line: Line) -> None:
        """Send the last line; close when it has been taken."""
        self.say(line)
        self._finished = True
        if not self._outbox:
            self.close()

    def finish_with(self, pieces: Pieces) -> None:
        """Send lines that are rendered already, the last one among them, as the other side takes them; then close."""
        if self.closed or self._finished:
            pieces.close()
            return
        self._pieces = pieces
        self._finished = True
        self._flush()

    def on_ready(self, mask: int) -> None:
        """Go on reading and writing."""
        if mask & selectors.EVENT_WRITE:
            self._flush()
        if mask & selectors.EVENT_READ and not self.closed:
            self._receive()

    def close(self) -> None:
        """Close at once."""
        if not self.closed:
            self.closed = True
            if self._pieces is not None:
                self._pieces.close()
            self._owner.forget(self)
            self.sock.close()

    def _receive(self) -> None:
        try:
            data = self.sock.recv(4096)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        if self._asked:
            return  # one line is all that a verb has to say
        self._inbox += data
        line, end, _ = self._inbox.partition(b"\n")
        if end:
            self._asked = True
            self.deadline = None
            self._ask(bytes(line))
        elif len(self._inbox) > MAX_REQUEST_BYTES:
            self._asked = True
            self.finish({"kind": ERROR, "message": f"a request has at most {MAX_REQUEST_BYTES} bytes"})

    def _ask(self, line: bytes) -> None:
        try:
            request = parse_request(line)
        except OperatorError as error:
            self.finish({"kind": ERROR, "message": str(error)})
        else:
            self._owner.ask(self, request)

    def _flush(self) -> None:
        while self._outbox or self._refill():
            try:
                sent = self.sock.send(self._outbox[:65536])
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                self.close()
                return
            del self._outbox[:sent]
            if self.deadline is not None:
                self.deadline = self._owner.now() + SESSION_TIMEOUT
        if not self._outbox:
            if self._asked:
                self.deadline = None
            if self._finished:
                self.close()
                return
        elif self.deadline is None:
            self.deadline = self._owner.now() + SESSION_TIMEOUT
        self._owner.follow(self, waiting=bool(self._outbox))

    def _refill(self) -> bool:
        if self._pieces is not None:
            self._outbox += self._pieces.take()
        return bool(self._outbox)


class ControlSocket:
    """The listening end. `ask` is called for each verb, with its session."""

    def __init__(self, path: str, seat: Seat, ask: Callable[[Session, Line], None]) -> None:
        """Listen at `path`. Raise `FileError` if that cannot be."""
        self.path = path
        self._seat = seat
        self.ask = ask
        self.now = seat.now
        self.sessions: set[Session] = set()
        self._sock = _listen(path)
        found = os.lstat(path)
        self._identity = found.st_dev, found.st_ino
        self._seat.watch(self._sock.fileno(), selectors.EVENT_READ, self._on_ready)

    def close(self) -> None:
        """Close everything. The file is removed if it is still ours."""
        for session in list(self.sessions):
            session.close()
        self._seat.unwatch(self._sock.fileno())
        self._sock.close()
        with contextlib.suppress(OSError):
            found = os.lstat(self.path)
            if (found.st_dev, found.st_ino) == self._identity:
                os.unlink(self.path)

    def next_deadline(self) -> float | None:
        """Return when the first session's time is up."""
        return min((one.deadline for one in self.sessions if one.deadline is not None), default=None)

    def advance(self, now: float) -> None:
        """Close the sessions whose time is up."""
        for session in list(self.sessions):
            if session.deadline is not None and now >= session.deadline:
                session.close()

    def follow(self, session: Session, *, waiting: bool) -> None:
        """Call the session back as it needs."""
        mask = selectors.EVENT_READ | (selectors.EVENT_WRITE if waiting else 0)
        self._seat.watch(session.sock.fileno(), mask, session.on_ready)

    def forget(self, session: Session) -> None:
        """Strike out a session that is about to close."""
        if session in self.sessions:
            self.sessions.discard(session)
            self._seat.unwatch(session.sock.fileno())

    def _on_ready(self, mask: int) -> None:
        del mask
        for _ in range(_ACCEPTS_A_TURN):
            try:
                sock, _ = self._sock.accept()
            except OSError:
                return  # nobody waits, or there is no descriptor left
            sock.setblocking(False)
            self._welcome(sock)

    def _welcome(self, sock: socket.socket) -> None:
        if not is_trusted(sock):
            _refuse(sock, "this server is another user's")
        elif len(self.sessions) >= MAX_SESSIONS:
            _refuse(sock, f"{MAX_SESSIONS} verbs at a time are the most: try again")
        else:
            session = Session(self, sock, self.now())
            self.sessions.add(session)
            self.follow(session, waiting=False)


def _refuse(sock: socket.socket, message: str) -> None:
    with sock, contextlib.suppress(OSError):
        sock.send(render_line({"kind": ERROR, "message": message}))


def is_trusted(sock: socket.socket) -> bool:
    """Whether the process at the other end is this user's or root's (Linux; elsewhere the file's mode must do)."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return True
    try:
        credentials = sock.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size)
    except OSError:
        return False
    _, uid, _ = _CREDENTIALS.unpack(credentials)
    return uid in {0, os.geteuid()}


def _listen(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        _remove_stale(path)
        sock.bind(path)
        # Nobody can connect before listen(), and by then only the owner may.
        os.chmod(path, 0o600)
        sock.listen(MAX_SESSIONS)
    except OSError as error:
        sock.close()
        raise FileError(f"no control socket at {path}: {error.strerror or error}") from None
    except FileError:
        sock.close()
        raise
    return sock


def remove_sockets_of_the_dead(path: str) -> None:
    """Remove, beside this path, the sockets of masters that were killed: no such process, and nobody listens."""
    directory = os.path.dirname(path)
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):
            pid = parse_socket_name(name)
            if pid is not None and name != os.path.basename(path) and not os.path.exists(f"/proc/{pid}"):
                with contextlib.suppress(FileError, OSError):
                    _remove_stale(os.path.join(directory, name))


def _remove_stale(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileError(f"no control socket at {path}: there is a file that is no socket: remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except (BlockingIOError, FileNotFoundError):
            pass
    raise FileError(f"no control socket at {path}: another server has it: choose another --control-socket")
