"""Health checks are answered by the server: 200 through reloads, 503 from TERM on, whatever the application does."""

import http.client
import time

import pytest

from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import Server


def answer(server: Server, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


PATHS = ("--health-path", "/healthz", "--live-path", "/livez")
RAISES = "\n\nasync def app(scope, receive, send):\n    raise RuntimeError('not for health checks')\n"


def test_health_is_answered_without_the_application_and_beyond_its_limits(
    serve: Serve, directory: AppDirectory
) -> None:
    directory.deploy("1", after=RAISES)
    server = serve(directory, *PATHS, "--max-concurrent-requests", "1", "--lifespan", "off")
    server.tracebacks_expected = True
    assert answer(server, "/healthz") == (200, b"ok\n")
    assert answer(server, "/healthz?verbose") == (200, b"ok\n")
    assert answer(server, "/livez") == (200, b"ok\n")
    assert answer(server, "/healthz/more")[0] == 500
    server.reload()
    assert answer(server, "/healthz") == (200, b"ok\n")


@pytest.mark.parametrize("app", ["asgi_load", "wsgi_load"])
def test_after_term_health_is_503_while_everything_is_served_for_the_delay(
    serve: Serve, directory: AppDirectory, app: str
) -> None:
    directory.deploy("1", app=app)
    server = serve(directory, *PATHS, "--shutdown-delay", "3", "--workers", "2")
    assert answer(server, "/healthz") == (200, b"ok\n")
    began = time.monotonic()
    server.process.terminate()
    server.wait_log("stopping: TERM")
    deadline = time.monotonic() + 2.5
    while (found := answer(server, "/healthz")) != (503, b"stopping\n"):
        assert time.monotonic() < deadline, found
    assert answer(server, "/livez") == (200, b"ok\n")
    assert server.wait_exit() == 0
    assert 3 <= time.monotonic() - began < 15


def test_a_second_interrupt_does_not_wait_for_the_delay(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--shutdown-delay", "600")
    for _ in range(2):
        server.process.send_signal(2)
        server.wait_log("stopping: INT")
    assert server.wait_exit() == 0
