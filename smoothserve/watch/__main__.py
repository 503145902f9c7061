"""The root of the watching process: `python -P -m smoothserve.watch LIFELINE PLAN`.

Started by the master, and over when the master is: the lifeline is at its end then. Each batch of changes is a line of
JSON on it. What has changed before the watch stood is found by the files' change times, so that nothing is missed when
this process had to be started again.
"""

import json
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from watchfiles import watch

from smoothserve.watch.filters import Filter

#: Milliseconds without a change after which a batch is complete, and how long it may grow.
STEP = 50
LONGEST_BATCH = 400
#: Milliseconds until the first look, if nothing changes.
FIRST_LOOK = 1000
#: Paths that are told of a batch.
TOLD = 4


def main(argv: list[str]) -> None:
    """Watch until the master is gone."""
    lifeline = int(argv[1])
    plan: dict[str, Any] = json.loads(argv[2])
    threading.Thread(target=_wait_for_the_end, args=(lifeline,), daemon=True).start()
    try:
        for changed in batches(plan["directories"], plan["includes"], plan["excludes"], plan["since"]):
            _tell(lifeline, {"changed": changed[:TOLD], "more": len(changed[TOLD:])})
    except (OSError, RuntimeError) as error:
        _tell(lifeline, {"error": f"{error}"})
        sys.exit(1)


def batches(
    roots: Sequence[str], includes: Sequence[str], excludes: Sequence[str], since: float
) -> Iterator[list[str]]:
    """Yield what has changed, relative to the watched directories; first what has changed after `since`."""
    files = Filter(roots, includes, excludes)
    looked = False
    for changes in watch(
        *roots,
        watch_filter=lambda _, path: files.counts(path),
        debounce=LONGEST_BATCH,
        step=STEP,
        rust_timeout=FIRST_LOOK,
        yield_on_timeout=True,
        raise_interrupt=False,
        ignore_permission_denied=True,
    ):
        changed = {files.relative(path) for _, path in changes}
        if not looked:
            looked = True
            changed |= {files.relative(path) for path in changed_since(roots, files, since)}
        if changed:
            yield sorted(changed)


def changed_since(roots: Sequence[str], files: Filter, since: float) -> Iterator[str]:
    """Yield the files that were changed, or put in place, after a moment (seconds since the epoch)."""
    for root in roots:
        for directory, names, found in os.walk(root):
            names[:] = [name for name in names if files.may_hold(os.path.join(directory, name))]
            for path in (os.path.join(directory, name) for name in found):
                if files.counts(path) and _change_time(path) > since:
                    yield path


def _change_time(path: str) -> float:
    try:
        return os.stat(path).st_ctime
    except OSError:
        return 0.0


def _tell(lifeline: int, message: dict[str, Any]) -> None:
    os.write(lifeline, json.dumps(message).encode() + b"\n")


def _wait_for_the_end(lifeline: int) -> None:
    os.read(lifeline, 1)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv)
