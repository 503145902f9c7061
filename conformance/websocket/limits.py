"""Group 9: big messages, in one frame, in fragments, in small writes, and many messages one after the other."""

from conformance.websocket.cases import Case, Event, Fill, Message, Rounds, Send
from conformance.websocket.wire import BINARY, TEXT

KIB, MIB = 1024, 1024 * 1024

SIZES = (64 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB, 16 * MIB)
FRAGMENTS = (64, 256, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB)
CHOPS = (64, 128, 256, 512, KIB, 2 * KIB)
ROUND_SIZES = (0, 16, 64, 256, KIB, 4 * KIB)

#: Seconds; Autobahn's are 10 to 1,000, for one case at a time.
LIMIT = 240.0


def cases_of(opcode: int, name: str, unit: bytes, star: bytes, subgroups: tuple[int, int, int, int]) -> list[Case]:
    """The subgroups of one kind of message: by size, by fragment, by write, by rounds."""
    size, fragment, chop, rounds = subgroups
    binary = opcode == BINARY
    cases = []
    for index, length in enumerate(SIZES, 1):
        payload = Fill(unit, length)
        cases.append(
            Case(
                number=f"9.{size}.{index}",
                says=f"a {name} message of {length // KIB} KiB",
                script=(Send(opcode, payload),),
                expect=(Event("message", payload, binary),),
                limit=LIMIT,
                heavy=length > MIB,
            )
        )
    for index, length in enumerate(FRAGMENTS, 1):
        payload = Fill(star, 4 * MIB)
        cases.append(
            Case(
                number=f"9.{fragment}.{index}",
                says=f"a {name} message of 4 MiB in fragments of {length}",
                script=(Message(opcode, payload, length),),
                expect=(Event("message", payload, binary),),
                limit=LIMIT,
                heavy=True,
            )
        )
    for index, length in enumerate(CHOPS, 1):
        payload = Fill(unit, MIB)
        cases.append(
            Case(
                number=f"9.{chop}.{index}",
                says=f"a {name} message of 1 MiB in writes of {length}",
                script=(Send(opcode, payload, chop=length),),
                expect=(Event("message", payload, binary),),
                limit=LIMIT,
                heavy=length < KIB,
            )
        )
    for index, length in enumerate(ROUND_SIZES, 1):
        cases.append(
            Case(
                number=f"9.{rounds}.{index}",
                says=f"1000 {name} messages of {length} octets, one after the other",
                script=(Rounds(opcode, length, 1000, star),),
                expect=(Event("rounds"),),
                limit=LIMIT,
            )
        )
    return cases


CASES = [
    *cases_of(TEXT, "text", b"BAsd7&jh23", b"*", (1, 3, 5, 7)),
    *cases_of(BINARY, "binary", b"\x00\xfe\x23\xfa\xf0", b"\xfe", (2, 4, 6, 8)),
]
