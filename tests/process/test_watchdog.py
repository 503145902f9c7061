"""Stuck workers: their stacks are told, they are replaced, and what does not let go is killed once it is replaced."""

import http.client
import json
import re
from pathlib import Path

import pytest

from tests.load.runner import Load
from tests.load.scenarios import get_and_post
from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import Server
from tests.process.processes import is_running, wait_until
from tests.process.test_verbs import verb

#: A request for /block holds the event loop, or the thread, until a file is there.
BLOCKS_LOOP = """

import os, time
served = app


def hold_on_until_released():
    while not os.path.exists("release"):
        time.sleep(0.05)


async def app(scope, receive, send):
    if scope.get("path") == "/block":
        hold_on_until_released()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"released"})
        return
    await served(scope, receive, send)
"""
BLOCKS_THREAD = """

import os, time
served = app


def hold_on_until_released():
    while not os.path.exists("release"):
        time.sleep(0.05)


def app(environ, start_response):
    if environ["PATH_INFO"] == "/block":
        hold_on_until_released()
        start_response("200 OK", [])
        return [b"released"]
    return served(environ, start_response)
"""


def block(server: Server) -> http.client.HTTPConnection:
    """Send a request that is not answered."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", "/block")
    return connection


@pytest.mark.parametrize(("app", "blocks"), [("asgi_load", BLOCKS_LOOP), ("wsgi_load", BLOCKS_THREAD)])
def test_a_stuck_worker_has_its_stacks_logged_and_is_replaced_successor_first(
    serve: Serve, directory: AppDirectory, app: str, blocks: str
) -> None:
    directory.deploy("1", app=app, after=blocks)
    server = serve(directory, "--timeout", "2")
    (stuck,) = server.workers
    connection = block(server)
    server.wait_log(rf"\[ERROR\] worker 1 \(pid {stuck}, slot 0\) is stuck: .* \(--timeout\)", 30)
    server.wait_log(r"hold_on_until_released", 30)
    server.wait_log(r"recycle: worker 1 .*: its successor starts", 30)
    with Load(server.target, get_and_post(2)) as load:
        load.wait_answers(20)
    assert load.report.dropped == 0
    (directory.path / "release").write_text("")
    assert connection.getresponse().read() == b"released", "what was in hand is answered when it lets go"
    connection.close()
    server.wait_log(r"recycled: .*worker 2 has taken its place", 60)
    server.wait_gone([stuck])


def test_only_when_every_thread_is_stuck_the_worker_is_replaced(serve: Serve, directory: AppDirectory) -> None:
    directory.deploy("1", app="wsgi_load", after=BLOCKS_THREAD)
    server = serve(directory, "--timeout", "1", "--threads", "2", "--soak-interval", "0")
    (worker,) = server.workers
    first = block(server)
    with Load(server.target, get_and_post(1)) as load:
        load.wait_until(lambda report: report.now() > 3.5)
        assert server.workers == [worker]
        assert "is stuck" not in server.log(), "one thread gets on"
    second = block(server)
    server.wait_log(r"worker 1 .* is stuck: no thread of it has finished a call for \d+ s \(--timeout\)", 30)
    server.wait_log(r"recycled: .*worker 2 has taken its place", 60)
    assert load.report.dropped == 0
    (directory.path / "release").write_text("")
    for connection in (first, second):
        assert connection.getresponse().read() == b"released"
        connection.close()


def test_a_worker_that_never_lets_go_is_killed_once_it_is_replaced(serve: Serve, directory: AppDirectory) -> None:
    directory.deploy("1", after=BLOCKS_LOOP)
    server = serve(directory, "--timeout", "1", "--graceful-timeout", "1")
    (stuck,) = server.workers
    connection = block(server)
    server.wait_log(rf"worker 1 \(pid {stuck}\) is replaced and still stuck after \d+ s: killed", 60)
    wait_until(lambda: not is_running(stuck), 30, "its end")
    connection.close()
    server.wait_log(r"worker 1 .*died by SIGKILL while it drained, 1 request dropped")


def test_dump_prints_the_stacks_of_a_live_worker(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--workers", "2")
    result = verb("dump", "all", "--pid", str(server.pid))
    assert result.returncode == 0, result.stderr
    assert len(re.findall(r"worker in slot \d, pid \d+\n", result.stdout)) == 2
    assert "run_until_complete" in result.stdout
    assert result.stdout.count("End of tasks") == 2
    assert "worker/process.py" in result.stdout
    one = json.loads(verb("dump", str(server.workers[0]), "--json", "--pid", str(server.pid)).stdout)
    assert [dump["pid"] for dump in one] == [server.workers[0]]
    assert verb("dump", "1", "--pid", str(server.pid)).returncode == 1
    assert verb("dump", "x", "--pid", str(server.pid)).returncode == 2


def test_dump_prints_the_stacks_of_a_blocked_worker(serve: Serve, directory: AppDirectory, tmp_path: Path) -> None:
    directory.deploy("1", after=BLOCKS_LOOP)
    server = serve(directory)
    connection = block(server)
    try:
        text = ""

        def blocked() -> bool:
            nonlocal text
            text = verb("dump", "all", "--pid", str(server.pid)).stdout
            return "hold_on_until_released" in text

        wait_until(blocked, 30, "the stack of the blocked loop")
        assert "the event loop does not turn" in text
    finally:
        (directory.path / "release").write_text("")
    connection.getresponse().read()
    connection.close()
