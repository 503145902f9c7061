"""What becomes of calls in a process that the application has forked: none comes back into the server."""

from collections.abc import Callable
from typing import NoReturn

from smoothserve.wsgi.call import Call
from smoothserve.wsgi.output import Output
from smoothserve.wsgi.pool import ThreadPool


def disarm(end: Callable[[BaseException | None], NoReturn]) -> None:
    """Let whatever comes back from a call of the application go to `end`.

    The classes are changed, so that a call in a worker need not look whether it is still in one. An answer may
    wait in a temporary file, which the child shares: nothing is put there any more.
    """

    def end_well(*_: object) -> NoReturn:
        end(None)

    def end_badly(_call: object, error: BaseException, _text: str) -> NoReturn:
        end(error)

    for owner, name in ((Output, "put"), (Output, "put_file"), (ThreadPool, "_request_fetch"), (Call, "_log_error")):
        setattr(owner, name, end_well)
    setattr(Call, "_log_exception", end_badly)  # noqa: B010 - mypy would not have it otherwise
    # A property wins over the attribute that the pool has: whatever is on its way, a fetch is asked for.
    setattr(ThreadPool, "_fetching", property(lambda _: False, lambda _, _value: None))  # noqa: B010
