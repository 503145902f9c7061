"""The seam between a WebSocket's connection and the application's call that it carries.

`asgi` implements `WebSocketExchange`, `connection` implements `WebSocketLink`; neither imports the other. All calls are
made on the event loop's thread.
"""

from typing import Protocol

from smoothserve.protocol.events import Request
from smoothserve.protocol.response import Response
from smoothserve.protocol.tls import TLSInfo

#: The reason of the disconnect that asks a call to make room for its successor in another process.
HANDOVER_REASON = "smoothserve.handover"


class WebSocketLink(Protocol):
    """What an exchange may ask of its connection."""

    scheme: str
    """Of the handshake: `http` or `https`."""
    tls: TLSInfo | None
    """What is known of the TLS session that ends here, if one does."""
    client: tuple[str, int] | None
    server: tuple[str, int | None] | None
    writable: bool
    """False while the transport holds more than its high-water mark: wait for `WebSocketExchange.writable_again`."""
    request: Request
    """The handshake's."""
    subprotocols: list[str]
    """What the client offers."""

    def accept(self, subprotocol: str | None, header_lines: bytes) -> None:
        """Open the WebSocket. `header_lines` are rendered, each with its CRLF."""

    def deny(self, data: bytes, response: Response) -> None:
        """Send a part of an HTTP response in the place of an acceptance; after the last one the connection closes."""

    def send_text(self, text: str) -> None:
        """Send a text message. Raise `UnicodeEncodeError` for lone surrogates."""

    def send_bytes(self, data: bytes) -> None:
        """Send a binary message."""

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake; `WebSocketExchange.disconnected` follows."""

    def room(self) -> None:
        """Take note that an exchange that was full has room again."""

    def application_waits(self) -> None:
        """Take note that a watched exchange waits in `receive()`, and everything that came has been delivered."""

    def call_returned(self, exchange: "WebSocketExchange") -> None:
        """The application's call has returned. Called exactly once, always."""


class WebSocketExchange(Protocol):
    """One application call for a WebSocket."""

    dropped: bool
    """Set by the connection when the server itself cuts this call (drain deadline)."""
    watched: bool
    """Whether the connection wants `application_waits`."""

    @property
    def idle(self) -> bool:
        """Whether the application waits in `receive()` and nothing is undelivered."""

    @property
    def untouched(self) -> bool:
        """Whether no message has been delivered since the application last waited, so that none is being worked on."""

    def start(self) -> None:
        """Begin the application's call."""

    def message_received(self, message: str | bytes) -> bool:
        """Take a message. Return whether no further one should be given until `WebSocketLink.room`."""

    def disconnected(self, code: int, reason: str) -> None:
        """Take note that nothing more comes and nothing can be sent. Only the first time counts."""

    def leave(self) -> None:
        """Ask the call to end, because its successor is to go on elsewhere. What it sends still goes out."""

    def writable_again(self) -> None:
        """Take note that `WebSocketLink.writable` is true again."""

    def cancel(self) -> None:
        """Cut the application's call: the drain deadline has passed."""

    @property
    def awaited(self) -> bool:
        """Whether a bound on requests concerns it: never."""

    def time_out(self, timeout: float) -> None:
        """Go on: a WebSocket may take any time."""


class WebSocketApplication(Protocol):
    """An application that speaks WebSocket."""

    def websocket(
        self, link: WebSocketLink, handover: "HandoverControls | None", *, resumed: bool
    ) -> WebSocketExchange:
        """Make the exchange for a handshake, or (`resumed`) for an open WebSocket of another process or call."""


class HandoverControls(Protocol):
    """What an application may say about its WebSocket's handover. From any thread."""

    state: bytes | None
    """What the last call has attached."""

    def opt_in(self) -> None:
        """Let the WebSocket be handed over."""

    def opt_out(self) -> None:
        """Keep it in this process."""

    def attach(self, state: bytes) -> None:
        """Let it be handed over, with this state for the next call. Raise `ValueError` beyond the limit."""
