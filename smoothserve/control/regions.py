"""Shared memory in pieces, one for each row of the scoreboard; one that nobody has used takes no memory."""

import mmap
import os

from smoothserve.control.scoreboard import anonymous_file


class Regions:
    """The master makes the memory; a worker maps its own piece of it. `size` is in bytes, whole pages."""

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self.size = size

    @classmethod
    def create(cls, size: int) -> "Regions":
        """Make the memory, without any pieces yet. Raise `OSError`."""
        return cls(anonymous_file("smoothserve-lines"), size)

    def provide(self, row: int) -> None:
        """See that there is a piece for that row: zero, if nobody had it before. Raise `OSError`."""
        end = (row + 1) * self.size
        if os.fstat(self.fd).st_size < end:
            os.ftruncate(self.fd, end)

    def open(self, row: int) -> memoryview:
        """Map the piece of that row, for as long as the view of it lives. Raise `OSError`."""
        return memoryview(mmap.mmap(self.fd, self.size, offset=row * self.size))
