"""Where a body ends: Content-Length, Transfer-Encoding, both, and all that is used to smuggle (RFC 9112 section 6)."""

from conformance.http1.model import (
    BAD,
    CARE,
    MUST,
    NEXT,
    NEXT_SERVED,
    SHOULD,
    Answer,
    Case,
    Level,
    Outcome,
    get,
    last,
    post,
    posted,
    refused,
    served,
    then_next,
)

CASES: list[Case] = []

EMPTY = b"0\r\n\r\n"
#: What an attacker hides: whoever serves it has taken the body's end for a request's beginning.
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


def case(name: str, section: str, level: Level, data: bytes, *accept: Outcome, half_close: bool = False) -> None:
    CASES.append(Case(f"framing: {name}", section, level, (data,), accept, half_close=half_close))


# Content-Length

case("length", "6.2", MUST, post(b"abc", b"Content-Length: 3") + NEXT, then_next(posted(b"abc")))
case("length 0", "6.2", MUST, post(b"", b"Content-Length: 0") + NEXT, then_next(posted(b"")))
case("no length", "6.3", MUST, post(b"") + NEXT, then_next(posted(b"")))
case("length with zeros", "6.2", MUST, post(b"abc", b"Content-Length: 0003") + NEXT, then_next(posted(b"abc")), BAD)
case(
    "whitespace around a length", "5.1", MUST, post(b"abc", b"Content-Length: \t3 \t") + NEXT, then_next(posted(b"abc"))
)
case("GET with a body", "6", MUST, get(b"/", b"Content-Length: 3") + b"abc" + NEXT, then_next(served(body=b"abc")), BAD)
case(
    "DELETE with a body",
    "6",
    MUST,
    get(b"/", b"Content-Length: 3", method=b"DELETE") + b"abc" + NEXT,
    then_next(served(method="DELETE", body=b"abc")),
)
case(
    "OPTIONS with a body",
    "6",
    MUST,
    get(b"/", b"Content-Length: 3", method=b"OPTIONS") + b"abc" + NEXT,
    then_next(served(method="OPTIONS", body=b"abc")),
)
case(
    "body of 300 kB",
    "6.2",
    MUST,
    post(b"a" * 300_000, b"Content-Length: 300000") + NEXT,
    then_next(posted(b"a" * 300_000)),
)
case("body in HTTP/1.0", "6.2", MUST, b"POST /p HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", last(posted(b"abc")))
case(
    "body that looks like a request",
    "6.2",
    MUST,
    post(SMUGGLED, b"Content-Length: %d" % len(SMUGGLED)) + NEXT,
    then_next(posted(SMUGGLED)),
)
case("CRLF behind a body", "2.2", SHOULD, post(b"abc\r\n", b"Content-Length: 3") + NEXT, then_next(posted(b"abc")))
case(
    "body cut short",
    "8",
    MUST,
    post(b"abc", b"Content-Length: 10"),
    Outcome((), closed=True),
    BAD,
    refused(408),
    half_close=True,
)
case(
    "head cut short",
    "8",
    MUST,
    b"GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n",
    Outcome((), closed=True),
    BAD,
    refused(408),
    half_close=True,
)
for value in (
    b"", b"+3", b"-3", b"-0", b"3.0", b"3 3", b"0x3", b"0X3", b"3a", b"a", b"\xb23", b'"3"', b"3;",
    b"1_0", b"0b1", b"3e0",
    b"\x0b3", b"3\x0c", b"3\0", b"\xd9\xa3", b"+", b" ", b"3,", b",3", b"3,a", b"3,4", b"3, 4", b"3 ,4",
):  # fmt: skip
    case(f"length {value!r}", "6.3", MUST, post(b"abc", b"Content-Length: " + value) + NEXT, BAD)
for digits in (
    b"9223372036854775808", b"18446744073709551615", b"18446744073709551616",
    b"18446744073709551619", b"4294967299" * 2,
    b"9" * 40, b"9" * 5000,
):  # fmt: skip
    name, data = (
        f"length {digits[:20].decode()}, {len(digits)} digits",
        post(b"abc", b"Content-Length: " + digits) + NEXT,
    )
    # To wait for so large a body is no overflow; to wait for ever is not careful.
    case(name, "6.3", MUST, data, refused(400, 413), Outcome((), closed=False))
    case(f"{name}: refused", "6.3", CARE, data, refused(400, 413))
