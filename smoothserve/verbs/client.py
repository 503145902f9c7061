"""A verb's side of the control socket: finding the server that is meant, asking it, reading its lines."""

import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from smoothserve.control import places
from smoothserve.control.operator import ERROR, OPERATOR_VERSION, Line, OperatorError, parse_line, render_line
from smoothserve.errors import NoServerError, SmoothserveError, VerbCode

#: Seconds for a master to take a connection, and for one that does not wait for anything to answer.
ANSWER_TIMEOUT = 10.0


class AmbiguousError(SmoothserveError):
    """Several servers run and none was named."""

    exit_code = VerbCode.USAGE


class RefusedError(SmoothserveError):
    """The server says no."""

    exit_code = VerbCode.REFUSED


class SilentError(SmoothserveError):
    """The server has not answered in time."""

    exit_code = VerbCode.TIMED_OUT


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: where its control socket is."""

    path: str

    def ask(self, verb: str, *, timeout: float | None = ANSWER_TIMEOUT, **request: Any) -> Iterator[Line]:
        """Yield the lines of the answer. `timeout` is for each line; None: no limit.

        Raise `NoServerError` if nobody is there, `RefusedError` if the server says no, `SilentError` if it is too slow.
        """
        sock = _connect(self.path)
        with sock:
            sock.settimeout(timeout)
            try:
                sock.sendall(render_line({"version": OPERATOR_VERSION, "verb": verb, **request}))
                yield from _lines(sock)
            except TimeoutError:
                raise SilentError(_silent(self.path)) from None
            except (ConnectionError, BrokenPipeError):
                return

    def tell(self, verb: str, **request: Any) -> Line:
        """Return the last line of the answer, for verbs that are done at once."""
        lines = list(self.ask(verb, **request))
        if not lines:
            raise NoServerError(f"the server has ended without an answer: {self.path}")
        return lines[-1]


def _connect(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(ANSWER_TIMEOUT)
    try:
        sock.connect(path)
    except (TimeoutError, BlockingIOError):  # it is there, and its queue is full: it has stopped taking connections
        sock.close()
        raise SilentError(_silent(path)) from None
    except OSError as error:
        sock.close()
        raise NoServerError(_why_no_server(path, error)) from None
    return sock


def _silent(path: str) -> str:
    return f"the server does not answer: {path}"


def _why_no_server(path: str, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"there is no control socket at {path}: is the server running, and with that --control-socket?"
    if isinstance(error, ConnectionRefusedError):
        return f"nobody listens at {path}: the server that made it is gone"
    if isinstance(error, PermissionError):
        return f"{path} is another user's: run the verb as that user or as root"
    return f"{path} cannot be connected to: {error.strerror or error}"


def _lines(sock: socket.socket) -> Iterator[Line]:
    data = bytearray()
    while chunk := sock.recv(65536):
        data += chunk
        *lines, rest = data.split(b"\n")
        data = bytearray(rest)
        for text in lines:
            line = parse_line(bytes(text))
            if line.get("kind") == ERROR:
                raise RefusedError(str(line.get("message", "refused")))
            yield line


def find_server(
    *, pid: int | None, pid_file: str | None, control_socket: str | None, environ: Mapping[str, str]
) -> Server:
    """Find the server that is meant: named in one way, or this user's only one.

    Raise `NoServerError` if there is none, `AmbiguousError` if there are several.
    """
    if control_socket is not None:
        return Server(control_socket)
    if pid_file is not None:
        pid = _read_pid(pid_file)
    if pid is not None:
        return _server_of(pid, pid_file, environ)
    servers = [path for path in places.sockets_of_user(environ) if _is_alive(path)]
    if not servers:
        raise NoServerError(
            "no server of this user's has a control socket: start one, or name it with --pid or --control-socket "
            "(as the user that it runs as, or as root)"
        )
    if len(servers) > 1:
        raise AmbiguousError(
            "several servers run, name one with --pid: " + "; ".join(_describe(Server(path)) for path in servers)
        )
    return Server(servers[0])


def _server_of(pid: int, pid_file: str | None, environ: Mapping[str, str]) -> Server:
    for path in places.sockets_of(pid, environ):
        if _is_alive(path):
            return Server(path)
    origin = f" (of {pid_file})" if pid_file else ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        stale = ": the file is stale, the server has died" if pid_file else ""
        raise NoServerError(f"there is no process {pid}{origin}{stale}") from None
    except OSError:
        pass
    raise NoServerError(
        f"process {pid}{origin} has no control socket that can be found: is it a smoothserve master? "
        "if it was started with --control-socket, give the same here; kill -HUP reloads it in any case"
    )


def _read_pid(path: str) -> int:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            text = file.read(64).strip()
    except OSError as error:
        raise NoServerError(f"the PID file {path} cannot be read: {error.strerror}: is the server running?") from None
    if not (text.isascii() and text.isdigit()):
        raise NoServerError(f"the PID file {path} holds no process number")
    return int(text)


def _is_alive(path: str) -> bool:
    try:
        _connect(path).close()
    except NoServerError:
        return False
    except SilentError:
        pass
    return True


def _describe(server: Server) -> str:
    try:
        told = server.tell("status")
    except (SmoothserveError, OperatorError):
        return server.path
    return f"--pid {told['pid']} ({told['app']}, {' '.join(told['listening']) or 'no listener'})"
