"""What a server must serve to be judged: `asgi` or `wsgi`, which tell what they were given, or misbehave as asked.

The paths: `/status/N` answers with that status and a body; `/bad/NAME` is one of `BAD_ANSWERS`; `/unread` answers
without reading the body; `/stream` answers in parts of unknown length; everything else is echoed as JSON.
"""

import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

Message = MutableMapping[str, Any]


@dataclass(frozen=True)
class BadAnswer:
    """An answer that no server may pass on as it is."""

    fields: tuple[tuple[bytes, bytes], ...] = ()
    body: tuple[bytes, ...] = (b"body",)
    status: int = 200
    reason: bytes | None = None
    """For WSGI, where the application says it."""


BAD_ANSWERS: dict[str, BadAnswer] = {
    "crlf-in-value": BadAnswer(((b"x-a", b"b\r\nx-injected: yes"),)),
    "lf-in-value": BadAnswer(((b"x-a", b"b\nx-injected: yes"),)),
    "cr-in-value": BadAnswer(((b"x-a", b"b\rx-injected: yes"),)),
    "split-in-value": BadAnswer(((b"x-a", b"b\r\n\r\nHTTP/1.1 200 OK\r\nx-injected: yes\r\n\r\n"),)),
    "nul-in-value": BadAnswer(((b"x-a", b"b\0c"),)),
    "control-in-value": BadAnswer(((b"x-a", b"b\x01c"),)),
    "delete-in-value": BadAnswer(((b"x-a", b"b\x7fc"),)),
    "crlf-in-name": BadAnswer(((b"x-a: b\r\nx-injected", b"yes"),)),
    "colon-in-name": BadAnswer(((b"x-injected: a", b"b"),)),
    "space-in-name": BadAnswer(((b"x injected", b"b"),)),
    "no-name": BadAnswer(((b"", b"b"),)),
    "byte-in-name": BadAnswer(((b"x-\xe9", b"b"),)),
    "crlf-in-length": BadAnswer(((b"content-length", b"4\r\nx-injected: yes"),)),
    "crlf-in-type": BadAnswer(((b"content-type", b"text/plain\r\nx-injected: yes"),)),
    "crlf-in-date": BadAnswer(((b"date", b"x\r\nx-injected: yes"),)),
    "crlf-in-connection": BadAnswer(((b"connection", b"close\r\nx-injected: yes"),)),
    "crlf-in-reason": BadAnswer(reason=b"OK\r\nx-injected: yes"),
    "long-body": BadAnswer(((b"content-length", b"4"),), (b"body and more",)),
    "long-body-in-parts": BadAnswer(((b"content-length", b"4"),), (b"body", b" and", b" more")),
    "short-body": BadAnswer(((b"content-length", b"10"),)),
    "short-body-in-parts": BadAnswer(((b"content-length", b"10"),), (b"bo", b"dy")),
    "no-body": BadAnswer(((b"content-length", b"10"),), ()),
    "two-lengths": BadAnswer(((b"content-length", b"4"), (b"content-length", b"9"))),
    "length-twice": BadAnswer(((b"content-length", b"4"), (b"content-length", b"4"))),
    "length-list": BadAnswer(((b"content-length", b"4, 4"),)),
    "length-no-number": BadAnswer(((b"content-length", b"four"),)),
    "length-negative": BadAnswer(((b"content-length", b"-4"),)),
    "length-plus": BadAnswer(((b"content-length", b"+4"),)),
    "own-chunked": BadAnswer(((b"transfer-encoding", b"chunked"),)),
    "own-chunked-and-length": BadAnswer(((b"transfer-encoding", b"chunked"), (b"content-length", b"4"))),
    "own-coding": BadAnswer(((b"transfer-encoding", b"gzip"),)),
    "own-keep-alive": BadAnswer(((b"connection", b"keep-alive"), (b"keep-alive", b"timeout=5"))),
    "own-close": BadAnswer(((b"connection", b"close"),)),
    "own-upgrade": BadAnswer(((b"connection", b"upgrade"), (b"upgrade", b"h2c"))),
    "upgrade-required": BadAnswer(((b"connection", b"upgrade"), (b"upgrade", b"foo")), status=426),
    "status-100": BadAnswer(status=100),
    "status-101": BadAnswer(((b"upgrade", b"foo"), (b"connection", b"upgrade")), status=101),
    "status-0": BadAnswer(status=0),
    "status-99": BadAnswer(status=99),
    "status-1000": BadAnswer(status=1000),
    "status-negative": BadAnswer(status=-200),
}
_ECHO_FIELDS = ((b"content-type", b"application/json"),)


