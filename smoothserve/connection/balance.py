"""An even spread of connections over the workers that accept on the same listeners.

The kernel wakes all of them, and whoever comes first would take a burst whole. A worker that holds clearly more than
its share steps back for a moment, so that a sibling with less comes first; it never stays away for longer than that.
"""

from smoothserve.control.scoreboard import ROW_WORDS, Counter, Scoreboard

#: Seconds that a worker with more than its share leaves new connections to the others.
STEP_BACK = 0.003
#: More than the share by this many connections and by an eighth of it is clearly more.
SLACK = 2
#: Milliseconds without progress after which a sibling does not count: it is gone, or blocked.
STALE = 2000


_CONNECTIONS = int(Counter.CONNECTIONS)
_IN_HAND = int(Counter.IN_HAND)


class Balance:
    """Compares the worker's connections with its siblings', by their rows of the scoreboard.

    `capacity` is how many calls a worker can have in hand at a time (WSGI: its threads); None is without limit.
    """

    def __init__(self, scoreboard: Scoreboard, own: int, capacity: int | None = None) -> None:
        self._words = scoreboard.words
        self._capacity = capacity
        self._starts = [row * ROW_WORDS for row in range(scoreboard.rows) if row != own]
        self._siblings: list[int] = []

    def look_around(self, now: int) -> None:
        """See which siblings accept. `now` is in milliseconds of the monotonic clock; called about twice a second."""
        words = self._words
        self._siblings = [
            start
            for start in self._starts
            if words[start + Counter.ACCEPTING] and now - words[start + Counter.PROGRESS] < STALE
        ]

    def ahead(self, connections: int) -> bool:
        """Whether a worker with so many connections has clearly more than its share."""
        siblings = self._siblings
        if not siblings:
            return False
        words = self._words
        share = (connections + sum([words[start + _CONNECTIONS] for start in siblings])) / (len(siblings) + 1)
        return connections > share + SLACK + share / 8

    def crowded(self, in_hand: int) -> bool:
        """Whether a worker with so many calls in hand, or about to be, has no thread free while a sibling has one.

        Where nobody has, whether a sibling has clearly fewer calls waiting.
        """
        capacity = self._capacity
        if capacity is None or in_hand < capacity or not self._siblings:
            return False
        words = self._words
        least = min([words[start + _IN_HAND] for start in self._siblings])
        return least < capacity or least + 2 <= in_hand
