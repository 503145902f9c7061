"""Status and headers as an application gives them to `start_response`, as bytes for the wire (PEP 3333).

Decides what of them is valid by PEP 3333; what is valid by HTTP is `Response`'s to decide. What has been seen is
remembered. Runs per request: this is the hot path.
"""

import logging
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from smoothserve.protocol.memory import make_memory
from smoothserve.protocol.response import InvalidResponseError

#: The name that `parse_headers` yields for any spelling of Content-Length, always this object.
CONTENT_LENGTH = b"content-length"

#: Bound on what is remembered, since an application could make texts up.
_MAX_KNOWN = 512

_STATUS = re.compile(r"([0-9]{3})(?: (.*))?\Z", re.DOTALL)

#: Headers that are the server's alone (PEP 3333 "Other HTTP Features", RFC 9110 section 7.6.1).
_HOP_BY_HOP = frozenset(
    [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "trailers",
        "transfer-encoding",
        "upgrade",
    ]
)
#: Of these, the ones whose meaning `Response` knows.
_UNDERSTOOD = frozenset(["connection"])

_statuses: dict[str, tuple[int, bytes | None]] = make_memory()
_names: dict[str, bytes | None] = make_memory()
_warned: set[str] = set()


def parse_status(status: Any) -> tuple[int, bytes | None]:
    """Return the number and, if it is not the usual one, the reason phrase. Raise `InvalidResponseError`."""
    try:
        return _statuses[status]
    except (KeyError, TypeError):
        pass
    match = _STATUS.match(status) if isinstance(status, str) else None
    if match is None:
        raise InvalidResponseError(f"status {status!r} is not text such as '200 OK'")
    code = int(match[1])
    try:
        reason = match[2].encode("latin-1") if match[2] else None
    except UnicodeEncodeError:
        raise InvalidResponseError(f"status {status!r} has characters beyond latin-1") from None
    if reason is not None and reason == _usual_reason(code):
        reason = None
    if len(_statuses) < _MAX_KNOWN:
        _statuses[status] = code, reason
    return code, reason


def _usual_reason(code: int) -> bytes | None:
    try:
        return HTTPStatus(code).phrase.encode()
    except ValueError:
        return None


def parse_headers(headers: Iterable[tuple[str, str]], log: logging.Logger) -> list[tuple[bytes, bytes]]:
    """Return the headers for `Response.start`. Raise `InvalidResponseError` for what are not pairs of latin-1 texts."""
    names = _names
    fields = []
    try:
        for name, value in headers:
            try:
                known = names[name]
            except KeyError:
                known = _learn(name, log)
            if known is not None:
                fields.append((known, value.encode("latin-1")))
    except (AttributeError, TypeError, ValueError):
        raise InvalidResponseError(_find_fault(headers)) from None
    return fields


def _learn(name: Any, log: logging.Logger) -> bytes | None:
    """Return a header's name as bytes and remember it. None for one that is not the application's to send."""
    if not isinstance(name, str):
        raise TypeError
    known: bytes | None = name.encode("latin-1")
    lower = name.lower()
    if lower == "content-length":
        known = CONTENT_LENGTH
    elif lower in _HOP_BY_HOP:
        # PEP 3333 forbids them, but many applications that ran under servers which ignore them send them.
        if lower not in _warned:
            _warned.add(lower)
            log.warning(
                "the application sends the hop-by-hop header %r, which is the server's to send (PEP 3333): left out",
                name,
            )
        if lower not in _UNDERSTOOD:
            known = None
    if len(_names) < _MAX_KNOWN:
        _names[name] = known
    return known


def _find_fault(headers: object) -> str:
    """Say what is wrong with headers that could not be parsed."""
    if not isinstance(headers, Iterable):
        return f"headers are {type(headers).__name__}, not a list of (name, value) tuples"
    for header in headers:
        if not isinstance(header, (tuple, list)) or len(header) != 2:
            return f"header {header!r} is not a (name, value) tuple"
        for what, text in zip(("name", "value"), header, strict=True):
            if not isinstance(text, str):
                return f"header {what} {text!r} is {type(text).__name__}, not str (of header {header[0]!r})"
            try:
                text.encode("latin-1")
            except UnicodeEncodeError:
                return f"header {what} {text!r} has characters beyond latin-1 (of header {header[0]!r})"
    return "the headers are not a list of (name, value) tuples"
