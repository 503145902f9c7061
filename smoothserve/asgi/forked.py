"""What becomes of calls in a process that the application has forked: none comes back into the server."""

from collections.abc import Callable
from typing import NoReturn

from smoothserve.asgi.http import ASGIExchange
from smoothserve.asgi.websocket import ASGIWebSocket


def disarm(end: Callable[[BaseException | None], NoReturn]) -> None:
    """Let whatever comes back from a call of the application go to `end`.

    The classes are changed, so that a call in a worker need not look whether it is still in one.
    """

    def end_well(_exchange: object) -> NoReturn:
        end(None)

    def end_badly(_exchange: object, error: BaseException) -> NoReturn:
        end(error)

    # A property wins over the attribute that instances have.
    setattr(ASGIExchange, "_answered", property(lambda _: False, lambda _, _value: None))  # noqa: B010
    for kind in (ASGIExchange, ASGIWebSocket):
        setattr(kind, "_call_ended", end_well)  # noqa: B010 - mypy would not have it otherwise
        setattr(kind, "_call_failed", end_badly)  # noqa: B010
