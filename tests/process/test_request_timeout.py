"""Requests that take too long, on real workers: 504 on both codecs, neighbours undisturbed, a stuck thread replaced."""

import http.client
import re
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.load.runner import Load
from tests.load.scenarios import get_and_post
from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import Server, assert_nothing_dropped
from tests.process.processes import wait_until
from tests.process.test_verbs import told
from tests.process.test_watchdog import BLOCKS_THREAD

#: A request for /wait is never answered; one for /stream takes 3 s, but begins at once.
WAITS = """

import asyncio
served = app


async def wait_for_ever():
    await asyncio.sleep(3600)


async def app(scope, receive, send):
    if scope.get("path") == "/wait":
        await wait_for_ever()
    if scope.get("path") == "/stream":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        await asyncio.sleep(3)
        await send({"type": "http.response.body", "body": b", ended"})
        return
    await served(scope, receive, send)
"""

#: A call that takes 0.6 s.
TAKES_ITS_TIME = """

import time
served = app


def app(environ, start_response):
    if environ["PATH_INFO"] == "/takes":
        time.sleep(0.6)
        start_response("200 OK", [])
        return [b"taken"]
    return served(environ, start_response)
"""


def status_of(server: Server, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=30) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize("codec", ["httptools", pytest.param("h11", marks=pytest.mark.full)])
def test_a_call_that_never_answers_is_cancelled_at_the_request_timeout_and_disturbs_nobody(
    serve: Serve, directory: AppDirectory, codec: str
) -> None:
    directory.deploy("1", after=WAITS)
    server = serve(
        directory, "--request-timeout", "1", "--http", codec, "--access-log", "--access-log-format", "%(s)s %(U)s"
    )
    stream = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    stream.request("GET", "/stream")
    with Load(server.target, get_and_post(4)) as load:
        load.wait_answers(20)
        assert status_of(server, "/wait") == 504
        directory.deploy("2", after=WAITS)
        server.reload()
        assert status_of(server, "/wait") == 504
        load.wait_version("2")
    assert_nothing_dropped(load.report, "1", "2")
    assert stream.getresponse().read() == b"begun, ended"
    stream.close()
    server.wait_log(r"no answer within 1 s \(--request-timeout\): answered with 504", count=2)
    assert "in wait_for_ever" in server.log()
    server.wait_log(r"(?m)^504 /wait$", count=2)
    assert "recycle" not in server.log(), "nothing is stuck: no worker is replaced"
    wait_until(lambda: told(server)["measures"]["answers"]["GET"]["5xx"] == 2, 20, "both 504 to be counted")


@pytest.mark.parametrize("codec", ["httptools", pytest.param("h11", marks=pytest.mark.full)])
def test_a_stuck_thread_costs_its_request_a_504_and_its_worker_is_replaced_successor_first(
    serve: Serve, directory: AppDirectory, codec: str
) -> None:
    directory.deploy("1", app="wsgi_load", after=BLOCKS_THREAD)
    server = serve(directory, "--request-timeout", "1", "--threads", "2", "--http", codec, "--soak-interval", "0")
    (stuck,) = server.workers
    with Load(server.target, get_and_post(2)) as load:
        load.wait_answers(20)
        assert status_of(server, "/block") == 504
        server.wait_log(r"recycled: worker 1 .*\(--request-timeout\): worker 2 has taken its place", 60)
        load.wait_answers(20)
    assert_nothing_dropped(load.report, "1")
    assert re.search(r"GET /block: no answer within 1 s .*(\n.*)*in hold_on_until_released", server.log())
    (directory.path / "release").write_text("")
    server.wait_gone([stuck])
    assert not re.search(r"[1-9]\d* requests? dropped", server.log())


def test_a_request_that_waited_for_a_thread_in_vain_is_a_504_and_no_worker_is_stuck(
    serve: Serve, directory: AppDirectory
) -> None:
    directory.deploy("1", app="wsgi_load", after=TAKES_ITS_TIME)
    server = serve(directory, "--request-timeout", "2", "--threads", "1")
    with ThreadPoolExecutor(10) as clients:
        codes = list(clients.map(status_of, [server] * 10, ["/takes"] * 10))
    assert set(codes) == {200, 504}, codes
    server.wait_log(r"answered with 504, it has waited for a thread")
    # A worker wants to be replaced, if it does, within its next sweeps: before that many more are over.
    with Load(server.target, get_and_post(1)) as load:
        load.wait_until(lambda report: report.now() > 2)
    assert "recycle" not in server.log(), "each call gets on: no worker is replaced"


def test_without_a_request_timeout_a_request_may_take_any_time(serve: Serve, directory: AppDirectory) -> None:
    directory.deploy("1", app="wsgi_load", after=BLOCKS_THREAD)
    server = serve(directory)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", "/block")
    with Load(server.target, get_and_post(1)) as load:
        load.wait_until(lambda report: report.now() > 1.5)
        (directory.path / "release").write_text("")
        load.wait_answers(5)
    assert connection.getresponse().read() == b"released"
    connection.close()
    assert "504" not in server.log()
