"""`python -m smoothserve` is the command `smoothserve`. Ctrl-C before the server begins ends it without a word."""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

#: As a shell says it of INT; `errors.ExitCode.INTERRUPTED`, which is not imported yet when it is needed.
_INTERRUPTED = 130


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    del number, frame
    os._exit(_INTERRUPTED)


def main() -> int:
    """Run the command line; return the exit code. Serving does not return."""
    # Whoever started us may have had INT ignored: that stays.
    interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if interruptible:  # a traceback of our imports would tell nobody anything
        signal.signal(signal.SIGINT, _leave)
    from smoothserve.cli import main as run

    try:
        if interruptible:  # what a verb has begun is put away
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return run()
    except KeyboardInterrupt:
        return _INTERRUPTED
    finally:
        if interruptible:
            signal.signal(signal.SIGINT, _leave)


if __name__ == "__main__":
    sys.exit(main())
