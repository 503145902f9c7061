"""What a WebSocket codec yields, and the interface that every one has.

A codec serves an established connection, on the server's side: bytes of the client in, events out; messages of ours
in, bytes to write out. It does no I/O and reads no further ahead than it is asked to.
"""

from enum import IntEnum
from typing import Protocol


class CloseCode(IntEnum):
    """Close codes that the server itself uses (RFC 6455 section 7.4.1; 1012 of the IANA registry)."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    NO_STATUS = 1005
    ABNORMAL = 1006
    INVALID_DATA = 1007
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012


#: Codes that a close frame may carry, below 3000 (RFC 6455 section 7.4 and the IANA registry).
DEFINED_CODES = frozenset([1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013])
#: The longest reason of a close frame, in bytes (RFC 6455 section 5.5).
MAX_REASON_BYTES = 123


class Ping:
    """A ping came: a pong with the same payload is due (RFC 6455 section 5.5.2)."""

    __slots__ = ("payload",)

    def __init__(self, payload: bytes) -> None:
        self.payload = payload


class Pong:
    """A pong came."""

    __slots__ = ("payload",)

    def __init__(self, payload: bytes) -> None:
        self.payload = payload


class Closed:
    """A close frame came; nothing follows. `code` is 1005 if it carried none."""

    __slots__ = ("code", "reason")

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason


class Failed:
    """The client broke the protocol, or a limit: close with `code`. Nothing follows."""

    __slots__ = ("code", "reason")

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason


#: `str` is a whole text message, `bytes` a whole binary one.
Event = str | bytes | Ping | Pong | Closed | Failed


class WebSocketCodec(Protocol):
    """One connection's codec.

    `receive_data` and `next_event` never raise: what is wrong with the bytes becomes a `Failed` event. After that, or
    after `Closed`, no event comes any more.
    """

    @property
    def pending(self) -> bool:
        """Whether there are bytes that `next_event` has not looked at since the last event."""

    def receive_data(self, data: bytes) -> None:
        """Take bytes of the connection, without looking at them yet."""

    def next_event(self) -> Event | None:
        """Return the next event, None if more bytes are needed for it."""

    def leftover(self) -> bytes:
        """Return bytes from which a fresh codec goes on where this one is.

        Not always the bytes that came: a message of which a part has come is rendered again.
        """

    def window(self) -> bytes:
        """Return the end of what was inflated so far, for a fresh codec to go on with; empty without compression."""

    def render_text(self, text: str) -> bytes:
        """Return the frame of a text message. Raise `UnicodeEncodeError` for lone surrogates."""

    def render_bytes(self, data: bytes) -> bytes:
        """Return the frame of a binary message."""

    def render_ping(self, payload: bytes) -> bytes:
        """Return a ping frame."""

    def render_pong(self, payload: bytes) -> bytes:
        """Return a pong frame."""

    def render_close(self, code: int, reason: str) -> bytes:
        """Return a close frame. Without a code for 1005 and 1006; a long reason is cut."""


def close_payload(code: int, reason: str) -> bytes:
    """Return what a close frame carries (RFC 6455 section 5.5.1)."""
    if code in (CloseCode.NO_STATUS, CloseCode.ABNORMAL):
        return b""
    text = reason.encode("utf-8", "replace")
    if len(text) > MAX_REASON_BYTES:
        text = text[:MAX_REASON_BYTES].decode("utf-8", "ignore").encode()
    return code.to_bytes(2, "big") + text


def parse_close(payload: bytes) -> Closed | Failed:
    """Read what a close frame carries (RFC 6455 sections 5.5.1 and 7.4)."""
    if not payload:
        return Closed(CloseCode.NO_STATUS, "")
    if len(payload) == 1:
        return Failed(CloseCode.PROTOCOL_ERROR, "a close frame of one byte")
    code = int.from_bytes(payload[:2], "big")
    if code not in DEFINED_CODES and not 3000 <= code <= 4999:
        return Failed(CloseCode.PROTOCOL_ERROR, "a close code that may not be sent")
    try:
        return Closed(code, payload[2:].decode("utf-8"))
    except UnicodeDecodeError:
        return Failed(CloseCode.INVALID_DATA, "the reason of a close frame is not UTF-8")


def may_close_with(code: int) -> bool:
    """Whether an application may close with this code."""
    return code in DEFINED_CODES or 3000 <= code <= 4999 or code == 1014
