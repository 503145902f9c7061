"""The load generators that wrk is none of: WebSocket echo in lock-step, HTTP at a constant rate.

Started by `generators`, with its parameters as JSON; prints its figures as one line of JSON.
"""

import asyncio
import base64
import json
import os
import struct
import sys
import time
from collections import deque
from typing import Any, cast

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
#: Seconds after the end of the load for what is still on its way.
GRACE = 10.0


class Echo(asyncio.Protocol):
    """One WebSocket that sends its next message when the last one has come back."""

    def __init__(self, message: bytes, path: str) -> None:
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(message))
        self._frame = _header(len(message), 0x80) + mask + masked
        self._expected = _header(len(message), 0) + message
        self._path = path
        self._buffer = b""
        self.open = False
        self.echoes = 0
        self.error = ""
        self.stopping = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the handshake."""
        self._transport = cast("asyncio.Transport", transport)
        key = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(
            f"GET {self._path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        """Count a whole echo and send again."""
        buffer = self._buffer + data if self._buffer else data
        if not self.open:
            head, end, buffer = buffer.partition(b"\r\n\r\n")
            if not end:
                self._buffer = head
                return
            self.open = head.startswith(b"HTTP/1.1 101")
            if not self.open:
                self.error = head.decode("latin-1")
                return
            self._transport.write(self._frame)
        elif len(buffer) >= len(self._expected):
            if buffer != self._expected:
                self.error = f"wrong echo: {buffer[:20]!r}"
                return
            buffer = b""
            self.echoes += 1
            if not self.stopping:
                self._transport.write(self._frame)
        self._buffer = buffer

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note of a connection that ends before the load does."""
        if not self.stopping:
            self.error = self.error or f"connection lost: {exc}"


def _header(length: int, mask: int) -> bytes:
    if length < 126:
        return bytes([0x82, mask | length])
    return bytes([0x82, mask | 126]) + struct.pack("!H", length)


async def echo(parameters: dict[str, Any]) -> dict[str, Any]:
    """Echo on a number of WebSockets for some seconds."""
    loop = asyncio.get_running_loop()
    message = os.urandom(int(parameters["size"]))
    clients = []
    for _ in range(int(parameters["connections"])):
        _, client = await loop.create_connection(
            lambda: Echo(message, parameters["path"]), "127.0.0.1", parameters["port"]
        )
        clients.append(client)
    began = time.monotonic()
    await asyncio.sleep(parameters["seconds"])
    took = time.monotonic() - began
    for client in clients:
        client.stopping = True
    errors = [client.error or "never opened" for client in clients if client.error or not client.open]
    return {
        "requests": sum(client.echoes for client in clients),
        "seconds": took,
        "errors": len(errors),
        "first_error": errors[0] if errors else "",
    }


class Paced(asyncio.Protocol):
    """One keep-alive connection of the open loop."""

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool
        self._due = 0.0
        self._buffer = b""
        self._busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be ready for a request."""
        self._transport = cast("asyncio.Transport", transport)
        self._pool.free(self)

    def send(self, due: float) -> None:
        """Send a request that was due at a time, perhaps a while ago."""
        self._due = due
        self._busy = True
        self._transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        """Take note of an answer's end."""
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        lower = head.lower()
        at = lower.find(b"content-length:")
        if at < 0:
            self._pool.fail("an answer without Content-Length")
            return
        if len(body) < int(lower[at + 15 :].split(b"\r\n", 1)[0]):
            return
        self._buffer = b""
        self._busy = False
        if not head.startswith(b"HTTP/1.1 200"):
            self._pool.fail(head[:40].decode("latin-1"))
        self._pool.answered(self._due)
        if b"connection: close" in lower:
            self._pool.closed_by_server += 1
            self._transport.close()
        else:
            self._pool.free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count a request that was lost, and open another connection."""
        if self._busy:
            self._pool.fail(f"lost: {exc}")
            self._pool.lost += 1
        self._pool.gone(self)


class Pool:
    """Sends requests at a constant rate over keep-alive connections; latency counts from when each was due."""

    def __init__(self, port: int, connections: int, rate: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._port = port
        self._size = connections
        self._interval = 1 / rate
        self._free: deque[Paced] = deque()
        self._waiting: deque[float] = deque()
        self.latencies: list[float] = []
        self.errors = 0
        self.first_error = ""
        self.lost = 0
        self.closed_by_server = 0
        self.due = 0
        self.stopping = False

    async def open(self) -> None:
        """Open the connections."""
        for _ in range(self._size):
            await self._connect()

    async def _connect(self) -> None:
        try:
            await self._loop.create_connection(lambda: Paced(self), "127.0.0.1", self._port)
        except OSError as error:
            self.fail(f"connect: {error}")

    def fail(self, why: str) -> None:
        """Take note of what must not be."""
        self.errors += 1
        self.first_error = self.first_error or why

    def free(self, connection: Paced) -> None:
        """Use a connection again."""
        if self._waiting:
            connection.send(self._waiting.popleft())
        else:
            self._free.append(connection)

    def gone(self, connection: Paced) -> None:
        """Replace a connection."""
        if connection in self._free:
            self._free.remove(connection)
        if not self.stopping:
            self._opening = self._loop.create_task(self._connect())

    def answered(self, due: float) -> None:
        """Take note of an answer."""
        self.latencies.append(time.monotonic() - due)

    async def run(self, seconds: float) -> None:
        """Send for some seconds, then wait for what is still on its way."""
        # uvloop's own time is in whole milliseconds.
        clock = time.monotonic
        began = clock()
        while (now := clock()) - began < seconds:
            while began + self.due * self._interval <= now:
                at = began + self.due * self._interval
                self.due += 1
                if self._free:
                    self._free.popleft().send(at)
                else:
                    self._waiting.append(at)
            await asyncio.sleep(min(0.001, self._interval))
        deadline = clock() + GRACE
        while len(self.latencies) + self.lost < self.due and clock() < deadline:
            await asyncio.sleep(0.01)
        self.stopping = True


async def paced(parameters: dict[str, Any]) -> dict[str, Any]:
    """Send at a constant rate; return the percentiles in milliseconds."""
    pool = Pool(parameters["port"], int(parameters["connections"]), float(parameters["rate"]))
    await pool.open()
    await pool.run(float(parameters["seconds"]))
    found = sorted(pool.latencies)
    # Errors are a part of what is measured when a server reloads.
    tolerant = bool(parameters.get("tolerant"))
    return {
        "requests": len(found),
        "seconds": parameters["seconds"],
        "unanswered": pool.due - len(found),
        "failed": pool.errors,
        "closed": pool.closed_by_server,
        "errors": 0 if tolerant else pool.errors,
        "first_error": pool.first_error,
        **{name: 1000 * _percentile(found, share) for name, share in (("p50", 0.5), ("p99", 0.99), ("p99_9", 0.999))},
        "max": 1000 * found[-1] if found else 0.0,
    }


def _percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def main() -> None:
    """Run the generator that is asked for."""
    import uvloop

    parameters = json.loads(sys.argv[1])
    tool = {"echo": echo, "paced": paced}[parameters["tool"]]
    print(json.dumps(uvloop.run(tool(parameters))))


if __name__ == "__main__":
    main()
