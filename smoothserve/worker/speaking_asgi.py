"""What a worker needs for an ASGI application. One with a WSGI application does not load it."""

import asyncio
import logging
from typing import Any, cast

from smoothserve.asgi.forked import disarm
from smoothserve.asgi.http import ASGIApplication
from smoothserve.asgi.lifespan import Lifespan
from smoothserve.asgi.websocket import ASGIWebSockets
from smoothserve.connection.drain import Drain
from smoothserve.connection.websocket_options import HandoverPolicy, WebSocketOptions
from smoothserve.errors import BootError
from smoothserve.protocol.response import DefaultHeaders
from smoothserve.protocol.websocket.codecs import codec_factory
from smoothserve.settings import Settings

__all__ = ["disarm", "make_application", "make_websockets"]


def make_application(
    app: Any,
    settings: Settings,
    loop: asyncio.AbstractEventLoop,
    defaults: DefaultHeaders,
    error_log: logging.Logger,
    drain: Drain,
    slot: int,
) -> tuple[ASGIApplication, Lifespan]:
    """Return the application behind ASGI, and its lifespan."""
    lifespan = Lifespan(app, cast("Any", settings.lifespan), error_log, speaks=slot == 0)
    application = ASGIApplication(
        app,
        loop=loop,
        defaults=defaults,
        error_log=error_log,
        state=lifespan.state,
        spec_version=settings.asgi_spec_version,
        root_path=settings.root_path,
        extensions={"smoothserve.drain": drain.extension},
    )
    return application, lifespan


def make_websockets(settings: Settings, application: ASGIApplication) -> WebSocketOptions | None:
    """Return how WebSockets are served; None for not at all. Raise `BootError`."""
    try:
        make_codec = codec_factory(settings.websocket)
    except ImportError as error:
        raise BootError(
            f"--websocket {settings.websocket}: {error.name} is not installed for this interpreter: pip install it"
        ) from None
    if make_codec is None:
        return None
    return WebSocketOptions(
        make_codec=make_codec,
        application=ASGIWebSockets(application, max_queue=settings.websocket_max_queue),
        max_message_bytes=settings.websocket_max_message_bytes,
        compression=settings.websocket_compression,
        ping_interval=settings.websocket_ping_interval,
        ping_timeout=settings.websocket_ping_timeout,
        drain_timeout=settings.websocket_drain_timeout,
        close_spread=settings.websocket_close_spread,
        handover=HandoverPolicy.parse(
            settings.websocket_handover,
            quiet=settings.websocket_handover_quiet,
            timeout=settings.websocket_handover_timeout,
        ),
    )
