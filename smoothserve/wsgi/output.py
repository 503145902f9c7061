"""The way of an answer's body from an application thread to the loop: memory first, then a temporary file.

One thread puts, the loop takes; there is no lock between them. The thread waits only where the file has reached its
bound (an endless stream to a slow client) or cannot be written.
"""

import os
import tempfile
import threading
from collections import deque

#: Body bytes that wait in memory for a slow client, and one chunk more.
MEMORY_BYTES = 1024 * 1024
#: Parts that wait for the loop before the application does, for a moment: one that yields small parts as fast as it can
#: keeps the GIL from the loop.
MANY_CHUNKS = 512
#: Seconds that a client has for taking half of `MEMORY_BYTES`, before it counts as slow (10 MiB/s).
PATIENCE = 0.05
#: What is taken at once, unless the application has yielded a larger chunk.
TAKE_BYTES = 256 * 1024


class _Spool:
    """A temporary file that one thread appends to and another one reads from the start."""

    __slots__ = ("_file", "taken", "written")

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0, prefix="smoothserve-answer-")  # noqa: SIM115
        self.written = 0
        self.taken = 0

    @property
    def left(self) -> int:
        return self.written - self.taken

    def write(self, data: bytes) -> None:
        """Append. After an error the file holds what it held before."""
        fd = self._file.fileno()
        offset = self.written
        view = memoryview(data)
        while view:
            count = os.pwrite(fd, view, offset)
            view = view[count:]
            offset += count
        self.written = offset

    def read(self, size: int) -> bytes:
        data = os.pread(self._file.fileno(), size, self.taken)
        if not data:
            raise OSError("the temporary file of an answer is shorter than what was written to it")
        self.taken += len(data)
        return data

    def close(self) -> None:
        self._file.close()


class _Extract:
    """A part of a file of the application's, to be read directly."""

    __slots__ = ("_fd", "left", "offset")

    def __init__(self, fd: int, offset: int, size: int) -> None:
        self._fd = os.dup(fd)
        self.offset = offset
        self.left = size

    def read(self, size: int) -> bytes:
        data = os.pread(self._fd, min(size, self.left), self.offset)
        if not data:
            raise OSError("the application's file has become shorter")
        self.offset += len(data)
        self.left -= len(data)
        return data

    def close(self) -> None:
        os.close(self._fd)


class Output:
    """What the application has yielded and the connection has not yet taken.

    The content is `_chunks`, then what is left in the spool, then an extract of a file. The thread appends to `_chunks`
    only when it finds nothing left in the spool, and the loop looks from the last of them to the first, so that
    what it finds empty is not filled again behind its back by something that comes earlier.
    """

    __slots__ = (
        "_chunks",
        "_disk_bytes",
        "_eager",
        "_extract",
        "_patient",
        "_put",
        "_room",
        "_spool",
        "_taken",
        "abandoned",
        "ended",
        "failed",
    )

    def __init__(self, disk_bytes: int) -> None:
        self._chunks: deque[bytes] = deque()
        self._disk_bytes = disk_bytes
        self._put = 0
        self._taken = 0
        self._spool: _Spool | None = None
        self._extract: _Extract | None = None
        self._room: threading.Event | None = None
        self._patient = True
        """The client has kept up so far."""
        self._eager = True
        """So has the loop."""
        self.ended = False
        """Set by the thread after the last part."""
        self.failed = False
        """Set by the thread before `ended`: the answer could not be completed."""
        self.abandoned = False
        """Set by the loop: nothing will be taken any more."""

    # on the application's thread

    def put(self, data: bytes) -> None:
        """Append a part. Waits while there is too much, unless the output is abandoned."""
        while not self.abandoned:
            if self._has_room(MEMORY_BYTES):
                if len(self._chunks) >= MANY_CHUNKS and self._eager:
                    self._eager = self._await_room(PATIENCE)
                self._put += len(data)
                self._chunks.append(data)
                return
            if self._patient:
                # The application is faster than a fast client, too; the disk is for slow ones.
                self._patient = self._await_room(PATIENCE)
            elif self._put_on_disk(data):
                return
            else:
                self._await_room(None)

    def put_file(self, fd: int, offset: int, size: int) -> None:
        """Append `size` bytes of a file as the last part; `fd` may be closed afterwards. Never waits."""
        self._extract = _Extract(fd, offset, size)

    def _has_room(self, limit: int) -> bool:
        """Whether nothing is on disk and no more than `limit` bytes are in memory."""
        spool = self._spool
        return (spool is None or not spool.left) and self._put - self._taken <= limit

    def _has_much_room(self) -> bool:
        """Whether a waiting application should go on."""
        return self._has_room(MEMORY_BYTES // 2) and len(self._chunks) <= MANY_CHUNKS // 2

    def _put_on_disk(self, data: bytes) -> bool:
        """Append to the spool. Return False if it is full or cannot be written."""
        spool = self._spool
        try:
            if spool is None:
                self._spool = spool = _Spool()
            elif spool.written and not spool.left:
                # All of it has been taken: give the space back.
                self._spool = None
                spool.close()
                self._spool = spool = _Spool()
                self._patient = True
            if spool.written + len(data) > self._disk_bytes:
                return False
            spool.write(data)
        except OSError:
            return False
        return True

    def _await_room(self, timeout: float | None) -> bool:
        """Wait until half of the memory is free, or the output is abandoned. Return whether that came in time."""
        room = self._room
        if room is None:
            self._room = room = threading.Event()
        room.clear()
        # The loop sets the event only if it sees one: what it has done before counts, too.
        return self.abandoned or self._has_much_room() or room.wait(timeout)

    # on the loop's thread

    def take(self) -> bytes:
        """Remove and return what comes next, empty if there is nothing. Raise `OSError` if it cannot be read back."""
        extract = self._extract
        spool = self._spool
        on_disk = spool.written if spool is not None else 0
        chunks = self._chunks
        if chunks:
            data = chunks.popleft()
            if chunks and len(data) < TAKE_BYTES:
                data = self._join(data)
            self._taken += len(data)
        elif spool is not None and spool.taken < on_disk:
            data = spool.read(min(on_disk - spool.taken, TAKE_BYTES))
        elif extract is not None and extract.left:
            return extract.read(TAKE_BYTES)
        else:
            return b""
        if self._room is not None and self._has_much_room():
            self._eager = True
            self._room.set()
        return data

    def _join(self, data: bytes) -> bytes:
        """Take further chunks: one write for many small ones."""
        chunks = self._chunks
        parts = [data]
        size = len(data)
        # Not those that come meanwhile: there might be no end of them.
        for _ in range(len(chunks)):
            if size >= TAKE_BYTES:
                break
            data = chunks.popleft()
            parts.append(data)
            size += len(data)
        return b"".join(parts)

    @property
    def empty(self) -> bool:
        """Whether everything put so far has been taken. Exact once `ended` is true."""
        return (
            not self._chunks
            and (self._spool is None or not self._spool.left)
            and (self._extract is None or not self._extract.left)
        )

    def abandon(self) -> None:
        """Drop what is left and let a waiting thread go on."""
        self.abandoned = True
        self._chunks.clear()
        if self._room is not None:
            self._room.set()

    def close(self) -> None:
        """Give the temporary file back. Only once the thread is through with the output."""
        if self._spool is not None:
            self._spool.close()
        if self._extract is not None:
            self._extract.close()
            self._extract = None
