"""permessage-deflate (RFC 7692): which offer is taken, and compressing and inflating by it.

Inflating stops at the limit, so that a few bytes cannot become gigabytes. The end of what was inflated is kept where
the connection may be handed over: from it another process can go on (section 7.2.3.2).
"""

import re
import zlib
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Self

NAME = "permessage-deflate"

#: zlib's window for both directions where the client lets us choose: 4 KiB rather than 32 for each of 10,000 idle ones.
PREFERRED_BITS = 12
#: Shorter messages are sent as they are: they would hardly become shorter.
MIN_COMPRESSED_BYTES = 32
#: What ends every compressed message and is not sent (section 7.2.1).
TAIL = b"\x00\x00\xff\xff"
#: Pieces that the remembered window is made of at most; beyond them they are joined.
MAX_PIECES = 64

#: Streams that a message may consist of. Each copies what follows it, and two bytes are one: a megabyte of them would
#: keep the worker for a minute.
MAX_STREAMS = 64

_NAME = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PARAMETER = rf'[ \t]*;[ \t]*({_NAME})(?:[ \t]*=[ \t]*(?:({_NAME})|"({_NAME})"))?'
_OFFER = re.compile(rf"[ \t]*({_NAME})((?:{_PARAMETER})*)[ \t]*(?:,|\Z)")
_EMPTY = re.compile(r"[ \t]*,")
_PARAMETERS = re.compile(_PARAMETER)
_BITS = re.compile(r"[89]|1[0-5]")


class OfferError(ValueError):
    """A Sec-WebSocket-Extensions field that is none (RFC 6455 section 9.1)."""


@dataclass(frozen=True, slots=True)
class Deflate:
    """The negotiated parameters."""

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int = 15
    client_max_window_bits: int = 15
    client_names_bits: bool = False
    """Whether the client understands `client_max_window_bits` in the answer."""

    def render(self) -> str:
        """Return the answer's Sec-WebSocket-Extensions member."""
        parts = [NAME]
        if self.server_no_context_takeover:
            parts.append("server_no_context_takeover")
        if self.client_no_context_takeover:
            parts.append("client_no_context_takeover")
        if self.server_max_window_bits < 15:
            parts.append(f"server_max_window_bits={self.server_max_window_bits}")
        if self.client_names_bits and self.client_max_window_bits < 15:
            parts.append(f"client_max_window_bits={self.client_max_window_bits}")
        return "; ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Return the parameters as values that JSON holds."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Make parameters of `to_dict`'s values. Raise `TypeError` or `ValueError` for others."""
        made = cls(**values)
        if not (8 <= made.server_max_window_bits <= 15 and 8 <= made.client_max_window_bits <= 15):
            raise ValueError("window bits that no window has")
        return made


def parse_offers(values: Iterable[str]) -> list[tuple[str, list[tuple[str, str | None]]]]:
    """Parse Sec-WebSocket-Extensions fields into names and parameters. Raise `OfferError` if one is malformed."""
    offers = []
    for value in values:
        at = 0
        while at < len(value):
            match = _OFFER.match(value, at) or _EMPTY.match(value, at)
            if match is None:
                if value[at:].strip(" \t"):
                    raise OfferError("invalid Sec-WebSocket-Extensions")
                break
            at = match.end()
            if match.re is _OFFER:
                found = [(one[1], one[2] or one[3]) for one in _PARAMETERS.finditer(match[2])]
                offers.append((match[1], found))
    return offers


def negotiate(offers: Iterable[tuple[str, list[tuple[str, str | None]]]]) -> Deflate | None:
    """Take the first offer of permessage-deflate that we can keep (RFC 7692 section 7.1)."""
    for name, parameters in offers:
        if name.lower() == NAME:
            taken = _take(parameters)
            if taken is not None:
                return taken
    return None


