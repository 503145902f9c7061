"""Groups 1 to 5 and 10: messages of all lengths, pings and pongs, reserved bits, opcodes, fragments."""

from conformance.websocket.cases import Await, Case, Close, Event, Fill, Message, Send, Step, failure, fragments
from conformance.websocket.wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT

HELLO = b"Hello, world!"
NORMAL = (1000).to_bytes(2)
OCTETS = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"

#: Around each change of how a length is written (section 5.2); the last one comes in chops of 997 octets.
LENGTHS = (0, 125, 126, 127, 128, 65535, 65536, 65536)


def echo(payload: bytes | Fill, *, binary: bool = False) -> Event:
    """The message that comes back."""
    return Event("message", payload, binary)


def messages() -> list[Case]:
    """Group 1."""
    cases = []
    for group, opcode, unit, name in ((1, TEXT, b"*", "text"), (2, BINARY, b"\xfe", "binary")):
        for index, length in enumerate(LENGTHS, 1):
            chop = 997 if index == len(LENGTHS) else None
            payload = Fill(unit, length)
            cases.append(
                Case(
                    number=f"1.{group}.{index}",
                    says=f"a {name} message of {length} octets{f' in writes of {chop}' if chop else ''}",
                    script=(Send(opcode, payload, chop=chop),),
                    expect=(echo(payload, binary=opcode == BINARY),),
                )
            )
    return cases


def pings() -> list[Case]:
    """Group 2."""
    ten = [b"payload-%d" % index for index in range(10)]
    pongs = tuple(Event("pong", payload) for payload in ten)

    def ping(number: str, payload: bytes, chop: int | None = None) -> Case:
        return Case(
            number=number,
            says=f"a ping with {len(payload)} octets{', octet by octet' if chop else ''}",
            script=(Send(PING, payload, chop=chop),),
            expect=(Event("pong", payload),),
        )

    unasked = b"unsolicited pong payload"
    return [
        ping("2.1", b""),
        ping("2.2", HELLO),
        ping("2.3", OCTETS),
        ping("2.4", b"\xfe" * 125),
        failure("2.5", "a ping with 126 octets", [Send(PING, b"\xfe" * 126)]),
        ping("2.6", b"\xfe" * 125, chop=1),
        Case(number="2.7", says="an empty pong that nobody asked for", script=(Send(PONG), Close(NORMAL))),
        Case(number="2.8", says="a pong that nobody asked for", script=(Send(PONG, unasked), Close(NORMAL))),
        Case(
            number="2.9",
            says="a pong that nobody asked for, then a ping",
            script=(Send(PONG, unasked), Send(PING, b"ping payload")),
            expect=(Event("pong", b"ping payload"),),
        ),
        Case(number="2.10", says="ten pings", script=tuple(Send(PING, payload) for payload in ten), expect=pongs),
        Case(
            number="2.11",
            says="ten pings, octet by octet",
            script=tuple(Send(PING, payload, chop=1) for payload in ten),
            expect=pongs,
        ),
    ]


def between(number: str, says: str, bad: Send, *, alone: bool = False, chop: int | None = None) -> Case:
    """A message, a forbidden frame, a ping: the message is echoed, then the connection fails without a pong."""
    script = [
        Send(TEXT, HELLO, alone=alone, chop=chop),
        Send(bad.opcode, bad.payload, rsv=bad.rsv, alone=alone, chop=chop),
        Send(PING, alone=alone, chop=chop),
    ]
    how = ", frame by frame" if alone else ", octet by octet" if chop else ""
    return failure(number, f"a message, {says}, a ping{how}", script, expect=(echo(HELLO),))


def reserved_bits() -> list[Case]:
    """Group 3. Autobahn calls 3.6 a ping, but sends a binary message."""
    return [
        failure("3.1", "a text message with reserved bits 1", [Send(TEXT, HELLO, rsv=1)]),
        between("3.2", "one with reserved bits 2", Send(TEXT, HELLO, rsv=2)),
        between("3.3", "one with reserved bits 3", Send(TEXT, HELLO, rsv=3), alone=True),
        between("3.4", "one with reserved bits 4", Send(TEXT, HELLO, rsv=4), chop=1),
        failure("3.5", "a binary message with reserved bits 5", [Send(BINARY, OCTETS, rsv=5)]),
        failure("3.6", "a binary message with reserved bits 6", [Send(BINARY, HELLO, rsv=6)]),
        failure("3.7", "a close frame with reserved bits 7", [Send(CLOSE, rsv=7)]),
    ]


