"""Who is killed or refuses in the middle of a handover with WebSockets among the connections costs what it held.

The steps are those of `test_handover_faults`; what survives goes on with its state and its count of messages.
"""

from pathlib import Path

import pytest

from tests.faults.traps import (
    AFTER_ACCEPTING,
    AMID,
    AMID_AFTER_ACK,
    AMID_BEFORE_ACK,
    BEFORE_RECEIVING,
    KILLED,
    OFFERS_QUEUED,
    QUICK,
    Faulty,
)
from tests.process.directory import APPS, AppDirectory
from tests.process.fixtures import Serve
from tests.process.idle import IdleClients
from tests.process.websockets import IdleWebSockets

#: Fewer than are acknowledged when the fault happens amid them: some WebSockets are among those always.
IDLE = 30
WEBSOCKETS = 90
#: Put behind the HTTP application: WebSockets are echoed, and each call for one is noted.
AND_WEBSOCKETS = """

import websocket_echo

served = app


async def app(scope, receive, send):
    if scope["type"] == "websocket":
        resumed = scope["extensions"]["smoothserve.handover"]["resumed"]
        with Path(__file__).with_name("calls.txt").open("a") as file:
            file.write(f"{os.getpid()} {'resumed' if resumed else 'new'}\\n")
        await websocket_echo.app(scope, receive, send)
    else:
        await served(scope, receive, send)
"""

#: The first call is about to be asked to return, so that its WebSocket can be offered.
CALLS_LEAVE = """\
    from smoothserve.connection.websocket_moving import MovableWebSocket

    def ask_to_leave(self, call):
        if springs("trap"):
            act()
        original(self, call)

    original, MovableWebSocket._ask_to_leave = MovableWebSocket._ask_to_leave, ask_to_leave

"""


class MixedDirectory(AppDirectory):
    """An application of HTTP and WebSocket."""

    def deploy(self, version: str, *, app: str | None = None, before: str = "", after: str = "") -> None:
        """Replace the code."""
        self.write("websocket_echo.py", (APPS / "websocket_echo.py").read_text())
        super().deploy(version, app=app, before=before, after=AND_WEBSOCKETS + after)

    def resumed_in(self, pid: int) -> int:
        """Return how many calls a worker has begun for WebSockets that were open already."""
        return (self.path / "calls.txt").read_text().splitlines().count(f"{pid} resumed")


@pytest.fixture
def directory(tmp_path: Path) -> MixedDirectory:
    return MixedDirectory(tmp_path / "app")


@pytest.mark.parametrize(
    ("step", "lost"),
    [
        pytest.param(BEFORE_RECEIVING, 0, id="before it takes the channel up"),
        pytest.param(AFTER_ACCEPTING, 0, id="right after it accepts"),
        pytest.param(AMID_BEFORE_ACK, AMID, id="between an offer and its answer"),
        pytest.param(AMID_AFTER_ACK, AMID, id="after an answer"),
    ],
)
def test_a_successor_killed_amid_the_handover_costs_what_it_had_acknowledged(
    serve: Serve, directory: MixedDirectory, tmp_path: Path, step: str, lost: int
) -> None:
    faulty = Faulty(serve, directory, tmp_path, KILLED + step)
    server = faulty.server
    (old,) = server.workers
    with IdleClients(server.target, IDLE) as idle, IdleWebSockets(server.port, WEBSOCKETS) as websockets:
        websockets.ask()
        faulty.begin_reload()
        server.wait_log(r"died by SIGKILL.*amid the handover: worker \d+ of generation 1 serves on")
        idle.ask()
        websockets.ask()
        assert idle.lost + websockets.lost == lost
        assert not lost or websockets.lost >= lost - IDLE
        if step == AMID_BEFORE_ACK:
            assert directory.resumed_in(old) >= 1, (
                "what was offered and not acknowledged is called again in the old one"
            )
        server.wait_reload("finished")
        server.wait_drained()
        assert websockets.ask() == {"2": WEBSOCKETS - websockets.lost}
        assert sum(idle.versions().values()) == IDLE - idle.lost
        assert idle.lost + websockets.lost == lost


def test_a_predecessor_killed_with_websockets_in_the_queue_costs_what_it_still_owned(
    serve: Serve, directory: MixedDirectory, tmp_path: Path
) -> None:
    faulty = Faulty(serve, directory, tmp_path, KILLED + OFFERS_QUEUED)
    server = faulty.server
    # As few idle ones as cannot fill the queue alone.
    with IdleClients(server.target, 4) as idle, IdleWebSockets(server.port, WEBSOCKETS) as websockets:
        websockets.ask()
        faulty.begin_reload()
        server.wait_reload("finished")
        survivors = websockets.ask()
        assert set(survivors) == {"2"}
        assert survivors["2"] >= 5
        assert websockets.lost == WEBSOCKETS - survivors["2"]
        assert idle.versions() == {"2": 4}
        assert websockets.ask() == survivors, "what it had offered is taken over without it, and stays"
        (new,) = server.workers
        assert directory.resumed_in(new) == survivors["2"]
    server.wait_log("died by SIGKILL while it drained")


def test_a_predecessor_killed_while_its_calls_leave_costs_its_websockets_and_nothing_that_had_moved(
    serve: Serve, directory: MixedDirectory, tmp_path: Path
) -> None:
    faulty = Faulty(serve, directory, tmp_path, KILLED + CALLS_LEAVE)
    server = faulty.server
    with IdleClients(server.target, IDLE) as idle, IdleWebSockets(server.port, WEBSOCKETS) as websockets:
        websockets.ask()
        faulty.begin_reload()
        server.wait_reload("finished")
        assert websockets.ask() == {}
        assert websockets.lost == WEBSOCKETS
        assert idle.versions() == {"2": IDLE}
        with IdleWebSockets(server.port, 5) as fresh:
            assert fresh.ask() == {"2": 5}


def test_a_refused_websocket_is_called_again_by_the_old_worker_and_nothing_is_lost(
    serve: Serve, directory: MixedDirectory
) -> None:
    server = serve(directory, "--workers", "1", *QUICK)
    (old,) = server.workers
    with IdleWebSockets(server.port, WEBSOCKETS) as websockets:
        websockets.ask()
        directory.deploy("2", before="import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n")
        server.reload()
        for _ in range(3):
            answers = websockets.ask()
            assert answers["1"] > WEBSOCKETS - 64
        assert directory.resumed_in(old) >= 1
        assert "does not answer: the reload goes on without it" not in server.log(), "they do not hold the reload up"
        directory.deploy("3")
        server.reload()
        server.wait_log("reload drained: generation 2")
        server.wait_drained()
        assert websockets.ask() == {"3": WEBSOCKETS}
        assert websockets.lost == 0
