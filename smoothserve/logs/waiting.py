"""Log lines that wait to be written, as bytes in a piece of memory that may be shared with the master.

Where it is, the master writes what a worker that has died has left in it. Of the first words two say where what waits
begins and ends in the rest, one how many lines have been lost; each store of a word is whole, so that it can be read at
any time. Whoever writes does so on one thread, or under a lock.
"""

import mmap

#: How long such a piece of memory is.
REGION_BYTES = 1024 * 1024
_HEADER_BYTES = 24
#: What fits into it; beyond it lines are dropped, and counted.
MAX_WAITING_BYTES = REGION_BYTES - _HEADER_BYTES
_START, _END, _LOST = range(3)


class WaitingLines:
    """A queue of bytes. `region` is the memory, all zero for one that is empty; None: the process's own."""

    def __init__(self, region: memoryview | None = None) -> None:
        if region is None:
            # Not shared with what is forked later, and no page of it is used before something waits.
            own = mmap.mmap(-1, REGION_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            region = memoryview(own)
        self._words = region[:_HEADER_BYTES].cast("q")
        self._bytes = region[_HEADER_BYTES:]

    def __len__(self) -> int:
        start, end = self._bounds()
        return end - start

    def add(self, data: bytes | memoryview) -> bool:
        """Append whole lines. False: there is no room for them, and nothing was appended."""
        start, end = self._bounds()
        after = end + len(data)
        if after > len(self._bytes):
            if end - start + len(data) > len(self._bytes):
                return False
            self._bytes[: end - start] = bytes(self._bytes[start:end])
            self._words[_START] = 0
            end, after = end - start, end - start + len(data)
        self._bytes[end:after] = data
        self._words[_END] = after
        return True

    def first(self, size: int) -> memoryview:
        """Return the first bytes, at most `size`, up to the end of a line if one ends there."""
        start, end = self._bounds()
        if end - start > size:
            line_end = bytes(self._bytes[start : start + size]).rfind(b"\n")
            end = start + (line_end + 1 if line_end >= 0 else size)
        return self._bytes[start:end]

    def drop(self, size: int) -> None:
        """Forget the first `size` bytes: they have been written."""
        start, end = self._bounds()
        if start + size >= end:
            self.clear()
        else:
            self._words[_START] = start + size

    def clear(self) -> None:
        """Forget everything."""
        # In this order: between the two there is nothing, rather than everything once more.
        self._words[_END] = 0
        self._words[_START] = 0

    @property
    def lost(self) -> int:
        """How many lines had no room, or could not be written, since that was last said."""
        return max(0, self._words[_LOST])

    @lost.setter
    def lost(self, count: int) -> None:
        self._words[_LOST] = count

    def _bounds(self) -> tuple[int, int]:
        """Return where what waits begins and ends. A worker's application may have written anything over it."""
        start, end, _ = self._words
        if 0 <= start <= end <= len(self._bytes):
            return start, end
        self.clear()
        return 0, 0
