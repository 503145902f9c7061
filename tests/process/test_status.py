"""`smoothserve status`: each column tells the truth, and so does what is said of workers that retire or are stuck."""

import os
import re
import signal
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from smoothserve.errors import VerbCode
from tests.load.runner import Load
from tests.load.scenarios import get_and_post
from tests.process.directory import BROKEN, AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import Server
from tests.process.processes import wait_until
from tests.process.terminal import OnTerminal
from tests.process.test_verbs import told, verb

HEADS = [
    *("slot", "pid", "gen", "state", "age", "requests", "in hand", "req/s", "conns", "ws", "threads", "memory"),
    "last error",
]
QUICK = ("--soak-interval", "0")
GET, WAIT = (f"GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n".encode() for path in ("", "wait"))
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)

#: `/wait` is answered once there is a file `go`; WebSockets are accepted and do not opt in.
APP = """
import asyncio, os

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    await receive()
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass
        return
    while scope["path"] == "/wait" and not os.path.exists("go"):
        await asyncio.sleep(0.02)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""

WSGI = """
import os, time

def app(environ, start_response):
    while not os.path.exists("go"):
        time.sleep(0.02)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


@pytest.fixture
def waiting(tmp_path: Path) -> AppDirectory:
    """A directory with the application above."""
    directory = AppDirectory(tmp_path / "waiting")
    directory.write("app.py", APP)
    return directory


def connect(server: Server, stack: ExitStack, data: bytes, end: bytes = b"") -> socket.socket:
    """Open a connection, send, and read until the answer ends so."""
    client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 30))
    client.sendall(data)
    answer = b""
    while not answer.endswith(end):
        part = client.recv(65536)
        assert part, answer
        answer += part
    return client


def shown(server: Server) -> str:
    result = verb("status", "--pid", str(server.pid))
    assert (result.returncode, result.stderr) == (VerbCode.DONE, "")
    return result.stdout


def table(text: str) -> list[dict[str, str]]:
    """Read the rows as a person does: what stands under each head."""
    lines = text.splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("slot"))
    heads = [(found.start(), found[0]) for found in re.finditer(r"\S+(?: \S+)*", lines[first])]
    assert [name for _, name in heads] == HEADS
    ends = [*(start for start, _ in heads[1:]), None]
    rows = []
    for line in lines[first + 1 :]:
        if not line:
            break
        rows.append({name: line[start:end].strip() for (start, name), end in zip(heads, ends, strict=True)})
    return rows


def wait_counted(server: Server, **wanted: Any) -> None:
    """Wait until the first worker's numbers have reached the scoreboard."""
    last: dict[str, Any] = {}

    def counted() -> bool:
        last.update(told(server)["workers"][0])
        return all(last[name] == value for name, value in wanted.items())

    try:
        wait_until(counted, 30, f"{wanted}")
    except AssertionError:
        raise AssertionError(f"{wanted} wanted, told: {last}") from None


