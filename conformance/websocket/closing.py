"""Group 7: the closing handshake, with good and bad codes and reasons, and what follows a close frame."""

from conformance.websocket.cases import Case, Close, Closing, Event, Fill, Send, Step, fragments
from conformance.websocket.utf8 import SURROGATE
from conformance.websocket.wire import CLOSE, PING, TEXT

VALID_CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
INVALID_CODES = (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999)
UNDEFINED_CODES = (5000, 65535)

HELLO = b"Hello World!"


def close(code: int, reason: bytes = b"") -> Close:
    """A close frame with a code, valid or not."""
    return Close(code.to_bytes(2) + reason)


def good(number: str, says: str, *script: Step, code: int = 1000, expect: tuple[Event, ...] = ()) -> Case:
    """A closing handshake that must be completed, with 1000 or the code that was sent."""
    return Case(
        number=number,
        says=says,
        script=script,
        expect=expect,
        codes=(1000,) if code == 1000 else (1000, code),
        fatal=(Closing.WRONG_CODE,),
    )


def bad(number: str, says: str, *script: Step, codes: tuple[int, ...] = (1002,)) -> Case:
    """A bad close frame: what is sent back, if anything, says so."""
    return Case(number=number, says=says, script=script, codes=codes, clean=False, fatal=(Closing.WRONG_CODE,))


def basics() -> list[Case]:
    """Subgroup 1."""
    first, last = fragments(TEXT, (b"fragment1", b"fragment2"))
    normal = close(1000)
    big = Send(TEXT, Fill(b"BAsd7&jh23", 256 * 1024))
    return [
        good("7.1.1", "a message, then close", Send(TEXT, HELLO), expect=(Event("message", HELLO),)),
        good("7.1.2", "two close frames", normal, Send(CLOSE)),
        good("7.1.3", "a ping behind the close frame", normal, Send(PING)),
        good("7.1.4", "a message behind the close frame", normal, Send(TEXT, HELLO)),
        good("7.1.5", "a close frame between two fragments", first, normal, last),
        Case(
            number="7.1.6",
            says="256 KiB, a message, close and a ping at once",
            script=(big, Send(TEXT, HELLO), normal, Send(PING)),
            informational=True,
        ),
    ]


def payloads() -> list[Case]:
    """Subgroups 3 and 5."""
    return [
        good("7.3.1", "an empty close frame", Close(b"")),
        bad("7.3.2", "a close frame with one octet", Close(b"a")),
        good("7.3.3", "a close frame with a code", close(1000)),
        good("7.3.4", "a close frame with a reason", close(1000, HELLO)),
        good("7.3.5", "a close frame with a reason of 123 octets", close(1000, b"*" * 123)),
        bad("7.3.6", "a close frame with a reason of 124 octets", close(1000, b"*" * 124)),
        bad("7.5.1", "a close frame whose reason is not UTF-8", close(1000, SURROGATE), codes=(1002, 1007)),
    ]


def codes() -> list[Case]:
    """Subgroups 7, 9 and 13."""
    valid = [
        good(f"7.7.{index}", f"a close frame with the valid code {code}", close(code), code=code)
        for index, code in enumerate(VALID_CODES, 1)
    ]
    invalid = [
        bad(f"7.9.{index}", f"a close frame with the invalid code {code}", close(code))
        for index, code in enumerate(INVALID_CODES, 1)
    ]
    undefined = [
        Case(
            number=f"7.13.{index}",
            says=f"a close frame with the undefined code {code}",
            script=(close(code),),
            codes=(1000, 1002, code),
            clean=False,
            informational=True,
        )
        for index, code in enumerate(UNDEFINED_CODES, 1)
    ]
    return [*valid, *invalid, *undefined]


CASES = [*basics(), *payloads(), *codes()]
