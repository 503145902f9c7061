"""The words that users and scripts match on."""

from dataclasses import dataclass

import pytest

from smoothserve.control.scoreboard import Counter
from smoothserve.logs.lines import Log
from smoothserve.master import actions
from smoothserve.master.report import Reporter
from smoothserve.master.tally import Tally
from tests.unit.logs.test_lines import ListSink


@dataclass
class Facts:
    pid: int = 123
    slot: int = 0
    generation: int = 1
    dropped: int = 4


class Said:
    def __init__(self, *, access_log: bool = False) -> None:
        self.sink = ListSink()
        self.tally = Tally(4)
        self.facts: Facts | None = Facts()
        self.reporter = Reporter(
            Log(self.sink, clock=lambda: 0.0),
            self.tally,
            lambda _: self.facts,
            pid=99,
            app="myapp:app",
            access_log=access_log,
        )

    def line(self, action: actions.Say) -> str:
        self.sink.text = ""
        self.reporter.say(action)
        _, _, rest = self.sink.text.partition("] [")
        return rest.partition("] [")[2].rstrip("\n").replace("] ", " ", 1)


@pytest.mark.parametrize(
    ("action", "line"),
    [
        (
            actions.SayReady("asgi", 0.417, 2),
            (
                "INFO ready: 2 workers serve myapp:app (asgi) in 0.42 s; access log off (--access-log);"
                " reload with: kill -HUP 99"
            ),
        ),
        (
            actions.SayReady("wsgi", 1.0, 1),
            (
                "INFO ready: 1 worker serves myapp:app (wsgi) in 1.00 s; access log off (--access-log);"
                " reload with: kill -HUP 99"
            ),
        ),
        (actions.SayReloadBegan(2), "INFO reload: generation 2 begins"),
        (
            actions.SayReloadFinished(2, 0.84, 2),
            (
                "INFO reload finished: generation 2 in 0.84 s, 2 workers swapped, 0 connections handed over,"
                " 0 WebSockets carried, 0 requests dropped so far"
            ),
        ),
        (
            actions.SayReloadFinished(3, 0.84, 1, 2),
            (
                "INFO reload finished: generation 3 in 0.84 s, 1 worker swapped, 2 added, 0 connections handed over,"
                " 0 WebSockets carried, 0 requests dropped so far"
            ),
        ),
        (
            actions.SayRecycleBegan(3, "1003 requests (--max-requests)"),
            (
                "INFO recycle: worker 3 (pid 123, slot 0, generation 1), 1003 requests (--max-requests):"
                " its successor starts"
            ),
        ),
        (
            actions.SayRecycleFailed(3, "ImportError: no", True, 2.0),
            "ERROR recycle failed: ImportError: no; worker 3 serves on, trying again in 2 s",
        ),
        (
            actions.SayRecycleFailed(3, "ImportError: no", False, 2.0),
            "ERROR recycle failed: ImportError: no; the next attempt is in 2 s",
        ),
        (
            actions.SayReloadDrained(2, 1.23),
            (
                "INFO reload drained: generation 2 after 1.23 s, the last replaced worker has left,"
                " 0 requests dropped so far"
            ),
        ),
        (
            actions.SayReloadRefused(2, "no", 2, (1,)),
            "ERROR reload refused: generation 2: no; 2 workers of generation 1 serve on",
        ),
        (
            actions.SayReloadRefused(3, "no", 1, (1, 2)),
            "ERROR reload refused: generation 3: no; 1 worker of generation 1 and 2 serves on",
        ),
        (actions.SayReloadRefused(3, "no", 0, ()), "ERROR reload refused: generation 3: no; no worker serves"),
        (
            actions.SayReloadMixed(2, "no", 1, 2),
            "ERROR reload mixed: generation 2: no; 1 of 2 workers swapped; HUP tries again",
        ),
        (
            actions.SayReloadAbandoned(2, "TERM", 1, 2),
            "WARNING reload abandoned: generation 2: TERM; 1 of 2 workers swapped",
        ),
        (
            actions.SayWorkerLost(3, "died by SIGKILL", 0.0),
            "ERROR worker 3 (pid 123, slot 0, generation 1) died by SIGKILL, 4 requests dropped; respawning",
        ),
        (
            actions.SayWorkerLost(3, "exited with status 1", 0.8, "broken"),
            (
                "ERROR worker 3 (pid 123, slot 0, generation 1) exited with status 1, 4 requests dropped;"
                " respawning in 0.8 s (broken)"
            ),
        ),
        (
            actions.SayWorkerLost(3, "died by SIGSEGV while it drained", None),
            "ERROR worker 3 (pid 123, slot 0, generation 1) died by SIGSEGV while it drained, 4 requests dropped",
        ),
        (actions.SayBootFailed("no"), "CRITICAL the application did not boot: no"),
        (
            actions.SayTraceback(3, "Traceback\n  x"),
            "ERROR worker 3 (pid 123, slot 0, generation 1) says:\nTraceback\n  x",
        ),
        (actions.SayStopping("TERM", 30.0), "INFO stopping: TERM, graceful timeout 30 s"),
        (actions.SayStopped(), "INFO stopped: 0 requests dropped"),
        (actions.SayNotice("note"), "INFO note"),
        (actions.SayNotice("note", grave=True), "WARNING note"),
    ],
)
def test_the_line_for(action: actions.Say, line: str) -> None:
    assert Said().line(action) == line


def test_every_kind_of_report_has_words() -> None:
    kinds = {kind for kind in vars(actions).values() if isinstance(kind, type) and issubclass(kind, actions.Say)}
    assert set(Said().reporter._words) == kinds - {actions.Say, actions.SayReload}


def test_a_reload_reports_what_was_dropped_since_it_began() -> None:
    said = Said()
    row = said.tally.take_row()
    assert row is not None
    words = said.tally.scoreboard.row(row)
    words[Counter.DROPPED] = 5
    words[Counter.HANDED_OVER] = 100
    said.line(actions.SayReloadBegan(2))
    words[Counter.DROPPED] = 6
    words[Counter.HANDED_OVER] = 148
    words[Counter.WEBSOCKETS_CARRIED] = 1
    assert "48 connections handed over, 1 WebSocket carried, 1 request dropped so far" in said.line(
        actions.SayReloadFinished(2, 1.0, 1)
    )
    said.tally.settle(row, clean=True)
    assert said.line(actions.SayStopped()).endswith("6 requests dropped")


def test_a_recycle_reports_what_was_handed_over_since_it_began() -> None:
    said = Said()
    row = said.tally.take_row()
    assert row is not None
    words = said.tally.scoreboard.row(row)
    words[Counter.HANDED_OVER] = 100
    said.line(actions.SayRecycleBegan(3, "1003 requests (--max-requests)"))
    words[Counter.HANDED_OVER] = 124
    said.facts = None  # it has left
    assert said.line(actions.SayRecycled(3, 5, 0.84)) == (
        "INFO recycled: worker 3 (pid 123, slot 0, generation 1), 1003 requests (--max-requests):"
        " worker 5 has taken its place in 0.84 s, 24 connections handed over, 0 WebSockets carried,"
        " 0 requests dropped so far"
    )


def test_a_worker_that_never_was_is_named_by_its_number() -> None:
    said = Said()
    said.facts = None
    assert said.line(actions.SayWorkerLost(3, "did not boot: no", 0.1)) == (
        "ERROR worker 3 did not boot: no; respawning in 0.1 s"
    )


def test_ready_says_that_the_access_log_is_on() -> None:
    assert "; access log on;" in Said(access_log=True).line(actions.SayReady("asgi", 0.4, 1))
