"""The request line: methods, targets, versions, and what stands in their place (RFC 9112 sections 2 and 3)."""

from conformance.http1.model import (
    BAD,
    CARE,
    HUNG_UP,
    MUST,
    NEXT,
    NEXT_SERVED,
    SHOULD,
    Answer,
    Case,
    Level,
    Outcome,
    Saw,
    get,
    last,
    refused,
    served,
    then_next,
)

CASES: list[Case] = []

MIB = 1024 * 1024
#: A target that is not longer than what the server wishes to parse.
LONG_SERVED = Outcome((Answer((200,), Saw("GET")), NEXT_SERVED))


def case(name: str, section: str, level: Level, data: bytes, *accept: Outcome) -> None:
    CASES.append(Case(f"line: {name}", section, level, (data,), accept))


case("plain request", "3", MUST, get() + NEXT, then_next(served()))
case("empty line ahead", "2.2", SHOULD, b"\r\n" + get() + NEXT, then_next(served()))
case("a thousand empty lines ahead", "2.2", CARE, b"\r\n" * 1000 + get() + NEXT, BAD, HUNG_UP)
case("space ahead", "3", SHOULD, b" " + get() + NEXT, BAD)
case(
    "TLS hello",
    "3",
    SHOULD,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x7f" * 512 + b"\r\n\r\n",
    BAD,
    HUNG_UP,
)
case("zeros", "3", SHOULD, b"\0" * 64 + b"\r\n\r\n", BAD, HUNG_UP)
case("HTTP/2 preface", "3", SHOULD, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", refused(400, 405, 426, 501, 505), HUNG_UP)

# Line ends

case("LF for CRLF in the request line", "2.2", CARE, get().replace(b"\r\n", b"\n", 1) + NEXT, BAD)
case("LF for CRLF everywhere", "2.2", CARE, get().replace(b"\r\n", b"\n"), BAD)
case("CR for CRLF in the request line", "2.2", MUST, b"GET / HTTP/1.1\rHost: a\r\n\r\n" + NEXT, BAD)
case("CR within the request line", "2.2", MUST, b"GET /\rx HTTP/1.1\r\nHost: a\r\n\r\n" + NEXT, BAD)
case("CR behind the method", "2.2", CARE, b"GET\r/ HTTP/1.1\r\nHost: a\r\n\r\n" + NEXT, BAD)
case("CR CR LF", "2.2", MUST, b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n" + NEXT, BAD)
case("NUL in the target", "3.2", SHOULD, get(b"/\0") + NEXT, BAD)
for byte in (0x01, 0x08, 0x0B, 0x0C, 0x1B, 0x1F, 0x7F):
    case(f"byte {byte:#04x} in the target", "3.2", SHOULD, get(b"/a" + bytes([byte])) + NEXT, BAD)
case("byte 0x80 in the target", "3.2", CARE, get(b"/\x80") + NEXT, BAD, Outcome((Answer((200, 404)), NEXT_SERVED)))

# Separators

for name, line in (
    ("two spaces ahead of the target", b"GET  / HTTP/1.1"),
    ("two spaces behind the target", b"GET /  HTTP/1.1"),
    ("space behind the version", b"GET / HTTP/1.1 "),
    ("tab for a space", b"GET\t/ HTTP/1.1"),
    ("tab for the other space", b"GET /\tHTTP/1.1"),
    ("form feed for a space", b"GET\x0c/ HTTP/1.1"),
    ("space in the target", b"GET /a b HTTP/1.1"),
):
    case(name, "3", CARE, line + b"\r\nHost: a\r\n\r\n" + NEXT, BAD)
case("no target", "3", SHOULD, b"GET HTTP/1.1\r\nHost: a\r\n\r\n" + NEXT, BAD)
case("empty target", "3", SHOULD, b"GET  HTTP/1.1\r\nHost: a\r\n\r\n" + NEXT, BAD)
case("no method", "3", SHOULD, b" / HTTP/1.1\r\nHost: a\r\n\r\n" + NEXT, BAD)
case("method alone", "3", SHOULD, b"GET\r\nHost: a\r\n\r\n" + NEXT, BAD)

# Methods

case(
    "unknown method",
    "RFC 9110 9.1",
    SHOULD,
    get(method=b"FROB") + NEXT,
    then_next(served(method="FROB")),
    Outcome((Answer((405, 501)), NEXT_SERVED)),
    refused(405, 501),
)
for name in ("PUT", "DELETE", "PATCH", "OPTIONS"):
    case(f"method {name}", "RFC 9110 9.3", MUST, get(method=name.encode()) + NEXT, then_next(served(method=name)))
case(
    "method with every token character",
    "RFC 9110 5.6.2",
    SHOULD,
    get(method=b"!#$%&'*+-.^_`|~09AZ") + NEXT,
    then_next(served(method="!#$%&'*+-.^_`|~09AZ")),
    Outcome((Answer((405, 501)), NEXT_SERVED)),
    refused(405, 501),
)
for byte in b'"(),/:;<=>?@[\\]{}\x80\0\x7f':
    case(
        f"method with {bytes([byte])!r}",
        "RFC 9110 9.1",
        SHOULD,
        get(method=b"G" + bytes([byte]) + b"T") + NEXT,
        refused(400, 501),
    )
case("method of 100 kB", "3", SHOULD, get(method=b"G" * 100_000), refused(400, 501, 414, 431))
case(
    "CONNECT",
    "RFC 9110 9.3.6",
    MUST,
    b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n" + NEXT,
    refused(400, 404, 405, 501),
    Outcome((Answer((400, 404, 405, 501)), NEXT_SERVED)),
)
case(
    "CONNECT without a port",
    "RFC 9110 9.3.6",
    MUST,
    b"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n" + NEXT,
    refused(400, 404, 405, 501),
    Outcome((Answer((400, 404, 405, 501)), NEXT_SERVED)),
)
case(
    "CONNECT with a path",
    "3.2.3",
    SHOULD,
    b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n" + NEXT,
    refused(400, 405, 501),
    Outcome((Answer((400, 404, 405, 501)), NEXT_SERVED)),
)

# Targets

case("path and query", "3.2.1", MUST, get(b"/a/b?c=d&e?f") + NEXT, then_next(served("/a/b", query="c=d&e?f")))
case("empty query", "3.2.1", MUST, get(b"/a?") + NEXT, then_next(served("/a", query="")))
case("percent-encoded path", "3.2.1", MUST, get(b"/a%20b%2Fc") + NEXT, then_next(served("/a b/c")))
case("percent-encoded UTF-8", "3.2.1", MUST, get(b"/%C3%A9") + NEXT, then_next(served("/\xe9")))
case("two slashes", "3.2.1", MUST, get(b"//b/c") + NEXT, then_next(served("//b/c")))
case("dot segments stay", "3.2.1", CARE, get(b"/a/../b") + NEXT, then_next(served("/a/../b")), BAD)
case("fragment", "3.2", SHOULD, get(b"/a#b") + NEXT, BAD)
case(
    "asterisk with OPTIONS",
    "3.2.4",
    MUST,
    get(b"*", method=b"OPTIONS") + NEXT,
    Outcome((Answer((200, 204, 400, 404, 405)), NEXT_SERVED)),
)
case("asterisk with GET", "3.2.4", SHOULD, get(b"*") + NEXT, BAD)
case("authority with GET", "3.2.3", SHOULD, get(b"a:80") + NEXT, BAD)
case("relative path", "3.2", SHOULD, get(b"a/b") + NEXT, BAD)
case("query without a path", "3.2", SHOULD, get(b"?a") + NEXT, BAD)
case("backslash", "3.2", CARE, get(b"\\a") + NEXT, BAD)
case("absolute-form", "3.2.2", MUST, get(b"http://a/b?c") + NEXT, then_next(served("/b", query="c")))
case("absolute-form without a path", "3.2.2", MUST, get(b"http://a") + NEXT, then_next(served("/")))
case("absolute-form with only a query", "3.2.2", MUST, get(b"http://a?b") + NEXT, then_next(served("/", query="b")))
case("absolute-form in capitals", "3.2.2", MUST, get(b"HTTP://A/b") + NEXT, then_next(served("/b")))
case(
    "absolute-form with a port",
    "3.2.2",
    MUST,
    get(b"http://b:80/c") + NEXT,
    then_next(served("/c", fields=(("host", "b:80"),))),
)
case(
    "absolute-form with another Host",
    "3.2.2",
    MUST,
    get(b"http://b/c", b"Host: a") + NEXT,
    then_next(served("/c", fields=(("host", "b"),))),
    Outcome((Answer((400, 421)), NEXT_SERVED)),
    refused(400, 421),
)
case("absolute-form in HTTP/1.0", "3.2.2", MUST, b"GET http://b/c HTTP/1.0\r\n\r\n", last(served("/c")))
case("absolute-form without an authority", "RFC 9110 4.2.1", MUST, get(b"http:///a") + NEXT, BAD)
case("absolute-form with an empty host and a port", "RFC 9110 4.2.1", MUST, get(b"http://:80/a") + NEXT, BAD)
case("absolute-form with user information", "RFC 9110 4.2.4", SHOULD, get(b"http://u:p@a/b") + NEXT, BAD)
case("absolute-form with an invalid port", "3.2.2", SHOULD, get(b"http://a:b/c") + NEXT, BAD)
case(
    "absolute-form of another scheme",
    "3.2.2",
    CARE,
    get(b"ftp://a/b") + NEXT,
    BAD,
    Outcome((Answer((421,)), NEXT_SERVED)),
)
case("absolute-form without Host", "3.2", MUST, b"GET http://a/ HTTP/1.1\r\n\r\n" + NEXT, BAD)
case("target of 1 MiB", "3", MUST, get(b"/" + b"a" * MIB) + NEXT, refused(414), LONG_SERVED)
case("target of 1 MiB in parts", "3", MUST, get(b"/?" + b"a=b&" * (MIB // 4)) + NEXT, refused(414), LONG_SERVED)
case("target of 100 kB", "3", MUST, get(b"/" + b"a" * 100_000) + NEXT, refused(414), LONG_SERVED)
case("target of 7,900 bytes", "3", CARE, get(b"/" + b"a" * 7900) + NEXT, then_next(Answer((200,), Saw("GET"))))

# Versions

case("HTTP/1.0", "2.5", MUST, b"GET / HTTP/1.0\r\n\r\n" + NEXT, last(served()))
case("HTTP/1.2", "RFC 9110 2.5", SHOULD, get(version=b"HTTP/1.2") + NEXT, then_next(served()))
case("HTTP/1.9", "RFC 9110 2.5", SHOULD, get(version=b"HTTP/1.9") + NEXT, then_next(served()))
for version in (b"HTTP/2.0", b"HTTP/3.0", b"HTTP/9.9", b"HTTP/0.9"):
    case(f"version {version.decode()}", "RFC 9110 15.6.6", SHOULD, get(version=version) + NEXT, refused(505, 400))
for version in (
    b"http/1.1", b"Http/1.1", b"HTTP/1.10", b"HTTP/11.1", b"HTTP/1", b"HTTP/1.", b"HTTP/.1", b"HTTP/1,1", b"HTTP/1.1x",
    b"HTTP/ 1.1", b"HTTP /1.1", b"HTTP/-1.1", b"HTTP/+1.1", b"HTTP/1.a", b"HTTPS/1.1", b"ICY/1.1",
    b"HTTP\\1.1", b"/1.1",
    b"RTSP/1.0", b"HTTP/01.1",
):  # fmt: skip
    case(f"version {version.decode()}", "2.3", SHOULD, get(version=version) + NEXT, refused(400, 505), HUNG_UP)
case("HTTP/0.9", "3", SHOULD, b"GET /\r\n\r\n" + NEXT, refused(400, 505), HUNG_UP)
