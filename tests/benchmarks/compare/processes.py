"""A server under measurement: started on given cores, its process tree's CPU seconds and memory, its end. On Linux."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from tests.benchmarks.compare.peers import Options, command

ROOT = Path(__file__).resolve().parents[3]
TICKS = os.sysconf("SC_CLK_TCK")
START_TIMEOUT = 20.0
STOP_TIMEOUT = 8.0


class BenchmarkError(Exception):
    """A server or load generator did not do what is measured."""


def free_port() -> int:
    """Return a port on 127.0.0.1 that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Server:
    """One server from start to stop; a context manager."""

    def __init__(
        self, name: str, python: str, app: str, options: Options, *, cores: set[int] | None, log: Path
    ) -> None:
        self.name = name
        self.port = free_port()
        self.boot_seconds = 0.0
        self.worker_boot_seconds = 0.0
        """From the start of the newest process to the first answer; in steps of a clock tick."""
        self._command = command(name, python, app, self.port, options)
        self._cores = cores
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        began = time.monotonic()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": ""}
        environment.pop("WEB_CONCURRENCY", None)
        cores = self._cores
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=environment,
                start_new_session=True,
                preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None,
            )
        self._wait_serving(began + START_TIMEOUT)
        self.boot_seconds = time.monotonic() - began
        newest = max(int(fields[19]) for pid in self.members() if (fields := _stat(pid)))
        self.worker_boot_seconds = time.clock_gettime(time.CLOCK_BOOTTIME) - newest / TICKS
        return self

    def _wait_serving(self, deadline: float) -> None:
        assert self._process is not None
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5) as sock:
                sock.settimeout(5)
                sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                if sock.recv(64).startswith(b"HTTP/1.1 200"):
                    return
            time.sleep(0.005)
        self._end()
        raise BenchmarkError(f"{self.name} does not serve: see {self._log}\n  {' '.join(self._command)}")

    def __exit__(self, *exc: object) -> None:
        self._end()

    def _end(self) -> None:
        process = self._process
        if process is None:
            return
        members = self.members()
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            print(f"({self.name} did not obey TERM within {STOP_TIMEOUT:g} s: killed)", file=sys.stderr)
        for pid in [process.pid, *members]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        self._process = None

    @property
    def pid(self) -> int:
        """The first process: the one that signals go to."""
        assert self._process is not None
        return self._process.pid

    def reload(self) -> None:
        """Send HUP."""
        os.kill(self.pid, signal.SIGHUP)

    def members(self) -> list[int]:
        """Return all processes of the server: of its session."""
        assert self._process is not None
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdecimal():
                fields = _stat(int(entry))
                if fields and int(fields[3]) == self._process.pid:
                    found.append(int(entry))
        return found

    def cpu_seconds(self) -> float:
        """Return the CPU seconds that the tree has used, those of its ended and waited-for children included."""
        ticks = 0
        for pid in self.members():
            fields = _stat(pid)
            if fields:
                ticks += sum(map(int, fields[11:15]))
        return ticks / TICKS

    def pss_kib(self) -> dict[int, int]:
        """Return the proportional set size of each process, in KiB."""
        return {pid: _memory(pid, "Pss") for pid in self.members()}

    def rss_kib(self) -> dict[int, int]:
        """Return the resident set size of each process, in KiB."""
        return {pid: _memory(pid, "Rss") for pid in self.members()}


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _memory(pid: int, field: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(field + ":")), 0)
