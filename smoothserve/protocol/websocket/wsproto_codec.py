"""The codec on wsproto's frames: the reference, and the second opinion on the fast one.

wsproto reads the frames and judges the text. Its own permessage-deflate inflates without a limit; an extension of
ours stands in its place, and also knows the limit of a message before its payload has come.
"""

import zlib
from typing import Any

from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, FrameProtocol, Opcode, ParseFailed, RsvBits

from smoothserve.protocol.websocket.deflate import MIN_COMPRESSED_BYTES, Deflate, Deflater, Inflater, TooBigError
from smoothserve.protocol.websocket.events import Closed, Event, Failed, Ping, Pong, close_payload
from smoothserve.protocol.websocket.fast_codec import compressed_limit, render_head, render_partial

#: Fragments of a message that are kept apart; beyond them they are joined, since each has a cost of its own.
MAX_PARTS = 256

_DATA = (Opcode.TEXT, Opcode.BINARY, Opcode.CONTINUATION)


class _Rules(Extension):
    """The order of fragments, the limit of a message, permessage-deflate; and what the message has brought so far."""

    name = "smoothserve"

    def __init__(self, limit: int, inflater: Inflater | None, deflater: Deflater | None) -> None:
        self._limit = limit
        self._inflater = inflater
        self._deflater = deflater
        self.opcode = 0
        self.compressed = False
        self.message = bytearray()
        self.fragments = 0
        """Frames of the message that are complete."""
        self.frame_size = 0
        self.frame_taken = 0
        self._is_data = False
        # Opcode and compression of the message that the frame begins. Its head may be judged several times, until all
        # of it has come.
        self._begins: tuple[int, bool] | None = None

    def enabled(self) -> bool:
        """Always: without compression too."""
        return True

    def offer(self) -> bool:
        """Not asked: the handshake is not wsproto's."""
        return True

    @property
    def within_data_frame(self) -> bool:
        """Whether a part of a data frame's payload has come."""
        return self._is_data and self.frame_taken < self.frame_size

    def frame_inbound_header(
        self, proto: Any, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        """Judge a frame by its head."""
        del proto
        self._begins = None
        self.frame_size = payload_length
        self.frame_taken = 0
        self._is_data = opcode in _DATA
        unused = RsvBits(False, False, False)
        if not self._is_data:
            return unused
        if (opcode is Opcode.CONTINUATION) != bool(self.opcode):
            return CloseReason.PROTOCOL_ERROR
        compressed = self.compressed if self.opcode else rsv.rsv1 and self._inflater is not None
        limit = compressed_limit(self._limit) if compressed else self._limit
        if len(self.message) + payload_length > limit:
            return CloseReason.MESSAGE_TOO_BIG
        if opcode is Opcode.CONTINUATION:
            return unused
        self._begins = (int(opcode), compressed)
        return RsvBits(compressed, False, False)

    def frame_inbound_payload_data(self, proto: Any, data: bytes) -> bytes:
        """Take a part of a frame's payload, unmasked."""
        del proto
        self.frame_taken += len(data)
        if not self._is_data:
            return data
        if self._begins is not None:
            (self.opcode, self.compressed), self._begins = self._begins, None
        self.message += data
        return b"" if self.compressed else data

    def frame_inbound_complete(self, proto: Any, fin: bool) -> bytes | CloseReason | None:
        """Take note of a frame's end; inflate a compressed message."""
        del proto
        if not self._is_data:
            return None
        self.fragments += 1
        if not fin:
            return None
        message, self.message = bytes(self.message), bytearray()
        self.opcode = self.fragments = 0
        if not self.compressed or self._inflater is None:
            return None
        try:
            return self._inflater.inflate(message, self._limit)
        except TooBigError:
            return CloseReason.MESSAGE_TOO_BIG
        except zlib.error:
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA

    def frame_outbound(self, proto: Any, opcode: Opcode, rsv: RsvBits, data: bytes, fin: bool) -> tuple[RsvBits, bytes]:
        """Compress what is worth it."""
        del proto, fin
        if self._deflater is None or opcode not in (Opcode.TEXT, Opcode.BINARY) or len(data) < MIN_COMPRESSED_BYTES:
            return rsv, data
        return RsvBits(True, rsv.rsv2, rsv.rsv3), self._deflater.deflate(data)


class WsprotoCodec:
    """The codec on wsproto."""

    __slots__ = ("_control", "_ended", "_frame", "_inflater", "_parts", "_pending", "_protocol", "_rules")

    def __init__(
        self,
        max_message_bytes: int,
        deflate: Deflate | None = None,
        *,
        remembers: bool = False,
        window: bytes = b"",
    ) -> None:
        self._inflater = None if deflate is None else Inflater(deflate, remembers=remembers, window=window)
        self._rules = _Rules(max_message_bytes, self._inflater, None if deflate is None else Deflater(deflate))
        self._protocol = FrameProtocol(client=False, extensions=[self._rules])
        self._parts: list[Any] = []
        #: The bytes from the start of the frame that is not complete.
        self._frame = bytearray()
        self._pending = False
        self._ended = False

    @property
    def pending(self) -> bool:
        """Whether there are bytes that `next_event` has not looked at since the last event."""
        return self._pending and not self._ended

    def receive_data(self, data: bytes) -> None:
        """Take bytes of the connection."""
        if self._ended:
            return
        self._frame += data
        self._pending = True
        self._protocol.receive_bytes(data)

    def next_event(self) -> Event | None:
        """Return the next event, None if more bytes are needed for it."""
        if self._ended:
            return None
        try:
            for frame in self._protocol.received_frames():
                event = self._take(frame)
                if event is not None:
                    return event
        except ParseFailed as error:
            self._ended = True
            return Failed(int(error.code), str(error)[:100])
        self._pending = False
        return None

    def _take(self, frame: Any) -> Event | None:
        if frame.frame_finished:
            size = self._rules.frame_size
            del self._frame[: len(render_head(0, size, b"mask")) + size]
        opcode = frame.opcode
        if opcode is Opcode.PING:
            return Ping(bytes(frame.payload))
        if opcode is Opcode.PONG:
            return Pong(bytes(frame.payload))
        if opcode is Opcode.CLOSE:
            self._ended = True
            return Closed(int(frame.payload[0]), frame.payload[1])
        parts = self._parts
        parts.append(frame.payload)
        empty: str | bytes = "" if opcode is Opcode.TEXT else b""
        if frame.frame_finished and frame.message_finished:
            self._parts = []
            return empty.join(parts)
        if len(parts) > MAX_PARTS:
            self._parts = [empty.join(parts)]
        return None

    def leftover(self) -> bytes:
        """Return bytes from which a fresh codec goes on where this one is."""
        rules = self._rules
        if not rules.fragments:
            return bytes(self._frame)
        # What came of the frame that is not complete is in `_frame` as well.
        taken = rules.frame_taken if rules.within_data_frame else 0
        message = bytes(rules.message[: len(rules.message) - taken])
        return render_partial(rules.opcode, message, 0, b"", compressed=rules.compressed, fin=False) + self._frame

    def window(self) -> bytes:
        """Return the end of what was inflated so far."""
        return b"" if self._inflater is None else self._inflater.window()

    def render_text(self, text: str) -> bytes:
        """Return the frame of a text message."""
        return bytes(self._protocol.send_data(text))

    def render_bytes(self, data: bytes) -> bytes:
        """Return the frame of a binary message."""
        return bytes(self._protocol.send_data(data))

    def render_ping(self, payload: bytes) -> bytes:
        """Return a ping frame."""
        return bytes(self._protocol.ping(payload))

    def render_pong(self, payload: bytes) -> bytes:
        """Return a pong frame."""
        return bytes(self._protocol.pong(payload))

    def render_close(self, code: int, reason: str) -> bytes:
        """Return a close frame."""
        payload = close_payload(code, reason)
        return bytes(self._protocol.close(code, payload[2:].decode()) if payload else self._protocol.close())
