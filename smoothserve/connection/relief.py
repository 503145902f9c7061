"""Relief for a worker whose threads are all stuck in calls (WSGI): what comes meanwhile goes to siblings with a thread.

A connection is held when it brings a request while no call ends, before anything of it is parsed, and offered, with
what it brought, to the siblings that accept and have a thread free. What nobody takes is served here, in the order in
which it came: as soon as a thread is free, or after `HOLD_TIMEOUT`. Nothing is done to connections that stay idle.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from smoothserve.connection.offering import BATCH, Link, Offerable, Offering
from smoothserve.connection.room import Room
from smoothserve.control.channel import Channel
from smoothserve.control.handover import Event, Returned
from smoothserve.control.scoreboard import Counter, Scoreboard

#: Seconds without the end of a call after which the threads count as stuck, and between two looks at the siblings.
LOOK_INTERVAL = 0.01
#: Seconds after which a request that no sibling has taken is read here: a health check, or one too many, has an answer
#: at once also when every worker is busy.
HOLD_TIMEOUT = 0.3
#: Offers to one sibling that may be without an answer: should its loop be blocked, no more than these wait for it.
OFFERS = 4
#: Seconds between two requests for channels to the siblings.
ASK_INTERVAL = 1.0
#: Milliseconds without progress after which a sibling's loop counts as blocked; it notes its progress twice a second.
STALE = 1200
#: Calls that one thread ends within a look when there is nothing to be relieved of.
FLOWING = 4


class Relieved(Protocol):
    """The worker that is relieved, as far as relief knows it."""

    relieving: bool
    """Whether connections that bring a request are to be held."""


class Siblings(Protocol):
    """What is known of the other workers."""

    @property
    def alone(self) -> bool:
        """Whether there are none."""


class Relief(Offering):
    """Holds what comes while the threads are stuck, and offers it to siblings, over links that stay for the next time.

    An offer is decided by its answer, as in any handover. A sibling that does not answer is never reported: it may
    only be blocked. `on_handed_over` is called for each connection that a sibling has taken; `ask` when there is
    something to offer, for links to the siblings.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        service: Relieved,
        *,
        room: Room,
        threads: int,
        scoreboard: Scoreboard,
        siblings: Siblings,
        on_handed_over: Callable[[], None],
        ask: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(
            loop,
            on_handed_over=on_handed_over,
            on_settled=lambda: None,
            on_stuck=lambda _: None,
            on_ready=self._schedule,
            on_incompatible=lambda: None,
            count_left=lambda: 0,
        )
        self._service = service
        self._room = room
        self._threads = threads
        self._scoreboard = scoreboard
        self._siblings = siblings
        self.ask = ask
        self._queue: deque[Offerable] = deque()
        self._held_at: dict[Offerable, float] = {}
        self._rows: dict[int, memoryview] = {}
        self._rest_until: dict[int, float] = {}
        """Until when a sibling that has refused is left alone."""
        self._ask_at = 0.0
        self._look: asyncio.TimerHandle | None = None
        self._ended = 0
        """Calls that had ended at the last look."""
        self._saturated = False
        self.offered = 0
        """Offers made so far."""

    def renewed(self) -> "Relief":
        """Return relief as it was at the start: the worker serves on after all."""
        return Relief(
            self._loop,
            self._service,
            room=self._room,
            threads=self._threads,
            scoreboard=self._scoreboard,
            siblings=self._siblings,
            on_handed_over=self._on_handed_over,
            ask=self.ask,
        )

    @property
    def settled(self) -> bool:
        """Whether nothing is held or offered."""
        return not (self._queue or any(link.offers for link in self.links))

    def add_sibling(self, channel: Channel, receiver: int, row: int) -> None:
        """Offer on this channel, too, to the worker of that number and row of the scoreboard."""
        self._rows[receiver] = self._scoreboard.row(row)
        self.add_link(channel, receiver)

    def note_saturation(self, saturated: bool) -> None:
        """Take note whether all threads are in calls that take longer than a moment, or that a call has returned."""
        self._saturated = saturated
        if self.closed:
            return
        if self._queue:
            self._schedule()
        elif not saturated:
            self._service.relieving = False
        if saturated and self._look is None and not self._siblings.alone:
            self._ended = self._room.calls_ended
            self._look = self._loop.call_later(LOOK_INTERVAL, self._look_again)

    def _look_again(self) -> None:
        """See whether the calls get on, and whether a sibling has room now."""
        self._look = None
        if self.closed or not (self._saturated or self._queue):
            self._service.relieving = False
            return
        ended = self._room.calls_ended
        if ended == self._ended:
            self._service.relieving = True
        elif ended - self._ended >= FLOWING * self._threads:
            self._service.relieving = False
            self._serve_held()
        self._ended = ended
        self._look = self._loop.call_later(LOOK_INTERVAL, self._look_again)
        self._offer_held()

    def hold(self, connection: Offerable) -> None:
        """Take a connection that has brought a request and is no longer read from."""
        self._queue.append(connection)
        now = self._held_at[connection] = self._loop.time()
        if now >= self._ask_at:
            self._ask_at = now + ASK_INTERVAL
            self.ask()
        self._schedule()

    def drop(self, connection: Offerable) -> None:
        """Forget a connection that has ended."""
        if self._held_at.pop(connection, None) is not None and connection in self._queue:
            self._queue.remove(connection)

    # offering

    def _offer_held(self) -> None:
        """Serve here what a thread is free for or has waited for too long; offer the rest."""
        self._scheduled = False
        if not self.closed:
            overdue = self._loop.time() - HOLD_TIMEOUT
            while self._queue and (self._room.threads_free > 0 or self._held_at[self._queue[0]] <= overdue):
                self._serve_first()
            for _ in range(BATCH):
                link = self._next_link() if self._queue else None
                if link is None:
                    break
                connection = self._queue.popleft()
                if connection.gone:
                    self._held_at.pop(connection, None)
                else:
                    self.offered += 1
                    self._offer(link, connection)
            if self._queue:
                self._room.request_notice()
            elif not self._saturated:
                self._service.relieving = False
        for link in self.links:
            self._send(link)

    def _next_link(self) -> Link | None:
        now = time.monotonic()
        for _ in range(len(self.links)):
            self._turn += 1
            link = self.links[self._turn % len(self.links)]
            if link.usable and link.sender.greeted and self._has_room(link, now):
                return link
        return None

    def _has_room(self, link: Link, now: float) -> bool:
        row = self._rows[link.receiver]
        if not row[Counter.ACCEPTING] or now * 1000 - row[Counter.PROGRESS] > STALE:
            return False
        pending = link.sender.pending
        if pending >= OFFERS or now < self._rest_until.get(link.receiver, 0.0):
            return False
        return bool(row[Counter.IN_HAND] + pending < self._threads)

    # what comes back

    def _serve_first(self) -> None:
        connection = self._queue.popleft()
        self._held_at.pop(connection, None)
        if not connection.gone:
            connection.take_back(b"")

    def _serve_held(self) -> None:
        while self._queue:
            self._serve_first()

    def _apply(self, link: Link, events: list[Event]) -> None:
        if any(isinstance(event, Returned) for event in events):
            self._rest_until[link.receiver] = time.monotonic() + LOOK_INTERVAL
        super()._apply(link, events)

    def _return(self, connection: Offerable, leftover: bytes, *, lasting: bool) -> None:
        """Hold a connection on, for another sibling or a thread here."""
        del leftover, lasting  # the connection knows what it has brought
        if connection.gone:
            self._held_at.pop(connection, None)
            return
        self._queue.appendleft(connection)
        if self.closed:
            self._serve_held()

    def _close_link(self, link: Link) -> None:
        super()._close_link(link)
        self._rows.pop(link.receiver, None)
        self._rest_until.pop(link.receiver, None)

    def _take_back_held(self) -> None:
        """Serve what is held here, if nothing more is to be offered."""
        if self.closed:
            self._service.relieving = False
            self._serve_held()

    def _check_settled(self) -> None:
        """Go on with what is held: answers have come."""
        if self._queue:
            self._schedule()
