"""What a worker needs for a WSGI application. One with an ASGI application does not load it."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from smoothserve.connection.drain import Drain
from smoothserve.protocol.response import DefaultHeaders
from smoothserve.settings import Settings
from smoothserve.wsgi.application import WSGIApplication
from smoothserve.wsgi.forked import disarm

__all__ = ["disarm", "make_application"]


def make_application(
    app: Any,
    settings: Settings,
    loop: asyncio.AbstractEventLoop,
    defaults: DefaultHeaders,
    error_log: logging.Logger,
    drain: Drain,
    on_saturation: Callable[[], None],
) -> WSGIApplication:
    """Return the application behind WSGI."""
    return WSGIApplication(
        app,
        loop=loop,
        threads=settings.threads,
        defaults=defaults,
        root_path=settings.root_path,
        multiprocess=settings.workers > 1,
        error_log=error_log,
        on_saturation=on_saturation,
        extensions={"smoothserve.drain": drain.blocking_extension},
    )
