"""Why a worker asks to be replaced: looked at now and then, not for each request. The master decides what follows."""

import contextlib
import os
import random
import time
from collections.abc import Callable

from smoothserve.words import count

#: Says why the worker should be replaced, for the log; nothing: it should not.
Cause = Callable[[], str]
#: Of a lifetime and of a bound on memory: up to this part more or less, drawn for each worker.
SPREAD = 0.1
#: Seconds between two looks at the memory.
MEMORY_INTERVAL = 5.0


def request_limit(limit: int, jitter: int, served: Callable[[], int]) -> Cause:
    """Return the cause "it has served so many requests": `limit` and, drawn once, up to `jitter` more. 0: never.

    The jitter keeps workers that share their load evenly from reaching their numbers all at once.
    """
    number = limit + random.randint(0, jitter)  # noqa: S311 - nothing secret is drawn

    def cause() -> str:
        requests = served()
        return f"{count(requests, 'request')} (--max-requests)" if limit and requests >= number else ""

    return cause


def lifetime_limit(
    limit: float, clock: Callable[[], float] = time.monotonic, draw: Callable[[], float] = random.random
) -> Cause:
    """Return the cause "it has lived so long": `limit` seconds and, drawn once, up to a tenth more. 0: never."""
    began = clock()
    due = began + limit * (1.0 + SPREAD * draw())

    def cause() -> str:
        now = clock()
        return f"{now - began:.0f} s of life (--max-worker-lifetime)" if limit and now >= due else ""

    return cause


def memory_limit(
    limit: int,
    resident: Callable[[], int] | None = None,
    clock: Callable[[], float] = time.monotonic,
    draw: Callable[[], float] = random.random,
) -> Cause:
    """Return the cause "it has grown so large": `limit` MiB resident, less up to a tenth, drawn once. 0: never.

    Less, so that the bound holds; looked at every few seconds. The worker is never killed for it.
    """
    measure = resident or resident_bytes
    bound = limit * 1048576 * (1.0 - SPREAD * draw())
    next_look = clock()

    def cause() -> str:
        nonlocal next_look
        now = clock()
        if not limit or now < next_look:
            return ""
        next_look = now + MEMORY_INTERVAL
        size = measure()
        return f"{size / 1048576:.0f} MiB resident (--max-memory)" if size >= bound else ""

    return cause


def timeout_limit(timed_out: Callable[[], int]) -> Cause:
    """Return the cause "a request has timed out": a thread cannot be ended, only its worker can be replaced."""

    def cause() -> str:
        return "a request timed out, its thread may be stuck (--request-timeout)" if timed_out() else ""

    return cause


def resident_bytes() -> int:
    """Return how much memory this process has resident (Linux; elsewhere the most that it ever had)."""
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
