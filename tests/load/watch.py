"""A reload under load that a person can watch: a line a second, a closing table, and what the reloads took.

Either starts smoothserve with an example application whose version changes with every reload, or puts load on a
server that runs already and sends its master HUP. Loopback only; ends what it started, by its process id.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from tests.load import scenarios
from tests.load.connection import Target
from tests.load.outcomes import Report
from tests.load.runner import Load
from tests.load.scenarios import Scenario

APPS = Path(__file__).resolve().parent.parent / "apps"
READY_TIMEOUT = 30.0
STOP_TIMEOUT = 40.0
#: How much longer than planned a reload is waited for.
SETTLE_TIMEOUT = 30.0

#: What a person can choose, with the number of clients that it means.
TRAFFIC: dict[str, Callable[[int], list[Scenario]]] = {
    "keep-alive": lambda clients: [scenarios.get_and_post(clients)],
    "idle": lambda clients: [scenarios.idle_clients(clients)],
    "new-connections": lambda clients: [scenarios.new_connections(clients)],
    "slow": lambda clients: [scenarios.slow_requests(clients)],
    "uploads": lambda clients: [scenarios.uploads(clients)],
    "streams": lambda clients: [scenarios.streams(clients)],
    "pipelined": lambda clients: [scenarios.pipelined(clients)],
    "http10": lambda clients: [scenarios.http10(clients), scenarios.http10(clients, keep_alive=True)],
    "mixed": lambda _: scenarios.mixed(),
}


class Subject(Protocol):
    """The server that is watched."""

    target: Target

    def reload(self, version: str) -> None:
        """Make a new version the code on disk, where that is ours to do, and send HUP."""

    def settled(self, reloads: int) -> bool:
        """Whether the server has said of so many reloads how they ended, as far as that can be known."""

    def reload_lines(self) -> list[str]:
        """Return what the server has said of its reloads, as far as that can be known."""


class OwnServer:
    """A smoothserve that is started here, with an example application in a directory of its own."""

    def __init__(self, workers: int, wsgi: bool, options: Sequence[str]) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="smoothserve-load-"))
        self._log = self._directory / "server.log"
        shutil.copy(APPS / ("wsgi_load.py" if wsgi else "asgi_load.py"), self._directory / "app.py")
        self._deploy("1")
        command = [sys.executable, "-m", "smoothserve", "app:app", "--bind", "127.0.0.1:0"]
        command += ["--workers", str(workers), *options]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=self._directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def __enter__(self) -> Self:
        deadline = time.monotonic() + READY_TIMEOUT
        while "] ready: " not in self._text():
            if self._process.poll() is not None or time.monotonic() > deadline:
                text = self._text()
                self._end()
                raise SystemExit(f"the server did not start:\n{text}")
            time.sleep(0.05)
        match = re.search(r"listening on http://127\.0\.0\.1:(\d+)", self._text())
        assert match is not None
        self.target = Target(port=int(match[1]))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def reload(self, version: str) -> None:
        self._deploy(version)
        self._process.send_signal(signal.SIGHUP)

    def settled(self, reloads: int) -> bool:
        endings = ("finished:", "refused:", "mixed:")
        return sum(line.startswith(endings) for line in self.reload_lines()) >= reloads

    def reload_lines(self) -> list[str]:
        return [line.partition("] reload ")[2] for line in self._text().splitlines() if "] reload " in line]

    def _deploy(self, version: str) -> None:
        new = self._directory / "version.new"
        new.write_text(version)
        new.rename(self._directory / "version.txt")

    def _text(self) -> str:
        return self._log.read_text(errors="replace")

    def _end(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)


class RunningServer:
    """A server that somebody else has started, with one of `tests/apps/*_load.py`."""

    def __init__(self, target: Target, pid: int | None) -> None:
        self.target = target
        self._pid = pid

    def reload(self, version: str) -> None:
        if self._pid is not None:
            os.kill(self._pid, signal.SIGHUP)

    def settled(self, reloads: int) -> bool:
        return True

    def reload_lines(self) -> list[str]:
        return []


def watch(subject: Subject, traffic: list[Scenario], *, reloads: int, interval: float, timeout: float) -> Report:
    """Put load on the server, reload it every `interval` seconds, and tell what is seen; return the report."""
    print("  second  answers/s  dropped  connections  closed idle  versions in this second", flush=True)
    with Load(subject.target, *traffic, timeout=timeout) as load:
        ticker = Ticker(load.report)
        done = 0
        next_reload = interval
        last = interval * (reloads + 1) + SETTLE_TIMEOUT * (reloads + 1)
        while ticker.seconds < next_reload and ticker.seconds < last:
            ticker.wait()
            # A HUP in the middle of a reload would only be taken together with others.
            if ticker.seconds >= next_reload and not subject.settled(done):
                next_reload = ticker.seconds + 1
            elif ticker.seconds >= next_reload and done < reloads:
                done += 1
                next_reload = ticker.seconds + interval
                print(f"  -- HUP {done} of {reloads}", flush=True)
                subject.reload(str(done + 1))
        report = load.stop()
        print("\nThe reloads, as the server tells it:" if subject.reload_lines() else "")
        for line in subject.reload_lines():
            print(f"  reload {line}")
        print("\nWhat the clients saw:")
    return report


class Ticker:
    """Prints a line for each second."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._answered = 0
        self._counts: dict[str, int] = {}
        self.seconds = 0

    def wait(self) -> None:
        """Wait for the end of the second and print it."""
        self.seconds += 1
        time.sleep(max(0.0, self._report.started + self.seconds - time.monotonic()))
        report = self._report
        answered = report.answered
        counts = {version: seen.answers for version, seen in list(report.versions.items())}
        now = [f"{version}: {n - self._counts.get(version, 0)}" for version, n in counts.items()]
        shown = [text for text in now if not text.endswith(": 0")]
        print(
            f"  {self.seconds:>6}  {answered - self._answered:>9}  {report.dropped:>7}"
            f"  {report.connections_opened:>11}  {report.connections_closed_idle:>11}  {', '.join(shown)}",
            flush=True,
        )
        self._answered, self._counts = answered, counts
