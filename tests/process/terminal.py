"""A command on a terminal: what a person would see of it."""

import os
import pty
import re
import signal
import subprocess
import sys
import threading
from typing import Self

from tests.process.harness import clean_environ
from tests.process.processes import wait_until


class OnTerminal:
    """`smoothserve VERB ...` whose standard output and error are a terminal. Use it as a context."""

    def __init__(self, *arguments: str) -> None:
        self._terminal, inside = pty.openpty()
        self._seen = bytearray()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "smoothserve", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=inside,
            stderr=inside,
            env=clean_environ({"TERM": "xterm"}),
        )
        os.close(inside)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        os.close(self._terminal)
        print(f"--- on the terminal\n{self.seen()}")

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._terminal, 65536)
            except OSError:  # Linux: the last one that had the other end open has closed it
                return
            if not data:
                return
            self._seen += data

    def seen(self) -> str:
        """Return all that has been written, control sequences included."""
        return bytes(self._seen).decode()

    def wait_seen(self, pattern: str, timeout: float = 60.0, *, count: int = 1) -> None:
        """Wait until the pattern has been seen `count` times."""
        wait_until(lambda: len(re.findall(pattern, self.seen())) >= count, timeout, f"{count} x {pattern!r}")

    def end(self, number: signal.Signals | None = None, timeout: float = 60.0) -> int:
        """Wait for the end, after a signal if one is named; return the exit code. All that was written is seen then."""
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(timeout)
        self._reader.join(timeout)
        return code
