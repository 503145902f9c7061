"""The verbs of the command line against real servers: what they do, print and exit with."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from smoothserve.errors import ExitCode, VerbCode
from smoothserve.verbs import client
from tests.load.runner import Load
from tests.load.scenarios import get_and_post, new_connections, one_slow_request
from tests.process.directory import BROKEN, AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import Server, assert_nothing_dropped, clean_environ
from tests.process.processes import is_running, kill, session_members, wait_until
from tests.process.terminal import OnTerminal


def verb(
    *arguments: str, cwd: Path | None = None, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `smoothserve VERB ...` to its end."""
    command = [sys.executable, "-m", "smoothserve", *arguments]
    environment = clean_environ(environ or {})
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=90, env=environment)


def told(server: Server) -> dict[str, Any]:
    """Return what `status --json` tells of a server."""
    result = verb("status", "--json", "--pid", str(server.pid))
    assert result.returncode == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def test_reload_shows_each_slot_and_reports_under_load(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--workers", "2")
    with Load(server.target, get_and_post(8)) as load:
        load.wait_answers(50)
        directory.deploy("2")
        result = verb("reload", "--pid", str(server.pid))
        load.wait_version("2")
    assert_nothing_dropped(load.report, "1", "2")
    assert result.returncode == VerbCode.DONE, result.stderr
    assert re.search(r"slot 0: worker 3 boots\n(.*\n)*slot 1: worker 4 serves\n", result.stderr)
    assert re.match(r"reload finished: generation 2 in [\d.]+ s, workers swapped: 2, connections", result.stdout)
    assert "requests dropped so far: 0" in result.stdout


def test_a_refused_reload_prints_the_applications_traceback_and_exits_1(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory)
    server.tracebacks_expected = True
    directory.deploy("2", before=BROKEN["raises at import"])
    result = verb("reload", "--pid", str(server.pid))
    assert result.returncode == VerbCode.REFUSED
    assert "Traceback (most recent call last)" in result.stderr
    assert "RuntimeError: broken deploy" in result.stderr
    assert result.stderr.splitlines()[-1].endswith("the old workers serve on")
    report = json.loads(verb("reload", "--json", "--pid", str(server.pid)).stdout)
    assert (report["result"], report["generation"]) == ("refused", 3)
    assert told(server)["last_reload"]["result"] == "refused"


def test_a_reload_whose_configuration_is_bad_is_refused_with_the_reason(serve: Serve, directory: AppDirectory) -> None:
    config = directory.path / "smoothserve.toml"
    config.write_text("")
    server = serve(directory, "--config", str(config))
    config.write_text("workers = 'many'\n")
    result = verb("reload", "--pid", str(server.pid))
    assert result.returncode == VerbCode.REFUSED
    assert "workers" in result.stderr


#: Only the first worker that boots this finds no marker.
BOOTS_ONCE = """
import os
if os.path.exists("booted"):
    raise RuntimeError("no licence for a second worker")
open("booted", "x").close()
"""


def test_a_reload_that_fails_after_its_first_slot_is_mixed_and_exits_3(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--workers", "2", "--soak-interval", "0")
    server.tracebacks_expected = True
    first = server.workers
    # Kept connections may all be with the slot that is not swapped.
    with Load(server.target, get_and_post(4), new_connections(4)) as load:
        directory.deploy("2", before=BOOTS_ONCE)
        result = verb("reload", "--pid", str(server.pid))
        assert (result.returncode, result.stdout) == (VerbCode.MIXED, "")
        assert "RuntimeError: no licence for a second worker" in result.stderr
        last = result.stderr.splitlines()[-1]
        assert re.match(
            r"reload mixed: generation 2 in [\d.]+ s, workers swapped: 1 of 2, connections handed over", last
        )
        status = told(server)
        assert (status["state"], status["last_reload"]["result"]) == ("mixed", "mixed")
        assert {(one["slot"], one["generation"]) for one in status["workers"] if one["state"] == "serving"} == {
            (0, 2),
            (1, 1),
        }
        assert first[1] in server.workers
        load.wait_version("2")
        directory.deploy("3")
        assert verb("reload", "--pid", str(server.pid)).returncode == VerbCode.DONE
        load.wait_version("3")
    assert load.report.dropped == 0, load.report.render()
    assert told(server)["state"] == "serving"


def test_a_reload_on_a_terminal_is_a_bar_that_fills_and_leaves_the_report(
    serve: Serve, directory: AppDirectory
) -> None:
    server = serve(directory, "--workers", "2", "--soak-interval", "0")
    with OnTerminal("reload", "--pid", str(server.pid)) as screen:
        assert screen.end() == VerbCode.DONE
    *steps, report = screen.seen().split("\r\x1b[K")
    bars = [step for step in steps if step]
    assert "\n" not in "".join(bars)
    assert all(re.fullmatch(r"\[[#.]{24}\] \d/2 \S.*", bar) for bar in bars), bars
    empty, half, full = ("." * 24, "#" * 12 + "." * 12, "#" * 24)
    assert f"[{empty}] 0/2 slot 0: worker 3 boots" in bars
    assert f"[{half}] 1/2 slot 0: worker 3 serves" in bars
    assert f"[{half}] 1/2 slot 1: worker 4 boots" in bars
    assert f"[{full}] 2/2 slot 1: worker 4 serves" in bars
    filled = [bar.count("#") for bar in bars]
    assert filled == sorted(filled)
    assert re.fullmatch(r"reload finished: generation 2 in .*requests dropped so far: 0\r\n", report)


def test_a_reload_not_on_a_terminal_is_plain_lines(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--soak-interval", "0")
    result = verb("reload", "--pid", str(server.pid))
    assert result.returncode == VerbCode.DONE
    steps = result.stderr.splitlines()
    assert "slot 0: worker 2 boots" in steps
    assert "slot 0: worker 2 serves" in steps
    assert not [step for step in steps if re.search(r"[\x00-\x1f#\[]", step)]


def test_a_reload_that_takes_longer_than_the_timeout_exits_4_and_goes_on(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory)
    directory.deploy("2", before="import time\ntime.sleep(1.5)\n")
    result = verb("reload", "--timeout", "0.3", "--pid", str(server.pid))
    assert result.returncode == VerbCode.TIMED_OUT
    assert "it goes on" in result.stderr
    server.wait_reload("finished")


def test_a_reload_whose_verb_is_interrupted_goes_on_and_the_verb_says_so(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory)
    directory.deploy("2", before="import os, time\nwhile not os.path.exists('go'):\n    time.sleep(0.02)\n")
    with OnTerminal("reload", "--pid", str(server.pid)) as screen:
        screen.wait_seen("worker 2 boots")
        assert screen.end(signal.SIGINT) == ExitCode.INTERRUPTED
    last = screen.seen().splitlines()[-1]
    text = "reload interrupted: generation 2: the reload goes on; smoothserve status tells how it ended"
    assert last.endswith(text)
    (directory.path / "go").touch()
    server.wait_reload("finished")


def test_a_reload_asked_for_amid_another_waits_for_the_code_it_is_for(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--workers", "2")
    assert verb("reload", "--no-wait", "--pid", str(server.pid)).returncode == VerbCode.DONE
    server.wait_log("generation 2 begins")
    directory.deploy("2")
    assert verb("reload", "--wait-drained", "--pid", str(server.pid)).returncode == VerbCode.DONE
    with Load(server.target, get_and_post(2)) as load:
        load.wait_answers(10)
    assert set(load.report.versions) == {"2"}
    assert not [one for one in told(server)["workers"] if one["state"] == "draining"]


def test_status_is_one_table_and_the_same_in_json(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--workers", "2")
    with Load(server.target, get_and_post(4)) as load:
        load.wait_answers(50)
        wait_until(lambda: told(server)["totals"]["requests"] >= 50, 20, "the requests to be counted")
    status = told(server)
    assert (status["pid"], status["app"], status["state"], status["generation"]) == (
        server.pid,
        "app:app",
        "serving",
        1,
    )
    assert [one["pid"] for one in status["workers"]] == server.workers
    assert all(one["state"] == "serving" and one["memory_bytes"] > 1_000_000 for one in status["workers"])
    text = verb("status", "--pid", str(server.pid)).stdout
    assert "2 of 2 workers serve" in text
    assert "last reload: none yet" in text
    assert all(f"\n{one['slot']}     {one['pid']}" in text for one in status["workers"])
    os.kill(server.workers[0], signal.SIGKILL)
    wait_until(lambda: told(server)["exits"] == {"died by SIGKILL": 1}, 20, "the exit to be counted")
    assert told(server)["last_error"]["text"].endswith("died by SIGKILL")


def test_a_worker_whose_loop_is_blocked_shows_as_stuck(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory)
    (worker,) = server.workers
    os.kill(worker, signal.SIGSTOP)
    try:
        wait_until(lambda: told(server)["workers"][0]["state"] == "stuck", 30, "the worker to show as stuck")
        assert "stuck" in verb("status", "--pid", str(server.pid)).stdout
    finally:
        os.kill(worker, signal.SIGCONT)
    wait_until(lambda: told(server)["workers"][0]["state"] == "serving", 30, "it to serve again")


def unwritable(server: Server, *arguments: str, to: str) -> tuple[int, str]:
    """Run a verb whose output goes to a full disk, a closed descriptor, or a reader that leaves after a line."""
    command = f"{sys.executable} -m smoothserve {' '.join(arguments)} --pid {server.pid}"
    line = {
        "full": f"{command} >/dev/full",
        "closed": f"{command} >&- 2>&-",
        "left": f"({command}; echo $? >&3) | true",
    }
    script = f"exec 3>&1; {line[to]}" + ("" if to == "left" else "; echo $? >&3")
    environment = clean_environ({})
    result = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, check=False, timeout=90, env=environment
    )
    return int(result.stdout.split()[-1]), result.stderr


@pytest.mark.parametrize("to", ["full", "closed", "left"])
def test_what_a_verb_has_done_is_told_by_its_code_also_where_it_cannot_print(
    serve: Serve, directory: AppDirectory, to: str
) -> None:
    server = serve(directory, "--workers", "1", "--soak-interval", "0")
    server.tracebacks_expected = True
    code, errors = unwritable(server, "reload", to=to)
    assert code == VerbCode.DONE, errors
    assert "Traceback" not in errors
    assert ("the output could not be written: No space left on device" in errors) == (to == "full")
    assert unwritable(server, "workers", "+1", "--json", to=to)[0] == VerbCode.DONE
    assert len(told(server)["workers"]) == 2
    code, errors = unwritable(server, "status", to=to)
    assert code == (VerbCode.DONE if to == "left" else VerbCode.UNWRITTEN), errors
    assert "Traceback" not in errors
    directory.deploy("2", before=BROKEN["raises at import"])
    assert unwritable(server, "reload", "--json", to=to)[0] == VerbCode.REFUSED


def test_status_that_is_watched_ends_when_its_reader_does(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--workers", "1")
    command = f"{sys.executable} -m smoothserve status --watch --interval 0.1 --pid {server.pid} | head -1"
    result = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, check=False, timeout=60, env=clean_environ({})
    )
    assert "smoothserve" in result.stdout
    assert result.stderr == ""


def test_workers_can_be_more_and_fewer(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory)
    assert verb("workers", "+2", "--pid", str(server.pid)).stdout == "workers: 3\n"
    wait_until(lambda: told(server)["workers_serving"] == 3, 20, "three workers")
    assert verb("workers", "-1", "--pid", str(server.pid)).stdout == "workers: 2\n"
    wait_until(lambda: len(told(server)["workers"]) == 2, 20, "two workers")
    for bad in ("2", "+x", "-", "+100"):
        assert verb("workers", bad, "--pid", str(server.pid)).returncode != 0


def test_stop_returns_when_the_server_has_ended(serve: Serve, directory: AppDirectory, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    server = serve(directory, "--pid-file", str(pid_file), "--control-socket", str(tmp_path / "control"))
    result = verb("stop", "--pid-file", str(pid_file))
    assert result.returncode == VerbCode.NO_SERVER, "its control socket is where it cannot be guessed"
    assert "--control-socket" in result.stderr
    result = verb("stop", "--control-socket", str(tmp_path / "control"))
    assert (result.returncode, result.stdout) == (VerbCode.DONE, f"stopped: pid {server.pid}\n")
    assert not is_running(server.pid)
    assert not (tmp_path / "control").exists()
    result = verb("stop", "--control-socket", str(tmp_path / "control"))
    assert result.returncode == VerbCode.NO_SERVER


def test_stop_and_restart_that_take_longer_than_the_timeout_exit_4_and_go_on(
    serve: Serve, directory: AppDirectory
) -> None:
    server = serve(directory, "--graceful-timeout", "60")
    with Load(server.target, one_slow_request(1, 60)) as load:
        load.wait_until(lambda report: report.connections_opened == 1)
        wait_until(lambda: told(server)["totals"]["in_hand"] == 1, 20, "a request in hand")
        late = ("--timeout", "0.5", "--pid", str(server.pid))
        restart = verb("restart", "--json", *late)
        assert (restart.returncode, json.loads(restart.stdout)) == (VerbCode.TIMED_OUT, {"result": "timed-out"})
        text = verb("stop", *late)
        assert text.returncode == VerbCode.TIMED_OUT
        assert text.stderr.splitlines()[-1] == f"pid {server.pid} has not ended within 0.5 s, it goes on"
        stop = verb("stop", "--json", *late)
        expected = {"result": "timed-out", "pid": server.pid}
        assert (stop.returncode, json.loads(stop.stdout), stop.stderr) == (VerbCode.TIMED_OUT, expected, "")
        server.kill(signal.SIGQUIT)
        server.wait_exit()


def test_restart_starts_afresh_in_the_same_process(serve: Serve, directory: AppDirectory, tmp_path: Path) -> None:
    config = directory.path / "smoothserve.toml"
    config.write_text("workers = 1\n")
    server = serve(directory, "--config", str(config), "--pid-file", str(tmp_path / "pid"))
    config.write_text("workers = 'many'\n")
    refused = verb("restart", "--pid", str(server.pid))
    assert refused.returncode == VerbCode.REFUSED
    assert "workers" in refused.stderr
    directory.deploy("2")
    config.write_text("workers = 2\n")
    result = verb("restart", "--pid", str(server.pid))
    assert (result.returncode, result.stderr) == (VerbCode.DONE, "")
    assert result.stdout == f"restarted: pid {server.pid}, 2 workers serve app:app\n"
    assert (tmp_path / "pid").read_text() == f"{server.pid}\n"
    assert told(server)["generation"] == 1


def test_a_control_socket_that_cannot_be_made_is_a_warning_and_it_serves(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--control-socket", "/nowhere/control", "--metrics-bind", "127.0.0.1:0")
    server.wait_log(r"\[WARNING\] no control socket at /nowhere/control: .*; the server serves, but")
    with Load(server.target, get_and_post(2)) as load:
        load.wait_answers(10)
    no_metrics = server.wait_log(r"\[WARNING\] no metrics at http://127\.0\.0\.1:(\d+): .* and there is none")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(no_metrics[1])), 20).close()
    result = verb("status", "--pid", str(server.pid))
    assert result.returncode == VerbCode.NO_SERVER
    assert "kill -HUP reloads it" in result.stderr


def test_check_says_whether_code_would_boot(directory: AppDirectory) -> None:
    good = verb("check", "app:app", cwd=directory.path)
    assert good.returncode == VerbCode.DONE
    # What its worker has to say about the application, nothing else.
    (line,) = good.stderr.splitlines()
    assert "does not support lifespan" in line
    assert re.fullmatch(r"ok: app:app boots \(asgi\) in [\d.]+ s\n", good.stdout)
    directory.deploy("1", before="print('printed at import', flush=True)\n")
    printing = verb("check", "--json", "app:app", cwd=directory.path)
    assert json.loads(printing.stdout)["result"] == "ok"
    assert printing.stderr.startswith("printed at import\n")
    directory.deploy("2", before=BROKEN["raises at import"])
    refused = verb("check", "--json", "app:app", cwd=directory.path)
    report = json.loads(refused.stdout)
    assert (refused.returncode, report["result"]) == (VerbCode.REFUSED, "refused")
    assert "broken deploy" in report["reason"]
    assert "RuntimeError: broken deploy" in report["traceback"]
    bad = verb("check", "app:app", cwd=directory.path)
    assert (bad.returncode, bad.stdout) == (VerbCode.REFUSED, "")
    assert "RuntimeError: broken deploy" in bad.stderr
    directory.deploy("2", after="\n\napp = None\n")
    nothing = verb("check", "app:app", "--interface", "asgi", cwd=directory.path)
    assert (nothing.returncode, nothing.stdout) == (VerbCode.REFUSED, "")
    assert "app:app is None, not a callable" in nothing.stderr
    directory.deploy("3", before=BROKEN["kills itself at import"])
    killed = verb("check", "app:app", cwd=directory.path)
    assert killed.returncode == VerbCode.REFUSED
    assert "died by SIGKILL before it was ready" in killed.stderr
    directory.deploy("4", before="import time\ntime.sleep(60)\n")
    hanging = verb("check", "app:app", "--boot-timeout", "0.5", cwd=directory.path)
    assert hanging.returncode == VerbCode.REFUSED
    assert "--boot-timeout" in hanging.stderr


@contextmanager
def daemon(directory: AppDirectory) -> Iterator[None]:
    """Kill what a test leaves in the background."""
    try:
        yield
    finally:
        path = directory.path / "smoothserve.pid"
        if path.exists():
            pid = int(path.read_text())
            for member in session_members(pid):
                kill(member, signal.SIGKILL)


def test_start_d_returns_when_the_workers_are_ready(directory: AppDirectory) -> None:
    with daemon(directory):
        arguments = ("start", "-d", "app:app", "--workers", "2", "--bind", "127.0.0.1:0")
        result = verb(*arguments, cwd=directory.path)
        assert (result.returncode, result.stderr) == (0, "")
        pid = int((directory.path / "smoothserve.pid").read_text())
        assert f"pid {pid} in {directory.path}/smoothserve.pid" in result.stdout
        assert "ready: 2 workers serve" in (directory.path / "smoothserve.log").read_text()
        again = verb(*arguments, cwd=directory.path)
        assert again.returncode == ExitCode.FILE_FAILED
        assert f"another server (pid {pid}) has the PID file" in again.stderr
        assert verb("stop", "--pid-file", "smoothserve.pid", cwd=directory.path).returncode == 0
        assert not is_running(pid)


def test_what_a_daemons_application_prints_follows_the_rotation_of_its_log(directory: AppDirectory) -> None:
    log, old = directory.path / "smoothserve.log", directory.path / "smoothserve.log.1"
    directory.deploy("1", before="print('printed', flush=True)\n")
    with daemon(directory):
        assert verb("start", "-d", "app:app", "--bind", "127.0.0.1:0", cwd=directory.path).returncode == 0
        log.rename(old)
        os.kill(int((directory.path / "smoothserve.pid").read_text()), signal.SIGUSR1)
        wait_until(lambda: log.exists() and "log files reopened" in log.read_text(), 30, "the new log file")
        assert verb("reload", "--pid-file", "smoothserve.pid", cwd=directory.path).returncode == 0
        assert re.search("(?m)^printed$", log.read_text())
        assert not [
            link
            for pid in (int((directory.path / "smoothserve.pid").read_text()),)
            for link in Path(f"/proc/{pid}/fd").iterdir()
            if os.readlink(link) == str(old)
        ]
        assert verb("stop", "--pid-file", "smoothserve.pid", cwd=directory.path).returncode == 0


def test_start_d_that_does_not_come_up_says_why(directory: AppDirectory) -> None:
    with daemon(directory):
        directory.deploy("1", before=BROKEN["raises at import"])
        result = verb("start", "-d", "app:app", "--bind", "127.0.0.1:0", cwd=directory.path)
        assert result.returncode == ExitCode.BOOT_FAILED
        assert "RuntimeError: broken deploy" in result.stderr
        assert result.stdout == ""
        result = verb("start", "-d", "--json", "app:app", "--bind", "127.0.0.1:0", cwd=directory.path)
        report = json.loads(result.stdout)
        assert (result.returncode, report["result"]) == (ExitCode.BOOT_FAILED, "refused")
        assert "exit code 3" in report["reason"]
        assert "RuntimeError: broken deploy" in report["traceback"]
        assert not (directory.path / "smoothserve.pid").exists()


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGTERM, "it was stopped while it booted"),
        (signal.SIGKILL, "it was killed by SIGKILL while it booted"),
    ],
)
def test_start_d_says_in_words_that_the_server_was_ended_while_it_booted(
    directory: AppDirectory, number: signal.Signals, words: str
) -> None:
    directory.deploy("1", before="import time\ntime.sleep(60)\n")
    path = directory.path / "smoothserve.pid"
    command = [sys.executable, "-m", "smoothserve", "start", "-d", "app:app", "--bind", "127.0.0.1:0"]
    with daemon(directory):
        start = subprocess.Popen(command, cwd=directory.path, stderr=subprocess.PIPE, text=True, env=clean_environ({}))
        log = directory.path / "smoothserve.log"
        # It is written when the first worker has been started.
        wait_until(lambda: path.exists() and path.read_text().endswith("\n"), 120, "the server to boot")
        os.kill(int(path.read_text()), number)
        _, said = start.communicate(timeout=60)
    assert start.returncode == ExitCode.BOOT_FAILED
    assert said.endswith(f"smoothserve: error: {words}; its log: {log}\n")


def test_what_is_no_process_number_is_refused_by_the_desk(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory)
    desk = client.Server(told(server)["control_socket"])
    wrong: list[Any] = [{}, [], "1", 1.5, True]
    for pid in wrong:
        with pytest.raises(client.RefusedError, match="pid is a worker's process number"):
            desk.tell("dump", pid=pid)


@pytest.mark.parametrize(
    "name", ["reload", "stop", "restart", "status", "connections", "workers", "dump", "start", "check"]
)
def test_each_verb_has_help(name: str) -> None:
    result = verb(name, "--help")
    assert result.returncode == 0
    assert f"Usage: smoothserve {name}" in result.stdout
    assert "--json" in result.stdout
