"""The conformance applications behind something that breaks a rule: the suites must notice.

The environment variable FAULT names what is broken.
"""

import os
from typing import Any

from conformance.asgi.application import app as asgi_app
from conformance.wsgi.application import app as wsgi_app

FAULT = os.environ.get("FAULT", "")


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await asgi_app(scope, receive, send)
        return
    if FAULT == "upper-case names":
        scope["headers"] = [(name.title(), value) for name, value in scope["headers"]]
    elif FAULT == "raw path for path":
        scope["path"] = scope["raw_path"].decode("latin-1")
    elif FAULT == "one state":
        scope["state"] = STATE
        STATE["number"] = 1
        STATE["shared"] = []
    held: list[Any] = []

    async def buffering_send(message: Any) -> None:
        if FAULT == "nothing raises" and message.get("type") not in ("http.response.start", "http.response.body"):
            return
        if FAULT == "answer at once":
            held.append(message)
            if message.get("more_body") or message["type"] == "http.response.start":
                return
            for one in held:
                await send(one)
            return
        await send(message)

    await asgi_app(scope, receive, buffering_send)


STATE: dict[str, Any] = {}


def wsgi(environ: Any, start_response: Any) -> Any:
    if FAULT == "no query":
        environ["QUERY_STRING"] = ""
    elif FAULT == "version as text":
        environ["wsgi.version"] = "1.0"
    elif FAULT == "answer at once":
        parts = wsgi_app(environ, start_response)
        whole = b"".join(parts)
        getattr(parts, "close", lambda: None)()
        return [whole]
    return wsgi_app(environ, start_response)
