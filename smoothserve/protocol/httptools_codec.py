"""HTTP/1 with the field lines read by httptools (llhttp): the fast codec.

This is the hot path. The parser is given whole heads only and calls back for fields only; between heads it holds
nothing, so that a few parsers serve all connections. A head of lines that it has read before, but for further ones
whose names it has read before, is put together from them: a line means what its bytes say, and what several of them
mean together is for `judge` to say in any case. What looks odd is read as a whole (benchmark: tests/benchmarks/micro).
"""

import re
from collections.abc import Callable
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from smoothserve.protocol.events import Malformed, Request, RequestLine
from smoothserve.protocol.framing import (
    MAX_LINE_BYTES,
    MAX_LINES,
    MAX_REMEMBERED,
    MAX_REMEMBERED_BYTES,
    FramedCodec,
)
from smoothserve.protocol.memory import make_memory
from smoothserve.protocol.policy import FIELD_VALUE, NOTABLE, TOKEN, Headers, judge

#: What llhttp is shown in the place of a request line that we accept and it does not: methods and bytes beyond its
#: tables. The version matters to nobody: the framing is ours.
_STAND_IN = b"POST / HTTP/1.1\r\n"

#: Bounds on the field names that are remembered, since a client can make them up.
_MAX_NAMES = 1024
_MAX_NAME_BYTES = 64
#: And on the fields of one head that the judgement of is remembered.
_MAX_JUDGED = 6
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
_plain_names: dict[bytes, bytes] = make_memory()
for _name in _COMMON_NAMES:
    _plain_names[_name] = _plain_names[_name.lower()] = _name.lower()
#: In the place of the request line of a head that only its fields are remembered of.
_NO_LINE: RequestLine = "", b"", b"", b"", "", None
_NAME = re.compile(TOKEN)
_VALUE = re.compile(FIELD_VALUE)


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
            elif len(_plain_names) < _MAX_NAMES and len(name) <= _MAX_NAME_BYTES and _NAME.fullmatch(name):
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

    def _read_fields(self, line: RequestLine, head: bytes, line_end: int) -> Request | Malformed:
        known = self._known
        block = head[line_end:]
        like = known.blocks.get(block)
        self._fields_seen = True
        if like is not None and line[4] == like.http_version and line[5] is None:
            return _alike(line, like.headers, like)
        texts = block.split(b"\r\n")
        del texts[-2:]  # the end of the last line, and the empty one
        notable: Headers = []
        headers = self._find_fields(texts, notable)
        if headers is None or line[5] is not None or len(headers) > self._limits.fields or len(notable) > _MAX_JUDGED:
            return self._read_whole(line, head, line_end, texts)
        key = (line[4], *notable)
        like = known.judged.get(key)
        if like is None:
            request = judge(line, headers, notable, self._limits)
            if isinstance(request, Malformed) or request.chunked:
                return self._read_whole(line, head, line_end, texts)
            if sum([len(value) for _, value in notable]) <= MAX_REMEMBERED_BYTES:
                if len(known.judged) >= MAX_REMEMBERED:
                    known.judged.clear()
                # Not itself: its target and its other fields may be long.
                known.judged[key] = _alike(_NO_LINE, [], request)
        else:
            request = _alike(line, headers, like)
        if self._fields_seen and len(block) <= MAX_REMEMBERED_BYTES:
            if len(known.blocks) >= MAX_REMEMBERED:
                known.blocks.clear()
            known.blocks[block] = _alike((*_NO_LINE[:4], line[4], None), headers, request)
        return request

    def _find_fields(self, texts: list[bytes], notable: Headers) -> Headers | None:
        """Return the fields of these lines, and add those that are judged to `notable`; None if one is unfamiliar."""
        known = self._known
        found = list(map(known.plain.get, texts))
        for place, field in enumerate(found):
            if field is None:
                text = texts[place]
                other = known.notable.get(text)
                if other is not None:
                    notable.append(other)
                else:
                    self._fields_seen = False
                    other = self._read_plain(text)
                    if other is None:
                        return None
                found[place] = other
        return cast("Headers", found)

    def _read_plain(self, text: bytes) -> tuple[bytes, bytes] | None:
        """Read a field line of a name that has been read before and means nothing to a server; None if it is none."""
        name, colon, value = text.partition(b":")
        lower = _plain_names.get(name)
        if lower is None or not colon or not _VALUE.fullmatch(value):
            return None
        field = lower, value.strip(b"\t ")
        self._remember(self._known.plain, text, field)
        return field

    @staticmethod
    def _remember(lines: dict[bytes, tuple[bytes, bytes]], text: bytes, field: tuple[bytes, bytes]) -> None:
        if len(text) <= MAX_LINE_BYTES:
            if len(lines) >= MAX_LINES:
                lines.clear()
            lines[text] = field

    def _learn(self, texts: list[bytes], headers: Headers) -> None:
        """Remember the lines of a head that llhttp has read as these fields."""
        known = self._known
        if len(texts) != len(headers):
            return
        for text, field in zip(texts, headers, strict=True):
            name, _, value = text.partition(b":")
            lower = name.lower()
            if (lower, value.strip(b"\t ")) != field:
                return
            self._remember(known.notable if lower in NOTABLE else known.plain, text, field)

    def _read_whole(self, line: RequestLine, head: bytes, line_end: int, texts: list[bytes]) -> Request | Malformed:
        """Have the head read as it is; `texts` are its field lines."""
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
            return self._read_again(line, head, line_end, texts, Malformed(400, str(error)))
        self._learn(texts, headers)
        request = judge(line, headers, notable, self._limits)
        if read.complete:
            _idle_readers.append(reader)
        elif isinstance(request, Malformed):
            return self._read_again(line, head, line_end, texts, request)
        elif not request.has_body:
            # The parser waits for more of the head, as for the rest of an HTTP/2 preface after PRI.
            return self._read_again(line, head, line_end, texts, Malformed(400, "incomplete head"))
        return request

    def _read_again(
        self, line: RequestLine, head: bytes, line_end: int, texts: list[bytes], fault: Malformed
    ) -> Request | Malformed:
        """Read what llhttp refuses or misunderstands without its request line: about that, only ours decides."""
        if head[:line_end] == _STAND_IN:
            return fault
        return self._read_whole(line, _STAND_IN + head[line_end:], len(_STAND_IN), texts)


def _alike(line: RequestLine, headers: Headers, like: Request) -> Request:
    """Make the request of a request line and fields that are judged as those of `like` were."""
    method, target, path, query, version, _ = line
    request = Request(method, target, path, query, version, headers, keep_alive=like.keep_alive)
    request.content_length = like.content_length
    request.expect_continue = like.expect_continue
    request.upgrade = like.upgrade
    return request
