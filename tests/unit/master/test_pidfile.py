import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from smoothserve.errors import ExitCode, FileError
from smoothserve.master.pidfile import PROCESS_NAME, PidFile, is_master

LINUX = sys.platform.startswith("linux")
SLEEPER = """
import sys
if sys.argv[1]:
    open("/proc/self/comm", "w").write(sys.argv[1])
print(flush=True)
sys.stdin.read()
"""


def sleeper(name: str) -> subprocess.Popen[str]:
    """Start a process of that name that lives until its standard input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    process.stdout.readline()
    return process


def test_it_holds_our_number_and_leaves_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    PidFile(str(path)).write()
    assert path.read_text() == f"{os.getpid()}\n"
    assert list(tmp_path.iterdir()) == [path]


def test_only_its_owner_may_write_it_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    before = os.umask(0)
    try:
        PidFile(str(path)).write()
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644


def test_it_is_removed_while_it_is_ours(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    file = PidFile(str(path))
    file.write()
    file.remove()
    assert not path.exists()
    file.remove()


def test_it_is_left_when_it_is_anothers(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    file = PidFile(str(path))
    file.write()
    path.write_text("1\n")
    file.remove()
    assert path.exists()


@pytest.mark.parametrize("text", ["", "999999999\n", "99999999999999999999\n"])
def test_a_stale_one_is_replaced(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pid"
    path.write_text(text)
    PidFile(str(path)).write()
    assert path.read_text() == f"{os.getpid()}\n"


@pytest.mark.skipif(not LINUX, reason="process names are looked up in /proc")
def test_another_masters_is_never_taken(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    with sleeper(PROCESS_NAME) as other:
        path.write_text(f"{other.pid}\n")
        with pytest.raises(FileError, match=rf"another server \(pid {other.pid}\)") as caught:
            PidFile(str(path)).write()
        other.communicate()
    assert caught.value.exit_code is ExitCode.FILE_FAILED
    assert path.read_text() == f"{other.pid}\n"


@pytest.mark.skipif(not LINUX, reason="process names are looked up in /proc")
def test_a_number_that_some_other_program_has_now_is_stale(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    with sleeper("") as other:
        path.write_text(f"{other.pid}\n")
        PidFile(str(path)).write()
        other.communicate()
    assert path.read_text() == f"{os.getpid()}\n"


def test_a_file_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text("precious data\n")
    with pytest.raises(FileError, match="something else"):
        PidFile(str(path)).write()
    assert path.read_text() == "precious data\n"


@pytest.mark.parametrize("planted", ["link", "second name"])
def test_nothing_is_written_through_what_somebody_has_put_in_its_way(tmp_path: Path, planted: str) -> None:
    path, precious = tmp_path / "pid", tmp_path / "precious"
    precious.write_text("precious data\n")
    ahead = tmp_path / f"pid.{os.getpid()}"
    ahead.symlink_to(precious) if planted == "link" else ahead.hardlink_to(precious)
    PidFile(str(path)).write()
    assert path.read_text() == f"{os.getpid()}\n"
    assert precious.read_text() == "precious data\n"
    assert not path.is_symlink()
    assert not ahead.exists()


def test_a_full_disk_is_named_and_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("smoothserve.master.pidfile.os.rename", full)
    with pytest.raises(FileError, match="No space left on device: free some there, or choose another --pid-file"):
        PidFile(str(tmp_path / "pid")).write()
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_gets_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be written: its directory does not exist: create it"):
        PidFile(str(tmp_path / "none" / "pid")).write()
    with pytest.raises(FileError, match="cannot be read: Is a directory"):
        PidFile(str(tmp_path)).write()


def test_we_are_no_other_master() -> None:
    assert not is_master(os.getpid())
    assert not is_master(0)
