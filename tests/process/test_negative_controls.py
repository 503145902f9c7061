"""The drop tests turn red when the server is sabotaged: what cannot fail proves nothing.

The sabotage is a `sitecustomize` in the worker's path; the product has no hooks for it.
"""

from pathlib import Path

import pytest

from tests.load.outcomes import Outcome, Report
from tests.load.runner import Load
from tests.load.scenarios import Scenario, get_and_post, new_connections, slow_requests, streams
from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import assert_nothing_dropped

ONLY_IN_WORKERS = """\
import sys

if "smoothserve.worker" in sys.orig_argv:
    import contextlib
    import os
    import socket

    from smoothserve.connection.acceptor import Acceptor
    from smoothserve.connection.service import Service
    from smoothserve.worker.process import Worker
"""

#: What is done to a worker that drains, the traffic that must notice it, and what that must see.
SABOTAGES: dict[str, tuple[str, Scenario, set[Outcome]]] = {
    "it closes idle connections at once": (
        """
    def begin_drain(self, *arguments, **keywords):
        for connection in list(self.connections):
            if connection not in {getattr(call, "_connection", None) for call in self.calls}:
                connection._transport.abort()
        return original(self, *arguments, **keywords)

    original, Service.begin_drain = Service.begin_drain, begin_drain
""",
        get_and_post(48, think=(0.0, 0.001)),
        {Outcome.EOF_BEFORE_ANSWER, Outcome.RESET_BEFORE_ANSWER, Outcome.WRITE_RESET},
    ),
    "it leaves without finishing what is in hand": (
        """
    Worker._drain = lambda self, message: os._exit(0)
""",
        slow_requests(8, (0.2, 0.4)),
        {Outcome.EOF_BEFORE_ANSWER},
    ),
    "it cuts streams": (
        """
    def begin_drain(self, *arguments, **keywords):
        result = original(self, *arguments, **keywords)
        self.cut()
        return result

    original, Service.begin_drain = Service.begin_drain, begin_drain
""",
        streams(8, parts=20),
        {Outcome.TRUNCATED_BODY},
    ),
    "it shuts the listener down instead of leaving it to the others": (
        """
    def stop(self):
        for listener in self._listeners:
            with contextlib.suppress(OSError):  # another worker has done it
                listener.shutdown(socket.SHUT_RDWR)
        original(self)

    original, Acceptor.stop = Acceptor.stop, stop
""",
        new_connections(8, think=(0.0, 0.005)),
        {Outcome.CONNECT_REFUSED},
    ),
}


def reload_sabotaged(serve: Serve, directory: AppDirectory, hooks: Path, code: str, traffic: Scenario) -> Report:
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(ONLY_IN_WORKERS + code)
    server = serve(directory, "--workers", "2", environ={"PYTHONPATH": str(hooks)})
    server.tracebacks_expected = True
    with Load(server.target, traffic) as load:
        load.wait_answers(20)
        for version in ("2", "3"):
            directory.deploy(version)
            server.reload()
            if load.report.dropped:
                break
            load.wait_answers(20)
    return load.report


@pytest.mark.parametrize("what", SABOTAGES)
def test_a_sabotaged_worker_turns_the_drop_tests_red(
    serve: Serve, directory: AppDirectory, tmp_path: Path, what: str
) -> None:
    code, traffic, outcomes = SABOTAGES[what]
    report = reload_sabotaged(serve, directory, tmp_path / "hooks", code, traffic)
    with pytest.raises(AssertionError):
        assert_nothing_dropped(report, *report.versions)
    assert outcomes & set(report.outcomes), report.render()


def test_without_sabotage_the_same_hook_is_green(serve: Serve, directory: AppDirectory, tmp_path: Path) -> None:
    traffic = get_and_post(48, think=(0.0, 0.001))
    report = reload_sabotaged(serve, directory, tmp_path / "hooks", "", traffic)
    assert_nothing_dropped(report, *report.versions)
    assert len(report.versions) > 1
