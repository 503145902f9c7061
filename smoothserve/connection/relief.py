"""Relief for a worker whose threads are all stuck in calls (WSGI): what comes meanwhile goes to siblings with a thread.

A connection is held when it brings a request while no call ends, before anything of it is parsed, and offered, with
what it brought, to the siblings that accept and have a thread free. After `HOLD_TIMEOUT` a sibling that only gets on
with its calls must do. What nobody takes is served here, in the order in which it came: as soon as a thread is free, or
after that time. Nothing is done to connections that stay idle.
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

#: Seconds between two looks at the calls and the siblings.
LOOK_INTERVAL = 0.01
#: The same where there is no sibling yet.
LOOK_INTERVAL_ALONE = 0.25
#: Seconds without the end of a call after which the threads count as stuck: requests of calls that are only slow are
#: served sooner here than elsewhere.
STUCK_AFTER = 0.03
#: Seconds after which a request goes to a sibling that has no thread free either, and if none gets on with its calls,
#: is read here: a health check, or one too many, has an answer at once also when every worker is stuck.
HOLD_TIMEOUT = 0.3
#: Seconds after which it is read here in any case if no sibling has a channel yet.
LINK_TIMEOUT = 3.0
#: Milliseconds for which all threads of a sibling may have been in their calls: longer, and it is stuck as well.
SIBLING_STUCK = 2000
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

    def keep(self, connection: Offerable) -> None:
        """Serve a connection that was held, or let a drain hand it over."""


class Siblings(Protocol):
    """What is known of the other workers."""

    @property
    def alone(self) -> bool:
        """Whether there are none."""


class Relief(Offering):
    """Holds what comes while the threads are stuck, and offers it to siblings, over links that stay for the next time.

    An offer is decided by its answer, as in any handover. A sibling that does not answer is never reported: it may
    only be blocked. `on_handed_over` is called for each connection that a sibling has taken; `ask` when there is
    something to offer, for links to the siblings but those that it is told.
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
        ask: Callable[[list[int]], None] = lambda _: None,
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
        self._ended_at = 0.0
        """When a call had ended last, as far as the looks know."""
        self._saturated = False
        self.offered = 0
        """Offers made so far."""

    def renewed(self) -> "Relief":
        """Return relief as it was at the start: the worker serves on after all."""
        renewed = Relief(
            self._loop,
            self._service,
            room=self._room,
            threads=self._threads,
            scoreboard=self._scoreboard,
            siblings=self._siblings,
            on_handed_over=self._on_handed_over,
            ask=self.ask,
        )
        renewed.note_saturation(self._saturated)
        return renewed

    @property
    def settled(self) -> bool:
        """Whether nothing is held or offered."""
        return not (self._queue or any(link.offers for link in self.links))

    def add_sibling(self, channel: Channel, receiver: int, row: int) -> None:
        """Offer on this channel, too, to the worker of that number and row of the scoreboard."""
        if receiver in self._receivers():
            channel.close()  # asked for twice
            return
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
        if saturated and self._look is None:
            self._ended = self._room.calls_ended
            self._ended_at = self._loop.time()
            self._look_later()

    def _look_again(self) -> None:
        """See whether the calls get on, and whether a sibling has room now."""
        self._look = None
        if self.closed or not (self._saturated or self._queue):
            self._service.relieving = False
            return
        ended = self._room.calls_ended
        if ended == self._ended:
            stuck = self._loop.time() - self._ended_at >= STUCK_AFTER
            self._service.relieving = (stuck or self._service.relieving) and not self._siblings.alone
        else:
            self._ended_at = self._loop.time()
            if ended - self._ended >= FLOWING * self._threads:
                self._service.relieving = False
                self._serve_held()
        self._ended = ended
        self._look_later()
        self._offer_held()

    def _look_later(self) -> None:
        interval = LOOK_INTERVAL_ALONE if self._siblings.alone else LOOK_INTERVAL
        self._look = self._loop.call_later(interval, self._look_again)

    def _receivers(self) -> list[int]:
        """Return the siblings that there are links to, but those that have fallen silent: these need new ones."""
        return [link.receiver for link in self.links if not (link.sender.stuck or link.channel.closed)]

    def hold(self, connection: Offerable) -> None:
        """Take a connection that has brought a request and is no longer read from."""
        self._queue.append(connection)
        now = self._held_at[connection] = self._loop.time()
        if now >= self._ask_at:
            self._ask_at = now + ASK_INTERVAL
            self.ask(self._receivers())
        self._schedule()

    def drop(self, connection: Offerable) -> None:
        """Forget a connection that has ended."""
        if self._held_at.pop(connection, None) is not None and connection in self._queue:
            self._queue.remove(connection)

    # offering

    def _offer_held(self) -> None:
        """Serve here what a thread is free for; offer the rest; serve here what is overdue and nobody can take."""
        self._scheduled = False
        if not self.closed:
            overdue = self._loop.time() - HOLD_TIMEOUT
            while self._queue and self._room.threads_free > 0:
                self._serve_first()
            for _ in range(BATCH):
                if not self._queue:
                    break
                link, late = self._next_link(), False
                if link is None and self._held_at[self._queue[0]] <= overdue:
                    link, late = self._link_to_who_gets_on(), True
                    if link is None and not self._awaits_links():
                        self._serve_first()
                        continue
                if link is None or link.sender.pending >= OFFERS:
                    break
                connection = self._queue.popleft()
                if connection.gone:
                    self._held_at.pop(connection, None)
                else:
                    self.offered += 1
                    self._offer(link, connection, late=late)
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

    def _awaits_links(self) -> bool:
        """Whether the channels to the siblings are only on their way, the first time that they are needed."""
        ready = any(link.sender.greeted for link in self.links)
        held_for = self._loop.time() - self._held_at[self._queue[0]]
        return not (ready or self._siblings.alone) and held_for < LINK_TIMEOUT

    def _link_to_who_gets_on(self) -> Link | None:
        """Return a link to the sibling with the fewest calls in hand of those whose calls end.

        It need not accept: while all its threads are in calls it does not. But if it has been in them for longer than
        this worker in its own, it does not get on better.
        """
        now = time.monotonic()
        since = max(self._room.stuck_since * 1000, now * 1000 - SIBLING_STUCK)
        found: list[tuple[int, int]] = []
        for index, link in enumerate(self.links):
            row = self._rows[link.receiver]
            stuck_since = row[Counter.THREADS_STUCK]
            if (
                link.usable
                and link.sender.greeted
                and self._turns(row, now)
                and now >= self._rest_until.get(link.receiver, 0.0)
                and not 0 < stuck_since <= since
            ):
                found.append((row[Counter.IN_HAND] + link.sender.pending, index))
        return self.links[min(found)[1]] if found else None

    @staticmethod
    def _turns(row: memoryview, now: float) -> bool:
        """Whether a sibling's loop is not blocked."""
        return now * 1000 - row[Counter.PROGRESS] <= STALE

    def _has_room(self, link: Link, now: float) -> bool:
        row = self._rows[link.receiver]
        if not (row[Counter.ACCEPTING] and self._turns(row, now)):
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
        elif self.closed:
            self._keep(connection)
        else:
            self._queue.appendleft(connection)

    def _end_if_over(self, link: Link) -> None:
        """Close a channel that will not be used again, once every offer has its answer."""
        if (self.closed or link.sender.stuck) and not link.offers:
            self._close_link(link)

    def _close_link(self, link: Link) -> None:
        super()._close_link(link)
        self._rows.pop(link.receiver, None)
        self._rest_until.pop(link.receiver, None)

    def _take_back_held(self) -> None:
        """Keep what is held here, if nothing more is to be offered."""
        if self.closed:
            self._service.relieving = False
            while self._queue:
                self._keep(self._queue.popleft())

    def _keep(self, connection: Offerable) -> None:
        self._held_at.pop(connection, None)
        if not connection.gone:
            self._service.keep(connection)

    def _check_settled(self) -> None:
        """Go on with what is held: answers have come."""
        if self._queue:
            self._schedule()
