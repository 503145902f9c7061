"""What the application can know of a drain: the extension `smoothserve.drain`, one for all connections of a worker.

Plain functions in a dict: they survive a deepcopy of the scope and need nothing of ours to be imported.
"""

import asyncio
import threading
import time
from typing import Any


class Drain:
    """Whether the worker drains, and until when."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._for_threads = threading.Event()
        self.deadline: float | None = None
        """When what is left is cut, in monotonic seconds; None while the worker does not drain."""
        self.extension = self._make_extension()
        """For an ASGI scope: `is_set()` (from any thread), `wait()` (awaitable), `deadline()`."""
        self.blocking_extension = {**self.extension, "wait": self._for_threads.wait}
        """For a WSGI environ: as above, but `wait(timeout=None)` blocks, and returns whether the worker drains."""

    def begin(self, timeout: float | None) -> None:
        """Take note that the worker drains; what it has in hand is cut in `timeout` seconds (None: unknown)."""
        if timeout is not None:
            due = time.monotonic() + timeout
            self.deadline = due if self.deadline is None else min(due, self.deadline)
        self._for_threads.set()
        self._event.set()

    def end(self) -> None:
        """Take note that the worker serves on."""
        self.deadline = None
        self._for_threads.clear()
        self._event.clear()

    def _make_extension(self) -> dict[str, Any]:
        event, for_threads = self._event, self._for_threads

        def is_set() -> bool:
            """Whether the worker drains: end streams and long polls soon. From any thread."""
            return for_threads.is_set()

        async def wait() -> None:
            """Wait until the worker drains."""
            await event.wait()

        def deadline() -> float | None:
            """Return when the worker cuts what is left, as `time.monotonic()` counts; None while it does not drain."""
            return self.deadline

        return {"is_set": is_set, "wait": wait, "deadline": deadline}
