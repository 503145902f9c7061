"""`--user` and `--group`: the master stays root, workers have nothing of root's, and everything works as ever."""

import contextlib
import grp
import os
import pwd
import re
import signal
import stat
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from smoothserve.errors import ExitCode, VerbCode
from tests.load.runner import Load
from tests.load.scenarios import get_and_post, new_connections, pipelined, uploads
from tests.process.directory import AppDirectory
from tests.process.harness import Server, assert_nothing_dropped, clean_environ
from tests.process.processes import is_running, wait_until
from tests.process.public import NOBODY, PublicPython, public_python
from tests.process.test_reload_under_load import reload_under_load

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its user")

USER = pwd.getpwuid(NOBODY).pw_name if os.geteuid() == 0 else ""

SHOWS_ITSELF = """
import os, sys
print("imported as", os.getresuid(), os.getresgid(), os.getgroups(), file=sys.stderr, flush=True)
"""
COUNTS_BYTES = """
def app(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [str(len(body)).encode(), b"!" * 3_000_000]
"""


@pytest.fixture(scope="module")
def public() -> Iterator[PublicPython]:
    with public_python() as made:
        yield made


class Start:
    """Starts servers with the Python that everybody can execute."""

    def __init__(self, public: PublicPython, directory: AppDirectory, logs: Path, stack: contextlib.ExitStack) -> None:
        self.public, self.directory, self.logs, self._stack = public, directory, logs, stack

    def __call__(self, *options: str, bind: str = "127.0.0.1:0", wait: bool = True) -> Server:
        server = Server(
            self.directory.path,
            *options,
            logs=self.logs,
            bind=bind,
            python=self.public.python,
            environ=self.public.environ,
        )
        self._stack.enter_context(server)
        return server.wait_ready() if wait else server

    def run(self, *arguments: str, user: int = 0) -> "subprocess.CompletedProcess[str]":
        """Run a command of smoothserve's as a user."""
        return subprocess.run(
            [self.public.python, "-m", "smoothserve", *arguments],
            env=clean_environ(self.public.environ),
            cwd=self.directory.path,
            user=user,
            group=user,
            extra_groups=[],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def start(public: PublicPython, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Start]:
    path = public.directory / request.node.name.replace("[", "-").strip("]")
    with contextlib.ExitStack() as stack:
        yield Start(public, AppDirectory(path), tmp_path, stack)


def ids(pid: int) -> dict[str, list[int]]:
    """Return real, effective, saved and file system ids of a process, its groups and its capabilities."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = {name: re.search(rf"^{name}:(.*)$", text, re.MULTILINE) for name in ("Uid", "Gid", "Groups")}
    values = {name: [int(word) for word in match[1].split()] for name, match in found.items() if match}
    capabilities = re.findall(r"^Cap(?:Inh|Prm|Eff|Amb):\s*([0-9a-f]+)$", text, re.MULTILINE)
    assert len(capabilities) == 4
    return {**values, "capabilities": sorted({int(one, 16) for one in capabilities})}


def get(server: Server, body: bytes | None = None) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/", body, timeout=20) as answer:
        return bytes(answer.read())


def test_workers_run_as_the_user_before_the_application_is_imported_and_after_a_reload(start: Start) -> None:
    start.directory.deploy("1", before=SHOWS_ITSELF)
    server = start("--user", USER, "--workers", "2")
    gid = pwd.getpwnam(USER).pw_gid
    groups = sorted(os.getgrouplist(USER, gid))
    expected = {"Uid": [NOBODY] * 4, "Gid": [gid] * 4, "Groups": groups, "capabilities": [0]}
    first = server.workers
    assert [ids(pid) for pid in first] == [expected] * 2
    assert ids(server.pid)["Uid"] == [0] * 4
    server.reload()
    server.wait_gone(first)
    assert len(server.workers) == 2
    assert [ids(pid) for pid in server.workers] == [expected] * 2
    os.kill(server.workers[0], signal.SIGKILL)
    wait_until(lambda: server.log().count("imported as") == 5, 20, "another worker in the killed one's place")
    three = (NOBODY,) * 3, (gid,) * 3
    assert re.findall(r"imported as (.*)", server.log()) == [f"{three[0]} {three[1]} {groups}"] * 5


def test_numbers_and_a_group_of_its_own_will_do(start: Start) -> None:
    group = grp.getgrnam("daemon").gr_gid
    server = start("--user", "54321", "--group", "daemon")
    (worker,) = server.workers
    found = ids(worker)
    assert (found["Uid"], found["Gid"], found["Groups"]) == ([54321] * 4, [group] * 4, [group])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--user", "no-such-user"), "--user no-such-user: there is no such user"),
        (("--group", "no-such-group"), "--group no-such-group: there is no such group"),
        (("--user", "54321"), "--user 54321: the system lists no such user, so its group is not known: add --group"),
        (("--uds-owner", "no-such-user"), "--uds-owner no-such-user: there is no such user"),
        (("--uds-group", "no-such-group"), "--uds-group no-such-group: there is no such group"),
    ],
)
def test_an_unknown_user_or_group_is_one_line(start: Start, options: tuple[str, str], said: str) -> None:
    ended = start.run("app:app", "--bind", "127.0.0.1:0", *options)
    assert ended.returncode == ExitCode.USAGE
    assert said in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_only_root_can_change_its_user(start: Start) -> None:
    ended = start.run("app:app", "--bind", "127.0.0.1:0", "--user", "root", user=NOBODY)
    assert ended.returncode == ExitCode.USAGE
    assert "--user root: only root can change its user and group: start it as root, or leave it out" in ended.stderr
    assert ended.stderr.count("\n") == 1
    # Who names itself changes nothing.
    checked = start.run("check", "app:app", "--user", str(NOBODY), "--group", str(NOBODY), user=NOBODY)
    assert checked.returncode == 0, checked.stderr


def test_check_boots_the_application_as_the_user(start: Start) -> None:
    start.directory.deploy("1", before=SHOWS_ITSELF)
    ended = start.run("check", "app:app", "--user", USER)
    assert ended.returncode == 0, ended.stderr
    assert f"imported as {(NOBODY,) * 3}" in ended.stderr


def test_what_the_user_may_not_execute_is_said(start: Start) -> None:
    start.directory.path.chmod(0o700)
    server = start("--user", USER, wait=False)
    server.exit_code_expected = ExitCode.BOOT_FAILED
    assert server.wait_exit() == ExitCode.BOOT_FAILED
    assert f"cannot be executed in {start.directory.path} by {USER} (user {NOBODY}, group " in server.log()
    assert "Permission denied" in server.log()


@pytest.mark.parametrize("reloads", [1, pytest.param(6, marks=pytest.mark.full)])
def test_reloads_under_load_drop_nothing(start: Start, reloads: int) -> None:
    server = start("--user", USER, "--workers", "2")
    traffic = [get_and_post(16), new_connections(2), pipelined(2), uploads(2, parts=5)]
    reload_under_load(start.directory, server, server.target, traffic, reloads=reloads)
    assert {ids(pid)["Uid"][0] for pid in server.workers} == {NOBODY}
    told = start.run("status", "--pid", str(server.pid))
    assert told.returncode == 0, told.stderr
    assert re.search(r"dropped\D*0\b", told.stdout), told.stdout
    assert "serving" in told.stdout
    # The control socket is root's, not the workers' user's.
    refused = start.run("stop", "--pid", str(server.pid), user=NOBODY)
    assert refused.returncode == VerbCode.NO_SERVER
    assert is_running(server.pid)


def test_large_bodies_and_answers_of_wsgi_are_spooled_by_the_user(start: Start) -> None:
    start.directory.write("app.py", COUNTS_BYTES)
    server = start("--user", USER, "--umask", "077")
    assert get(server, b"x" * 5_000_000).startswith(b"5000000!!!")


def test_log_files_are_reopened_by_workers_in_a_directory_that_is_roots(start: Start) -> None:
    start.directory.deploy("1", app="asgi_plain")
    logs = start.public.directory / "var-log"
    logs.mkdir(mode=0o755)
    error, access = logs / "error.log", logs / "access.log"
    server = start("--user", USER, "--error-logfile", str(error), "--access-logfile", str(access), wait=False)
    wait_until(lambda: error.exists() and "] ready: " in error.read_text(), 30, "ready")
    assert {access.stat().st_uid, error.stat().st_uid} == {NOBODY}
    assert stat.S_IMODE(access.stat().st_mode) == 0o644, "nothing is writable for everybody"
    port = int(re.findall(r"listening on http://127\.0\.0\.1:(\d+)", error.read_text())[0])
    for turn in ("1", "2"):
        error.rename(f"{error}.{turn}")
        access.rename(f"{access}.{turn}")
        server.kill(signal.SIGUSR1)
        wait_until(lambda: error.exists() and "log files reopened" in error.read_text(), 20, "the new error log")
        wait_until(lambda: access.exists() and _asked_is_in(port, access), 20, "a line in the new access log")
        assert (access.stat().st_uid, error.stat().st_uid) == (NOBODY, NOBODY)


def _asked_is_in(port: int, log: Path) -> bool:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as answer:
        answer.read()
    return "GET / HTTP/1.1" in log.read_text()


def test_a_unix_socket_belongs_to_user_and_group(start: Start, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("s")
    gid = pwd.getpwnam(USER).pw_gid
    server = start("--user", USER, "--uds-mode", "600", bind=f"unix:{folder / 'a'}")
    found = (folder / "a").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (NOBODY, gid, 0o600)
    with Load(server.target, get_and_post(2)) as load:
        load.wait_answers(5)
        server.reload()
        load.wait_answers(5)
    assert_nothing_dropped(load.report, "1")
    assert server.stop() == 0
    assert not (folder / "a").exists()
    start("--user", USER, "--uds-owner", "daemon", "--uds-group", "0", bind=f"unix:{folder / 'b'}")
    found = (folder / "b").stat()
    assert (found.st_uid, found.st_gid) == (pwd.getpwnam("daemon").pw_uid, 0)
