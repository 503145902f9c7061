"""Answers health checks in the application's place, before any limit: is this server to get requests, does it live.

Stands in front of the application only where a path for it is set: without one it costs nothing.
"""

from collections.abc import Callable

from smoothserve.connection.fixed import FixedExchange
from smoothserve.protocol.events import Request
from smoothserve.protocol.exchange import Application, Exchange, ExchangeConnection
from smoothserve.protocol.response import DefaultHeaders

_HEADERS = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]


class Health:
    """Implements `Application`: `health_path` is 200 until `is_stopping`, then 503; `live_path` always 200."""

    def __init__(
        self,
        application: Application,
        is_stopping: Callable[[], bool],
        *,
        health_path: str | None,
        live_path: str | None,
        defaults: DefaultHeaders,
    ) -> None:
        self._application = application
        self._is_stopping = is_stopping
        self._health_path = health_path.encode() if health_path else None
        self._live_path = live_path.encode() if live_path else None
        self._paths = {path for path in (self._health_path, self._live_path) if path}
        self._defaults = defaults

    @property
    def saturated(self) -> bool:
        """Whether the application can take no further request at once."""
        return self._application.saturated

    def exchange(self, connection: ExchangeConnection, request: Request) -> Exchange:
        """Make the exchange for a request."""
        path = request.raw_path
        if path not in self._paths:
            return self._application.exchange(connection, request)
        if path == self._health_path and self._is_stopping():
            return FixedExchange(connection, request, self._defaults, 503, _HEADERS, b"stopping\n")
        return FixedExchange(connection, request, self._defaults, 200, _HEADERS, b"ok\n")
