"""Behind a real nginx with kept upstream connections: no 502, and nothing in its error log."""

from pathlib import Path

import pytest

from tests.load.runner import Load
from tests.load.scenarios import get_and_post, new_connections, slow_requests, streams, uploads
from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import assert_nothing_dropped
from tests.process.nginx import Nginx, find_nginx

pytestmark = pytest.mark.skipif(find_nginx() is None, reason="nginx is not installed")


@pytest.mark.parametrize(
    ("app", "options"),
    [
        pytest.param("asgi_load", (), id="asgi"),
        pytest.param("wsgi_load", ("--threads", "8"), id="wsgi", marks=pytest.mark.full),
        pytest.param("asgi_load", ("--loop", "asyncio", "--http", "h11"), id="h11", marks=pytest.mark.full),
    ],
)
@pytest.mark.parametrize("reloads", [pytest.param(3, id="3"), pytest.param(20, id="20", marks=pytest.mark.full)])
def test_reloads_behind_nginx_are_seen_by_nobody(
    serve: Serve, tmp_path: Path, app: str, options: tuple[str, ...], reloads: int
) -> None:
    directory = AppDirectory(tmp_path / "app", app=app)
    server = serve(directory, "--workers", "2", *options)
    traffic = [get_and_post(48), new_connections(4), uploads(4), streams(2), slow_requests(2)]
    versions = [str(number + 1) for number in range(reloads + 1)]
    with Nginx(tmp_path / "nginx", server.target) as nginx:
        with Load(nginx.target, *traffic) as load:
            load.wait_version("1")
            for version in versions[1:]:
                load.wait_answers(100)
                directory.deploy(version)
                server.reload()
                load.wait_version(version)
        assert_nothing_dropped(load.report, *versions)
        assert nginx.complaints() == ""


def test_reloads_behind_nginx_over_a_unix_socket_are_seen_by_nobody(
    serve: Serve, directory: AppDirectory, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("s") / "s"
    server = serve(directory, "--workers", "2", bind=f"unix:{path}")
    with Nginx(tmp_path / "nginx", server.target) as nginx:
        with Load(nginx.target, get_and_post(48)) as load:
            for version in ("1", "2", "3"):
                if version != "1":
                    directory.deploy(version)
                    server.reload()
                load.wait_version(version)
                load.wait_answers(100)
        assert_nothing_dropped(load.report, "1", "2", "3")
        assert nginx.complaints() == ""
