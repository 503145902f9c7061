"""How a worker serves WebSockets: plain values, which ones may be handed over, and what is said of one that is."""

import base64
import fnmatch
from dataclasses import dataclass
from typing import Any

from smoothserve.connection.past import NO_PAST, Past
from smoothserve.protocol.events import Request
from smoothserve.protocol.websocket.codecs import CodecFactory
from smoothserve.protocol.websocket.deflate import Deflate
from smoothserve.protocol.websocket.exchange import WebSocketApplication
from smoothserve.protocol.websocket.handshake import Handshake

#: Seconds for the client to answer our close frame.
CLOSE_TIMEOUT = 5.0
#: The most that an application may attach.
MAX_STATE_BYTES = 65536


@dataclass(frozen=True, slots=True)
class HandoverPolicy:
    """Which WebSockets may be handed over (`--websocket-handover`)."""

    mode: str = "attached"
    """`off`, `attached` (those whose application opts in) or `reenter` (all whose path matches)."""
    path_glob: str = "*"
    quiet: float = 0.05
    """Seconds without a message before the move."""
    timeout: float = 5.0
    """Seconds that the old call may take to return."""

    @classmethod
    def parse(cls, text: str, *, quiet: float, timeout: float) -> "HandoverPolicy":
        """Make the policy of a setting's text, `reenter:/path/*` among them."""
        mode, _, path_glob = text.partition(":")
        return cls(mode, path_glob or "*", quiet, timeout)

    def opts_in(self, path: str) -> bool:
        """Whether the WebSockets of a path may be handed over without their application's word."""
        return self.mode == "reenter" and fnmatch.fnmatchcase(path, self.path_glob)


@dataclass(frozen=True, slots=True)
class WebSocketOptions:
    """How a worker serves WebSockets. Durations in seconds; a ping interval or time-out of 0 is none."""

    make_codec: CodecFactory
    application: WebSocketApplication
    max_message_bytes: int = 16 * 1024 * 1024
    compression: bool = True
    ping_interval: float = 20.0
    ping_timeout: float = 20.0
    close_timeout: float = CLOSE_TIMEOUT
    drain_timeout: float = 30.0
    close_spread: float = 10.0
    handover: HandoverPolicy = HandoverPolicy()


@dataclass(frozen=True, slots=True)
class WebSocketResumption:
    """How an adopted WebSocket goes on where its last worker left it."""

    request: Request
    handshake: Handshake
    scheme: str = "http"
    subprotocol: str | None = None
    leftover: bytes = b""
    window: bytes = b""
    state: bytes | None = None
    opted_in: bool | None = None
    past: Past = NO_PAST

    @classmethod
    def from_meta(cls, meta: dict[str, Any], leftover: bytes) -> "WebSocketResumption":
        """Read what `WebSocketConnection.describe` has said. Raise `KeyError`, `TypeError` or `ValueError`."""
        deflate = meta["deflate"]
        state = meta["state"]
        opted_in = meta["opted_in"]
        if not (opted_in is None or isinstance(opted_in, bool)):
            raise TypeError("opted_in")
        request = Request(
            "GET",
            _encoded(meta["target"]),
            _encoded(meta["raw_path"]),
            _encoded(meta["query_string"]),
            "1.1",
            [(_encoded(name), _encoded(value)) for name, value in meta["headers"]],
            keep_alive=True,
            upgrade=b"websocket",
        )
        request.prefix = None if meta.get("prefix") is None else str(meta["prefix"])
        return cls(
            request=request,
            handshake=Handshake(
                accept=b"",
                subprotocols=[str(name) for name in meta["subprotocols"]],
                deflate=None if deflate is None else Deflate.from_dict(deflate),
            ),
            scheme=str(meta["scheme"]),
            subprotocol=None if meta["subprotocol"] is None else str(meta["subprotocol"]),
            leftover=leftover,
            window=base64.b64decode(meta["window"]),
            state=None if state is None else base64.b64decode(state),
            opted_in=opted_in,
            past=Past.parse(meta.get("past")),
        )


def _encoded(text: object) -> bytes:
    if not isinstance(text, str):
        raise TypeError("text is expected")
    return text.encode("latin-1")
