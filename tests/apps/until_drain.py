"""ASGI (`app`) and WSGI (`wsgi`) streams that end when their worker drains: `PID\\n`, and then what they know of it.

Any other path than `/stream` is answered at once.
"""

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from typing import Any


def said(drain: dict[str, Any]) -> bytes:
    """Say what the extension says, asked from another thread."""
    answers: list[object] = []
    thread = threading.Thread(target=lambda: answers.append(drain["is_set"]()))
    thread.start()
    thread.join()
    return f"drains: {answers[0]}, deadline ahead: {(drain['deadline']() or 0) > time.monotonic()}".encode()


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    drain = scope["extensions"]["smoothserve.drain"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    if scope["path"] == "/stream":
        first = f"{os.getpid()} {drain['is_set']()}\n".encode()
        await send({"type": "http.response.body", "body": first, "more_body": True})
        await asyncio.gather(drain["wait"](), drain["wait"]())
    await send({"type": "http.response.body", "body": said(drain)})


def wsgi(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    drain = environ["smoothserve.drain"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/stream":
        yield f"{os.getpid()} {drain['is_set']()}\n".encode()
        drain["wait"]()
    yield said(drain)
