"""Finding the server that is meant: each way to name it, and what is said if it is not there."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from smoothserve.control import places
from smoothserve.control.operator import render_line
from smoothserve.errors import NoServerError, SmoothserveError, VerbCode
from smoothserve.verbs.client import RefusedError, Server, SilentError, find_server


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory whose path leaves room for a socket's name, whoever runs the tests."""
    with tempfile.TemporaryDirectory(prefix="s-", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture(autouse=True)
def _places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "t"))
    monkeypatch.setattr(places, "RUN", str(tmp_path / "run"))


class FakeMaster:
    """Answers each request with the same bytes."""

    def __init__(self, path: str, answer: bytes) -> None:
        self.path = path
        self.answer = answer
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(path)
        self.sock.listen(8)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while True:
            try:
                client, _ = self.sock.accept()
            except OSError:
                return
            with client:
                if client.recv(65536):
                    client.sendall(self.answer)

    def close(self) -> None:
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        self.thread.join(5)


@pytest.fixture
def masters() -> Iterator[list[FakeMaster]]:
    made: list[FakeMaster] = []
    yield made
    for one in made:
        one.close()


def status(pid: int) -> bytes:
    return render_line({"kind": "result", "pid": pid, "app": "a:b", "listening": ["http://x"]})


def find(
    environ: dict[str, str] | None = None,
    *,
    pid: int | None = None,
    pid_file: str | None = None,
    control_socket: str | None = None,
) -> Server:
    return find_server(pid=pid, pid_file=pid_file, control_socket=control_socket, environ=environ or {})


def refusal(**named: str | int) -> str:
    with pytest.raises(SmoothserveError) as caught:
        find(**named)  # type: ignore[arg-type]
    return f"{int(caught.value.exit_code)} {caught.value}"


def test_without_a_name_the_only_server_is_found(masters: list[FakeMaster]) -> None:
    path = places.default_socket(os.getpid(), {})
    masters.append(FakeMaster(path, status(1)))
    assert find() == find(pid=os.getpid()) == Server(path)


def test_the_pid_file_leads_to_it(masters: list[FakeMaster], tmp_path: Path) -> None:
    path = places.default_socket(os.getpid(), {})
    masters.append(FakeMaster(path, status(1)))
    (tmp_path / "pid").write_text(f"{os.getpid()}\n")
    assert find(pid_file=str(tmp_path / "pid")) == Server(path)


def test_several_servers_are_a_list_to_choose_from(masters: list[FakeMaster]) -> None:
    masters += [FakeMaster(places.default_socket(pid, {}), status(pid)) for pid in (7, 8)]
    message = refusal()
    assert message.startswith("2 several servers run, name one with --pid: --pid 7 (a:b, http://x); --pid 8 (")


def test_sockets_of_masters_that_are_gone_do_not_count(masters: list[FakeMaster]) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(places.default_socket(7, {}))
    assert refusal().startswith("5 no server of this user's")
    masters.append(FakeMaster(places.default_socket(8, {}), status(8)))
    assert find() == Server(places.default_socket(8, {}))


def test_a_stale_pid_file_is_called_that(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / "pid").write_text(f"{gone.pid}\n")
    message = refusal(pid_file=str(tmp_path / "pid"))
    assert message == (
        f"5 there is no process {gone.pid} (of {tmp_path / 'pid'}): the file is stale, the server has died"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "cannot be read: No such file or directory: is the server running?"), ("nginx", "no process number")],
)
def test_a_pid_file_that_is_none(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "pid").write_text(text)
    message = refusal(pid_file=str(tmp_path / "pid"))
    assert message.startswith("5 the PID file")
    assert words in message


def test_a_process_that_is_no_master_of_ours() -> None:
    assert "is it a smoothserve master?" in refusal(pid=os.getpid())


def test_a_control_socket_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(NoServerError, match="is the server running"):
        Server(str(tmp_path / "none")).tell("status")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "stale"))
    with pytest.raises(NoServerError, match="the server that made it is gone"):
        Server(str(tmp_path / "stale")).tell("status")


def test_an_error_of_the_servers_is_its_words(masters: list[FakeMaster], tmp_path: Path) -> None:
    masters.append(FakeMaster(str(tmp_path / "s"), render_line({"kind": "error", "message": "no, because"})))
    with pytest.raises(RefusedError, match="no, because") as caught:
        Server(str(tmp_path / "s")).tell("status")
    assert caught.value.exit_code is VerbCode.REFUSED


def test_a_server_that_does_not_answer_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "s"))
        silent.listen()
        with pytest.raises(SilentError, match="does not answer"):
            list(Server(str(tmp_path / "s")).ask("status", timeout=0.1))


def test_a_server_that_takes_no_connection_any_more_is_there_and_does_not_answer(tmp_path: Path) -> None:
    path = places.default_socket(os.getpid(), {})
    with contextlib.ExitStack() as stack:
        stopped = stack.enter_context(socket.socket(socket.AF_UNIX))
        stopped.bind(path)
        stopped.listen(0)
        for _ in range(2):  # its queue is full then
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(path)
        server = find(pid=os.getpid())
        with pytest.raises(SilentError, match="does not answer") as caught:
            server.tell("status")
    assert caught.value.exit_code is VerbCode.TIMED_OUT


def test_a_server_that_ends_without_an_answer(masters: list[FakeMaster], tmp_path: Path) -> None:
    masters.append(FakeMaster(str(tmp_path / "s"), b""))
    with pytest.raises(NoServerError, match="ended without an answer"):
        Server(str(tmp_path / "s")).tell("status")
