"""How an HTTP connection goes to another worker, and goes on where its last worker left it.

Decides when it is held (no longer read from) and what is said of it; who may own it when is `control.handover`'s, and
what is done with requests the subclass's.
"""

from dataclasses import dataclass
from math import inf
from typing import Any

from smoothserve.connection.base import BY_HANDOVER, HEAD, HELD, IDLE
from smoothserve.connection.deadlines import Watched
from smoothserve.connection.past import NO_PAST, Past
from smoothserve.connection.service import Service


@dataclass(frozen=True, slots=True)
class Resumption:
    """How an adopted connection goes on where its last worker left it."""

    leftover: bytes = b""
    """What that worker has read and not used."""
    requests: int = 0
    idle: float | None = None
    """Seconds left to bring the next request."""
    head: float | None = None
    """Seconds left to complete the head that has begun."""
    past: Past = NO_PAST


class Movable(Watched):
    """A connection that carries exchanges, as far as it can be handed over and adopted."""

    __slots__ = ("_codec", "_codec_waits", "_held_from", "_offered", "_peer", "_resumption", "_unread", "requests")

    def __init__(
        self,
        service: Service,
        client: tuple[str, int] | None,
        server: tuple[str, int | None] | None,
        resumption: Resumption | None,
    ) -> None:
        super().__init__(service, client, server)
        if resumption is not None:
            self.continue_from(resumption.past)
        self._codec = service.make_codec()
        self.requests = 0 if resumption is None else resumption.requests
        self._resumption = resumption
        self._codec_waits = False
        self._held_from = (IDLE, inf)
        #: What has come and is not parsed here, while the connection is held for relief.
        self._unread = b""
        #: What its offer says has come.
        self._offered = b""
        forwarding = service.forwarding
        #: Its own addresses, if the peer is a proxy that says whose requests it brings.
        self._peer = (client, server) if forwarding is not None and forwarding.trusts(client) else None

    def _process(self) -> None:
        """Take events from the codec as far as the order of answers allows."""
        raise NotImplementedError

    def _resume(self, resumption: Resumption) -> None:
        """Go on where the last worker left the connection."""
        now = self._service.now
        if resumption.idle is not None:
            self.deadline = min(self.deadline, now + resumption.idle)
        if resumption.leftover:
            self._receive_here(resumption.leftover)
        if resumption.head is not None and self._phase == HEAD:
            self.deadline = min(self.deadline, now + resumption.head)
        self._resumption = None
        if self._read_holds:
            # uvloop begins to read after connection_made, whatever has been said within it.
            self._service.loop.call_soon(self._pause_again)

    def _pause_again(self) -> None:
        if self._read_holds and not self.gone:
            self._transport.pause_reading()

    def end_drain(self) -> None:
        """Wait for the next request as before: the time to linger is no longer the bound."""
        if self._phase == IDLE and self._exchange is None and not self._discarding:
            self.deadline = max(self.deadline, self._service.idle_deadline(self))

    def begin_drain(self) -> None:
        """Be handed over when idle; without a receiver close after the answer in hand, or when lingering is over."""
        if (self._phase not in (IDLE, HEAD)) or self._exchange is not None or self._discarding or self._eof:
            return
        service = self._service
        if service.offering is not None and service.offering.wants(self):
            self._hold()
        elif self._phase == IDLE:
            self.deadline = min(self.deadline, service.linger_limit(self))

    def _hold(self) -> None:
        """Read no more, and be offered as soon as everything sent is out."""
        self._held_from = (self._phase, self.deadline)
        self._phase = HELD
        self.deadline = inf
        self._hold_reading(BY_HANDOVER)
        if self._service.offering is not None:
            self._service.offering.hold(self)

    def _hold_unread(self, data: bytes) -> None:
        """Read no more, and leave what has come to a sibling: all threads here are stuck in calls."""
        service = self._service
        relief = service.relief
        if relief is None or relief.closed or not (self.flushed and self.movable):
            self._receive_here(data)
            return
        self._unread = data
        service.note_unread(1)
        self._held_from = (IDLE, self.deadline)
        self._phase = HELD
        self.deadline = inf
        self._hold_reading(BY_HANDOVER)
        relief.hold(self)

    def _forget_unread(self) -> None:
        """Hold nothing unread any more: it is served here, is another worker's, or its client has gone."""
        if self._unread:
            self._unread = b""
            self._service.note_unread(-1)

    def let_go(self) -> None:
        """Forget the connection: it is another worker's, with all that it has brought."""
        self._forget_unread()
        super().let_go()

    def _receive_here(self, data: bytes) -> None:
        """Take input that is to be served here, come what may."""
        service = self._service
        relieving, service.relieving = service.relieving, False
        self.received -= len(data)  # it has been counted when it came, here or there
        try:
            self.data_received(data)
        finally:
            service.relieving = relieving

    def describe(self) -> tuple[dict[str, Any], bytes]:
        """Return what the next worker must know, and the input that is read and not used."""
        phase, deadline = self._held_from
        now = self._service.loop.time()
        if phase == IDLE and self._sending is not None:
            # The last answer is out only now: idle time begins.
            deadline = now + (self._service.timeouts.keep_alive or self._service.timeouts.head)
        client, server = self._peer or (self.client, self.server)
        meta: dict[str, Any] = {
            "kind": "http",
            "client": client,
            "server": server,
            "requests": self.requests,
            "past": self.tell_past(),
            "head" if phase == HEAD else "idle": max(0.0, deadline - now),
        }
        self._offered = self._unread or self._codec.trailing_data() or b""
        return meta, self._offered

    @property
    def _brings_request(self) -> bool:
        """Whether it is held with a request that has come. For its end: the codec is not used any more."""
        if self._phase != HELD or self._held_from[0] == HEAD:
            return False
        return bool(self._unread or self._offered or self._codec.trailing_data())

    def take_back(self, leftover: bytes) -> None:
        """Read on: the connection stays here."""
        self._phase, self.deadline = self._held_from
        leftover = leftover or self._unread
        self._forget_unread()
        self._offered = b""
        if self._codec_waits:
            self._codec_waits = False
            self._codec.next_request()
        if leftover:
            self._receive_here(leftover)
        else:
            self._process()
        self._release_reading(BY_HANDOVER)
