"""A broken deploy costs nothing: the old code answers on, the log says why, and the next good HUP works."""

import time
from pathlib import Path

import pytest

from tests.load.runner import Load
from tests.load.scenarios import get_and_post, new_connections
from tests.process.directory import BROKEN, FAILING_LIFESPAN, HANGS, HANGS_DEAF, AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import Server, assert_nothing_dropped
from tests.process.processes import wait_until

#: Which of them end with a Python traceback, and what is in it.
TRACEBACKS = {
    "raises at import": "RuntimeError: broken deploy",
    "a syntax error": "SyntaxError",
    "a missing dependency": "No module named 'no_such_dependency'",
}


def refuse_under_load(directory: AppDirectory, server: Server, before: str = "", after: str = "") -> str:
    """Deploy something broken between two good versions, all under load; return the reason given for the refusal."""
    with Load(server.target, get_and_post(24), new_connections(4)) as load:
        load.wait_answers(100)
        old = set(server.workers)
        directory.deploy("broken", before=before, after=after)
        reason = server.reload_refused()
        load.wait_answers(100)
        wait_until(lambda: old == set(server.workers), 10, "the old workers, and nobody else, serve on")
        directory.deploy("2")
        server.reload()
        load.wait_version("2")
    assert_nothing_dropped(load.report, "1", "2")
    return reason


@pytest.mark.parametrize("what", BROKEN)
def test_a_deploy_that_does_not_import_costs_nothing(serve: Serve, directory: AppDirectory, what: str) -> None:
    server = serve(directory, "--workers", "2")
    server.tracebacks_expected = True
    reason = refuse_under_load(directory, server, before=BROKEN[what])
    assert "2 workers of generation 1 serve on" in reason
    if what in TRACEBACKS:
        assert TRACEBACKS[what] in server.log()
        assert 'app.py", line' in server.log()


@pytest.mark.parametrize(("app", "interface", "broken"), [("asgi_load", "asgi", "None"), ("wsgi_load", "wsgi", "42")])
def test_a_deploy_of_what_is_no_application_costs_nothing_where_the_interface_is_named(
    serve: Serve, tmp_path: Path, app: str, interface: str, broken: str
) -> None:
    directory = AppDirectory(tmp_path / interface, app)
    server = serve(directory, "--workers", "2", "--interface", interface)
    reason = refuse_under_load(directory, server, after=f"\n\napp = {broken}\n")
    assert "not a callable: it is no WSGI or ASGI application" in reason


def test_a_failing_lifespan_costs_nothing(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--workers", "2")
    server.tracebacks_expected = True
    reason = refuse_under_load(directory, server, after=FAILING_LIFESPAN)
    assert "no database today" in reason


@pytest.mark.parametrize("code", [HANGS, HANGS_DEAF], ids=["hangs", "hangs and ignores TERM"])
def test_a_deploy_that_hangs_at_import_costs_nothing(serve: Serve, directory: AppDirectory, code: str) -> None:
    server = serve(directory, "--workers", "2", "--boot-timeout", "10", "--kill-timeout", "1")
    server.tracebacks_expected = True
    reason = refuse_under_load(directory, server, before=code)
    assert "boot" in reason


def test_a_worker_that_dies_after_it_was_ready_but_before_it_is_trusted_aborts_the_reload(
    serve: Serve, directory: AppDirectory
) -> None:
    server = serve(directory, "--workers", "2", "--soak-interval", "1")
    server.tracebacks_expected = True
    # The timer is a thread's, started at import: it ends the worker while it soaks.
    dies = "import os, threading\nthreading.Timer(0.9, os._exit, [1]).start()\n"
    # The time to boot decides where in the second it falls; either way nothing may be lost.
    refuse_under_load(directory, server, before=dies)


@pytest.mark.parametrize("seconds", [pytest.param(3, id="3s"), pytest.param(20, id="20s", marks=pytest.mark.full)])
def test_an_application_that_boots_slowly_costs_nobody_anything(
    serve: Serve, directory: AppDirectory, seconds: int
) -> None:
    server = serve(directory, "--workers", "2")
    with Load(server.target, get_and_post(24), new_connections(4)) as load:
        load.wait_answers(100)
        directory.deploy("2", before=f"import time\ntime.sleep({seconds})\n")
        began = time.monotonic()
        server.reload(timeout=30 + 2 * seconds)
        assert time.monotonic() - began > seconds
        load.wait_version("2")
    assert_nothing_dropped(load.report, "1", "2")
    assert load.report.latency(1.0) < seconds, "nobody waits for the boot"


def test_an_application_removed_altogether_costs_nothing(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--workers", "1")
    with Load(server.target, get_and_post(8)) as load:
        load.wait_answers(50)
        (directory.path / "app.py").unlink()
        assert "no module named 'app'" in server.reload_refused()
        load.wait_answers(50)
        directory.deploy("2")
        server.reload()
        load.wait_version("2")
    assert_nothing_dropped(load.report, "1", "2")
