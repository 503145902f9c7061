"""Addresses to listen on, as the user types them: `host:port`, `[::1]:port`, `unix:/path`, `fd://N`."""

from dataclasses import dataclass

from smoothserve.errors import BindError

MAX_PORT = 65535
#: sun_path without its closing NUL, on Linux; other systems have less, and say so at bind.
MAX_UNIX_PATH_BYTES = 107
_FORMS = "write host:port, [::1]:port, unix:/path or fd://N"


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A host (name or number, IPv6 without brackets) and a port; 0 lets the system choose one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """The path of a unix socket."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class FdAddress:
    """A listening socket that this process was started with."""

    fd: int

    def __str__(self) -> str:
        return f"fd://{self.fd}"


Address = TcpAddress | UnixAddress | FdAddress


def parse_bind(text: str) -> Address:
    """Parse an address to listen on. Raise `BindError` (one line) for anything else."""
    if text.startswith("unix:"):
        return _parse_unix(text)
    if text.startswith("fd://"):
        number = text.removeprefix("fd://")
        if not (number.isascii() and number.isdigit()):
            raise BindError(f"--bind {text}: {number!r} is not the number of a descriptor: write fd://3")
        return FdAddress(int(number))
    if "/" in text:
        raise BindError(f"--bind {text}: this is no address to listen on: {_FORMS}")
    return _parse_tcp(text)


def _parse_unix(text: str) -> UnixAddress:
    path = text.removeprefix("unix:").removeprefix("//")
    if not path or path.endswith("/"):
        raise BindError(f"--bind {text}: a unix socket needs the path of a file: write unix:/run/app.sock")
    size = len(path.encode("utf-8", "surrogateescape"))
    if size > MAX_UNIX_PATH_BYTES:
        raise BindError(
            f"--bind {text}: the path has {size} bytes, a unix socket's may have {MAX_UNIX_PATH_BYTES}: "
            "choose a shorter one"
        )
    return UnixAddress(path)


def _parse_tcp(text: str) -> TcpAddress:
    host, colon, port = text.rpartition(":")
    if not colon:
        raise BindError(f"--bind {text}: the port is missing: {_FORMS}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise BindError(f"--bind {text}: an IPv6 address goes in brackets: write [{host}]:{port}")
    if not (port.isascii() and port.isdigit()) or int(port) > MAX_PORT:
        raise BindError(f"--bind {text}: {port!r} is not a port: choose one from 0 to {MAX_PORT}")
    return TcpAddress(host or "0.0.0.0", int(port))
