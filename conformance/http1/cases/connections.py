"""Persistence, pipelining, Expect, Upgrade (RFC 9112 section 9, RFC 9110 sections 7.8 and 10.1.1)."""

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
    Saw,
    chunked,
    get,
    last,
    post,
    posted,
    refused,
    served,
    then_next,
)

CASES: list[Case] = []

#: What must be refused, and what no server accepts.
MALFORMED = get(b"/", b"Content-Length: x")


def case(
    name: str,
    section: str,
    level: Level,
    data: bytes | tuple[bytes, ...],
    *accept: Outcome,
    half_close: bool = False,
    head: tuple[int, ...] = (),
    pause: float | None = None,
) -> None:
    steps = data if isinstance(data, tuple) else (data,)
    CASES.append(
        Case(f"connection: {name}", section, level, steps, accept, head=head, half_close=half_close, pause=pause)
    )


# Persistence

case("stays open", "9.3", SHOULD, (get(), get(b"/b"), NEXT), Outcome((served(), served("/b"), NEXT_SERVED)))
case("close is obeyed", "9.6", MUST, get(b"/", b"Connection: close") + NEXT, last(served()))
case("close in capitals", "9.6", MUST, get(b"/", b"Connection: CLOSE") + NEXT, last(served()))
case("close among others", "9.6", MUST, get(b"/", b"Connection: x, close,y") + NEXT, last(served()))
case(
    "close on a line of its own", "9.6", MUST, get(b"/", b"Connection: x", b"Connection: close") + NEXT, last(served())
)
case("close behind keep-alive", "9.3", MUST, get(b"/", b"Connection: keep-alive, close") + NEXT, last(served()))
case(
    "close is said",
    "9.6",
    SHOULD,
    get(b"/", b"Connection: close"),
    last(Answer((200,), fields=(("connection", "close"),))),
)
case("closed is not close", "9.6", CARE, get(b"/", b"Connection: closed") + NEXT, then_next(served()))
case(
    "a refusal says close",
    "9.6",
    SHOULD,
    MALFORMED,
    last(Answer((400,), fields=(("connection", "close"),))),
)
case(
    "close with a body behind it",
    "9.6",
    MUST,
    post(b"abc", b"Content-Length: 3", b"Connection: close") + b"x" * 1000,
    last(posted(b"abc")),
)
case("HTTP/1.0 closes", "9.3", MUST, get(version=b"HTTP/1.0") + NEXT, last(served()))
case(
    "HTTP/1.0 keep-alive",
    "9.3",
    MUST,
    get(b"/", b"Connection: keep-alive", version=b"HTTP/1.0") + NEXT,
    then_next(Answer((200,), Saw("GET", "/"), fields=(("connection", "keep-alive"),))),
    last(served()),
)
case(
    "HTTP/1.0 keep-alive and close",
    "9.3",
    MUST,
    get(b"/", b"Connection: keep-alive, close", version=b"HTTP/1.0") + NEXT,
    last(served()),
)
case(
    "HTTP/1.0 is never answered in chunks",
    "6.1",
    MUST,
    b"GET /stream HTTP/1.0\r\n\r\n",
    last(Answer((200,), body=b"one,two,three", without=("transfer-encoding",))),
)
case(
    "HTTP/1.0 keep-alive is never answered in chunks",
    "6.1",
    MUST,
    b"GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + NEXT,
    last(Answer((200,), body=b"one,two,three", without=("transfer-encoding",))),
    then_next(Answer((200,), body=b"one,two,three", without=("transfer-encoding",))),
)
case("half-closed client is answered", "9.6", CARE, get(b"/a"), last(served("/a")), half_close=True)
case(
    "half-closed client with a body is answered",
    "9.6",
    CARE,
    post(b"abc", b"Content-Length: 3"),
    last(posted(b"abc")),
    half_close=True,
)
case(
    "half-closed client with several requests is answered",
    "9.6",
    CARE,
    get(b"/a") + get(b"/b"),
    last(served("/a")),
    Outcome((served("/a"), served("/b"))),
    half_close=True,
)
case("client that says nothing", "9.5", MUST, b"", Outcome(()), half_close=True)

