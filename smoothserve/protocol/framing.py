"""Where requests begin and end in a connection's bytes: the part of a codec that every field parser shares.

Finds the request line and the end of the head, bounds both, hands the whole head to the field parser, and reads the
body (RFC 9112 sections 2.2, 3, 6). What follows a request is held back until `next_request`. Every decision depends
on the bytes alone and never on how they were split: a fault that is seen in an incomplete head is looked for, in the
same order, in a complete one.
"""

import re
from collections import deque

from smoothserve.protocol.chunked import ChunkedDecoder
from smoothserve.protocol.events import END_OF_REQUEST, Event, Limits, Malformed, Request, RequestLine
from smoothserve.protocol.memory import make_memory
from smoothserve.protocol.policy import read_request_line

#: Empty lines ahead of a request are ignored (RFC 9112 section 2.2), but not for ever.
MAX_EMPTY_LINES = 8

#: Heads up to this length are remembered, so many of them: what a client can make us keep is bounded.
MAX_REMEMBERED_BYTES = 1024
MAX_REMEMBERED = 256
#: The same for lines, without which most heads can be read that have not been sent just so before.
MAX_LINE_BYTES = 256
MAX_LINES = 1024

_TOKEN_CHARACTER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]")
_BARE_LINE_END = re.compile(rb"[^\r]\n|\r[^\n]")

_HEAD, _LENGTH, _CHUNKED, _HOLDING, _CLOSED, _FAILED = range(6)


