"""The seam between a connection and the exchange it carries: one request and its response.

`asgi` and `wsgi` implement `Exchange`, `connection` implements `ExchangeConnection`; neither imports the other. All
calls are made on the event loop's thread.
"""

from collections.abc import Callable
from typing import Any, Protocol

from smoothserve.protocol.events import Request
from smoothserve.protocol.response import Response
from smoothserve.protocol.tls import TLSInfo


class ExchangeConnection(Protocol):
    """What an exchange may ask of its connection."""

    scheme: str
    tls: TLSInfo | None
    """What is known of the TLS session that ends here, if one does."""
    client: tuple[str, int] | None
    """The client's address; None for a unix socket."""
    server: tuple[str, int | None] | None
    """The address the request came to; (path, None) for a unix socket."""
    writable: bool
    """False while the transport holds more than its high-water mark: wait for `Exchange.writable_again`."""

    def write(self, data: bytes) -> None:
        """Send bytes. After the client has gone they are dropped silently."""

    def send_continue(self) -> None:
        """Send `100 Continue` if the client waits for it and no part of the answer has been sent."""

    def pause_body(self) -> None:
        """Stop reading from the client: the exchange holds enough."""

    def resume_body(self) -> None:
        """Read on."""

    def keep_alive_allowed(self) -> bool:
        """Whether the connection may stay open after this answer (false while draining without handover)."""

    def answer_finished(self, exchange: "Exchange") -> None:
        """The last byte of the answer has been passed to `write`; the next request may begin.

        `exchange.response.keep_alive` says whether the connection stays. Called at most once, never after
        `Exchange.client_left`.
        """

    def answer_failed(self, exchange: "Exchange") -> None:
        """The answer cannot be completed: what was sent is cut off by closing the connection."""

    def request_timed_out(self, exchange: "Exchange") -> None:
        """Answer 504 and close; nothing of the answer has been sent. `Exchange.client_left` is called meanwhile."""

    def call_returned(self, exchange: "Exchange") -> None:
        """The application's call has returned: the request is no longer in hand. Called exactly once, always."""


class Exchange(Protocol):
    """One request in the application's hands."""

    request: Request
    response: Response
    dropped: bool
    """Set by the connection when the server itself cuts this exchange (drain deadline)."""

    def start(self) -> None:
        """Begin the application's call."""

    def data_received(self, data: bytes) -> None:
        """Take a part of the request body."""

    def body_ended(self) -> None:
        """Take note that the request body is complete. Need not be called for a `quick` request."""

    def input_ended(self) -> None:
        """Take note that the client has half-closed the connection some time ago and may have gone altogether.

        The answer can still be sent; an application that waits for the client's leaving is told of it.
        """

    def client_left(self) -> None:
        """Take note that the connection is gone: nothing can be sent any more."""

    def writable_again(self) -> None:
        """Take note that `ExchangeConnection.writable` is true again."""

    def cancel(self) -> None:
        """Cut the application's call: the drain deadline has passed. `call_returned` follows when it has ended."""

    @property
    def awaited(self) -> bool:
        """Whether the client has done its part and nothing of the answer has been sent to it."""

    def time_out(self, timeout: float) -> None:
        """Answer 504 in the application's place after `timeout` seconds, and end the call as far as possible."""


class Application(Protocol):
    """The loaded application behind its interface, one for each worker."""

    def exchange(self, connection: ExchangeConnection, request: Request) -> Exchange:
        """Make the exchange for a request; the connection calls `start` on it."""

    @property
    def saturated(self) -> bool:
        """Whether the application can take no further request at once: stop accepting connections."""


#: Called when `Application.saturated` may have changed.
SaturationListener = Callable[[], Any]
