"""The chunked coding: sizes, extensions, ends, trailers (RFC 9112 section 7.1)."""

from conformance.http1.model import (
    BAD,
    CARE,
    HUNG_UP,
    MUST,
    NEXT,
    SHOULD,
    Case,
    Level,
    Outcome,
    chunked,
    posted,
    refused,
    then_next,
)

CASES: list[Case] = []


def case(name: str, section: str, level: Level, data: bytes, *accept: Outcome, half_close: bool = False) -> None:
    if BAD in accept and level != CARE:
        # No section says with which status a body is refused that cannot be read, or that it is answered at all.
        accept = *accept, refused(413, 431, 500, 501), HUNG_UP
    CASES.append(Case(f"chunks: {name}", section, level, (data,), accept, half_close=half_close))


def body(size: bytes) -> bytes:
    """Return a body whose one chunk, `abc`, has this for its size."""
    return chunked(size + b"\r\nabc\r\n0\r\n\r\n") + NEXT


ABC = then_next(posted(b"abc"))

case("two chunks", "7.1", MUST, chunked(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n") + NEXT, then_next(posted(b"abcde")))
case(
    "binary chunk",
    "7.1",
    MUST,
    chunked(b"6\r\n\r\n\0\xff\r\n\r\n0\r\n\r\n") + NEXT,
    then_next(posted(b"\r\n\0\xff\r\n")),
)
case(
    "large chunk",
    "7.1",
    MUST,
    chunked(b"186a0\r\n" + b"a" * 100_000 + b"\r\n0\r\n\r\n") + NEXT,
    then_next(posted(b"a" * 100_000)),
)
case(
    "a thousand chunks",
    "7.1",
    MUST,
    chunked(b"1\r\na\r\n" * 1000 + b"0\r\n\r\n") + NEXT,
    then_next(posted(b"a" * 1000)),
)
case("size in capitals", "7.1", MUST, chunked(b"A\r\n0123456789\r\n0\r\n\r\n") + NEXT, then_next(posted(b"0123456789")))
case(
    "size in small letters",
    "7.1",
    MUST,
    chunked(b"a\r\n0123456789\r\n0\r\n\r\n") + NEXT,
    then_next(posted(b"0123456789")),
)
case("size with zeros", "7.1", MUST, body(b"0003"), ABC)
case("last chunk with zeros", "7.1", MUST, chunked(b"3\r\nabc\r\n000\r\n\r\n") + NEXT, ABC)
for size in (b"3;a", b"3;a=b", b'3;a="b"', b'3;a="b;c"', b"3;a;b=c", b"3 ;a", b"3; a", b"3;a = b"):
    bad_whitespace = (BAD,) if b" " in size else ()
    case(f"extension {size!r}", "7.1.1", MUST, body(size), ABC, *bad_whitespace)
case("extension of the last chunk", "7.1.1", MUST, chunked(b"3\r\nabc\r\n0;a=b\r\n\r\n") + NEXT, ABC)
for size in (
    b"", b" ", b"+3", b"-3", b"0x3", b"0X3", b"x3", b"3x", b"3,", b"3.0", b"3g", b"\xb23", b"3\0",
    b"3_0", b"'3'", b"\x0b3",
    b"3\x0c", b"3\xa0", b"3 3", b"3-",
):  # fmt: skip
    case(f"size {size!r}", "7.1", MUST, body(size), BAD)
for size in (b" 3", b"3 ", b"3\t", b"\t3"):
    case(f"size {size!r}", "7.1", CARE, body(size), BAD)
for size in (
    b"8000000000000000", b"8000000000000003", b"ffffffffffffffff", b"10000000000000000",
    b"10000000000000003", b"f" * 40,
    b"f" * 300, b"1" + b"0" * 32 + b"3",
):  # fmt: skip
    name = f"size {size[:20].decode()}, {len(size)} digits"
    # To wait for so large a chunk is no overflow; to wait for ever is not careful.
    case(name, "7.1", MUST, body(size), BAD, refused(413), Outcome((), closed=False))
    case(f"{name}: refused", "7.1", CARE, body(size), refused(400, 413))
case("size of 5,000 zeros", "7.1", CARE, body(b"0" * 5000 + b"3"), refused(400, 413, 431))
case("extension of 100 kB", "7.1.1", SHOULD, body(b"3;" + b"a" * 100_000), refused(400, 413, 431))
for size in (b"3;", b"3;;a", b"3;a=", b"3;=b", b'3;a="b', b"3;a\0", b"3;a\x01", b"3;a=\xe9", b"3;a b", b"3;a\x7f"):
    case(f"extension {size!r}", "7.1.1", CARE, body(size), BAD)
case("LF in an extension", "7.1.1", CARE, body(b"3;a\nb"), BAD)
case("CR in an extension", "2.2", MUST, body(b"3;a\rb"), BAD)
case("LF behind a size", "7.1", CARE, chunked(b"3\nabc\r\n0\r\n\r\n") + NEXT, BAD)
case("CR behind a size", "7.1", MUST, chunked(b"3\rabc\r\n0\r\n\r\n") + NEXT, BAD)
case("LF behind a chunk", "7.1", CARE, chunked(b"3\r\nabc\n0\r\n\r\n") + NEXT, BAD)
case("CR behind a chunk", "7.1", MUST, chunked(b"3\r\nabc\r0\r\n\r\n") + NEXT, BAD)
case("nothing behind a chunk", "7.1", MUST, chunked(b"3\r\nabc0\r\n\r\n") + NEXT, BAD)
case("two bytes that are not CRLF behind a chunk", "7.1", MUST, chunked(b"3\r\nabcXX0\r\n\r\n") + NEXT, BAD)
case("chunk longer than its size", "7.1", MUST, chunked(b"3\r\nabcd\r\n0\r\n\r\n") + NEXT, BAD)
case("chunk shorter than its size", "7.1", MUST, chunked(b"3\r\nab\r\n0\r\n\r\n") + NEXT, BAD)
case("last chunk missing", "8", MUST, chunked(b"3\r\nabc\r\n"), BAD, refused(408), HUNG_UP, half_close=True)
case(
    "end of the last chunk missing",
    "8",
    MUST,
    chunked(b"3\r\nabc\r\n0\r\n"),
    BAD,
    refused(408),
    HUNG_UP,
    half_close=True,
)
case("chunk cut short", "8", MUST, chunked(b"10\r\nabc"), BAD, refused(408), HUNG_UP, half_close=True)
case("a request for the last chunk", "7.1", MUST, chunked(b"3\r\nabc\r\n") + NEXT, BAD)
case("LF at the end", "7.1", CARE, chunked(b"0\r\n\n") + NEXT, BAD)
case("LF LF at the end", "7.1", CARE, chunked(b"0\n\n") + NEXT, BAD)
case("something for the last CRLF", "7.1", MUST, chunked(b"0\r\nXX") + NEXT, BAD)

# Trailers

for trailer in (b"X-A: b", b"X-A: b\r\nX-C: d", b"X-A:"):
    case(f"trailer {trailer!r}", "7.1.2", MUST, chunked(b"3\r\nabc\r\n0\r\n" + trailer + b"\r\n\r\n") + NEXT, ABC)
case(
    "trailers are not merged",
    "RFC 9110 6.5.1",
    MUST,
    chunked(b"0\r\nX-A: b\r\n\r\n") + NEXT,
    then_next(posted(b"", without=("x-a",))),
)
for trailer in (
    b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Host: evil", b"Connection: close", b"Authorization: b",
    b"Cookie: a=b", b"X-Forwarded-For: 1.2.3.4", b"Content-Type: a/b", b"Content-Encoding: gzip",
    b"Expect: 100-continue",
):  # fmt: skip
    name = trailer.split(b":")[0].decode().lower()
    value = trailer.partition(b": ")[2].decode()
    unlike = ((name, value),) if name != "transfer-encoding" else ()
    case(
        f"trailer {name} changes nothing",
        "RFC 9110 6.5.1",
        MUST,
        chunked(b"3\r\nabc\r\n0\r\n" + trailer + b"\r\n\r\n") + NEXT,
        then_next(posted(b"abc", unlike=unlike)),
        BAD,
    )
for trailer in (b"X-A : b", b"X-A", b": b", b" X-A: b", b"X\xe9: b", b"X-A: \0", b"X-A: b\r\n c"):
    level = MUST if trailer in (b"X-A : b", b"X-A: \0") else SHOULD
    folded = (ABC,) if trailer.endswith(b" c") else ()
    case(f"trailer {trailer!r}", "5", level, chunked(b"3\r\nabc\r\n0\r\n" + trailer + b"\r\n\r\n") + NEXT, BAD, *folded)
case("LF behind a trailer", "2.2", CARE, chunked(b"0\r\nX-A: b\n\r\n") + NEXT, BAD)
case(
    "CR in a trailer",
    "2.2",
    MUST,
    chunked(b"0\r\nX-A: b\rX-C: d\r\n\r\n") + NEXT,
    BAD,
    then_next(posted(b"", without=("x-a", "x-c"))),
)
case(
    "trailer of 1 MiB",
    "RFC 6585 5",
    SHOULD,
    chunked(b"0\r\nX-A: " + b"b" * 2**20 + b"\r\n\r\n"),
    refused(431, 400, 413),
)
case(
    "10,000 trailers",
    "RFC 6585 5",
    SHOULD,
    chunked(b"0\r\n" + b"X-A: b\r\n" * 10_000 + b"\r\n"),
    refused(431, 400, 413),
)
