"""The application of the tutorial: each answer says which version of this file gave it, and which worker."""

import os

VERSION = 1  # read once, when the worker imports this module


async def app(scope, receive, send):
    """Answer any request with the version."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    body = f"hello from version {VERSION}, worker {os.getpid()}\n".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})
