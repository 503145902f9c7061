"""Runs a real master with fake workers, and waits for what its log says, with a deadline."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from smoothserve.control.launch import MasterLaunch, write_launch

FAKE_WORKER = Path(__file__).with_name("fake_worker.py")
ROOT = FAKE_WORKER.parents[3]
PATIENCE = 20.0
Found = TypeVar("Found")


def wait_for(look: Callable[[], Found | None], what: str) -> Found:
    """Poll until `look` finds something. Raise AssertionError after `PATIENCE` seconds."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        found = look()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"waited in vain for {what}")


class Master:
    """A master process in a directory of its own. Use as a context manager."""

    def __init__(
        self, directory: Path, *, config: str | None = None, environ: Mapping[str, str] | None = None, **flags: Any
    ) -> None:
        self.directory = directory
        self.home = directory
        self.log_path = directory / "log"
        self.interpreter = directory / "bin" / "python"
        if not self.interpreter.exists():
            make_interpreter(self.interpreter)
        self.flags = {
            "app": "app:app",
            "bind": ["127.0.0.1:0"],
            "python": str(self.interpreter),
            "error_logfile": str(self.log_path),
            "soak_interval": 0.0,
            "kill_timeout": 0.5,
            **flags,
        }
        self.config = config
        self.environ = {**os.environ, **(environ or {})}
        self.closed: list[int] = []
        """Standard streams that are closed at the start."""
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        launch = MasterLaunch(
            flags={name: value for name, value in self.flags.items() if value is not None},
            config=self.config,
            executable=sys.executable,
            directory=str(self.directory),
        )
        fd = write_launch(launch)
        closed = " ".join(f"{number}<&-" for number in self.closed)
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-P", "-m", "smoothserve.master", str(fd)],
            pass_fds=[fd],
            cwd=self.directory,
            env=self.environ,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        os.close(fd)
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    def behave(self, **behaviour: Any) -> None:
        (self.directory / "behaviour").write_text(json.dumps(behaviour))

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def exit_code(self) -> int:
        assert self.process
        return self.process.wait(PATIENCE)

    def errors(self) -> str:
        """Return what went to standard error, after the end."""
        assert self.process
        return self.process.communicate(timeout=PATIENCE)[1]

    @property
    def log(self) -> str:
        return self.log_path.read_text() if self.log_path.exists() else ""

    def wait_for_line(self, pattern: str, times: int = 1) -> str:
        """Wait until the log has a line (of `times`) that has the pattern in it; return the last one."""

        def look() -> str | None:
            found = re.findall(f".*{pattern}.*", self.log)
            return found[times - 1] if len(found) >= times else None

        try:
            return wait_for(look, f"{times} x {pattern}")
        except AssertionError as error:
            raise AssertionError(f"{error}; the log:\n{self.log}") from None

    def started(self, worker: int, home: Path | None = None) -> dict[str, Any]:
        """Return what a worker was started with."""
        path = (home or self.directory) / f"started-{worker}"
        wait_for(path.exists, str(path))
        values: dict[str, Any] = json.loads(path.read_text())
        return values


def make_interpreter(path: Path) -> None:
    """Make a program that looks like an interpreter and runs the fake worker."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'#!/bin/sh\nFAKE_INTERPRETER="$0" PYTHONPATH="{ROOT}" exec "{sys.executable}" "{FAKE_WORKER}" "$@"\n'
    )
    path.chmod(0o755)
