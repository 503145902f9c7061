"""A request is in hand until the application's call has returned: background work is never cut by a reload."""

from pathlib import Path

import pytest

from tests.load.runner import Load
from tests.load.scenarios import get_and_post
from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import assert_nothing_dropped

pytest.importorskip("fastapi")


def test_background_tasks_two_seconds_beyond_the_answer_all_finish(serve: Serve, tmp_path: Path) -> None:
    directory = AppDirectory(tmp_path / "app", app="fastapi_background")
    server = serve(directory, "--workers", "2")
    with Load(server.target, get_and_post(8, think=(0.02, 0.05))) as load:
        for version in ("1", "2", "3"):
            if version != "1":
                directory.deploy(version)
                server.reload()
            load.wait_version(version)
            load.wait_answers(50)
    assert_nothing_dropped(load.report, "1", "2", "3")
    assert server.stop() == 0
    finished = (directory.path / "finished.txt").read_text().splitlines()
    assert len(finished) == len(set(finished)) == load.report.answered
