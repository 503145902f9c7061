"""Field lines, Host, and the size of heads (RFC 9112 sections 3.2 and 5, RFC 6585 section 5)."""

from conformance.http1.model import (
    BAD,
    CARE,
    HUNG_UP,
    MUST,
    NEXT,
    SHOULD,
    Answer,
    Case,
    Level,
    Outcome,
    get,
    last,
    post,
    refused,
    served,
    then_next,
)

CASES: list[Case] = []


def case(name: str, section: str, level: Level, data: bytes, *accept: Outcome) -> None:
    CASES.append(Case(f"field: {name}", section, level, (data,), accept))


# Host

case("no Host", "3.2", MUST, b"GET / HTTP/1.1\r\n\r\n" + NEXT, BAD)
case("no Host, other fields", "3.2", MUST, b"GET / HTTP/1.1\r\nX: y\r\n\r\n" + NEXT, BAD)
case("no Host in a POST", "3.2", MUST, b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc" + NEXT, BAD)
case("no Host in HTTP/1.2", "3.2", MUST, b"GET / HTTP/1.2\r\n\r\n" + NEXT, BAD)
case("no Host in HTTP/1.0", "3.2", MUST, b"GET / HTTP/1.0\r\n\r\n", last(served()))
case("two Hosts", "3.2", MUST, get(b"/", b"Host: a", b"Host: b") + NEXT, BAD)
case("two equal Hosts", "3.2", MUST, get(b"/", b"Host: a", b"Host: a") + NEXT, BAD)
case("two Hosts, one empty", "3.2", MUST, get(b"/", b"Host: a", b"Host:") + NEXT, BAD)
case("two Hosts in HTTP/1.0", "3.2", MUST, b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", BAD)
case("two Hosts, far apart", "3.2", MUST, get(b"/", b"Host: a", *[b"X: y"] * 20, b"hOST: b") + NEXT, BAD)
for value in (
    b"a b", b"a/b", b"u@a", b"u:p@a", b"a:port", b"a:80:80", b"[::1", b"::1", b"[::1]a", b"[::g]",
    b"a%zz", b"a%2", b"a,b",
    b"a, b", b"http://a", b"a#b", b"a?b", b"a\\b", b'a"b', b"a<b", b"a{b", b"a|b", b"a^b", b"a`b", b"a\tb", b"a\x01b",
    b"a\0b", b"a\x7fb", b"a\xe9", b"a:-1", b"a:+1", b"a:8 0", b"a: 80", b"[::1]:port", b"[]",
    b"[1.2.3.4]", b"a;b/", b"/",
    b"a@", b"[::1]]", b"a:0x50",
):  # fmt: skip
    level = CARE if value in (b"a,b", b"[1.2.3.4]") else MUST
    accept = (BAD, then_next(served())) if value == b"a,b" else (BAD,)
    case(f"Host {value!r}", "3.2", level, get(b"/", b"Host: " + value) + NEXT, *accept)
case("invalid Host in HTTP/1.0", "3.2", MUST, b"GET / HTTP/1.0\r\nHost: a b\r\n\r\n", BAD)
case("invalid Host with an absolute-form target", "3.2", MUST, get(b"http://a/", b"Host: a b") + NEXT, BAD)
for value in (
    b"a", b"a:80", b"a:", b"A.Example", b"127.0.0.1", b"127.0.0.1:8000", b"[::1]", b"[::1]:8000", b"[fe80::1:2.3.4.5]",
    b"a_b", b"a-b.c", b"a.", b"xn--bcher-kva.example", b"a%20b", b"a~b", b"a!b$c",
):  # fmt: skip
    case(
        f"Host {value!r}",
        "3.2",
        MUST,
        get(b"/", b"Host: " + value) + NEXT,
        then_next(served(fields=(("host", value.decode()),))),
    )
case("empty Host", "3.2", MUST, get(b"/", b"Host:") + NEXT, then_next(served()), BAD)
case(
    "whitespace around Host",
    "5.1",
    MUST,
    get(b"/", b"Host: \t a \t") + NEXT,
    then_next(served(fields=(("host", "a"),))),
)

# Syntax

case("no space behind the colon", "5.1", MUST, get(b"/", b"X-A:b") + NEXT, then_next(served(fields=(("x-a", "b"),))))
case(
    "much whitespace around the value",
    "5.1",
    MUST,
    get(b"/", b"X-A: \t \tb c\t \t") + NEXT,
    then_next(served(fields=(("x-a", "b c"),))),
)
case("empty value", "5.1", MUST, get(b"/", b"X-A:") + NEXT, then_next(served(fields=(("x-a", ""),))))
case(
    "tab within a value",
    "RFC 9110 5.5",
    MUST,
    get(b"/", b"X-A: b\tc") + NEXT,
    then_next(served(fields=(("x-a", "b\tc"),))),
)
case(
    "bytes beyond ASCII in a value",
    "RFC 9110 5.5",
    CARE,
    get(b"/", b"X-A: b\xe9") + NEXT,
    then_next(served(fields=(("x-a", "b\xe9"),))),
)
case("repeated field", "RFC 9110 5.3", MUST, get(b"/", b"Accept: b", b"Accept: c") + NEXT, then_next(served()))
for name in (b"X-A ", b"X-A\t", b" X-A", b"X A", b"Host ", b"Content-Length ", b"Transfer-Encoding "):
    value = b"0" if b"Len" in name else b"chunked" if b"Tra" in name else b"b"
    section = "5.1" if name[-1:] in b" \t" else "5"
    level = MUST if name[-1:] in b" \t" else SHOULD
    case(f"name {name!r}", section, level, get(b"/", b"Host: a", name + b": " + value) + NEXT, BAD)
for byte in b'"(),/;<=>?@[\\]{}\x80\xff\0\x01\x0b\x7f':
    case(f"{bytes([byte])!r} in a name", "RFC 9110 5.1", SHOULD, get(b"/", b"X" + bytes([byte]) + b"A: b") + NEXT, BAD)
case(
    "every token character in a name",
    "RFC 9110 5.6.2",
    MUST,
    get(b"/", b"X!#$%&'*+-.^`|~9: b") + NEXT,
    then_next(served()),
)
case("no name", "5", SHOULD, get(b"/", b": b") + NEXT, BAD)
case("no colon", "5", SHOULD, get(b"/", b"X-A") + NEXT, BAD)
case("line of spaces", "5", SHOULD, get(b"/", b"   ") + NEXT, BAD)
case(
    "whitespace ahead of the first field",
    "2.2",
    MUST,
    b"GET / HTTP/1.1\r\n Host: b\r\nHost: a\r\n\r\n" + NEXT,
    BAD,
    then_next(served(fields=(("host", "a"),))),
)
case(
    "NUL in a value",
    "RFC 9110 5.5",
    MUST,
    get(b"/", b"X-A: b\0c") + NEXT,
    BAD,
    then_next(served(fields=(("x-a", "b c"),))),
)
case(
    "CR in a value",
    "RFC 9110 5.5",
    MUST,
    get(b"/", b"X-A: b\rc") + NEXT,
    BAD,
    then_next(served(fields=(("x-a", "b c"),))),
)
case("CR ahead of CRLF", "2.2", MUST, get(b"/", b"X-A: b\r") + NEXT, BAD)
case(
    "CR that hides a field",
    "2.2",
    MUST,
    get(b"/", b"X-A: b\rContent-Length: 5") + NEXT,
    BAD,
    then_next(served(without=("content-length",))),
)
for byte in (0x01, 0x08, 0x0B, 0x0C, 0x1B, 0x7F):
    case(f"byte {byte:#04x} in a value", "RFC 9110 5.5", CARE, get(b"/", b"X-A: b" + bytes([byte]) + b"c") + NEXT, BAD)
case("LF for CRLF behind a field", "2.2", CARE, b"GET / HTTP/1.1\r\nHost: a\nX-A: b\r\n\r\n" + NEXT, BAD)
case("LF LF at the end", "2.2", CARE, b"GET / HTTP/1.1\r\nHost: a\n\n" + NEXT, BAD)
case("CRLF LF at the end", "2.2", CARE, b"GET / HTTP/1.1\r\nHost: a\r\n\n" + NEXT, BAD)
case("LF CRLF at the end", "2.2", CARE, b"GET / HTTP/1.1\r\nHost: a\n\r\n" + NEXT, BAD)
case("CR CR at the end", "2.2", MUST, b"GET / HTTP/1.1\r\nHost: a\r\r" + NEXT, BAD)
case("obs-fold", "5.2", MUST, get(b"/", b"X-A: b\r\n c") + NEXT, BAD, then_next(served(fields=(("x-a", "b c"),))))
case(
    "obs-fold with a tab",
    "5.2",
    MUST,
    get(b"/", b"X-A: b\r\n\tc") + NEXT,
    BAD,
    then_next(served(fields=(("x-a", "b c"),))),
)
case("obs-fold of Host", "5.2", MUST, get(b"/", b"Host: a\r\n b") + NEXT, BAD)
case(
    "obs-fold that is empty",
    "5.2",
    MUST,
    get(b"/", b"X-A: b\r\n \r\nX-C: d") + NEXT,
    BAD,
    then_next(served(fields=(("x-a", "b"), ("x-c", "d")))),
)
case("obs-fold refused even where it would be harmless", "5.2", CARE, get(b"/", b"X-A: b\r\n c") + NEXT, BAD)
case(
    "underscore does not stand for a dash",
    "RFC 9110 5.1",
    CARE,
    get(b"/", b"X-Forwarded-User: a", b"X_Forwarded_User: b") + NEXT,
    BAD,
    then_next(served(fields=(("x-forwarded-user", "a"),))),
)
case(
    "underscore does not stand for the dash of Content-Length",
    "RFC 9110 5.1",
    MUST,
    post(b"", b"Content_Length: 5") + NEXT,
    BAD,
    then_next(served("/p", method="POST")),
)
case(
    "underscore does not stand for the dash of Transfer-Encoding",
    "RFC 9110 5.1",
    MUST,
    post(b"", b"Transfer_Encoding: chunked") + NEXT,
    BAD,
    then_next(served("/p", method="POST")),
)

# Sizes

TOO_LARGE = refused(431, 400, 413)
case("field of 1 MiB", "5.4", CARE, get(b"/", b"X-A: " + b"b" * 2**20), refused(431))
case("name of 1 MiB", "5.4", CARE, get(b"/", b"X" * 2**20 + b": b"), refused(431, 400))
case("10,000 fields", "5.4", CARE, get(b"/", *[b"X-%d: b" % number for number in range(10_000)]), refused(431))
case("1,000 fields", "5.4", CARE, get(b"/", *[b"X-%d: b" % number for number in range(1000)]), refused(431))
case("head of 1 MiB of short fields", "5.4", CARE, get(b"/", *[b"A: b"] * (2**20 // 6)), refused(431))
case("90 fields", "5.4", CARE, get(b"/", *[b"X-%d: b" % number for number in range(90)]) + NEXT, then_next(served()))
case("field of 8 kB", "5.4", CARE, get(b"/", b"Cookie: " + b"a" * 8000) + NEXT, then_next(served()))
case(
    "head without an end, of 1 MiB",
    "5.4",
    CARE,
    b"GET / HTTP/1.1\r\nHost: a\r\nX-A: " + b"b" * 2**20,
    TOO_LARGE,
    HUNG_UP,
)
case(
    "request line behind a good one",
    "5.4",
    CARE,
    get() + get(b"/", b"X-A: " + b"b" * 2**20),
    Outcome((served(), Answer((431,)))),
)
