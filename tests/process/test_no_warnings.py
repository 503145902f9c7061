"""Python's development mode, where every warning is an error: nothing of ours leaks, forgets or is deprecated."""

import pytest

from tests.load.runner import Load
from tests.load.scenarios import get_and_post, streams
from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import assert_nothing_dropped

STRICT = {"PYTHONDEVMODE": "1", "PYTHONWARNINGS": "error", "PYTHONASYNCIODEBUG": "1"}


@pytest.mark.parametrize("loop", ["uvloop", pytest.param("asyncio", marks=pytest.mark.full)])
@pytest.mark.parametrize("app", ["asgi_load", "wsgi_load"])
def test_in_development_mode_load_and_reload_bring_no_warning(
    serve: Serve, directory: AppDirectory, app: str, loop: str
) -> None:
    directory.deploy("1", app=app)
    server = serve(directory, "--loop", loop, "--workers", "2", environ=STRICT)
    with Load(server.target, get_and_post(4), streams(2, 3, 0.02)) as load:
        load.wait_answers(50)
        directory.deploy("2")
        server.reload()
        load.wait_version("2")
    assert_nothing_dropped(load.report, "1", "2")
    assert server.stop() == 0
    for word in ("Warning", "Exception ignored", "never awaited", "never retrieved", "was destroyed"):
        assert word not in server.log()
