"""A small WebSocket server that echoes and checks nothing, with one fault of choice: what the suite must find."""

import asyncio
import base64
import contextlib
import hashlib
import re
from collections.abc import AsyncIterator

from conformance.websocket.wire import BINARY, CLOSE, PING, PONG, TEXT, mask

Frame = tuple[int, bytes, bool]


def render(opcode: int, payload: bytes, *, rsv: int = 0) -> bytes:
    """A frame as a server sends it."""
    size = len(payload)
    length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2) if size < 65536 else b"\x7f" + size.to_bytes(8)
    return bytes([0x80 | rsv << 4 | opcode]) + length + payload


class FaultyServer:
    """Echoes messages and answers pings and close frames; `fault` names what it does wrong."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.connections: set[asyncio.Task[object]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        task = asyncio.current_task()
        assert task is not None
        self.connections.add(task)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            writer.write(self.answer(await reader.readuntil(b"\r\n\r\n")))
            await self.converse(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    def answer(self, request: bytes) -> bytes:
        """The answer to an opening handshake."""
        key = re.search(rb"Sec-WebSocket-Key: (\S+)", request)
        assert key is not None
        digest = hashlib.sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        accept = base64.b64encode(b"?" + digest[1:] if self.fault == "wrong accept" else digest)
        extension = {
            "window greater than asked": b"permessage-deflate; server_max_window_bits=15",
            "unknown parameter": b"permessage-deflate; swift",
            "deflate unasked": b"permessage-deflate",
        }.get(self.fault)
        lines = [
            b"HTTP/1.1 403 Forbidden" if self.fault == "refuses" else b"HTTP/1.1 101 Switching Protocols",
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Accept: " + accept,
            *([b"Sec-WebSocket-Extensions: " + extension] if extension else []),
        ]
        return b"\r\n".join([*lines, b"", b""])

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer frame by frame until the client closes."""
        whole, kind = b"", TEXT
        while True:
            opcode, payload, fin = await self.read_frame(reader)
            if opcode == CLOSE:
                await self.close(reader, writer, payload)
                return
            if opcode == PING:
                writer.write(render(PONG, payload[::-1] if self.fault == "reverses pings" else payload))
            elif opcode != PONG:
                kind = opcode or kind
                whole += payload
                if fin:
                    self.echo(writer, kind, whole)
                    whole = b""

    async def read_frame(self, reader: asyncio.StreamReader) -> Frame:
        """Read one frame of the client's."""
        first, second = await reader.readexactly(2)
        length = second & 0x7F
        if length > 125:
            length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8))
        key = await reader.readexactly(4)
        return first & 0x0F, mask(await reader.readexactly(length), key), bool(first & 0x80)

    def echo(self, writer: asyncio.StreamWriter, kind: int, payload: bytes) -> None:
        """Send a message back."""
        if self.fault == "echoes nothing":
            return
        if self.fault == "masks":
            writer.write(bytes([0x80 | kind, 0x80 | len(payload)]) + b"abcd" + mask(payload, b"abcd"))
            return
        if self.fault == "wastes octets on lengths":
            writer.write(bytes([0x80 | kind, 126]) + len(payload).to_bytes(2) + payload)
            return
        if self.fault == "turns text into binary":
            kind = BINARY
        rsv = 4 if self.fault == "sets reserved bits" else 0
        writer.write(render(kind, payload + b"!" if self.fault == "adds to echoes" else payload, rsv=rsv))

    async def close(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, payload: bytes) -> None:
        """Answer a close frame."""
        if self.fault == "drops without closing":
            return
        writer.write(render(CLOSE, (1001).to_bytes(2) if self.fault == "another code" else payload))
        if self.fault == "sends behind its close frame":
            writer.write(render(TEXT, b"one more thing"))
        if self.fault == "leaves dropping to the client":
            await reader.read()


@contextlib.asynccontextmanager
async def serving(fault: str = "") -> AsyncIterator[int]:
    """Serve while the context is open; yields the port."""
    faulty = FaultyServer(fault)
    server = await asyncio.start_server(faulty.serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        # The client has left, so each ends by itself; a transport that outlives its loop is an error here.
        await asyncio.gather(*faulty.connections)
