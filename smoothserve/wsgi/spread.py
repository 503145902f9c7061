"""How many application threads are worth running at a time: a judgement from what has been measured, without a clock.

More threads help calls that wait for something else, and cost calls that only compute (they take the GIL from each
other and from the loop). Which it is shows in the share of the time in which the process has computed at all.
"""

#: Seconds of continuous load that are judged at once.
WINDOW = 0.01
#: Looks that are further apart do not belong to the same stretch of load.
_GAP = 0.005
#: Shares of one processor: below, threads wait while work waits; above, there is nothing to be gained.
_IDLE_SHARE = 0.5
_BUSY_SHARE = 0.8


class Spread:
    """The number of threads that may run at a time without further ado: `width`, from 1 to `size`."""

    __slots__ = ("_backlog", "_began", "_cpu", "_ended", "_last", "_size", "width")

    def __init__(self, size: int) -> None:
        self._size = size
        self.width = 1
        self._began = self._last = 0.0
        self._cpu = 0.0
        self._ended = 0
        self._backlog = False

    def needs(self, width: int) -> None:
        """Take note that fewer than `width` threads are stuck: work waits while each of them is in one long call."""
        self.width = max(self.width, min(width, self._size))

    def due(self, now: float, *, backlog: bool) -> bool:
        """Take note of a look at the queue: `backlog` says whether work waits. Return whether `judge` is due."""
        if now - self._last > _GAP:
            self._began = 0.0
        self._last = now
        self._backlog = self._backlog and backlog
        return now - self._began >= WINDOW

    def judge(self, now: float, cpu: float, ended: int) -> None:
        """Judge the time since the last judgement. `cpu` (processor seconds) and `ended` (calls) only ever grow."""
        elapsed = now - self._began
        if self._began and elapsed < 10 * WINDOW:
            share = (cpu - self._cpu) / elapsed
            if share < _IDLE_SHARE:
                if self._backlog and self.width < self._size:
                    self.width += 1
            elif share > _BUSY_SHARE and self.width > 1 and (ended - self._ended) * WINDOW > elapsed * self.width:
                self.width -= 1
        self._began = now
        self._cpu = cpu
        self._ended = ended
        self._backlog = True
