"""Small servers that do exactly one thing wrong: the negative controls of the classification."""

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator

from tests.load.connection import Target

#: What a server does with an accepted connection; it is closed (with an end of file) when the script returns.
Script = Callable[[socket.socket], None]

LINGER_RESET = struct.pack("ii", 1, 0)


@contextlib.contextmanager
def serve(script: Script) -> Iterator[Target]:
    """Run a server on a port of its own that hands each connection, one after the other, to the script."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_accept, args=(listener, script), daemon=True)
        thread.start()
        yield Target(port=listener.getsockname()[1])
        # accept() on a socket that another thread closes would wait for ever.
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def _accept(listener: socket.socket, script: Script) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        connection.settimeout(10)
        with connection, contextlib.suppress(OSError):
            script(connection)


def reset(connection: socket.socket) -> None:
    """Close with a reset, whatever has been read."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
    connection.close()


def read_head(connection: socket.socket) -> list[str]:
    """Read one request head; return the words of its first line. Raise OSError at the end of the connection."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            raise OSError("the client left")
        data += part
    return data.split(b"\r\n", 1)[0].decode().split(" ")


def read_token(connection: socket.socket) -> str:
    """Read one request without a body; return its token."""
    return read_head(connection)[1].split("/")[2]


def body(token: str, version: str = "v1") -> bytes:
    """Render the body that a good application answers with."""
    return f"{version} {os.getpid()} {token}\n".encode()


def answer(content: bytes, *fields: str, status: str = "200 OK") -> bytes:
    """Render a whole answer."""
    rows = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *fields]
    return "\r\n".join(rows).encode() + b"\r\n\r\n" + content
