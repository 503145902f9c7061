"""Starlette and FastAPI serve WebSockets, and theirs are handed over as bare ASGI ones are."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from smoothserve.connection.adopting import Adopting
from smoothserve.connection.websocket_options import HandoverPolicy
from smoothserve.control.channel import Channel, channel_pair
from tests.unit.connection.harness import Server, serving, until
from tests.unit.connection.websocket_client import connect, handshake, opened


async def endpoint(websocket: WebSocket) -> None:
    if websocket.url.path == "/denied":
        raise HTTPException(418, "not here")
    handover = websocket.scope["extensions"]["smoothserve.handover"]
    seen = json.loads(handover["state"] or b"[]")
    await websocket.accept("b" if "b" in websocket.scope["subprotocols"] else None)
    if websocket.url.path == "/iterate":
        async for text in websocket.iter_text():
            await websocket.send_text(text)
        return
    while True:
        handover["attach"](json.dumps(seen).encode())
        text = await websocket.receive_text()
        seen.append(text)
        await websocket.send_json([websocket.app.state.name, seen])


def starlette(name: str) -> Any:
    app = Starlette(routes=[WebSocketRoute("/{rest:path}", endpoint)])
    app.state.name = name
    return app


def fastapi(name: str) -> Any:
    app = FastAPI()
    app.add_api_websocket_route("/{rest:path}", endpoint)
    app.state.name = name
    return app


@pytest.fixture(params=[starlette, fastapi])
def make(request: pytest.FixtureRequest) -> Callable[[str], Any]:
    made: Callable[[str], Any] = request.param
    return made


def test_messages_denials_and_ends(make: Callable[[str], Any]) -> None:
    async def scenario() -> None:
        async with serving(make("one")) as server:
            client, headers = await connect(server, "/", b"Sec-WebSocket-Protocol: a, b")
            assert headers[b"sec-websocket-protocol"] == b"b"
            client.text("hello")
            assert json.loads(await client.receive_text()) == ["one", ["hello"]]
            client.close(1000)
            assert (await client.closed())[0] == 1000
            await client.raw.close()
            async with opened(server, "/iterate") as client:
                client.text("hello")
                assert await client.receive_text() == "hello"
                client.close(1001)
                assert (await client.closed())[0] == 1001
            assert (await server.ask(handshake("/denied")))[0] == 418
            await until(lambda: not server.service.calls)
            assert not server.records.lines, "a disconnect that nobody catches is no error"

    asyncio.run(scenario())


def test_handed_over_between_calls(make: Callable[[str], Any]) -> None:
    async def moved(client: Any, old: Server, new: Server) -> None:
        left, right = channel_pair()
        old.service.hand_over(Channel(left), 2, lambda: None, lambda number: None)
        Adopting(new.service, Channel(right))
        old.service.begin_drain(0.2, lambda: None)
        await until(lambda: bool(new.service.calls) and not old.service.connections)
        offering = old.service.offering
        assert offering is not None
        for link in offering.links:
            link.channel.close()

    async def scenario() -> None:
        options = {"handover": HandoverPolicy(quiet=0.01)}
        async with (
            serving(make("old"), websocket_options=options) as old,
            serving(make("new"), websocket_options=options) as new,
            opened(old) as client,
        ):
            client.text("1")
            assert json.loads(await client.receive_text()) == ["old", ["1"]]
            await moved(client, old, new)
            client.text("2")
            assert json.loads(await client.receive_text()) == ["new", ["1", "2"]]
            client.close(1000)
            await client.closed()
            await until(lambda: not new.service.calls)
            assert not old.records.lines
            assert not new.records.lines

    asyncio.run(scenario())


def test_the_drain_extension_survives_a_deepcopy_and_tells_everyone() -> None:
    import copy

    waited = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        drain = copy.deepcopy(scope)["extensions"]["smoothserve.drain"]
        assert not drain["is_set"]()
        assert drain["deadline"]() is None
        await send({"type": "websocket.accept"})
        await asyncio.gather(drain["wait"](), drain["wait"]())
        assert await asyncio.to_thread(drain["is_set"])
        assert drain["deadline"]() is not None
        waited.set()

    async def scenario() -> None:
        from smoothserve.connection.drain import Drain

        drain = Drain()
        async with serving(app, extensions={"smoothserve.drain": drain.extension}) as server, opened(server) as client:
            drain.begin(30.0)
            await asyncio.wait_for(waited.wait(), 5)
            assert (await client.closed())[0] == 1000
            assert drain.blocking_extension["wait"](timeout=0) is True
            drain.end()
            assert drain.extension["deadline"]() is None
            assert not drain.blocking_extension["is_set"]()

    asyncio.run(scenario())
