"""Requests that an application takes too long to answer (`--request-timeout`).

One look at what is in hand, with each sweep; there is no timer for a request, and nothing is done for one that is
answered before the next sweep. A call's time counts from the first look that has found it.
"""

from collections.abc import Collection
from typing import Protocol


class Answering(Protocol):
    """A call that may owe its client an answer."""

    @property
    def awaited(self) -> bool:
        """Whether the client has done its part and nothing of the answer has been sent to it."""

    def time_out(self, timeout: float) -> None:
        """Answer 504 in the application's place, and end the call as far as it can be ended."""


class Overdue:
    """Finds the calls that are awaited for `timeout` seconds."""

    def __init__(self, timeout: float, calls: Collection[Answering]) -> None:
        self._timeout = timeout
        self._calls = calls
        self._since: dict[Answering, float] = {}

    def look(self, now: float) -> None:
        """Time out what is due."""
        before = self._since
        self._since = {call: before.get(call, now) for call in self._calls if call.awaited}
        for call in [call for call, began in self._since.items() if now - began >= self._timeout]:
            call.time_out(self._timeout)
