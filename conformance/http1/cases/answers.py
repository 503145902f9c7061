"""What is sent: content or none, framing, and nothing that an application slips in (RFC 9110 sections 6, 8, 9, 15)."""

from conformance.http1.application import BAD_ANSWERS
from conformance.http1.model import (
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
    get,
    last,
)

CASES: list[Case] = []


def case(name: str, section: str, level: Level, data: bytes, *accept: Outcome, head: tuple[int, ...] = ()) -> None:
    CASES.append(Case(f"answer: {name}", section, level, (data,), accept, head=head))


def either(answer: Answer) -> tuple[Outcome, Outcome]:
    """Return both: the connection goes on behind the answer, or ends."""
    return Outcome((answer, NEXT_SERVED)), last(answer)


def head_request(path: bytes) -> bytes:
    """Render a HEAD request."""
    return get(path, method=b"HEAD")


# Content

case(
    "stream",
    "7.1",
    MUST,
    get(b"/stream") + NEXT,
    Outcome((Answer((200,), body=b"one,two,three"), NEXT_SERVED)),
    last(Answer((200,), body=b"one,two,three")),
)
case(
    "stream keeps the connection",
    "9.3",
    SHOULD,
    get(b"/stream") + NEXT,
    Outcome((Answer((200,), body=b"one,two,three"), NEXT_SERVED)),
)
case("empty answer", "6.3", MUST, get(b"/empty") + NEXT, *either(Answer((200,), body=b"")))
case("Date", "RFC 9110 6.6.1", MUST, get() + NEXT, Outcome((Answer((200,), fields=(("date", "*"),)), NEXT_SERVED)))
case(
    "Date of a refusal",
    "RFC 9110 6.6.1",
    MUST,
    get(b"/", b"Content-Length: x"),
    last(Answer((400,), fields=(("date", "*"),))),
)
for path in (b"/", b"/stream", b"/status/200", b"/length/200", b"/empty"):
    case(
        f"HEAD {path.decode()} has no content",
        "RFC 9110 9.3.2",
        MUST,
        head_request(path) + NEXT,
        *either(Answer((200,), body=b"")),
        head=(0,),
    )
case(
    "HEAD with a body of its own",
    "RFC 9110 9.3.2",
    MUST,
    get(b"/", b"Content-Length: 3", method=b"HEAD") + b"abc" + NEXT,
    *either(Answer((200,), body=b"")),
    head=(0,),
)
case(
    "HEAD tells the length",
    "RFC 9110 9.3.2",
    SHOULD,
    head_request(b"/length/200") + NEXT,
    *either(Answer((200,), fields=(("content-length", "4"),))),
    head=(0,),
)
case("HEAD in HTTP/1.0", "RFC 9110 9.3.2", MUST, b"HEAD / HTTP/1.0\r\n\r\n", last(Answer((200,), body=b"")), head=(0,))
case(
    "HEAD /status/404 has no content",
    "RFC 9110 9.3.2",
    MUST,
    head_request(b"/status/404") + NEXT,
    *either(Answer((404,), body=b"")),
    head=(0,),
)
case(
    "HEAD that is refused has no content",
    "RFC 9110 9.3.2",
    MUST,
    get(b"/", b"Content-Length: x", method=b"HEAD"),
    last(Answer((400,))),
    head=(0,),
)
case(
    "HEAD that is refused for its size has no content",
    "RFC 9110 9.3.2",
    MUST,
    head_request(b"/" + b"a" * 100_000),
    last(Answer((414, 400))),
    head=(0,),
)
for status in (204, 304):
    for kind in ("status", "length"):
        case(
            f"{status} has no content (/{kind})",
            "6.3",
            MUST,
            get(b"/%b/%d" % (kind.encode(), status)) + NEXT,
            *either(Answer((status,), body=b"")),
            *either(Answer((500,))),
        )
case(
    "204 has no Content-Length",
    "RFC 9110 8.6",
    MUST,
    get(b"/length/204") + NEXT,
    *either(Answer((204,), without=("content-length", "transfer-encoding"))),
    *either(Answer((500,))),
)
case(
    "204 has no Transfer-Encoding",
    "6.1",
    MUST,
    get(b"/status/204") + NEXT,
    *either(Answer((204,), without=("content-length", "transfer-encoding"))),
    *either(Answer((500,))),
)
case(
    "204 to HEAD",
    "RFC 9110 8.6",
    MUST,
    head_request(b"/length/204") + NEXT,
    *either(Answer((204,), without=("content-length", "transfer-encoding"))),
    head=(0,),
)
case("205 has no content", "RFC 9110 15.3.6", MUST, get(b"/status/205") + NEXT, *either(Answer((205,), body=b"")))
case(
    "304 keeps the connection",
    "6.3",
    SHOULD,
    get(b"/status/304") + NEXT,
    Outcome((Answer((304,), body=b""), NEXT_SERVED)),
)
for status in (201, 203, 206, 301, 401, 404, 418, 499, 500, 503, 599):
    case(f"status {status}", "4", MUST, get(b"/status/%d" % status) + NEXT, *either(Answer((status,), body=b"body")))
