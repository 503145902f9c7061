"""`smoothserve status`: one table of what the master tells, for a person."""

import time
from typing import Any

_COLUMNS = (
    *("slot", "pid", "gen", "state", "age", "requests", "in hand", "req/s", "conns", "ws", "threads", "memory"),
    "last error",
)
#: States that say nothing yet of whether anybody serves.
_MAY_BE_EMPTY = {"down", "reloading"}


def render_status(told: dict[str, Any]) -> str:
    """Render the whole of it."""
    totals = told["totals"]
    listening = ", ".join(told["listening"]) or "nothing"
    rate = f"{totals['requests_per_second']:.1f}/s"
    counts = {
        "requests": f"{totals['requests']} ({rate})",
        "in hand": totals["in_hand"],
        "connections": totals["connections"],
        "handed over": totals["handed_over"],
        "WebSockets carried": totals["websockets_carried"],
        "dropped": totals["dropped"],
    }
    age = render_age(told["uptime"])
    state = told["state"]
    if state in _MAY_BE_EMPTY and not told["workers_serving"]:
        state += ": no worker serves"
    # An older master does not tell of slots that wait.
    workers = sorted([*told["workers"], *told.get("waiting", [])], key=lambda one: int(one["slot"]))
    head = f"smoothserve {told['smoothserve']}, pid {told['pid']}: {told['app']} on {listening}, {state}"
    serving = f"{told['workers_serving']} of {told['workers_wanted']} workers serve"
    lines = [
        f"{head}, generation {told['generation']}, up {age}",
        f"{serving}; " + ", ".join(f"{name}: {value}" for name, value in counts.items()),
        "",
        *render_table(_COLUMNS, [_row(one) for one in workers]),
    ]
    waits = [text for one in workers if (text := _waits(one))]
    if waits:
        lines += ["", *waits]
    lines += ["", f"last reload: {_reload(told)}"]
    if told["exits"]:
        exits = ", ".join(f"{count} x {what}" for what, count in told["exits"].items())
        lines.append(f"worker exits: {exits}")
    if told["last_error"]:
        error = told["last_error"]
        lines.append(f"last error: {render_moment(error['at'])} {error['text']}")
    return "\n".join(lines)


def _row(one: dict[str, Any]) -> list[str]:
    state = one["state"]
    if state == "stuck":
        state = f"stuck {one['last_progress']:.0f} s"
    if "pid" not in one:
        return [str(one["slot"]), "-", str(one["generation"]), state, *["-"] * 8, _error(one)]
    return [
        str(one["slot"]),
        str(one["pid"]),
        str(one["generation"]),
        state,
        render_age(one["age"]),
        str(one["requests"]),
        str(one["in_hand"]),
        f"{one['requests_per_second']:.1f}",
        str(one["connections"]),
        str(one["websockets"]),
        str(one["threads_busy"]),
        render_bytes(one["memory_bytes"]),
        _error(one),
    ]


def _error(one: dict[str, Any]) -> str:
    error = one["last_error"]
    return f"{render_moment(error['at'])} {error['text']}" if error else "-"


def _waits(one: dict[str, Any]) -> str:
    """Say what a retiring worker waits for, or when a slot without a worker gets one."""
    if "pid" not in one:
        soon = one["respawns_in"]
        return "" if soon is None else f"slot {one['slot']}: no worker, respawns in {soon:.1f} s"
    if one["leaves_within"] is None:
        return ""
    what = [
        f"{count} {name if count == 1 else names}"
        for key, name, names in (
            ("in_hand", "in hand", "in hand"),
            ("connections", "connection", "connections"),
            ("websockets", "WebSocket", "WebSockets"),
        )
        if (count := one[key])
    ]
    waits = ", ".join(what) or "its own end"
    return (
        f"slot {one['slot']}: pid {one['pid']} retires, waits for {waits}; leaves within {one['leaves_within']:.0f} s"
    )


def _reload(told: dict[str, Any]) -> str:
    if told["reload"]:
        return f"generation {told['reload']['generation']} in progress for {told['reload']['seconds']:.1f} s"
    last = told["last_reload"]
    if not last:
        return "none yet"
    text = f"generation {last['generation']} {last['result']}"
    if last["reason"]:
        return f"{text}: {last['reason']}"
    return f"{text} in {last['seconds']:.2f} s, {last['swapped']} swapped, {last['dropped']} dropped"


def render_table(heads: tuple[str, ...], rows: list[list[str]]) -> list[str]:
    """Render rows under their heads, each column as wide as it needs."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [heads, *rows]
    ]


def render_age(seconds: float) -> str:
    """Render a duration in its two largest units."""
    whole = int(seconds)
    for size, unit, smaller, name in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // smaller}{name}"
    return f"{whole}s"


def render_bytes(size: int) -> str:
    """Render a size in MiB."""
    return f"{size / 1048576:.1f}M"


def render_moment(at: float) -> str:
    """Render a moment of the last days."""
    return time.strftime("%m-%d %H:%M:%S", time.localtime(at))