def resident(pid: int) -> float:
    """Return the MiB that a process has resident, by another file than the server reads."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) / 1024


def test_every_column_of_status_has_its_true_value(serve: Serve, waiting: AppDirectory) -> None:
    before = time.monotonic()
    server = serve(waiting, *QUICK)
    ready = time.monotonic()
    (pid,) = server.workers
    with ExitStack() as stack:
        kept = connect(server, stack, GET, b"ok")
        for _ in range(2):
            kept.sendall(GET)
            assert kept.recv(65536).endswith(b"ok")
        for _ in range(2):
            connect(server, stack, WAIT)
        connect(server, stack, UPGRADE, b"\r\n\r\n")
        # Three answered, two that wait, a WebSocket's handshake: one kept connection, two busy, one WebSocket.
        wait_counted(server, requests=6, in_hand=3, connections=4, websockets=1)
        asked = time.monotonic()
        text = shown(server)
        answered = time.monotonic()
        (row,) = table(text)
        assert {name: row[name] for name in ("slot", "pid", "gen", "state", "last error")} == {
            "slot": "0",
            "pid": str(pid),
            "gen": "1",
            "state": "serving",
            "last error": "-",
        }
        assert [row[name] for name in ("requests", "in hand", "conns", "ws", "threads")] == ["6", "3", "4", "1", "0"]
        age = told(server)["workers"][0]["age"]
        assert asked - ready <= age <= time.monotonic() - before
        assert re.fullmatch(r"\d+s|\d+m\d+s", row["age"])
        minutes, _, seconds = row["age"].rstrip("s").rpartition("m")
        assert int(asked - ready) <= int(minutes or 0) * 60 + int(seconds) <= answered - before
        assert float(row["memory"].removesuffix("M")) == pytest.approx(resident(pid), rel=0.2)
        assert "1 of 1 workers serve; requests: 6 (" in text
        assert "in hand: 3, connections: 4, handed over: 0, WebSockets carried: 0, dropped: 0\n" in text
        (waiting.path / "go").touch()
    wait_counted(server, requests=6, in_hand=0, connections=0, websockets=0)


def test_a_killed_worker_is_the_last_error_of_its_slot(serve: Serve, waiting: AppDirectory) -> None:
    server = serve(waiting, "--workers", "2", *QUICK)
    died = server.workers[0]
    os.kill(died, signal.SIGKILL)
    wait_until(lambda: died not in server.workers and told(server)["workers_serving"] == 2, 30, "its successor")
    first, second = table(shown(server))
    assert re.fullmatch(r"\d\d-\d\d \d\d:\d\d:\d\d worker \d .*died by SIGKILL.*", first["last error"])
    assert second["last error"] == "-"
    assert {first["pid"], second["pid"]} == {str(pid) for pid in server.workers}


def test_slots_whose_workers_do_not_boot_any_more_are_shown_with_when_and_why(
    serve: Serve, directory: AppDirectory
) -> None:
    server = serve(directory, "--workers", "2", *QUICK)
    server.tracebacks_expected = True
    directory.deploy("2", before=BROKEN["raises at import"])
    for worker in server.workers:
        os.kill(worker, signal.SIGKILL)
    text = ""

    def both_wait() -> bool:
        nonlocal text
        text = shown(server)
        return [row["state"] for row in table(text)] == ["waits", "waits"]

    wait_until(both_wait, 60, "both slots to wait")
    assert re.match(r"smoothserve .*, down: no worker serves, generation 1, up ", text)
    assert "\n0 of 2 workers serve; " in text
    for slot, row in enumerate(table(text)):
        assert (row["slot"], row["pid"]) == (str(slot), "-")
        assert "did not boot: importing app raised RuntimeError: broken deploy" in row["last error"]
        assert re.search(rf"\nslot {slot}: no worker, respawns in \d+\.\d s\n", text)
    status: dict[str, Any] = {}

    def both_wait_in_json() -> bool:
        status.update(told(server))
        return len(status["waiting"]) == 2

    wait_until(both_wait_in_json, 60, "both slots to wait")
    assert (status["state"], status["workers_serving"], status["workers"]) == ("down", 0, [])
    for slot, one in enumerate(status["waiting"]):
        assert (one["slot"], one["state"], one["generation"]) == (slot, "waits", 1)
        assert 0 <= one["respawns_in"] <= 30
        assert "broken deploy" in one["last_error"]["text"]
    directory.deploy("3")
    server.reload()
    wait_until(lambda: told(server)["state"] == "serving", 30, "it to serve again")
    assert told(server)["waiting"] == []


def test_one_of_a_kind_is_told_in_the_singular_when_a_server_stops(serve: Serve, waiting: AppDirectory) -> None:
    server = serve(waiting, "--graceful-timeout", "0.3")
    with ExitStack() as stack:
        connect(server, stack, WAIT)
        wait_counted(server, in_hand=1)
        result = verb("stop", "--pid", str(server.pid))
    assert result.stderr == f"stopping pid {server.pid}, 1 request in hand\n"
    assert "the drain deadline has passed: 1 request dropped, 1 call cut\n" in server.log()


def test_requests_per_second_are_those_that_clients_see(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory)
    with Load(server.target, get_and_post(2, think=(0.02, 0.04))) as load:

        def agrees() -> bool:
            began, first = time.monotonic(), load.report.answered
            load.wait_answers(40)
            wait_until(lambda: time.monotonic() > began + 3, 10, "some seconds")
            seen = (load.report.answered - first) / (time.monotonic() - began)
            (row,) = table(shown(server))
            return float(row["req/s"]) == pytest.approx(seen, rel=0.5)

        wait_until(agrees, 60, "the rate that the clients see")


def test_busy_threads_are_shown(serve: Serve, tmp_path: Path) -> None:
    directory = AppDirectory(tmp_path / "wsgi")
    directory.write("app.py", WSGI)
    server = serve(directory, "--threads", "3")
    with ExitStack() as stack:
        clients = [connect(server, stack, GET) for _ in range(2)]
        wait_counted(server, threads_busy=2, in_hand=2)
        assert table(shown(server))[0]["threads"] == "2"
        (directory.path / "go").touch()
        assert all(client.recv(65536) for client in clients)
    wait_counted(server, threads_busy=0, in_hand=0)


def test_status_says_what_a_retiring_worker_waits_for(serve: Serve, waiting: AppDirectory) -> None:
    server = serve(waiting, "--drain-timeout", "90", "--websocket-drain-timeout", "80", *QUICK)
    (old,) = server.workers
    with ExitStack() as stack:
        clients = [connect(server, stack, WAIT) for _ in range(2)]
        connect(server, stack, UPGRADE, b"\r\n\r\n")
        wait_counted(server, in_hand=3, connections=3, websockets=1)
        server.reload()
        text = shown(server)
        rows = {row["pid"]: row for row in table(text)}
        assert (rows[str(old)]["gen"], rows[str(old)]["state"]) == ("1", "draining")
        (new,) = set(rows) - {str(old)}
        assert (rows[new]["gen"], rows[new]["state"]) == ("2", "serving")
        waits = r"3 in hand, 3 connections, 1 WebSocket; leaves within (\d+) s\n"
        found = re.search(rf"\nslot 0: pid {old} retires, waits for {waits}", text)
        assert found, text
        assert 1 <= int(found[1]) <= 90 + 5, "the drain timeout and the kill timeout"
        assert re.search(r"\nlast reload: generation 2 finished in [\d.]+ s, 1 swapped, 0 dropped\n", text)
        (waiting.path / "go").touch()
        for client in clients:
            assert client.recv(65536).endswith(b"ok")
        wait_counted(server, in_hand=1, websockets=1)
        wait_until(
            lambda: f"pid {old} retires, waits for 1 in hand, 1 connection, 1 WebSocket;" in shown(server), 30, ""
        )
    server.wait_drained()
    assert "retires" not in shown(server)


def test_a_stuck_worker_shows_its_last_progress(serve: Serve, waiting: AppDirectory) -> None:
    server = serve(waiting, "--timeout", "0")
    (worker,) = server.workers
    stopped = time.monotonic()
    os.kill(worker, signal.SIGSTOP)
    try:
        seconds: list[int] = []

        def stuck() -> bool:
            found = re.fullmatch(r"stuck (\d+) s", table(shown(server))[0]["state"])
            if found:
                # Its loop turned last shortly before it was stopped: one that has not for 5 s would show as stuck then.
                assert int(found[1]) <= time.monotonic() - stopped + 5
                seconds.append(int(found[1]))
            return len(set(seconds)) >= 2

        wait_until(stuck, 60, "the worker to show as stuck, for longer and longer")
        assert seconds == sorted(seconds)
        assert seconds[0] >= 5
    finally:
        os.kill(worker, signal.SIGCONT)
    wait_until(lambda: table(shown(server))[0]["state"] == "serving", 30, "it to serve again")


def test_watch_shows_what_changes_until_it_is_interrupted(serve: Serve, waiting: AppDirectory) -> None:
    server = serve(waiting)
    with OnTerminal("status", "--watch", "--interval", "0.1", "--pid", str(server.pid)) as screen:
        # Each time from the top of a cleared screen.
        screen.wait_seen(r"\x1b\[H\x1b\[2Jsmoothserve \S+, pid \d+: app:app on", count=3)
        assert "requests: 0 (" in screen.seen()
        with ExitStack() as stack:
            connect(server, stack, GET, b"ok")
            screen.wait_seen(r"requests: 1 \(")
        assert screen.end(signal.SIGINT) == VerbCode.DONE
    assert "Traceback" not in screen.seen()


def test_watch_can_be_interrupted_while_the_master_does_not_answer(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "control"))
        silent.listen()
        silent.settimeout(30)
        with OnTerminal("status", "--watch", "--control-socket", str(tmp_path / "control")) as screen:
            asking, _ = silent.accept()
            with asking:
                asking.settimeout(30)
                assert b"status" in asking.recv(65536)
                assert screen.end(signal.SIGINT) == VerbCode.DONE
    assert "Traceback" not in screen.seen()
