"""What has been counted: the scoreboard's rows of workers that live, and the totals of those that are gone."""

from smoothserve.control.measures import WORDS
from smoothserve.control.scoreboard import Counter, Scoreboard

#: More rows than workers can be: slots times their successors and retiring ones.
ROWS = 1024
#: Counters that go on being true after a worker is gone.
LASTING = (
    Counter.REQUESTS,
    Counter.DROPPED,
    Counter.HANDED_OVER,
    Counter.WEBSOCKETS_CARRIED,
    Counter.ACCEPTED,
    Counter.DROPPED_AT_DRAIN,
    Counter.DROPPED_AT_STOP,
)


class Tally:
    """Gives rows to workers and adds up what they counted."""

    def __init__(self, rows: int = ROWS) -> None:
        self.scoreboard = Scoreboard.create(rows)
        self._free = list(range(rows - 1, -1, -1))
        self._used: set[int] = set()
        self._gone = dict.fromkeys(LASTING, 0)
        self._measured = [0] * WORDS
        self.dropped_by_death = 0
        """Requests that workers had in hand when they died."""

    def take_row(self) -> int | None:
        """Return a row, all zero, for a new worker. None: there is none left."""
        if not self._free:
            return None
        row = self._free.pop()
        self.scoreboard.clear(row)
        self._used.add(row)
        return row

    def settle(self, row: int, *, clean: bool) -> int:
        """Add a worker's numbers to the totals and free its row; return how many requests it dropped.

        Not `clean`: it died, and what it had not answered is lost with it.
        """
        words = self.scoreboard.row(row)
        lost = 0 if clean else max(0, words[Counter.UNANSWERED] + words[Counter.UNREAD])
        dropped = words[Counter.DROPPED] + lost
        self.dropped_by_death += lost
        for counter in LASTING:
            self._gone[counter] += dropped if counter is Counter.DROPPED else words[counter]
        self._measured = self._with_measures_of(row, self._measured)
        self._used.discard(row)
        self._free.append(row)
        return dropped

    def total(self, counter: Counter) -> int:
        """Return a counter's sum over all workers that ever were. Only for `LASTING` ones."""
        return self._gone[counter] + sum(self.scoreboard.row(row)[counter] for row in self._used)

    def measured(self) -> list[int]:
        """Return the sums of what all workers that ever were have measured."""
        sums = self._measured
        for row in self._used:
            sums = self._with_measures_of(row, sums)
        return sums

    def dropped_by_reason(self) -> dict[str, int]:
        """Return why requests were dropped: together they are all of `Counter.DROPPED`."""
        return {
            "drain-timeout": self.total(Counter.DROPPED_AT_DRAIN),
            "stop-timeout": self.total(Counter.DROPPED_AT_STOP),
            "worker-died": self.dropped_by_death,
        }

    def _with_measures_of(self, row: int, sums: list[int]) -> list[int]:
        return [one + other for one, other in zip(sums, self.scoreboard.measures(row), strict=True)]
