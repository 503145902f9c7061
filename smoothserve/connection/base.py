"""What every connection of a worker is, whatever protocol it speaks: a transport, its phase and deadline, its closing.

Decides how reading is held and a socket is closed (RFC 9112 section 9.6); which requests or messages travel is the
subclass's.
"""

import asyncio
import contextlib
import select
import socket
import struct
from math import inf
from typing import Any, cast

from smoothserve.connection.past import NO_PAST, Past
from smoothserve.connection.progress import Progress, bytes_in_kernel
from smoothserve.connection.service import Service
from smoothserve.control.scoreboard import Counter
from smoothserve.protocol.tls import TLSInfo

# What a connection waits for, and so what its deadline is for. Plain numbers: they are compared for every read.
#: Between requests, or before the first.
IDLE = 0
#: A head has begun to come.
HEAD = 1
#: A request is being answered.
BUSY = 2
#: A request is being answered, and the client sends no more.
HALF_CLOSED = 3
#: Our side is closed; the client's is awaited.
CLOSING = 4
#: Not read from: it is to be handed over, or has been offered.
HELD = 5

_CONNECTIONS = int(Counter.CONNECTIONS)

# Who holds reading back.
#: The exchange has enough of the body.
BY_BODY = 1
#: Enough of further requests has come.
BY_PIPELINE = 2
#: The connection is to be handed over.
BY_HANDOVER = 4


