"""`wsgiref.validate` finds nothing wrong with the server, whatever the request."""

import itertools
from collections.abc import Iterator
from typing import Any
from wsgiref.validate import validator

import pytest

from tests.unit.wsgi.fakes import FakeConnection, Server, request

PLAIN = [("Content-Type", "text/plain")]


def reading(environ: Any) -> bytes:
    stream = environ["wsgi.input"]
    body: bytes = stream.read(2) + stream.readline() + b"".join(stream.readlines()) + b"".join(stream)
    assert stream.read(1) == b""
    print("a word for the log", file=environ["wsgi.errors"])
    environ["wsgi.errors"].writelines(["and ", "another\n"])
    environ["wsgi.errors"].flush()
    return body


@validator
def listing(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", PLAIN)
    return [b"<", reading(environ), b">"]


@validator
def generating(environ: Any, start_response: Any) -> Iterator[bytes]:
    def parts() -> Iterator[bytes]:
        yield b"<"
        yield b""
        yield body
        yield b">"

    body = reading(environ)
    start_response("200 OK", PLAIN)
    return parts()


@validator
def writing(environ: Any, start_response: Any) -> list[bytes]:
    write = start_response("200 OK", PLAIN)
    write(b"<")
    write(reading(environ))
    return [b">"]


TARGETS = ["/", "/a%20b/%C3%A9?x=1&x=2", "//double", "/%2e%2e/", "*", "http://example.org/absolute?q", "/?"]
BODIES = [None, b"", b"short", b"line\nline\nline", b"x" * 5000]


@pytest.mark.parametrize("root_path", ["", "/root"])
@pytest.mark.parametrize("app", [listing, generating, writing], ids=["listing", "generating", "writing"])
def test_the_validator_finds_nothing(app: Any, root_path: str) -> None:
    with Server(app, root_path=root_path, spool_bytes=2000, threads=2) as server:
        for target, body, chunked in itertools.product(TARGETS, BODIES, (False, True)):
            for method, version in (("GET", "1.1"), ("POST", "1.0"), ("OPTIONS", "1.1"), ("DELETE", "1.1")):
                head = request(
                    method,
                    target,
                    [(b"content-type", b"text/plain"), (b"x-a", b"1"), (b"x-a", b"2"), (b"x_a", b"3")],
                    http_version=version,
                    content_length=None if body is None or chunked else len(body),
                    chunked=chunked and body is not None,
                )
                connection = server.answer(head, body or b"")
                assert connection.status == "200 OK", server.log.text
                assert connection.body == b"<" + (body or b"") + b">"
        assert set(server.log.messages) == {"a word for the log", "and another"}


@pytest.mark.parametrize("app", [listing, generating], ids=["listing", "generating"])
def test_the_validator_finds_nothing_on_a_unix_socket_with_an_awaited_body(app: Any) -> None:
    with Server(app) as server:
        connection = FakeConnection()
        connection.server = ("/run/app.sock", None)
        connection.client = None
        head = request("POST", "/upload", content_length=6, expect_continue=True)
        _, exchange = server.begin(head, connection=connection)
        server.until(lambda: "send_continue" in connection.calls)
        exchange.data_received(b"a\nb\nc\n")
        exchange.body_ended()
        server.until(lambda: connection.finished and connection.returned)
        assert connection.body == b"<a\nb\nc\n>"
