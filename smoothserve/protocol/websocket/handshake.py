"""The server's side of the opening handshake (RFC 6455 section 4.2).

The HTTP codec has read and judged the request as such (version, Host, Connection); here it is judged as a handshake,
and the answer rendered.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field

from smoothserve.protocol.events import Request
from smoothserve.protocol.policy import list_members
from smoothserve.protocol.websocket.deflate import Deflate, OfferError, negotiate, parse_offers

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_VERSION = b"13"
_KEY = b"sec-websocket-key"
_VERSIONS = b"sec-websocket-version"
_PROTOCOLS = b"sec-websocket-protocol"
_EXTENSIONS = b"sec-websocket-extensions"
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
#: What the application may not set in the answer: it is the handshake's own.
OWN_HEADERS = frozenset(
    [b"sec-websocket-accept", b"sec-websocket-extensions", b"connection", b"upgrade", b"content-length"]
)


@dataclass(frozen=True, slots=True)
class Handshake:
    """A handshake that may be accepted."""

    accept: bytes
    """The value of Sec-WebSocket-Accept."""
    subprotocols: list[str] = field(default_factory=list)
    deflate: Deflate | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A handshake that is none: the answer to it."""

    status: int
    reason: str
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


def is_websocket(request: Request) -> bool:
    """Whether the request asks for a WebSocket: its Upgrade names it (RFC 6455 section 4.2.1, item 3)."""
    return request.upgrade is not None and b"websocket" in list_members(request.upgrade)


def read_handshake(request: Request, *, compression: bool) -> Handshake | Refusal:
    """Judge a request that asks for a WebSocket (RFC 6455 section 4.2.1)."""
    if request.method != "GET" or request.has_body:
        return Refusal(400, "a WebSocket handshake is a GET request without a body")
    fields: dict[bytes, list[bytes]] = {}
    for name, value in request.headers:
        if name.startswith(b"sec-websocket-"):
            fields.setdefault(name, []).append(value)
    versions = fields.get(_VERSIONS, [])
    keys = fields.get(_KEY, [])
    if versions != [_VERSION]:
        if not versions:
            return Refusal(400, "no Sec-WebSocket-Version header")
        # RFC 6455 section 4.4; the Upgrade field is RFC 9110's, section 15.5.22
        headers = [(b"sec-websocket-version", _VERSION), (b"upgrade", b"websocket")]
        return Refusal(426, "only version 13 of WebSocket is spoken here", headers)
    if len(keys) != 1 or not _is_key(keys[0]):
        return Refusal(400, "no valid Sec-WebSocket-Key header")
    subprotocols = [part.strip(b" \t") for value in fields.get(_PROTOCOLS, []) for part in value.split(b",")]
    if not all(_TOKEN.fullmatch(name) for name in subprotocols if name):
        return Refusal(400, "invalid Sec-WebSocket-Protocol header")
    try:
        offers = parse_offers(value.decode("latin-1") for value in fields.get(_EXTENSIONS, []))
    except OfferError as error:
        return Refusal(400, str(error))
    return Handshake(
        accept=base64.b64encode(hashlib.sha1(keys[0] + _GUID, usedforsecurity=False).digest()),
        subprotocols=[name.decode("ascii") for name in subprotocols if name],
        deflate=negotiate(offers) if compression else None,
    )


def _is_key(value: bytes) -> bool:
    try:
        return len(base64.b64decode(value, validate=True)) == 16
    except binascii.Error:
        return False


def render_acceptance(handshake: Handshake, subprotocol: str | None, header_lines: bytes) -> bytes:
    """Render the answer that opens the WebSocket (RFC 6455 section 4.2.2). `header_lines` end in CRLF each."""
    lines = [
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ",
        handshake.accept,
        b"\r\n",
    ]
    if subprotocol is not None:
        lines += [b"sec-websocket-protocol: ", subprotocol.encode("ascii"), b"\r\n"]
    if handshake.deflate is not None:
        lines += [b"sec-websocket-extensions: ", handshake.deflate.render().encode("ascii"), b"\r\n"]
    return b"".join([*lines, header_lines, b"\r\n"])
