"""Clients behind proxies: their addresses in the scope, for each request its own, and through a handover."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

from smoothserve.connection.service import ProxyProtocol, Timeouts
from smoothserve.protocol.forwarded import Forwarding, TrustedProxies
from tests.unit.connection.harness import serving, until
from tests.unit.connection.test_handover import pair

Run = Callable[[Coroutine[Any, Any, None]], None]

NAMES = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-prefix")
V1 = b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n"


async def who(scope: Any, receive: Any, send: Any) -> None:
    body = json.dumps([scope["client"], scope["scheme"], scope["root_path"], scope["path"], scope["server"]]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def forwarding(*trusted: str) -> dict[str, Any]:
    return {"forwarding": Forwarding(NAMES, TrustedProxies(trusted), lambda line: None)}


def asked(*lines: bytes) -> bytes:
    return b"\r\n".join([b"GET /a HTTP/1.1", b"Host: x", *lines, b"", b""])


def test_each_request_of_a_trusted_proxy_has_its_own_client(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with serving(who, http=http, service_options=forwarding("127.0.0.1")) as server:
            proxy = await server.connect()
            answers = []
            for lines in (
                [b"X-Forwarded-For: 203.0.113.7", b"X-Forwarded-Proto: https"],
                [],
                [b"X-Forwarded-For: 203.0.113.8", b"X-Forwarded-Prefix: /app"],
                [],
            ):
                proxy.send(asked(*lines))
                answers.append(json.loads((await proxy.answer())[2])[:4])
            own = answers[1][0]
            assert own[0] == "127.0.0.1"
            assert answers == [
                [["203.0.113.7", 0], "https", "", "/a"],
                [own, "http", "", "/a"],
                [["203.0.113.8", 0], "http", "/app", "/app/a"],
                [own, "http", "", "/a"],
            ]
            await proxy.close()

    run(scenario())


def test_nobody_else_is_believed(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with serving(who, http=http, service_options=forwarding("10.0.0.0/8", "unix:")) as server:
            answer = await server.ask(asked(b"X-Forwarded-For: 203.0.113.7", b"X-Forwarded-Proto: https"))
            client, scheme = json.loads(answer[2])[:2]
            assert (client[0], scheme) == ("127.0.0.1", "http")

    run(scenario())


def test_a_proxy_keeps_its_own_address_through_a_handover(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with pair(http, service_options=forwarding("127.0.0.1")) as both:
            both.new.service.application.app = who  # type: ignore[attr-defined]
            proxy = await both.old.connect()
            proxy.send(asked(b"X-Forwarded-For: 203.0.113.7"))
            assert (await proxy.answer())[2] == b"old"
            both.link()
            both.drain()
            await until(both.empty.is_set)
            proxy.send(asked(b"X-Forwarded-For: 203.0.113.8"))
            assert json.loads((await proxy.answer())[2])[0] == ["203.0.113.8", 0]
            proxy.send(asked())
            assert json.loads((await proxy.answer())[2])[0][0] == "127.0.0.1"
            await proxy.close()

    run(scenario())


def proxied(*trusted: str, versions: str = "auto") -> dict[str, Any]:
    return {"proxy": ProxyProtocol(versions, TrustedProxies(trusted))}


def test_the_proxy_protocol_gives_the_addresses_of_all_requests_and_they_move_along(run: Run, http: str) -> None:
    async def scenario() -> None:
        options = {**proxied("127.0.0.1"), **forwarding("203.0.113.7")}
        async with pair(http, service_options=options) as both:
            for server in (both.old, both.new):
                server.service.application.app = who  # type: ignore[attr-defined]
            client = await both.old.connect()
            client.send(V1[:20])
            await asyncio.sleep(0.02)
            client.send(V1[20:] + asked() + asked(b"X-Forwarded-For: 198.51.100.9"))
            assert json.loads((await client.answer())[2])[::4] == [["203.0.113.7", 4711], ["192.0.2.1", 443]]
            assert json.loads((await client.answer())[2])[0] == ["198.51.100.9", 0]
            both.link()
            both.drain()
            await until(both.empty.is_set)
            client.send(asked())
            assert json.loads((await client.answer())[2])[0] == ["203.0.113.7", 4711]
            await client.close()

    run(scenario())


def test_with_the_proxy_protocol_a_connection_without_it_is_refused(run: Run, http: str) -> None:
    async def scenario() -> None:
        timeouts = Timeouts(head=0.2)
        async with serving(who, http=http, timeouts=timeouts, service_options=proxied("127.0.0.1")) as server:
            for opening in (asked(), b"PROXY TCP4 1.2.3.4\r\n" + asked(), b""):
                client = await server.connect()
                client.send(opening)
                assert await client.rest() in (b"", b"<reset>")
                await client.close()
            assert server.log.count("connection refused") == 3
        async with serving(who, http=http, service_options=proxied("10.0.0.1")) as server:
            client = await server.connect()
            client.send(V1 + asked())
            assert await client.rest() in (b"", b"<reset>")
            assert "--proxy-allow-from" in server.log
            await client.close()

    run(scenario())


def test_a_connection_that_has_not_said_who_is_there_does_not_hold_up_a_stop(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with serving(who, http=http, service_options=proxied("127.0.0.1")) as server:
            client = await server.connect()
            await until(lambda: len(server.service.attaching) == 1)
            empty = asyncio.Event()
            server.acceptor.stop()
            server.service.begin_drain(0.0, empty.set)
            server.service.sweep()
            await asyncio.wait_for(empty.wait(), 10)
            assert await client.rest() == b""
            await client.close()

    run(scenario())
