"""One of a kind is told in the singular."""

from collections.abc import Iterator
from typing import Any, cast

import pytest

from smoothserve.control.operator import Line
from smoothserve.verbs.client import Server
from smoothserve.verbs.commands import _restart
from smoothserve.verbs.connections import Listing, render_silent


@pytest.mark.parametrize(("number", "words"), [(1, "it holds 1 connection."), (2, "it holds 2 connections.")])
def test_what_a_stuck_worker_holds(number: int, words: str) -> None:
    silent = {"worker": 1, "slot": 0, "pid": 7, "connections": number, "last_progress": 4.0}
    (line,) = render_silent(Listing(silent=[silent]))
    assert words in line


class Restarting:
    """A server that has started again by the second question."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.asked = 0

    def tell(self, verb: str) -> Line:
        self.asked += 1
        instance = f"7-{min(self.asked, 2)}"
        return {"pid": 7, "instance": instance, "state": "serving", "workers_serving": self.workers, "app": "a:b"}

    def ask(self, verb: str, **request: Any) -> Iterator[Line]:
        return iter([])


@pytest.mark.parametrize(("number", "words"), [(1, "1 worker serves a:b"), (2, "2 workers serve a:b")])
def test_how_many_serve_after_a_restart(capsys: pytest.CaptureFixture[str], number: int, words: str) -> None:
    assert _restart(cast("Server", Restarting(number)), timeout=1.0, as_json=False) == 0
    assert capsys.readouterr().out == f"restarted: pid 7, {words}\n"
