"""What `websocket_echo` answers at `/` and `/slow`, in Starlette."""

import asyncio
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

VERSION = Path(__file__).with_name("version.txt").read_text().strip()


async def echo(websocket: WebSocket) -> None:
    handover = websocket.scope["extensions"]["smoothserve.handover"]
    count = int(handover["state"] or b"0")
    await websocket.accept()
    try:
        while True:
            handover["attach"](b"%d" % count)
            text = await websocket.receive_text()
            count += 1
            if websocket.url.path == "/slow":
                await asyncio.sleep(0.03)
            await websocket.send_text(f"{VERSION} {text} {count}")
    except WebSocketDisconnect:
        return


app = Starlette(routes=[WebSocketRoute("/{rest:path}", echo)])
