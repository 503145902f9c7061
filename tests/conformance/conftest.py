"""Servers of ours for the suites, which need one worker each."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process.harness import Server

ROOT = Path(__file__).resolve().parent.parent.parent

StartServer = Callable[..., Server]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartServer]:
    """Start servers of an application in this repository; each is stopped at the end of the test."""
    with contextlib.ExitStack() as stack:

        def start_one(app: str, *options: str, environ: dict[str, str] | None = None) -> Server:
            # Many cases are answered with 500, and the log says why.
            server = Server(ROOT, *options, app=app, logs=tmp_path, environ=environ)
            server.tracebacks_expected = True
            return stack.enter_context(server).wait_ready()

        yield start_one
