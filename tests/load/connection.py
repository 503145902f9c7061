"""A raw client connection on the event loop that tells exactly at which step, and how, it failed.

Its own few lines instead of asyncio streams: a transport hides whether a reset met a read or a write. The
socket is read as soon as the loop sees it readable, so that a close of an idle connection is known before the
next request.
"""

import asyncio
import contextlib
import errno
import os
import socket
import ssl
from dataclasses import dataclass

from tests.load.answers import AnswerError, AnswerReader
from tests.load.outcomes import Outcome

READ_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Target:
    """Where the server listens: a host and port, or the path of a unix socket."""

    host: str = "127.0.0.1"
    port: int = 0
    path: str | None = None
    tls: ssl.SSLContext | None = None
    """Speak TLS to it, in this context."""

    @property
    def authority(self) -> str:
        """What the Host field says."""
        if self.path:
            return "localhost"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def family(self) -> socket.AddressFamily:
        """What kind of socket leads there."""
        return socket.AF_UNIX if self.path else socket.AF_INET6 if ":" in self.host else socket.AF_INET


class ConnectError(Exception):
    """No connection came about."""

    def __init__(self, outcome: Outcome, detail: str) -> None:
        super().__init__(detail)
        self.outcome = outcome


class LoadError(Exception):
    """The client itself is out of something (ports, descriptors): the run means nothing."""


class TornError(OSError):
    """The connection has ended without a close_notify: in TLS something may be missing."""


class TLSLayer:
    """What is between the socket and the answers where TLS is spoken."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.session = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.ended = False
        """The server has said that nothing more follows."""

    async def shake_hands(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        """Complete the handshake. Raise OSError."""
        while True:
            try:
                self.session.do_handshake()
            except ssl.SSLWantReadError:
                await loop.sock_sendall(sock, self.outgoing.read())
                data = await loop.sock_recv(sock, READ_BYTES)
                if not data:
                    raise ConnectionResetError("the connection has ended in the handshake") from None
                self.incoming.write(data)
            else:
                await loop.sock_sendall(sock, self.outgoing.read())
                return

    def encrypt(self, data: bytes) -> bytes:
        """Return what goes onto the wire."""
        self.session.write(data)
        return self.outgoing.read()

    def decrypt(self, data: bytes) -> bytes:
        """Return what has come; `ended` if that is all. Raise `ssl.SSLError`."""
        self.incoming.write(data)
        parts = []
        while not self.ended:
            try:
                part = self.session.read(READ_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:  # the end, after ours
                self.ended = True
                break
            parts.append(part)
            self.ended = not part
        return b"".join(parts)


class LoadConnection:
    """One connection to the server. `end` tells how it ended, once it has."""

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop, layer: TLSLayer | None = None) -> None:
        self.answers = AnswerReader()
        self.end: Exception | None = None
        """None while open; EOFError, an OSError, or an AnswerError."""
        self.served_by: int | None = None
        """Process id in the last good answer."""
        self.announced_close = False
        """The last answer said that the server closes the connection."""
        self.local = local_name(sock)
        self._sock = sock
        self._loop = loop
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self._layer = layer
        loop.add_reader(sock, self._on_readable)

    @classmethod
    async def open(cls, target: Target, timeout: float) -> "LoadConnection":
        """Connect. Raise `ConnectError` with the outcome, or `LoadError` for the client's own troubles."""
        loop = asyncio.get_running_loop()
        layer = TLSLayer(target.tls) if target.tls is not None else None
        sock = socket.socket(target.family, socket.SOCK_STREAM)
        try:
            sock.settimeout(0)
            async with asyncio.timeout(timeout):
                await _connect(loop, sock, target)
                if layer is not None:
                    await layer.shake_hands(loop, sock)
            if not target.path:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except TimeoutError:
            sock.close()
            raise ConnectError(Outcome.CONNECT_TIMEOUT, f"no connection within {timeout} s") from None
        except OSError as error:
            sock.close()
            if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
                raise ConnectError(Outcome.CONNECT_REFUSED, str(error)) from None
            if error.errno in (errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE):
                raise ConnectError(Outcome.CONNECT_RESET, str(error)) from None
            raise LoadError(f"connect: {error}") from error
        except BaseException:
            sock.close()
            raise
        return cls(sock, loop, layer)

    def _on_readable(self) -> None:
        # Reads on until nothing is left: uvloop reports a reset that comes along with data only once.
        while self.end is None:
            try:
                data = self._sock.recv(READ_BYTES)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                self._ended(error)
                return
            self._received(data)
        self._wake()

    def _received(self, data: bytes) -> None:
        ended = not data
        if self._layer is not None:
            if ended:
                self._ended(TornError("an end of file without close_notify"))
                return
            try:
                data = self._layer.decrypt(data)
            except ssl.SSLError as error:
                self._ended(error)
                return
            ended = self._layer.ended
        if data:
            try:
                self.answers.receive_data(data)
            except AnswerError as error:
                self._ended(error)
                return
        if ended:
            self.answers.receive_eof()
            self._ended(EOFError())

    def _ended(self, reason: Exception) -> None:
        if self.end is None:
            self.end = reason
        if not self._closed:
            self._loop.remove_reader(self._sock)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Return when something has come or the connection has ended. Check `end` before the call."""
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def send(self, data: bytes) -> None:
        """Send all of `data`. Raise OSError as the kernel reports it."""
        view = memoryview(data if self._layer is None else self._layer.encrypt(data))
        while view:
            try:
                view = view[self._sock.send(view) :]
            except (BlockingIOError, InterruptedError):
                await self._writable()

    async def _writable(self) -> None:
        future: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_writer(self._sock, _set, future)
        try:
            await future
        finally:
            self._loop.remove_writer(self._sock)

    def reset(self) -> None:
        """Close with a reset instead of an end of file."""
        with contextlib.suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._closed:
            return
        self._closed = True
        if self.end is None:
            self._loop.remove_reader(self._sock)
        self._sock.close()


def _set(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


async def _connect(loop: asyncio.AbstractEventLoop, sock: socket.socket, target: Target) -> None:
    """Connect without hiding an errno. A unix socket whose queue is full says EAGAIN where TCP would wait."""
    address: str | tuple[str, int] = target.path or (target.host, target.port)
    code = sock.connect_ex(address)
    while code == errno.EAGAIN and target.path:
        await asyncio.sleep(0.002)
        code = sock.connect_ex(address)
    if code == errno.EINPROGRESS:
        future: asyncio.Future[None] = loop.create_future()
        loop.add_writer(sock, _set, future)
        try:
            await future
        finally:
            loop.remove_writer(sock)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


def local_name(sock: socket.socket) -> str:
    """Name the client's end: the port, or the descriptor of a unix socket."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        return f"port {sock.getsockname()[1]}"
    return f"fd {sock.fileno()}"
