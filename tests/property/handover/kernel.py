"""A model of what is around a handover: clients' sockets, a kernel with packet channels, processes.

Who owns a socket is known from the wire alone: the receiver, once its ACK is in the kernel, or has failed because the
sender is gone; until then the sender.
"""

import json
from collections import deque
from dataclasses import dataclass

from smoothserve.control.handover import HandoverSender

HELLO, OFFER, ACK, NAK, CANCEL, CANCELLED = range(1, 7)


class ViolationError(AssertionError):
    """A promise is broken: what the negative controls must lead to."""


def require(kept: bool, promise: str) -> None:
    if not kept:
        raise ViolationError(promise)


@dataclass(eq=False)
class Socket:
    """A connection as the kernel has it: byte k of what its client sends is k modulo 251."""

    number: int
    owner: "Process"
    sent: int = 0
    consumed: int = 0
    shut: bool = False

    def stream(self, begin: int, end: int) -> bytes:
        return bytes(position % 251 for position in range(begin, end))


@dataclass(frozen=True, eq=False)
class Anonymous:
    """An anonymous file: the second descriptor of a large offer."""

    content: bytes


Descriptor = Socket | Anonymous


@dataclass(eq=False)
class Connection:
    """A socket as the process that serves it sees it: how far it has read, and how far used what it has read."""

    socket: Socket
    read_to: int = 0
    used_to: int = 0
    reading: bool = True
    idle: bool = False
    unwanted: bool = False


@dataclass(frozen=True)
class Wire:
    """A packet in the kernel or before it."""

    data: bytes
    descriptors: tuple[Descriptor, ...] = ()

    @property
    def kind(self) -> int:
        return self.data[0]

    @property
    def offer(self) -> int:
        return int.from_bytes(self.data[1:5], "big")


class End:
    """One end of a channel, to a worker what `Channel` is: what the kernel does not take yet waits here."""

    peer: "End"

    def __init__(self, link: "Link") -> None:
        self.link = link
        self.inbox: deque[Wire] = deque()
        self.waiting: deque[Wire] = deque()
        self.open = True

    def send(self, wire: Wire) -> None:
        self.waiting.append(wire)
        self.flush()

    def flush(self) -> bool:
        """Give the kernel what it takes. Return whether anything moved."""
        before = len(self.waiting)
        while self.waiting and (not self.peer.open or len(self.peer.inbox) < self.link.capacity):
            wire = self.waiting.popleft()
            if wire.kind == ACK:
                self.link.sockets[wire.offer].owner = self.link.receiver
            if self.peer.open:
                self.peer.inbox.append(self.link.on_the_way(wire))
        return len(self.waiting) < before

    @property
    def ended(self) -> bool:
        """Whether end of file is what the next read meets."""
        return not self.peer.open and not self.inbox

    def close(self) -> None:
        self.open = False
        self.inbox.clear()
        self.waiting.clear()


class Link:
    """A channel between the sender and one receiver. Not `compatible`: each speaks another version than the other."""

    def __init__(self, capacity: int, compatible: bool) -> None:
        self.capacity = capacity
        self.compatible = compatible
        self.sender_end = End(self)
        self.receiver_end = End(self)
        self.sender_end.peer, self.receiver_end.peer = self.receiver_end, self.sender_end
        self.protocol = HandoverSender()
        self.outgoing: deque[tuple[bytes, int | None]] = deque()
        self.offers: dict[int, Connection] = {}
        self.files: dict[int, Anonymous] = {}
        self.sockets: dict[int, Socket] = {}
        self.ended: set[int] = set()
        self.stuck = False
        self.receiver: Process

    def on_the_way(self, wire: Wire) -> Wire:
        if wire.kind == HELLO and not self.compatible:
            return Wire(wire.data[:5] + json.dumps({"version": 2}).encode())
        return wire


class Process:
    """What both workers are: connections, and a life that ends at once."""

    def __init__(self, fuse: int | None = None) -> None:
        self.alive = True
        self.fuse = fuse
        """It crashes when it has done so much."""
        self.connections: dict[int, Connection] = {}
        self.loose: list[Descriptor] = []
        """Descriptors that are open and belong to no connection yet."""

    def burn_fuse(self) -> None:
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse <= 0:
                self.crash()

    def crash(self) -> None:
        raise NotImplementedError

    def held(self) -> set[Descriptor]:
        """What it has descriptors of: connections, packets that wait (copies), and what it is about to adopt."""
        return {
            *(connection.socket for connection in self.connections.values()),
            *(descriptor for wire in self.queued() for descriptor in wire.descriptors),
            *self.loose,
        }

    def queued(self) -> list[Wire]:
        return []

    def reads(self, socket: Socket) -> bool:
        connection = self.connections.get(socket.number)
        return self.alive and connection is not None and connection.reading

    def read_sockets(self) -> list[Socket]:
        return [connection.socket for connection in self.connections.values() if connection.reading]

    def begin_to_read(self, connection: Connection) -> None:
        require(connection.read_to == connection.socket.consumed, "what a client sends is read without a gap")
        connection.reading = True

    def read(self, connection: Connection, used: int) -> None:
        """Read what has come, and use up all of it but at most so many bytes (h11 moves in mid-head)."""
        require(connection.read_to == connection.socket.consumed, "what a client sends is read without a gap")
        connection.read_to = connection.socket.consumed = connection.socket.sent
        connection.used_to = max(connection.used_to, connection.read_to - used)
