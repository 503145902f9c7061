"""Starting, failing to start, PID files, running as process 1: codes and lines are those of the tables."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from smoothserve.errors import ExitCode
from tests.load.runner import Load
from tests.load.scenarios import get_and_post, one_slow_request
from tests.process.directory import BROKEN, FAILING_LIFESPAN, HANGS, AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import Server, assert_nothing_dropped
from tests.process.processes import children, stat_fields, wait_until


def complaint(server: Server, code: ExitCode) -> str:
    """Wait for the end of a server that cannot start; return the last line that it printed."""
    server.exit_code_expected = code
    assert server.wait_exit() == code
    return server.log().splitlines()[-1]


def test_a_port_in_use_is_one_line(serve: Serve, directory: AppDirectory) -> None:
    first = serve(directory)
    second = serve(directory, bind=f"127.0.0.1:{first.port}", wait=False)
    line = complaint(second, ExitCode.BIND_FAILED)
    assert str(first.port) in line
    assert "in use" in line
    assert first.process.poll() is None


@pytest.mark.parametrize("option", ["--env-file", "--error-logfile", "--access-logfile", "--pid-file"])
def test_a_file_that_cannot_be_used_is_one_line(serve: Serve, directory: AppDirectory, option: str) -> None:
    server = serve(directory, option, "missing/file", wait=False)
    assert "missing/file" in complaint(server, ExitCode.FILE_FAILED)
    assert "did not boot" not in server.log()


@pytest.mark.parametrize("app", ["nowhere:app", "app:nothing", "app:VERSION"])
def test_an_application_that_cannot_be_found_is_one_line(serve: Serve, directory: AppDirectory, app: str) -> None:
    server = serve(directory, app=app, wait=False)
    line = complaint(server, ExitCode.BOOT_FAILED)
    assert "the application did not boot" in line
    assert app.partition(":")[0] in line


@pytest.mark.parametrize("what", BROKEN)
def test_a_first_boot_that_fails_ends_the_server_with_3(serve: Serve, directory: AppDirectory, what: str) -> None:
    directory.deploy("1", before=BROKEN[what])
    server = serve(directory, "--workers", "2", wait=False)
    server.tracebacks_expected = True
    assert "the application did not boot" in complaint(server, ExitCode.BOOT_FAILED)
    if what == "raises at import":
        assert "Traceback" in server.log()
        assert "RuntimeError: broken deploy" in server.log()
        assert "importlib" not in server.log(), "the application's own frames only"


def test_a_first_boot_whose_lifespan_fails_ends_the_server_with_3(serve: Serve, directory: AppDirectory) -> None:
    directory.deploy("1", after=FAILING_LIFESPAN)
    server = serve(directory, wait=False)
    assert "no database today" in complaint(server, ExitCode.BOOT_FAILED)


def test_a_first_boot_that_hangs_ends_the_server_with_3(serve: Serve, directory: AppDirectory) -> None:
    directory.deploy("1", before=HANGS)
    server = serve(directory, "--boot-timeout", "1", wait=False)
    assert "--boot-timeout" in complaint(server, ExitCode.BOOT_FAILED)


def test_the_pid_file_is_the_masters_and_goes_with_it(serve: Serve, directory: AppDirectory, tmp_path: Path) -> None:
    path = tmp_path / "server.pid"
    server = serve(directory, "--pid-file", str(path))
    assert path.read_text() == f"{server.pid}\n"
    directory.deploy("2")
    server.reload()
    assert path.read_text() == f"{server.pid}\n"
    assert server.stop() == 0
    assert not path.exists()


def test_another_live_masters_pid_file_is_never_taken_or_removed(
    serve: Serve, directory: AppDirectory, tmp_path: Path
) -> None:
    path = tmp_path / "server.pid"
    first = serve(directory, "--pid-file", str(path))
    second = serve(directory, "--pid-file", str(path), wait=False)
    assert str(first.pid) in complaint(second, ExitCode.FILE_FAILED)
    assert path.read_text() == f"{first.pid}\n"
    third = serve(directory)
    path.write_text(f"{third.pid}\n")
    assert first.stop() == 0
    assert path.read_text() == f"{third.pid}\n"


def test_a_stale_pid_file_is_replaced(serve: Serve, directory: AppDirectory, tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    path = tmp_path / "server.pid"
    path.write_text(f"{gone.pid}\n")
    server = serve(directory, "--pid-file", str(path))
    assert path.read_text() == f"{server.pid}\n"


def can_unshare() -> bool:
    """Whether this machine lets us have a process namespace."""
    program = shutil.which("unshare")
    if program is None:
        return False
    command = [program, "--pid", "--fork", "--mount-proc", "true"]
    return subprocess.run(command, capture_output=True, check=False, timeout=10).returncode == 0


def test_it_runs_as_process_1(serve: Serve, directory: AppDirectory) -> None:
    if not can_unshare():
        pytest.skip("unshare --pid is not permitted here")
    # An orphan of the application's becomes a child of process 1, which must reap it.
    orphan = "import subprocess\nsubprocess.run(['sh', '-c', 'sleep 0.3 & exec true'], check=True)\n"
    directory.deploy("1", before=orphan)
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable]
    server = serve(directory, "--workers", "2", command=[*command, "-m", "smoothserve", "app:app"])
    (server.pid,) = children(server.session)
    server.wait_log("reload with: kill -HUP 1$")
    with Load(server.target, get_and_post(16)) as load:
        load.wait_answers(50)
        directory.deploy("2", before=orphan)
        server.reload()
        load.wait_version("2")
    assert_nothing_dropped(load.report, "1", "2")
    wait_until(lambda: len(children(server.pid)) == 2, 10, "no orphan runs any more")
    zombies = [entry for entry in os.listdir("/proc") if entry.isdecimal() and is_zombie_of(int(entry), server.pid)]
    assert zombies == []
    with Load(server.target, one_slow_request(8, 1.0)) as load:
        load.wait_until(lambda report: report.connections_opened == 8)
        os.kill(server.pid, 15)
        load.join()
    assert load.report.dropped == 0
    assert server.wait_exit() == 0


def is_zombie_of(pid: int, parent: int) -> bool:
    fields = stat_fields(pid)
    return bool(fields) and fields[0] == "Z" and int(fields[1]) == parent


@pytest.mark.skipif(sys.platform != "linux", reason="titles are looked up in /proc")
def test_ps_shows_what_each_worker_is(serve: Serve, directory: AppDirectory) -> None:
    pytest.importorskip("setproctitle")
    server = serve(directory, "--workers", "2")
    server.reload()
    server.wait_drained()
    titles = {Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode() for pid in server.workers}
    assert titles == {f"smoothserve: worker {number} [app:app] generation 2" for number in (3, 4)}
    names = {Path(f"/proc/{pid}/comm").read_text() for pid in (server.pid, *server.workers)}
    assert names == {"smoothserve\n"}, "pkill finds them"
