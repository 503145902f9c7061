"""`--reload`, for development: a process beside the master watches files, and what it tells becomes a reload.

The master watches nothing itself: that takes a library. A reload for a change is the same as one for HUP.
"""

import json
import time
from collections.abc import Sequence

from smoothserve.logs.lines import Level
from smoothserve.master import events
from smoothserve.master.companion import Seat
from smoothserve.master.side import SideProcess
from smoothserve.settings.kinds import printable

MODULE = "smoothserve.watch"


class Watching(SideProcess):
    """The watching process, seen from the master."""

    def __init__(self, directories: Sequence[str], includes: Sequence[str], excludes: Sequence[str]) -> None:
        super().__init__(MODULE, self._plan, [])
        self._directories = directories
        self._includes = includes
        self._excludes = excludes
        self._told_at = time.time()
        """When the last changes were told: what is older has been reloaded for."""

    def open(self, seat: Seat) -> None:
        """Start the process."""
        super().open(seat)
        text = f"watching {', '.join(self._directories)}: a change reloads (--reload, for development)"
        seat.log.write(Level.INFO, text)

    def _plan(self, lifeline: int) -> list[str]:
        plan = {
            "directories": self._directories,
            "includes": self._includes,
            "excludes": self._excludes,
            "since": self._told_at,
        }
        return [str(lifeline), json.dumps(plan)]

    def heard_line(self, line: bytes) -> None:
        """Reload for changes; say what is wrong with the watch."""
        message = json.loads(line)
        if "error" in message:
            text = (
                f"files cannot be watched: {printable(message['error'])}: name fewer directories with --reload-dir, "
                "raise the system's limit (sysctl fs.inotify.max_user_watches), or set WATCHFILES_FORCE_POLLING=1"
            )
            self._seat.log.write(Level.ERROR, text)
            return
        self._told_at = time.time()
        changed = ", ".join(map(printable, message["changed"])) + (
            f" and {message['more']} more" if message["more"] else ""
        )
        self._seat.log.write(Level.INFO, f"changed: {changed}")
        self._seat.submit(events.FilesChanged(self._seat.now()))
