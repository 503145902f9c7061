"""A reload closes no WebSocket whose application opted in: it goes on in new code, and no message is lost."""

import re
import time
import urllib.request
from pathlib import Path

import pytest

from tests.process.directory import APPS, AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import Server
from tests.process.processes import wait_until
from tests.process.websockets import Numberings, RawWebSocket

ROOT = APPS.parent.parent
QUICK = ("--soak-interval", "0.05")


@pytest.fixture
def directory(tmp_path: Path) -> AppDirectory:
    return AppDirectory(tmp_path / "app", "websocket_echo")


def carried(server: Server) -> list[int]:
    """Return what the closing lines of the reloads say of WebSockets."""
    return [int(number) for number in re.findall(r"(\d+) WebSockets? carried", server.log())]


#: Seconds after a reload's end in which every WebSocket is on the new version.
WITHIN = 2.0
STARLETTE, FASTAPI = "websocket_starlette", "websocket_fastapi"
VARIANTS = [
    pytest.param("websocket_echo", 12, 3, "fast", "auto", id="fast"),
    pytest.param("websocket_echo", 12, 1, "wsproto", "auto", id="wsproto"),
    pytest.param(STARLETTE, 12, 1, "fast", "auto", id="starlette"),
    pytest.param(FASTAPI, 12, 1, "fast", "auto", id="fastapi"),
    # The usual pair on every Python, the others on one each.
    *(
        pytest.param(
            "websocket_echo", 200, 10, codec, loop, id=f"200-{codec}-{loop}", marks=pytest.mark.full(only=only)
        )
        for codec, loop, only in (
            ("fast", "uvloop", None),
            ("fast", "asyncio", "3.11"),
            ("wsproto", "uvloop", "3.12"),
            ("wsproto", "asyncio", "3.13"),
        )
    ),
    *(
        pytest.param(app, 200, 10, "fast", "uvloop", id=f"200-{app}", marks=pytest.mark.full(only="3.13"))
        for app in (STARLETTE, FASTAPI)
    ),
]


