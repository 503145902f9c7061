"""The WebSocket codecs by their names."""

from typing import Protocol

from smoothserve.protocol.websocket.deflate import Deflate
from smoothserve.protocol.websocket.events import WebSocketCodec

CODECS = ("auto", "fast", "wsproto", "none")


class CodecFactory(Protocol):
    """Makes the codec of one connection.

    `remembers`: the connection may be handed over, so keep what a compressed one needs for that; `window` is what
    another codec has remembered.
    """

    def __call__(
        self,
        max_message_bytes: int,
        deflate: Deflate | None = None,
        *,
        remembers: bool = False,
        window: bytes = b"",
    ) -> WebSocketCodec:
        """Make a codec."""


def codec_factory(name: str) -> CodecFactory | None:
    """Return the codec of that name, None for `none`. `auto` is the fast one, which needs no library.

    Raise `ImportError` if its library is missing, `ValueError` for a name that is none of `CODECS`.
    """
    if name in ("auto", "fast"):
        from smoothserve.protocol.websocket.fast_codec import FastCodec

        return FastCodec
    if name == "wsproto":
        from smoothserve.protocol.websocket.wsproto_codec import WsprotoCodec

        return WsprotoCodec
    if name == "none":
        return None
    raise ValueError(f"no WebSocket codec is called {name!r}: choose from {', '.join(CODECS)}")
