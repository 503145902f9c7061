"""The verbs that speak to a running master: their options, and what they print."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import click

from smoothserve.control.listing import DEFAULT_ORDER, ORDERS
from smoothserve.control.operator import PROGRESS
from smoothserve.errors import VERB_CODES, SettingsError, SmoothserveError, VerbCode
from smoothserve.verbs.client import Server, SilentError, find_server
from smoothserve.verbs.connections import list_connections, render_connections, render_silent
from smoothserve.verbs.output import is_terminal, say, show, unread
from smoothserve.verbs.reload import reload, render_report
from smoothserve.verbs.status import render_status
from smoothserve.words import count

_POLL_INTERVAL = 0.1
_CODES = "Exit codes: " + ". ".join(f"{code.value} {text.replace('`', '')}" for code, text in VERB_CODES.items()) + "."


def _target_options() -> list[click.Parameter]:
    return [
        click.Option(["--pid"], type=click.IntRange(1), help="The server whose master has this process number."),
        click.Option(["--pid-file", "-p"], metavar="FILE", help="The server that wrote this PID file."),
        click.Option(["--control-socket"], metavar="PATH", help="The server that listens at this control socket."),
        click.Option(["--json", "as_json"], is_flag=True, help="Print JSON."),
    ]


def _command(name: str, run: Callable[..., int], text: str, *params: click.Parameter) -> click.Command:
    def callback(pid: int | None, pid_file: str | None, control_socket: str | None, **options: Any) -> int:
        given = [one for one in (pid, pid_file, control_socket) if one is not None]
        if len(given) > 1:
            raise SettingsError("name the server in one way: --pid, --pid-file or --control-socket")
        if not given:
            control_socket = os.environ.get("SMOOTHSERVE_CONTROL_SOCKET") or None
        server = find_server(pid=pid, pid_file=pid_file, control_socket=control_socket, environ=os.environ)
        return int(run(server, **options))

    return click.Command(
        name,
        params=[*params, *_target_options()],
        callback=callback,
        help=text,
        epilog=_CODES,
        context_settings={
            "help_option_names": ["-h", "--help"],
            "max_content_width": 110,
            "ignore_unknown_options": name == "workers",
        },
    )


def _timeout(default: float) -> click.Option:
    return click.Option(
        ["--timeout"],
        type=click.FloatRange(0),
        default=default,
        show_default=True,
        help="Wait at most so many seconds; 0: without limit.",
    )


# reload


def _reload(server: Server, *, wait_drained: bool, no_wait: bool, timeout: float, as_json: bool) -> int:
    if wait_drained and no_wait:
        raise SettingsError("--wait-drained and --no-wait exclude each other")
    wait = "drained" if wait_drained else "none" if no_wait else "finished"
    code, report = reload(server, wait=wait, timeout=timeout, as_json=as_json)
    if as_json:
        say(json.dumps(report))
    else:
        say(render_report(report), err=code is not VerbCode.DONE)
    return code


# stop and restart


def _stop(server: Server, *, now: bool, timeout: float, as_json: bool) -> int:
    pid = server.tell("status")["pid"]
    deadline = time.monotonic() + timeout if timeout else None
    with contextlib.suppress(SilentError):  # in time it has not ended: that is said below
        for line in server.ask("stop", now=now, timeout=timeout or None):
            if not as_json and line.get("kind") == PROGRESS:
                say(f"stopping pid {pid}, {count(line['in_hand'], 'request')} in hand", err=True)
    while _runs(pid):
        if deadline is not None and time.monotonic() >= deadline:
            return _told(
                {"result": "timed-out", "pid": pid},
                f"pid {pid} has not ended within {timeout:g} s, it goes on",
                VerbCode.TIMED_OUT,
                as_json,
            )
        time.sleep(_POLL_INTERVAL)
    return _told({"result": "stopped", "pid": pid}, f"stopped: pid {pid}", VerbCode.DONE, as_json)


def _restart(server: Server, *, timeout: float, as_json: bool) -> int:
    before = server.tell("status")
    pid = before["pid"]
    deadline = time.monotonic() + timeout if timeout else None
    with contextlib.suppress(SilentError):  # in time it has not ended: that is said below
        for line in server.ask("restart", timeout=timeout or None):
            if line.get("result") == "refused":
                reason = line["reason"]
                text = f"restart refused: {reason}; the server serves on"
                return _told({"result": "refused", "reason": reason}, text, VerbCode.REFUSED, as_json)
    while True:
        after = _new_status(server, before["instance"])
        if after is not None:
            serving = after["workers_serving"]
            workers = f"{count(serving, 'worker')} {'serves' if serving == 1 else 'serve'}"
            text = f"restarted: pid {after['pid']}, {workers} {after['app']}"
            return _told({"result": "restarted", "pid": after["pid"]}, text, VerbCode.DONE, as_json)
        if not _runs(pid):
            text = "the server has ended: it did not come up again, the reason is in its error log"
            return _told({"result": "ended"}, text, VerbCode.NO_SERVER, as_json)
        if deadline is not None and time.monotonic() >= deadline:
            return _told({"result": "timed-out"}, "not ready yet, it goes on", VerbCode.TIMED_OUT, as_json)
        time.sleep(_POLL_INTERVAL)


def _new_status(server: Server, instance: str) -> dict[str, Any] | None:
    try:
        told = server.tell("status")
    except SmoothserveError:
        return None
    return told if told["instance"] != instance and told["state"] == "serving" else None


def _told(report: dict[str, Any], text: str, code: VerbCode, as_json: bool) -> int:
    say(json.dumps(report) if as_json else text, err=not as_json and code is not VerbCode.DONE)
    return code


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return not os.path.exists("/proc/self/stat")


# status


def _status(server: Server, *, watch: bool, interval: float, as_json: bool) -> int:
    if not watch:
        return _show_status(server, "", as_json=as_json)
    # On a terminal each one takes the place of the one before.
    head = "\x1b[H\x1b[2J" if not as_json and is_terminal(sys.stdout) else ""
    try:
        while not unread():
            code = _show_status(server, head, as_json=as_json)
            if code is not VerbCode.DONE:
                return code
            time.sleep(interval)
    except KeyboardInterrupt:  # that is how one ends it, whatever it is at
        pass
    return VerbCode.DONE


def _show_status(server: Server, head: str, *, as_json: bool) -> VerbCode:
    told = server.tell("status")
    told.pop("kind", None)
    return show(head + (json.dumps(told) if as_json else render_status(told)))


# connections


def _connections(server: Server, *, limit: int, sort: str, as_json: bool) -> int:
    listing = list_connections(server, limit=limit, sort=sort)
    if as_json:
        return show(json.dumps({"connections": listing.connections, "total": listing.total, "silent": listing.silent}))
    code = show(render_connections(listing, sort))
    for line in render_silent(listing):
        say(line, err=True)
    return code


# workers


def _workers(server: Server, *, change: str, as_json: bool) -> int:
    if change[:1] not in {"+", "-"} or not change[1:].isdecimal() or not change[1:].isascii():
        raise SettingsError(f"workers {change}: write +1 for one worker more, -1 for one fewer")
    told = server.tell("workers", change=int(change))
    return _told({"workers": told["workers"]}, f"workers: {told['workers']}", VerbCode.DONE, as_json)


# dump


def _dump(server: Server, *, target: str, as_json: bool) -> int:
    if target != "all" and not (target.isascii() and target.isdecimal()):
        raise SettingsError(f"dump {target}: name a worker's process number, or all")
    dumps = []
    code = VerbCode.DONE
    for line in server.ask("dump", pid=None if target == "all" else int(target)):
        if line.get("kind") != PROGRESS:
            break
        dumps.append({name: line[name] for name in ("pid", "slot", "stacks")})
        if not as_json:
            code = show(f"worker in slot {line['slot']}, pid {line['pid']}\n{line['stacks']}")
    if as_json:
        code = show(json.dumps(dumps))
    return code if dumps else VerbCode.REFUSED


COMMANDS: dict[str, click.Command] = {
    one.name or "": one
    for one in (
        _command(
            "reload",
            _reload,
            "Let new workers with new code take over, dropping nothing; say how it went.",
            click.Option(["--wait-drained"], is_flag=True, help="Wait until the last replaced worker has left, too."),
            click.Option(["--no-wait"], is_flag=True, help="Only ask for it."),
            _timeout(0.0),
        ),
        _command(
            "stop",
            _stop,
            "Stop the server: requests in hand are answered first.",
            click.Option(["--now"], is_flag=True, help="Do not wait for what is in hand."),
            _timeout(0.0),
        ),
        _command(
            "restart",
            _restart,
            "Stop the server and start it again in the same process, with settings and server code read afresh. "
            "Connections are refused meanwhile: for new application code, reload.",
            _timeout(120.0),
        ),
        _command(
            "status",
            _status,
            "Show the workers, what they do, and how the last reload went.",
            click.Option(["--watch"], is_flag=True, help="Show it again and again."),
            click.Option(
                ["--interval"], type=click.FloatRange(0.1), default=1.0, help="Seconds between, with --watch."
            ),
        ),
        _command(
            "connections",
            _connections,
            "Show what each connection is and does: worker, kind, age, state, requests (of a WebSocket the messages), "
            "bytes in and out, client, and the path in progress. A worker that does not answer is named.",
            click.Option(
                ["--limit"],
                type=click.IntRange(0),
                default=100,
                show_default=True,
                help="Show at most so many; 0: all.",
            ),
            click.Option(
                ["--sort"],
                type=click.Choice(list(ORDERS)),
                default=DEFAULT_ORDER,
                show_default=True,
                help="What has most of it comes first; busy: the time that the request has been in progress.",
            ),
        ),
        _command(
            "workers",
            _workers,
            "Have more workers (+1) or fewer (-1), until a reload with another --workers.",
            click.Argument(["change"], metavar="+N|-N"),
        ),
        _command(
            "dump",
            _dump,
            "Print the stacks of all threads and tasks of a worker, or of all workers; a blocked one answers, too.",
            click.Argument(["target"], metavar="PID|all"),
        ),
    )
}
