"""Health checks are answered by the server: 200 through reloads, 503 from TERM on, whatever the application does."""

import contextlib
import http.client
import time

import pytest

from smoothserve.errors import VerbCode
from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import Server
from tests.process.processes import wait_until
from tests.process.test_verbs import told, verb
from tests.process.test_watchdog import BLOCKS_THREAD


def answer(server: Server, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


PATHS = ("--health-path", "/healthz", "--live-path", "/livez")
RAISES = """

async def app(scope, receive, send):
    if scope["path"] == "/wait":
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    raise RuntimeError("not for health checks")
"""


def wait(server: Server, path: str, in_hand: int) -> http.client.HTTPConnection:
    """Send a request that is not answered; return when so many are in hand."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", path)
    wait_until(lambda: told(server)["totals"]["in_hand"] >= in_hand, 20, f"{in_hand} requests in hand")
    return connection


def test_health_is_answered_without_the_application_and_beyond_its_limits(
    serve: Serve, directory: AppDirectory
) -> None:
    directory.deploy("1", after=RAISES)
    server = serve(directory, *PATHS, "--max-concurrent-requests", "1", "--lifespan", "off")
    server.tracebacks_expected = True
    assert answer(server, "/healthz/more")[0] == 500
    with contextlib.closing(wait(server, "/wait", 1)):
        assert answer(server, "/healthz/more")[0] == 503, "the limit is reached"
        assert answer(server, "/healthz") == (200, b"ok\n")
        assert answer(server, "/healthz?verbose") == (200, b"ok\n")
        assert answer(server, "/livez") == (200, b"ok\n")
    server.reload()
    assert answer(server, "/healthz") == (200, b"ok\n")


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.full)])
def test_health_is_answered_while_every_thread_is_in_a_call_and_others_wait(
    serve: Serve, directory: AppDirectory, workers: int
) -> None:
    directory.deploy("1", app="wsgi_load", after=BLOCKS_THREAD)
    server = serve(directory, *PATHS, "--threads", "1", "--workers", str(workers))
    calls = [wait(server, "/block", number + 1) for number in range(workers)]
    more = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    more.request("GET", "/block")
    for path in ("/healthz", "/livez?x") * 2:
        assert answer(server, path) == (200, b"ok\n")
    (directory.path / "release").write_text("")
    for connection in (*calls, more):
        assert connection.getresponse().read() == b"released"
        connection.close()


def test_health_is_answered_at_the_limit_of_connections(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, *PATHS, "--max-connections", "1", "--keep-alive-timeout", "600")
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as kept:
        for _ in range(3):
            kept.request("GET", "/slow/a/0")
            kept.getresponse().read()
            assert answer(server, "/healthz") == (200, b"ok\n")


@pytest.mark.parametrize("app", ["asgi_load", pytest.param("wsgi_load", marks=pytest.mark.full)])
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


def test_what_is_to_stop_after_the_delay_says_so_and_takes_no_orders(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--shutdown-delay", "600")
    server.process.terminate()
    server.wait_log("stopping: TERM")
    assert told(server)["state"] == "stopping"
    for order in (("restart",), ("reload",), ("workers", "+1")):
        result = verb(*order, "--pid", str(server.pid))
        assert (result.returncode, result.stdout) == (VerbCode.REFUSED, ""), order
        assert "the server is stopping" in result.stderr
    assert verb("stop", "--now", "--pid", str(server.pid)).returncode == VerbCode.DONE
    assert server.wait_exit() == 0


def test_a_second_interrupt_does_not_wait_for_the_delay(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--shutdown-delay", "600")
    for _ in range(2):
        server.process.send_signal(2)
        server.wait_log("stopping: INT")
    assert server.wait_exit() == 0
