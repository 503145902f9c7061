"""A reload drops nothing, whatever the traffic: every request gets its whole answer, new code takes over."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.load.connection import Target
from tests.load.runner import Load
from tests.load.scenarios import (
    Scenario,
    get_and_post,
    http10,
    mixed,
    new_connections,
    pipelined,
    slow_requests,
    streams,
    uploads,
)
from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import Server, assert_nothing_dropped

Traffic = Callable[[], list[Scenario]]

TRAFFIC: dict[str, Traffic] = {
    "keep-alive": lambda: [get_and_post(48)],
    "a new connection per request": lambda: [new_connections(8)],
    "requests longer than the gap": lambda: [slow_requests(16, (2.0, 4.0)), get_and_post(4)],
    "trickling uploads": lambda: [uploads(16, parts=25, gap=0.05)],
    "streaming answers": lambda: [streams(16, parts=25, gap=0.05), streams(4, parts=25, version="1.0")],
    "pipelining": lambda: [pipelined(16)],
    "HTTP/1.0": lambda: [http10(8), http10(8, keep_alive=True)],
    "everything at once": mixed,
}
VARIANTS = [
    pytest.param(("auto", "auto"), id="default"),
    *(
        pytest.param((http, loop), id=f"{http}-{loop}", marks=pytest.mark.full)
        for http in ("httptools", "h11")
        for loop in ("uvloop", "asyncio")
    ),
]


def reload_under_load(
    directory: AppDirectory, server: Server, target: Target, traffic: list[Scenario], *, reloads: int = 2
) -> None:
    """Deploy and reload under load, one version after the other, and assert that nothing was dropped."""
    versions = [str(number + 1) for number in range(reloads + 1)]
    with Load(target, *traffic) as load:
        load.wait_version("1")
        for version in versions[1:]:
            load.wait_answers(10)
            directory.deploy(version)
            server.reload()
            load.wait_version(version)
        load.wait_answers(10)
    assert_nothing_dropped(load.report, *versions)
    server.wait_drained()


@pytest.mark.parametrize("traffic", TRAFFIC.values(), ids=TRAFFIC)
@pytest.mark.parametrize("variant", VARIANTS)
def test_reloads_drop_nothing(
    serve: Serve, directory: AppDirectory, traffic: Traffic, variant: tuple[str, str]
) -> None:
    http, loop = variant
    server = serve(directory, "--workers", "2", "--http", http, "--loop", loop)
    reload_under_load(directory, server, server.target, traffic(), reloads=2 if http == "auto" else 3)


@pytest.mark.alone  # clients that do not pause, and all of the machine for them
@pytest.mark.parametrize(("workers", "reloads"), [(1, 3), (8, 1), pytest.param(8, 5, marks=pytest.mark.full)])
def test_reloads_drop_nothing_with_any_number_of_workers(
    serve: Serve, directory: AppDirectory, workers: int, reloads: int
) -> None:
    server = serve(directory, "--workers", str(workers))
    assert len(server.workers) == workers
    reload_under_load(directory, server, server.target, [get_and_post(32), new_connections(4)], reloads=reloads)
    assert len(server.workers) == workers


@pytest.mark.parametrize("strategy", ["rolling", "all"])
def test_reloads_drop_nothing_with_either_strategy(serve: Serve, directory: AppDirectory, strategy: str) -> None:
    server = serve(directory, "--workers", "3", "--reload-strategy", strategy)
    reload_under_load(directory, server, server.target, [get_and_post(24), slow_requests(4)])


def test_reloads_drop_nothing_on_a_unix_socket(
    serve: Serve, directory: AppDirectory, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # A directory of its own: the path of a unix socket is short.
    path = tmp_path_factory.mktemp("s") / "s"
    server = serve(directory, "--workers", "2", bind=f"unix:{path}")
    traffic = [get_and_post(24), new_connections(8), pipelined(4), uploads(4)]
    reload_under_load(directory, server, server.target, traffic)


@pytest.mark.parametrize(
    "variant", [pytest.param(("auto", "auto"), id="default"), pytest.param(("h11", "asyncio"), marks=pytest.mark.full)]
)
@pytest.mark.parametrize("threads", [1, 8])
def test_reloads_drop_nothing_of_a_wsgi_application(
    serve: Serve, tmp_path: Path, threads: int, variant: tuple[str, str]
) -> None:
    directory = AppDirectory(tmp_path / "wsgi", app="wsgi_load")
    options = ("--workers", "2", "--threads", str(threads), "--http", variant[0], "--loop", variant[1])
    server = serve(directory, *options)
    traffic = [get_and_post(16), new_connections(4), uploads(4), pipelined(4), http10(2)]
    if threads > 1:
        traffic += [streams(2), slow_requests(2)]
    reload_under_load(directory, server, server.target, traffic)


@pytest.mark.parametrize("reloads", [pytest.param(6, id="6"), pytest.param(20, id="20", marks=pytest.mark.full)])
def test_reloads_in_a_row_drop_nothing(serve: Serve, directory: AppDirectory, reloads: int) -> None:
    server = serve(directory, "--workers", "2", "--soak-interval", "0.1")
    with Load(server.target, get_and_post(48), new_connections(4)) as load:
        load.wait_answers(100)
        for number in range(reloads):
            directory.deploy(str(number + 2))
            server.reload()
    assert load.report.dropped == 0, load.report.render()
    assert str(reloads + 1) in load.report.versions
    server.wait_drained()


@pytest.mark.full
def test_a_long_run_of_reloads_under_everything_drops_nothing(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--workers", "4")
    reload_under_load(directory, server, server.target, mixed(), reloads=20)
