"""Clients with WebSockets that number their messages and check every answer, in a thread with its own loop."""

import asyncio
import contextlib
import json
import random
import socket
import struct
import threading
import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any, Self

from tests.process.processes import wait_until
from tests.property.frames import frame

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
OPENING = 10.0


class Numbering:
    """One client: sends 0, 1, 2, ... and notes what comes back in the order in which it comes."""

    def __init__(self, port: int, path: str, *, compressed: bool, split: bool, lock_step: bool, pause: float) -> None:
        self.port = port
        self.path = path
        self.compressed = compressed
        self.split = split
        self.lock_step = lock_step
        self.pause = pause
        self.sent = 0
        self.answers: list[str] = []
        self.end: str | None = None
        self._compressor = zlib.compressobj(6, zlib.DEFLATED, -12)
        self._inflater = zlib.decompressobj(-15)
        self._new = asyncio.Event()
        self._amid_frame = False
        self._pongs: list[bytes] = []

    @property
    def version(self) -> str:
        return self.answers[-1].split()[0] if self.answers else ""

    async def run(self, stop: asyncio.Event) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        extension = (
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" if self.compressed else ""
        )
        writer.write(
            f"GET {self.path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{extension}\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 101 " in head, head
        assert (b"permessage-deflate" in head) == self.compressed
        receiving = asyncio.create_task(self._receive(reader, writer))
        try:
            while not stop.is_set() and self.end is None:
                await self._send(writer)
                if self.lock_step:
                    while len(self.answers) < self.sent and self.end is None:
                        self._new.clear()
                        await self._new.wait()
                await asyncio.sleep(self.pause * random.random())
            while self.end is None and self.own_answers() < self.sent:
                self._new.clear()
                await asyncio.wait_for(self._new.wait(), 20)
        finally:
            receiving.cancel()
            writer.close()

    def own_answers(self) -> int:
        return sum(1 for answer in self.answers if answer.split()[1] != "farewell")

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        payload = str(self.sent).encode()
        self.sent += 1
        first = 0x81
        if self.compressed:
            payload = (self._compressor.compress(payload) + self._compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
            first = 0xC1
        if not self.split:
            writer.write(frame(first, payload))
            return
        middle = random.randint(0, len(payload))
        data = frame(first & 0x7F, payload[:middle]) + frame(0x80, payload[middle:])
        at = random.randint(0, len(data))
        self._amid_frame = True
        writer.write(data[:at])
        await asyncio.sleep(self.pause * random.random())
        # A pong between two frames is fine (RFC 6455 section 5.5), one amid a frame's bytes is not.
        writer.write(data[at:] + b"".join(self._pongs))
        self._amid_frame = False
        self._pongs.clear()

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                first, size = await reader.readexactly(2)
                if size == 126:
                    (size,) = struct.unpack("!H", await reader.readexactly(2))
                payload = await reader.readexactly(size)
                if first == 0x88:
                    self.end = f"closed with {int.from_bytes(payload[:2], 'big')}"
                    writer.write(frame(0x88, payload))
                    return
                if first == 0x89:
                    if self._amid_frame:
                        self._pongs.append(frame(0x8A, payload))
                    else:
                        writer.write(frame(0x8A, payload))
                    continue
                if first & 0x40:
                    payload = self._inflater.decompress(payload + b"\0\0\xff\xff")
                self.answers.append(payload.decode())
                self._new.set()
        except (OSError, asyncio.IncompleteReadError) as error:
            self.end = f"lost: {error!r}"
        finally:
            self._new.set()


class Numberings:
    """Many of them, while the context lasts."""

    def __init__(
        self,
        port: int,
        count: int,
        path: str = "/",
        *,
        compressed: bool = False,
        split: bool = False,
        lock_step: bool = False,
        pause: float = 0.05,
    ) -> None:
        self.clients = [
            Numbering(
                port,
                path.format(number),
                compressed=compressed,
                split=split,
                lock_step=lock_step,
                pause=pause,
            )
            for number in range(count)
        ]
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        async def all_of_them() -> None:
            await asyncio.gather(*(client.run(self._stop) for client in self.clients))

        try:
            self._loop.run_until_complete(all_of_them())
        except BaseException as error:  # it is raised where the clients are used
            self._error = error
        finally:
            self._loop.close()

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: self._error is not None or all(one.answers for one in self.clients), 30, "all are open")
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(RuntimeError):  # it has ended, and closed its loop
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error

    def wait_version(self, version: str, timeout: float) -> None:
        """Wait until the newest answer of every client is of that version."""

        def there() -> bool:
            return all(one.version == version or one.end for one in self.clients)

        wait_until(there, timeout, f"all WebSockets are at version {version}")

    def assert_whole(self, *, counted: bool = True) -> None:
        """Assert that no WebSocket was closed and every message was answered once, in order."""
        for client in self.clients:
            assert client.end is None, client.end
            answers = [answer.split() for answer in client.answers if answer.split()[1] != "farewell"]
            assert [answer[1] for answer in answers] == [str(number) for number in range(client.sent)]
            versions = [int(answer[0]) for answer in answers]
            assert versions == sorted(versions)
            if counted:
                assert [answer[2] for answer in answers] == [str(number + 1) for number in range(client.sent)]


class RawWebSocket:
    """One client in the test's own thread, for short messages in JSON."""

    def __init__(self, port: int, path: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 20)
        self._file = self._socket.makefile("rb")
        self._socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        assert b" 101 " in self._file.readline()
        while self._file.readline() != b"\r\n":
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        self._socket.close()

    def send(self, text: str) -> None:
        """Send a text message."""
        self._socket.sendall(frame(0x81, text.encode()))

    def receive_text(self) -> str:
        """Return the next message; answers pings. Raise `EOFError` at the end of the stream."""
        while True:
            head = self._file.read(2)
            if len(head) < 2:
                raise EOFError
            first, size = head
            assert size < 126
            payload = self._file.read(size)
            if first == 0x89:
                self._socket.sendall(frame(0x8A, payload))
                continue
            assert first == 0x81, (first, payload)
            return str(payload, "utf-8")

    def receive(self) -> dict[str, Any]:
        """Return the next message, which is JSON."""
        message: dict[str, Any] = json.loads(self.receive_text())
        return message


class IdleWebSockets:
    """`count` WebSockets that are silent until all are asked at once. Use it as a context: leaving it closes them."""

    def __init__(self, port: int, count: int, path: str = "/") -> None:
        self.asked = 0
        self.lost = 0
        """WebSockets that ended, however."""
        self.answers: list[str] = []
        """The last answers, whole."""
        self._open: list[RawWebSocket] = []
        with contextlib.ExitStack() as stack:
            stack.callback(self.close)
            self._open += [RawWebSocket(port, path) for _ in range(count)]
            stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        for one in self._open:
            one.__exit__()

    def ask(self) -> dict[str, int]:
        """Send the next number on each; return how many answers came from each version.

        Every answer must be to that number, and its count of all messages so far be right.
        """
        number, self.asked = self.asked, self.asked + 1
        versions: Counter[str] = Counter()
        self.answers = []
        waiting = [one for one in self._open if self._do(one, lambda one: one.send(str(number)))]
        for one in waiting:
            if self._do(one, lambda one: self.answers.append(one.receive_text())):
                version, of, count = self.answers[-1].split()[:3]
                assert (of, count) == (str(number), str(number + 1)), self.answers[-1]
                versions[version] += 1
        return dict(versions)

    def _do(self, one: RawWebSocket, action: Callable[[RawWebSocket], None]) -> bool:
        """Do something with a WebSocket; return whether it is still there."""
        try:
            action(one)
        except (ConnectionError, EOFError):
            self.lost += 1
            self._open.remove(one)
            one.__exit__()
            return False
        return True
