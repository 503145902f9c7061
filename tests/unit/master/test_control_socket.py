"""The control socket: nobody holds it, nobody else uses it, and what one client can cost is bounded."""

import json
import os
import selectors
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from smoothserve.control.operator import MAX_REQUEST_BYTES, Line
from smoothserve.errors import FileError
from smoothserve.master import control_socket
from smoothserve.master.companion import Seat
from smoothserve.master.control_socket import MAX_SESSIONS, SESSION_TIMEOUT, ControlSocket, Session


class Loop:
    """The part of the master's loop that the control socket needs."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.time = 100.0

    def now(self) -> float:
        return self.time

    def watch(self, fd: int, mask: int, callback: Callable[[int], None]) -> None:
        if fd in self.selector.get_map():
            self.selector.modify(fd, mask, callback)
        else:
            self.selector.register(fd, mask, callback)

    def unwatch(self, fd: int) -> None:
        self.selector.unregister(fd)

    def turn(self) -> None:
        """Do all that is to be done now."""
        while ready := self.selector.select(0):
            for key, mask in ready:
                if self.selector.get_map().get(key.fd) is key:
                    key.data(mask)


class Desk:
    def __init__(self, path: Path) -> None:
        self.loop = Loop()
        self.asked: list[Line] = []
        self.sessions: list[Session] = []
        self.answer: Line | None = {"kind": "result"}
        self.socket = ControlSocket(str(path), cast("Seat", self.loop), self._ask)

    def _ask(self, session: Session, request: Line) -> None:
        self.asked.append(request)
        self.sessions.append(session)
        if self.answer is not None:
            session.finish(self.answer)

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(5)
        client.connect(self.socket.path)
        return client

    def pass_time(self, seconds: float) -> None:
        self.loop.time += seconds
        self.socket.advance(self.loop.time)

    def watched(self) -> int:
        return len(self.loop.selector.get_map())


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "s")
    yield made
    made.socket.close()
    assert made.watched() == 0
    made.loop.selector.close()


def read_all(client: socket.socket) -> list[dict[str, Any]]:
    data = b""
    while chunk := client.recv(65536):
        data += chunk
    return [json.loads(line) for line in data.splitlines()]


REQUEST = b'{"version": 1, "verb": "status"}\n'


def test_a_request_is_asked_and_its_answer_ends_the_session(desk: Desk) -> None:
    with desk.connect() as client:
        for index in range(len(REQUEST)):
            client.sendall(REQUEST[index : index + 1])
            desk.loop.turn()
        assert read_all(client) == [{"kind": "result"}]
    assert desk.asked == [{"version": 1, "verb": "status"}]
    assert desk.watched() == 1


def test_only_the_owner_may_connect(desk: Desk) -> None:
    assert stat.S_IMODE(os.lstat(desk.socket.path).st_mode) == 0o600


def test_another_users_process_is_turned_away(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_socket, "is_trusted", lambda sock: False)
    with desk.connect() as client:
        desk.loop.turn()
        assert read_all(client) == [{"kind": "error", "message": "this server is another user's"}]
    assert desk.watched() == 1


def test_the_peers_user_is_known(desk: Desk) -> None:
    left, right = socket.socketpair()
    with left, right:
        assert control_socket.is_trusted(left)


@pytest.mark.parametrize("text", [b"hello\n", b"{}\n", b'{"version": 99, "verb": "status"}\n'])
def test_what_is_no_request_gets_words(desk: Desk, text: bytes) -> None:
    with desk.connect() as client:
        client.sendall(text)
        desk.loop.turn()
        (line,) = read_all(client)
        assert line["kind"] == "error"
    assert desk.asked == []


def test_a_line_without_an_end_is_cut_off(desk: Desk) -> None:
    with desk.connect() as client:
        client.sendall(b"x" * (MAX_REQUEST_BYTES + 1))
        desk.loop.turn()
        (line,) = read_all(client)
        assert str(MAX_REQUEST_BYTES) in line["message"]


def test_a_client_that_says_nothing_is_closed(desk: Desk) -> None:
    with desk.connect() as client:
        desk.loop.turn()
        assert desk.socket.next_deadline() == desk.loop.time + SESSION_TIMEOUT
        desk.pass_time(SESSION_TIMEOUT)
        assert client.recv(1) == b""
    assert desk.socket.next_deadline() is None


def test_more_clients_than_there_is_room_for_are_turned_away_and_the_others_go_on(desk: Desk) -> None:
    clients = [desk.connect() for _ in range(MAX_SESSIONS)]
    desk.loop.turn()
    with desk.connect() as one_more:
        desk.loop.turn()
        assert "try again" in read_all(one_more)[0]["message"]
    clients[0].sendall(REQUEST)
    desk.loop.turn()
    assert read_all(clients[0]) == [{"kind": "result"}]
    for client in clients:
        client.close()
    desk.loop.turn()
    assert desk.watched() == 1


def test_a_client_that_reads_nothing_holds_nothing_and_is_closed(desk: Desk) -> None:
    desk.answer = None
    with desk.connect() as client:
        client.sendall(REQUEST)
        desk.loop.turn()
        (session,) = desk.sessions
        for _ in range(20):
            session.say({"kind": "progress", "text": "x" * 50_000})
        assert desk.socket.sessions == {session}
        desk.pass_time(SESSION_TIMEOUT)
        assert desk.socket.sessions == set()
        session.say({"kind": "progress"})


def test_what_waits_for_a_client_is_bounded(desk: Desk) -> None:
    desk.answer = None
    with desk.connect() as client:
        client.sendall(REQUEST)
        desk.loop.turn()
        (session,) = desk.sessions
        for _ in range(200):
            session.say({"kind": "progress", "text": "x" * 100_000})
        assert session.closed


def test_a_slow_client_that_reads_on_gets_everything(desk: Desk) -> None:
    desk.answer = None
    with desk.connect() as client:
        client.sendall(REQUEST)
        desk.loop.turn()
        (session,) = desk.sessions
        session.say({"kind": "progress", "text": "x" * 3_000_000})
        session.finish({"kind": "result"})
        data = b""
        while chunk := client.recv(65536):
            data += chunk
            desk.pass_time(1.0)
            desk.loop.turn()
        assert data.endswith(b'{"kind":"result"}\n')


def test_a_client_that_leaves_while_it_waits_is_forgotten(desk: Desk) -> None:
    desk.answer = None
    with desk.connect() as client:
        client.sendall(REQUEST)
        desk.loop.turn()
    desk.loop.turn()
    assert desk.sessions[0].closed
    desk.sessions[0].finish({"kind": "result"})


def test_the_socket_of_a_master_that_is_gone_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    Desk(path).socket.close()
    assert not path.exists()


def test_sockets_of_masters_that_were_killed_are_removed_and_no_others(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead, living, other = (tmp_path / f"smoothserve-{name}.sock" for name in (gone.pid, os.getpid(), "x"))
    for path in (dead, living, other):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))
    control_socket.remove_sockets_of_the_dead(str(tmp_path / "smoothserve-1.sock"))
    assert sorted(tmp_path.iterdir()) == sorted([living, other])


def test_a_live_masters_socket_is_not_taken(desk: Desk) -> None:
    with pytest.raises(FileError, match="another server has it"):
        Desk(Path(desk.socket.path))
    with desk.connect() as client:
        client.sendall(REQUEST)
        desk.loop.turn()
        assert read_all(client) == [{"kind": "result"}]


def test_a_file_is_not_taken_for_a_socket(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")
    with pytest.raises(FileError, match="no socket"):
        Desk(tmp_path / "s")
    assert (tmp_path / "s").read_text() == "precious"


def test_a_socket_that_was_replaced_is_left_alone(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "s")
    (tmp_path / "s").unlink()
    (tmp_path / "s").write_text("another's")
    desk.socket.close()
    assert (tmp_path / "s").exists()


def test_a_storm_of_clients_leaves_nothing_behind(desk: Desk) -> None:
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        with desk.connect() as client:
            client.sendall(os.urandom(20))
        desk.loop.turn()
    assert desk.watched() == 1
