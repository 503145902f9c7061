"""What ends a program elsewhere costs one request here: KeyboardInterrupt and the like, raised in a handler."""

import http.client

import pytest

from tests.load.runner import Load
from tests.load.scenarios import get_and_post
from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import assert_nothing_dropped

ERRORS = ("KeyboardInterrupt", "SystemExit", "CancelledError", "GeneratorExit", "BaseException")

#: /raise/NAME raises that before it answers; /part/NAME in the middle of its answer.
ASGI = """

import asyncio, builtins
served = app


def error(name):
    return getattr(builtins, name, None) or getattr(asyncio, name)


async def app(scope, receive, send):
    _, kind, name = (scope.get("path", "") + "///").split("/")[:3]
    if kind == "part":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
    if kind in {"raise", "part"}:
        await asyncio.sleep(0)
        raise error(name)(name)
    await served(scope, receive, send)
"""
WSGI = """

import asyncio, builtins
served = app


def error(name):
    return getattr(builtins, name, None) or getattr(asyncio, name)


def begun(name):
    yield b"begun"
    raise error(name)(name)


def app(environ, start_response):
    _, kind, name = (environ["PATH_INFO"] + "///").split("/")[:3]
    if kind == "raise":
        raise error(name)(name)
    if kind == "part":
        start_response("200 OK", [("Content-Length", "10")])
        return begun(name)
    return served(environ, start_response)
"""


@pytest.mark.parametrize("loop", ["uvloop", pytest.param("asyncio", marks=pytest.mark.full)])
@pytest.mark.parametrize(("app", "raises"), [("asgi_load", ASGI), ("wsgi_load", WSGI)], ids=["asgi", "wsgi"])
def test_what_a_handler_raises_costs_its_request_and_nothing_else(
    serve: Serve, directory: AppDirectory, app: str, raises: str, loop: str
) -> None:
    directory.deploy("1", app=app, after=raises)
    server = serve(directory, "--loop", loop)
    server.tracebacks_expected = True
    workers = server.workers
    with Load(server.target, get_and_post(4)) as load:
        load.wait_answers(20)
        for name in ERRORS:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            connection.request("GET", f"/raise/{name}")
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (500, b"Internal Server Error")
            connection.request("GET", f"/part/{name}")
            answer = connection.getresponse()
            with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
                answer.read()
            connection.close()
        load.wait_answers(100)
    assert_nothing_dropped(load.report, "1")
    assert server.workers == workers
    for name in ERRORS:
        server.wait_log(rf"{name}: {name}", count=2)
