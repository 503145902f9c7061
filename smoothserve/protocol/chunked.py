"""The chunked transfer coding, decoded strictly (RFC 9112 section 7.1); it knows nothing of heads.

Extensions and trailers are checked and dropped: trailers can never become headers (RFC 9110 section 6.5.1).
"""

import re

from smoothserve.protocol.events import Limits, Malformed
from smoothserve.protocol.policy import FIELD_LINE, TOKEN

MAX_CHUNK_LINE_BYTES = 4096
MAX_CHUNK_BYTES = 2**63 - 1

_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*+"'
_CHUNK_LINE = re.compile(
    rb"([0-9A-Fa-f]++)(?:[ \t]*+;[ \t]*+%b(?:[ \t]*+=[ \t]*+(?:%b|%b))?+)*+\r\n" % (TOKEN, TOKEN, _QUOTED)
)
_PLAIN_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n")
#: What the beginning of such a line looks like: no need to wait for a line end that may never come.
_CHUNK_LINE_BEGINNING = re.compile(rb"[0-9A-Fa-f]++(?:[ \t;][^\r\n]*+)?+\r?")
_TRAILER_LINE = re.compile(FIELD_LINE)
_BARE_CR = re.compile(rb"\r[^\n]")

_SIZE, _DATA, _DATA_END, _TRAILER, _END = range(5)


def _take_whole_chunks(data: bytes, position: int, parts: list[bytes]) -> int:
    """Take the chunks that are there as a whole, without extensions; return the position behind them.

    Only to be quick with many small ones (benchmark: tests/benchmarks/codecs.py): any of them could be left.
    """
    while (match := _PLAIN_CHUNK_LINE.match(data, position)) is not None:
        begin = match.end()
        end = begin + int(match[1], 16)
        if begin == end or not data.startswith(b"\r\n", end):
            break
        parts.append(data[begin:end])
        position = end + 2
    return position


class ChunkedDecoder:
    """Decodes one body. `receive_data` until `complete` or `malformed`; then `rest` is what follows the body."""

    __slots__ = ("_held", "_left", "_limits", "_state", "_trailer_bytes", "_trailers", "malformed", "rest")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._state = _SIZE
        self._held = b""
        self._left = 0
        self._trailers = 0
        self._trailer_bytes = 0
        self.malformed: Malformed | None = None
        self.rest = b""

    @property
    def complete(self) -> bool:
        """Whether the last chunk and the trailers have been read."""
        return self._state == _END

    def receive_data(self, data: bytes) -> bytes:
        """Decode, and return what there is of the body."""
        if self._held:
            data = self._held + data
            self._held = b""
        parts: list[bytes] = []
        position = 0
        size = len(data)
        while position < size and self._state != _END and self.malformed is None:
            if self._state == _SIZE:
                position = _take_whole_chunks(data, position, parts)
                if data.startswith(b"0\r\n\r\n", position):
                    position += 5
                    self._state = _END
                if position == size or self._state == _END:
                    break
            if self._state == _DATA:
                part = data[position : position + self._left]
                parts.append(part)
                position += len(part)
                self._left -= len(part)
                if not self._left:
                    self._state = _DATA_END
                continue
            end = data.find(b"\n", position) + 1
            if not end:
                self._hold(data[position:])
                break
            self._read_line(data[position:end])
            position = end
        if self._state == _END:
            self.rest = data[position:]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read_line(self, line: bytes) -> None:
        if self._state == _SIZE:
            match = _CHUNK_LINE.fullmatch(line) if len(line) <= MAX_CHUNK_LINE_BYTES else None
            if match is None or (left := int(match[1], 16)) > MAX_CHUNK_BYTES:
                self.malformed = Malformed(400, "invalid chunk size or extension")
                return
            self._left = left
            self._state = _DATA if left else _TRAILER
        elif self._state == _DATA_END:
            if line != b"\r\n":
                self.malformed = Malformed(400, "a chunk longer than its size")
            self._state = _SIZE
        elif line == b"\r\n":
            self._state = _END
        else:
            self._read_trailer(line)

    def _read_trailer(self, line: bytes) -> None:
        self._judge_trailer(line)
        self._trailers += 1
        self._trailer_bytes += len(line)
        if self.malformed is not None:
            return
        if self._trailers > self._limits.fields:
            self.malformed = Malformed(431, "trailers too large")
        elif not _TRAILER_LINE.fullmatch(line):
            self.malformed = Malformed(400, "invalid trailer")

    def _judge_trailer(self, line: bytes) -> None:
        """Find the fault of a line, or of its beginning, that comes first: the way it was split must not matter."""
        room = max(self._limits.head_bytes - self._trailer_bytes, 0)
        if _BARE_CR.search(line, 0, room):
            self.malformed = Malformed(400, "invalid trailer")
        elif len(line) > room:
            self.malformed = Malformed(431, "trailers too large")

    def _hold(self, line: bytes) -> None:
        """Keep the beginning of a line, unless it is wrong or too long already."""
        self._held = line
        if self._state == _SIZE:
            if len(line) > MAX_CHUNK_LINE_BYTES or not _CHUNK_LINE_BEGINNING.fullmatch(line):
                self.malformed = Malformed(400, "invalid chunk size or extension")
        elif self._state == _DATA_END:
            if line != b"\r":
                self.malformed = Malformed(400, "a chunk longer than its size")
        else:
            self._judge_trailer(line)
