"""A real smoothserve in its own session: started, signalled, read by its log, and cleaned up after.

Nothing sleeps for a guess: everything waits for a line or a condition, with a deadline.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.load.connection import Target
from tests.load.outcomes import Report
from tests.process.processes import POLL_INTERVAL, children, is_running, session_members, wait_until

START_TIMEOUT = 90.0
#: What a swap may take on a slow machine that does other things as well; a quiet one needs about a second.
RELOAD_TIMEOUT = 120.0
STOP_TIMEOUT = 60.0

LISTENING = re.compile(r"listening on (?:https?://127\.0\.0\.1:(?P<port>\d+)|unix:(?P<path>\S+))")
READY = re.compile(r"\] ready: ")
OVER = re.compile(r"\] reload (?P<how>finished|refused|mixed): generation (?P<generation>\d+)(?P<rest>.*)")

#: Variables that would change what a server does, of the person's or the CI's own environment.
NOT_INHERITED = ("SMOOTHSERVE_", "WEB_CONCURRENCY", "PORT", "PYTHONPATH", "FORWARDED_ALLOW_IPS", "PWD")


class Server:
    """One master with its workers. Use it as a context: leaving it stops the server and looks for what it left."""

    def __init__(
        self,
        directory: Path,
        *options: str,
        app: str = "app:app",
        logs: Path,
        python: str = sys.executable,
        command: Sequence[str] | None = None,
        environ: Mapping[str, str] | None = None,
        bind: str | None = "127.0.0.1:0",
    ) -> None:
        """Start a server in `directory`; `logs` is a directory for what it prints.

        `command` replaces all of the command line before the options.
        """
        self.directory = directory
        self.generation = 1
        self.tracebacks_expected = False
        self.exit_code_expected: int | None = 0
        self._errors = logs / f"server-{time.monotonic_ns()}.log"
        bound = ["--bind", bind] if bind else []
        arguments = [*(command or (python, "-m", "smoothserve", app)), *bound, *options]
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                arguments,
                cwd=directory,
                env=clean_environ(environ or {}),
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
            )
        self.session = self.process.pid
        self.pid = self.process.pid
        """The master's process id."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        code = None
        try:
            if self.process.poll() is None:
                self.process.terminate()
            code = self.process.wait(STOP_TIMEOUT)
            everything = "all processes of the server left"
            wait_until(lambda: not session_members(self.session), STOP_TIMEOUT, everything)
        except (subprocess.TimeoutExpired, AssertionError):
            if error is None:
                raise
        finally:
            self.kill_all()
            print(f"--- log of smoothserve {self.pid}, exit code {code}\n{self.log()}")
        if error is None:
            self.check(code)

    def check(self, code: int | None) -> None:
        """Assert what holds at the end of every test, unless it said otherwise."""
        if self.exit_code_expected is not None:
            assert code == self.exit_code_expected
        if not self.tracebacks_expected:
            assert "Traceback" not in self.log(), "an unexpected traceback in the log"

    def kill_all(self) -> None:
        """Kill what is left of the server's session."""
        for pid in session_members(self.session):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

    # the log

    def log(self) -> str:
        """Return all that the server has printed so far."""
        return self._errors.read_text(errors="replace")

    def wait_log(self, pattern: str | re.Pattern[str], timeout: float = 60.0, *, count: int = 1) -> re.Match[str]:
        """Wait for the `count`-th line that matches; return its match. Fail if the server ends without it."""
        compiled = re.compile(pattern)
        deadline = time.monotonic() + timeout
        while True:
            ended = self.process.poll() is not None
            matches = list(compiled.finditer(self.log()))
            if len(matches) >= count:
                return matches[count - 1]
            if ended or time.monotonic() > deadline:
                how = f"before the server ended ({self.process.returncode})" if ended else f"within {timeout} s"
                raise AssertionError(f"no {compiled.pattern!r} in the log {how}\n{self.log()}")
            time.sleep(POLL_INTERVAL)

    def wait_ready(self, timeout: float = START_TIMEOUT) -> Self:
        """Wait until the server says that it is ready."""
        self.wait_log(READY, timeout)
        return self

    @property
    def target(self) -> Target:
        """Where the server listens (the first of its listeners)."""
        match = self.wait_log(LISTENING)
        return Target(path=match["path"]) if match["path"] else Target(port=int(match["port"]))

    @property
    def port(self) -> int:
        """The TCP port that it listens on."""
        return self.target.port

    @property
    def workers(self) -> list[int]:
        """Process ids of the running workers, oldest first."""
        return children(self.pid)

    # signals

    def kill(self, number: signal.Signals) -> None:
        """Send a signal to the master."""
        os.kill(self.pid, number)

    def hup(self) -> None:
        """Ask for a reload."""
        self.kill(signal.SIGHUP)

    def reload(self, timeout: float = RELOAD_TIMEOUT) -> float:
        """Ask for a reload and wait until it has finished; return its seconds."""
        began = time.monotonic()
        self.hup()
        self.wait_reload("finished", timeout)
        return time.monotonic() - began

    def reload_refused(self, timeout: float = RELOAD_TIMEOUT) -> str:
        """Ask for a reload that must be refused; return the reason that the log gives."""
        self.hup()
        return self.wait_reload("refused", timeout)

    def wait_reload(self, how: str, timeout: float = RELOAD_TIMEOUT) -> str:
        """Wait for the end of the next generation's reload; return the rest of the line."""
        self.generation += 1
        match = self.wait_log(rf"\] reload (finished|refused|mixed): generation {self.generation}\b(.*)", timeout)
        assert match[1] == how, f"the reload is to be {how}: {match[0]}"
        return match[2]

    def wait_drained(self, timeout: float = 60.0) -> None:
        """Wait until the last worker that the newest reload replaced has left."""
        self.wait_log(rf"\] reload drained: generation {self.generation}\b", timeout)

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = STOP_TIMEOUT) -> int:
        """Stop the server; return its exit code."""
        self.kill(number)
        return self.process.wait(timeout)

    def wait_exit(self, timeout: float = STOP_TIMEOUT) -> int:
        """Wait until the server has ended by itself; return its exit code."""
        return self.process.wait(timeout)

    def wait_gone(self, pids: Sequence[int], timeout: float = 30.0) -> None:
        """Wait until none of the processes runs any more."""
        wait_until(lambda: not any(is_running(pid) for pid in pids), timeout, f"processes {list(pids)} left")


def clean_environ(extra: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a server: this one without what would change its settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(NOT_INHERITED)}
    return {**kept, **extra}


def assert_nothing_dropped(report: Report, *versions: str) -> None:
    """Assert that every request was answered, by each of the versions and no other, and no connection was cut."""
    assert report.dropped == 0, report.render()
    assert report.answered > 0
    assert report.connections_closed_idle == 0, "connections closed unannounced while idle"
    assert report.connections_reset_after_close == 0, "connections reset after their last answer"
    assert set(report.versions) == set(versions), report.render()
