"""An ASGI application that sends back each WebSocket message: what the suite expects to find at its path."""

from collections.abc import Awaitable, Callable
from typing import Any

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Echo until the client leaves; anything but a WebSocket is no business of this application's."""
    if scope["type"] != "websocket":
        raise NotImplementedError(f"nothing but WebSockets here, and this is {scope['type']}")
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        text = message.get("text")
        if text is not None:
            await send({"type": "websocket.send", "text": text})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"]})