class Connection(asyncio.Protocol):
    """A connection's transport side."""

    __slots__ = (
        "_close_by",
        "_eof",
        "_gone",
        "_phase",
        "_read_holds",
        "_sending",
        "_service",
        "_transport",
        "born",
        "client",
        "deadline",
        "past",
        "received",
        "scheme",
        "sent",
        "server",
        "tls",
        "writable",
    )

    def __init__(self, service: Service, client: tuple[str, int] | None, server: tuple[str, int | None] | None) -> None:
        self._service = service
        self.client = client
        self.server = server
        self.scheme = "http"
        self.tls: TLSInfo | None = None
        self.writable = True
        self.deadline = inf
        self.born = service.now
        """When it was accepted or taken over, on the clock of the sweep."""
        self.received = 0
        """Bytes that have come, and that were sent, here."""
        self.sent = 0
        self.past = NO_PAST
        self._phase = IDLE
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._eof = False
        self._gone = False
        self._read_holds = 0
        self._sending: Progress | None = None
        self._close_by = inf

    def secure(self, tls: TLSInfo) -> None:
        """Take note, before anything else, that it is encrypted."""
        self.tls = tls
        self.scheme = "https"

    @property
    def movable(self) -> bool:
        """Whether another worker could go on with it: not with the state of a TLS session, which only we have."""
        return self.tls is None

    @property
    def gone(self) -> bool:
        """Whether the connection has ended."""
        return self._gone or self._transport.is_closing()

    @property
    def flushed(self) -> bool:
        """Whether the kernel has taken everything that was sent."""
        return not self._transport.get_write_buffer_size()

    def fileno(self) -> int:
        """Return the socket's descriptor, -1 once it is gone."""
        return -1 if self._gone else int(self._transport.get_extra_info("socket").fileno())

    @property
    def input_waits(self) -> bool:
        """Whether the client has sent something, its leaving perhaps, that the loop has not come to read yet."""
        if self._gone or self._read_holds:
            return False
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def write(self, data: bytes) -> None:
        """Send bytes; dropped silently once the client has gone."""
        if not self._gone:
            self.sent += len(data)
            self._transport.write(data)

    def note_end(self) -> None:
        """Strike the connection out: it is gone. What it has carried is counted still."""
        service = self._service
        if self in service.connections:
            service.connections.discard(self)
            if service.measures is not None:
                service.measures.received += self.received
                service.measures.sent += self.sent
        service.counters[_CONNECTIONS] = len(service.connections)

    def watch_sending(self) -> None:
        """Watch from now on whether the client takes what was sent to it."""
        self._sending = Progress(self._unsent(), self._service.now)

    def _unsent(self) -> int:
        return self._transport.get_write_buffer_size() + bytes_in_kernel(self.fileno())

    def _takes_nothing(self) -> bool:
        """Whether the client has taken nothing for too long of what waits for it. For the sweep.

        What the system holds counts only when the answer is complete: before that, more may be sent any time.
        """
        if self._gone or not (self._unsent() if self._phase == IDLE else self._transport.get_write_buffer_size()):
            self._sending = None
            return False
        if self._sending is None:
            self.watch_sending()
            return False
        service = self._service
        return self._sending.unchanged(self._unsent(), service.now) >= service.timeouts.write

    def let_go(self) -> None:
        """Forget the connection: it is another worker's. Never `shutdown()`: that would act on the shared socket."""
        self._gone = True
        self._transport.abort()

    def continue_from(self, past: Past) -> None:
        """Go on with what the connection has behind it."""
        self.past = past
        self.born -= past.age

    def tell_past(self) -> list[float]:
        """Return the age, and the bytes received and sent, for the worker that goes on with the connection."""
        age = max(0.0, self._service.loop.time() - self.born)
        return [age, self.past.received + self.received, self.past.sent + self.sent]

    # what each kind of connection does its own way

    def tell(self) -> dict[str, Any]:
        """Return what it is doing, for the operator: kind, state, requests, path and seconds in progress."""
        raise NotImplementedError

    def timed_out(self) -> None:
        """Do what is due at the deadline; called by the sweep."""
        raise NotImplementedError

    def begin_drain(self) -> None:
        """The worker drains: be handed over, or end when nothing is in hand. Called again and again meanwhile."""
        raise NotImplementedError

    def end_drain(self) -> None:
        """Stay: the worker serves on."""
        raise NotImplementedError

    def cut(self) -> None:
        """End the connection now: the drain deadline has passed."""
        raise NotImplementedError

    def describe(self) -> tuple[dict[str, Any], bytes]:
        """Return what the next worker must know, and the input that is read and not used."""
        raise NotImplementedError

    def take_back(self, leftover: bytes) -> None:
        """Read on: the connection stays here."""
        raise NotImplementedError

    # reading on and off

    def _hold_reading(self, who: int) -> None:
        if not self._read_holds and not self._gone:
            self._transport.pause_reading()
        self._read_holds |= who

    def _release_reading(self, who: int) -> None:
        if self._read_holds & who:
            self._read_holds &= ~who
            if not self._read_holds and not self._gone and not self._transport.is_closing():
                self._transport.resume_reading()

    # closing

    def _close(self) -> None:
        """Close when everything is sent."""
        self._phase = CLOSING
        self.deadline = self._service.watch_at
        if not self._gone:
            self._transport.close()

    def _cut_off(self) -> None:
        """End the connection with a reset: the client must see that its answer is not whole.

        The system, too, drops what it still holds for the client.
        """
        self._phase = CLOSING
        self.deadline = inf
        if not self._gone:
            with contextlib.suppress(OSError):
                sock = self._transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    def _close_lingering(self) -> None:
        """Close our side, wait for the client's: closing at once could reset an answer on its way (RFC 9112 9.6)."""
        if self._gone or self._phase == CLOSING:
            return
        if self._eof or not self._transport.can_write_eof():
            self._close()
            return
        self._phase = CLOSING
        self.deadline = self._service.now + self._service.timeouts.close
        self._close_by = self._service.now + self._service.timeouts.close_total
        self._release_reading(self._read_holds)
        self._transport.write_eof()

    def _closing_goes_on(self) -> None:
        """Take note that the client still sends: what it sends is thrown away, but its time begins anew.

        A client that reads its answer only after it has sent everything would lose it by an early reset.
        """
        self.deadline = min(self._service.now + self._service.timeouts.close, self._close_by)

    def _closing_timed_out(self) -> None:
        """Give the client up, unless it still takes what was sent."""
        if self._gone or self.flushed:
            self._transport.abort()
        elif self._takes_nothing():
            self._cut_off()
        else:
            self.deadline = self._service.watch_at
