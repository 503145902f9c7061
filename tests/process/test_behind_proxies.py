"""A real server that is told of its proxies on the command line and in the environment."""

import contextlib
import json
import socket
from typing import Any

import pytest

from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import Server

ASGI = """
import json

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    body = json.dumps([scope["client"][0], scope["scheme"], scope["root_path"], scope["path"]]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
"""
WSGI = """
import json

def app(environ, start_response):
    start_response("200 OK", [])
    names = ("REMOTE_ADDR", "wsgi.url_scheme", "SCRIPT_NAME", "PATH_INFO")
    body = [environ[name] for name in names]
    assert "HTTP_X_FORWARDED_FOR" in environ and "evil" not in environ["HTTP_X_FORWARDED_FOR"]
    if body[2]:
        body[3] = body[2] + body[3]
    return [json.dumps(body).encode()]
"""
PROXY = b"PROXY TCP4 198.51.100.1 192.0.2.1 4711 443\r\n"
REQUEST = (
    b"GET /a HTTP/1.1\r\nHost: x\r\nX_Forwarded_For: evil\r\nX-Forwarded-For: 6.6.6.6, 203.0.113.7\r\n"
    b"X-Forwarded-Proto: https\r\nX-Forwarded-Prefix: /app\r\nConnection: close\r\n\r\n"
)


def ask(server: Server, data: bytes) -> Any:
    with socket.create_connection((server.target.host, server.port), timeout=20) as sock:
        sock.sendall(data)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while part := sock.recv(65536):
                answer += part
    return json.loads(answer.partition(b"\r\n\r\n")[2]) if answer else None


@pytest.mark.parametrize("code", [ASGI, WSGI], ids=["asgi", "wsgi"])
def test_the_application_sees_the_client_and_not_the_proxy(serve: Serve, directory: AppDirectory, code: str) -> None:
    directory.write("app.py", code)
    server = serve(directory, "--forwarded-headers", "x-forwarded-for,x-forwarded-prefix")
    assert ask(server, REQUEST) == ["203.0.113.7", "http", "/app", "/app/a"]
    server = serve(directory, environ={"FORWARDED_ALLOW_IPS": "10.0.0.0/8"})
    assert ask(server, REQUEST) == ["127.0.0.1", "http", "", "/a"]
    server = serve(directory, "--proxy-protocol", "auto", "--forwarded-allow-ips", "198.51.100.0/24")
    assert ask(server, PROXY + REQUEST) == ["203.0.113.7", "https", "", "/a"]
    assert ask(server, REQUEST) is None
    server.wait_log("connection refused: the connection does not begin with a PROXY header")
