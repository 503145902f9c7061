"""The benchmarks judge rightly: what has become dearer, what is promised; and their page is a page."""

import asyncio
import json

import pytest

from smoothserve.asgi.http import HAS_EAGER_TASKS
from tests.benchmarks.compare.cases import CASES
from tests.benchmarks.compare.peers import OURS
from tests.benchmarks.compare.report import Results, overview, table, verdicts
from tests.benchmarks.micro import cases as micro_cases
from tests.benchmarks.micro.__main__ import BASELINE, CALIBRATION, compare


def case(key: str, **figures: list[dict[str, float]]) -> Results:
    found = Results(next(one for one in CASES if one.key == key))
    rounds = max(map(len, figures.values()))
    found.rounds = [{name: values[index] for name, values in figures.items()} for index in range(rounds)]
    return found


def test_a_case_that_costs_more_than_5_percent_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    baseline = {CALIBRATION: 100, "a": 1000, "b": 1000}
    assert compare({CALIBRATION: 100, "a": 1051, "b": 1049, "c": 5}, baseline, scaled=False) == ["a"]
    assert "costs more" in capsys.readouterr().out


def test_on_another_interpreter_the_calibration_is_the_measure() -> None:
    baseline = {CALIBRATION: 100, "a": 1000, "b": 1000}
    assert compare({CALIBRATION: 200, "a": 2000, "b": 2200}, baseline, scaled=True) == ["b"]


def test_every_micro_case_has_a_baseline() -> None:
    recorded = json.loads(BASELINE.read_text())
    assert list(recorded["instructions"]) == list(micro_cases.CASES)
    assert all(count > 0 for count in recorded["instructions"].values())


@pytest.mark.parametrize("name", list(micro_cases.CASES))
def test_every_micro_case_can_be_run_as_often_as_it_is(name: str) -> None:
    async def scenario() -> None:
        run = micro_cases.CASES[name]()
        for _ in range(micro_cases.WARM_UP + micro_cases.TIMES):
            run()
            if not HAS_EAGER_TASKS:  # the call is made when the loop turns
                await asyncio.sleep(0)

    asyncio.run(scenario())


def test_a_ratio_is_taken_within_a_round() -> None:
    ours = [{"per_second": 200.0, "per_cpu_second": 1.0}, {"per_second": 20.0, "per_cpu_second": 1.0}]
    theirs = [{"per_second": 100.0, "per_cpu_second": 1.0}, {"per_second": 10.0, "per_cpu_second": 1.0}]
    found = case("asgi-small", smoothserve=ours, uvicorn=theirs)
    assert found.ratios("uvicorn", "per_second") == [2.0, 2.0]
    said = verdicts(found)
    assert "- at least 1.9 of uvicorn by requests/s: 2.00, met" in said
    assert "- at least 1.9 of uvicorn by requests per CPU second: 1.00, NOT met" in said
    assert table(found).startswith("### small ASGI answer\n")
    assert "small ASGI answer: uvicorn" in overview([found])


@pytest.mark.parametrize(("p99", "word"), [(29.0, "met"), (31.0, "NOT met")])
def test_the_bound_on_latency_amid_reloads_is_judged(p99: float, word: str) -> None:
    found = case("latency-reload", smoothserve=[{"steady_p99": 10.0, "p99": p99, "failed": 0.0}])
    assert verdicts(found)[0].endswith(f", {word}")


def test_failed_requests_amid_reloads_are_judged() -> None:
    found = case("latency-reload", smoothserve=[{"steady_p99": 10.0, "p99": 10.0, "failed": 1.0}])
    assert verdicts(found)[1].endswith(", NOT met")


@pytest.mark.parametrize(("per_second", "word"), [(1530.0, "0.96, met"), (1510.0, "0.94, NOT met")])
def test_the_share_of_what_cannot_be_exceeded_is_judged(per_second: float, word: str) -> None:
    found = case("wsgi-sleep-8", smoothserve=[{"per_second": per_second, "per_cpu_second": 1.0}])
    assert verdicts(found) == [f"- at least 0.95 of the ideal 1,600/s: {word}"]


def test_what_is_measured_for_the_table_begins_with_our_own_server() -> None:
    chosen = [one for one in CASES if one.in_table]
    assert all(one.in_table[0] == OURS and set(one.in_table) <= set(one.servers) for one in chosen)
    promised = {one.key for one in CASES if one.targets or one.ideal}
    assert promised <= {one.key for one in chosen} | {"wsgi-big", "wsgi-upload", "wsgi-stream"}


@pytest.mark.parametrize("name", ["codec-small", "codec-browser-unique-field", "response", "websocket-64"])
def test_a_micro_case_does_the_same_again_and_again(name: str) -> None:
    run = micro_cases.CASES[name]()
    for _ in range(3):
        run()
