"""`smoothserve check MODULE:ATTR`: would this code boot? In a child that serves nobody, beside any running server."""

import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from smoothserve.control.channel import Channel, channel_pair
from smoothserve.control.environment import worker_environment
from smoothserve.control.launch import WorkerLaunch, write_launch
from smoothserve.control.messages import ControlError, Drain, Failed, Message, Ready, parse_message
from smoothserve.control.scoreboard import Scoreboard
from smoothserve.errors import VerbCode
from smoothserve.logs.files import STDERR
from smoothserve.serve import Prepared, prepare
from smoothserve.verbs.output import say

_END_TIMEOUT = 5.0


def check_application(flags: Mapping[str, Any], config: str | None, *, as_json: bool = False) -> int:
    """Boot the application once and say how that went; return 0 if it boots, else 1, with its traceback.

    Raise `SettingsError` or `FileError` if the settings do not get that far.
    """
    prepared = prepare(flags, config)
    began = time.monotonic()
    said = _boot(prepared)
    seconds = time.monotonic() - began
    app = prepared.settings.app
    if isinstance(said, Ready):
        if as_json:
            say(f'{{"result": "ok", "interface": "{said.interface}", "seconds": {seconds:.3f}}}')
        else:
            say(f"ok: {app} boots ({said.interface}) in {seconds:.2f} s")
        return VerbCode.DONE
    reason = said.reason if isinstance(said, Failed) else str(said)
    trace = said.traceback if isinstance(said, Failed) else ""
    if as_json:
        say(json.dumps({"result": "refused", "reason": reason, "traceback": trace}))
        return VerbCode.REFUSED
    if trace:
        say(trace.rstrip(), err=True)
    say(f"smoothserve: error: {app} does not boot: {reason}", err=True)
    return VerbCode.REFUSED


def _boot(prepared: Prepared) -> Message | str:
    """Start a worker that is to accept nothing; return what it says first, or how it ended without a word."""
    settings = prepared.settings
    directory = os.path.realpath(os.path.join(prepared.launch.directory, settings.chdir or ""))
    env_file = os.path.join(directory, settings.env_file) if settings.env_file is not None else None
    environ = worker_environment(os.environ, env_file, settings.env, directory)
    identity = prepared.identity
    board = Scoreboard.create(1)
    ours, theirs = channel_pair()
    values = {**settings.to_dict(), "error_logfile": "-", "access_log": False}
    launch = WorkerLaunch(
        worker=1,
        generation=1,
        settings=values,
        directory=directory,
        control_fd=theirs.fileno(),
        scoreboard_fd=board.fd,
        scoreboard_rows=1,
    )
    fd = write_launch(launch)
    worker = subprocess.Popen(  # noqa: S603 - the user's own interpreter
        [prepared.python, "-P", "-m", "smoothserve.worker", str(fd)],
        cwd=directory,
        env=environ,
        stdout=STDERR,  # standard output has the result, and nothing that the application prints
        pass_fds=[fd, theirs.fileno(), board.fd],
        user=identity.uid if identity is not None else None,
        group=identity.gid if identity is not None else None,
        extra_groups=identity.groups if identity is not None else None,
    )
    theirs.close()
    os.close(fd)
    try:
        return _hear(worker, Channel(ours), ours, settings.boot_timeout)
    finally:
        _end(worker)
        ours.close()
        os.close(board.fd)


def _hear(worker: "subprocess.Popen[bytes]", channel: Channel, sock: socket.socket, timeout: float) -> Message | str:
    deadline = time.monotonic() + timeout
    while (left := deadline - time.monotonic()) > 0:
        select.select([sock], [], [], left)
        for packet in channel.receive():
            try:
                message = parse_message(packet.data)
            except ControlError:
                continue
            if isinstance(message, Ready | Failed):
                channel.send(Drain(timeout=_END_TIMEOUT, linger=0.0, final=True, cause="check").encode())
                return message
        if channel.closed:
            code = worker.wait()
            how = f"died by {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}"
            return f"its process {how} before it was ready"
    worker.terminate()
    return f"it was not ready within {timeout:g} s (--boot-timeout)"


def _end(worker: "subprocess.Popen[bytes]") -> None:
    try:
        worker.wait(_END_TIMEOUT)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()
