"""An ASGI application that answers `N` with `VERSION N COUNT`: COUNT is of all messages so far.

`/slow` takes its time for each answer. `/room` keeps a room of members in the file `room.txt`, joined at the start of
a call and left in its `finally`. `/stay` does not opt in to be handed over.
"""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

VERSION = Path(__file__).with_name("version.txt").read_text().strip()
ROOM = Path(__file__).with_name("room.txt")


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket" and scope["path"] == "/room":
        await room(scope, receive, send)
    elif scope["type"] == "websocket":
        await echo(scope, receive, send)


async def lifespan(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def echo(scope: Any, receive: Any, send: Any) -> None:
    handover = scope["extensions"].get("smoothserve.handover", {})
    count = int(handover.get("state") or b"0")
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while True:
        if handover and scope["path"] != "/stay":
            handover["attach"](b"%d" % count)
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        count += 1
        if scope["path"] == "/slow":
            await asyncio.sleep(0.03)
        await send({"type": "websocket.send", "text": f"{VERSION} {message['text']} {count}"})


async def room(scope: Any, receive: Any, send: Any) -> None:
    member = scope["query_string"].decode()
    scope["extensions"]["smoothserve.handover"]["opt_in"]()
    await receive()
    note(f"join {member} {VERSION}")
    try:
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] != "websocket.disconnect":
            await send({"type": "websocket.send", "text": f"{VERSION} {message['text']} 0"})
    finally:
        await asyncio.sleep(0.05)
        note(f"leave {member} {VERSION}")
        with contextlib.suppress(OSError):
            await send({"type": "websocket.send", "text": f"{VERSION} farewell 0"})


def note(line: str) -> None:
    with ROOM.open("a") as file:
        file.write(line + "\n")
