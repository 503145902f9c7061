"""What a case is: a script of steps for the client, and the events and the ending that are expected of the server."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from conformance.websocket.wire import CONTINUATION


class Behaviour(StrEnum):
    """How the server's frames compare with what the case expects."""

    OK = "OK"
    NON_STRICT = "NON-STRICT"
    """What the protocol allows, though not what it wants: for example frames ahead of a bad one left unanswered."""
    FAILED = "FAILED"
    INFORMATIONAL = "INFORMATIONAL"
    """The protocol leaves open what is to happen."""
    UNIMPLEMENTED = "UNIMPLEMENTED"
    """The server does not take part in the extension that the case is about."""


class Closing(StrEnum):
    """How the connection ended."""

    OK = "OK"
    WRONG_SIDE = "WRONG SIDE"
    """The other side than expected began to close."""
    UNCLEAN = "UNCLEAN"
    """Not both sides sent a close frame, or the connection was reset."""
    WRONG_CODE = "WRONG CODE"
    NOT_DROPPED = "NOT DROPPED"
    """The server left it to the client to close the TCP connection (RFC 6455 section 7.1.1)."""
    INFORMATIONAL = "INFORMATIONAL"


@dataclass(frozen=True, slots=True)
class Fill:
    """A payload that repeats a few octets up to a length, made when it is needed."""

    unit: bytes
    length: int

    def octets(self) -> bytes:
        """Return the payload."""
        return (self.unit * (self.length // len(self.unit) + 1))[: self.length]


Payload = bytes | Fill


def octets(payload: Payload) -> bytes:
    """Return a payload as it is."""
    return payload.octets() if isinstance(payload, Fill) else payload


# Steps


@dataclass(frozen=True, slots=True)
class Send:
    """Send one frame. All that is sent at once goes out in one write, unless a step says otherwise."""

    opcode: int
    payload: Payload = b""
    fin: bool = True
    rsv: int = 0
    alone: bool = False
    """In a write of its own."""
    chop: int | None = None
    """In writes of this many octets each."""


@dataclass(frozen=True, slots=True)
class Message:
    """Send a message in fragments of so many octets."""

    opcode: int
    payload: Payload
    fragment: int


@dataclass(frozen=True, slots=True)
class Begin:
    """Send only the head of a frame; `Part` sends what belongs into it."""

    opcode: int
    length: int


@dataclass(frozen=True, slots=True)
class Part:
    """Send some octets of the payload of the frame that was begun."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Linger:
    """Wait; if the connection is still open after that, it counts as an event of this name."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Await:
    """Wait until so many events have come, or for as long as the client has patience."""

    events: int


@dataclass(frozen=True, slots=True)
class Close:
    """Send a close frame with these octets, and so begin the closing handshake."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Rounds:
    """Send a message, wait for its echo, and so on: cut out of `data` one after the other, or all the same."""

    opcode: int
    size: int
    messages: int
    data: str | bytes
    """The octets that fill each message, or the name of a set of test data."""
    fragment: int | None = None


Step = Send | Message | Begin | Part | Linger | Await | Close | Rounds


@dataclass(frozen=True, slots=True)
class Event:
    """Something that the server did, or, for `open` and `rounds`, left alone or completed."""

    kind: str
    """`message`, `pong`, `open` (a `Linger` passed) or `rounds` (all echoes came)."""
    payload: Payload = b""
    binary: bool = False

    def same(self, other: "Event") -> bool:
        """Whether the two are equal, however their payloads are written down."""
        return (self.kind, self.binary, octets(self.payload)) == (other.kind, other.binary, octets(other.payload))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case."""

    number: str
    says: str
    """What is sent, for the report."""
    script: tuple[Step, ...]
    expect: tuple[Event, ...] = ()
    loosely: tuple[Event, ...] | None = None
    """Events that are non-strict."""
    ours: bool = True
    """Whether the client is to be the one that begins to close."""
    codes: tuple[int, ...] = (1000,)
    """What the server's close frame may say; an empty one always may."""
    clean: bool = True
    """Whether the closing handshake must be complete."""
    fatal: tuple[Closing, ...] = ()
    """Endings that fail the case, not only its closing."""
    informational: bool = False
    offers: tuple[str, ...] = ()
    """Extensions to offer; the case is about them."""
    limit: float | None = None
    """Seconds in which the expected events must have come, where that may take long."""
    heavy: bool = False
    """Left out by `--quick`."""


def failure(number: str, says: str, script: Iterable[Step], *codes: int, expect: tuple[Event, ...] = ()) -> Case:
    """A case in which the server must fail the connection, by default with 1002 (protocol error)."""
    return Case(
        number=number,
        says=says,
        script=tuple(script),
        expect=expect,
        loosely=() if expect else None,
        ours=False,
        codes=codes or (1002,),
        clean=False,
    )


def fragments(opcode: int, parts: Iterable[bytes], *, alone: bool = False, chop: int | None = None) -> tuple[Send, ...]:
    """One message in these fragments."""
    payloads = list(parts)
    return tuple(
        Send(CONTINUATION if index else opcode, payload, fin=index == len(payloads) - 1, alone=alone, chop=chop)
        for index, payload in enumerate(payloads)
    )
