"""What the load client asks for, in ASGI. Every answer begins with `VERSION PID TOKEN\\n`.

/echo/TOKEN               the request's body
/slow/TOKEN/SECONDS       nothing more, after a while
/stream/TOKEN/COUNT/GAP   COUNT pieces, GAP seconds before each
/events/TOKEN/GAP         pieces without end, as server-sent events
"""

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

VERSION = Path(__file__).with_name("version.txt").read_text().strip()


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    _, route, token, *words = scope["path"].split("/")
    first = f"{VERSION} {os.getpid()} {token}\n".encode()
    if route == "echo":
        await answer(send, first + await read_body(receive))
    elif route == "slow":
        await asyncio.sleep(float(words[0]))
        await answer(send, first)
    elif route == "stream":
        await stream(send, first, token, range(int(words[0])), float(words[1]), b"text/plain")
    elif route == "events":
        # As frameworks do: what is without end ends when the client has left.
        events = stream(send, first, token, itertools.count(), float(words[0]), b"text/event-stream")
        task = asyncio.ensure_future(events)
        while (await receive())["type"] != "http.disconnect":
            pass
        task.cancel()
    else:
        await answer(send, b"no such path", 404)


async def read_body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client left in the middle of its request")
        part: bytes = message.get("body", b"")
        body += part
        if not message.get("more_body", False):
            return body


async def answer(send: Send, body: bytes, status: int = 200) -> None:
    headers = [(b"content-length", str(len(body)).encode()), (b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def stream(send: Send, first: bytes, token: str, numbers: Iterable[int], gap: float, content_type: bytes) -> None:
    headers = [(b"content-type", content_type)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": first, "more_body": True})
    for number in numbers:
        await asyncio.sleep(gap)
        piece = f"data: {number} {token}\n\n".encode()
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})
