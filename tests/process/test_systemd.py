"""Under systemd, or what stands in for it: a notify socket that notes every datagram, and sockets passed from 3 on."""

import configparser
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from smoothserve.errors import ExitCode
from smoothserve.settings import Settings
from tests.load.runner import Load
from tests.load.scenarios import get_and_post
from tests.process.directory import BROKEN, HANGS, AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import assert_nothing_dropped
from tests.process.processes import wait_until
from tests.process.test_verbs import verb

#: struct ucred: process, user, group.
_CREDENTIALS = struct.Struct("iII")


class Manager:
    """The service manager's end of the notify socket. As systemd, it knows by the kernel's word who has said what."""

    def __init__(self, address: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.sock.bind("\0" + address[1:] if address.startswith("@") else address)
        self.sock.settimeout(0.1)
        self.environ = {"NOTIFY_SOCKET": address}
        self.said: list[dict[str, str]] = []
        self.senders: set[int] = set()
        """Who has said something: with NotifyAccess=main systemd hears nobody but the main process."""
        self._closed = False
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while not self._closed:
            try:
                data, ancillary, _, _ = self.sock.recvmsg(65536, socket.CMSG_SPACE(_CREDENTIALS.size))
            except TimeoutError:
                continue
            self.senders |= {_CREDENTIALS.unpack(one[2])[0] for one in ancillary}
            self.said.append(dict(line.split("=", 1) for line in data.decode().split("\n")))

    def states(self) -> list[str]:
        """Return the changes of state, in order."""
        return [name for said in list(self.said) for name in said if name in {"READY", "RELOADING", "STOPPING"}]

    def status(self) -> str:
        return next((said["STATUS"] for said in reversed(list(self.said)) if "STATUS" in said), "")

    def wait_states(self, *states: str) -> None:
        wait_until(lambda: len(self.states()) >= len(states), 30, f"{states}, not {self.states()}")
        assert self.states() == list(states)

    def close(self) -> None:
        self._closed = True
        self._thread.join()
        self.sock.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "notify"))
    yield made
    made.close()


def test_ready_comes_when_the_workers_are_ready_then_reloading_then_stopping(
    serve: Serve, directory: AppDirectory, manager: Manager
) -> None:
    directory.deploy("1", before="import os, time\ntime.sleep(0.5)\nassert 'NOTIFY_SOCKET' not in os.environ\n")
    server = serve(directory, "--workers", "2", environ=manager.environ, wait=False)
    server.wait_log("listening on")
    assert manager.states() == []
    server.wait_ready()
    manager.wait_states("READY")
    assert manager.said[0]["MAINPID"] == str(server.pid)
    assert manager.status() == "2 workers of generation 1 serve app:app"
    before = time.monotonic_ns() // 1000
    directory.deploy("2")
    server.reload()
    manager.wait_states("READY", "RELOADING", "READY")
    reloading = next(said for said in manager.said if "RELOADING" in said)
    assert before <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    assert manager.status() == "generation 2 serves app:app"
    server.stop()
    manager.wait_states("READY", "RELOADING", "READY", "STOPPING")
    assert manager.status() == "stopping"
    assert manager.senders == {server.pid}


def test_an_abstract_socket_is_told_and_a_failed_boot_is_never_ready_but_says_why(
    serve: Serve, directory: AppDirectory, tmp_path: Path
) -> None:
    manager = Manager(f"@smoothserve-test-{os.getpid()}-{tmp_path.name}-{time.monotonic_ns()}")
    try:
        directory.deploy("1", before=BROKEN["raises at import"])
        server = serve(directory, environ=manager.environ, wait=False)
        server.tracebacks_expected = True
        server.exit_code_expected = ExitCode.BOOT_FAILED
        assert server.wait_exit() == ExitCode.BOOT_FAILED
        wait_until(lambda: manager.status().startswith("the application did not boot:"), 20, "the reason")
        assert "broken deploy" in manager.status()
        assert manager.states() == []
    finally:
        manager.close()


def test_the_watchdog_of_another_process_is_not_fed(serve: Serve, directory: AppDirectory, manager: Manager) -> None:
    environ = {**manager.environ, "WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"}
    server = serve(directory, environ=environ)
    manager.wait_states("READY")
    server.stop()
    manager.wait_states("READY", "STOPPING")
    assert not [said for said in manager.said if "WATCHDOG" in said]


def units() -> list[str]:
    """Return the service units that the how-to has."""
    page = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "deploy-behind-nginx-with-systemd.md"
    return [text for text in re.findall(r"```ini\n(.*?)```", page.read_text(), re.DOTALL) if "[Service]" in text]


def test_the_units_of_the_how_to_say_what_the_server_needs() -> None:
    found = []
    for text in units():
        parser = configparser.RawConfigParser(strict=True)
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read_string(re.sub(r"\\\n\s*", "", text))
        service = parser["Service"]
        found.append(service["Type"])
        assert service["KillMode"] == "mixed"
        assert int(service["TimeoutStopSec"]) > Settings().graceful_timeout + Settings().kill_timeout
        assert service["RuntimeDirectory"]
        assert (service["Type"] == "notify") == ("ExecReload" in service)
    assert found == ["notify", "notify-reload"]


