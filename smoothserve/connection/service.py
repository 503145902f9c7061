"""What all connections of a worker share: the application, the clock, the counters, the sweep of time-outs.

There is one coarse timer sweep for all connections instead of a timer for each request (benchmark: small answer,
keep-alive). `now` is the loop's time at the last sweep.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Protocol

from smoothserve.connection.balance import Balance
from smoothserve.connection.drain import Drain
from smoothserve.connection.offering import Offerable, Offering
from smoothserve.connection.overdue import Overdue
from smoothserve.control.channel import Channel
from smoothserve.control.measures import Measures
from smoothserve.control.scoreboard import Counter
from smoothserve.protocol.events import Codec, Request
from smoothserve.protocol.exchange import Application
from smoothserve.protocol.forwarded import Forwarding, TrustedProxies
from smoothserve.protocol.response import DefaultHeaders, Response

if TYPE_CHECKING:
    from smoothserve.connection.base import Connection
    from smoothserve.connection.relief import Relief
    from smoothserve.connection.room import Room
    from smoothserve.connection.websocket_options import WebSocketOptions
    from smoothserve.net.tls import ServerTLS

SWEEP_INTERVAL = 0.5
#: Of the request rate, how much of the last sweep's goes into the average: that of the last 5 s or so.
_RATE_WEIGHT = 0.15
#: Multiples of it, modulo 1, are spread evenly, however many.
GOLDEN_RATIO = 0.6180339887498949


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a connection may wait, in seconds, each without progress."""

    keep_alive: float = 75.0
    """Without a request, or before the first."""
    head: float = 60.0
    """From the first byte of a head to its end."""
    half_closed: float = 1.0
    """From the client's half-close to telling an application that waits for the client's leaving."""
    close: float = 2.0
    """For the client to close its side after ours, or to send more (a lingering close)."""
    close_total: float = 30.0
    """For a lingering close in all."""
    body: float = 60.0
    """Without progress of a request's body."""
    write: float = 60.0
    """For a client that takes nothing of what waits for it."""


class Call(Protocol):
    """An application call that has not returned."""

    dropped: bool
    """Set when the server itself cuts the call (drain deadline)."""

    def cancel(self) -> None:
        """Cut the call."""

    @property
    def awaited(self) -> bool:
        """Whether the client has done its part and nothing of the answer has been sent to it."""

    def time_out(self, timeout: float) -> None:
        """Answer 504 in the application's place, and end the call as far as it can be ended."""


class HoldsDescriptors(Protocol):
    """What has descriptors of its own that no forked child may keep."""

    def filenos(self) -> list[int]:
        """Return them."""


@dataclass(frozen=True, slots=True)
class ProxyProtocol:
    """Every connection begins with a header of the PROXY protocol."""

    versions: str
    """`v1`, `v2` or `auto`."""
    trusted: TrustedProxies
    """Who may say so."""


class AccessLog(Protocol):
    """Where finished answers are noted."""

    def note(self, client: tuple[str, int] | None, request: Request, response: Response, seconds: float) -> None:
        """Note an answer. `seconds` is the time from the request's head to the answer's last byte."""