case("length list of equals", "6.3", MUST, post(b"abc", b"Content-Length: 3, 3") + NEXT, BAD, then_next(posted(b"abc")))
case(
    "length twice",
    "6.3",
    MUST,
    post(b"abc", b"Content-Length: 3", b"Content-Length: 3") + NEXT,
    BAD,
    then_next(posted(b"abc")),
)
case("two lengths", "6.3", MUST, post(b"abc", b"Content-Length: 3", b"Content-Length: 0") + NEXT, BAD)
case("two lengths, the other way", "6.3", MUST, post(b"abc", b"Content-Length: 0", b"Content-Length: 3") + NEXT, BAD)
case("two lengths, one invalid", "6.3", MUST, post(b"abc", b"Content-Length: 3", b"Content-Length: x") + NEXT, BAD)
case(
    "two lengths that are one number",
    "6.3",
    MUST,
    post(b"abc", b"Content-Length: 3", b"Content-Length: 03") + NEXT,
    BAD,
    then_next(posted(b"abc")),
)
case(
    "two lengths in HTTP/1.0",
    "6.3",
    MUST,
    b"POST /p HTTP/1.0\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc" + NEXT,
    BAD,
)
case("obs-fold of a length", "5.2", MUST, post(b"abc", b"Content-Length:\r\n 3") + NEXT, BAD, then_next(posted(b"abc")))

# Both

for name, fields in (
    ("CL.TE", (b"Content-Length: 6", b"Transfer-Encoding: chunked")),
    ("TE.CL", (b"Transfer-Encoding: chunked", b"Content-Length: 6")),
    ("CL 0 and TE", (b"Content-Length: 0", b"Transfer-Encoding: chunked")),
    ("CL and TE in capitals", (b"Content-Length: 6", b"TRANSFER-ENCODING: CHUNKED")),
):
    case(name, "6.1", MUST, post(EMPTY, *fields) + SMUGGLED + NEXT, BAD, last(posted(b"")))
    case(f"{name}: refused", "6.1", CARE, post(EMPTY, *fields) + SMUGGLED + NEXT, BAD)
case(
    "invalid CL and TE",
    "6.3",
    MUST,
    post(EMPTY, b"Content-Length: x", b"Transfer-Encoding: chunked") + NEXT,
    BAD,
    last(posted(b"")),
)
case(
    "CL and an unknown coding",
    "6.1",
    MUST,
    post(b"abc", b"Content-Length: 3", b"Transfer-Encoding: frob") + NEXT,
    refused(400, 501),
)
case(
    "CL and a coding of two",
    "6.1",
    MUST,
    post(b"abc", b"Content-Length: 3", b"Transfer-Encoding: gzip, chunked") + NEXT,
    refused(400, 501),
)
case(
    "CL and identity",
    "6.1",
    MUST,
    post(b"abc", b"Content-Length: 3", b"Transfer-Encoding: identity") + NEXT,
    refused(400, 501),
)
case(
    "CL and an empty TE",
    "6.1",
    MUST,
    post(b"abc", b"Content-Length: 3", b"Transfer-Encoding:") + NEXT,
    refused(400, 501),
)
case(
    "CL and TE in HTTP/1.0",
    "6.1",
    MUST,
    b"POST /p HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nContent-Length: 5\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n" + EMPTY + NEXT,
    BAD,
    last(posted(b"")),
)

# Transfer-Encoding

case(
    "chunked",
    "7.1",
    MUST,
    post(b"3\r\nabc\r\n" + EMPTY, b"Transfer-Encoding: chunked") + NEXT,
    then_next(posted(b"abc")),
)
case("chunked in capitals", "7", MUST, post(EMPTY, b"Transfer-Encoding: CHUNKED") + NEXT, then_next(posted(b"")))
case(
    "chunked in whitespace",
    "5.1",
    MUST,
    post(EMPTY, b"Transfer-Encoding: \t chunked \t") + NEXT,
    then_next(posted(b"")),
)
case(
    "chunked GET",
    "6",
    MUST,
    get(b"/", b"Transfer-Encoding: chunked") + b"1\r\na\r\n" + EMPTY + NEXT,
    then_next(served(body=b"a")),
    BAD,
)
case(
    "chunked in HTTP/1.0",
    "6.1",
    MUST,
    b"POST /p HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" + EMPTY + NEXT,
    BAD,
    last(posted(b"")),
)
for value in (
    b"gzip", b"identity", b"xchunked", b"chunkedx", b"chunked, gzip", b"chunked, identity", b"cow", b"chunked, cow",
    b'"chunked"', b"'chunked'", b"chunked;a=b", b"chunked a", b"chun ked", b"\x0bchunked",
    b"chunked\x0b", b"chunked\x0c",
    b"chunked\0", b"\xffchunked", b"chunked\xa0", b"chunke", b"[chunked]", b"chunked;", b"chunked, chunked",
    b"chunked,chunked,chunked", b"x chunked", b"chunked\\", b"chu%6eked",
):  # fmt: skip
    section = "6.3" if b"chunked, chunked" not in value else "6.1"
    case(f"coding {value!r}", section, MUST, post(EMPTY, b"Transfer-Encoding: " + value) + NEXT, refused(400, 501))
for value in (b"gzip, chunked", b"gzip,chunked", b"deflate, gzip, chunked", b"frob, chunked"):
    case(f"coding {value!r}", "6.1", SHOULD, post(EMPTY, b"Transfer-Encoding: " + value) + NEXT, refused(501, 400))