@pytest.mark.alone
@pytest.mark.parametrize(("app", "count", "reloads", "codec", "loop"), VARIANTS)
def test_no_websocket_is_closed_and_no_message_lost_through_reloads(
    tmp_path: Path, serve: Serve, app: str, count: int, reloads: int, codec: str, loop: str
) -> None:
    directory = AppDirectory(tmp_path / "app", app)
    server = serve(directory, "--workers", "2", "--websocket", codec, "--loop", loop, *QUICK)
    part = count // 4
    with (
        Numberings(server.port, part) as plain,
        Numberings(server.port, part, compressed=True, split=True) as compressed,
        Numberings(server.port, part, "/slow", pause=0.2) as slow,
        Numberings(server.port, part, lock_step=True, split=True, pause=0.0) as hasty,
    ):
        for number in range(reloads):
            version = str(number + 2)
            directory.deploy(version)
            server.reload()
            wait_version((plain, compressed, slow, hasty), version, WITHIN)
    for group in (plain, compressed, slow, hasty):
        group.assert_whole()
    assert len(carried(server)) == reloads
    assert all(number > count // 2 for number in carried(server)), "the others follow, but most are there by then"
    server.wait_drained()


def wait_version(groups: tuple[Numberings, ...], version: str, within: float) -> None:
    """Wait until all clients of all groups have an answer of that version."""
    deadline = time.monotonic() + within
    for group in groups:
        group.wait_version(version, max(0.0, deadline - time.monotonic()))


@pytest.mark.alone
@pytest.mark.parametrize("app", ["websocket_quart", "websocket_channels"])
@pytest.mark.parametrize(
    ("count", "reloads"),
    [pytest.param(12, 2, id="short"), pytest.param(200, 10, id="long", marks=pytest.mark.full(only="3.12"))],
)
def test_clients_in_lock_step_lose_nothing_where_the_framework_reads_ahead(
    tmp_path: Path, serve: Serve, app: str, count: int, reloads: int
) -> None:
    directory = AppDirectory(tmp_path / "app", app)
    server = serve(directory, "--workers", "2", *QUICK)
    part = count // 4
    with (
        Numberings(server.port, part, lock_step=True, pause=0.0) as hasty,
        Numberings(server.port, part, lock_step=True, pause=0.5, split=True, compressed=True) as leisurely,
        Numberings(server.port, part, "/slow", lock_step=True, pause=0.2) as slow,
        Numberings(server.port, part, "/slow", lock_step=True, pause=0.0) as slow_and_hasty,
    ):
        groups = hasty, leisurely, slow, slow_and_hasty
        for number in range(reloads):
            directory.deploy(str(number + 2))
            server.reload()
            wait_version(groups, str(number + 2), WITHIN)
    for group in groups:
        group.assert_whole()
    server.wait_drained()
    assert len(carried(server)) == reloads


def test_the_old_call_has_returned_before_the_new_one_starts(directory: AppDirectory, serve: Serve) -> None:
    server = serve(directory, *QUICK)
    with Numberings(server.port, 5, "/room?{}") as members:
        directory.deploy("2")
        server.reload()
        members.wait_version("2", 10)
    members.assert_whole(counted=False)
    server.stop()
    notes = (directory.path / "room.txt").read_text().splitlines()
    for member in range(5):
        own = [line for line in notes if line.split()[1] == str(member)]
        assert own == [f"join {member} 1", f"leave {member} 1", f"join {member} 2", f"leave {member} 2"]
        answers = members.clients[member].answers
        assert sum(1 for answer in answers if answer == "1 farewell 0") == 1, "what the old call sends is still sent"


def test_a_websocket_that_has_not_opted_in_is_kept_and_then_closed_with_1012(
    directory: AppDirectory, serve: Serve
) -> None:
    server = serve(directory, *QUICK, "--websocket-drain-timeout", "1", "--websocket-close-spread", "0.5")
    with Numberings(server.port, 4, "/stay") as clients:
        directory.deploy("2")
        server.reload()
        assert all(one.end is None for one in clients.clients), "the reload does not wait for them, nor close them"
        wait_until(lambda: all(one.end for one in clients.clients), 20, "all are closed")
    assert {one.end for one in clients.clients} == {"closed with 1012"}
    assert {one.version for one in clients.clients} == {"1"}
    server.wait_drained()
    assert carried(server) == [0]


def test_reenter_moves_what_matches_although_nobody_opted_in(directory: AppDirectory, serve: Serve) -> None:
    server = serve(directory, *QUICK, "--websocket-handover", "reenter:/st*")
    with Numberings(server.port, 3, "/stay") as clients:
        directory.deploy("2")
        server.reload()
        clients.wait_version("2", 10)
    clients.assert_whole(counted=False)


def test_off_carries_nothing(directory: AppDirectory, serve: Serve) -> None:
    server = serve(
        directory, *QUICK, "--websocket-handover", "off",
        "--websocket-drain-timeout", "0", "--websocket-close-spread", "0",
    )  # fmt: skip
    with Numberings(server.port, 2) as clients:
        directory.deploy("2")
        server.reload()
        wait_until(lambda: all(one.end for one in clients.clients), 20, "all are closed")
    assert {one.end for one in clients.clients} == {"closed with 1012"}


def test_a_stop_closes_websockets_with_1001_and_the_server_leaves_at_once(
    directory: AppDirectory, serve: Serve
) -> None:
    server = serve(directory, *QUICK)
    with Numberings(server.port, 4) as clients:
        assert server.stop(timeout=10) == 0
    assert {one.end for one in clients.clients} == {"closed with 1001"}
    assert "stopped: 0 requests dropped" in server.log()


def test_the_chat_of_the_documentation_stays_open_while_its_code_is_replaced(tmp_path: Path, serve: Serve) -> None:
    place = AppDirectory(tmp_path / "chat", "websocket_echo")
    source = (ROOT / "docs" / "how-to" / "chat.py").read_text()
    assert "VERSION = 1 " in source
    place.write("chat.py", source)
    server = serve(place, *QUICK, app="chat:app")
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/", timeout=10) as page:
        assert b"new WebSocket" in page.read()
    with RawWebSocket(server.port, "/room") as one, RawWebSocket(server.port, "/room") as other:
        assert one.receive() == other.receive() == {"version": 1}
        one.send("hello")
        first = other.receive()
        assert first == one.receive()
        place.write("chat.py", source.replace("VERSION = 1 ", "VERSION = 2 "))
        server.reload()
        assert one.receive() == other.receive() == {"version": 2}
        one.send("still here")
        assert other.receive() == one.receive() == {"name": first["name"], "text": "still here"}
    assert carried(server) == [2]
