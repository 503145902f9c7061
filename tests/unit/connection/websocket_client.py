"""A WebSocket client that speaks in frames, over the raw connection of the harness."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.property.frames import frame
from tests.unit.connection.harness import TIMEOUT, Client, Server

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def handshake(path: str = "/", *headers: bytes, version: bytes = b"13") -> bytes:
    """Return the bytes that ask for a WebSocket."""
    lines = [
        b"GET %b HTTP/1.1" % path.encode(),
        b"Host: example.org",
        b"Upgrade: websocket",
        b"Connection: keep-alive, Upgrade",
        b"Sec-WebSocket-Key: " + KEY,
        b"Sec-WebSocket-Version: " + version,
        *headers,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n"


class WebSocketClient:
    """One WebSocket, past its handshake."""

    def __init__(self, raw: Client) -> None:
        self.raw = raw

    def send(self, opcode: int, payload: bytes = b"", *, fin: bool = True) -> None:
        self.raw.send(frame((0x80 if fin else 0) | opcode, payload))

    def text(self, text: str) -> None:
        self.send(TEXT, text.encode())

    def close(self, code: int | None = None, reason: str = "") -> None:
        self.send(CLOSE, b"" if code is None else struct.pack("!H", code) + reason.encode())

    async def frame(self) -> tuple[int, bytes]:
        """Return first byte and payload of the next frame."""
        async with asyncio.timeout(TIMEOUT):
            first, size = await self.raw.reader.readexactly(2)
            if size == 126:
                (size,) = struct.unpack("!H", await self.raw.reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await self.raw.reader.readexactly(8))
            return first, await self.raw.reader.readexactly(size)

    async def receive_text(self) -> str:
        first, payload = await self.frame()
        assert first == 0x81, (first, payload)
        return payload.decode()

    async def closed(self) -> tuple[int | None, str]:
        """Return code and reason of the close frame that comes next."""
        first, payload = await self.frame()
        assert first == 0x88, (first, payload)
        return (int.from_bytes(payload[:2], "big") if payload else None), payload[2:].decode()

    async def gone(self) -> bool:
        """Wait for the end of the connection; return whether nothing came before it."""
        return await self.raw.rest() == b""


async def connect(server: Server, path: str = "/", *headers: bytes) -> tuple[WebSocketClient, dict[bytes, bytes]]:
    """Open a WebSocket that must be accepted; return it and the answer's headers."""
    raw = await server.connect()
    raw.send(handshake(path, *headers))
    status, answer = await raw.head()
    assert status == 101, (status, answer, await raw.rest())
    return WebSocketClient(raw), answer


@asynccontextmanager
async def opened(server: Server, path: str = "/", *headers: bytes) -> AsyncIterator[WebSocketClient]:
    """Open a WebSocket, and close its connection at the end."""
    client, _ = await connect(server, path, *headers)
    try:
        yield client
    finally:
        await client.raw.close()