# Pipelining

case("two requests", "9.3.2", MUST, get(b"/a") + get(b"/b") + NEXT, Outcome((served("/a"), served("/b"), NEXT_SERVED)))
case(
    "twenty requests in order",
    "9.3.2",
    MUST,
    b"".join(get(b"/%d" % number) for number in range(20)) + NEXT,
    Outcome((*(served(f"/{number}") for number in range(20)), NEXT_SERVED)),
)
case(
    "requests with bodies",
    "9.3.2",
    MUST,
    post(b"abc", b"Content-Length: 3") + chunked(b"2\r\nde\r\n0\r\n\r\n") + post(b"f", b"Content-Length: 1") + NEXT,
    Outcome((posted(b"abc"), posted(b"de"), posted(b"f"), NEXT_SERVED)),
)
case(
    "HEAD among them",
    "9.3.2",
    MUST,
    get(b"/", method=b"HEAD") + get(b"/b") + NEXT,
    Outcome((Answer((200,), body=b""), served("/b"), NEXT_SERVED)),
    head=(0,),
)
case(
    "bad behind good: both are answered, in order",
    "9.3.2",
    MUST,
    get(b"/a") + MALFORMED + NEXT,
    Outcome((served("/a"), Answer((400,)))),
)
case(
    "bad behind a slow good",
    "9.3.2",
    MUST,
    get(b"/stream") + MALFORMED + NEXT,
    Outcome((Answer((200,), body=b"one,two,three"), Answer((400,)))),
)
case(
    "garbage behind good",
    "9.3.2",
    MUST,
    get(b"/a") + b"\0\x01\x02\r\n\r\n" + NEXT,
    Outcome((served("/a"), Answer((400,)))),
    last(served("/a")),
)
case("nothing is served behind a refusal", "9.3.2", MUST, MALFORMED + get(b"/a") + NEXT, BAD)
case(
    "bad chunk behind a good request",
    "9.3.2",
    MUST,
    get(b"/a") + chunked(b"x\r\n") + NEXT,
    Outcome((served("/a"), Answer((400,)))),
)
case(
    "stray bytes behind a body",
    "6.3",
    MUST,
    post(b"abcdef", b"Content-Length: 3") + b"\r\n\r\n" + NEXT,
    Outcome((posted(b"abc"), Answer((400, 501)))),
)
case(
    "head in three steps",
    "9.3",
    MUST,
    (b"GET / HT", b"TP/1.1\r\nHo", b"st: a\r\n\r\n" + NEXT),
    then_next(served()),
    pause=0.2,
)
case(
    "CRLF CRLF in two steps",
    "9.3",
    MUST,
    (b"GET / HTTP/1.1\r\nHost: a\r\n\r", b"\n" + NEXT),
    then_next(served()),
    pause=0.2,
)

# Expect

