"""A streamed answer through ASGI: its parts on their way to the connection, and the turns of a call that sends many."""

import asyncio
from time import monotonic

from smoothserve.protocol.exchange import ExchangeConnection

#: Parts are collected, until the loop turns, up to so much; longer ones are sent by themselves.
PARTS_BYTES = 65536
PART_BYTES = 16384
#: A streaming call asks the clock once in this many sends, and one (a bit mask), ...
FAIR_SENDS = 15
#: ... and lets others have their turn after so many seconds: what it sends in a turn goes out in one piece.
FAIR_SECONDS = 0.001


class Stream:
    """Sends the parts of one answer together with those of the same turn: each write is a system call."""

    __slots__ = ("_connection", "_loop", "_parts", "_sends", "_size", "_turn_ends")

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: ExchangeConnection) -> None:
        self._loop = loop
        self._connection = connection
        self._parts: list[bytes] | None = None
        self._size: int  # of `_parts`, where there are any
        self._sends = 0
        self._turn_ends = 0.0

    def send(self, data: bytes, more: bool) -> None:
        """Take a part; `more` says whether another follows."""
        parts = self._parts
        if parts is not None:
            parts.append(data)
            self._size += len(data)
            if not more or self._size >= PARTS_BYTES:
                self.flush()
        elif not more or len(data) >= PART_BYTES:
            if data:
                self._connection.write(data)
        elif data:
            self._parts = [data]
            self._size = len(data)
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Pass on what has been collected."""
        parts = self._parts
        if parts is not None:
            self._parts = None
            self._connection.write(parts[0] if len(parts) == 1 else b"".join(parts))

    def discard(self) -> None:
        """Forget what has been collected: nothing more of this answer may be written."""
        self._parts = None

    def turn_is_over(self) -> bool:
        """Take note of a send. Return whether the call has kept the loop for as long as it may."""
        self._sends += 1
        return not self._sends & FAIR_SENDS and self._turn_ends < monotonic()

    async def give_way(self) -> None:
        """Let others have their turn: an endless stream to a client that takes all, or has gone, would keep the loop.

        When the call has begun to stream, its time does.
        """
        if self._turn_ends:
            await asyncio.sleep(0)
        self._turn_ends = monotonic() + FAIR_SECONDS

    def begin_turn(self) -> None:
        """Take note that others have had their turn."""
        self._turn_ends = 0.0
