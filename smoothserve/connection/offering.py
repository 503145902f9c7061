"""The predecessor's end of a handover: which connections are offered when, over which link, and what becomes of them.

A connection is held (no longer read from) as soon as it is idle, offered once everything sent to it is out, and let
go when the successor has acknowledged it. Who may own it when is `control.handover`'s; when to drain the worker's.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from smoothserve.control.channel import Channel
from smoothserve.control.handover import (
    MAX_INLINE_BYTES,
    WINDOW,
    Acknowledged,
    Event,
    HandoverError,
    HandoverSender,
    PeerGreeted,
    ReceiverStuck,
    Returned,
    render_content,
)
from smoothserve.control.scoreboard import anonymous_file

#: Offers of one loop turn: what is served meanwhile has its turn, too.
BATCH = 32
#: Connections looked at in one loop turn for whether they are idle.
COLLECT_BATCH = 200
#: Seconds until a connection that could not be offered yet (its client is slow to take the answer) is looked at again.
RETRY_INTERVAL = 0.02


class Offerable(Protocol):
    """What is offered: a connection, as far as the handover knows it."""

    @property
    def flushed(self) -> bool:
        """Whether everything sent has been taken by the kernel, and the connection can be offered now."""

    @property
    def gone(self) -> bool:
        """Whether the connection has ended."""

    @property
    def movable(self) -> bool:
        """Whether another worker could go on with it."""

    def fileno(self) -> int:
        """Return the socket's descriptor."""

    def describe(self) -> tuple[dict[str, Any], bytes]:
        """Return what the successor must know, and the input that has been read and not used."""

    def take_back(self, leftover: bytes) -> None:
        """Read on: the connection stays here."""

    def let_go(self) -> None:
        """Forget the connection without a trace on the wire: it is another worker's."""


class Candidate(Protocol):
    """What may become an offer: a connection that the drain looks at."""

    def begin_drain(self) -> None:
        """Be held if idle."""


class Link:
    """The channel to one receiver, with the protocol that runs over it."""

    def __init__(self, channel: Channel, receiver: int) -> None:
        self.channel = channel
        self.receiver = receiver
        self.sender = HandoverSender()
        self.offers: dict[int, tuple[Offerable, bytes, list[int]]] = {}
        self.said_left = -1
        """What the receiver has last been told of what is left here."""

    @property
    def usable(self) -> bool:
        """Whether connections can be offered over it."""
        return self.sender.usable and not self.channel.closed

    def filenos(self) -> list[int]:
        """Return the descriptors of the channel, and of the files that go along with offers."""
        return [*self.channel.filenos(), *(fd for _, _, extra in self.offers.values() for fd in extra)]


