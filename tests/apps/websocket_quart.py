"""What `websocket_echo` answers at `/` and `/slow`, in Quart: a task of its own reads ahead of the handler.

`/slow` takes longer than the pause in the traffic that the server waits for.
"""

import asyncio
from pathlib import Path

from quart import Quart, websocket

VERSION = Path(__file__).with_name("version.txt").read_text().strip()
app = Quart(__name__)


@app.websocket("/")
async def echo() -> None:
    await answer(0.0)


@app.websocket("/slow")
async def slow() -> None:
    await answer(0.2)


async def answer(seconds: float) -> None:
    handover = websocket.scope["extensions"]["smoothserve.handover"]
    count = int(handover["state"] or b"0")
    handover["opt_in"]()
    await websocket.accept()
    while True:
        text = await websocket.receive()
        assert isinstance(text, str)
        await asyncio.sleep(seconds)
        count += 1
        handover["attach"](b"%d" % count)
        await websocket.send(f"{VERSION} {text} {count}")
