"""Streams of requests, valid and invalid, and what each codec must make of them.

An expectation is a list: `(method, raw_path, body)` for each request that is served, in order, then, where the
stream is refused, the status. A stream that just ends has nothing more.
"""

from dataclasses import dataclass

Expected = list[object]


@dataclass(frozen=True)
class Case:
    name: str
    data: bytes
    expected: Expected
    section: str
    """Of RFC 9112, unless another is named."""


CASES: list[Case] = []


def case(name: str, data: bytes, expected: Expected, section: str) -> None:
    CASES.append(Case(name, data, expected, section))


def get(target: bytes = b"/", *fields: bytes, version: bytes = b"HTTP/1.1", method: bytes = b"GET") -> bytes:
    """Render a request without a body; `Host: a` is added unless a field begins with `Host`."""
    lines = list(fields)
    if not any(line.lower().startswith(b"host") for line in lines):
        lines.insert(0, b"Host: a")
    return b"%b %b %b\r\n" % (method, target, version) + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def post(body: bytes, *fields: bytes) -> bytes:
    return get(b"/p", *fields, method=b"POST") + body


def chunked(body: bytes) -> bytes:
    return post(body, b"Transfer-Encoding: chunked")


GET = ("GET", b"/", b"")
NEXT = get(b"/next")
NEXT_SERVED = ("GET", b"/next", b"")


def served(path: bytes) -> Expected:
    return [("GET", path, b"")]


def posted(body: bytes) -> tuple[str, bytes, bytes]:
    return ("POST", b"/p", body)


# Request lines

