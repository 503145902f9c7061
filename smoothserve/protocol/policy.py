"""Which requests are served: one judgement for every codec, over what its parser has read.

The request line is read here (RFC 9112 section 3), the field lines by the parser; the fields that mean something to
a server are judged here: Host (RFC 9112 section 3.2), Content-Length and Transfer-Encoding (6), Connection (9.3),
Expect and Upgrade (RFC 9110 sections 10.1.1 and 7.8). Faults in the framing are told first, so that two parsers
which notice a fault at different times still give the same status.
"""

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address

from smoothserve.protocol.events import Limits, Malformed, Request, RequestLine

Headers = list[tuple[bytes, bytes]]

HOST = b"host"
CONTENT_LENGTH = b"content-length"
TRANSFER_ENCODING = b"transfer-encoding"
CONNECTION = b"connection"
EXPECT = b"expect"
UPGRADE = b"upgrade"
NOTABLE = frozenset([HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, EXPECT, UPGRADE])
"""The fields that are judged, by their lower-case names."""

#: Not lists (RFC 9110 section 5.3), or framing, where a repetition is an attack.
_SINGLE = frozenset([HOST, CONTENT_LENGTH, TRANSFER_ENCODING])

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
FIELD_VALUE = rb"[\t \x21-\x7e\x80-\xff]*+"
FIELD_LINE = rb"%b:%b\r\n" % (TOKEN, FIELD_VALUE)
"""A field line without obsolete folding, control characters or space before the colon (RFC 9112 section 5)."""

METHODS = {
    name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "QUERY")
}

#: Bytes from 0x80 on are no part of a URI, but proxies pass them on and applications are used to them. A fragment is
#: never sent (RFC 9112 section 3.2), and where a proxy cuts it off the application must not see another path.
_REQUEST_LINE = re.compile(rb"(%b) ([\x21\x22\x24-\x7e\x80-\xff]+) HTTP/([0-9])\.([0-9])\r\n" % TOKEN)
_ABSOLUTE_FORM = re.compile(rb"(?i:https?)://([^/?]+)([^?]*)(?:\?(.*))?", re.DOTALL)

_REG_NAME = rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})"
_HOST = re.compile(rb"(?:%b++(?::[0-9]*)?|\[([0-9A-Fa-f:.]+)\](?::[0-9]*)?)?" % _REG_NAME)
_DIGITS = re.compile(rb"[0-9]+")
_CODING = re.compile(TOKEN)
MAX_CONTENT_LENGTH = 2**63 - 1

_CONTINUE = frozenset([b"100-continue"])
_NOTHING: frozenset[bytes] = frozenset()

#: Values longer than this are not remembered, so that the caches stay small whatever is sent.
_MAX_CACHED_VALUE = 128


