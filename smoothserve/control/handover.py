"""The handover protocol between two workers, without I/O: who owns a connection at any moment.

The predecessor runs `HandoverSender`, the successor `HandoverReceiver`; packets travel in order over a `Channel`.
The rules that carry it: the sender stops reading before it offers and reads again only after NAK, CANCELLED or an
end of file that it has read up to, never because of a time-out alone; the receiver's ACK is in the kernel before its
first read. So a socket has at most one reader, and is lost only with its owner.
"""

import json
import struct
from collections import deque
from dataclasses import dataclass, field
from typing import Any

#: Raised when the meaning of a message changes. A mismatch means: drain without handover.
HANDOVER_VERSION = 1
#: Offers that may be without an answer at a time.
WINDOW = 32
#: Seconds without an answer after which an offer is cancelled, and as many again until the receiver counts as stuck.
ANSWER_TIMEOUT = 5.0
#: A larger offer travels in an anonymous file, as a second descriptor.
MAX_INLINE_BYTES = 64 * 1024

_HEADER = struct.Struct("!BI")
_META = struct.Struct("!I")
_HELLO, _OFFER, _ACK, _NAK, _CANCEL, _CANCELLED, _DONE, _LEFT = range(1, 9)


class HandoverError(ValueError):
    """A packet that is none of the protocol: the other side is broken, or not ours."""


# events


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a packet, the end of the channel or the clock has brought about."""


@dataclass(frozen=True, slots=True)
class PeerGreeted(Event):
    """The other side has said HELLO. Not `compatible`: no handover with it."""

    compatible: bool


@dataclass(frozen=True, slots=True)
class Acknowledged(Event):
    """The receiver owns the connection: let go of it, without `shutdown()`."""

    offer: int


@dataclass(frozen=True, slots=True)
class Returned(Event):
    """The connection is still the sender's, which may read again. `lasting`: offering it there again is pointless."""

    offer: int
    reason: str
    lasting: bool = False


@dataclass(frozen=True, slots=True)
class ReceiverStuck(Event):
    """The receiver answers neither offer nor cancellation: only its death can decide who owns the connections.

    Or it has not even greeted: it owns none of them, but is as little of use.
    """


@dataclass(frozen=True, slots=True)
class Offered(Event):
    """A connection is offered, to be answered at once with `acknowledge` or `refuse`."""

    offer: int
    meta: dict[str, Any] = field(default_factory=dict)
    leftover: bytes = b""
    in_file: bool = False
    """The content is in the anonymous file that came as second descriptor: `parse_content` reads it."""


@dataclass(frozen=True, slots=True)
class SenderDone(Event):
    """The sender has nothing more to offer for now; `left` connections are still busy there and may follow."""

    left: int


# wire form


def _packet(kind: int, offer: int = 0, payload: bytes = b"") -> bytes:
    return _HEADER.pack(kind, offer) + payload


def render_content(meta: dict[str, Any], leftover: bytes) -> bytes:
    """Render what an offer says of a connection, and the input that has been read and not used."""
    described = json.dumps(meta, separators=(",", ":")).encode()
    return _META.pack(len(described)) + described + leftover