case(
    "status beyond 599",
    "RFC 9110 15",
    SHOULD,
    get(b"/status/999") + NEXT,
    *either(Answer((500,))),
    *either(Answer((999,))),
)

# Bodies that do not keep their promise: the client must see where they end, or that they do not

#: What was sent of it is nothing, or a clear error.
WRONG = (last(Answer((500, 502))), *either(Answer((500, 502))), HUNG_UP)
for name in ("long-body", "long-body-in-parts"):
    case(
        f"{name}: nothing behind the length",
        "6.3",
        MUST,
        get(b"/bad/%b" % name.encode()) + NEXT,
        *either(Answer((200,), body=b"body")),
        last(Answer((200,), body=b"", whole=False)),
        *WRONG,
    )
for name in ("short-body", "short-body-in-parts", "no-body"):
    case(
        f"{name}: the connection ends",
        "8",
        MUST,
        get(b"/bad/%b" % name.encode()) + NEXT,
        last(Answer((200,), whole=False)),
        last(Answer((500,))),
        Outcome((Answer((500,)), NEXT_SERVED)),
        Outcome(()),
    )

# Framing is the server's

OK_BODY = either(Answer((200,), body=b"body"))
for name in (
    "own-chunked",
    "own-chunked-and-length",
    "own-coding",
    "own-keep-alive",
    "own-close",
    "own-upgrade",
    "length-twice",
):
    case(f"{name}: one valid framing", "6", MUST, get(b"/bad/%b" % name.encode()) + NEXT, *OK_BODY, *WRONG)
for name in ("two-lengths", "length-no-number", "length-negative", "length-list", "length-plus"):
    case(f"{name}: one valid framing", "6.3", MUST, get(b"/bad/%b" % name.encode()) + NEXT, *OK_BODY, *WRONG)
case(
    "own-close is obeyed",
    "9.6",
    MUST,
    get(b"/bad/own-close") + NEXT,
    last(Answer((200,), fields=(("connection", "close"),))),
)
case(
    "426 names its Upgrade in Connection",
    "RFC 9110 7.8",
    MUST,
    get(b"/bad/upgrade-required") + NEXT,
    *either(Answer((426,), fields=(("upgrade", "foo"), ("connection", "upgrade")))),
    *WRONG,
    last(Answer((426,), fields=(("upgrade", "foo"), ("connection", "close, upgrade")))),
    *either(Answer((426,), without=("upgrade",))),
)
case(
    "own-keep-alive in HTTP/1.0",
    "9.3",
    MUST,
    b"GET /bad/own-keep-alive HTTP/1.0\r\n\r\n",
    last(Answer((200,), body=b"body", without=("transfer-encoding",))),
    last(Answer((500,))),
)

# Nothing is slipped in

for name in BAD_ANSWERS:
    if name.endswith(("-in-value", "-in-name", "-in-length", "-in-type", "-in-date", "-in-connection", "no-name")):
        what = "RFC 9110 5.5" if "value" in name else "RFC 9110 5.1"
        level = SHOULD if name.startswith(("control", "delete")) else MUST
        clean: tuple[Outcome, ...] = (
            *either(Answer((200,), without=("x-injected",))),
            *either(Answer((500,))),
            last(Answer((502,))),
            HUNG_UP,
        )
        if name.startswith(("nul", "control", "delete")) or name in ("space-in-name", "no-name", "byte-in-name"):
            clean = *either(Answer((500,))), *either(Answer((200,), without=("x-a", "x", ""))), HUNG_UP
        case(f"{name} is not sent", what, level, get(b"/bad/%b" % name.encode()) + NEXT, *clean)
        case(
            f"{name}: a clear 500",
            "RFC 9110 15.6.1",
            CARE,
            get(b"/bad/%b" % name.encode()) + NEXT,
            *either(Answer((500,))),
        )
case(
    "crlf-in-reason is not sent",
    "4",
    MUST,
    get(b"/bad/crlf-in-reason") + NEXT,
    *either(Answer((200,), without=("x-injected",))),
    *either(Answer((500,))),
)
for name in ("status-100", "status-101", "status-0", "status-99", "status-1000", "status-negative"):
    case(f"{name} is not sent", "4", MUST, get(b"/bad/%b" % name.encode()) + NEXT, *WRONG)
