"""Errors that end a command, each with its exit code; the table of exit codes.

Every `SmoothserveError` is the user's to mend: its text is one line that says what is wrong and what to do,
and it is printed without a traceback. Anything else that escapes is a defect of ours and keeps its traceback.
"""

import traceback
from enum import IntEnum


class ExitCode(IntEnum):
    """What the `smoothserve` process exits with. The reference page is rendered from `EXIT_CODES`."""

    STOPPED = 0
    INTERNAL = 1
    USAGE = 2
    BOOT_FAILED = 3
    BIND_FAILED = 4
    FILE_FAILED = 6
    INTERRUPTED = 130


EXIT_CODES: dict[ExitCode, str] = {
    ExitCode.STOPPED: "stopped as asked (TERM, INT, QUIT), everything in hand answered or counted as dropped",
    ExitCode.INTERNAL: "a defect in smoothserve itself: the traceback is in the error log",
    ExitCode.USAGE: "a bad option, value, environment variable or configuration file",
    ExitCode.BOOT_FAILED: "the application did not boot: not found, raised at import, failed its start-up, or hung",
    ExitCode.BIND_FAILED: "an address cannot be listened on: in use, not permitted, not of this machine",
    ExitCode.FILE_FAILED: (
        "a file or program that is needed cannot be used: PID file, log file, environment file, certificate or key, "
        "interpreter, directory"
    ),
    ExitCode.INTERRUPTED: "interrupted (INT, Ctrl-C) before the server began",
}


class VerbCode(IntEnum):
    """What a verb (`smoothserve reload`, `status`, ...) exits with, as a deploy script reads it."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    MIXED = 3
    TIMED_OUT = 4
    NO_SERVER = 5
    UNWRITTEN = 6
    DEFECT = 7


#: `reference/verbs.md` has them in the same words.
VERB_CODES: dict[VerbCode, str] = {
    VerbCode.DONE: "done: new code serves in every slot; the server has stopped; the code would boot",
    VerbCode.REFUSED: "refused: the server is as it was, the reason (and the application's traceback) was printed",
    VerbCode.USAGE: "a bad option or value, or several servers and none was named",
    VerbCode.MIXED: "mixed: some slots have new code, some the old; the next reload tries again",
    VerbCode.TIMED_OUT: "not over within `--timeout`, or not answered within 10 s: it goes on in the server",
    VerbCode.NO_SERVER: "no server was found, or it has ended",
    VerbCode.UNWRITTEN: "what `status`, `connections` or `dump` was asked for could not be written: the disk is full",
    VerbCode.DEFECT: "a defect in smoothserve itself: the traceback was printed",
}


class SmoothserveError(Exception):
    """A mistake the user can mend. `str(error)` is one line: what is wrong and how to mend it."""

    exit_code: ExitCode | VerbCode = ExitCode.INTERNAL


class SettingsError(SmoothserveError):
    """A flag, environment variable or configuration file holds something that cannot be used."""

    exit_code = ExitCode.USAGE


class BootError(SmoothserveError):
    """The application could not be booted."""

    exit_code = ExitCode.BOOT_FAILED


class BindError(SmoothserveError):
    """An address cannot be listened on."""

    exit_code = ExitCode.BIND_FAILED


class FileError(SmoothserveError):
    """A file, directory or program that the server needs cannot be used."""

    exit_code = ExitCode.FILE_FAILED


class NoServerError(SmoothserveError):
    """A verb found no server to speak to."""

    exit_code = VerbCode.NO_SERVER


def one_line(error: BaseException) -> str:
    """Return what was raised, on one line: the qualified type and the message, without notes and line ends."""
    shown = traceback.TracebackException(type(error), error, None)
    shown.__notes__ = None
    return " ".join(list(shown.format_exception_only())[-1].split())
