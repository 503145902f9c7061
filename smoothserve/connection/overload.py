"""Answers 503 in the application's place while it has as much in hand as it may (RFC 9110 section 15.6.4).

Stands in front of the application only where a bound is set: without one it costs nothing.
"""

import logging
import time
from collections.abc import Callable

from smoothserve.connection.fixed import FixedExchange
from smoothserve.protocol.events import Request
from smoothserve.protocol.exchange import Application, Exchange, ExchangeConnection
from smoothserve.protocol.response import DefaultHeaders

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
            return FixedExchange(connection, request, self._defaults, 503, _HEADERS, b"Service Unavailable\n")
        return self._application.exchange(connection, request)

    def _note(self) -> None:
        self._refused += 1
        now = self._clock()
        if now - self._reported_at >= REPORT_INTERVAL:
            self._error_log.warning("overloaded: requests answered with 503: %d", self._refused)
            self._reported_at = now
            self._refused = 0
