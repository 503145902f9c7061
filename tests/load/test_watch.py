"""`python -m tests.load` as a person types it."""

import socket
import subprocess
import sys

import pytest

from tests.load.misbehaving import answer, body, read_token, serve
from tests.load.outcomes import Outcome


def load(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.load", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def test_it_shows_reloads_under_load_and_exits_with_0() -> None:
    done = load("--interval", "1", "--reloads", "2", "--clients", "8", "--", "--loop", "asyncio")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("-- HUP") == 2
    assert "reload finished: generation 3" in done.stdout
    assert "dropped                              0" in done.stdout
    assert "version 3" in done.stdout


def test_it_exits_with_1_when_something_was_dropped() -> None:
    def lies(connection: socket.socket) -> None:
        connection.sendall(answer(body(read_token(connection) + "x")))

    with serve(lies) as target:
        url = f"http://127.0.0.1:{target.port}"
        done = load("--url", url, "--interval", "1", "--reloads", "0", "--clients", "1")
    assert done.returncode == 1, done.stdout + done.stderr
    assert Outcome.WRONG_BODY.value in done.stdout


def test_it_says_why_the_server_did_not_start() -> None:
    done = load("--", "--no-such-option")
    assert done.returncode == 1
    assert "--no-such-option" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [("--clients", "0"), ("--interval", "9999"), ("--pid", "1"), ("--url", "http://example.com:80")],
)
def test_it_refuses_what_is_out_of_bounds(arguments: tuple[str, ...]) -> None:
    done = load(*arguments)
    assert done.returncode != 0
    assert arguments[0] in done.stderr
