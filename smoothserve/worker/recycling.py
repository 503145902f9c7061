"""Why a worker asks to be replaced: looked at now and then, not for each request. The master decides what follows."""

import random
from collections.abc import Callable

#: Says why the worker should be replaced, for the log; nothing: it should not.
Cause = Callable[[], str]


def request_limit(limit: int, jitter: int, served: Callable[[], int]) -> Cause:
    """Return the cause "it has served so many requests": `limit` and, drawn once, up to `jitter` more. 0: never.

    The jitter keeps workers that share their load evenly from reaching their numbers all at once.
    """
    number = limit + random.randint(0, jitter)  # noqa: S311 - nothing secret is drawn

    def cause() -> str:
        requests = served()
        return f"{requests} requests (--max-requests)" if limit and requests >= number else ""

    return cause
