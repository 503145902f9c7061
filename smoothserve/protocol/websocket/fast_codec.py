"""The codec for established connections that is made for speed. Twin of the one on wsproto, under the same tests.

This is the hot path of WebSocket (benchmark: tests/benchmarks/websocket.py): a frame that is here whole is one slice,
one XOR and one decoding. Payload of an incomplete data frame is unmasked, and text judged, as it comes (RFC 6455
section 8.1: fail fast), so that only a frame's head is ever kept in masked form.
"""

import codecs
import zlib
from typing import Any

from smoothserve.protocol.websocket.deflate import MIN_COMPRESSED_BYTES, Deflate, Deflater, Inflater, TooBigError
from smoothserve.protocol.websocket.events import (
    CloseCode,
    Event,
    Failed,
    Ping,
    Pong,
    close_payload,
    parse_close,
)
from smoothserve.protocol.websocket.masking import unmask

_FIN = 0x80
_RSV = 0x70
_RSV1 = 0x40
_MASKED = 0x80
_WHOLE_TEXT = 0x81
_WHOLE_BINARY = 0x82
_WHOLE = (_WHOLE_TEXT, _WHOLE_BINARY)
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
_OPCODES = frozenset([_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG])

_SHORT_HEADS = {opcode: [bytes([_FIN | opcode, size]) for size in range(126)] for opcode in _OPCODES}
_new_decoder = codecs.getincrementaldecoder("utf-8")


class _Again:
    """What came was taken and made no event. Its one instance is `_AGAIN`."""

    __slots__ = ()


_AGAIN = _Again()


def compressed_limit(limit: int) -> int:
    """Return how long a compressed message may be that is `limit` bytes inflated: deflate can add a little."""
    return limit + (limit >> 10) + 64


