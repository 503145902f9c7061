"""`smoothserve connections`: every connection of every worker, asked while they serve; who does not answer is named."""

import json
import os
import re
import resource
import signal
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from smoothserve.errors import VerbCode
from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import Server
from tests.process.processes import wait_until
from tests.process.test_verbs import verb

UPGRADE = (
    b"GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def told(server: Server, *options: str) -> dict[str, Any]:
    result = verb("connections", "--json", "--pid", str(server.pid), *options)
    assert result.returncode == VerbCode.DONE, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def connect(server: Server, stack: ExitStack, data: bytes, end: bytes = b"") -> socket.socket:
    """Open a connection, send, and read until the answer has `end`."""
    client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 20))
    client.sendall(data)
    answer = b""
    while end not in answer:
        answer += client.recv(65536)
    return client


def test_each_connection_is_one_line_also_after_a_reload(serve: Serve, tmp_path: Path) -> None:
    directory = AppDirectory(tmp_path / "app", "websocket_echo")
    server = serve(directory, "--workers", "2", "--websocket-handover", "reenter")
    with ExitStack() as stack:
        get = b"GET /echo/t HTTP/1.1\r\nHost: a\r\n\r\n"
        kept = connect(server, stack, get, b"\r\n\r\n")
        connect(server, stack, b"GET /half HTTP/1.1\r\nHos")
        connect(server, stack, UPGRADE, b"\r\n\r\n")
        wait_until(lambda: told(server)["total"] == 3, 20, "three connections")
        before = {one["state"]: one for one in told(server)["connections"]}
        assert set(before) == {"idle", "head", "open"}
        idle, websocket = before["idle"], before["open"]
        assert (idle["kind"], idle["requests"], idle["received"]) == ("http", 1, len(get))
        assert idle["client"] == f"127.0.0.1:{kept.getsockname()[1]}"
        assert idle["sent"] > 50
        assert idle["path"] is None
        assert (websocket["kind"], websocket["path"], websocket["received"]) == ("websocket", "GET /chat", len(UPGRADE))
        assert {one["pid"] for one in before.values()} <= set(server.workers)
        server.reload()
        wait_until(lambda: {one["generation"] for one in told(server)["connections"]} == {2}, 30, "all moved")
        after = {one["state"]: one for one in told(server)["connections"]}
        for state, one in before.items():
            moved = after[state]
            assert (moved["client"], moved["received"], moved["requests"]) == (
                one["client"],
                one["received"],
                one["requests"],
            )
            assert moved["age"] >= one["age"], "it is as old as its client knows it"
        text = verb("connections", "--pid", str(server.pid)).stdout
        heads = r"slot +worker +kind +age +state +requests +in +out +client +in progress\n"
        assert re.match(heads, text)
        assert re.search(r"\n\d+ +\d+ +WebSocket +\d+s +open +0 +\d+B +\d+B +127\.0\.0\.1:\d+ +GET /chat\n", text)
        assert text.endswith("\nconnections: 3\n")


def test_a_request_in_progress_shows_its_path_and_time_and_a_stuck_worker_is_named(
    serve: Serve, directory: AppDirectory
) -> None:
    server = serve(directory, "--graceful-timeout", "1")
    (worker,) = server.workers
    with ExitStack() as stack:
        for number in range(3):
            connect(server, stack, b"GET /slow/t%d/60?q=1 HTTP/1.1\r\nHost: a\r\n\r\n" % number)
        wait_until(lambda: [one["state"] for one in told(server)["connections"]] == ["busy"] * 3, 20, "three busy")
        first = told(server, "--limit", "1", "--sort", "busy")
        assert first["total"] == 3
        assert [one["path"] for one in first["connections"]] == ["GET /slow/t0/60?q=1"]
        assert first["connections"][0]["busy"] >= 0
        text = verb("connections", "--limit", "1", "--sort", "busy", "--pid", str(server.pid)).stdout
        assert re.search(r"GET /slow/t0/60\?q=1 \([\d.]+ s\)\n", text)
        assert text.endswith("\n1 of 3 connections, by busy; --limit 0 shows all\n")
        os.kill(worker, signal.SIGSTOP)
        try:
            result = verb("connections", "--pid", str(server.pid))
        finally:
            os.kill(worker, signal.SIGCONT)
    assert result.returncode == VerbCode.DONE
    assert re.match(
        rf"worker 1 \(slot 0, pid {worker}\) is stuck: it does not answer, its last progress was \d+ s ago; "
        rf"it holds 3 connections. Its stacks: smoothserve dump {worker}\n",
        result.stderr,
    )


def test_very_many_connections_are_listed_while_they_are_served(serve: Serve, directory: AppDirectory) -> None:
    count = min(3000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200)
    server = serve(directory, "--workers", "2")
    with ExitStack() as stack:
        for _ in range(count):
            connect(server, stack, b"")
        wait_until(lambda: told(server, "--limit", "5")["total"] == count, 60, "all of them")
        assert len(told(server, "--limit", "5")["connections"]) == 5
        everything = told(server, "--limit", "0")
        assert len({one["client"] for one in everything["connections"]}) == count
        connect(server, stack, b"GET /echo/t HTTP/1.1\r\nHost: a\r\n\r\n", b"\r\n\r\n")


@pytest.mark.full(only="3.13")
def test_ten_thousand_connections_are_listed(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--workers", "2")
    with ExitStack() as stack:
        for _ in range(10_000):
            connect(server, stack, b"")
        wait_until(lambda: told(server, "--limit", "5")["total"] == 10_000, 60, "all of them")
        assert len(told(server, "--limit", "0")["connections"]) == 10_000