case("plain", get(), [GET], "3")
case("pipelined", get() + NEXT + NEXT, [GET, NEXT_SERVED, NEXT_SERVED], "9.3.2")
case("empty line ahead", b"\r\n" + get(), [GET], "2.2")
case("empty lines between", get() + b"\r\n\r\n" + NEXT, [GET, NEXT_SERVED], "2.2")
case("empty line after a body", post(b"abc\r\n", b"Content-Length: 3") + NEXT, [posted(b"abc"), NEXT_SERVED], "2.2")
case("too many empty lines", b"\r\n" * 9 + get(), [400], "2.2")
case("many empty lines", b"\r\n" * 8 + get(), [GET], "2.2")
case("bare LF ahead", b"\n" + get(), [400], "2.2")
case("bare CR ahead", b"\r" + get(), [400], "2.2")
case("space ahead", b" " + get(), [400], "3")
case("TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", [400], "3")
case("binary line", b"\x80\x81\r\n\r\n", [400], "3")
case("line ends with LF", get().replace(b"\r\n", b"\n", 1), [400], "2.2")
case("line ends with CR", get().replace(b"\r\n", b"\r", 1), [400], "2.2")
case("two spaces before the target", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", [400], "3")
case("two spaces after the target", b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", [400], "3")
case("space after the version", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", [400], "3")
case("tabs for spaces", b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", [400], "3")
case("no target", b"GET HTTP/1.1\r\nHost: a\r\n\r\n", [400], "3")
case("no method", b"/ HTTP/1.1\r\nHost: a\r\n\r\n", [400], "3")
case("method only", b"GET\r\n\r\n", [400], "3")

for method in (
    b"HEAD",
    b"DELETE",
    b"PATCH",
    b"PROPFIND",
    b"QUERY",
    b"BREW",
    b"get",
    b"M-SEARCH",
    b"PRI",
    b"!#$%&'*+-.^_`|~09",
):
    case(f"method {method.decode()}", get(method=method), [(method.decode(), b"/", b"")], "3.1")
for method in (b"G(T", b"GE\x01T", b"G\xc9T", b"GET:", b'"GET"', b"G/T"):
    case(f"method {method!r}", get(method=method), [400], "3.1")
for target in (b"a:80", b"/", b"a", b"http://a/", b"[::1]:443"):
    case(f"CONNECT {target.decode()}", get(target, method=b"CONNECT") + b"tunnelled", [501], "RFC 9110 9.3.6")

case("version 1.0", get(version=b"HTTP/1.0"), [GET], "2.3")
case("version 1.0 without Host", b"GET / HTTP/1.0\r\n\r\n", [GET], "3.2")
for version in (b"HTTP/1.2", b"HTTP/1.9"):
    case(f"version {version.decode()}", get(version=version), [GET], "RFC 9110 2.5")
for version in (b"HTTP/0.9", b"HTTP/2.0", b"HTTP/3.0", b"HTTP/9.9"):
    case(f"version {version.decode()}", get(version=version), [505], "RFC 9110 15.6.6")
case("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [505], "RFC 9113 3.4")
case("part of an HTTP/2 preface", b"PRI / HTTP/1.0\r\n\r\n", [("PRI", b"/", b"")], "3.1")
case("HTTP/0.9 style", b"GET /\r\n", [400], "3")
for version in (
    b"http/1.1",
    b"HTTP/1",
    b"HTTP/1.",
    b"HTTP/1.10",
    b"HTTP/01.1",
    b"HTTP/1,1",
    b"HTTP /1.1",
    b"ICE/1.0",
    b"RTSP/1.0",
    b"1.1",
):
    case(f"version {version.decode()}", get(version=version), [400], "2.3")

# Targets

for target, path in (
    (b"/a/b?c=d?e", b"/a/b"),
    (b"/?", b"/"),
    (b"//a/b", b"//a/b"),
    (b"/a//b/../c", b"/a//b/../c"),
    (b"/%zz%", b"/%zz%"),
    (b'/"<>\\^`{|}', b'/"<>\\^`{|}'),
    (b"/\xc3\xa9?\xff", b"/\xc3\xa9"),
    (b"/a:80", b"/a:80"),
    (b"http://a/x?y", b"/x"),
    (b"http://a", b"/"),
    (b"HTTPS://a:443?x", b"/"),
    (b"http://[::1]:80/x", b"/x"),
    (b"http://a/http://b/", b"/http://b/"),
):
    case(f"target {target!r}", get(target), served(path), "3.2")
for target in (
    b"*", b"*a", b"a", b"a/b", b"a:80", b"?a", b"/a#b", b"#", b"http://", b"http:///x", b"http://?x", b"http://u@a/",
    b"http://a b/", b"http://a/#x", b"http://[::1/", b"http://a:b/", b"http:/a", b"ftp://a/", b"urn:a:b", b"://a/",
    b"http://\xc3\xa9/", b"/a\x00", b"/a\x01", b"/a\x7f", b"/a\tb", b"/a\rb", b"\\",
):  # fmt: skip
    case(f"target {target!r}", get(target), [400], "3.2")
case("OPTIONS *", get(b"*", method=b"OPTIONS"), [("OPTIONS", b"*", b"")], "3.2.4")

# Host

for host in (
    b"", b"a", b"A.example", b"a:80", b"a:", b"127.0.0.1:8000", b"[::1]", b"[::1]:80", b"[::ffff:1.2.3.4]", b"a_b",
    b"a-b.c~d", b"a%20b", b"%C3%A9", b"a,b", b"x" * 300, b"  a \t ",
):  # fmt: skip
    case(f"Host {host[:20]!r}", get(b"/", b"Host:" + host), [GET], "3.2")
for host in (
    b"a b", b"a/b", b"/", b"u@a", b"a:port", b"a:80:80", b":80", b"[::1", b"::1", b"[]", b"[::1]a", b"[g::1]",
    b"[1.2.3.4]", b"[::1]:x", b"a%zz", b"a%2", b"a?b", b"a#b", b"a\\b", b"<a>", b"\xc3\xa9", b'"a"', b"a\tb",
    b"x" * 300 + b"/",
):  # fmt: skip
    case(f"Host {host[-20:]!r}", get(b"/", b"Host: " + host), [400], "3.2")
case("Host missing", b"GET / HTTP/1.1\r\nAccept: */*\r\n\r\n", [400], "3.2")
case("no fields at all", b"GET / HTTP/1.1\r\n\r\n", [400], "3.2")
case("Host missing in absolute form", b"GET http://a/ HTTP/1.1\r\nX: y\r\n\r\n", [400], "3.2")
case("Host missing in HTTP/1.0 absolute form", b"GET http://a/x HTTP/1.0\r\n\r\n", served(b"/x"), "3.2.2")
case("Host twice", get(b"/", b"Host: a", b"Host: b"), [400], "3.2")
case("Host twice, the same", get(b"/", b"Host: a", b"hOST: a"), [400], "3.2")
case("Host twice in HTTP/1.0", get(b"/", b"Host: a", b"Host: a", version=b"HTTP/1.0"), [400], "3.2")
case("Host invalid in HTTP/1.0", get(b"/", b"Host: a b", version=b"HTTP/1.0"), [400], "3.2")
case("Host invalid in absolute form", get(b"http://a/", b"Host: a b"), [400], "3.2")

# Fields

for line in (
    b"X:", b"X: ", b"X:y", b"X:\ty\t", b"X: y z", b"X: \xe9\xff", b"!#$%&'*+-.^_`|~09az: y", b"X_Y: z",
    b"X: " + b"y" * 9000, b"X: :", b"Connection: a b", b"Connection: ,", b"Keep-Alive: timeout=5",
    b"Content-Length2: x", b"X-Transfer-Encoding: gzip",
):  # fmt: skip
    case(f"field {line[:24]!r}", get(b"/", line) + NEXT, [GET, NEXT_SERVED], "5")
for line in (
    b"X : y", b"X\t: y", b" X: y", b"\tX: y", b"X: y\r\n z", b"X: y\r\n\tz", b"X:\r\n y", b"X", b": y", b"",
    b"X: y\nZ: a", b"X: y\rZ", b"X: y\r", b"X: \x00", b"X: a\x01", b"X: a\x0b", b"X: a\x0c", b"X: a\x1f", b"X: a\x7f",
    b"X\x00: y", b"X\xe9: y", b"X Y: z", b"X(: y", b"X[]: y", b"{X}: y", b'"X": y', b"X@: y", b"X/Y: z", b"X\\: y",
    b"X=: y", b"X;: y", b"X,: y", b"X?: y", b"<X>: y", b"\x0bX: y", b"X\r: y", b"X:\x0by",
):  # fmt: skip
    if line:
        case(f"field {line!r}", get(b"/", line) + NEXT, [400], "5")
case("folded first field", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", [400], "2.2")
case(
    "smuggled by obs-fold",
    post(b"0\r\n\r\n", b"Content-Length: 5", b"X: y\r\n Transfer-Encoding: chunked"),
    [400],
    "5.2",
)
case("smuggled by bare LF", post(b"0\r\n\r\n", b"X: y\nTransfer-Encoding: chunked"), [400], "2.2")
case("head ends with LF LF", b"GET / HTTP/1.1\r\nHost: a\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", [400], "2.2")
case("head ends with CRLF LF", b"GET / HTTP/1.1\r\nHost: a\r\n\n", [400], "2.2")
case("head ends with LF CRLF", b"GET / HTTP/1.1\r\nHost: a\n\r\n", [400], "2.2")
case("head ends with CR CR", b"GET / HTTP/1.1\r\nHost: a\r\r", [400], "2.2")
case("head ends with CRLF CR CR", b"GET / HTTP/1.1\r\nHost: a\r\n\r\r", [400], "2.2")

# Content-Length

case("length", post(b"abc", b"Content-Length: 3") + NEXT, [posted(b"abc"), NEXT_SERVED], "6.2")
case("length 0", post(b"", b"Content-Length: 0") + NEXT, [posted(b""), NEXT_SERVED], "6.2")
case("no length", post(b"") + NEXT, [posted(b""), NEXT_SERVED], "6.3")
case("length with zeros", post(b"abc", b"Content-Length: 0003") + NEXT, [posted(b"abc"), NEXT_SERVED], "6.2")
case("length in whitespace", post(b"abc", b"Content-Length: \t3 \t"), [posted(b"abc")], "5.1")
case("length of a GET", get(b"/", b"Content-Length: 3") + b"abc" + NEXT, [("GET", b"/", b"abc"), NEXT_SERVED], "6")
case("length in HTTP/1.0", b"POST /p HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", [posted(b"abc")], "6.2")
case("length too long for what comes", post(b"abc", b"Content-Length: 4"), ["incomplete"], "6.2")
case("greatest length", post(b"", b"Content-Length: 9223372036854775807"), ["incomplete"], "6.2")
for value in (
    b"", b"+3", b"-3", b"3.0", b"3,3", b"3, 3", b"3 3", b"0x3", b"3a", b"a", b"\xb23", b'"3"', b"3;", b"1_0",
    b"9223372036854775808", b"18446744073709551615", b"18446744073709551619", b"9" * 40, b"9" * 5000,
    b"0" * 20 + b"3",
):  # fmt: skip
    case(f"length {value[:24]!r}, {len(value)} long", post(b"abc", b"Content-Length: " + value), [400], "6.3")
case("length twice", post(b"abc", b"Content-Length: 3", b"Content-Length: 3"), [400], "6.3")
case("lengths that differ", post(b"abc", b"Content-Length: 3", b"Content-Length: 4"), [400], "6.3")

# Transfer-Encoding

case("chunked", chunked(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n") + NEXT, [posted(b"abcde"), NEXT_SERVED], "7.1")
case("Chunked", post(b"0\r\n\r\n", b"Transfer-Encoding: \tChunked ") + NEXT, [posted(b""), NEXT_SERVED], "7")
for value in (b"gzip, chunked", b"gzip,chunked", b"deflate, gzip, chunked", b"identity, chunked"):
    case(f"coding {value.decode()}", post(b"0\r\n\r\n", b"Transfer-Encoding: " + value), [501], "6.1")
for value in (
    b"", b"gzip", b"identity", b"xchunked", b"chunkedx", b"chunked, gzip", b"chunked, chunked", b"chunked, identity",
    b",chunked", b"chunked,", b"gzip,,chunked", b'"chunked"', b"'chunked'", b"chunked;a=b", b"chunked a", b"chun ked",
    b"chunked\t\x0b", b"\x0bchunked", b"gzip;q=1, chunked", b"g\xe9zip, chunked", b"chunked\x00",
):  # fmt: skip
    case(f"coding {value!r}", post(b"0\r\n\r\n", b"Transfer-Encoding: " + value), [400], "6.3")
case("coding twice", post(b"0\r\n\r\n", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), [400], "6.1")
case(
    "codings on two lines", post(b"0\r\n\r\n", b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"), [400], "6.1"
)
case("CL.TE", post(b"0\r\n\r\nX", b"Content-Length: 6", b"Transfer-Encoding: chunked"), [400], "6.1")
case("TE.CL", post(b"0\r\n\r\nX", b"Transfer-Encoding: chunked", b"Content-Length: 6"), [400], "6.1")
case(
    "CL.TE with an unknown coding",
    post(b"abc", b"Content-Length: 3", b"Transfer-Encoding: gzip, chunked"),
    [400],
    "6.1",
)
case("coding in HTTP/1.0", b"POST /p HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", [400], "6.1")
case("coding with space before the colon", post(b"0\r\n\r\n", b"Transfer-Encoding : chunked"), [400], "5.1")
case("chunked GET", get(b"/", b"Transfer-Encoding: chunked") + b"1\r\na\r\n0\r\n\r\n", [("GET", b"/", b"a")], "6")

# Chunks

for size in (
    b"3", b"03", b"0" * 60 + b"3", b"3;a", b"3;a=b", b'3;a="b"', b'3;a="b;\\"c\\\\\xff\t"', b"3;a;b=c;d", b"3 ;a",
    b"3; a", b"3 ;\ta = b",
):  # fmt: skip
    case(
        f"chunk size {size[-24:]!r}",
        chunked(size + b"\r\nabc\r\n0\r\n\r\n") + NEXT,
        [posted(b"abc"), NEXT_SERVED],
        "7.1",
    )
for size in (
    b"", b" ", b" 3", b"3 ", b"3\t", b"+3", b"-3", b"0x3", b"x3", b"3x", b"3,", b"3;", b"3;;a", b"3; ", b"3;a=",
    b"3;=b", b"3;a b", b"3;a=b c", b'3;a="b', b'3;a="b"c', b"3;a\x00", b"3;a\x01", b"3;\xe9", b"3;a=\xe9", b"3;a\nb",
    b"3;a\rb", b"3\r", b"3\n", b"\r\n3", b"\xb23", b"3;a=(", b"8000000000000003", b"ffffffffffffffff",
    b"10000000000000003", b"f" * 300, b"3;" + b"a" * 5000, b"0" * 5000 + b"3",
):  # fmt: skip
    case(f"chunk size {size[:24]!r}", chunked(size + b"\r\nabc\r\n0\r\n\r\n") + NEXT, ["incomplete", 400], "7.1")
case("empty last chunk with zeros", chunked(b"000\r\n\r\n") + NEXT, [posted(b""), NEXT_SERVED], "7.1")
case("extension of the last chunk", chunked(b"0;a=b\r\n\r\n") + NEXT, [posted(b""), NEXT_SERVED], "7.1")
case("chunk line ends with LF", chunked(b"3\nabc\r\n0\r\n\r\n"), ["incomplete", 400], "7.1")
case("chunk line ends with CR", chunked(b"3\rabc\r0\r\r"), ["incomplete", 400], "7.1")
case("chunk ends with LF", chunked(b"3\r\nabc\n0\r\n\r\n"), ["incomplete", 400], "7.1")
case("chunk ends with CR", chunked(b"3\r\nabc\r0\r\n\r\n"), ["incomplete", 400], "7.1")
case("chunk ends with nothing", chunked(b"3\r\nabc0\r\n\r\n"), ["incomplete", 400], "7.1")
case("chunk longer than its size", chunked(b"3\r\nabcd\r\n0\r\n\r\n"), ["incomplete", 400], "7.1")
case("chunk shorter than its size", chunked(b"3\r\nab\r\n0\r\n\r\n"), ["incomplete", 400], "7.1")
case("last chunk missing", chunked(b"3\r\nabc\r\n") + NEXT, ["incomplete", 400], "7.1")
case("body ends with LF", chunked(b"0\r\n\n"), ["incomplete", 400], "7.1")
case("body ends with LF LF", chunked(b"0\n\n"), ["incomplete", 400], "7.1")
case("binary body", chunked(b"6\r\n\r\n\x00\xff\r\n\r\n0\r\n\r\n"), [posted(b"\r\n\x00\xff\r\n")], "7.1")

# Trailers

for trailer in (
    b"X: y",
    b"X: y\r\nZ: a",
    b"Content-Length: 5",
    b"Transfer-Encoding: chunked",
    b"Host: b",
    b"X:",
    b"Connection: close",
):
    case(f"trailer {trailer!r}", chunked(b"0\r\n" + trailer + b"\r\n\r\n") + NEXT, [posted(b""), NEXT_SERVED], "7.1.2")
for trailer in (
    b"X : y",
    b"X",
    b": y",
    b"X: y\r\n z",
    b" X: y",
    b"X: y\nZ: a",
    b"X: y\rZ",
    b"X: \x00",
    b"X\xe9: y",
    b"X: y\r\r\n",
):
    case(f"trailer {trailer!r}", chunked(b"0\r\n" + trailer + b"\r\n\r\n") + NEXT, ["incomplete", 400], "7.1.2")

# Expect, Connection, Upgrade

case("Expect", post(b"abc", b"Content-Length: 3", b"Expect: 100-Continue"), [posted(b"abc")], "RFC 9110 10.1.1")
case("Expect twice", post(b"", b"Expect: 100-continue", b"Expect: 100-continue"), [posted(b"")], "RFC 9110 10.1.1")
case("Expect something else", post(b"abc", b"Content-Length: 3", b"Expect: magic"), [417], "RFC 9110 10.1.1")
case("Expect more", post(b"abc", b"Content-Length: 3", b"Expect: 100-continue, magic"), [417], "RFC 9110 10.1.1")
case("close", get(b"/", b"Connection: close") + NEXT, [GET], "9.6")
case("close among others", get(b"/", b"Connection: x, CLOSE") + NEXT, [GET], "9.6")
case("close on two lines", get(b"/", b"Connection: x", b"Connection: close") + NEXT, [GET], "9.6")
case("body, then close", post(b"abcdef", b"Content-Length: 3", b"Connection: close"), [posted(b"abc")], "9.6")
case("HTTP/1.0 closes", get(version=b"HTTP/1.0") + NEXT, [GET], "9.3")
case("HTTP/1.0 keep-alive", get(b"/", b"Connection: Keep-Alive", version=b"HTTP/1.0") + NEXT, [GET, NEXT_SERVED], "9.3")
UPGRADE = (b"Connection: Upgrade", b"Upgrade: h2c")
case(
    "h2c ignored",
    get(b"/", *UPGRADE, b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA") + NEXT,
    [GET, NEXT_SERVED],
    "RFC 9110 7.8",
)
case(
    "h2c with a body",
    post(b"abc", *UPGRADE, b"Content-Length: 3") + NEXT,
    [posted(b"abc"), NEXT_SERVED],
    "RFC 9110 7.8",
)
case(
    "h2c with a chunked body",
    post(b"3\r\nabc\r\n0\r\n\r\n", *UPGRADE, b"Transfer-Encoding: chunked") + NEXT,
    [posted(b"abc"), NEXT_SERVED],
    "RFC 9110 7.8",
)
case("upgrade in HTTP/1.0", get(b"/", *UPGRADE, version=b"HTTP/1.0") + NEXT, [GET], "RFC 9110 7.8")

# What follows a refusal

case("bad after good", get() + b"GET / HTTP/1.1\r\n\r\n" + NEXT, [GET, 400], "9.3.2")
case("good after bad", b"GET / HTTP/1.1\r\n\r\n" + NEXT, [400], "9.3.2")
case("body where none is due", get() + b"abc\r\n\r\n", [GET, 400], "6.3")
