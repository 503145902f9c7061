"""What `websocket_echo` answers at `/` and `/slow`, in FastAPI; nobody catches its exception at the end."""

import asyncio
from pathlib import Path

from fastapi import FastAPI, WebSocket

VERSION = Path(__file__).with_name("version.txt").read_text().strip()
app = FastAPI()


@app.websocket("/{rest:path}")
async def echo(websocket: WebSocket, rest: str) -> None:
    handover = websocket.scope["extensions"]["smoothserve.handover"]
    count = int(handover["state"] or b"0")
    await websocket.accept()
    while True:
        handover["attach"](b"%d" % count)
        text = await websocket.receive_text()
        count += 1
        if rest == "slow":
            await asyncio.sleep(0.03)
        await websocket.send_text(f"{VERSION} {text} {count}")
