"""The scope of an HTTP request, exactly, over a real connection (ASGI HTTP, "HTTP Connection Scope")."""

import asyncio
from typing import Any

import pytest

from tests.unit.connection.harness import serving

REQUEST = (
    b"PoST /m%C3%BCll//a%2Fb?x=%20&y HTTP/1.1\r\n"
    b"Host: Example.org:81\r\nX-Twice: 1\r\nCookie: a=b\r\nx-tWice:  2 \r\n\r\n"
)


def scope_of(request: bytes, **options: Any) -> tuple[dict[str, Any], tuple[str, int], int]:
    """Return the scope of a request, the address of its client and the server's port."""
    scopes: list[dict[str, Any]] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        scopes.append(scope)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def scenario() -> tuple[tuple[str, int], int]:
        async with serving(app, **options) as server:
            client = await server.connect()
            client.send(request)
            assert (await client.answer())[0] == 204
            address = client.writer.get_extra_info("sockname")
            await client.close()
            return address, server.port

    address, port = asyncio.run(scenario())
    (scope,) = scopes
    return scope, address, port


@pytest.mark.parametrize("http", ["httptools", "h11"])
@pytest.mark.parametrize("version", ["2.3", "2.5"])
def test_the_scope_holds_exactly_this(http: str, version: str) -> None:
    state = {"pool": object()}
    scope, address, port = scope_of(REQUEST, http=http, spec_version=version, state=state, root_path="/\xe4pp")
    assert scope.pop("state") == state
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": version},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/\xe4pp/m\xfcll//a/b",
        "raw_path": "/\xe4pp".encode() + b"/m%C3%BCll//a%2Fb",
        "query_string": b"x=%20&y",
        "root_path": "/\xe4pp",
        "headers": [(b"host", b"Example.org:81"), (b"x-twice", b"1"), (b"cookie", b"a=b"), (b"x-twice", b"2")],
        "client": address,
        "server": ("127.0.0.1", port),
        "extensions": scope["extensions"],
    }
    assert type(scope["headers"]) is list
    assert type(scope["client"]) is tuple


def test_http_1_0_has_its_version_and_may_lack_a_host() -> None:
    scope, _, _ = scope_of(b"GET / HTTP/1.0\r\n\r\n")
    assert (scope["http_version"], scope["headers"], scope["query_string"]) == ("1.0", [], b"")
    assert (scope["path"], scope["raw_path"], scope["root_path"]) == ("/", b"/", "")


def test_each_request_has_its_own_copy_of_the_state_and_of_the_headers() -> None:
    seen: list[dict[str, Any]] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        seen.append({"state": dict(scope["state"]), "headers": list(scope["headers"])})
        scope["state"]["mine"] = True
        scope["headers"].append((b"mine", b"1"))
        scope["extensions"]["mine"] = {}
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def scenario() -> None:
        async with serving(app, state={"pool": 1}) as server:
            client = await server.connect()
            for _ in range(4):  # a head that has been seen before is not parsed again
                client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert (await client.answer())[0] == 204
            await client.close()

    asyncio.run(scenario())
    assert seen == [{"state": {"pool": 1}, "headers": [(b"host", b"x")]}] * 4