class FramedCodec:
    """A `Codec` but for the reading of the field lines."""

    __slots__ = (
        "_after",
        "_decoder",
        "_empty_lines",
        "_eof",
        "_fields_seen",
        "_heads",
        "_held",
        "_known",
        "_left",
        "_limits",
        "_line",
        "_line_end",
        "_line_seen",
        "_room",
        "_scanned",
        "_start",
        "_state",
        "events",
    )

    def __init__(self, limits: Limits) -> None:
        self.events: deque[Event] = deque()
        self._limits = limits
        self._heads = limits.heads.setdefault(type(self), make_memory())
        self._known = limits.lines
        # Whether the line of a head, and all its fields, have been seen before: it may well come again as a whole.
        self._line_seen = False
        self._fields_seen = True
        self._state = _HEAD
        # Bytes not yet part of an event: those from _start on.
        self._held = b""
        self._start = 0
        # The line of a head that is not complete, the index behind it, and the index up to which the end was sought.
        self._line: RequestLine | None = None
        self._line_end = 0
        self._scanned = 0
        self._empty_lines = 0
        self._left = 0
        self._decoder: ChunkedDecoder | None = None
        # Bytes that a chunked body may still have.
        self._room = limits.body_bytes
        self._eof = False
        # The state after this request.
        self._after = _HOLDING

    def take_known(self, data: bytes) -> Request | None:
        """Take bytes that are just one request, whole and without a body, which has been read before."""
        # Looking for it hashes it: not a body that has come along.
        if self._state != _HEAD or self._held or len(data) > MAX_REMEMBERED_BYTES:
            return None
        request = self._heads.get(data)
        if request is None or not request.quick:
            return None
        self._empty_lines = 0
        self._state = self._after = _HOLDING
        return request

    def take_whole(self, data: bytes) -> tuple[Request, bytes] | None:
        """Take bytes that are just one request whose head has been read before, and its whole body."""
        if self._state != _HEAD or self._held:
            return None
        end = data.find(b"\r\n\r\n") + 4
        request = self._heads.get(data[:end])
        if request is None or request.quick_body != len(data) - end:
            return None
        self._empty_lines = 0
        self._state = self._after = _HOLDING
        return request, data[end:]

    def receive_data(self, data: bytes) -> None:
        """Parse bytes from the connection."""
        state = self._state
        if state == _HEAD:
            if self._held:
                data = self._held + data
            self._held = data
            self._read_head()
        elif state == _LENGTH:
            left = self._left - len(data)
            if left > 0:
                if data:
                    self._left = left
                    self.events.append(data)
            elif left == 0:
                self.events.append(data)
                self._finish_request()
            else:
                self.events.append(data[:left])
                self._held = data
                self._start = len(data) + left
                self._finish_request()
        elif state == _CHUNKED and self._decoder is not None:
            self._read_chunks(self._decoder, data)
        elif state == _HOLDING:
            self._held = self._held[self._start :] + data
            self._start = 0
            self._skip_empty_lines()

    def receive_eof(self) -> None:
        """Take note that the client sends no more."""
        self._eof = True
        if self._state in (_LENGTH, _CHUNKED) or (self._state == _HEAD and self._held):
            self._fail(Malformed(400, "the connection ended within a request"))
        elif self._state == _HEAD:
            self._state = _CLOSED

    def next_request(self) -> bool:
        """Go on to the next request: the one before is answered, and its end has come. Return `at_boundary`."""
        if self._state == _HOLDING:
            self._state = _HEAD
            if self._start < len(self._held):
                self._read_head()
            elif self._eof:
                self._state = _CLOSED
            else:
                return True
        return self.at_boundary

    @property
    def at_boundary(self) -> bool:
        """Whether no request is under way and nothing of a further one has come."""
        return (
            not self.events
            and self._start == len(self._held)
            and (self._state == _HEAD or self._state == _HOLDING or self._state == _CLOSED)
        )

    @property
    def ahead(self) -> int:
        """Of how many bytes no events have been made yet."""
        return len(self._held) - self._start

    def trailing_data(self) -> bytes | None:
        """Give back the bytes that are no part of an event, or None within a body. They are this codec's no more."""
        if self._state in (_LENGTH, _CHUNKED):
            return None
        data = self._held[self._start :]
        self._drop_held()
        return data

    def _read_fields(self, line: RequestLine, head: bytes, line_end: int) -> Request | Malformed:
        """Read a whole head, whose field lines begin at `line_end`, and have it judged."""
        raise NotImplementedError

    def _read_head(self) -> None:
        data = self._held
        start = self._start
        line = self._line
        if line is None:
            end = data.find(b"\r\n\r\n", start) + 4
            if end != 3:
                # A head means what its bytes say, so one that has been read before need not be read again
                # (benchmark: small answer; 12 request headers).
                known = self._heads.get(data[start:end])
                if known is not None:
                    self._take_request(known, end)
                    return
            newline = data.find(b"\n", start)
            length = newline - start
            if length < 2 or length > self._limits.request_line_bytes + 1:
                self._read_unusual_line(newline)
                return
            line_end = newline + 1
            line = self._take_line(data[start:line_end])
            if line is None:
                return
        else:
            line_end = self._line_end
            end = data.find(b"\r\n\r\n", self._scanned) + 4
        if end == 3 or end - start > self._limits.head_bytes:
            self._await_head(line, line_end)
            return
        # The whole of bytes is no copy.
        head = data[start:end]
        request = self._read_fields(line, head, line_end - start)
        if isinstance(request, Malformed):
            self._fail(request)
            return
        if self._line_seen and self._fields_seen and end - start <= MAX_REMEMBERED_BYTES:
            self._remember_head(head, request)
        self._take_request(request, end)

    def _remember_head(self, head: bytes, request: Request) -> None:
        """Remember a head, and which short way an equal one may go."""
        if request.keep_alive and request.upgrade is None:
            if not request.has_body:
                request.quick = True
            elif request.content_length and not request.expect_continue:
                request.quick_body = request.content_length
        if len(self._heads) >= MAX_REMEMBERED:
            self._heads.clear()
        self._heads[head] = request

    def _take_line(self, text: bytes) -> RequestLine | None:
        """Read a request line; None if it is malformed, and said so."""
        lines = self._known.request_lines
        line = lines.get(text)
        self._line_seen = line is not None
        if line is None:
            judged = read_request_line(text)
            if isinstance(judged, Malformed):
                self._fail(judged)
                return None
            line = judged
            if len(text) <= MAX_LINE_BYTES:
                if len(lines) >= MAX_LINES:
                    lines.clear()
                lines[text] = line
        return line

    def _take_request(self, request: Request, end: int) -> None:
        """Pass a request on, whose head ends at `end`, and go on to its body."""
        data = self._held
        self.events.append(request)
        self._line = None
        self._scanned = 0
        self._empty_lines = 0
        self._after = _HOLDING if request.keep_alive or request.upgrade is not None else _CLOSED
        if request.chunked or request.content_length:
            self._start = end
            self._begin_body(request)
        elif end == len(data):
            self._held = b""
            self._start = 0
            self.events.append(END_OF_REQUEST)
            self._state = self._after
        else:
            self._start = end
            self._finish_request()

    def _read_unusual_line(self, newline: int) -> None:
        """Deal with a line that is empty, incomplete or too long."""
        data = self._held = self._held[self._start :]
        newline -= self._start
        self._start = 0
        if not data:
            return
        if data[:2] == b"\r\n":
            self._skip_empty_lines()
            if self._held.startswith(b"\r\n", self._start):
                self._fail(Malformed(400, "too many empty lines"))
            elif self._held:
                self._read_head()
        elif data == b"\r":
            self._fail_at_eof()
        elif not _TOKEN_CHARACTER.match(data):
            self._fail(Malformed(400, "invalid request line"))
        elif newline >= 0 or len(data) > self._limits.request_line_bytes + 1:
            self._fail(self._judge_long_line(data, newline))
        elif b"\r" in data[:-1]:
            self._fail(Malformed(400, "invalid request line"))
        else:
            self._fail_at_eof()

    def _judge_long_line(self, data: bytes, newline: int) -> Malformed:
        limit = self._limits.request_line_bytes
        if 0 <= newline < 2 or b"\r" in data[:limit]:
            return Malformed(400, "invalid request line")
        if b" " not in data[:limit]:
            # RFC 9112 section 3: a method longer than any that is implemented.
            return Malformed(501, "the method is too long")
        return Malformed(414, f"the request line is longer than {limit} bytes")

    def _await_head(self, line: RequestLine, line_end: int) -> None:
        """Keep a head that is not complete, unless it is wrong or too long already."""
        data = self._held = self._held[self._start :]
        line_end -= self._start
        self._start = 0
        limit = self._limits.head_bytes
        if _BARE_LINE_END.search(data, max(self._scanned, line_end - 2), limit):
            self._fail(Malformed(400, "a line does not end with CRLF"))
        elif len(data) > limit:
            self._fail(Malformed(431, f"the head is longer than {limit} bytes"))
        else:
            self._line = line
            self._line_end = line_end
            self._scanned = max(line_end - 2, len(data) - 3)
            self._fail_at_eof()

    def _begin_body(self, request: Request) -> None:
        rest = self._held[self._start :]
        self._drop_held()
        if request.content_length is not None:
            self._left = request.content_length
            self._state = _LENGTH
        else:
            self._decoder = ChunkedDecoder(self._limits)
            self._room = self._limits.body_bytes
            self._state = _CHUNKED
        if rest:
            self.receive_data(rest)
        if self._state == _LENGTH or self._state == _CHUNKED:
            self._fail_at_eof()

    def _read_chunks(self, decoder: ChunkedDecoder, data: bytes) -> None:
        body = decoder.receive_data(data)
        room = self._room
        if len(body) > room:
            if room:
                self.events.append(body[: int(room)])
            self._fail(self._limits.body_too_long())
            return
        if body:
            self._room = room - len(body)
            self.events.append(body)
        if decoder.malformed is not None:
            self._fail(decoder.malformed)
        elif decoder.complete:
            self._held = decoder.rest
            self._decoder = None
            self._finish_request()

    def _finish_request(self) -> None:
        self.events.append(END_OF_REQUEST)
        self._state = self._after
        if self._held:
            if self._after == _CLOSED:
                # What follows a request that ends the connection is not read (RFC 9112 section 9.6).
                self._drop_held()
            else:
                self._skip_empty_lines()

    def _skip_empty_lines(self) -> None:
        """Drop empty lines that are held ahead of the next request: they are no part of one."""
        while self._empty_lines < MAX_EMPTY_LINES and self._held.startswith(b"\r\n", self._start):
            self._start += 2
            self._empty_lines += 1
        if self._start == len(self._held):
            self._drop_held()

    def _drop_held(self) -> None:
        self._held = b""
        self._start = 0
        self._line = None
        self._scanned = 0

    def _fail_at_eof(self) -> None:
        if self._eof:
            self._fail(Malformed(400, "the connection ended within a request"))

    def _fail(self, malformed: Malformed) -> None:
        if self._held.startswith(b"HEAD ", self._start):
            malformed.method = "HEAD"
        self.events.append(malformed)
        self._state = _FAILED
        self._decoder = None
        self._drop_held()