class FastCodec:
    """The codec without a library."""

    __slots__ = (
        "_compressed",
        "_data",
        "_decoder",
        "_deflater",
        "_ended",
        "_fin",
        "_inflater",
        "_left",
        "_limit",
        "_mask",
        "_message",
        "_opcode",
        "_position",
    )

    def __init__(
        self,
        max_message_bytes: int,
        deflate: Deflate | None = None,
        *,
        remembers: bool = False,
        window: bytes = b"",
    ) -> None:
        self._limit = max_message_bytes
        self._inflater = None if deflate is None else Inflater(deflate, remembers=remembers, window=window)
        self._deflater = None if deflate is None else Deflater(deflate)
        # Bytes not looked at: those from _position on.
        self._data = b""
        self._position = 0
        # The message that is not complete: its opcode (0: there is none) and its payload so far, inflated at the end.
        self._opcode = 0
        self._compressed = False
        self._message = bytearray()
        self._decoder: Any = None
        # The data frame that is not complete: bytes to come, mask for the first of them, whether it is the last one.
        self._left = 0
        self._mask = b""
        self._fin = False
        self._ended = False

    # in

    @property
    def pending(self) -> bool:
        """Whether there are bytes that `next_event` has not looked at since the last event."""
        return self._position < len(self._data)

    def receive_data(self, data: bytes) -> None:
        """Take bytes of the connection."""
        if self._ended:
            return
        if self._position < len(self._data):
            self._data = self._data[self._position :] + data
        else:
            self._data = data
        self._position = 0

    def next_event(self) -> Event | None:
        """Return the next event, None if more bytes are needed for it."""
        data = self._data
        position = self._position
        if len(data) - position > 6 and not (self._opcode or self._left):
            # The usual case, made short: a message whole in one frame of less than 64 KiB that is here. `_next_frame`
            # knows the rest.
            first = data[position]
            size = data[position + 1] - _MASKED
            if first in _WHOLE:
                begin = position + 6
                if size > 125:
                    size = data[position + 2] << 8 | data[position + 3] if size == 126 else 0
                    begin += 2
                    if size < 126:
                        size = 0
                end = begin + size
                if 0 < size <= self._limit and end <= len(data):
                    self._position = end
                    payload = unmask(data[begin:end], data[begin - 4 : begin])
                    if first == _WHOLE_BINARY:
                        return payload
                    try:
                        return payload.decode()
                    except UnicodeDecodeError:
                        return self._invalid_text()
        while not self._ended:
            step = self._go_on_with_frame() if self._left else self._next_frame()
            if not isinstance(step, _Again):
                return step
        return None

    def _next_frame(self) -> Event | _Again | None:
        """Read a frame from its head on: an event, None for more bytes, `_AGAIN` if it brought none."""
        data = self._data
        position = self._position
        size = len(data)
        if size - position < 2:
            return None
        first = data[position]
        second = data[position + 1]
        opcode = first & 0x0F
        length = second & 0x7F
        mask_at = position + 2
        if opcode > _BINARY and (opcode not in _OPCODES or not first & _FIN or length > 125):
            return self._fail(CloseCode.PROTOCOL_ERROR, "a control frame that is none")
        if length > 125:
            mask_at += 2 if length == 126 else 8
            if size < mask_at:
                return None
            shortest = 126 if length == 126 else 65536
            length = int.from_bytes(data[position + 2 : mask_at], "big")
            if length < shortest or length >> 63:
                return self._fail(CloseCode.PROTOCOL_ERROR, "a length that is not in its shortest form")
        fault = self._judge(first, second, opcode, length)
        if fault is not None:
            return fault
        begin = mask_at + 4
        if size < begin:
            return None
        mask = data[mask_at:begin]
        end = begin + length
        if end <= size:
            self._position = end
            return self._whole_frame(first, opcode, unmask(data[begin:end], mask) if length else b"")
        if opcode > _BINARY:
            return None
        self._position = begin
        if opcode:
            self._begin_message(first, opcode)
        self._left = length
        self._mask = mask
        self._fin = first & _FIN != 0
        return _AGAIN

    def _judge(self, first: int, second: int, opcode: int, length: int) -> Failed | None:
        """Say what is wrong with a frame by its head."""
        if opcode <= _BINARY:
            # A message begins with its opcode and goes on without (RFC 6455 section 5.4).
            if (not opcode) != bool(self._opcode):
                return self._fail(CloseCode.PROTOCOL_ERROR, "a fragment out of order")
            if (self._opcode or length > self._limit) and self._beyond_limit(first, length):
                return self._too_big()
        if first & _RSV and (first & _RSV != _RSV1 or self._inflater is None or opcode not in (_TEXT, _BINARY)):
            return self._fail(CloseCode.PROTOCOL_ERROR, "a reserved bit is set")
        if not second & _MASKED:
            return self._fail(CloseCode.PROTOCOL_ERROR, "a frame that is not masked")
        return None

    def _beyond_limit(self, first: int, length: int) -> bool:
        compressed = self._compressed if self._opcode else first & _RSV1 and self._inflater is not None
        limit = compressed_limit(self._limit) if compressed else self._limit
        return len(self._message) + length > limit

    def _whole_frame(self, first: int, opcode: int, payload: bytes) -> Event | _Again:
        if opcode > _BINARY:
            return self._control(opcode, payload)
        if first & _FIN and opcode:
            return self._whole(opcode, payload, compressed=first & _RSV1 != 0)
        if opcode:
            self._begin_message(first, opcode)
        if not self._append(payload):
            return self._invalid_text()
        return self._complete() if first & _FIN else _AGAIN

    def _whole(self, opcode: int, payload: bytes, *, compressed: bool) -> Event:
        """Return a message whose payload is complete."""
        if compressed:
            inflated = self._inflate(payload)
            if isinstance(inflated, Failed):
                return inflated
            payload = inflated
        if opcode == _BINARY:
            return payload
        try:
            return payload.decode("utf-8")
        except UnicodeDecodeError:
            return self._invalid_text()

    def _begin_message(self, first: int, opcode: int) -> None:
        self._opcode = opcode
        self._compressed = first & _RSV1 != 0
        self._decoder = _new_decoder() if opcode == _TEXT and not self._compressed else None

    def _append(self, payload: bytes) -> bool:
        """Take payload of the message; False if it is to be text and is none."""
        self._message += payload
        if self._decoder is not None:
            try:
                self._decoder.decode(payload)
            except UnicodeDecodeError:
                return False
        return True

    def _go_on_with_frame(self) -> Event | _Again | None:
        """Take what has come of the payload of the frame that is not complete."""
        position = self._position
        payload = self._data[position : position + self._left]
        if not payload:
            return None
        size = len(payload)
        self._position = position + size
        self._left -= size
        mask = self._mask
        turn = size & 3
        self._mask = mask[turn:] + mask[:turn]
        if not self._append(unmask(payload, mask)):
            return self._invalid_text()
        return self._complete() if self._fin and not self._left else _AGAIN

    def _complete(self) -> Event:
        """Return the message whose last byte has come."""
        payload = bytes(self._message)
        self._message = bytearray()
        opcode, self._opcode = self._opcode, 0
        return self._whole(opcode, payload, compressed=self._compressed)

    def _inflate(self, payload: bytes) -> "bytes | Failed":
        assert self._inflater is not None  # noqa: S101 - a frame is only compressed if that was negotiated
        try:
            return self._inflater.inflate(payload, self._limit)
        except TooBigError:
            return self._too_big()
        except zlib.error:
            return self._fail(CloseCode.INVALID_DATA, "a compressed message that cannot be inflated")

    def _control(self, opcode: int, payload: bytes) -> Event:
        if opcode == _PING:
            return Ping(payload)
        if opcode == _PONG:
            return Pong(payload)
        self._end()
        return parse_close(payload)

    def _invalid_text(self) -> Failed:
        return self._fail(CloseCode.INVALID_DATA, "a text that is not UTF-8")

    def _too_big(self) -> Failed:
        return self._fail(CloseCode.TOO_BIG, f"a message of more than {self._limit} bytes")

    def _fail(self, code: int, reason: str) -> Failed:
        self._end()
        return Failed(code, reason)

    def _end(self) -> None:
        self._ended = True
        self._data = b""
        self._position = 0
        self._message = bytearray()

    # handed over

    def leftover(self) -> bytes:
        """Return bytes from which a fresh codec goes on where this one is."""
        rest = self._data[self._position :]
        if not self._opcode:
            return rest
        return (
            render_partial(
                self._opcode, bytes(self._message), self._left, self._mask, compressed=self._compressed, fin=self._fin
            )
            + rest
        )

    def window(self) -> bytes:
        """Return the end of what was inflated so far."""
        return b"" if self._inflater is None else self._inflater.window()

    # out

    def render_text(self, text: str) -> bytes:
        """Return the frame of a text message."""
        return self._render(_TEXT, text.encode("utf-8"))

    def render_bytes(self, data: bytes) -> bytes:
        """Return the frame of a binary message."""
        return self._render(_BINARY, data)

    def _render(self, opcode: int, payload: bytes) -> bytes:
        if self._deflater is not None and len(payload) >= MIN_COMPRESSED_BYTES:
            return render_frame(_FIN | _RSV1 | opcode, self._deflater.deflate(payload))
        size = len(payload)
        if size < 126:
            return _SHORT_HEADS[opcode][size] + payload
        if size < 65536:
            return b"%c\x7e%b%b" % (_FIN | opcode, size.to_bytes(2, "big"), payload)
        return render_frame(_FIN | opcode, payload)

    def render_ping(self, payload: bytes) -> bytes:
        """Return a ping frame."""
        return _SHORT_HEADS[_PING][len(payload)] + payload

    def render_pong(self, payload: bytes) -> bytes:
        """Return a pong frame."""
        return _SHORT_HEADS[_PONG][len(payload)] + payload

    def render_close(self, code: int, reason: str) -> bytes:
        """Return a close frame."""
        payload = close_payload(code, reason)
        return _SHORT_HEADS[_CLOSE][len(payload)] + payload


def render_frame(first: int, payload: bytes, mask: bytes = b"") -> bytes:
    """Return a frame: `first` is its first byte, `payload` already masked if `mask` is given."""
    return render_head(first, len(payload), mask) + payload


def render_head(first: int, size: int, mask: bytes = b"") -> bytes:
    """Return a frame's head (RFC 6455 section 5.2)."""
    masked = _MASKED if mask else 0
    if size < 126:
        return bytes([first, masked | size]) + mask
    if size < 65536:
        return bytes([first, masked | 126]) + size.to_bytes(2, "big") + mask
    return bytes([first, masked | 127]) + size.to_bytes(8, "big") + mask


def render_partial(opcode: int, payload: bytes, left: int, mask: bytes, *, compressed: bool, fin: bool) -> bytes:
    """Return bytes of a client that lead to a message's unfinished state.

    A fragment with the payload so far, and the head of the frame of which `left` bytes are still to come.
    """
    first = opcode | (_RSV1 if compressed else 0)
    rendered = render_frame(first, payload, b"\0\0\0\0")
    if left:
        rendered += render_head(_FIN if fin else 0, left, mask)
    return rendered
