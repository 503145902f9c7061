"""The driver: a real master process, real signals, fake workers."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from smoothserve.errors import ExitCode
from tests.unit.master.harness import Master, make_interpreter, wait_for

LINUX = sys.platform.startswith("linux")


def test_it_serves_reloads_and_stops_and_says_so(tmp_path: Path) -> None:
    with Master(tmp_path, workers=2) as master:
        master.wait_for_line(r"\[INFO\] smoothserve \S+ starting: 2 workers for app:app, \w+ 3\.")
        master.wait_for_line(r"\[INFO\] listening on http://127\.0\.0\.1:\d+")
        master.wait_for_line(rf"ready: 2 workers serve app:app \(asgi\) in .* kill -HUP {master.pid}")
        master.send(signal.SIGHUP)
        master.wait_for_line("reload: generation 2 begins")
        master.wait_for_line(r"reload finished: generation 2 in [\d.]+ s, 2 workers swapped")
        master.wait_for_line("reload drained: generation 2 after")
        assert master.started(4)["launch"]["generation"] == 2
        master.send(signal.SIGTERM)
        assert master.exit_code() == ExitCode.STOPPED
        assert master.errors() == ""
        master.wait_for_line("stopping: TERM, graceful timeout 30 s")
        assert master.log.endswith("stopped: 0 requests dropped\n")


@pytest.mark.skipif(not LINUX, reason="descriptors are looked up in /proc")
def test_a_worker_gets_its_descriptors_and_nothing_else_and_all_signals_blocked(tmp_path: Path) -> None:
    with Master(tmp_path, workers=2) as master:
        master.wait_for_line("ready: ")
        started = master.started(2)
        wanted = {0, 1, 2, started["launch"]["control_fd"], started["scoreboard_fd"], int(started["arguments"][-1])}
        wanted.add(started["launch"]["dump_fd"])
        wanted |= {listener["fd"] for listener in started["listeners"]}
        assert {int(fd) for fd in started["descriptors"]} == wanted
        assert started["arguments"][:-1] == ["-P", "-m", "smoothserve.worker"]
        assert set(started["blocked"]) == {
            *("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGTTIN", "SIGTTOU", "SIGWINCH")
        }


def test_a_worker_that_can_not_boot_has_its_traceback_logged_before_the_line_that_refuses(tmp_path: Path) -> None:
    with Master(tmp_path) as master:
        master.wait_for_line("ready: ")
        master.behave(boot="fail")
        master.send(signal.SIGHUP)
        master.wait_for_line("reload refused: generation 2: ImportError: no; 1 worker of generation 1 serves on")
        assert re.search(r"\[ERROR\] worker 2 .* says:\nTraceback .*\nImportError: no\n.*refused", master.log)
        master.behave()
        master.send(signal.SIGHUP)
        master.wait_for_line("reload finished: generation 3")


@pytest.mark.parametrize(("boot", "reason"), [("fail", "ImportError: no"), ("exit", "exited with status 0 before it")])
def test_a_first_boot_that_fails_ends_it_with_3(tmp_path: Path, boot: str, reason: str) -> None:
    master = Master(tmp_path, workers=2)
    master.behave(boot=boot)
    with master:
        assert master.exit_code() == ExitCode.BOOT_FAILED
        assert f"[CRITICAL] the application did not boot: {'' if boot == 'fail' else 'worker'}" in master.log
        assert reason in master.log


def test_a_successor_that_hangs_is_killed(tmp_path: Path) -> None:
    config = tmp_path / "smoothserve.toml"
    config.write_text("")
    with Master(tmp_path, config=str(config)) as master:
        master.wait_for_line("ready: ")
        master.behave(boot="hang")
        config.write_text("boot_timeout = 1.0\n")
        master.send(signal.SIGHUP)
        hanging = master.started(2)["pid"]
        master.wait_for_line(r"reload refused: .* was not ready within 1 s \(--boot-timeout\)")
        wait_for(lambda: not os.path.exists(f"/proc/{hanging}"), "its end")


def test_a_killed_worker_is_respawned_and_what_it_held_is_counted(tmp_path: Path) -> None:
    master = Master(tmp_path, workers=1)
    master.behave(unanswered=4)
    with master:
        master.wait_for_line("ready: ")
        master.behave()  # its replacement holds nothing, however early it is stopped
        os.kill(master.started(1)["pid"], signal.SIGKILL)
        master.wait_for_line(
            r"worker 1 \(pid \d+, slot 0, generation 1\) died by SIGKILL, 4 requests dropped; respawning"
        )
        wait_for((tmp_path / "started-2").exists, "the next worker")
        master.send(signal.SIGTERM)
        assert master.exit_code() == 0
        assert "stopped: 4 requests dropped" in master.log


def test_a_reload_reports_what_was_handed_over(tmp_path: Path) -> None:
    master = Master(tmp_path)
    with master:
        master.wait_for_line("ready: ")
        master.behave(handed_over=48)
        master.send(signal.SIGHUP)
        master.wait_for_line("reload finished: generation 2 .* 48 connections handed over")


def test_garbage_from_a_worker_does_not_hurt(tmp_path: Path) -> None:
    master = Master(tmp_path)
    master.behave(boot="garbage")
    with master:
        master.wait_for_line("ready: ")
        master.wait_for_line(r"\[WARNING\] worker 1: not a control message: b'garbage'")
        master.wait_for_line(r"\[WARNING\] worker 1 said 'sing'")


def test_a_worker_that_closes_its_control_socket_is_replaced(tmp_path: Path) -> None:
    master = Master(tmp_path)
    master.behave(disconnect=True)
    with master:
        master.wait_for_line("ready: ")
        master.behave()
        master.wait_for_line("worker 1 .* closed its control socket")
        wait_for((tmp_path / "started-2").exists, "the next worker")


def test_a_worker_that_stays_is_killed_after_drain_and_kill_timeout(tmp_path: Path) -> None:
    master = Master(tmp_path, drain_timeout=1.0, kill_timeout=0.2)
    master.behave(stay=True)
    with master:
        master.wait_for_line("ready: ")
        master.send(signal.SIGHUP)
        master.wait_for_line("reload finished")
        master.wait_for_line("worker 1 .* died by SIGKILL: it did not leave in time")
        master.wait_for_line("reload drained")


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGINT])
def test_quit_and_a_second_int_stop_now(tmp_path: Path, number: signal.Signals) -> None:
    master = Master(tmp_path)
    master.behave(stay=True)
    with master:
        master.wait_for_line("ready: ")
        if number == signal.SIGINT:
            master.send(number)
            master.wait_for_line("stopping: INT, graceful")
        master.send(number)
        master.wait_for_line(f"stopping: {number.name.removeprefix('SIG')}, now")
        assert master.exit_code() == 0


def test_ttin_and_ttou_adjust_the_number_of_workers(tmp_path: Path) -> None:
    with Master(tmp_path) as master:
        master.wait_for_line("ready: ")
        master.send(signal.SIGTTIN)
        master.wait_for_line("TTIN: 2 workers from now on")
        master.started(2)
        master.send(signal.SIGTTOU)
        master.wait_for_line("TTOU: 1 worker from now on")
        master.send(signal.SIGTTOU)
        master.wait_for_line("TTOU: there is one worker only")


def test_winch_without_a_terminal_closes_the_listeners_and_a_hup_brings_them_back(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with Master(tmp_path, bind=[f"unix:{path}"]) as master:
        master.wait_for_line("ready: ")
        master.send(signal.SIGWINCH)
        master.wait_for_line("WINCH: draining")
        wait_for(lambda: not path.exists(), "the listener's end")
        master.send(signal.SIGHUP)
        master.wait_for_line("reload finished: generation 2")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        master.send(signal.SIGTERM)
        assert master.exit_code() == 0
        assert not path.exists()


def test_usr1_reopens_log_files_here_and_in_workers(tmp_path: Path) -> None:
    with Master(tmp_path) as master:
        master.wait_for_line("ready: ")
        master.log_path.rename(tmp_path / "log.1")
        master.send(signal.SIGUSR1)
        master.wait_for_line("log files reopened")
        wait_for((tmp_path / "reopened-1").exists, "the worker's word")


def test_usr2_says_that_it_is_not_available(tmp_path: Path) -> None:
    with Master(tmp_path) as master:
        master.wait_for_line("ready: ")
        master.send(signal.SIGUSR2)
        master.wait_for_line("USR2: ")


def test_a_storm_of_hups_leads_to_one_reload_more(tmp_path: Path) -> None:
    with Master(tmp_path) as master:
        master.wait_for_line("ready: ")
        for _ in range(50):
            os.killpg(master.pid, signal.SIGHUP)
        master.wait_for_line("reload finished")
        master.send(signal.SIGTERM)
        assert master.exit_code() == 0
        assert master.log.count("reload finished") <= 2
        assert "died" not in master.log


@pytest.mark.skipif(not LINUX, reason="process names are in /proc")
def test_pkill_finds_the_master_by_its_name(tmp_path: Path) -> None:
    with Master(tmp_path) as master:
        master.wait_for_line("starting")
        assert Path(f"/proc/{master.pid}/comm").read_text() == "smoothserve\n"


def test_the_pid_file_is_there_once_it_listens_and_gone_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    with Master(tmp_path, pid_file=str(path)) as master:
        master.wait_for_line("ready: ")
        assert path.read_text() == f"{master.pid}\n"
        master.send(signal.SIGTERM)
        assert master.exit_code() == 0
        assert not path.exists()


def test_a_second_master_on_the_same_pid_file_does_not_start(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    with Master(tmp_path, pid_file=str(path)) as first:
        first.wait_for_line("ready: ")
        second_home = tmp_path / "second"
        second_home.mkdir()
        with Master(second_home, pid_file=str(path)) as second:
            assert second.exit_code() == ExitCode.FILE_FAILED
            assert f"[CRITICAL] another server (pid {first.pid}) has the PID file" in second.log
        assert path.read_text() == f"{first.pid}\n"


def test_a_port_in_use_is_one_line_and_exit_code_4(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        Master(tmp_path, bind=[f"127.0.0.1:{other.getsockname()[1]}"]) as master,
    ):
        assert master.exit_code() == ExitCode.BIND_FAILED
        assert "[CRITICAL] cannot listen on" in master.log
        assert "Traceback" not in master.log + master.errors()


def test_a_log_file_that_can_not_be_opened_is_one_line_on_standard_error(tmp_path: Path) -> None:
    with Master(tmp_path, error_logfile=str(tmp_path / "none" / "log")) as master:
        assert master.exit_code() == ExitCode.FILE_FAILED
        assert re.fullmatch(r"\[.*\] \[CRITICAL\] the log file .* its directory does not exist.*\n", master.errors())


# the configuration, read again


def test_a_reload_reads_the_configuration_file_again(tmp_path: Path) -> None:
    config = tmp_path / "smoothserve.toml"
    config.write_text("workers = 1\n")
    with Master(tmp_path, config=str(config)) as master:
        master.wait_for_line("ready: 1 worker ")
        config.write_text("workers = 3\nbacklog = 7\n")
        master.send(signal.SIGHUP)
        master.wait_for_line("a reload keeps it as it was: --backlog")
        master.wait_for_line("reload finished: generation 2 .* 1 worker swapped, 2 added")


def test_a_bad_configuration_refuses_the_reload_in_one_line(tmp_path: Path) -> None:
    config = tmp_path / "smoothserve.toml"
    config.write_text("workers = 1\n")
    with Master(tmp_path, config=str(config)) as master:
        master.wait_for_line("ready: ")
        config.write_text('workers = "many"\n')
        master.send(signal.SIGHUP)
        line = master.wait_for_line("reload refused: generation 2: .*many")
        assert line.endswith("; 1 worker of generation 1 serves on")
        assert "Traceback" not in master.log


def test_the_env_file_is_read_again_for_each_worker_and_a_bad_one_refuses_the_reload(tmp_path: Path) -> None:
    env_file = tmp_path / "env"
    env_file.write_text("COLOUR=red\nSHAPE=round\n")
    with Master(tmp_path, env_file="env", env=["SHAPE=square"]) as master:
        master.wait_for_line("ready: ")
        environ = master.started(1)["environ"]
        assert (environ["COLOUR"], environ["SHAPE"], environ["PWD"]) == ("red", "square", str(tmp_path))
        env_file.write_text("COLOUR\n")
        master.send(signal.SIGHUP)
        master.wait_for_line("reload refused: generation 2: --env-file .*, line 1: this is not NAME=VALUE; 1 worker")
        env_file.write_text("COLOUR=blue\n")
        master.send(signal.SIGHUP)
        master.wait_for_line("reload finished: generation 3")
        assert master.started(3)["environ"]["COLOUR"] == "blue"


def test_directory_and_interpreter_follow_a_swapped_link_and_are_real_paths(tmp_path: Path) -> None:
    releases = tmp_path / "releases"
    current = tmp_path / "current"
    for name in ("1", "2"):
        make_interpreter(releases / name / "venv" / "bin" / "real-python")
        (releases / name / "venv" / "bin" / "python").symlink_to("real-python")
    current.symlink_to(releases / "1")
    with Master(tmp_path, chdir=str(current), python=str(current / "venv" / "bin" / "python")) as master:
        started = master.started(1, releases / "1")
        assert started["directory"] == str(releases / "1")
        assert started["program"] == str(releases / "1" / "venv" / "bin" / "python"), "a venv's python is a link"
        master.wait_for_line("ready: ")
        current.unlink()
        current.symlink_to(releases / "2")
        master.send(signal.SIGHUP)
        master.wait_for_line("reload finished")
        started = master.started(2, releases / "2")
        assert started["directory"] == str(releases / "2")
        assert started["program"] == str(releases / "2" / "venv" / "bin" / "python")


def test_an_interpreter_that_can_not_be_executed_refuses_the_reload(tmp_path: Path) -> None:
    with Master(tmp_path) as master:
        master.wait_for_line("ready: ")
        master.interpreter.write_text("#!/no/such/program\n")
        master.send(signal.SIGHUP)
        master.wait_for_line("reload refused: generation 2: .*bin/python cannot be executed in .*: No such file")
        master.interpreter.unlink()
        master.send(signal.SIGHUP)
        master.wait_for_line("reload refused: generation 3: --python: .* does not exist")
        assert master.started(1)["launch"]["slot"] == 0


def test_an_interpreter_that_may_lack_smoothserve_is_named_where_its_worker_says_nothing(tmp_path: Path) -> None:
    config = tmp_path / "smoothserve.toml"
    config.write_text(f'python = "{tmp_path}/bin/python"\n')
    lacking = tmp_path / "other" / "python"
    lacking.parent.mkdir()
    lacking.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -c "import no_such_smoothserve"\n')
    lacking.chmod(0o755)
    with Master(tmp_path, config=str(config), python=None) as master:
        master.wait_for_line("ready: ")
        config.write_text(f'python = "{lacking}"\n')
        master.send(signal.SIGHUP)
        master.wait_for_line(
            rf"reload refused: generation 2: worker 2 exited with status 1 before it was ready: "
            rf"is smoothserve installed for {re.escape(str(lacking))}\? See .*other/python -P -m smoothserve --version"
        )


def test_workers_leave_when_the_master_is_killed(tmp_path: Path) -> None:
    with Master(tmp_path) as master:
        master.wait_for_line("ready: ")
        worker = master.started(1)["pid"]
        master.send(signal.SIGKILL)
        master.exit_code()
        wait_for(lambda: not os.path.exists(f"/proc/{worker}"), "the worker's end")


def test_closed_standard_streams_are_opened_so_that_no_listener_gets_their_number(tmp_path: Path) -> None:
    master = Master(tmp_path)
    master.closed = [0, 1]
    with master:
        master.wait_for_line("ready: ")
        assert all(listener["fd"] > 2 for listener in master.started(1)["listeners"])


def test_a_launch_message_that_can_not_be_read_is_a_defect_with_its_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "smoothserve.master", "0"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == ExitCode.INTERNAL
    assert "[CRITICAL] defect in smoothserve:\nTraceback" in done.stderr
