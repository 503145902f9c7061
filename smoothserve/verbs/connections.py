"""`smoothserve connections`: what each connection is and does, asked from all workers, as one table."""

from dataclasses import dataclass, field
from typing import Any

from smoothserve.control.listing import sort_key
from smoothserve.control.operator import PROGRESS
from smoothserve.errors import NoServerError
from smoothserve.verbs.client import Server
from smoothserve.verbs.status import render_age, render_table
from smoothserve.words import count

_COLUMNS = ("slot", "worker", "kind", "age", "state", "requests", "in", "out", "client", "in progress")
_KINDS = {"http": "HTTP", "websocket": "WebSocket"}
#: A path is cut there in the table; JSON has more of it.
_MAX_PATH = 80


@dataclass(slots=True)
class Listing:
    """What the workers have told."""

    connections: list[dict[str, Any]] = field(default_factory=list)
    total: int = 0
    silent: list[dict[str, Any]] = field(default_factory=list)
    """The workers that have not answered."""


def list_connections(server: Server, *, limit: int, sort: str) -> Listing:
    """Ask for the first `limit` connections (0: all) in an order. Raise as `Server.ask` does."""
    listing = Listing()
    answered = False
    for line in server.ask("connections", limit=limit, sort=sort):
        if line.get("kind") == PROGRESS:
            listing.connections.append(line["connection"])
        else:
            answered = True
            listing.total, listing.silent = line["total"], line["silent"]
    if not answered:
        raise NoServerError(f"the server has ended without an answer: {server.path}")
    # Each worker has told its first ones.
    listing.connections.sort(key=sort_key(sort))
    if limit:
        del listing.connections[limit:]
    return listing


def render_connections(listing: Listing, sort: str) -> str:
    """Render the table, and how much of all it is."""
    shown = len(listing.connections)
    lines = render_table(_COLUMNS, [_row(one) for one in listing.connections]) if shown else []
    known = listing.total - sum(one["connections"] for one in listing.silent)
    if shown < known:
        lines += ["", f"{shown} of {known} connections, by {sort}; --limit 0 shows all"]
    else:
        lines += ["", f"connections: {known}"] if shown else [f"connections: {known}"]
    return "\n".join(lines)


def render_silent(listing: Listing) -> list[str]:
    """Say which workers have not answered."""
    return [
        f"worker {one['worker']} (slot {one['slot']}, pid {one['pid']}) is stuck: it does not answer, {_since(one)}; "
        f"it holds {count(one['connections'], 'connection')}. Its stacks: smoothserve dump {one['pid']}"
        for one in listing.silent
    ]


def _since(one: dict[str, Any]) -> str:
    if one["last_progress"] is None:
        return "and has made no progress yet"
    return f"its last progress was {one['last_progress']:.0f} s ago"


def _row(one: dict[str, Any]) -> list[str]:
    return [
        str(one["slot"]),
        str(one["worker"]),
        _KINDS.get(one["kind"], one["kind"]),
        render_age(one["age"]),
        one["state"],
        str(one["requests"]),
        render_size(one["received"]),
        render_size(one["sent"]),
        one["client"] or "unix",
        _progress(one),
    ]


def _progress(one: dict[str, Any]) -> str:
    if one["path"] is None:
        return "-"
    # A client chose it: nothing of it may be a control character of the terminal.
    path = "".join(letter if letter.isprintable() else "?" for letter in one["path"])
    path = path if len(path) <= _MAX_PATH else f"{path[:_MAX_PATH]}..."
    return path if one["busy"] is None else f"{path} ({one['busy']:.1f} s)"


def render_size(size: float) -> str:
    """Render a number of bytes in its largest unit."""
    for unit in ("B", "K", "M", "G"):
        if size < 1024 or unit == "G":
            return f"{size:.0f}{unit}" if unit == "B" else f"{size:.1f}{unit}"
        size /= 1024
    raise AssertionError  # pragma: no cover
