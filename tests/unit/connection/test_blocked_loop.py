"""A loop that the application has blocked: what has arrived meanwhile is answered, whatever its deadline says."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from smoothserve.connection.service import SWEEP_INTERVAL, Service, Timeouts
from tests.unit.connection.harness import serving, until

Run = Callable[[Coroutine[Any, Any, None]], None]
KEEP_ALIVE = 0.5
CONNECTIONS = 20
REQUEST = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["path"].startswith("/block/"):
        time.sleep(float(scope["path"].removeprefix("/block/")))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def sweep_as_a_worker_does(service: Service) -> asyncio.TimerHandle:
    """Sweep in a timer's callback, which uvloop may run before it reads."""
    service.sweep()
    return service.loop.call_later(SWEEP_INTERVAL, sweep_as_a_worker_does, service)


def send_to_all(clients: list[socket.socket], data: bytes) -> None:
    for client in clients:
        client.sendall(data)


def answered(client: socket.socket) -> bool:
    client.settimeout(5.0)
    try:
        return client.recv(1000).endswith(b"\r\n\r\nok")
    except ConnectionResetError:
        return False


@pytest.mark.parametrize(
    ("blocked", "begun"),
    [(0.3, False), (0.55, False), (0.62, False), (1.2, False), (0.55, True)],
    ids=lambda value: {False: "idle", True: "in the head"}.get(value, str(value)),
)
def test_requests_that_arrive_while_the_loop_is_blocked_are_answered(run: Run, blocked: float, begun: bool) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with serving(app, timeouts=Timeouts(keep_alive=KEEP_ALIVE, head=KEEP_ALIVE)) as server:
            sweep_as_a_worker_does(server.service)
            clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(CONNECTIONS)]
            blocker = socket.create_connection(("127.0.0.1", server.port))
            for client in clients:
                client.sendall(REQUEST)
                assert await loop.run_in_executor(None, answered, client)
                if begun:
                    client.sendall(REQUEST[:10])
            # Shortly before they are due the loop is blocked, and the requests come.
            await asyncio.sleep(KEEP_ALIVE - 0.2)
            rest = REQUEST[10 if begun else 0 :]
            sender = threading.Timer(0.05, send_to_all, (clients, rest))
            sender.start()
            blocker.sendall(b"GET /block/%.2f HTTP/1.1\r\nHost: x\r\n\r\n" % blocked)
            results = [await loop.run_in_executor(None, answered, client) for client in clients]
            sender.join()
            for client in (*clients, blocker):
                client.close()
            assert results.count(False) == 0

    run(scenario())


def test_a_connection_that_brings_nothing_is_still_closed_after_a_block(run: Run) -> None:
    async def scenario() -> None:
        async with serving(app, timeouts=Timeouts(keep_alive=KEEP_ALIVE)) as server:
            sweep_as_a_worker_does(server.service)
            client = await server.connect()
            client.send(REQUEST)
            await client.answer()
            time.sleep(0.8)
            assert await client.rest() == b""
            await client.close()

    run(scenario())


def test_on_a_loop_that_is_always_late_connections_are_timed_out_all_the_same(run: Run) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with serving(app, timeouts=Timeouts(keep_alive=KEEP_ALIVE)) as server:
            with socket.create_connection(("127.0.0.1", server.port)) as client:
                await until(lambda: len(server.service.connections) == 1)
                for _ in range(20):
                    time.sleep(1.3 * SWEEP_INTERVAL)
                    await asyncio.sleep(0)
                    server.service.sweep()
                    await asyncio.sleep(0)
                    if not server.service.connections:
                        break
                assert not server.service.connections
                client.settimeout(5.0)
                assert await loop.run_in_executor(None, client.recv, 100) == b""

    run(scenario())
