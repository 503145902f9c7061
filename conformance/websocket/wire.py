"""WebSocket on the wire, seen from a client: frames out, frames in, the opening handshake (RFC 6455).

Written apart from the server's codec and from every library, and meant to send what no decent client would.
What a server sends is taken strictly: everything that section 5 forbids it raises `WireError`.
"""

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

#: A frame is masked and written in pieces of this size, so that 16 MiB need not be in memory several times.
PIECE_BYTES = 64 * 1024

_ACCEPT_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_STATUS_LINE = re.compile(rb"HTTP/1\.1 (\d{3})(?: [^\r\n]*)?")
_MAX_HEAD_BYTES = 64 * 1024


class WireError(Exception):
    """The server sent something that it must not send. The text says what, with the section that forbids it."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as the server sent it."""

    opcode: int
    payload: bytes
    fin: bool
    rsv: int


def mask(payload: bytes, key: bytes) -> bytes:
    """Mask or unmask a payload (section 5.3)."""
    length = len(payload)
    keys = (key * (length // 4 + 1))[:length]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(keys, "little")).to_bytes(length, "little")


def render_head(opcode: int, length: int, key: bytes, *, fin: bool = True, rsv: int = 0) -> bytes:
    """Return the head of a masked frame, whatever the values are."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    if length < 126:
        return bytes((first, 0x80 | length)) + key
    if length < 65536:
        return bytes((first, 0x80 | 126)) + length.to_bytes(2) + key
    return bytes((first, 0x80 | 127)) + length.to_bytes(8) + key


def render_frame(opcode: int, payload: bytes, key: bytes, *, fin: bool = True, rsv: int = 0) -> Iterator[bytes]:
    """Yield a masked frame in pieces."""
    head = render_head(opcode, len(payload), key, fin=fin, rsv=rsv)
    yield head + mask(payload[:PIECE_BYTES], key)
    for begin in range(PIECE_BYTES, len(payload), PIECE_BYTES):
        yield mask(payload[begin : begin + PIECE_BYTES], key)


class FrameReader:
    """Cuts the server's bytes into frames and holds each against section 5.2 and 5.5."""

    def __init__(self, allowed_rsv: int = 0) -> None:
        """`allowed_rsv`: the reserved bits that a negotiated extension gives a meaning to (RSV1 is 4)."""
        self._allowed_rsv = allowed_rsv
        self._buffer = bytearray()
        self._needed = 2

    def receive_data(self, data: bytes) -> list[Frame]:
        """Take bytes; return the frames that are whole. Raise `WireError` for a forbidden one."""
        self._buffer += data
        frames: list[Frame] = []
        position = 0
        while len(self._buffer) - position >= self._needed:
            taken = self._take(position)
            if taken is None:
                continue
            frame, position = taken
            frames.append(frame)
        del self._buffer[:position]
        return frames

    def _take(self, position: int) -> tuple[Frame, int] | None:
        """Return the frame that begins at `position` and the position behind it; None once more bytes are needed."""
        buffer = self._buffer
        first, second = buffer[position], buffer[position + 1]
        if second & 0x80:
            raise WireError("a masked frame (RFC 6455 section 5.1)")
        length = second & 0x7F
        extended = {126: 2, 127: 8}.get(length, 0)
        begin = position + 2 + extended
        if len(buffer) < begin:
            self._needed = 2 + extended
            return None
        if extended:
            length = int.from_bytes(buffer[position + 2 : begin])
            if length < 126 or (extended == 8 and length < 65536) or length >= 2**63:
                raise WireError(f"a length of {length} in {extended} octets (RFC 6455 section 5.2)")
        self._check(first, length)
        if len(buffer) < begin + length:
            self._needed = 2 + extended + length
            return None
        self._needed = 2
        end = begin + length
        return Frame(first & 0x0F, bytes(buffer[begin:end]), bool(first & 0x80), first >> 4 & 7), end

    def _check(self, first: int, length: int) -> None:
        opcode, rsv, fin = first & 0x0F, first >> 4 & 7, bool(first & 0x80)
        if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
            raise WireError(f"a frame with the reserved opcode {opcode} (RFC 6455 section 5.2)")
        if rsv & ~(self._allowed_rsv if opcode in (TEXT, BINARY) else 0):
            raise WireError(f"reserved bits {rsv} in a frame with opcode {opcode} (RFC 6455 section 5.2)")
        if opcode >= CLOSE and (not fin or length > 125):
            raise WireError("a control frame in fragments or of more than 125 octets (RFC 6455 section 5.5)")


def render_request(authority: str, path: str, key: str, offers: Sequence[str] = ()) -> bytes:
    """Return an opening handshake (section 4.1)."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {authority}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
        *([f"Sec-WebSocket-Extensions: {', '.join(offers)}"] if offers else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def parse_answer(data: bytes, key: str) -> tuple[str | None, bytes] | None:
    """Parse the server's handshake; return its extensions, if any, and the bytes behind it. None: not whole yet.

    Raise `WireError` for a refusal and for anything that section 4.1 tells a client to fail for.
    """
    head, separator, rest = data.partition(b"\r\n\r\n")
    if not separator:
        if len(data) > _MAX_HEAD_BYTES:
            raise WireError("no end of the handshake's head")
        return None
    first, *lines = head.split(b"\r\n")
    match = _STATUS_LINE.fullmatch(first)
    if match is None:
        raise WireError(f"{first[:80]!r} instead of a status line")
    if match[1] != b"101":
        raise WireError(f"the handshake is refused with {match[1].decode()}: is there a WebSocket application?")
    fields = _parse_fields(lines)
    accept = base64.b64encode(hashlib.sha1(key.encode() + _ACCEPT_SUFFIX, usedforsecurity=False).digest()).decode()
    if fields.get("sec-websocket-accept") != [accept]:
        raise WireError("a wrong Sec-WebSocket-Accept (RFC 6455 section 4.1, step 4)")
    if [value.lower() for value in fields.get("upgrade", [])] != ["websocket"]:
        raise WireError("no `Upgrade: websocket` in the answer (RFC 6455 section 4.1, step 2)")
    if "upgrade" not in [word.strip().lower() for value in fields.get("connection", []) for word in value.split(",")]:
        raise WireError("no `Connection: Upgrade` in the answer (RFC 6455 section 4.1, step 3)")
    if "sec-websocket-protocol" in fields:
        raise WireError("a subprotocol that was not asked for (RFC 6455 section 4.1, step 6)")
    extensions = fields.get("sec-websocket-extensions")
    return (", ".join(extensions) if extensions else None), rest


def _parse_fields(lines: list[bytes]) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for line in lines:
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or not name or name != name.strip():
            raise WireError(f"{line[:80]!r} instead of a header field")
        fields.setdefault(name.lower(), []).append(value.strip())
    return fields
