"""Streams of WebSocket frames as clients send them, good and bad, for property tests of the codecs."""

import itertools
import zlib

from hypothesis import strategies as st

from smoothserve.protocol.websocket.deflate import Deflate
from smoothserve.protocol.websocket.fast_codec import render_head
from smoothserve.protocol.websocket.masking import unmask

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10

PARAMETERS = [
    None,
    Deflate(),
    Deflate(client_no_context_takeover=True, server_no_context_takeover=True),
    Deflate(client_max_window_bits=9, server_max_window_bits=8, client_names_bits=True),
]


def frame(first: int, payload: bytes, mask: bytes = b"\x01\x80\x7f\xff") -> bytes:
    """Return a client's frame."""
    return render_head(first, len(payload), mask) + unmask(payload, mask)


class ClientDeflater:
    """Compresses a client's messages."""

    def __init__(self, deflate: Deflate) -> None:
        self.takeover = not deflate.client_no_context_takeover
        self.bits = max(9, deflate.client_max_window_bits)
        self.compressor = zlib.compressobj(6, zlib.DEFLATED, -self.bits)

    def deflate(self, payload: bytes) -> bytes:
        if not self.takeover:
            self.compressor = zlib.compressobj(6, zlib.DEFLATED, -self.bits)
        return (self.compressor.compress(payload) + self.compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


_MASKS = st.sampled_from([b"\0\0\0\0", b"\x01\x80\x7f\xff", b"abcd"])
_TEXTS = st.one_of(
    st.text(max_size=40).map(lambda text: text.encode("utf-8", "replace")),
    st.sampled_from([b"a" * 126, "κόσμε".encode(), b"ab" * 40, b"", b"\xf4\x8f\xbf\xbf", b"x" * 300, b"y" * 1500]),
)
_BAD_TEXTS = st.sampled_from([b"\xf4\x90\x80\x80", b"\xed\xa0\x80", b"a\xff", b"\xc3", b"\xe2\x82"])
_CLOSES = st.sampled_from(
    [
        b"", b"\x03", b"\x03\xe8", b"\x03\xe8bye", b"\x03\xe8\xff", b"\x03\xed", b"\x03\xec", b"\x0b\xb8", b"\x13\x87",
        b"\x13\x88", b"\x03\xf4", b"\x03\xe7", b"\x07\xd0", b"\xff\xff", b"\x03\xf6",
    ]
)  # fmt: skip


@st.composite
def streams(draw: st.DrawFn, deflate: Deflate | None) -> bytes:
    """A client's frames: messages in fragments with control frames between them; perhaps something wrong in them."""
    compress = ClientDeflater(deflate) if deflate is not None else None
    parts: list[bytes] = []
    for _ in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from([TEXT, TEXT, BINARY, PING, PONG, CLOSE]))
        mask = draw(_MASKS)
        if kind in (PING, PONG):
            parts.append(frame(0x80 | kind, draw(st.binary(max_size=20)), mask))
            continue
        if kind == CLOSE:
            if draw(st.integers(0, 3)) == 0:
                parts.append(frame(0x88, draw(_CLOSES), mask))
            continue
        payload = draw(_TEXTS if draw(st.integers(0, 9)) else _BAD_TEXTS)
        first = kind
        if compress is not None and draw(st.booleans()):
            payload = compress.deflate(payload)
            first |= 0x40
        cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3)))
        edges = [0, *cuts, len(payload)]
        pieces = [payload[a:b] for a, b in itertools.pairwise(edges)]
        for number, piece in enumerate(pieces):
            fin = 0x80 if number == len(pieces) - 1 else 0
            parts.append(frame((first if number == 0 else 0) | fin, piece, mask))
            if draw(st.integers(0, 5)) == 0:
                parts.append(frame(0x89, b"between", mask))
    data = b"".join(parts)
    if draw(st.integers(0, 2)) == 0 and data:
        at = draw(st.integers(0, len(data) - 1))
        wrong = draw(st.sampled_from(["flip", "cut", "insert"]))
        if wrong == "flip":
            data = data[:at] + bytes([data[at] ^ (1 << draw(st.integers(0, 7)))]) + data[at + 1 :]
        elif wrong == "cut":
            data = data[:at]
        else:
            data = data[:at] + draw(st.binary(max_size=4)) + data[at:]
    return data


@st.composite
def splits(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """The same bytes in pieces."""
    if draw(st.integers(0, 4)) == 0:
        return [data[index : index + 1] for index in range(len(data))]
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    edges = [0, *cuts, len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges) if a < b]
