"""Groups 12 and 13: permessage-deflate (RFC 7692) with several kinds of data, and with several offers."""

import random
from collections.abc import Callable
from functools import cache

from conformance.websocket.cases import Case, Event, Rounds
from conformance.websocket.wire import BINARY, TEXT

#: (octets of a message, octets of a fragment of what is sent compressed); each with 1,000 messages
SIZES: tuple[tuple[int, int | None], ...] = (
    *((2**bits, None) for bits in (4, 6, 8, 10, 12, 13, 14, 15, 16, 17)),
    *((2**bits, 256) for bits in (13, 14, 15, 16, 17)),
    *((2**17, 2**bits) for bits in (10, 12, 15)),
)
MESSAGES = 1000
LIMIT = 480.0

#: What --quick does of each subgroup.
QUICK = (1, 2, 3, 4, 5, 11)

OFFER = "permessage-deflate; client_no_context_takeover; client_max_window_bits"
NO_CONTEXT, WINDOW_9, WINDOW_15 = (
    "; server_no_context_takeover",
    "; server_max_window_bits=9",
    "; server_max_window_bits=15",
)
OFFERS: tuple[tuple[str, ...], ...] = (
    (OFFER,),
    (OFFER + NO_CONTEXT,),
    (OFFER + WINDOW_9,),
    (OFFER + WINDOW_15,),
    (OFFER + NO_CONTEXT + WINDOW_9,),
    (OFFER + NO_CONTEXT + WINDOW_15,),
    (OFFER + NO_CONTEXT + WINDOW_9, OFFER + NO_CONTEXT, OFFER),
)

#: What stands for Autobahn's five files, in its order: of the same kinds and sizes, made by `test_data`.
DATA = (("json", TEXT), ("bitmap", BINARY), ("prose", BINARY), ("html", TEXT), ("document", BINARY))


@cache
def test_data(name: str) -> bytes:
    """Make a set of test data, always the same; the text is ASCII. Raise `KeyError` for an unknown name."""
    length, piece = _KINDS[name]
    chance = random.Random(name)
    pieces: list[bytes] = []
    size = 0
    while size < length:
        pieces.append(piece(chance))
        size += len(pieces[-1])
    return b"".join(pieces)[:length]


_WORDS = [
    "".join(random.Random(seed).choices("enirstaduhglcmobwfkzpv", range(22, 0, -1), k=2 + seed % 9)).encode()
    for seed in range(2000)
]


def _word(chance: random.Random) -> bytes:
    # By a power, so that some words are frequent and most are rare, as in a language.
    return _WORDS[int(len(_WORDS) * chance.random() ** 3)]


def _record(chance: random.Random) -> bytes:
    verdict = chance.choice((b"OK", b"FAILED", b"NON-STRICT"))
    number = b"%d.%d.%d" % (chance.randrange(14), chance.randrange(24), chance.randrange(40))
    return b'   "%b": {"behavior": "%b", "duration": %d},\n' % (number, verdict, chance.randrange(3000))


def _row(chance: random.Random) -> bytes:
    words = (chance.choice((b"even", b"odd")), _word(chance), _word(chance), chance.randrange(500))
    return b'<tr class="%b"><td>%b</td><td><a href="/%b">%d ms</a></td></tr>\n' % words


def _sentence(chance: random.Random) -> bytes:
    return b" ".join(_word(chance) for _ in range(chance.randrange(3, 20))) + chance.choice((b".\n", b", ", b"! "))


def _line_of_picture(chance: random.Random) -> bytes:
    dark = chance.randrange(128)
    return bytes((dark + column // 4 + chance.randrange(8)) & 0xFF for column in range(512))


def _object(chance: random.Random) -> bytes:
    return b"%d 0 obj <</Filter /FlateDecode>> stream\n%b\nendstream\n" % (
        chance.randrange(1000),
        chance.randbytes(8000),
    )


#: Octets, and what they are made of.
_KINDS: dict[str, tuple[int, Callable[[random.Random], bytes]]] = {
    "json": (194_056, _record),
    "bitmap": (263_222, _line_of_picture),
    "prose": (222_218, _sentence),
    "html": (263_647, _row),
    "document": (1_042_328, _object),
}


def subgroup(prefix: str, about: str, data: str, opcode: int, offers: tuple[str, ...]) -> list[Case]:
    """One kind of data and one set of offers in all sizes."""
    cases = []
    for index, (size, fragment) in enumerate(SIZES, 1):
        how = f" in fragments of {fragment}" if fragment else ""
        cases.append(
            Case(
                number=f"{prefix}.{index}",
                says=f"{MESSAGES} compressed messages of {size} octets{how}: {about}",
                script=(Rounds(opcode, size, MESSAGES, data, fragment),),
                expect=(Event("rounds"),),
                offers=offers,
                limit=LIMIT,
                heavy=index not in QUICK,
            )
        )
    return cases


CASES = [
    *(
        case
        for index, (data, opcode) in enumerate(DATA, 1)
        for case in subgroup(f"12.{index}", data, data, opcode, (OFFER,))
    ),
    *(
        case
        for index, offers in enumerate(OFFERS, 1)
        for case in subgroup(f"13.{index}", ", ".join(offers).replace(OFFER, "default offer"), "json", TEXT, offers)
    ),
]
