"""Fixtures of the process and fault tests: an application directory, and servers stopped at the end."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.process.directory import AppDirectory
from tests.process.harness import Server


class Serve(Protocol):
    """Starts a server and waits until it is ready (unless `wait=False`)."""

    def __call__(self, directory: AppDirectory, *options: str, wait: bool = True, **keywords: Any) -> Server: ...


@pytest.fixture
def directory(tmp_path: Path) -> AppDirectory:
    """The load client's ASGI application, version 1."""
    return AppDirectory(tmp_path / "app")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Servers in their own sessions; none of their processes may be left at the end."""
    with contextlib.ExitStack() as stack:

        def start(directory: AppDirectory, *options: str, wait: bool = True, **keywords: Any) -> Server:
            server = stack.enter_context(Server(directory.path, *options, logs=tmp_path, **keywords))
            return server.wait_ready() if wait else server

        yield start