def analysed(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("number", [0, 1])
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path, number: int) -> None:
    # The programs of a deployment are not here; systemd looks for them.
    text = units()[number].replace("/srv/app/current/.venv/bin/smoothserve", "/bin/true")
    version = re.search(r"systemd (\d+)", analysed("--version").stdout)
    if version is not None and int(version[1]) < 253:
        text = text.replace("Type=notify-reload", "Type=notify")
    (tmp_path / "app.service").write_text(text)
    found = analysed("verify", str(tmp_path / "app.service")).stderr
    assert [line for line in found.splitlines() if "app.service" in line] == []
    (tmp_path / "bad.service").write_text(text.replace("KillMode=mixed", "KillMode=mixt"))
    assert "bad.service" in analysed("verify", str(tmp_path / "bad.service")).stderr, "it finds what is wrong"


def test_a_refused_reload_is_ready_again_and_its_reason_is_the_status(
    serve: Serve, directory: AppDirectory, manager: Manager
) -> None:
    server = serve(directory, environ=manager.environ)
    server.tracebacks_expected = True
    manager.wait_states("READY")
    directory.deploy("2", before=BROKEN["raises at import"])
    server.reload_refused()
    manager.wait_states("READY", "RELOADING", "READY")
    assert "refused, old code serves" in manager.status()
    assert "broken deploy" in manager.status()
    (directory.path / "pyproject.toml").write_text("[tool.smoothserve]\nworkers = 'x'\n")
    server.reload_refused()
    manager.wait_states("READY", "RELOADING", "READY", "RELOADING", "READY")


def test_systemctl_reload_sees_by_the_verb_whether_it_worked(
    serve: Serve, directory: AppDirectory, manager: Manager, tmp_path: Path
) -> None:
    # As the recommended unit has it: RuntimeDirectory=, ExecReload=smoothserve reload --pid $MAINPID
    run = tmp_path / "run"
    run.mkdir()
    environ = {**manager.environ, "RUNTIME_DIRECTORY": str(run)}
    server = serve(directory, environ=environ)
    server.tracebacks_expected = True
    assert [one.name for one in run.iterdir()] == [f"smoothserve-{server.pid}.sock"]
    assert verb("reload", "--pid", str(server.pid), environ=environ).returncode == 0
    directory.deploy("2", before=BROKEN["raises at import"])
    assert verb("reload", "--pid", str(server.pid), environ=environ).returncode == 1


def test_a_restart_is_no_stop_to_the_manager(serve: Serve, directory: AppDirectory, manager: Manager) -> None:
    server = serve(directory, environ=manager.environ)
    assert verb("restart", "--pid", str(server.pid)).returncode == 0
    manager.wait_states("READY", "RELOADING", "READY")


def test_the_watchdog_is_fed_while_the_master_lives_a_boot_that_takes_long_included(
    serve: Serve, directory: AppDirectory, manager: Manager
) -> None:
    directory.deploy("1", before=HANGS)
    environ = {**manager.environ, "WATCHDOG_USEC": "200000"}
    server = serve(directory, environ=environ, wait=False)
    wait_until(lambda: sum("WATCHDOG" in said for said in list(manager.said)) >= 5, 20, "five pings")
    server.kill(signal.SIGQUIT)
    assert server.wait_exit() == 0


def test_a_manager_that_does_not_read_holds_nothing(serve: Serve, directory: AppDirectory, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(tmp_path / "deaf"))
        environ = {"NOTIFY_SOCKET": str(tmp_path / "deaf"), "WATCHDOG_USEC": "2000"}
        server = serve(directory, environ=environ)
        with Load(server.target, get_and_post(2)) as load:
            load.wait_answers(500)
            server.reload()
        assert_nothing_dropped(load.report, "1")


#: Becomes the command with the socket as descriptor 3, as systemd does it.
ACTIVATE = """
import os, socket, sys
sock = socket.create_server(("127.0.0.1", 0))
os.dup2(sock.fileno(), 3)
os.set_inheritable(3, True)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "http"}
os.execv(sys.executable, [sys.executable, "-m", "smoothserve", *sys.argv[1:]])
"""


def test_sockets_of_systemd_are_used_and_live_through_reload_and_restart(serve: Serve, directory: AppDirectory) -> None:
    directory.deploy("1", before="import os\nassert not [name for name in os.environ if name.startswith('LISTEN_')]\n")
    server = serve(directory, command=[sys.executable, "-c", ACTIVATE, "app:app"], bind=None)
    port = server.port
    with Load(server.target, get_and_post(4)) as load:
        load.wait_answers(20)
        directory.deploy("2")
        server.reload()
        load.wait_version("2")
    assert_nothing_dropped(load.report, "1", "2")
    assert verb("restart", "--pid", str(server.pid)).returncode == 0
    status = json.loads(verb("status", "--json", "--pid", str(server.pid)).stdout)
    assert status["listening"] == [f"http://127.0.0.1:{port}"]
    with Load(server.target, get_and_post(2)) as load:
        load.wait_answers(20)


def test_an_address_that_is_named_comes_before_systemds_sockets(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, command=[sys.executable, "-c", ACTIVATE, "app:app"], bind="127.0.0.1:0")
    assert server.log().count("listening on") == 1
    assert "LISTEN_FDS" not in server.log()
