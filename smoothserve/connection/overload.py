"""Answers 503 in the application's place while it has as much in hand as it may (RFC 9110 section 15.6.4).

Stands in front of the application only where a bound is set: without one it costs nothing.
"""

import logging
import time
from collections.abc import Callable

from smoothserve.protocol.events import Request
from smoothserve.protocol.exchange import Application, Exchange, ExchangeConnection
from smoothserve.protocol.response import DefaultHeaders, Response

#: Seconds after which a client may ask again.
RETRY_AFTER = 1
#: Seconds between two lines in the log.
REPORT_INTERVAL = 10.0

_HEADERS = [(b"content-type", b"text/plain; charset=utf-8"), (b"retry-after", b"%d" % RETRY_AFTER)]


class Overload:
    """Implements `Application`: passes requests on unless `is_full` says that there are enough."""

    def __init__(
        self,
        application: Application,
        is_full: Callable[[], bool],
        *,
        defaults: DefaultHeaders,
        error_log: logging.Logger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._application = application
        self._is_full = is_full
        self._defaults = defaults
        self._error_log = error_log
        self._clock = clock
        self._refused = 0
        self._reported_at = -REPORT_INTERVAL

    @property
    def saturated(self) -> bool:
        """Whether the application can take no further request at once."""
        return self._application.saturated

    def exchange(self, connection: ExchangeConnection, request: Request) -> Exchange:
        """Make the exchange for a request."""
        if self._is_full():
            self._note()
            return RefusedExchange(connection, request, self._defaults)
        return self._application.exchange(connection, request)

    def _note(self) -> None:
        self._refused += 1
        now = self._clock()
        if now - self._reported_at >= REPORT_INTERVAL:
            self._error_log.warning("overloaded: requests answered with 503: %d", self._refused)
            self._reported_at = now
            self._refused = 0


class RefusedExchange:
    """Implements `Exchange`: one request that is answered with 503 and Retry-After."""

    def __init__(self, connection: ExchangeConnection, request: Request, defaults: DefaultHeaders) -> None:
        self.request = request
        self.response = Response(request.method, request.http_version, keep_alive=request.keep_alive)
        self.dropped = False
        self._connection = connection
        self._defaults = defaults

    def start(self) -> None:
        """Answer."""
        connection, response = self._connection, self.response
        if not connection.keep_alive_allowed():
            response.keep_alive = False
        response.start(503, _HEADERS, self._defaults)
        connection.write(response.data_to_send(b"Service Unavailable\n", more=False))
        connection.answer_finished(self)
        connection.call_returned(self)

    def data_received(self, data: bytes) -> None:
        """Do without the body."""

    def body_ended(self) -> None:
        """Do without the body."""

    def input_ended(self) -> None:
        """Nothing waits for it."""

    def client_left(self) -> None:
        """Nothing waits for it."""

    def writable_again(self) -> None:
        """Nothing waits for it."""

    def cancel(self) -> None:
        """Nothing is under way."""