def read_request_line(line: bytes) -> RequestLine | Malformed:
    """Read a request line, its CRLF included (RFC 9112 section 3)."""
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        return Malformed(400, "invalid request line")
    name, target, major, minor = match.groups()
    if major != b"1":
        return Malformed(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    # A higher minor version is served as the highest that we know (RFC 9110 section 2.5).
    version = "1.0" if minor == b"0" else "1.1"
    method = METHODS.get(name) or name.decode("ascii")
    if method == "CONNECT":
        # We are an origin server without tunnels (RFC 9110 section 9.3.6).
        return Malformed(501, "CONNECT is not implemented")
    if target[0] == 0x2F:
        path, _, query = target.partition(b"?")
        return method, target, path, query, version, None
    if target == b"*":
        if method != "OPTIONS":
            return Malformed(400, "only OPTIONS may have the target *")
        return method, target, target, b"", version, None
    absolute = _ABSOLUTE_FORM.fullmatch(target)
    if absolute is None or not is_valid_host(absolute[1]):
        return Malformed(400, "invalid request target")
    return method, target, absolute[2] or b"/", absolute[3] or b"", version, absolute[1]


def is_valid_host(value: bytes) -> bool:
    """Whether the value is `uri-host [ ":" port ]` (RFC 9110 section 7.2, RFC 3986 section 3.2.2). May be empty."""
    return _is_valid_host(value) if len(value) <= _MAX_CACHED_VALUE else _is_valid_host.__wrapped__(value)


@lru_cache(maxsize=512)
def _is_valid_host(value: bytes) -> bool:
    match = _HOST.fullmatch(value)
    if match is None:
        return False
    if match[1] is not None:
        try:
            IPv6Address(match[1].decode("ascii"))
        except AddressValueError:
            return False
    return True


def list_members(value: bytes) -> frozenset[bytes]:
    """Return the members of a comma-separated list, lower-case (RFC 9110 section 5.6.1)."""
    return _list_members(value) if len(value) <= _MAX_CACHED_VALUE else _list_members.__wrapped__(value)


@lru_cache(maxsize=256)
def _list_members(value: bytes) -> frozenset[bytes]:
    return frozenset(member for part in value.lower().split(b",") if (member := part.strip(b" \t")))


def judge(line: RequestLine, headers: Headers, notable: Headers, limits: Limits) -> Request | Malformed:
    """Make the request of a head, or say why it is not served.

    `notable` are the fields of `headers` whose names are in `NOTABLE`; names are lower-case, values without the
    whitespace around them.
    """
    method, target, path, query, version, authority = line
    seen = dict(notable)
    if len(seen) < len(notable):
        joined = _join_repeated(notable)
        if isinstance(joined, Malformed):
            return joined
        seen = joined
    new = version != "1.0"
    host = seen.get(HOST)
    if host is None and new:
        return Malformed(400, "no Host header")
    if host is not None and not is_valid_host(host):
        return Malformed(400, "invalid Host header")
    length, chunked = None, False
    if CONTENT_LENGTH in seen or TRANSFER_ENCODING in seen:
        framing = _read_framing(seen, limits, new=new)
        if isinstance(framing, Malformed):
            return framing
        length, chunked = framing
    expected = list_members(seen[EXPECT]) if EXPECT in seen else _NOTHING
    if not expected <= _CONTINUE:
        return Malformed(417, "only 100-continue can be expected")
    if len(headers) > limits.fields:
        return Malformed(431, f"more than {limits.fields} header fields")
    if authority is not None or chunked:
        _rewrite(headers, authority)
    request = Request(method, target, path, query, version, headers, keep_alive=new)
    if length is not None or chunked:
        request.content_length = length
        request.chunked = chunked
        # An HTTP/1.0 client does not wait for it (RFC 9110 section 10.1.1).
        request.expect_continue = bool(expected) and new and request.has_body
    if CONNECTION in seen:
        _read_options(request, seen, new=new)
    return request


def _join_repeated(notable: Headers) -> dict[bytes, bytes] | Malformed:
    """Join the values of repeated fields (RFC 9110 section 5.3), unless a repetition is an error."""
    seen: dict[bytes, bytes] = {}
    for name, value in notable:
        if name not in seen:
            seen[name] = value
        elif name in _SINGLE:
            return Malformed(400, f"more than one {name.decode()} header")
        else:
            seen[name] = b"%b,%b" % (seen[name], value)
    return seen


def _read_options(request: Request, seen: dict[bytes, bytes], *, new: bool) -> None:
    options = list_members(seen[CONNECTION])
    # RFC 9112 section 9.3
    request.keep_alive = b"close" not in options and (new or b"keep-alive" in options)
    # An upgrade that Connection does not name, or of HTTP/1.0, is ignored (RFC 9110 section 7.8).
    if new and UPGRADE in seen and b"upgrade" in options:
        request.upgrade = seen[UPGRADE].lower()


def _read_framing(seen: dict[bytes, bytes], limits: Limits, *, new: bool) -> tuple[int | None, bool] | Malformed:
    """Find the length of the body (RFC 9112 section 6.3): Content-Length, or chunked."""
    coding = seen.get(TRANSFER_ENCODING)
    if coding is None:
        digits = seen[CONTENT_LENGTH]
        # Long numbers are not even converted: that takes quadratic time.
        if not _DIGITS.fullmatch(digits) or len(digits) > 19 or int(digits) > MAX_CONTENT_LENGTH:
            return Malformed(400, "invalid Content-Length")
        if int(digits) > limits.body_bytes:
            return limits.body_too_long()
        return int(digits), False
    # Both together may be a smuggled request: the server MAY reject it (RFC 9112 section 6.1), and we do.
    if CONTENT_LENGTH in seen:
        return Malformed(400, "Content-Length and Transfer-Encoding together")
    if not new:
        return Malformed(400, "Transfer-Encoding in an HTTP/1.0 request")
    codings = [part.strip(b" \t") for part in coding.lower().split(b",")]
    if codings == [b"chunked"]:
        return None, True
    if codings[-1] != b"chunked" or b"chunked" in codings[:-1]:
        return Malformed(400, "chunked is not the final transfer coding")
    if not all(_CODING.fullmatch(name) for name in codings):
        return Malformed(400, "invalid Transfer-Encoding")
    return Malformed(501, "only the transfer coding chunked is implemented")


def _rewrite(headers: Headers, authority: bytes | None) -> None:
    """Put the authority of an absolute-form target in the place of Host (RFC 9112 section 3.2.2).

    And the one coding there can be in lower case, as h11 gives it: codings are case-insensitive.
    """
    missing = authority is not None
    for index, (name, _) in enumerate(headers):
        if name == HOST and authority is not None:
            headers[index] = (HOST, authority)
            missing = False
        elif name == TRANSFER_ENCODING:
            headers[index] = (TRANSFER_ENCODING, b"chunked")
    if authority is not None and missing:
        headers.insert(0, (HOST, authority))
