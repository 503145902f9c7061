"""The formats of the access log: `common`, `combined`, `json`, or a line with gunicorn's atoms, `%(h)s %({host}i)s`.

A format becomes a function once; for each answer only what it names is computed. What a client sent can neither leave
its quotes nor forge a line.
"""

import base64
import binascii
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote_to_bytes

COMMON = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s'
COMBINED = COMMON + ' "%(f)s" "%(a)s"'
JSON = "json"
NAMED = {"common": COMMON, "combined": COMBINED}

_ATOM = re.compile(r"%\((?P<name>[^)]*)\)s|%%|%")
_HEADER = re.compile(r"\{(?P<header>[!#$%&'*+\-.^_`|~0-9A-Za-z]+)\}(?P<where>[ioe])\Z")


class LoggedRequest(Protocol):
    """What the access log reads of a request."""

    method: str
    target: bytes
    http_version: str
    headers: list[tuple[bytes, bytes]]


class LoggedResponse(Protocol):
    """What the access log reads of a response."""

    status: int
    bytes_sent: int
    head: bytes


@dataclass(frozen=True, slots=True)
class Process:
    """Who writes the lines."""

    pid: int = 0
    slot: int = 0
    worker: int = 0
    generation: int = 0


@dataclass(slots=True)
class Entry:
    """One answer. `seconds` is from the request's head to the answer's last byte."""

    client: str
    request: LoggedRequest
    response: LoggedResponse
    seconds: float
    stamp: str
    process: Process

    def header(self, name: bytes) -> str:
        """Return a header of the request, `-` if it has none."""
        return next((quoted(value) for key, value in self.request.headers if key == name), "-")

    def sent_header(self, name: bytes) -> str:
        """Return a header of the answer, `-` if it has none."""
        for line in self.response.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.lower() == name:
                return quoted(value.strip())
        return "-"

    def variable(self, name: str) -> str:
        """Return a CGI variable of the request (RFC 3875 section 4.1), `-` if it is not known here."""
        known = _VARIABLES.get(name)
        if known is not None:
            return known(self)
        name = name.removeprefix("HTTP_") if name.startswith("HTTP_") else _CONTENT.get(name, "")
        return self.header(name.replace("_", "-").lower().encode()) if name else "-"

    @property
    def path(self) -> bytes:
        """The target up to the question mark."""
        return self.request.target.partition(b"?")[0]

    @property
    def query(self) -> bytes:
        """The target behind the question mark."""
        return self.request.target.partition(b"?")[2]


Atom = Callable[[Entry], str]


def _user(entry: Entry) -> str:
    return basic_user(next((value for key, value in entry.request.headers if key == b"authorization"), b""))


def basic_user(value: bytes) -> str:
    """Return the user's name of Basic authentication, which nobody has verified (RFC 7617); `-` if there is none."""
    scheme, _, credentials = value.partition(b" ")
    if scheme.lower() != b"basic":
        return "-"
    try:
        return quoted(base64.b64decode(credentials.strip(), validate=True).partition(b":")[0]) or "-"
    except (binascii.Error, ValueError):
        return "-"


_VARIABLES: dict[str, Atom] = {
    "REMOTE_ADDR": lambda entry: entry.client,
    "REQUEST_METHOD": lambda entry: entry.request.method,
    "REQUEST_URI": lambda entry: quoted(entry.request.target),
    "RAW_URI": lambda entry: quoted(entry.request.target),
    "PATH_INFO": lambda entry: quoted(unquote_to_bytes(entry.path)),
    "QUERY_STRING": lambda entry: quoted(entry.query),
    "SERVER_PROTOCOL": lambda entry: f"HTTP/{entry.request.http_version}",
}
_CONTENT = {"CONTENT_TYPE": "CONTENT_TYPE", "CONTENT_LENGTH": "CONTENT_LENGTH"}

