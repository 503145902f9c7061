"""The dashboard and the page of metrics name only what the server tells."""

import json
import re
from pathlib import Path

from smoothserve.metrics.render import render_metrics

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
WORKER = {
    **dict.fromkeys(("slot", "generation", "pid", "in_hand", "connections", "websockets", "threads_busy"), 1),
    "memory_bytes": 1,
    "state": "serving",
}
TOLD = {
    "smoothserve": "1",
    "app": 'a"\\b:c\n',
    "uptime": 1.5,
    "generation": 1,
    "workers_wanted": 1,
    "workers_serving": 1,
    "totals": dict.fromkeys(("requests", "dropped", "handed_over", "websockets_carried"), 0),
    "workers": [WORKER],
    "reloads": {"finished": 1},
    "last_reload": {"result": "finished", "seconds": 0.5},
    "exits": {"died by SIGKILL": 2},
}


def names() -> set[str]:
    return set(re.findall(r"^# TYPE (\S+)", render_metrics(TOLD), re.MULTILINE))


def test_what_labels_hold_is_escaped() -> None:
    assert 'smoothserve_info{version="1",app="a\\"\\\\b:c\\n"} 1\n' in render_metrics(TOLD)


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
