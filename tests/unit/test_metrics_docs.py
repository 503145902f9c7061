"""The dashboard and the page of metrics name only what the server tells."""

import json
import re
from pathlib import Path

from smoothserve.control.measures import BOUNDS, Measures, render_measures
from smoothserve.metrics.render import render_metrics

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
WORKER = {
    **dict.fromkeys(("slot", "generation", "pid", "in_hand", "connections", "websockets", "threads_busy"), 1),
    "memory_bytes": 1,
    "state": "serving",
}
WORDS = memoryview(bytearray(96 * 8)).cast("q")
MEASURES = Measures()
MEASURES.note_unusual("POST", 503, 0.3)
MEASURES.publish(WORDS, finished=3, seconds=0.301, received=1, sent=2)
TOLD = {
    "smoothserve": "1",
    "app": 'a"\\b:c\n',
    "uptime": 1.5,
    "generation": 1,
    "workers_wanted": 1,
    "workers_serving": 1,
    "totals": dict.fromkeys(
        (
            "requests",
            "dropped",
            "handed_over",
            "websockets_carried",
            "accepted",
            "in_hand",
            "connections",
            "websockets",
        ),
        0,
    ),
    "measures": {**render_measures(WORDS), "dropped": {"worker-died": 1}},
    "workers": [WORKER],
    "reloads": {"finished": 1},
    "last_reload": {"result": "finished", "seconds": 0.5},
    "reload_seconds": 0.5,
    "restarts": {"died": 1},
    "exits": {"died by SIGKILL": 2},
}


def names() -> set[str]:
    found = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)", render_metrics(TOLD), re.MULTILINE):
        found.add(name)
        if kind in {"histogram", "summary"}:
            found |= {f"{name}{end}" for end in ("_sum", "_count", *(["_bucket"] if kind == "histogram" else []))}
    return found


def test_what_labels_hold_is_escaped() -> None:
    assert 'smoothserve_info{version="1",app="a\\"\\\\b:c\\n"} 1\n' in render_metrics(TOLD)


def test_answers_and_durations_are_rendered_as_prometheus_expects() -> None:
    text = render_metrics(TOLD)
    assert 'smoothserve_answers_total{method="GET",status="2xx"} 2\n' in text
    assert 'smoothserve_answers_total{method="POST",status="5xx"} 1\n' in text
    buckets = re.findall(r'_duration_seconds_bucket{le="([^"]+)"} (\d+)', text)
    assert [bound for bound, _ in buckets] == [*map(str, BOUNDS), "+Inf"]
    assert [int(count) for _, count in buckets] == [2] * 8 + [3] * 8
    assert "smoothserve_request_duration_seconds_sum 0.301\nsmoothserve_request_duration_seconds_count 3\n" in text


def test_the_dashboard_asks_for_metrics_that_are_there() -> None:
    board = json.loads((REFERENCE / "grafana-dashboard.json").read_text())
    asked = {
        name
        for panel in board["panels"]
        for target in panel["targets"]
        for name in re.findall(r"smoothserve_\w+", target["expr"])
    }
    assert asked
    assert asked <= names()


def test_the_page_names_metrics_that_are_there() -> None:
    assert set(re.findall(r"`(smoothserve_\w+)`", (REFERENCE / "metrics.md").read_text())) <= names()
