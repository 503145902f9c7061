"""HTTP/1 with the field lines read by httptools (llhttp): the fast codec.

This is the hot path. The parser is given whole heads only and calls back for fields only; between heads it holds
nothing, so that a few parsers serve all connections (benchmark: tests/benchmarks/codecs.py).
"""

from collections.abc import Callable

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from smoothserve.protocol.events import Malformed, Request
from smoothserve.protocol.framing import FramedCodec
from smoothserve.protocol.policy import (
    METHODS,
    NOTABLE,
    VERSIONS,
    Headers,
    RequestLine,
    judge,
    read_request_line,
)

#: What llhttp is shown in the place of a request line that we accept and it does not: methods and bytes beyond its
#: tables. The version matters to nobody: the framing is ours.
_STAND_IN = b"POST / HTTP/1.1\r\n"

#: Bounds on the field names that are remembered, since a client can make them up.
_MAX_NAMES = 1024
_MAX_NAME_BYTES = 64
_COMMON_NAMES = (
    b"Accept Accept-Charset Accept-Encoding Accept-Language Access-Control-Request-Headers "
    b"Access-Control-Request-Method Authorization Cache-Control Content-Encoding Content-Type Cookie Date DNT "
    b"Forwarded If-Match If-Modified-Since If-None-Match If-Range If-Unmodified-Since Origin Pragma Priority Range "
    b"Referer Sec-Ch-Ua Sec-Ch-Ua-Mobile Sec-Ch-Ua-Platform Sec-Fetch-Dest Sec-Fetch-Mode Sec-Fetch-Site "
    b"Sec-Fetch-User Sec-WebSocket-Extensions Sec-WebSocket-Key Sec-WebSocket-Protocol Sec-WebSocket-Version TE "
    b"Trailer Upgrade-Insecure-Requests User-Agent Via X-CSRF-Token X-Forwarded-For X-Forwarded-Host "
    b"X-Forwarded-Port X-Forwarded-Proto X-Real-IP X-Request-ID X-Requested-With"
).split()
#: Lower-case names by the names as sent, of the fields that are not judged. One for the process: whoever's
#: connection brought a name, it is lower-cased in the same way.
_plain_names = {spelling: name.lower() for name in _COMMON_NAMES for spelling in (name, name.lower())}


class _Fields:
    """What a parser has read of one head. The parser's callbacks; they never raise."""

    __slots__ = ("append", "complete", "notable")

    append: Callable[[tuple[bytes, bytes]], None]
    """Of the list that the fields go to."""
    notable: Headers
    complete: bool

    def on_header(self, name: bytes, value: bytes) -> None:
        lower = _plain_names.get(name)
        if lower is None:
            lower = name.lower()
            if lower in NOTABLE:
                self.notable.append((lower, value.rstrip()))
            elif len(_plain_names) < _MAX_NAMES and len(name) <= _MAX_NAME_BYTES:
                _plain_names[name] = lower
        # llhttp leaves the whitespace behind a value.
        self.append((lower, value.rstrip()))

    def on_message_complete(self) -> None:
        """Take note that the parser is at the start again: it has seen the head, and expects no body."""
        self.complete = True


_Reader = tuple[HttpRequestParser, _Fields]

_idle_readers: list[_Reader] = []


def _new_reader() -> _Reader:
    fields = _Fields()
    parser = HttpRequestParser(fields)
    # Whether a connection goes on after a request is not for llhttp to say: the parser goes on, with another one. Nor
    # is the coding, of which it takes a tab at the end for a part.
    parser.set_dangerous_leniencies(lenient_keep_alive=True, lenient_transfer_encoding=True)
    return parser, fields


class HttptoolsCodec(FramedCodec):
    """The codec on httptools. Any thread may use one, but only one at a time."""

    __slots__ = ()

    def _read_request_line(self, line: bytes) -> RequestLine | Malformed:
        parts = line.split(b" ")
        if len(parts) == 3:
            name, target, protocol = parts
            method = METHODS.get(name)
            version = VERSIONS.get(protocol)
            # The rest of the target is checked by llhttp.
            if method and version and target.startswith(b"/") and target.find(b"#") < 0:
                path, _, query = target.partition(b"?")
                return method, target, path, query, version, None
        return read_request_line(line)

    def _read_fields(self, line: RequestLine, head: bytes, line_end: int) -> Request | Malformed:
        try:
            reader = _idle_readers.pop()
        except IndexError:
            reader = _new_reader()
        parser, read = reader
        headers: Headers = []
        read.append = headers.append
        notable: Headers = []
        read.notable = notable
        read.complete = False
        try:
            parser.feed_data(head)
        except HttpParserUpgrade:
            # The end of the head, like any other: what an upgrade means is not for llhttp to say either.
            pass
        except HttpParserError as error:
            return self._read_again(line, head, line_end, Malformed(400, str(error)))
        request = judge(line, headers, notable, self._limits)
        if read.complete:
            _idle_readers.append(reader)
        elif isinstance(request, Malformed):
            return self._read_again(line, head, line_end, request)
        elif not request.has_body:
            # The parser waits for more of the head, as for the rest of an HTTP/2 preface after PRI.
            return self._read_again(line, head, line_end, Malformed(400, "incomplete head"))
        return request

    def _read_again(self, line: RequestLine, head: bytes, line_end: int, fault: Malformed) -> Request | Malformed:
        """Read what llhttp refuses or misunderstands without its request line: about that, only ours decides."""
        request_line = head[:line_end]
        if request_line == _STAND_IN:
            return fault
        strict = read_request_line(request_line)
        if isinstance(strict, Malformed):
            return strict
        return self._read_fields(line, _STAND_IN + head[line_end:], len(_STAND_IN))