def opcodes() -> list[Case]:
    """Group 4: those of data frames, then those of control frames."""
    cases = []
    for group, first in ((1, 3), (2, 11)):
        for index in range(5):
            number, opcode = f"4.{group}.{index + 1}", first + index
            payload = (b"", b"reserved opcode payload", b"", HELLO, HELLO)[index]
            says = f"a frame with the reserved opcode {opcode}"
            if index < 2:
                cases.append(failure(number, says, [Send(opcode, payload)]))
            else:
                cases.append(between(number, says, Send(opcode, payload), chop=1 if index == 4 else None))
    return cases


def fragmentation() -> list[Case]:
    """Group 5."""
    two = (b"fragment1", b"fragment2")
    whole = echo(b"".join(two))
    nothing = b"non-continuation payload"
    ways: tuple[tuple[str, bool, int | None], ...] = (
        ("", False, None),
        (", frame by frame", True, None),
        (", octet by octet", False, 1),
    )
    cases = [
        failure("5.1", "a ping in two fragments", fragments(PING, two)),
        failure("5.2", "a pong in two fragments", fragments(PONG, two)),
    ]
    for index, (how, alone, chop) in enumerate(ways):
        message = fragments(TEXT, two, alone=alone, chop=chop)
        ping = Send(PING, b"ping payload", alone=alone, chop=chop)
        after = Send(TEXT, HELLO, alone=alone, chop=chop)
        cases += [
            Case(number=f"5.{3 + index}", says=f"a message in two fragments{how}", script=message, expect=(whole,)),
            Case(
                number=f"5.{6 + index}",
                says=f"a message in two fragments with a ping between them{how}",
                script=(message[0], ping, message[1]),
                expect=(Event("pong", b"ping payload"), whole),
            ),
            failure(
                f"5.{9 + index}",
                f"a last fragment of nothing, then a message{how}",
                [Send(CONTINUATION, nothing, alone=alone, chop=chop), after],
            ),
            failure(
                f"5.{12 + index}",
                f"a fragment of nothing, then a message{how}",
                [Send(CONTINUATION, nothing, fin=False, alone=alone, chop=chop), after],
            ),
        ]
    stray = [Send(CONTINUATION, b"fragment3", fin=False), Send(TEXT, b"fragment4")]
    says = "a message in two fragments, a fragment of nothing, a message"
    cases.append(failure("5.15", says, [*fragments(TEXT, two), *stray], expect=(whole,)))
    for number, fin in (("5.16", False), ("5.17", True)):
        says = f"twice: a {'last ' if fin else ''}fragment of nothing, a message in two fragments"
        frames = [Send(CONTINUATION, b"fragment1", fin=fin), *fragments(TEXT, (b"fragment2", b"fragment3"))]
        cases.append(failure(number, says, frames * 2))
    both = [Send(TEXT, two[0], fin=False), Send(TEXT, two[1])]
    cases.append(failure("5.18", "two fragments that both begin a message", both))
    cases += [slow_fragments("5.19", alone=False), slow_fragments("5.20", alone=True)]
    return cases


def slow_fragments(number: str, *, alone: bool) -> Case:
    """Five fragments with two pings: the first must be answered before the rest is sent."""
    parts = fragments(TEXT, [b"fragment%d" % index for index in range(1, 6)], alone=alone)
    pings = [Send(PING, b"pongme %d!" % index, alone=alone) for index in (1, 2)]
    script: tuple[Step, ...] = (*parts[:2], pings[0], Await(1), *parts[2:4], pings[1], parts[4])
    message = b"".join(b"fragment%d" % index for index in range(1, 6))
    return Case(
        number=number,
        says=f"five fragments with a ping after the second and the fourth{', frame by frame' if alone else ''}",
        script=script,
        expect=(Event("pong", b"pongme 1!"), Event("pong", b"pongme 2!"), echo(message)),
    )


def automatic() -> list[Case]:
    """Group 10."""
    payload = Fill(b"*", 65536)
    return [
        Case(
            number="10.1.1",
            says="a text message of 65536 octets in fragments of 1300",
            script=(Message(TEXT, payload, 1300),),
            expect=(echo(payload),),
        )
    ]


CASES = [*messages(), *pings(), *reserved_bits(), *opcodes(), *fragmentation(), *automatic()]
