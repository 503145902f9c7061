"""Which interpreter and directory a spawn uses: by path, unresolved, at every spawn."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from smoothserve.control.interpreter import find_interpreter, working_directory
from smoothserve.errors import ExitCode, FileError


def make_program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def make_environment(root: Path) -> Path:
    make_program(root / "bin" / "python")
    (root / "pyvenv.cfg").touch()
    return make_program(root / "bin" / "smoothserve")


def test_the_python_option_wins_over_the_script_beside(tmp_path: Path) -> None:
    script = make_environment(tmp_path / "venv")
    chosen = make_program(tmp_path / "other" / "python3")
    assert find_interpreter(str(chosen), str(script), sys.executable) == str(chosen)


def test_a_relative_python_option_counts_from_the_directory(tmp_path: Path) -> None:
    make_program(tmp_path / "venv" / "bin" / "python")
    assert find_interpreter("venv/bin/python", "", sys.executable, str(tmp_path)) == f"{tmp_path}/venv/bin/python"


def test_a_bare_name_is_looked_up_in_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = make_program(tmp_path / "python9")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_interpreter("python9", "", sys.executable) == str(program)


def test_the_python_beside_the_script_follows_a_swapped_link(tmp_path: Path) -> None:
    for release in ("1", "2"):
        make_environment(tmp_path / "releases" / release / "venv")
    current = tmp_path / "current"
    script = current / "venv" / "bin" / "smoothserve"
    for release in ("1", "2"):
        current.unlink(missing_ok=True)
        current.symlink_to(tmp_path / "releases" / release)
        found = find_interpreter(None, str(script), sys.executable)
        assert found == str(current / "venv" / "bin" / "python")
        assert Path(found).resolve() == tmp_path / "releases" / release / "venv" / "bin" / "python"


def test_a_python_beside_the_script_outside_an_environment_is_not_taken(tmp_path: Path) -> None:
    make_program(tmp_path / "bin" / "python")
    script = make_program(tmp_path / "bin" / "smoothserve")
    assert find_interpreter(None, str(script), sys.executable) == sys.executable


def test_without_anything_beside_the_running_interpreter_is_taken(tmp_path: Path) -> None:
    assert find_interpreter(None, str(tmp_path / "smoothserve" / "__main__.py"), sys.executable) == sys.executable
    assert find_interpreter(None, "", sys.executable) == sys.executable


def a_directory(path: Path) -> str:
    (path / "venv").mkdir()
    return str(path / "venv")


def an_environment(path: Path) -> str:
    make_environment(path / "venv")
    return str(path / "venv")


def a_text_file(path: Path) -> str:
    (path / "python").write_text("no program")
    return str(path / "python")


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (a_directory, "is a directory: name the interpreter itself"),
        (an_environment, "/venv/bin/python?"),
        (a_text_file, "cannot be executed"),
        (lambda path: str(path / "missing"), "does not exist"),
        (lambda path: "no-such-python", "PATH"),
    ],
)
def test_an_interpreter_that_cannot_be_run_is_told_in_one_line(
    tmp_path: Path, make: Callable[[Path], str], hint: str
) -> None:
    with pytest.raises(FileError) as caught:
        find_interpreter(make(tmp_path), "", sys.executable)
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code is ExitCode.FILE_FAILED


def test_a_running_interpreter_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="does not exist"):
        find_interpreter(None, "", str(tmp_path / "python"))


def test_the_working_directory_is_pwd_where_it_names_it(tmp_path: Path) -> None:
    real = tmp_path / "releases"
    real.mkdir()
    link = tmp_path / "current"
    link.symlink_to(real)
    assert working_directory(None, {"PWD": str(link)}, str(real)) == str(link)


@pytest.mark.parametrize("pwd", ["", "relative", "/no/such/directory", "/", "/tmp/../tmp"])
def test_a_stale_pwd_is_not_believed(tmp_path: Path, pwd: str) -> None:
    assert working_directory(None, {"PWD": pwd}, str(tmp_path)) == str(tmp_path)
    assert working_directory(None, {}, str(tmp_path)) == str(tmp_path)


def test_chdir_is_taken_as_typed(tmp_path: Path) -> None:
    (tmp_path / "releases" / "1").mkdir(parents=True)
    (tmp_path / "current").symlink_to("releases/1")
    assert working_directory("current", {}, str(tmp_path)) == f"{tmp_path}/current"
    assert working_directory(f"{tmp_path}/current", {}, "/") == f"{tmp_path}/current"


def test_a_directory_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match=r"--chdir: .*/missing does not exist"):
        working_directory("missing", {}, str(tmp_path))
    with pytest.raises(FileError, match=r"--chdir: .*/file is not a directory"):
        working_directory("file", {}, str(tmp_path))
    with pytest.raises(FileError, match="the working directory"):
        working_directory(None, {}, os.path.join(tmp_path, "missing"))
