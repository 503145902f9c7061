"""`smoothserve start -d`: a server in the background, and a command that returns only once its workers are ready."""

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from smoothserve.errors import ExitCode, FileError
from smoothserve.serve import prepare, serve, start_directory
from smoothserve.settings.resolve import STANDARD_STREAM, resolve_settings
from smoothserve.verbs.output import say, write

LOG_FILE = "smoothserve.log"
PID_FILE = "smoothserve.pid"
#: Of the log of a start that failed, at most so many lines are shown.
_SHOWN_LINES = 60


def start_in_background(
    flags: Mapping[str, Any], config: str | None, *, run: Callable[..., NoReturn] = serve, as_json: bool = False
) -> int:
    """Start a server in the background; return 0 once its workers are ready, else its exit code, with the reason.

    Where the settings name no error log file and no PID file, `smoothserve.log` and `smoothserve.pid` in the
    working directory are used. Raise `SmoothserveError` for what is wrong before the start.
    """
    flags = dict(flags)
    settings = resolve_settings(flags, os.environ, config, start_directory()).settings
    if settings.error_logfile == STANDARD_STREAM:
        flags["error_logfile"] = LOG_FILE
    if settings.pid_file is None:
        flags["pid_file"] = PID_FILE
    settings = prepare(flags, config).settings
    log = _open_log(settings.error_logfile)
    begins_at = os.lseek(log, 0, os.SEEK_END)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _become_daemon(log)
        run(flags, config, ready_fd=writer)
    os.close(writer)
    os.close(log)
    ready = _wait(reader, pid)
    if ready:
        if as_json:
            say(f'{{"pid": {pid}, "result": "ready"}}')
        else:
            say(
                f"smoothserve is ready: pid {pid} in {settings.pid_file}, log in {settings.error_logfile}; "
                f"reload with: smoothserve reload --pid {pid}"
            )
        return ExitCode.STOPPED
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    log_lines = _read_log(settings.error_logfile, begins_at)
    reason = f"{_what_became(code)}; its log: {settings.error_logfile}"
    if as_json:
        say(json.dumps({"result": "refused", "reason": reason, "traceback": log_lines}))
    else:
        write(log_lines, sys.stderr)
        say(f"smoothserve: error: {reason}", err=True)
    return code if code > 0 else ExitCode.BOOT_FAILED


def _what_became(code: int) -> str:
    """Say why a server is not there, from its exit code, or minus the signal that killed it."""
    if code == ExitCode.STOPPED:
        return "it was stopped while it booted"
    if code > 0:
        return f"it did not come up (exit code {code})"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"it was killed by {name} while it booted"


def _open_log(path: str) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise FileError(
            f"the log file {path} cannot be opened: {error.strerror}: name another with --error-logfile"
        ) from None


def _become_daemon(log: int) -> None:
    """In the child: leave the terminal. What is printed goes to the log, as does what the workers print."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    for stream in (1, 2):
        os.dup2(log, stream)


def _wait(reader: int, pid: int) -> bool:
    """Wait for the word of the master, or for its end. Whoever interrupts that wants no server."""
    try:
        with os.fdopen(reader, "rb") as file:
            return file.read() == b"ready\n"
    except KeyboardInterrupt:
        os.kill(pid, signal.SIGTERM)
        raise


def _read_log(path: str, begins_at: int) -> str:
    """Return the last lines that this start has logged: the traceback, if there is one, is among them."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            file.seek(begins_at)
            lines = file.readlines()
    except OSError:
        return ""
    return "".join(lines[-_SHOWN_LINES:])
