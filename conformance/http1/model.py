"""What a case is: the bytes to send, and the outcomes that its section of the RFC leaves open."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How binding a case is."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    CARE = "CARE"
    """The RFC leaves it open, and a careful server behind a proxy does not: another reading is an attack's way in."""


@dataclass(frozen=True)
class Saw:
    """What the application is to have been given. None: does not matter."""

    method: str | None = None
    path: str | None = None
    query: str | None = None
    body: bytes | None = None
    fields: tuple[tuple[str, str], ...] = ()
    """Names, lower-case, with the one value that each must have."""
    without: tuple[str, ...] = ()
    """Names, lower-case, that must not be there."""
    unlike: tuple[tuple[str, str], ...] = ()
    """Names, lower-case, with a value that must not be among theirs."""


@dataclass(frozen=True)
class Answer:
    """One answer on the wire."""

    statuses: tuple[int, ...]
    saw: Saw | None = None
    body: bytes | None = None
    fields: tuple[tuple[str, str], ...] = ()
    """Names, lower-case, with the value that each must have, both compared in lower case; `*` is any value."""
    without: tuple[str, ...] = ()
    whole: bool = True
    """Whether its framing must be complete. False: it must not be."""


@dataclass(frozen=True)
class Outcome:
    """The answers on a connection, in order and no others, and how it ends."""

    answers: tuple[Answer, ...]
    closed: bool | None = True
    """Whether the server ends the connection. None: does not matter."""
    interim: tuple[int, ...] | None = None
    """The interim answers ahead of the first answer, such as 100. None: does not matter."""


@dataclass(frozen=True)
class Case:
    """One connection: steps to send, and the acceptable outcomes."""

    name: str
    section: str
    """Of RFC 9112, unless another is named."""
    level: Level
    steps: tuple[bytes, ...]
    """What is sent. Between two steps the runner waits for the server to say something, or for `pause`."""
    accept: tuple[Outcome, ...]
    head: tuple[int, ...] = ()
    """Which of the answers are to HEAD requests, and so without content."""
    pause: float | None = None
    """Seconds between two steps, where the server has nothing to say to the first."""
    half_close: bool = False
    """Whether the runner shuts its sending side after the last step."""


MUST, SHOULD, CARE = Level.MUST, Level.SHOULD, Level.CARE


def get(target: bytes = b"/", *fields: bytes, version: bytes = b"HTTP/1.1", method: bytes = b"GET") -> bytes:
    """Render a request without a body; `Host: a` is added unless a field begins with `Host`."""
    lines = list(fields)
    if not any(line.lower().startswith(b"host") for line in lines):
        lines.insert(0, b"Host: a")
    return b"%b %b %b\r\n" % (method, target, version) + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def post(body: bytes, *fields: bytes) -> bytes:
    """Render a POST to /p whose framing the fields say."""
    return get(b"/p", *fields, method=b"POST") + body


def chunked(body: bytes, *fields: bytes) -> bytes:
    """Render a chunked POST to /p; `body` is the coded one."""
    return post(body, b"Transfer-Encoding: chunked", *fields)


#: The request behind the one in question: whoever finds another end of that one will not see this.
NEXT = get(b"/next", b"Connection: close")
NEXT_SERVED = Answer((200,), Saw("GET", "/next", body=b""))


def served(
    path: str = "/",
    *,
    method: str = "GET",
    query: str | None = None,
    body: bytes | None = b"",
    fields: tuple[tuple[str, str], ...] = (),
    without: tuple[str, ...] = (),
    unlike: tuple[tuple[str, str], ...] = (),
) -> Answer:
    """Return the answer to a request that the application has seen so."""
    return Answer((200,), Saw(method, path, query, body, fields, without, unlike))


def posted(body: bytes, *, without: tuple[str, ...] = (), unlike: tuple[tuple[str, str], ...] = ()) -> Answer:
    """Return the answer to a POST to /p that came with this body."""
    return served("/p", method="POST", body=body, without=without, unlike=unlike)


def then_next(answer: Answer) -> Outcome:
    """Return the outcome in which both the request and the one behind it are served."""
    return Outcome((answer, NEXT_SERVED))


def last(answer: Answer) -> Outcome:
    """Return the outcome in which the connection ends after the answer."""
    return Outcome((answer,))


def refused(*statuses: int) -> Outcome:
    """Return the outcome in which the request is refused with one of the statuses and the connection closed."""
    return Outcome((Answer(statuses),))


#: Closed without a word: enough where what came is no HTTP at all.
HUNG_UP = Outcome(())
BAD = refused(400)
