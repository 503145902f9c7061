"""The framing of one response: status line, headers, body or chunks, as bytes (RFC 9110, RFC 9112 sections 6 and 7).

Framing is the server's: what the application says about Connection, Transfer-Encoding and a wrong Content-Length
never reaches the wire. This is the hot path: the names seen are remembered with what they mean, and a whole small
answer is one join (benchmark: small answer, keep-alive).
"""

import re
from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus
from typing import cast

from smoothserve.protocol.memory import make_memory
from smoothserve.words import count


class InvalidResponseError(ValueError):
    """What the application wants to send cannot be sent: a bad status, header or length. The text says what."""


_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_DIGITS = re.compile(rb"[0-9]{1,18}\Z")
_REASON = re.compile(rb"[\t \x21-\x7e\x80-\xff]*\Z")

STATUS_LINES: dict[int, bytes] = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus if status >= 200
}

#: What a header means to the framing; from `_DEFAULTED` on it is sent as well.
_PLAIN, _CONTENT_LENGTH, _TRANSFER_ENCODING, _CONNECTION, _DEFAULTED, _UPGRADE = range(6)
_MEANINGS = {
    b"content-length": _CONTENT_LENGTH,
    b"transfer-encoding": _TRANSFER_ENCODING,
    b"connection": _CONNECTION,
    b"keep-alive": _TRANSFER_ENCODING,
    b"upgrade": _UPGRADE,
}
#: All but the tab: no field value has one (RFC 9110 section 5.5).
_CONTROLS = bytes([*range(9), *range(10, 32), 127])
#: Bounds on the header names and fields that are remembered, since an application could make them up.
_MAX_NAMES = 512
_MAX_FIELDS = 1024
_MAX_FIELD_BYTES = 128
_MAX_HEADS = 512
_MAX_HEAD_BYTES = 1024

_BODILESS = frozenset([204, 205, 304])


class KnownHead:
    """What an answer has been started with before: status and headers, rendered once for each block of defaults."""

    __slots__ = ("_lines", "block", "bodiless", "declared", "head", "status", "whole")

    def __init__(self, status: int, lines: bytes, declared: int | None) -> None:
        """Keep the lines of valid headers, without the one of Content-Length, which is `declared`."""
        self.status = status
        self.bodiless = status in _BODILESS
        self.declared = declared
        self._lines = lines
        self.block = b""
        """The default headers that are in."""
        self.head = b""
        """The head without its end; of a status that can have a body, and an answer to HTTP/1.1, with its length."""
        self.whole: bytes | None = None
        """All of it, where the length is declared and the connection stays."""

    def render(self, block: bytes) -> None:
        """Put these default headers in."""
        # Two threads may do this at once: what either leaves is right for this second or the one before.
        head = STATUS_LINES[self.status] + block + self._lines
        if self.declared is not None and not self.bodiless:
            head += b"content-length: %d\r\n" % self.declared
            self.whole = head + b"\r\n"
        self.head = head
        self.block = block

    def unframed(self) -> bytes:
        """Return the head without its end and Content-Length."""
        return STATUS_LINES[self.status] + self.block + self._lines