for value in (b"", b",chunked", b"chunked,", b", chunked", b",,chunked", b"identity, chunked"):
    case(f"coding {value!r}", "6.1", CARE, post(EMPTY, b"Transfer-Encoding: " + value) + NEXT, refused(400, 501))
case(
    "coding twice",
    "6.1",
    MUST,
    post(EMPTY, b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked") + NEXT,
    refused(400, 501),
)
case(
    "two codings, chunked first",
    "6.3",
    MUST,
    post(EMPTY, b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity") + NEXT,
    refused(400, 501),
)
case(
    "two codings, chunked last",
    "6.3",
    SHOULD,
    post(EMPTY, b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked") + NEXT,
    refused(400, 501),
)
case(
    "coding on two lines, one empty",
    "6.1",
    CARE,
    post(EMPTY, b"Transfer-Encoding: chunked", b"Transfer-Encoding:") + NEXT,
    refused(400, 501),
)

# Obfuscated, so that one of two servers does not see it

for name, line in (
    ("space ahead of the colon", b"Transfer-Encoding : chunked"),
    ("tab ahead of the colon", b"Transfer-Encoding\t: chunked"),
    ("vertical tab ahead of the colon", b"Transfer-Encoding\x0b: chunked"),
    ("NUL ahead of the colon", b"Transfer-Encoding\0: chunked"),
    ("space ahead of the name", b"X: y\r\n Transfer-Encoding: chunked"),
    ("tab ahead of the name", b"X: y\r\n\tTransfer-Encoding: chunked"),
    ("behind a bare CR", b"X: y\rTransfer-Encoding: chunked"),
    ("CR ahead of the name", b"\rTransfer-Encoding: chunked"),
    ("byte ahead of the name", b"\xffTransfer-Encoding: chunked"),
    ("folded", b"Transfer-Encoding:\r\n chunked"),
    ("folded after a comma", b"Transfer-Encoding: gzip,\r\n chunked"),
    ("bare CR in the value", b"Transfer-Encoding: chunked\rx"),
    ("quoted pair", b"Transfer-Encoding: chu\\nked"),
):
    # Without regard to the coding the body is `0 CRLF CRLF`: both lengths agree, and only a refusal shows who saw what.
    level = MUST if "colon" in name or "CR" in name or "fold" in name else SHOULD
    folded = (last(posted(b"")), then_next(posted(b""))) if "fold" in name else ()
    ignored = (
        (then_next(posted(EMPTY)),) if name.endswith("of the name") and "CR" not in name and "byte" not in name else ()
    )
    case(
        f"TE obfuscated: {name}",
        "5",
        level,
        post(EMPTY, b"Content-Length: 5", line) + NEXT,
        refused(400, 501),
        *folded,
        *ignored,
    )
case(
    "TE behind a bare LF",
    "2.2",
    CARE,
    post(EMPTY, b"Content-Length: 5", b"X: y\nTransfer-Encoding: chunked") + NEXT,
    BAD,
)
case("CL behind a bare LF", "2.2", CARE, post(EMPTY, b"X: y\nContent-Length: 5") + NEXT, BAD)
case("CL behind a bare CR", "2.2", MUST, post(EMPTY, b"X: y\rContent-Length: 5") + NEXT, BAD)
case(
    "CL folded",
    "5.2",
    MUST,
    post(EMPTY, b"X: y\r\n Content-Length: 5") + NEXT,
    BAD,
    Outcome((posted(b""), Answer((400,)))),
)
case(
    "TE obfuscated: name with an underscore",
    "RFC 9110 5.1",
    MUST,
    post(EMPTY, b"Content-Length: 5", b"Transfer_Encoding: chunked") + NEXT,
    then_next(posted(EMPTY)),
    BAD,
)
case(
    "a request in a GET's body is not served",
    "6",
    MUST,
    get(b"/", b"Content-Length: %d" % len(SMUGGLED)) + SMUGGLED + NEXT,
    then_next(served(body=SMUGGLED)),
    BAD,
)
case(
    "a request in the body of an unread POST is not served",
    "6",
    MUST,
    get(b"/unread", b"Content-Length: %d" % len(SMUGGLED), method=b"POST") + SMUGGLED + NEXT,
    Outcome((Answer((200,), body=b"unread"), NEXT_SERVED)),
    last(Answer((200,), body=b"unread")),
)
case(
    "a request in the chunks of an unread POST is not served",
    "6",
    MUST,
    get(b"/unread", b"Transfer-Encoding: chunked", method=b"POST")
    + b"%x\r\n%b\r\n" % (len(SMUGGLED), SMUGGLED)
    + EMPTY
    + NEXT,
    Outcome((Answer((200,), body=b"unread"), NEXT_SERVED)),
    last(Answer((200,), body=b"unread")),
)
