"""The applications that are served in the benchmark: as little work as each case allows."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
StartResponse = Callable[..., Any]

SMALL = b"Hello, world!"
BIG = b"x" * 100 * 1024
CHUNK = b"y" * 1024
PLAIN = [(b"content-type", b"text/plain")]


def _start(length: int | None) -> dict[str, Any]:
    headers = PLAIN if length is None else [*PLAIN, (b"content-length", b"%d" % length)]
    return {"type": "http.response.start", "status": 200, "headers": headers}


async def _read(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer by path: /, /json, /big, /upload, /stream, /sleep; echo on a WebSocket."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    if scope["type"] == "websocket":
        await _echo(receive, send)
        return
    path = scope["path"]
    body = SMALL
    if path == "/json":
        values = json.loads(await _read(receive))
        body = json.dumps({"items": len(values), "first": values["first"]}).encode()
    elif path == "/big":
        body = BIG
    elif path == "/upload":
        body = b"%d" % len(await _read(receive))
    elif path == "/sleep":
        await asyncio.sleep(0.005)
    elif path == "/stream":
        await send(_start(None))
        for _ in range(100):
            await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    await send(_start(len(body)))
    await send({"type": "http.response.body", "body": body})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _echo(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        answer: dict[str, Any] = {"type": "websocket.send"}
        if message.get("bytes") is not None:
            answer["bytes"] = message["bytes"]
        else:
            answer["text"] = message["text"]
        await send(answer)


def wsgi(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Answer by path as `asgi` does."""
    path = environ["PATH_INFO"]
    body = SMALL
    if path == "/json":
        values = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        body = json.dumps({"items": len(values), "first": values["first"]}).encode()
    elif path == "/big":
        body = BIG
    elif path == "/upload":
        body = b"%d" % len(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    elif path == "/sleep":
        time.sleep(0.005)
    elif path == "/stream":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return (CHUNK for _ in range(100))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