EXPECTING = post(b"", b"Content-Length: 3", b"Expect: 100-continue")
case(
    "100 Continue is sent",
    "RFC 9110 10.1.1",
    MUST,
    (EXPECTING, b"abc" + NEXT),
    Outcome((posted(b"abc"), NEXT_SERVED), interim=(100,)),
)
case(
    "100-Continue in capitals",
    "RFC 9110 10.1.1",
    MUST,
    (post(b"", b"Content-Length: 3", b"Expect: 100-Continue"), b"abc" + NEXT),
    Outcome((posted(b"abc"), NEXT_SERVED), interim=(100,)),
)
case(
    "100 Continue for chunks",
    "RFC 9110 10.1.1",
    MUST,
    (chunked(b"", b"Expect: 100-continue"), b"3\r\nabc\r\n0\r\n\r\n" + NEXT),
    Outcome((posted(b"abc"), NEXT_SERVED), interim=(100,)),
)
case(
    "100 Continue may be left out where the body has come",
    "RFC 9110 10.1.1",
    MUST,
    EXPECTING + b"abc" + NEXT,
    Outcome((posted(b"abc"), NEXT_SERVED)),
)
case(
    "100 Continue is not sent to HTTP/1.0",
    "RFC 9110 10.1.1",
    MUST,
    b"POST /p HTTP/1.0\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
    Outcome((posted(b"abc"),), interim=()),
)
case(
    "100 Continue is not sent without a body",
    "RFC 9110 10.1.1",
    CARE,
    get(b"/", b"Expect: 100-continue") + NEXT,
    Outcome((served(), NEXT_SERVED), interim=()),
)
case(
    "no 100 Continue without Expect",
    "RFC 9110 15.2",
    MUST,
    post(b"abc", b"Content-Length: 3") + NEXT,
    Outcome((posted(b"abc"), NEXT_SERVED), interim=()),
)
case(
    "early final answer: the body is read or the connection closed",
    "RFC 9110 10.1.1",
    MUST,
    get(b"/unread", b"Content-Length: 3", b"Expect: 100-continue", method=b"POST"),
    last(Answer((200,), body=b"unread")),
    BAD,
    Outcome(()),
    half_close=True,
)
case(
    "early final answer: what may be the body is not taken for a request",
    "RFC 9110 10.1.1",
    MUST,
    (get(b"/unread", b"Content-Length: %d" % len(NEXT), b"Expect: 100-continue", method=b"POST"), NEXT),
    last(Answer((200,), body=b"unread")),
    Outcome((Answer((200,), body=b"unread"),), closed=False),
)
case(
    "unknown expectation",
    "RFC 9110 10.1.1",
    CARE,
    get(b"/", b"Expect: magic") + NEXT,
    refused(417),
    Outcome((Answer((417,)), NEXT_SERVED)),
)

# Upgrade

H2C = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA")
case("h2c is ignored", "RFC 9110 7.8", MUST, get(b"/", *H2C) + NEXT, then_next(served()))
case(
    "h2c with a body is ignored",
    "RFC 9110 7.8",
    MUST,
    post(b"abc", b"Content-Length: 3", *H2C) + NEXT,
    then_next(posted(b"abc")),
)
case(
    "h2c with chunks is ignored",
    "RFC 9110 7.8",
    MUST,
    chunked(b"3\r\nabc\r\n0\r\n\r\n", *H2C) + NEXT,
    then_next(posted(b"abc")),
)
case(
    "unknown upgrade is ignored",
    "RFC 9110 7.8",
    MUST,
    get(b"/", b"Connection: upgrade", b"Upgrade: frob/7") + NEXT,
    then_next(served()),
)
case(
    "upgrade to TLS is ignored",
    "RFC 9110 7.8",
    MUST,
    get(b"/", b"Connection: upgrade", b"Upgrade: TLS/1.3") + NEXT,
    then_next(served()),
)
case(
    "upgrade that Connection does not name is ignored",
    "RFC 9110 7.8",
    MUST,
    get(b"/", b"Upgrade: frob") + NEXT,
    then_next(served()),
)
WEBSOCKET = (
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
case(
    "upgrade in HTTP/1.0 is ignored",
    "RFC 9110 7.8",
    MUST,
    get(b"/", *WEBSOCKET, version=b"HTTP/1.0"),
    last(served()),
    refused(400, 426),
)
case("h2c in HTTP/1.0 is ignored", "RFC 9110 7.8", MUST, get(b"/", *H2C, version=b"HTTP/1.0"), last(served()))
case(
    "WebSocket that Connection does not name is no WebSocket",
    "RFC 9110 7.8",
    MUST,
    get(b"/", *WEBSOCKET[1:]) + NEXT,
    then_next(served()),
    refused(400, 426),
)
