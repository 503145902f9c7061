"""What a codec yields, and the interface that every HTTP/1 codec has.

A codec turns the bytes of one connection into `Request`, body data (`bytes`), `END_OF_REQUEST` and, at most once
and last, `Malformed`. It does no I/O and knows nothing of responses (see `response.py`).
"""

from collections import deque
from math import inf
from typing import Any, Protocol

from smoothserve.protocol.memory import make_memory


class Request:
    """The head of a request. `headers` have lower-case names, in the order of arrival, trailers not among them.

    Never changed once its codec has made it: equal heads share one (see `Limits.heads`).
    """

    __slots__ = (
        "chunked",
        "content_length",
        "expect_continue",
        "headers",
        "http_version",
        "keep_alive",
        "memo",
        "method",
        "prefix",
        "query_string",
        "quick",
        "quick_body",
        "raw_path",
        "target",
        "upgrade",
    )

    def __init__(
        self,
        method: str,
        target: bytes,
        raw_path: bytes,
        query_string: bytes,
        http_version: str,
        headers: list[tuple[bytes, bytes]],
        *,
        keep_alive: bool,
        content_length: int | None = None,
        chunked: bool = False,
        expect_continue: bool = False,
        upgrade: bytes | None = None,
    ) -> None:
        self.method = method
        """As sent: methods are case-sensitive (RFC 9110 section 9.1)."""
        self.target = target
        """The request target as sent (RFC 9112 section 3.2)."""
        self.raw_path = raw_path
        """The path as sent, percent-encoded, without the query; of an absolute-form target its path (`/` if empty)."""
        self.query_string = query_string
        """What follows the first `?`, percent-encoded, without it."""
        self.http_version = http_version
        """`1.0` or `1.1`."""
        self.headers = headers
        self.keep_alive = keep_alive
        """Whether the client would keep the connection open (RFC 9112 section 9.3)."""
        self.content_length = content_length
        self.chunked = chunked
        self.expect_continue = expect_continue
        """`Expect: 100-continue` from an HTTP/1.1 client with a body."""
        self.memo: Any = None
        """What an interface layer has made of the head and may use again for the next equal one."""
        self.quick = False
        """Whether it has come before, and has neither body nor upgrade, and the connection is to stay.

        An exchange of such a request may not be told that the body has ended.
        """
        self.quick_body = -1
        """How long the body is, if it has come before, and the connection is to stay, and it has one; else -1."""
        self.upgrade = upgrade
        """The Upgrade header, lower-case, if Connection names it in an HTTP/1.1 request (RFC 9110 section 7.8)."""

        self.prefix: str | None = None
        """The path that a trusted proxy has cut off in front, if it said so."""

    @property
    def has_body(self) -> bool:
        """Whether body data can follow before `END_OF_REQUEST`."""
        return self.chunked or bool(self.content_length)


class EndOfRequest:
    """The request is complete. Its one instance is `END_OF_REQUEST`."""

    __slots__ = ()


class Malformed:
    """The bytes are no HTTP/1 request that we serve. Answer with `status`, then close; nothing follows."""

    __slots__ = ("method", "reason", "status")

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        self.reason = reason
        self.method = "GET"
        """`HEAD` where that is what is refused: its answer has no content (RFC 9110 section 9.3.2)."""


END_OF_REQUEST = EndOfRequest()

RequestLine = tuple[str, bytes, bytes, bytes, str, bytes | None]
"""Method, target, raw path, query string, version, and the authority of an absolute-form target."""

Event = Request | bytes | EndOfRequest | Malformed


class KnownLines:
    """What has been read lately, by lines: clients repeat themselves, but for a line or two.

    Each of these is emptied when it is full, so what clients can make us keep is bounded. Lines are without their ends.
    """

    __slots__ = ("blocks", "judged", "notable", "plain", "request_lines")

    def __init__(self) -> None:
        self.request_lines: dict[bytes, RequestLine] = make_memory()
        """Request lines that are served."""
        self.plain: dict[bytes, tuple[bytes, bytes]] = make_memory()
        """Field lines that mean nothing to a server, each with its field."""
        self.notable: dict[bytes, tuple[bytes, bytes]] = make_memory()
        """Those that do."""
        self.judged: dict[tuple[object, ...], Request] = make_memory()
        """The version and the notable fields of heads, in their order, each with a request that had them."""
        self.blocks: dict[bytes, Request] = make_memory()
        """All that is behind a request line, each with a request that had it."""


class Limits:
    """Bounds on a request. Beyond them: 414 for the request line, 431 for the head, 413 for the body.

    Shared by all connections of a worker, and with it what has been read lately.
    """

    __slots__ = ("body_bytes", "fields", "head_bytes", "heads", "lines", "request_line_bytes")

    def __init__(
        self,
        request_line_bytes: int = 8190,
        fields: int = 100,
        head_bytes: int = 65536,
        body_bytes: float = inf,
    ) -> None:
        self.request_line_bytes = request_line_bytes
        self.fields = fields
        self.head_bytes = head_bytes
        self.body_bytes = body_bytes
        """Of the body without its coding; `inf` is without limit."""
        self.heads: dict[type, dict[bytes, Request]] = {}
        """Whole heads, as sent, and what each codec has read them as within these bounds: clients repeat themselves."""
        self.lines = KnownLines()

    def body_too_long(self) -> Malformed:
        """Make the event that refuses a longer body."""
        return Malformed(413, f"the body is longer than {self.body_bytes} bytes")


class Codec(Protocol):
    """One connection's reading side. One instance for each connection.

    `receive_data` and `receive_eof` never raise: what is wrong with the bytes becomes a `Malformed` event. After
    that, further bytes are ignored. Events come in the order of the bytes; bytes of a further request are held back
    until `next_request`.
    """

    events: "deque[Event]"
    """Parsed and not yet taken; the connection takes from the left."""

    def take_known(self, data: bytes) -> Request | None:
        """Take bytes that are just one request, whole and without a body, which has been read before.

        No events come of it: the request is returned, and complete. None: `receive_data` must be called.
        """

    def take_whole(self, data: bytes) -> tuple[Request, bytes] | None:
        """Take bytes that are just one request whose head has been read before, and its whole body.

        No events come of it: the request and its body are returned. None: `receive_data` must be called.
        """

    def receive_data(self, data: bytes) -> None:
        """Parse bytes from the connection."""

    def receive_eof(self) -> None:
        """Take note that the client sends no more. In the middle of a request: `Malformed(400)`."""

    def next_request(self) -> bool:
        """Go on to the next request: the one before is answered. May append events (of bytes that were held back).

        Return `at_boundary`.
        """

    @property
    def at_boundary(self) -> bool:
        """Whether the codec is between requests: no event waits, and no byte of a further request has come.

        Only then can the connection be closed as idle without losing a request.
        """

    @property
    def ahead(self) -> int:
        """Of how many bytes no events have been made yet: of the next requests, while one is answered."""

    def trailing_data(self) -> bytes | None:
        """Give back the bytes that are not yet part of an event, so that another codec can go on with them.

        `b""` at a boundary, None within a body.
        """
