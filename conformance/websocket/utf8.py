"""Group 6: UTF-8, good and bad, whole, in fragments, and how early the bad is found.

The octets are those of Markus Kuhn's stress test for UTF-8 decoders, as Autobahn divides them up.
"""

from conformance.websocket.cases import Begin, Case, Closing, Event, Linger, Message, Part, Send, Step, fragments
from conformance.websocket.wire import CONTINUATION, TEXT

GREEK = bytes.fromhex("cebae1bdb9cf83cebcceb5")
UMLAUTS = "Hello-\u00b5@\u00df\u00f6\u00e4\u00fc\u00e0\u00e1-UTF-8!!".encode()
SURROGATE = GREEK + bytes.fromhex("eda080") + b"edited"
TOO_BIG = GREEK + bytes.fromhex("f4908080") + b"edited"

#: How long a server must have kept a connection open that is still without fault, and how soon it must have failed
#: one that is not. The second is long, for the sake of a busy machine: who judges at the end of a message never does.
KEPT_SECONDS = 0.5
FAILED_SECONDS = 3.0

CUT = ("c0", "e080", "f08080", "f8808080", "fc80808080", "df", "efbf", "f7bfbf", "fbbfbfbf", "fdbfbfbfbf")
LONELY = ((0xC0, 0xDF), (0xE0, 0xEF), (0xF0, 0xF7), (0xF8, 0xFB), (0xFC, 0xFD))
NON_CHARACTERS = [
    f"{first}{second}bf{last}"
    for first in ("f0", "f1", "f2", "f3", "f4")
    for second in ("8f", "9f", "af", "bf")
    for last in ("be", "bf")
    if (first, second) != ("f0", "8f") and (first != "f4" or second == "8f")
]

#: Subgroups 5 to 23: what they are about, and their payloads in hexadecimal. Python's own decoder says which are valid.
SUBGROUPS: tuple[tuple[str, list[str]], ...] = (
    (
        "valid text",
        [(b"hello%bworld" % sign.encode()).hex() for sign in ("$", "\u00a2", "\u20ac", "\U00024b62")] + [GREEK.hex()],
    ),
    ("the beginning of a text", [GREEK[:end].hex() for end in range(1, len(GREEK) + 1)]),
    ("the first sequence of a length", ["00", "c280", "e0a080", "f0908080"]),
    ("the first sequence of five, six octets", ["f888808080", "fc8480808080"]),
    ("the last sequence of a length", ["7f", "dfbf", "efbfbf", "f48fbfbf"]),
    ("the last sequence of four, five, six octets", ["f7bfbfbf", "fbbfbfbfbf", "fdbfbfbfbfbf"]),
    ("a boundary", ["ed9fbf", "ee8080", "efbfbd", "f48fbfbf", "f4908080"]),
    (
        "continuation octets of nothing",
        ["80", "bf", *(("80bf" * 3)[: 2 * count] for count in range(2, 7)), bytes(range(0x80, 0xBF)).hex()],
    ),
    ("lonely first octets", [b"".join(b"%c " % octet for octet in range(*ends)).hex() for ends in LONELY]),
    ("a missing last octet", list(CUT)),
    ("incomplete sequences in a row", ["".join(CUT)]),
    ("octets that never occur", ["fe", "ff", "fefeffff"]),
    ("an overlong slash", ["c0af", "e080af", "f08080af", "f8808080af", "fc80808080af"]),
    ("the greatest overlong sequence", ["c1bf", "e09fbf", "f08fbfbf", "f887bfbfbf", "fc83bfbfbfbf"]),
    ("an overlong NUL", ["c080", "e08080", "f0808080", "f880808080", "fc8080808080"]),
    ("a surrogate", ["eda080", "edadbf", "edae80", "edafbf", "edb080", "edbe80", "edbfbf"]),
    (
        "a pair of surrogates",
        [high + low for high in ("eda080", "edadbf", "edae80", "edafbf") for low in ("edb080", "edbfbf")],
    ),
    ("a non-character, which is valid", ["efbfbe", "efbfbf", *NON_CHARACTERS]),
    ("a special character", [f"efbf{last}" for last in ("b9", "ba", "bb", "bc", "bd", "be", "bf")]),
)


