"""The standard streams of a process: whoever started it may have closed them, or nobody may read what they get."""

import contextlib
import io
import os
import sys
import threading


def open_standard_streams() -> None:
    """See that descriptors 0 to 2 are open: else a listener or a message would get one of these numbers."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def write_lines_at_once() -> None:
    """Let what the application prints into a pipe or a file be there at each line's end: it may crash in the next."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # None where the descriptor was closed
        sys.stdout.reconfigure(line_buffering=True)


def flush_standard_streams(timeout: float | None = None) -> bool:
    """Flush what has been printed. With `timeout`, give up after so many seconds: the reader of a pipe may be stuck.

    Where no thread can be made any more it does not give up: whoever calls it that late sees to that.
    Return whether it is done. If it is not, only `os._exit` ends the process: the interpreter would flush once more.
    """
    if timeout is None:
        _flush()
        return True
    # A blocked write cannot be called off, only left behind.
    thread = threading.Thread(target=_flush, name="smoothserve-flush", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the interpreter waits for other threads to end: CPython 3.12 makes no new ones by then
        _flush()
        return True
    thread.join(timeout)
    return not thread.is_alive()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        # None where the descriptor was closed; anything at all where the application has put its own.
        with contextlib.suppress(Exception):
            stream.flush()
