"""What `status` tells, in the text format of Prometheus (version 0.0.4). Renders only."""

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "smoothserve_"

Sample = tuple[dict[str, str], float]


def render_metrics(told: dict[str, Any]) -> str:
    """Render all metrics."""
    return "\n".join([*_server(told), *_traffic(told["totals"], told["measures"]), *_workers(told)]) + "\n"


def _server(told: dict[str, Any]) -> Iterator[str]:
    last = told["last_reload"]
    yield from _metric("info", "gauge", "The server.", [({"version": told["smoothserve"], "app": told["app"]}, 1)])
    yield from _gauge("up_seconds", "Seconds since the start.", told["uptime"])
    yield from _gauge("generation", "The generation that serves.", told["generation"])
    yield from _by("reloads_total", "result", "Reloads by result.", told["reloads"])
    yield from _family("reload_duration_seconds", "summary", "How long reloads took.")
    yield f"{PREFIX}reload_duration_seconds_sum {told['reload_seconds']}"
    yield f"{PREFIX}reload_duration_seconds_count {sum(told['reloads'].values())}"
    if last:
        seconds = [({"result": last["result"]}, last["seconds"])]
        yield from _metric("last_reload_seconds", "gauge", "How long the last reload took.", seconds)


def _traffic(totals: dict[str, Any], measures: dict[str, Any]) -> Iterator[str]:
    yield from _counter("requests", "Requests begun.", totals["requests"])
    answers = [
        ({"method": method, "status": status}, count)
        for method, counts in measures["answers"].items()
        for status, count in counts.items()
        if count
    ]
    yield from _metric("answers_total", "counter", "Answers by method and status class.", answers)
    yield from _histogram("request_duration_seconds", "From a request's head to its answer's end.", measures)
    text = "Requests that got no whole answer through the client's or the application's doing."
    yield from _by("unfinished_total", "by", text, measures["unfinished"])
    text = "Requests that reached the server and got no whole answer through its doing."
    yield from _by("dropped_total", "reason", text, measures["dropped"])
    yield from _counter("received_bytes", "Bytes from clients.", measures["bytes_received"])
    yield from _counter("sent_bytes", "Bytes to clients.", measures["bytes_sent"])
    yield from _counter("connections_accepted", "Connections accepted.", totals["accepted"])
    yield from _counter("handed_over", "Connections handed over to other workers.", totals["handed_over"])
    yield from _counter("websockets_carried", "WebSockets handed over to others.", totals["websockets_carried"])
    yield from _gauge("requests_in_progress", "Application calls and answers that are not over.", totals["in_hand"])
    yield from _gauge("connections", "Open connections.", totals["connections"])
    yield from _gauge("websockets", "Open WebSockets.", totals["websockets"])


def _workers(told: dict[str, Any]) -> Iterator[str]:
    workers = told["workers"]
    yield from _gauge("workers_wanted", "Workers that are to serve.", told["workers_wanted"])
    yield from _gauge("workers_serving", "Workers that accept connections.", told["workers_serving"])
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
    yield from _by("worker_exits_total", "how", "Ends of worker processes.", told["exits"])
    text = "Workers replaced other than by a reload, by the cause."
    yield from _by("worker_restarts_total", "cause", text, told["restarts"])


def _labels(one: dict[str, Any], *more: str) -> dict[str, str]:
    return {name: str(one[name]) for name in ("slot", "generation", "pid", *more)}


def _histogram(name: str, text: str, measures: dict[str, Any]) -> Iterator[str]:
    durations = measures["durations"]
    yield from _family(name, "histogram", text)
    for bound, count in zip([*durations["bounds"], "+Inf"], accumulate(durations["counts"]), strict=True):
        yield f'{PREFIX}{name}_bucket{{le="{bound}"}} {count}'
    yield f"{PREFIX}{name}_sum {durations['sum']}"
    yield f"{PREFIX}{name}_count {durations['count']}"


def _gauge(name: str, text: str, value: float) -> Iterator[str]:
    return _metric(name, "gauge", text, [({}, value)])


def _counter(name: str, text: str, value: float) -> Iterator[str]:
    return _metric(f"{name}_total", "counter", text, [({}, value)])


def _by(name: str, label: str, text: str, counts: dict[str, int]) -> Iterator[str]:
    return _metric(name, "counter", text, [({label: one}, count) for one, count in counts.items()])


def _family(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {PREFIX}{name} {text}"
    yield f"# TYPE {PREFIX}{name} {kind}"


def _metric(name: str, kind: str, text: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield from _family(name, kind, text)
    for labels, value in samples:
        inside = ",".join(f'{label}="{_escape(content)}"' for label, content in labels.items())
        yield f"{PREFIX}{name}{{{inside}}} {value}" if inside else f"{PREFIX}{name} {value}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