def _take(parameters: list[tuple[str, str | None]]) -> Deflate | None:
    seen = dict(parameters)
    if len(seen) < len(parameters):
        return None
    for name in ("server_no_context_takeover", "client_no_context_takeover"):
        if seen.get(name) is not None:
            return None
    server = seen.get("server_max_window_bits", "15")
    if server is None or not _BITS.fullmatch(server):
        return None
    names_bits = "client_max_window_bits" in seen
    client = seen.get("client_max_window_bits") or "15"
    if not _BITS.fullmatch(client):
        return None
    known = {
        "server_no_context_takeover",
        "client_no_context_takeover",
        "server_max_window_bits",
        "client_max_window_bits",
    }
    if not known.issuperset(seen):
        return None
    return Deflate(
        server_no_context_takeover="server_no_context_takeover" in seen,
        client_no_context_takeover="client_no_context_takeover" in seen,
        server_max_window_bits=min(int(server), PREFERRED_BITS),
        client_max_window_bits=min(int(client), PREFERRED_BITS) if names_bits else 15,
        client_names_bits=names_bits,
    )


class TooBigError(ValueError):
    """A message that is larger, inflated, than is allowed."""


class Inflater:
    """Inflates the client's messages. With `remembers` it keeps the end of what it inflated, to be handed over."""

    __slots__ = ("_bits", "_decompressor", "_pieces", "_remembered", "_takeover", "_window_bytes")

    def __init__(self, deflate: Deflate, *, remembers: bool = False, window: bytes = b"") -> None:
        self._bits = deflate.client_max_window_bits
        self._takeover = not deflate.client_no_context_takeover
        self._window_bytes = 1 << self._bits if remembers and self._takeover else 0
        self._pieces: deque[bytes] = deque()
        self._remembered = 0
        self._decompressor = zlib.decompressobj(-self._bits, zdict=window) if window and self._takeover else None
        if window:
            self._remember(window)

    def inflate(self, data: bytes, limit: int) -> bytes:
        """Inflate a whole message. Raise `TooBigError` beyond `limit` bytes, `zlib.error` for what is no deflate."""
        decompressor = self._decompressor
        if decompressor is None:
            decompressor = zlib.decompressobj(-self._bits)
        data += TAIL
        inflated = decompressor.decompress(data, limit + 1)
        streams = 1
        while decompressor.eof and len(decompressor.unused_data) > len(TAIL):
            # A block that was marked as the last (RFC 7692 section 7.2.3.4): what follows it is another stream.
            streams += 1
            if streams > MAX_STREAMS:
                raise zlib.error("too many blocks that are marked as the last")
            data = decompressor.unused_data
            decompressor = zlib.decompressobj(-self._bits)
            inflated += decompressor.decompress(data, max(1, limit + 1 - len(inflated)))
        if len(inflated) > limit:
            raise TooBigError
        self._decompressor = decompressor if self._takeover and not decompressor.eof else None
        if self._window_bytes:
            self._remember(inflated)
        return inflated

    def _remember(self, data: bytes) -> None:
        size = self._window_bytes
        if not size:
            return
        if len(data) >= size:
            self._pieces.clear()
            self._pieces.append(data[-size:])
            self._remembered = size
            return
        pieces = self._pieces
        pieces.append(data)
        self._remembered += len(data)
        while self._remembered - len(pieces[0]) >= size:
            self._remembered -= len(pieces.popleft())
        if len(pieces) > MAX_PIECES:
            joined = b"".join(pieces)
            pieces.clear()
            pieces.append(joined)

    def window(self) -> bytes:
        """Return the end of what was inflated."""
        return b"".join(self._pieces)[-self._window_bytes :] if self._window_bytes else b""


class Deflater:
    """Compresses our messages."""

    __slots__ = ("_bits", "_compressor", "_strategy", "_takeover")

    def __init__(self, deflate: Deflate) -> None:
        # zlib has no raw window of 8 bits. One of 9 without any reference into it is as good.
        self._bits = max(9, deflate.server_max_window_bits)
        self._strategy = zlib.Z_HUFFMAN_ONLY if deflate.server_max_window_bits == 8 else zlib.Z_DEFAULT_STRATEGY
        self._takeover = not deflate.server_no_context_takeover
        self._compressor: Any = None

    def deflate(self, data: bytes) -> bytes:
        """Compress a whole message (RFC 7692 section 7.2.1)."""
        compressor = self._compressor
        if compressor is None:
            compressor = zlib.compressobj(
                zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -self._bits, 5, strategy=self._strategy
            )
            if self._takeover:
                self._compressor = compressor
        deflated: bytes = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
        return deflated[: -len(TAIL)]