class Offering:
    """Hands connections over, on any number of links in turn.

    `on_settled` is called when everything that was held has been handed over or taken back; `on_stuck` when a receiver
    (its number is passed) answers neither offers nor cancellations. `count_left` says how many connections are still
    here, for the receivers to know.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_handed_over: Callable[[], None],
        on_settled: Callable[[], None],
        on_stuck: Callable[[int], None],
        on_ready: Callable[[], None],
        on_incompatible: Callable[[], None],
        count_left: Callable[[], int],
    ) -> None:
        self._loop = loop
        self._on_handed_over = on_handed_over
        self._on_settled = on_settled
        self._on_stuck = on_stuck
        self._on_ready = on_ready
        self._on_incompatible = on_incompatible
        self._count_left = count_left
        self.links: list[Link] = []
        self.receivers = 0
        """How many there have been so far: a new one may take what the last has refused."""
        self._turn = 0
        self._held: set[Offerable] = set()
        self._expected: set[Offerable] = set()
        self._unwanted: set[Offerable] = set()
        self._collecting: list[Candidate] = []
        self._timer: asyncio.TimerHandle | None = None
        self._scheduled = False
        self._telling = False
        self.closed = False

    @property
    def usable(self) -> bool:
        """Whether there is a receiver to hand over to."""
        return not self.closed and any(link.usable for link in self.links)

    @property
    def settled(self) -> bool:
        """Whether nothing is held or offered."""
        return (
            not self._collecting
            and not self._held
            and not self._expected
            and not any(link.offers for link in self.links)
        )

    def add_link(self, channel: Channel, receiver: int) -> None:
        """Hand over on this channel, too, to the worker of that number."""
        link = Link(channel, receiver)
        self.links.append(link)
        self.receivers += 1
        self._unwanted.clear()
        self._loop.add_reader(channel.fileno(), self._on_readable, link)
        self._send(link)
        self._schedule()

    def wants(self, connection: Offerable) -> bool:
        """Whether the connection should be held and offered: there is a receiver, and none has refused it for good."""
        return self.usable and connection.movable and connection not in self._unwanted

    def may_take(self, connection: Offerable) -> bool:
        """Whether the connection may be handed over, now or once there is a receiver again."""
        return not self.closed and connection.movable and connection not in self._unwanted

    def hold(self, connection: Offerable) -> None:
        """Take a connection that is idle and no longer read from; it is offered when it is flushed."""
        self._expected.discard(connection)
        self._held.add(connection)
        self._schedule()

    def expect(self, connection: Offerable) -> None:
        """Wait for a connection that is about to be held, until it is dropped at the latest."""
        self._expected.add(connection)

    def expect_no_more(self, connection: Offerable) -> None:
        """Do not wait for it any longer; it may still be held."""
        self._expected.discard(connection)
        self._check_settled()

    def collect(self, connections: Iterable["Candidate"]) -> None:
        """Hold every connection that is idle, a batch each loop turn."""
        self._collecting = list(connections)
        self._collect()

    def _collect(self) -> None:
        batch, self._collecting = self._collecting[:COLLECT_BATCH], self._collecting[COLLECT_BATCH:]
        for connection in batch:
            connection.begin_drain()
        if self._collecting:
            self._loop.call_soon(self._collect)
        else:
            self._check_settled()

    def drop(self, connection: Offerable) -> None:
        """Forget a connection that has ended."""
        self._held.discard(connection)
        self._expected.discard(connection)
        self._unwanted.discard(connection)
        self._check_settled()

    def close(self) -> None:
        """Offer nothing more: what is held goes back; what is offered is decided by its answer.

        `tick` goes on being called as long as there are links.
        """
        self.closed = True
        self._take_back_held()
        for link in list(self.links):
            self._end_if_over(link)

    # offering

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._offer_held)

    def _offer_held(self) -> None:
        self._scheduled = False
        unflushed = False
        offered = 0
        for connection in list(self._held):
            if connection.gone:
                self._held.discard(connection)
            elif not connection.flushed:
                unflushed = True
            elif offered == BATCH:
                break  # the rest when these are answered
            else:
                link = self._next_link()
                if link is None:
                    break
                offered += 1
                self._held.discard(connection)
                self._offer(link, connection)
        if not self.usable:
            self._take_back_held()
        elif unflushed and self._timer is None:
            self._timer = self._loop.call_later(RETRY_INTERVAL, self._retry)
        for link in self.links:
            self._send(link)
        self._check_settled()

    def _retry(self) -> None:
        self._timer = None
        self._offer_held()

    def _next_link(self) -> Link | None:
        usable = [link for link in self.links if link.usable and link.sender.pending < WINDOW]
        if not usable or self.closed:
            return None
        self._turn += 1
        return usable[self._turn % len(usable)]

    def _offer(self, link: Link, connection: Offerable, *, late: bool = False) -> None:
        """Offer a connection. `late`: for relief, to be taken also where no thread is free."""
        meta, leftover = connection.describe()
        if late:
            meta["late"] = True
        content = render_content(meta, leftover)
        extra: list[int] = []
        if len(content) > MAX_INLINE_BYTES:
            try:
                extra = [_written(content)]
            except OSError:
                # Out of descriptors or memory: it is served on here, and offered again later.
                connection.take_back(leftover)
                return
            content = b""
        number = link.sender.offer(content, self._loop.time())
        link.offers[number] = (connection, leftover, extra)

    def _send(self, link: Link) -> None:
        for packet, number in link.sender.packets_to_send():
            fds: list[int] = []
            if number is not None:
                connection, _, extra = link.offers[number]
                fds = [connection.fileno(), *extra]
            try:
                link.channel.send(packet, fds)
            except OSError:
                # Out of descriptors for the copy that waits in the channel: the receiver refuses what comes without.
                link.channel.send(packet)
        if link.channel.wants_write and not link.channel.closed:
            self._loop.add_writer(link.channel.fileno(), self._on_writable, link)

    # answers

    def _on_writable(self, link: Link) -> None:
        link.channel.flush()
        if not link.channel.wants_write:
            self._loop.remove_writer(link.channel.fileno())

    def _on_readable(self, link: Link) -> None:
        for packet in link.channel.receive():
            for fd in packet.fds:
                os.close(fd)
            try:
                events = link.sender.receive_packet(packet.data, self._loop.time())
            except HandoverError:
                # Not what we speak: only its end can decide what it owns.
                self._on_stuck(link.receiver)
                continue
            self._apply(link, events)
        if link.channel.closed:
            self._close_link(link)
        self._send(link)
        self._end_if_over(link)
        if self._held:
            self._schedule()
        self._check_settled()

    def _end_if_over(self, link: Link) -> None:
        """Close a channel on which nothing more is offered or answered."""
        if self.closed and not link.offers:
            self._close_link(link)

    def _close_link(self, link: Link) -> None:
        if link not in self.links:
            return
        self.links.remove(link)
        self._loop.remove_reader(link.channel.fileno())
        self._loop.remove_writer(link.channel.fileno())
        self._apply(link, link.sender.receive_eof())
        link.channel.close()
        if not self.usable:
            self._take_back_held()

    def tick(self) -> None:
        """Look at the deadlines of the offers; called by the sweep."""
        for link in list(self.links):
            # An answer that is here must not be taken for a missing one because we were blocked.
            self._on_readable(link)
            if link in self.links:
                self._apply(link, link.sender.tick(self._loop.time()))
                self._send(link)
        if self._held:
            self._schedule()

    def _apply(self, link: Link, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Acknowledged):
                connection, _ = self._pop(link, event.offer)
                connection.let_go()
                self._on_handed_over()
            elif isinstance(event, Returned):
                connection, leftover = self._pop(link, event.offer)
                self._return(connection, leftover, lasting=event.lasting and link.usable)
            elif isinstance(event, ReceiverStuck):
                self._on_stuck(link.receiver)
            elif isinstance(event, PeerGreeted):
                if event.compatible:
                    self._on_ready()
                elif not self.usable:
                    self._on_incompatible()

    def _pop(self, link: Link, number: int) -> tuple[Offerable, bytes]:
        connection, leftover, extra = link.offers.pop(number)
        for fd in extra:
            with contextlib.suppress(OSError):
                os.close(fd)
        return connection, leftover

    def _return(self, connection: Offerable, leftover: bytes, *, lasting: bool) -> None:
        """Serve the connection on. It is offered again the next time that it is idle, unless that is pointless."""
        if lasting and len([link for link in self.links if link.usable]) <= 1:
            self._unwanted.add(connection)
        if not connection.gone:
            connection.take_back(leftover)

    def _take_back_held(self) -> None:
        held, self._held = self._held, set()
        for connection in held:
            if not connection.gone:
                connection.take_back(b"")

    def _check_settled(self) -> None:
        if self.settled:
            self._on_settled()
            if not self._telling:
                self._telling = True
                self._loop.call_soon(self._tell_receivers)

    def _tell_receivers(self) -> None:
        """Say that nothing is on its way, and how much may still follow."""
        self._telling = False
        if not self.settled:
            return
        left = self._count_left()
        for link in self.links:
            if link.usable and link.sender.greeted and link.said_left != left:
                link.said_left = left
                link.sender.done(left)
                self._send(link)


def _written(content: bytes) -> int:
    """Write what is too long for a packet into an anonymous file; return its descriptor."""
    file = anonymous_file("smoothserve-offer")
    with os.fdopen(os.dup(file), "wb") as out:
        out.write(content)
    return file
