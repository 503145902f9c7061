"""What `status` tells, in the text format of Prometheus (version 0.0.4). Renders only."""

from collections.abc import Iterable, Iterator
from typing import Any

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "smoothserve_"

Sample = tuple[dict[str, str], float]


def render_metrics(told: dict[str, Any]) -> str:
    """Render all metrics."""
    return "\n".join(_lines(told)) + "\n"


def _lines(told: dict[str, Any]) -> Iterator[str]:
    totals, workers, last = told["totals"], told["workers"], told["last_reload"]
    yield from _metric("info", "gauge", "The server.", [({"version": told["smoothserve"], "app": told["app"]}, 1)])
    yield from _metric("up_seconds", "gauge", "Seconds since the start.", [({}, told["uptime"])])
    yield from _metric("generation", "gauge", "The generation that serves.", [({}, told["generation"])])
    for name, text in (
        ("requests", "Requests begun."),
        ("dropped", "Requests that reached the server and got no whole answer through its doing."),
        ("handed_over", "Connections handed over to other workers."),
        ("websockets_carried", "WebSockets handed over to other workers."),
    ):
        yield from _metric(f"{name}_total", "counter", text, [({}, totals[name])])
    yield from _metric("workers_wanted", "gauge", "Workers that are to serve.", [({}, told["workers_wanted"])])
    yield from _metric("workers_serving", "gauge", "Workers that accept connections.", [({}, told["workers_serving"])])
    for name, text in (
        ("in_hand", "Application calls and answers that are not over."),
        ("connections", "Open connections."),
        ("websockets", "Open WebSockets."),
        ("threads_busy", "Threads in a call of a WSGI application."),
        ("memory_bytes", "Resident memory."),
    ):
        yield from _metric(f"worker_{name}", "gauge", text, [(_labels(one), one[name]) for one in workers])
    yield from _metric(
        "worker_state", "gauge", "1: the worker is in that state.", [(_labels(one, "state"), 1) for one in workers]
    )
    reloads = [({"result": result}, count) for result, count in told["reloads"].items()]
    yield from _metric("reloads_total", "counter", "Reloads by result.", reloads)
    if last:
        seconds = [({"result": last["result"]}, last["seconds"])]
        yield from _metric("last_reload_seconds", "gauge", "How long the last reload took.", seconds)
    exits = [({"how": how}, count) for how, count in told["exits"].items()]
    yield from _metric("worker_exits_total", "counter", "Ends of worker processes.", exits)


def _labels(one: dict[str, Any], *more: str) -> dict[str, str]:
    return {name: str(one[name]) for name in ("slot", "generation", "pid", *more)}


def _metric(name: str, kind: str, text: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# HELP {PREFIX}{name} {text}"
    yield f"# TYPE {PREFIX}{name} {kind}"
    for labels, value in samples:
        inside = ",".join(f'{label}="{_escape(content)}"' for label, content in labels.items())
        yield f"{PREFIX}{name}{{{inside}}} {value}" if inside else f"{PREFIX}{name} {value}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
