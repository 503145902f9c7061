"""Runs scenarios in a thread of their own, so that a test or a command can do something to the server."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from tests.load.connection import Target
from tests.load.outcomes import Report
from tests.load.scenarios import Run, Scenario

POLL_INTERVAL = 0.02


def event_loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's loop where it is installed: the client must not be the bottleneck."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Any = uvloop.new_event_loop
    return factory  # type: ignore[no-any-return]  # uvloop is untyped for mypy


class Load:
    """Clients at work from `with` to its end (or `stop`). What they saw is in `report`.

    `timeout` is what one request may take; leaving waits for what is in hand.
    """

    def __init__(self, target: Target, *scenarios: Scenario, timeout: float = 30.0) -> None:
        self.target = target
        self.scenarios: Sequence[Scenario] = scenarios
        self.timeout = timeout
        self._run: Run | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._error: BaseException | None = None
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._work, name="load", daemon=True)

    @property
    def report(self) -> Report:
        """What the clients have seen so far."""
        assert self._run is not None
        return self._run.report

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.stop()
        else:
            self._tell_to_stop()
            self._thread.join(self.timeout + 20.0)
        print(self.report.render())  # pytest shows it when the test fails

    def stop(self) -> Report:
        """Let every client finish what it has in hand; return the report. A client's trouble is raised."""
        self._tell_to_stop()
        return self.join()

    def join(self) -> Report:
        """Wait until every client has left by itself or was told to; return the report."""
        self._thread.join(self.timeout + 20.0)
        if self._error is not None:
            raise self._error
        if self._thread.is_alive():
            raise TimeoutError("the load clients did not end")
        return self.report

    def wait_until(self, condition: Callable[[Report], object], timeout: float = 90.0) -> None:
        """Poll until the report so far meets the condition."""
        deadline = time.monotonic() + timeout
        while not condition(self.report):
            if self._error is not None:
                raise self._error
            if time.monotonic() > deadline:
                raise TimeoutError(f"not there within {timeout} s\n{self.report.render()}")
            time.sleep(POLL_INTERVAL)

    def wait_answers(self, count: int, timeout: float = 90.0) -> None:
        """Wait until `count` more requests have been answered well."""
        goal = self.report.answered + count
        self.wait_until(lambda report: report.answered >= goal, timeout)

    def wait_version(self, version: str, timeout: float = 90.0) -> None:
        """Wait until a version of the application has answered."""
        self.wait_until(lambda report: version in report.versions, timeout)

    def _tell_to_stop(self) -> None:
        if self._loop is not None and self._run is not None and self._thread.is_alive():
            try:
                self._loop.call_soon_threadsafe(self._run.stopping.set)
            except RuntimeError:  # the loop has closed: all clients had left
                return

    def _work(self) -> None:
        try:
            with asyncio.Runner(loop_factory=event_loop_factory()) as runner:
                runner.run(self._main())
        except BaseException as error:
            self._error = error
        finally:
            self._started.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._run = Run(self.target, self.timeout)
        self._started.set()
        await self._run.go(self.scenarios)
