"""What `websocket_echo` answers at `/` and `/slow`, in Django Channels."""

import asyncio
from pathlib import Path
from typing import Any

import django
from django.conf import settings

settings.configure(ALLOWED_HOSTS=["*"], SECRET_KEY="for tests", INSTALLED_APPS=["channels"])
django.setup()

from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import re_path  # noqa: E402

VERSION = Path(__file__).with_name("version.txt").read_text().strip()


class Echo(AsyncWebsocketConsumer):  # type: ignore[misc]
    async def connect(self) -> None:
        self.handover = self.scope["extensions"]["smoothserve.handover"]
        self.count = int(self.handover["state"] or b"0")
        self.handover["opt_in"]()
        await self.accept()

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        if self.scope["path"] == "/slow":
            await asyncio.sleep(0.2)
        self.count += 1
        self.handover["attach"](b"%d" % self.count)
        await self.send(f"{VERSION} {text_data} {self.count}")


app = ProtocolTypeRouter({"websocket": URLRouter([re_path("", Echo.as_asgi())])})
