"""Serving: everything is checked first, then the master is executed in the same process with the launch message."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from smoothserve.control.launch import MasterLaunch, read_launch
from smoothserve.errors import ExitCode, FileError, SettingsError
from smoothserve.serve import serve
from tests.process.processes import wait_until

#: Stands for an interpreter: says which process it is, what it was executed with and what the message holds.
FAKE_INTERPRETER = f"""#!{sys.executable}
import json, os, signal, sys
if sys.argv[1:3] == ["-P", "-c"]:
    print("smoothserve is there")
    sys.exit(0)
launch = json.load(os.fdopen(int(sys.argv[4])))
blocked = [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])]
said = {{"pid": os.getpid(), "arguments": sys.argv[1:], "launch": launch}}
print(json.dumps({{**said, "marker": os.environ.get("MARKER"), "blocked": blocked}}))
"""


class ExecutedError(Exception):
    """Stands for the exec, after which nothing of the caller's is left."""


def executed(flags: dict[str, Any], config: str | None = None) -> tuple[str, list[str], MasterLaunch]:
    """Return what serving executes: program, arguments and launch message."""
    calls: list[tuple[str, list[str]]] = []

    def execute(program: str, arguments: list[str]) -> NoReturn:
        assert os.get_inheritable(int(arguments[-1]))
        calls.append((program, arguments))
        raise ExecutedError

    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with pytest.raises(ExecutedError):
        serve(flags, config, execute)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    ((program, arguments),) = calls
    return program, arguments, read_launch(MasterLaunch, int(arguments[-1]))


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, reached through a link that $PWD knows."""
    (tmp_path / "release").mkdir()
    link = tmp_path / "current"
    link.symlink_to("release")
    monkeypatch.chdir(link)
    monkeypatch.setenv("PWD", str(link))
    monkeypatch.setattr(sys, "argv", ["bin/smoothserve"])
    return link


def test_the_master_is_executed_with_the_running_interpreter() -> None:
    program, arguments, _ = executed({"app": "a:b"})
    assert program == arguments[0] == sys.executable
    assert arguments[1:-1] == ["-P", "-m", "smoothserve.master"]


def test_the_launch_message_has_what_a_later_reload_needs_with_links_unresolved(directory: Path) -> None:
    (directory / "x.toml").write_text("threads = 2\n")
    _, _, launch = executed({"app": "a:b", "workers": "2", "port": "0"}, "x.toml")
    assert launch == MasterLaunch(
        flags={"app": "a:b", "workers": "2", "port": "0"},
        config="x.toml",
        script=f"{directory}/bin/smoothserve",
        executable=sys.executable,
        directory=str(directory),
    )


def test_an_interpreter_in_the_scripts_environment_is_taken_unresolved(directory: Path) -> None:
    (directory / "bin").mkdir()
    (directory / "pyvenv.cfg").touch()
    python = directory / "bin" / "python"
    python.write_text(FAKE_INTERPRETER)
    python.chmod(0o755)
    assert executed({"app": "a:b"})[0] == str(python)


def test_nothing_is_executed_before_the_settings_are_right() -> None:
    for flags in ({}, {"app": "a:b", "workers": "0"}):
        with pytest.raises(SettingsError):
            serve(flags, None, _must_not_execute)


def test_nothing_is_executed_where_directory_or_interpreter_are_missing() -> None:
    for flags in ({"chdir": "missing"}, {"python": "./missing"}, {"python": "no-such-python"}):
        with pytest.raises(FileError):
            serve({"app": "a:b", **flags}, None, _must_not_execute)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"env_file": "missing.env"}, r"--env-file .*/missing\.env cannot be read"),
        ({"env_file": "bad.env"}, r"bad\.env, line 1: this is not NAME=VALUE"),
        ({"env_file": "fifo"}, r"/fifo cannot be read: it is no regular file"),
        ({"log_config": "fifo"}, r"/fifo cannot be read: it is no regular file"),
        ({"error_logfile": "missing/error.log"}, r"missing/error\.log cannot be opened: its directory does not exist"),
        ({"access_logfile": "missing/access.log"}, r"missing/access\.log cannot be opened: its directory"),
        ({"app_dir": "missing"}, r"--app-dir .*/missing is no directory"),
    ],
)
def test_nothing_is_executed_where_a_file_cannot_be_used(directory: Path, flags: dict[str, Any], says: str) -> None:
    (directory / "bad.env").write_text("no assignment\n")
    os.mkfifo(directory / "fifo")
    with pytest.raises(FileError, match=says) as caught:
        serve({"app": "a:b", **flags}, None, _must_not_execute)
    assert caught.value.exit_code is ExitCode.FILE_FAILED
    assert sorted(one.name for one in directory.iterdir()) == ["bad.env", "fifo"]


def test_the_env_file_and_the_applications_directory_are_looked_for_where_the_workers_work(directory: Path) -> None:
    (directory / "work" / "lib").mkdir(parents=True)
    (directory / "work" / "x.env").write_text("A=1\n")
    executed({"app": "a:b", "chdir": "work", "env_file": "x.env", "app_dir": "lib"})


def test_an_interpreter_without_smoothserve_is_told_with_its_own_words(directory: Path) -> None:
    python = directory / "python"
    python.write_text("#!/bin/sh\necho 'No module named smoothserve' >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(FileError, match=r"cannot run smoothserve \(No module named smoothserve\)"):
        serve({"app": "a:b", "python": "./python"}, None, _must_not_execute)


def test_an_interpreter_that_cannot_be_executed_is_told(directory: Path) -> None:
    python = directory / "python"
    python.write_bytes(b"\0")
    python.chmod(0o755)
    with pytest.raises(FileError, match="cannot be executed"):
        serve({"app": "a:b", "python": "./python"}, None, _must_not_execute)


def test_a_failed_exec_is_told_and_leaves_no_descriptor_and_no_blocked_signal() -> None:
    before = len(os.listdir("/dev/fd"))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])

    def execute(program: str, arguments: list[str]) -> NoReturn:
        raise PermissionError(13, "Permission denied")

    with pytest.raises(FileError, match=r"\(Permission denied\)"):
        serve({"app": "a:b"}, None, execute)
    assert len(os.listdir("/dev/fd")) == before
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask


def test_a_working_directory_that_is_gone_is_told(directory: Path) -> None:
    directory.resolve().rmdir()
    with pytest.raises(FileError, match="does not exist any more"):
        serve({"app": "a:b"}, None, _must_not_execute)


def _must_not_execute(program: str, arguments: list[str]) -> NoReturn:
    raise AssertionError(f"executed {program} {arguments}")


def test_the_master_has_the_process_number_of_the_command(directory: Path) -> None:
    python = directory / "python"
    python.write_text(FAKE_INTERPRETER)
    python.chmod(0o755)
    command = [sys.executable, "-m", "smoothserve", "a:b", "--python", "./python", "--workers", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "MARKER": "kept"}) as process:
        output, _ = process.communicate(timeout=60)
    said = json.loads(output)
    assert said["pid"] == process.pid
    assert said["arguments"][:3] == ["-P", "-m", "smoothserve.master"]
    assert said["launch"]["flags"] == {"app": "a:b", "python": "./python", "workers": "2"}
    assert said["marker"] == "kept"
    assert signal.SIGHUP in said["blocked"], "a HUP before its handlers stand would end the master"
    assert signal.SIGINT in said["blocked"], "of an INT before its handlers stand there would be a traceback"
    assert signal.SIGTERM not in said["blocked"]


def interrupted(command: list[str], directory: Path, **environ: str) -> tuple[int, bytes]:
    """Send INT to a command once the file `there` exists; return its exit code and what it printed."""
    environment = {**os.environ, **environ}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, start_new_session=True
    ) as process:
        try:
            wait_until(lambda: (directory / "there").exists() or process.poll() is not None, 60, "it has begun")
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, output


WAITS = "import pathlib, time\npathlib.Path('there').touch()\ntime.sleep(60)\n"


def test_int_while_the_command_line_is_imported_ends_it_without_a_word(directory: Path) -> None:
    (directory / "lib").mkdir()
    (directory / "lib" / "click.py").write_text(WAITS)
    command = [sys.executable, "-m", "smoothserve", "a:b"]
    assert interrupted(command, directory, PYTHONPATH=str(directory / "lib")) == (ExitCode.INTERRUPTED, b"")


def test_int_while_the_command_line_works_ends_it_without_a_word(directory: Path) -> None:
    python = directory / "python"
    python.write_text(f"#!{sys.executable}\n{WAITS}")
    python.chmod(0o755)
    command = [sys.executable, "-m", "smoothserve", "a:b", "--python", "./python"]
    code, output = interrupted(command, directory)
    assert (code, output.strip()) == (ExitCode.INTERRUPTED, b"")


def test_a_program_that_is_no_interpreter_is_told() -> None:
    with pytest.raises(FileError, match=r"the interpreter .*true cannot run smoothserve \(it said nothing\)"):
        serve({"app": "a:b", "python": "true"}, None, _must_not_execute)
