"""A page in headless Chromium, driven by the DevTools protocol."""

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import urllib.request
from pathlib import Path
from typing import Any, Self

import pytest
from websockets.sync.client import connect

from tests.process.processes import session_members, wait_until

#: It speaks to nobody but the page's server.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
)
START_TIMEOUT = 60.0


class Browser:
    """One Chromium with an empty profile. Use it as a context: leaving it ends all of its processes."""

    def __init__(self, profile: Path) -> None:
        program = shutil.which("chromium") or shutil.which("chromium-browser")
        if program is None:
            pytest.fail("the test needs Chromium: apt-get install chromium (python3 -m tests --full does so as root)")
        profile.mkdir()
        self._process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._port_file = profile / "DevToolsActivePort"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for pid in session_members(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

    @property
    def _port(self) -> int:
        wait_until(self._port_file.exists, START_TIMEOUT, "Chromium is there")
        wait_until(self._port_file.read_text, START_TIMEOUT, "Chromium listens")
        return int(self._port_file.read_text().split()[0])

    def open(self, url: str) -> "Page":
        """Open a page in a tab of its own."""
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}/json/new?{url}", method="PUT")
        with urllib.request.urlopen(request, timeout=START_TIMEOUT) as answer:
            return Page(json.load(answer)["webSocketDebuggerUrl"])


class Page:
    """A page. Use it as a context: entering it begins the conversation with the browser."""

    def __init__(self, address: str) -> None:
        self._connecting = connect(address, max_size=None)
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        self._devtools = self._connecting.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._connecting.__exit__(None, None, None)

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript."""
        number = next(self._numbers)
        parameters = {"expression": expression, "returnByValue": True}
        self._devtools.send(json.dumps({"id": number, "method": "Runtime.evaluate", "params": parameters}))
        while True:
            message = json.loads(self._devtools.recv(timeout=30))
            if message.get("id") == number:
                assert "exceptionDetails" not in message["result"], message
                return message["result"]["result"].get("value")

    def text(self, selector: str) -> str | None:
        """Return the text of an element, None if there is none (yet)."""
        value: str | None = self.evaluate(f"document.querySelector({json.dumps(selector)})?.textContent ?? null")
        return value

    def wait_text(self, selector: str, text: str, timeout: float = 30.0) -> None:
        """Wait until an element has that text."""
        wait_until(lambda: self.text(selector) == text, timeout, f"{selector} says {text!r}")
