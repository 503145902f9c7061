"""The loaded WSGI application of a worker, and what all its exchanges share."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any
from wsgiref.types import WSGIApplication as WSGICallable

from smoothserve.protocol.events import Request
from smoothserve.protocol.exchange import ExchangeConnection
from smoothserve.protocol.response import DefaultHeaders
from smoothserve.wsgi.environ import EnvironBuilder
from smoothserve.wsgi.exchange import WSGIExchange
from smoothserve.wsgi.pool import ThreadPool
from smoothserve.wsgi.streams import ErrorLogStream, FileWrapper

#: Bytes of a request body that are kept in memory; a larger one goes to a temporary file.
SPOOL_BYTES = 1024 * 1024
#: Bytes of an answer that wait on disk for a slow client; beyond them the application waits.
DISK_BYTES = 1024 * 1024 * 1024
#: Seconds between two looks at the threads' stacks.
STACKS_INTERVAL = 1.0
#: Seconds that a look at a call comes after the moment it is for: clocks differ a little.
_A_MOMENT = 0.01


class WSGIApplication:
    """Implements `Application`: makes an exchange for each request, run by a pool of threads."""

    def __init__(
        self,
        app: WSGICallable,
        *,
        loop: asyncio.AbstractEventLoop,
        threads: int,
        defaults: DefaultHeaders,
        error_log: logging.Logger,
        multiprocess: bool,
        root_path: str = "",
        on_saturation: Callable[[], Any] | None = None,
        spool_bytes: int = SPOOL_BYTES,
        disk_bytes: int = DISK_BYTES,
        extensions: dict[str, Any] | None = None,
    ) -> None:
        self.app = app
        self.loop = loop
        self.defaults = defaults
        self.error_log = error_log
        self.spool_bytes = spool_bytes
        self.disk_bytes = disk_bytes
        self.timed_out = 0
        """Calls that took as long as a request may, and go on: their threads may be stuck."""
        self._next_stacks = 0.0
        self.pool = ThreadPool(loop, threads, log=error_log, on_saturation=on_saturation)
        self.environs = EnvironBuilder(
            errors=ErrorLogStream(error_log),
            file_wrapper=FileWrapper,
            multithread=threads > 1,
            multiprocess=multiprocess,
            root_path=root_path,
            extensions=extensions,
        )

    def exchange(self, connection: ExchangeConnection, request: Request) -> WSGIExchange:
        """Make the exchange for a request."""
        return WSGIExchange(self, connection, request)

    @property
    def saturated(self) -> bool:
        """Whether all threads are in calls that take longer than a moment."""
        return self.pool.saturated

    def note_timed_out(self, exchange: WSGIExchange, timeout: float) -> None:
        """Log that a request has no answer yet after `timeout` seconds, and where the threads are."""
        text = f"no answer within {timeout:g} s (--request-timeout): answered with 504"
        if self.pool.seconds_in_call(exchange) is None:
            text += ", it has waited for a thread"
        now = self.loop.time()
        if now >= self._next_stacks:  # what times out together waits for the same threads
            self._next_stacks = now + STACKS_INTERVAL
            text += f", the threads are here:\n{self.pool.render_stacks()}"
        request = exchange.request
        self.error_log.error("%s %s: %s", request.method, request.target.decode("latin-1"), text)
        self._count_if_stuck(exchange, timeout)

    def _count_if_stuck(self, exchange: WSGIExchange, timeout: float) -> None:
        """Count a call that its thread has been in for the whole time; one that began later has its time, too."""
        seconds = self.pool.seconds_in_call(exchange)
        if seconds is None:
            return
        if seconds >= timeout:
            self.timed_out += 1
        else:
            self.loop.call_later(timeout - seconds + _A_MOMENT, self._count_if_stuck, exchange, timeout)

    def start(self) -> None:
        """Start the threads."""
        self.pool.start()

    async def stop(self, timeout: float) -> None:
        """Wait for the calls in hand and the threads' end, at most `timeout` seconds; a stuck thread is left behind."""
        await self.pool.stop(timeout)

    async def startup(self) -> None:
        """Start, as a worker's lifecycle wants it."""
        self.start()

    async def shutdown(self, timeout: float) -> None:
        """Stop, as a worker's lifecycle wants it."""
        await self.stop(timeout)