#: As gunicorn names them; worker, slot and generation are ours.
ATOMS: dict[str, Atom] = {
    "h": lambda entry: entry.client,
    "l": lambda entry: "-",  # noqa: ARG005 - RFC 1413, which nobody asks
    "u": _user,
    "t": lambda entry: f"[{entry.stamp}]",
    "r": lambda entry: f"{entry.request.method} {quoted(entry.request.target)} HTTP/{entry.request.http_version}",
    "m": lambda entry: entry.request.method,
    "U": lambda entry: quoted(entry.path),
    "q": lambda entry: quoted(entry.query),
    "H": lambda entry: f"HTTP/{entry.request.http_version}",
    "s": lambda entry: str(entry.response.status),
    "b": lambda entry: str(entry.response.bytes_sent or "-"),
    "B": lambda entry: str(entry.response.bytes_sent),
    "f": lambda entry: entry.header(b"referer"),
    "a": lambda entry: entry.header(b"user-agent"),
    "T": lambda entry: str(int(entry.seconds)),
    "M": lambda entry: str(int(entry.seconds * 1_000)),
    "D": lambda entry: str(int(entry.seconds * 1_000_000)),
    "L": lambda entry: f"{entry.seconds:.6f}",
    "p": lambda entry: f"<{entry.process.pid}>",
    "worker": lambda entry: str(entry.process.worker),
    "slot": lambda entry: str(entry.process.slot),
    "generation": lambda entry: str(entry.process.generation),
}


class BadFormatError(ValueError):
    """A format names something that is not there; the text says what."""


def compile_format(text: str) -> Atom:
    """Return what renders an entry as a line without its end. Raise `BadFormatError`."""
    if text == JSON:
        return render_json
    pieces: list[str | Atom] = []
    end = 0
    text = NAMED.get(text, text)
    for found in _ATOM.finditer(text):
        pieces.append(text[end : found.start()])
        pieces.append("%" if found[0] == "%%" else _atom(found[0], found["name"]))
        end = found.end()
    pieces.append(text[end:])
    parts = [piece for piece in pieces if piece]
    return lambda entry: "".join([part if isinstance(part, str) else part(entry) for part in parts])


def _atom(text: str, name: str | None) -> Atom:
    if name is None:
        raise BadFormatError(f"has a lone {text}: write %% for the sign itself")
    if name in ATOMS:
        return ATOMS[name]
    header = _HEADER.match(name)
    if header is None:
        known = " ".join(ATOMS)
        more = "{name}i for a request's header, {name}o for an answer's, {NAME}e for a CGI variable"
        raise BadFormatError(f"has {text}, which is not known: there are {known}, and {more}")
    if header["where"] == "e":
        variable = header["header"]
        return lambda entry: entry.variable(variable)
    wanted = header["header"].lower().encode()
    if header["where"] == "o":
        return lambda entry: entry.sent_header(wanted)
    return lambda entry: entry.header(wanted)


def render_json(entry: Entry) -> str:
    """Render an entry as an object; durations in seconds, the time as in RFC 3339."""
    now = time.time()
    zone = time.strftime("%z", time.localtime(now))
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(now))
    request, headers = entry.request, dict(reversed(entry.request.headers))
    return json.dumps(
        {
            "time": f"{stamp}.{int(now % 1 * 1000):03d}{zone[:3]}:{zone[3:]}",
            "client": entry.client,
            "method": request.method,
            "path": entry.path.decode("latin-1"),
            "query": entry.query.decode("latin-1"),
            "protocol": f"HTTP/{request.http_version}",
            "host": headers.get(b"host", b"").decode("latin-1"),
            "status": entry.response.status,
            "bytes": entry.response.bytes_sent,
            "duration": round(entry.seconds, 6),
            "referer": headers.get(b"referer", b"").decode("latin-1"),
            "user_agent": headers.get(b"user-agent", b"").decode("latin-1"),
            "pid": entry.process.pid,
            "slot": entry.process.slot,
            "worker": entry.process.worker,
            "generation": entry.process.generation,
        },
        separators=(",", ":"),
    )


def quoted(value: bytes) -> str:
    """Render what a client sent so that it cannot forge a line or leave its quotes."""
    text = value.decode("latin-1")
    if '"' not in text and "\\" not in text and text.isprintable():
        return text
    return text.encode("unicode_escape").decode("ascii").replace('"', '\\"')
