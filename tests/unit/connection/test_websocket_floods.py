"""What a client of a WebSocket may do without reading costs a bounded amount of memory."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.property.frames import frame
from tests.unit.connection.harness import Client, serving, until
from tests.unit.connection.websocket_client import PING, WebSocketClient, handshake

Run = Callable[[Coroutine[Any, Any, None]], None]

PONG_BEGINS = 0x8A
#: 2.5 MB of pongs.
COUNT = 20_000


async def listens(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass


@pytest.mark.parametrize("codec", ["fast", "wsproto"])
def test_who_pings_without_reading_gets_one_pong_for_all_that_it_has_not_taken(run: Run, codec: str) -> None:
    async def scenario() -> None:
        async with serving(listens, websocket=codec) as server:
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
            sock.connect(("127.0.0.1", server.port))
            raw = Client(*await asyncio.open_connection(sock=sock))
            client = WebSocketClient(raw)
            raw.send(handshake())
            assert (await raw.head())[0] == 101
            (connection,) = server.service.connections
            # The system would take megabytes.
            connection._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            raw.stop_reading()
            received = connection.received
            pings = frame(0x80 | PING, b"p" * 125) * COUNT
            last = frame(0x80 | PING, b"last")
            raw.send(pings + last)
            await until(lambda: connection.received == received + len(pings) + len(last))
            assert not connection.writable
            assert connection._transport.get_write_buffer_size() < 600_000
            raw.writer.transport.resume_reading()  # type: ignore[attr-defined]
            pongs = 0
            while (answer := await client.frame()) != (PONG_BEGINS, b"last"):
                assert answer == (PONG_BEGINS, b"p" * 125)
                pongs += 1
            assert 0 < pongs < COUNT
            client.send(PING, b"again")
            assert await client.frame() == (PONG_BEGINS, b"again")
            raw.writer.transport.abort()

    run(scenario())
