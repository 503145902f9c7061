"""An even spread of connections over the workers that accept on the same listeners.

The kernel wakes all of them, and whoever comes first would take a burst whole. A worker that holds clearly more than
its share steps back for a moment, so that a sibling with less comes first. A sibling that does not come then is
not waited for again until it has accepted something, or for half a second.
"""

from smoothserve.control.scoreboard import ROW_WORDS, Counter, Scoreboard

#: Seconds that a worker with more than its share leaves new connections to the others.
STEP_BACK = 0.003
#: How often in a row connections are left to siblings of which none comes.
PATIENCE = 3
#: More than the share by this many connections and by an eighth of it is clearly more.
SLACK = 2
#: Milliseconds without progress after which a sibling does not count: it is gone, or blocked.
STALE = 2000


_CONNECTIONS = int(Counter.CONNECTIONS)
_ACCEPTING = int(Counter.ACCEPTING)
_ACCEPTED = int(Counter.ACCEPTED)


class Balance:
    """Compares the worker's connections with its siblings', by their rows of the scoreboard."""

    def __init__(self, scoreboard: Scoreboard, own: int) -> None:
        self._words = scoreboard.words
        self._starts = [row * ROW_WORDS for row in range(scoreboard.rows) if row != own]
        self._siblings: list[int] = []
        self._distrusted: dict[int, int] = {}
        """Siblings that did not come, with what they had accepted by then."""
        self._waited_for: dict[int, int] = {}
        self._waits = 0

    def look_around(self, now: int) -> None:
        """See who the siblings are. `now` is in milliseconds of the monotonic clock; called about twice a second."""
        words = self._words
        self._siblings = [start for start in self._starts if now - words[start + Counter.PROGRESS] < STALE]
        self._distrusted.clear()

    @property
    def alone(self) -> bool:
        """Whether there are no siblings. One that has no thread free, and so does not accept, is one."""
        return not self._siblings

    def ahead(self, connections: int) -> bool:
        """Whether a worker with so many connections has clearly more than its share."""
        words = self._words
        distrusted = self._distrusted
        total, workers = connections, 1
        for start in self._siblings:
            if words[start + _ACCEPTING] and distrusted.get(start) != words[start + _ACCEPTED]:
                total += words[start + _CONNECTIONS]
                workers += 1
        share = total / workers
        return connections > share + SLACK + share / 8

    def give_way(self) -> None:
        """Take note that connections wait and are left to the siblings. If none of them comes, it is not in vain."""
        words = self._words
        accepted = {start: words[start + _ACCEPTED] for start in self._siblings}
        if accepted != self._waited_for:
            self._waited_for, self._waits = accepted, 0
        self._waits += 1
        if self._waits > PATIENCE:
            # Their loops are blocked, or this machine has no time for them: connections must not wait for that.
            self._distrusted, self._waits = accepted, 0