def good(number: str, says: str, payload: bytes, *script: Step) -> Case:
    """A case whose message is echoed."""
    return Case(number=number, says=says, script=script, expect=(Event("message", payload),))


def bad(number: str, says: str, *script: Step, strict: bool = False) -> Case:
    """A case that must end with 1007. `strict`: before the message is complete."""
    opened = (Event("open", b"kept open by good text"),) if strict else ()
    return Case(
        number=number,
        says=says,
        script=script,
        expect=opened,
        loosely=(*opened, Event("open", b"kept open by bad text")) if strict else None,
        ours=False,
        codes=(1007,),
        clean=False,
        fatal=(Closing.WRONG_SIDE,),
    )


def empty_fragments() -> list[Case]:
    """Subgroup 1."""
    middle = b"middle frame payload"
    return [
        good("6.1.1", "an empty text", b"", Send(TEXT)),
        good("6.1.2", "three empty fragments", b"", *fragments(TEXT, [b"", b"", b""])),
        good("6.1.3", "a fragment between two empty ones", middle, *fragments(TEXT, [b"", middle, b""])),
    ]


def fragmented() -> list[Case]:
    """Subgroups 2 and 3."""
    cut = UMLAUTS.index("\u00fc".encode())
    return [
        good("6.2.1", "umlauts", UMLAUTS, Send(TEXT, UMLAUTS)),
        good("6.2.2", "umlauts, cut between two", UMLAUTS, *fragments(TEXT, [UMLAUTS[:cut], UMLAUTS[cut:]])),
        good("6.2.3", "umlauts in fragments of an octet", UMLAUTS, Message(TEXT, UMLAUTS, 1)),
        good("6.2.4", "Greek in fragments of an octet", GREEK, Message(TEXT, GREEK, 1)),
        bad("6.3.1", "a surrogate between good text", Send(TEXT, SURROGATE)),
        bad("6.3.2", "a surrogate between good text, in fragments of an octet", Message(TEXT, SURROGATE, 1)),
    ]


def fail_fast() -> list[Case]:
    """Subgroup 4: a code point beyond Unicode, with pauses around the part that shows it."""
    waits = (Linger("kept open by good text", KEPT_SECONDS), Linger("kept open by bad text", FAILED_SECONDS))
    cases = []
    for index, (end, bad_end) in enumerate(((11, 15), (12, 13))):
        parts = (TOO_BIG[:end], TOO_BIG[end:bad_end], TOO_BIG[bad_end:])
        what = "the bad sequence" if index == 0 else "the octet that makes it bad"
        cases += [
            bad(
                f"6.4.{index + 1}",
                f"good text, {what}, the rest, in a fragment each, with pauses",
                Send(TEXT, parts[0], fin=False),
                waits[0],
                Send(CONTINUATION, parts[1], fin=False),
                waits[1],
                Send(CONTINUATION, parts[2]),
                strict=True,
            ),
            bad(
                f"6.4.{index + 3}",
                f"good text, {what}, the rest, all in one frame, with pauses",
                Begin(TEXT, len(TOO_BIG)),
                Part(parts[0]),
                waits[0],
                Part(parts[1]),
                waits[1],
                Part(parts[2]),
                strict=True,
            ),
        ]
    return sorted(cases, key=lambda case: case.number)


def sequences() -> list[Case]:
    """Subgroups 5 to 23."""
    cases = []
    for subgroup, (about, payloads) in enumerate(SUBGROUPS, 5):
        for index, digits in enumerate(payloads, 1):
            number, payload = f"6.{subgroup}.{index}", bytes.fromhex(digits)
            says = f"{about}: {digits if len(digits) <= 40 else digits[:40] + '...'}"
            send = Send(TEXT, payload)
            cases.append(good(number, says, payload, send) if is_utf8(payload) else bad(number, says, send))
    return cases


def is_utf8(payload: bytes) -> bool:
    """Whether this is UTF-8 (RFC 3629)."""
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


CASES = [*empty_fragments(), *fragmented(), *fail_fast(), *sequences()]