class Service:
    """The serving side of a worker, as its connections see it."""

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        application: Application,
        make_codec: Callable[[], Codec],
        defaults: DefaultHeaders,
        counters: memoryview,
        error_log: logging.Logger,
        timeouts: Timeouts | None = None,
        access_log: AccessLog | None = None,
        websockets: "WebSocketOptions | None" = None,
        drain: Drain | None = None,
        max_requests: int = 0,
        min_body_rate: int = 0,
        forwarding: Forwarding | None = None,
        proxy: ProxyProtocol | None = None,
        measures: memoryview | None = None,
        tls: "ServerTLS | None" = None,
    ) -> None:
        self.loop = loop
        self.application = application
        self.make_codec = make_codec
        self.defaults = defaults
        self.counters = counters
        self.error_log = error_log
        self.timeouts = timeouts or Timeouts()
        self.access_log = access_log
        self.measures = Measures() if measures is not None else None
        """What is measured of each answer; None: nobody can ask."""
        self._measured = measures
        self.timed = access_log is not None or measures is not None
        """Whether it matters how long an answer takes."""
        self.websockets = websockets
        """None: a request for a WebSocket is served as one of HTTP."""
        self.websockets_open = 0
        self.websockets_carried = 0
        self.drain = drain or Drain()
        self.forwarding = forwarding
        """How the headers of trusted proxies are read, if they are."""
        self.proxy = proxy
        self.tls = tls
        """What new connections are encrypted with, if they are. Those that were taken over never are."""
        self.last_request = max_requests - 1 if max_requests else inf
        """How many requests a connection may have had when it brings its last one."""
        if not self.timeouts.keep_alive:
            self.last_request = 0  # so each is the last: no question of its own for each answer
        # Four looks in the time without progress: a measure that happens to be the same twice is no standstill.
        self._watch_interval = min(self.timeouts.body, self.timeouts.write) / 4
        self._idle_seconds = self.timeouts.keep_alive or self.timeouts.head
        self._set_clock(loop.time())
        self.watch_at: float
        """When the sweep looks whether a client does its part that is begun to be waited for now."""
        self.idle_until: float
        """Until when a connection that becomes idle now may bring its next request, where nothing drains."""
        self.least_body_bytes = max(1, int(min_body_rate * self.timeouts.body))
        """Bytes of a body within the body time-out that are progress."""
        self.on_room: Callable[[], None] | None = None
        """Called when a connection has ended; for an acceptor that has stopped at its limit."""
        self.connections: set[Connection] = set()
        self.calls: set[Call] = set()
        """Application calls that have not returned: what is in hand."""
        self.unanswered = 0
        self.unfinished = 0
        """Requests that have ended, but not with an exchange's whole answer."""
        self.seconds = 0.0
        """How long the exchanges' answers took together."""
        self.requests = 0
        self.dropped = 0
        self.draining = False
        self.stopping = False
        """The server stops: nobody goes on with what is open."""
        self._spread = 0
        self.attaching: dict[asyncio.Task[None], socket.socket] = {}
        """Tasks that make connections of open sockets."""
        self._rate = 0.0
        self._rated = self.now, 0
        """When the rate was last averaged, and at how many requests."""
        self.unannounced: set[asyncio.Task[None]] = set()
        """Those of them that wait for the header of the PROXY protocol, or shake hands."""
        self.balance: Balance | None = None
        self.adopting: set[HoldsDescriptors] = set()
        """Where connections are taken over."""
        self.adopted = 0
        self.handed_over = 0
        self.relieved = 0
        self._unread = 0
        self.offering: Offering | None = None
        """Where idle connections are handed over while draining; None if there is no receiver, and none to come."""
        self.room: Room | None = None
        """The application's threads, if it has any."""
        self.relief: Relief | None = None
        """What goes to the siblings while all threads are stuck in calls."""
        self.relieving = False
        """Whether a connection that brings a request now is held, for relief."""
        self.checks: tuple[bytes, ...] = ()
        """How requests begin that the server answers itself, whatever the threads do: no sibling need have them."""
        self.overdue: Overdue | None = None
        """What looks for requests that the application takes too long to answer, if there is a bound."""
        self._ending: list[Offering] = []
        """Former ones, with offers that have no answer yet."""
        self.linger_until = inf
        """While draining: when the last idle connection is closed."""
        self._linger = 0.0
        self._late = False
        self._on_empty: Callable[[], None] | None = None

    def idle_deadline(self, connection: "Connection") -> float:
        """Return until when a connection that becomes idle now may bring its next request."""
        if not connection.writable:
            # Idle time begins when the last answer is out.
            connection.watch_sending()
            return min(self.watch_at, self.linger_limit(connection)) if self.draining else self.watch_at
        return min(self.idle_until, self.linger_limit(connection)) if self.draining else self.idle_until

    def _set_clock(self, now: float) -> None:
        """Take the time, once for all that happens until the next sweep."""
        self.now = now
        self.watch_at = now + self._watch_interval
        # Without keep-alive only a connection's first request is waited for.
        self.idle_until = now + self._idle_seconds

    def linger_limit(self, connection: "Connection") -> float:
        """Return until when a draining worker keeps an idle connection: without limit if it may be handed over."""
        return inf if self.keeps(connection) else self.linger_until

    def keeps(self, connection: "Connection") -> bool:
        """Whether a connection is kept open while draining: a receiver will take it, this one or another to come."""
        return self.offering is not None and self.offering.may_take(connection)

    def filenos(self) -> list[int]:
        """Return the descriptors of all connections and handover channels: what no forked child may keep."""
        found = [connection.fileno() for connection in self.connections]
        found += [sock.fileno() for sock in self.attaching.values()]
        for holder in self.adopting:
            found += holder.filenos()
        for offering in self._offerings():
            for link in offering.links:
                found += link.filenos()
        return found

    def _offerings(self) -> list[Offering]:
        return [*self._ending, *(one for one in (self.offering, self.relief) if one is not None)]

    def _end_offering(self) -> None:
        """Offer nothing more. What is offered already is seen to its end, whatever becomes of us."""
        if self.offering is not None:
            self.offering.close()
            self._ending.append(self.offering)
            self.offering = None

    @property
    def empty(self) -> bool:
        """Whether nothing is in hand and no connection is open."""
        return not (self.connections or self.calls or self.attaching)

    def await_receiver(self, on_settled: Callable[[], None], on_stuck: Callable[[int], None]) -> Offering:
        """Keep connections while draining: there is a receiver for them, or one is to come."""
        if self.offering is None or self.offering.closed:
            self._end_offering()
            self.offering = Offering(
                self.loop,
                on_handed_over=self.note_handed_over,
                on_settled=on_settled,
                on_stuck=on_stuck,
                on_ready=self._collect,
                on_incompatible=self.stop_handing_over,
                count_left=lambda: len(self.connections),
            )
        return self.offering

    def hand_over(
        self, channel: Channel, receiver: int, on_settled: Callable[[], None], on_stuck: Callable[[int], None]
    ) -> None:
        """Hand idle connections over on this channel, to the worker of that number, as long as we drain."""
        self.await_receiver(on_settled, on_stuck).add_link(channel, receiver)

    def _collect(self) -> None:
        """Hold what is idle, to be handed over."""
        if self.draining and self.offering is not None and not self.offering.closed:
            self.offering.collect(self.connections)

    def stop_handing_over(self) -> None:
        """Treat what no receiver has taken as what cannot be handed over: close after the next answer, or linger."""
        if self.offering is not None and not self.offering.closed:
            self.offering.close()
            self.linger_until = self.loop.time() + self._linger
            for connection in list(self.connections):
                connection.begin_drain()

    def note_carried(self) -> None:
        """Count a WebSocket that another worker goes on with."""
        self.websockets_carried += 1
        self.counters[Counter.WEBSOCKETS_CARRIED] = self.websockets_carried

    def next_in_spread(self) -> float:
        """Return a number from 0 to 1: any number of them in a row are spread evenly."""
        self._spread += 1
        return self._spread * GOLDEN_RATIO % 1.0

    def note_handed_over(self) -> None:
        """Count a connection that another worker goes on with."""
        self.handed_over += 1
        self.counters[Counter.HANDED_OVER] = self.handed_over

    def note_relieved(self) -> None:
        """Count a request that a sibling with a free thread serves, and its connection with it."""
        self.relieved += 1
        self.counters[Counter.RELIEVED] = self.relieved

    def note_unread(self, change: int) -> None:
        """Count what has come and is held, unread, for a sibling: lost with this process, like what is in hand."""
        self._unread += change
        self.counters[Counter.UNREAD] = self._unread

    def keep(self, connection: Offerable) -> None:
        """Serve a connection that was held for a sibling; or leave it, as it is, to the successor."""
        offering = self.offering
        if self.draining and offering is not None and offering.may_take(connection):
            offering.hold(connection)
        else:
            connection.take_back(b"")

    def end_drain(self) -> None:
        """Serve on: the successor is gone."""
        self.draining = False
        self.linger_until = inf
        self._on_empty = None
        self.drain.end()
        self._end_offering()
        if self.relief is not None:
            self._ending.append(self.relief)
            self.relief = self.relief.renewed()
        for connection in list(self.connections):
            connection.end_drain()

    def sweep(self) -> None:
        """Fire the time-outs that are due, publish the counters; called every `SWEEP_INTERVAL`."""
        now = self.loop.time()
        # Not twice in a row: on a loop that is never in time nothing would ever be timed out.
        self._late = late = not self._late and now - self.now > 1.2 * SWEEP_INTERVAL
        self._set_clock(now)
        if late:
            # The loop was blocked, and uvloop runs timers before it reads: what has come meanwhile comes first.
            self.publish()
            return
        # A time-out changes the set.
        for connection in [one for one in self.connections if one.deadline <= now]:
            connection.timed_out()
        if self.overdue is not None:
            self.overdue.look(now)
        self._ending = [offering for offering in self._ending if offering.links]
        for offering in self._ending:
            offering.tick()
        if self.draining and now >= self.linger_until:
            # Who has not even said who is there has nothing in hand.
            for task in list(self.unannounced):
                task.cancel()
        if self.relief is not None and not self.relief.settled:
            self.relief.tick()
        if self.draining and self.offering is not None:
            self.offering.tick()
            # Those that were refused for the moment, or came back.
            self._collect()
        self.publish()

    def publish(self) -> None:
        """Write the counters that may lag behind into the scoreboard."""
        counters = self.counters
        counters[Counter.REQUESTS] = self.requests
        counters[Counter.PROGRESS] = now = int(time.monotonic() * 1000)
        counters[Counter.RATE] = self._average_rate()
        if self.measures is not None and self._measured is not None:
            self.measures.publish(
                self._measured,
                finished=self.requests - self.unanswered - self.unfinished,
                seconds=self.seconds,
                received=sum([one.received for one in self.connections]),
                sent=sum([one.sent for one in self.connections]),
            )
        if self.balance is not None:
            self.balance.look_around(now)

    def _average_rate(self) -> int:
        since, before = self._rated
        passed = self.now - since
        if passed > 0:
            self._rate += min(1.0, _RATE_WEIGHT * passed / SWEEP_INTERVAL) * (
                (self.requests - before) / passed - self._rate
            )
            self._rated = self.now, self.requests
        return int(self._rate * 1000)

    def begin_drain(self, linger: float, on_empty: Callable[[], None]) -> None:
        """Let every connection finish what it has in hand. Idle ones are handed over where there is a receiver, else
        they may bring a request for `linger` seconds more.

        `on_empty` is called, perhaps at once, when nothing is left. Called again, it brings the linger time down.
        """
        self.draining = True
        self._on_empty = on_empty
        self._set_clock(self.loop.time())
        self._linger = linger
        self.linger_until = min(self.linger_until, self.now + linger)
        if self.relief is not None and not self.relief.closed:
            self.relief.close()
        if self.offering is not None and not self.offering.closed:
            self.offering.collect(self.connections)
        else:
            for connection in list(self.connections):
                connection.begin_drain()
        self.check_empty()

    def attached(self, task: "asyncio.Task[None]") -> None:
        """Take note that an accepted socket has become a connection, or not."""
        self.attaching.pop(task, None)
        self.unannounced.discard(task)
        self.check_empty()
        self.note_room()

    def note_room(self) -> None:
        """Tell the acceptor, if it has stopped at its limit, that there may be room."""
        if self.on_room is not None:
            self.on_room()

    def check_empty(self) -> None:
        """Tell the drain, if there is one, that nothing is left."""
        if self.draining and self._on_empty is not None and self.empty:
            on_empty, self._on_empty = self._on_empty, None
            on_empty()

    def note_dropped(self) -> None:
        """Count a request that got no whole answer through the server's doing."""
        self.dropped += 1
        self.counters[Counter.DROPPED] = self.dropped
        self.counters[Counter.DROPPED_AT_STOP if self.stopping else Counter.DROPPED_AT_DRAIN] += 1

    def cut(self) -> int:
        """End everything that is left: the drain deadline has passed. Return the number of requests dropped by it."""
        before = self.dropped
        for connection in list(self.connections):
            connection.cut()
        for exchange in list(self.calls):
            exchange.dropped = True
            exchange.cancel()
        return self.dropped - before