class DefaultHeaders:
    """The headers that the server adds: `date`, `server`, and what `--header` says; rendered once a second.

    A header of the application's takes the place of a default one of the same name.
    """

    def __init__(self, server: bytes | None = b"smoothserve", extra: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self._fixed = [(name.lower(), value) for name, value in extra]
        if server is not None and not any(name == b"server" for name, _ in self._fixed):
            self._fixed.insert(0, (b"server", server))
        self.names = frozenset([b"date", *(name for name, _ in self._fixed)])
        #: Header names seen in responses, each with what it means.
        self.known: dict[bytes, int] = make_memory()
        #: Fields that have been sent, by name and value: their lines, validated; of Content-Length the number.
        self.fields: dict[object, bytes | int] = make_memory()
        #: The same for whole heads, by what the application has said: status and headers, of either interface.
        self.heads: dict[object, KnownHead] = make_memory()
        self.block = b""
        self.render()

    def render(self, now: float | None = None) -> None:
        """Render the block for the second `now` (Unix time; the present if None)."""
        self._date = formatdate(now, usegmt=True).encode()
        self.block = self.without(frozenset())

    def without(self, names: frozenset[bytes] | set[bytes]) -> bytes:
        """Return the block without the headers of these names."""
        lines = [(b"date", self._date), *self._fixed]
        return b"".join([b"%b: %b\r\n" % line for line in lines if line[0] not in names])

    def remember_head(self, key: object, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Remember status and headers by `key`, if nothing about them needs a thought each time."""
        parts = []
        declared: int | None = None
        for field in headers:
            line = self.fields.get(field)
            if type(line) is bytes:
                parts.append(line)
            elif line is None or declared is not None:
                return
            else:
                declared = cast("int", line)
        lines = b"".join(parts)
        if status in STATUS_LINES and len(lines) <= _MAX_HEAD_BYTES:
            if len(self.heads) >= _MAX_HEADS:
                self.heads.clear()
            self.heads[key] = KnownHead(status, lines, declared)

    def remember(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Remember fields that have been validated as part of a head, but for those that need a thought each time."""
        for name, value in headers:
            meaning = self.known.get(name, _DEFAULTED)
            if type(value) is not bytes or len(name) + len(value) > _MAX_FIELD_BYTES:
                continue
            if meaning not in (_PLAIN, _CONTENT_LENGTH):
                continue
            if len(self.fields) >= _MAX_FIELDS:
                self.fields.clear()
            plain = meaning == _PLAIN
            self.fields[name, value] = b"%b: %b\r\n" % (name, value) if plain else int(value)

    def learn(self, name: object) -> int:
        """Validate a header name (RFC 9110 section 5.1), remember and return what it means."""
        if not isinstance(name, bytes):
            raise InvalidResponseError(f"header name {name!r} is {type(name).__name__}, not bytes")
        if not _TOKEN.match(name):
            raise InvalidResponseError(f"header name {name!r} has characters that no name may have")
        lower = name.lower()
        meaning = _DEFAULTED if lower in self.names else _MEANINGS.get(lower, _PLAIN)
        if len(self.known) < _MAX_NAMES:
            self.known[name] = meaning
        return meaning


def render_status(status: object, reason: bytes | None = None) -> bytes:
    """Render a status line. Raise `InvalidResponseError` for a status that no final response has."""
    if type(status) is int and reason is None and status in STATUS_LINES:
        return STATUS_LINES[status]
    if not isinstance(status, int) or isinstance(status, bool) or not 200 <= status <= 999:
        raise InvalidResponseError(f"status {status!r} is not a number from 200 to 999")
    reason = reason or b""
    if not _REASON.match(reason):
        raise InvalidResponseError(f"reason phrase {reason!r} has control characters")
    return b"HTTP/1.1 %d %b\r\n" % (status, reason)


class Response:
    """The framing of one response.

    `start` takes status and headers, then each `data_to_send` returns the bytes to write for a part of the body, the
    first with the head in front. `complete` is true after the last part, `keep_alive` says whether the
    connection may be used again (final once `start` has been called, but a failure can still clear it).
    """

    __slots__ = (
        "_chunked",
        "_head",
        "_left",
        "_old_client",
        "_whole",
        "_without_body",
        "bytes_sent",
        "complete",
        "error",
        "head",
        "keep_alive",
        "started",
        "status",
    )

    def __init__(self, method: str, http_version: str, keep_alive: bool) -> None:
        self._without_body = method == "HEAD"
        self._old_client = http_version == "1.0"
        self.keep_alive = keep_alive
        self.started = False
        self.complete = False
        self.status = 0
        self.bytes_sent = 0
        self.error: str | None = None
        """What is wrong with the body that the application sent, if anything: the connection must be closed."""
        self.head = b""
        """The head as it was sent, for the access log."""
        self._head: bytes | None = None
        self._whole: bytes | None = None
        self._chunked = False
        self._left: int | None = None

    @property
    def head_pending(self) -> bool:
        """Whether the response has been started and nothing of it has been rendered yet."""
        return self._head is not None

    @property
    def ends_with_connection(self) -> bool:
        """Whether only the connection's end tells where the body ends, so that a cut answer would look whole."""
        return self.started and not (self._chunked or self._without_body) and self._left is None

    def start(
        self,
        status: int,
        headers: Iterable[tuple[bytes, bytes]],
        defaults: DefaultHeaders,
        reason: bytes | None = None,
    ) -> None:
        """Take status and headers; nothing is to be written yet.

        Raise `InvalidResponseError` for what must not reach the wire; the response can then be started again,
        with an error page.
        """
        if type(headers) is not list:
            headers = list(headers)
        key = None
        if reason is None:
            try:
                known = defaults.heads.get(key := (status, *headers))
            except TypeError:
                key = None  # a field that is no tuple
            else:
                if known is not None:
                    self.start_again(known, defaults)
                    return
        status_line = STATUS_LINES.get(status) if reason is None else None
        if status_line is None:
            status_line = render_status(status, reason)
        declared: int | None = None
        parts = [status_line, defaults.block]
        fields = defaults.fields
        try:
            for field in headers:
                line = fields[field]
                if type(line) is bytes:
                    parts.append(line)
                elif declared is None:
                    declared = cast("int", line)
                else:
                    break
            else:
                self._frame(status, b"".join(parts), declared, self.keep_alive)
                if key is not None:
                    defaults.remember_head(key, status, headers)
                return
        except (KeyError, TypeError):
            pass  # a field that is new, or no tuple
        self._start_anew(status, status_line, headers, defaults)

    def start_again(self, known: KnownHead, defaults: DefaultHeaders) -> None:
        """Start with what an earlier answer has been started with."""
        if known.block is not defaults.block:
            known.render(defaults.block)
        if self._without_body or self._old_client or known.bodiless:
            self._frame(known.status, known.unframed(), known.declared, self.keep_alive)
            return
        self.status = known.status
        self.started = True
        self._head = known.head
        self._whole = known.whole
        self._left = known.declared

    def _start_anew(
        self, status: int, status_line: bytes, headers: list[tuple[bytes, bytes]], defaults: DefaultHeaders
    ) -> None:
        """Validate and render headers that have not all been sent before."""
        parts = [status_line, defaults.block]
        notable: list[tuple[int, bytes, bytes]] = []
        known = defaults.known
        count = 0
        for name, value in headers:
            meaning = known.get(name)
            if meaning is None:
                meaning = defaults.learn(name)
            if meaning:
                notable.append((meaning, name, value))
                if meaning < _DEFAULTED:
                    continue
            parts += (name, b": ", value, b"\r\n")
            count += 1
        declared: int | None = None
        keep_alive = self.keep_alive
        tail: bytes | None = None
        for meaning, _, value in notable:
            if meaning == _CONTENT_LENGTH:
                declared = _parse_length(value, declared)
            elif tail is None:
                closes, parts[1], tail = _read_others(notable, defaults)
                keep_alive = keep_alive and not closes
        try:
            head = b"".join(parts)
        except TypeError:
            raise InvalidResponseError("a header value is not bytes") from None
        # One scan over the joined head instead of one for each value: what is beyond our own line ends is injected.
        ours = 2 * (count + 1 + parts[1].count(b"\n"))
        if len(head) - len(head.translate(None, _CONTROLS)) != ours:
            raise InvalidResponseError("a header value has a line break or another control character in it")
        self._frame(status, head + tail if tail else head, declared, keep_alive)
        defaults.remember(headers)

    def _frame(self, status: int, head: bytes, declared: int | None, keep_alive: bool) -> None:
        """Decide how the end of the body is told (RFC 9110 section 8.6, RFC 9112 section 6)."""
        self.status = status
        self.started = True
        self.keep_alive = keep_alive
        if status in _BODILESS:
            # 205 may have no content either (RFC 9110 section 15.3.6), and a 204 no Content-Length (8.6).
            self._without_body = True
            if status == 205:
                head += b"content-length: 0\r\n"
            elif status == 304 and declared is not None:
                head += b"content-length: %d\r\n" % declared
        elif declared is not None:
            head += b"content-length: %d\r\n" % declared
            self._left = declared
        self._head = head

    def data_to_send(self, data: bytes | bytearray | memoryview, more: bool) -> bytes:
        """Frame a part of the body; `more` says whether another follows. Return the bytes to write.

        A body that is longer or shorter than the declared length sets `error` and clears `keep_alive`; of a longer
        one just the declared length is returned.
        """
        whole = self._whole
        if whole is not None:
            self._whole = None
            if not more and type(data) is bytes and len(data) == self._left and self.keep_alive:
                self._head = None
                self._left = 0
                self.head = whole
                self.bytes_sent = len(data)
                self.complete = True
                return whole + data
        if type(data) is not bytes:
            if not isinstance(data, bytearray | memoryview):
                raise InvalidResponseError(f"the body is {type(data).__name__}, not bytes")
            data = bytes(data)
        head = self._head
        if head is not None:
            self._head = None
            self.head = prefix = self._finish_head(head, data, more)
        else:
            prefix = b""
        if self._without_body:
            self.complete = not more
            return prefix
        left = self._left
        if left is not None:
            size = len(data)
            if size > left:
                self.error = f"the body is longer than its Content-Length, by {count(size - left, 'byte')} or more"
                self.keep_alive = False
                data = data[:left]
                size = left
            elif not more and size < left:
                self.error = f"the body is {count(left - size, 'byte')} shorter than its Content-Length"
                self.keep_alive = False
            self._left = left - size
            self.bytes_sent += size
            self.complete = not more
            return prefix + data if prefix else data
        self.bytes_sent += len(data)
        self.complete = not more
        if self._chunked:
            # An empty chunk would end the body.
            chunk = prefix + b"%x\r\n" % len(data) + data + b"\r\n" if data else prefix
            return chunk if more else chunk + b"0\r\n\r\n"
        return prefix + data

    def _finish_head(self, head: bytes, data: bytes, more: bool) -> bytes:
        if self._left is None and not (self._without_body and self.status in (204, 205, 304)):
            if not more and not self._without_body:
                # The whole body is here: its length is known although the application did not say it.
                self._left = len(data)
                head += b"content-length: %d\r\n" % len(data)
            elif self._old_client:
                if not self._without_body:
                    self.keep_alive = False  # the end of the connection is the end of the body
            elif more:
                head += b"transfer-encoding: chunked\r\n"
                self._chunked = True
        if not self.keep_alive:
            return head + b"connection: close\r\n\r\n"
        if self._old_client:
            return head + b"connection: keep-alive\r\n\r\n"
        return head + b"\r\n"


def _read_others(notable: list[tuple[int, bytes, bytes]], defaults: DefaultHeaders) -> tuple[bool, bytes, bytes]:
    """Read what is notable and no Content-Length.

    Return whether the application closes, the default headers that it does not send itself, and what comes at the
    end of the head. What is not sent is checked here, the rest with the head.
    """
    closes = False
    own = set()
    for meaning, name, value in notable:
        if meaning >= _DEFAULTED:
            own.add(name.lower())
        elif meaning != _CONTENT_LENGTH:
            if not isinstance(value, bytes):
                raise InvalidResponseError("a header value is not bytes")
            if len(value.translate(None, _CONTROLS)) != len(value):
                raise InvalidResponseError(f"the value of the header {name!r} has a control character in it")
            closes = closes or (meaning == _CONNECTION and b"close" in value.lower())
    # RFC 9110 section 7.8: who sends Upgrade names it in Connection, too.
    tail = b"connection: upgrade\r\n" if b"upgrade" in own else b""
    return closes, defaults.without(own) if own else defaults.block, tail


def _parse_length(value: object, before: int | None) -> int:
    if not isinstance(value, bytes) or not _DIGITS.match(value):
        raise InvalidResponseError(f"Content-Length {value!r} is not a number")
    length = int(value)
    if before is not None and before != length:
        raise InvalidResponseError(f"two Content-Length headers that differ: {before} and {length}")
    return length
