"""Where control sockets are: the order of the places, and that none is taken where others could put one."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from smoothserve.control import places
from smoothserve.errors import FileError


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory whose path leaves room for a socket's name, whoever runs the tests."""
    with tempfile.TemporaryDirectory(prefix="s-", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture(autouse=True)
def _temporary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "t"))
    monkeypatch.setattr(places, "RUN", str(tmp_path / "run"))
    (tmp_path / "t").mkdir()


def test_systemds_directory_comes_first_then_the_sessions_then_one_of_our_own(tmp_path: Path) -> None:
    for name in ("systemd", "session"):
        (tmp_path / name).mkdir()
    environ = {"RUNTIME_DIRECTORY": f"{tmp_path}/systemd:/elsewhere", "XDG_RUNTIME_DIR": f"{tmp_path}/session"}
    assert places.default_socket(7, environ) == f"{tmp_path}/systemd/smoothserve-7.sock"
    del environ["RUNTIME_DIRECTORY"]
    assert places.default_socket(7, environ) == f"{tmp_path}/session/smoothserve-7.sock"
    own = tmp_path / "t" / f"smoothserve-{os.geteuid()}"
    assert places.default_socket(7, {}) == f"{own}/smoothserve-7.sock"
    assert own.stat().st_mode & 0o777 == 0o700


def test_a_session_directory_that_is_gone_is_passed_over(tmp_path: Path) -> None:
    assert places.default_socket(7, {"XDG_RUNTIME_DIR": "/nowhere"}).startswith(f"{tmp_path}/t/")


@pytest.mark.parametrize("what", ["open to others", "a link", "a file"])
def test_a_directory_that_others_may_have_made_is_no_place(tmp_path: Path, what: str) -> None:
    own = tmp_path / "t" / f"smoothserve-{os.geteuid()}"
    if what == "a link":
        (tmp_path / "theirs").mkdir(mode=0o700)
        own.symlink_to(tmp_path / "theirs")
    elif what == "a file":
        own.write_text("")
    else:
        own.mkdir()
        own.chmod(0o777)
    with pytest.raises(FileError, match="not a directory of this user's"):
        places.default_socket(7, {})
    assert places.sockets_of_user({}) == []


def test_a_path_that_no_socket_can_have_is_an_error() -> None:
    with pytest.raises(FileError, match="too long"):
        places.check_length("/" + "x" * 200)


def test_sockets_are_found_wherever_they_may_be(tmp_path: Path) -> None:
    first = places.default_socket(7, {})
    unit = tmp_path / "run" / "myapp"
    unit.mkdir(parents=True)
    for path in (first, unit / "smoothserve-8.sock", unit / "other.sock"):
        Path(path).write_text("")
    assert places.sockets_of_user({}) == [first, str(unit / "smoothserve-8.sock")]
    assert places.sockets_of(8, {}) == [str(unit / "smoothserve-8.sock")]
    assert places.sockets_of(9, {}) == []
