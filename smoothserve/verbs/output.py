"""What verbs print. What a verb has done is done, whether anybody can read of it or not.

So a reader that has gone (`| head`) or a full disk never changes what a verb does; a script goes by its exit code.
"""

import os
import sys
from typing import TextIO

from smoothserve.errors import VerbCode

_PROGRAM = "smoothserve"


def say(text: str, *, err: bool = False) -> bool:
    """Print a line (or several) to standard output or error; return whether it could be written."""
    return write(f"{text}\n", sys.stderr if err else sys.stdout)


def show(text: str) -> VerbCode:
    """Print what a verb was asked for; return its exit code. That a reader wants no more is no failure."""
    return VerbCode.DONE if say(text) or unread() else VerbCode.UNWRITTEN


def write(text: str, stream: TextIO | None) -> bool:
    """Write as it is; return whether that was possible. Why it was not is said once, on standard error."""
    if stream is None:  # its descriptor was closed when we were started
        return False
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        _give_up(stream, error)
        return False
    return True


#: Streams whose reader has gone.
_unread: set[TextIO] = set()


def unread() -> bool:
    """Whether the reader of standard output has gone."""
    return sys.stdout in _unread


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person looks at it."""
    return stream is not None and stream.isatty()


def _give_up(stream: TextIO, error: OSError) -> None:
    """Let what else is written to the stream lead nowhere: the interpreter flushes it once more at its end."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
    if isinstance(error, BrokenPipeError):
        _unread.add(stream)
    elif stream is not sys.stderr:
        write(f"{_PROGRAM}: the output could not be written: {error.strerror}\n", sys.stderr)
