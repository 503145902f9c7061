"""Reads HTTP/1 answers off a byte stream, strictly: a server that gets the framing wrong must be found out.

Sans-IO, RFC 9112 sections 4, 6 and 7. Interim answers (1xx) are passed over. What the bodies should say
is not known here.
"""

from collections import deque

MAX_HEAD_BYTES = 65536


class AnswerError(Exception):
    """Bytes that are no HTTP/1 answer."""


class Answer:
    """One answer, perhaps not complete yet."""

    __slots__ = ("body", "closes", "complete", "headers", "status", "until_eof", "version")

    def __init__(self, version: str, status: int, headers: dict[str, str]) -> None:
        self.version = version
        self.status = status
        self.headers = headers
        self.body = bytearray()
        self.complete = False
        self.until_eof = False
        """The body ends with the connection (RFC 9112 section 6.3, item 8)."""
        connection = headers.get("connection", "").lower()
        self.closes = "close" in connection or (version == "1.0" and "keep-alive" not in connection)
        """Whether the server says that it will close the connection after this answer."""


class AnswerReader:
    """Turns received bytes into answers: `answers`, oldest first, at most the last one incomplete."""

    __slots__ = ("_buffer", "_chunked", "_current", "_left", "_trailers", "answers")

    def __init__(self) -> None:
        self.answers: deque[Answer] = deque()
        self._buffer = bytearray()
        self._current: Answer | None = None
        self._chunked = False
        self._trailers = False
        self._left = 0

    @property
    def in_head(self) -> bool:
        """Whether some bytes of an answer have arrived, but not its whole head."""
        return self._current is None and bool(self._buffer)

    def receive_data(self, data: bytes) -> None:
        """Take bytes in. Raise `AnswerError` when they are no answer."""
        self._buffer += data
        while self._buffer and self._step():
            pass

    def receive_eof(self) -> None:
        """Take note that nothing more will come: it completes a body that ends with the connection."""
        if self._current is not None and self._current.until_eof:
            self._finish()

    def _step(self) -> bool:
        """Read one piece off the buffer; false when more bytes are needed for it."""
        if self._current is None:
            return self._read_head()
        if self._chunked and self._left == 0:
            return self._read_chunk_head()
        return self._read_body(self._current)

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD_BYTES or not b"HTTP/1.".startswith(self._buffer[:7]):
                raise AnswerError(f"not the head of an answer: {bytes(self._buffer[:60])!r}")
            return False
        answer = parse_head(bytes(self._buffer[:end]))
        del self._buffer[: end + 4]
        if answer.status < 200:
            if answer.status == 101:
                raise AnswerError("101 Switching Protocols, which nobody asked for")
            return True
        self._current = answer
        self.answers.append(answer)
        self._begin_body(answer)
        return True

    def _begin_body(self, answer: Answer) -> None:
        coding, length = answer.headers.get("transfer-encoding"), answer.headers.get("content-length")
        self._chunked = coding is not None
        self._trailers = False
        self._left = 0
        if answer.status in (204, 304):
            self._chunked = False
            self._finish()
        elif coding is not None:
            if length is not None or coding.lower() != "chunked" or answer.version != "1.1":
                raise AnswerError(
                    f"Transfer-Encoding {coding!r} with Content-Length {length!r} in HTTP/{answer.version}"
                )
        elif length is not None:
            if not length.isdecimal():
                raise AnswerError(f"Content-Length {length!r}")
            self._left = int(length)
            if self._left == 0:
                self._finish()
        else:
            answer.until_eof = True
            answer.closes = True

    def _read_chunk_head(self) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            if len(self._buffer) > 1024:
                raise AnswerError(f"not a chunk: {bytes(self._buffer[:60])!r}")
            return False
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        if self._trailers:
            if not line:
                self._finish()
            return True
        size, _, _extension = line.partition(b";")
        try:
            length = int(size.strip(), 16)
        except ValueError:
            raise AnswerError(f"not a chunk size: {line[:60]!r}") from None
        if length == 0:
            self._trailers = True
        else:
            self._left = length + 2
        return True

    def _read_body(self, answer: Answer) -> bool:
        if answer.until_eof:
            answer.body += self._buffer
            self._buffer.clear()
            return False
        if self._chunked:
            return self._read_chunk(answer)
        part = self._buffer[: self._left]
        del self._buffer[: self._left]
        answer.body += part
        self._left -= len(part)
        if self._left == 0:
            self._finish()
        return True

    def _read_chunk(self, answer: Answer) -> bool:
        """Read chunk data; its closing CRLF counts as the last two bytes of `_left`."""
        data = min(self._left - 2, len(self._buffer))
        if data > 0:
            answer.body += self._buffer[:data]
            del self._buffer[:data]
            self._left -= data
            return True
        if len(self._buffer) < 2:
            return False
        if self._buffer[:2] != b"\r\n":
            raise AnswerError("chunk data longer than its size")
        del self._buffer[:2]
        self._left = 0
        return True

    def _finish(self) -> None:
        if self._current is not None:
            self._current.complete = True
            self._current = None


def parse_head(head: bytes) -> Answer:
    """Parse status line and fields (RFC 9112 sections 4 and 5). Raise `AnswerError`."""
    lines = head.split(b"\r\n")
    try:
        protocol, status, *_reason = lines[0].decode("latin-1").split(" ", 2)
        if protocol not in ("HTTP/1.1", "HTTP/1.0") or len(status) != 3:
            raise ValueError
        code = int(status)
    except ValueError:
        raise AnswerError(f"not a status line: {lines[0][:60]!r}") from None
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or not name or name.strip() != name:
            raise AnswerError(f"not a header field: {line[:60]!r}")
        key = name.lower()
        if key in headers and key in ("content-length", "transfer-encoding"):
            raise AnswerError(f"{name} twice")
        headers[key] = f"{headers[key]}, {value.strip()}" if key in headers else value.strip()
    return Answer(protocol[5:], code, headers)
