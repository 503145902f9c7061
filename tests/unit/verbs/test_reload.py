"""What `reload` reports when it is interrupted, as a script reads it."""

from collections.abc import Iterator
from typing import Any, cast

import pytest

from smoothserve.control.operator import PROGRESS, Line
from smoothserve.errors import ExitCode
from smoothserve.verbs.client import Server
from smoothserve.verbs.reload import reload


class Interrupted:
    """A server; its operator presses Ctrl-C after so many lines."""

    def __init__(self, *lines: Line) -> None:
        self.lines = lines

    def ask(self, verb: str, **request: Any) -> Iterator[Line]:
        yield from self.lines
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("lines", "report"),
    [
        (
            [{"kind": PROGRESS, "generation": 2, "state": "asked", "workers": 1}],
            {"generation": 2, "reason": "the reload goes on; smoothserve status tells how it ended"},
        ),
        ([], {"reason": "the server has not answered yet; smoothserve status tells whether it reloads"}),
    ],
)
def test_an_interrupted_reload_says_what_becomes_of_it(lines: list[Line], report: dict[str, Any]) -> None:
    server = cast("Server", Interrupted(*lines))
    code, told = reload(server, wait="finished", timeout=0.0, as_json=True)
    assert (code, told) == (ExitCode.INTERRUPTED, {"result": "interrupted", **report})