def answer_for(path: str) -> tuple[int, tuple[tuple[bytes, bytes], ...], tuple[bytes, ...], bytes | None] | None:
    """Return the answer of a path that does not echo: status, fields, parts of the body, reason."""
    if path.startswith("/status/"):
        return int(path[8:]), ((b"content-type", b"text/plain"),), (b"body",), None
    if path.startswith("/length/"):
        return int(path[8:]), ((b"content-length", b"4"),), (b"body",), None
    if path.startswith("/bad/"):
        bad = BAD_ANSWERS[path[5:]]
        return bad.status, bad.fields, bad.body, bad.reason
    if path == "/stream":
        return 200, ((b"content-type", b"text/plain"),), (b"one,", b"two,", b"", b"three"), None
    if path == "/empty":
        return 200, (), (), None
    if path == "/unread":
        return 200, ((b"content-length", b"6"),), (b"unread",), None
    return None


def echo(method: str, path: str, query: str, fields: list[tuple[str, str]], body: bytes) -> bytes:
    """Render what was seen."""
    seen = {"method": method, "path": path, "query": query, "fields": fields, "body": body.decode("latin-1")}
    return json.dumps(seen).encode()


async def asgi(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """Serve as ASGI."""
    if scope["type"] != "http":
        if scope["type"] == "lifespan":
            while True:
                event = await receive()
                await send({"type": f"{event['type']}.complete"})
                if event["type"] == "lifespan.shutdown":
                    return
        raise RuntimeError(f"{scope['type']} is not served")
    answer = answer_for(scope["path"])
    if answer is None or scope["path"] != "/unread":
        body = b""
        more = True
        while more:
            event = await receive()
            if event["type"] == "http.disconnect":
                return
            body += event.get("body", b"")
            more = event.get("more_body", False)
    if answer is None:
        fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        seen = echo(scope["method"], scope["path"], scope["query_string"].decode("latin-1"), fields, body)
        answer = 200, (*_ECHO_FIELDS, (b"content-length", b"%d" % len(seen))), (seen,), None
    status, own_fields, parts, _ = answer
    await send({"type": "http.response.start", "status": status, "headers": list(own_fields)})
    for part in parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Serve as WSGI."""
    path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
    answer = answer_for(path)
    if answer is None or path != "/unread":
        body = environ["wsgi.input"].read()
    if answer is None:
        fields = [
            (name[5:].replace("_", "-").lower(), value) for name, value in environ.items() if name.startswith("HTTP_")
        ]
        fields += [
            (name.replace("_", "-").lower(), environ[name])
            for name in ("CONTENT_LENGTH", "CONTENT_TYPE")
            if environ.get(name)
        ]
        seen = echo(environ["REQUEST_METHOD"], path, environ.get("QUERY_STRING", ""), fields, body)
        answer = 200, (*_ECHO_FIELDS, (b"content-length", b"%d" % len(seen))), (seen,), None
    status, own_fields, parts, reason = answer
    start_response(
        f"{status} {(reason or b'Fine').decode('latin-1')}",
        [(name.decode("latin-1"), value.decode("latin-1")) for name, value in own_fields],
    )
    return _parts(parts)


def _parts(parts: tuple[bytes, ...]) -> Iterator[bytes]:
    # A generator has no length: servers that would work out a Content-Length from a list cannot.
    yield from parts
