"""What the application's sides of the checks share: types, and how to read and answer."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from conformance.exchange import expect, expect_equal

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class IntendedError(Exception):
    """What the application's side of a check raises on purpose."""


#: What the lifespan call was given and has done, for the checks that ask.
LIFESPAN: dict[str, Any] = {"scope": None, "events": [], "requests_before": 0, "shared": []}


def expect_request(message: Message) -> None:
    """Look at an `http.request` event: keys and types."""
    expect_equal(message["type"], "http.request", "type")
    expect(isinstance(message.get("body", b""), bytes), f"body is {type(message.get('body')).__name__}, not bytes")
    expect(isinstance(message.get("more_body", False), bool), "more_body is not a bool")


async def read_body(receive: Receive) -> list[bytes]:
    """Read the parts of the body, looking at each event."""
    parts = []
    while True:
        message = await receive()
        expect_request(message)
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return parts


async def start(send: Send, status: int = 200, *headers: tuple[bytes, bytes]) -> None:
    """Send `http.response.start`."""
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})


async def body(send: Send, data: bytes = b"", *, more: bool = False) -> None:
    """Send `http.response.body`."""
    await send({"type": "http.response.body", "body": data, "more_body": more})


async def answer(send: Send, data: bytes = b"fine", status: int = 200) -> None:
    """Send a whole answer."""
    await start(send, status, (b"content-length", b"%d" % len(data)))
    await body(send, data)