def parse_content(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Parse what `render_content` has rendered. Raise `HandoverError` for anything else."""
    if len(content) < _META.size:
        raise HandoverError("an offer is too short")
    (length,) = _META.unpack_from(content)
    described = content[_META.size : _META.size + length]
    if len(described) < length:
        raise HandoverError("an offer is too short")
    try:
        meta = json.loads(described)
    except (ValueError, RecursionError) as error:
        raise HandoverError("an offer is not JSON") from error
    if not isinstance(meta, dict):
        raise HandoverError("an offer is no JSON object")
    return meta, content[_META.size + length :]


def _hello() -> bytes:
    return _packet(_HELLO, 0, json.dumps({"version": HANDOVER_VERSION, "kinds": ["http", "websocket"]}).encode())


def _parse_hello(payload: bytes) -> bool:
    try:
        values = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise HandoverError("HELLO is not JSON") from error
    return isinstance(values, dict) and values.get("version") == HANDOVER_VERSION


def _parse(packet: bytes) -> tuple[int, int, bytes]:
    if len(packet) < _HEADER.size:
        raise HandoverError("a packet is too short")
    kind, offer = _HEADER.unpack_from(packet)
    if not _HELLO <= kind <= _LEFT:
        raise HandoverError(f"a packet is of the unknown kind {kind}")
    return kind, offer, packet[_HEADER.size :]


# the predecessor's side


class HandoverSender:
    """Offers connections, `WINDOW` at a time; each offer ends in `Acknowledged` or `Returned`, always.

    `now` is any steady clock, in seconds. Packets to send are (bytes, offer): of an offer, its descriptors go along.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._unanswered: dict[int, float] = {}
        self._cancelled: dict[int, float] = {}
        self._outbox: list[tuple[bytes, int | None]] = [(_hello(), None)]
        self._next = 1
        self.greeted = False
        self.closed = False
        self._hello_awaited_at = 0.0
        self._silent = False
        self._stuck = False

    @property
    def pending(self) -> int:
        """How many offers have not ended."""
        return len(self._waiting) + len(self._unanswered)

    @property
    def usable(self) -> bool:
        """Whether offers can be made. Not now to a receiver that is slow to answer, nor ever to one that is stuck."""
        return not (self.closed or self._stuck or self._silent or self._cancelled)

    @property
    def stuck(self) -> bool:
        """Whether the receiver has answered neither an offer nor its cancellation: there are no more offers to it."""
        return self._stuck

    def offer(self, content: bytes, now: float) -> int:
        """Offer a connection that is no longer read from. Return the offer's number. Only while `usable`."""
        if not self.usable:
            raise RuntimeError("an offer to a receiver that can take none")
        if not (self.greeted or self._waiting):
            self._hello_awaited_at = now
        number = self._next
        self._next += 1
        self._waiting.append((number, content))
        self._fill(now)
        return number

    def done(self, left: int) -> None:
        """Say that nothing is left to offer for now; `left` connections are busy and may follow."""
        if not self.closed:
            self._outbox.append((_packet(_LEFT if left else _DONE, left), None))

    def packets_to_send(self) -> list[tuple[bytes, int | None]]:
        """Return the packets that are due, each with the offer whose descriptors it carries."""
        outbox, self._outbox = self._outbox, []
        return outbox

    def receive_packet(self, packet: bytes, now: float) -> list[Event]:
        """Take a packet from the receiver. Raise `HandoverError` if it is none."""
        kind, number, payload = _parse(packet)
        if kind == _HELLO:
            if self.greeted or self.closed:
                # A mismatch now would return what the receiver may already own.
                raise HandoverError("HELLO comes twice")
            self.greeted = _parse_hello(payload)
            if not self.greeted:
                return [PeerGreeted(compatible=False), *self.receive_eof()]
            self._silent = False
            self._fill(now)
            return [PeerGreeted(compatible=True)]
        if kind not in (_ACK, _NAK, _CANCELLED):
            raise HandoverError(f"a packet of kind {kind} comes from the receiver")
        if number not in self._unanswered:
            raise HandoverError(f"an answer to the offer {number}, which awaits none")
        del self._unanswered[number]
        self._cancelled.pop(number, None)
        self._fill(now)
        if kind == _ACK:
            return [Acknowledged(number)]
        reason = payload[1:].decode("utf-8", "replace") if kind == _NAK else "cancelled"
        return [Returned(number, reason, lasting=kind == _NAK and payload[:1] == b"\x01")]

    def receive_eof(self) -> list[Event]:
        """Take note that the receiver is gone and everything it sent has been read: what it did not own is ours."""
        self.closed = True
        numbers = [*self._unanswered, *(number for number, _ in self._waiting)]
        self._unanswered.clear()
        self._cancelled.clear()
        self._waiting.clear()
        self._outbox.clear()
        return [Returned(number, "the receiver is gone", lasting=True) for number in numbers]

    def next_deadline(self) -> float | None:
        """Return when `tick` has something to do."""
        if self._stuck or self.closed:
            return None
        awaited = [self._cancelled.get(number, at) for number, at in self._unanswered.items()]
        if self._silent:
            awaited.append(self._hello_awaited_at + ANSWER_TIMEOUT)
        elif self._waiting and not self.greeted:
            awaited.append(self._hello_awaited_at)
        return min(awaited) + ANSWER_TIMEOUT if awaited else None

    def tick(self, now: float) -> list[Event]:
        """Cancel offers without an answer. A receiver that does not answer that either, or never greets, is stuck.

        Take the packets that have arrived first: a worker that was busy for long may have its answers unread.
        """
        events: list[Event] = []
        for number, at in self._unanswered.items():
            cancelled_at = self._cancelled.get(number)
            if cancelled_at is None and now >= at + ANSWER_TIMEOUT:
                self._cancelled[number] = now
                self._outbox.append((_packet(_CANCEL, number), None))
            elif cancelled_at is not None and now >= cancelled_at + ANSWER_TIMEOUT and not self._stuck:
                self._stuck = True
                events.append(ReceiverStuck())
        if self._silent and not self._stuck and now >= self._hello_awaited_at + 2 * ANSWER_TIMEOUT:
            self._stuck = True
            events.append(ReceiverStuck())
        if self._waiting and not self.greeted and now >= self._hello_awaited_at + ANSWER_TIMEOUT:
            self._silent = True
        if self._waiting and (self._cancelled or self._silent):
            # Nothing more for a receiver that is slow to answer: these are still ours, nobody else has seen them.
            events += [Returned(number, "the receiver does not answer") for number, _ in self._waiting]
            self._waiting.clear()
        return events

    def _fill(self, now: float) -> None:
        while self._waiting and self.greeted and len(self._unanswered) < WINDOW and not self._cancelled:
            number, content = self._waiting.popleft()
            self._unanswered[number] = now
            self._outbox.append((_packet(_OFFER, number, content), number))


# the successor's side


class HandoverReceiver:
    """Takes offers. The answer to one must be in the kernel before the connection is read from."""

    def __init__(self) -> None:
        self._open: set[int] = set()
        self._answered = 0
        self._outbox: list[bytes] = [_hello()]
        self._greeted = False
        self.compatible = False

    def packets_to_send(self) -> list[bytes]:
        """Return the packets that are due."""
        outbox, self._outbox = self._outbox, []
        return outbox

    def receive_packet(self, packet: bytes, descriptors: int, *, truncated: bool) -> list[Event]:
        """Take a packet that came with `descriptors` descriptors. Raise `HandoverError` if it is none.

        `truncated`: the kernel could not give us all (MSG_CTRUNC, out of descriptors): the offer is refused.
        """
        kind, number, payload = _parse(packet)
        if kind == _HELLO:
            if self._greeted:
                raise HandoverError("HELLO comes twice")
            self.compatible = _parse_hello(payload)
            self._greeted = True
            return [PeerGreeted(self.compatible)]
        if kind == _OFFER:
            return self._receive_offer(number, payload, descriptors, truncated=truncated)
        if kind == _CANCEL:
            if number in self._open:
                self._open.discard(number)
                self._outbox.append(_packet(_CANCELLED, number))
            # else: our answer is on its way, and it decides
            return []
        if kind in (_DONE, _LEFT):
            return [SenderDone(number)]
        raise HandoverError(f"a packet of kind {kind} comes from the sender")

    def _receive_offer(self, number: int, payload: bytes, descriptors: int, *, truncated: bool) -> list[Event]:
        if number <= self._answered:
            raise HandoverError(f"the offer {number} is made twice")
        self._answered = number
        self._open.add(number)
        if not self.compatible:
            self.refuse(number, "another version of the protocol", lasting=True)
            return []
        if truncated or descriptors < 1:
            self.refuse(number, "out of file descriptors")
            return []
        if descriptors > 1:
            return [Offered(number, in_file=True)]
        try:
            meta, leftover = parse_content(payload)
        except HandoverError as error:
            self.refuse(number, str(error), lasting=True)
            return []
        return [Offered(number, meta, leftover)]

    def acknowledge(self, offer: int) -> bool:
        """Take the connection over. False: the offer was withdrawn meanwhile, and the connection is not ours."""
        if offer not in self._open:
            return False
        self._open.discard(offer)
        self._outbox.append(_packet(_ACK, offer))
        return True

    def refuse(self, offer: int, reason: str, *, lasting: bool = False) -> None:
        """Leave the connection to its owner. `lasting`: this worker will never take it."""
        if offer in self._open:
            self._open.discard(offer)
            self._outbox.append(_packet(_NAK, offer, bytes([lasting]) + reason.encode("utf-8", "replace")[:1024]))
