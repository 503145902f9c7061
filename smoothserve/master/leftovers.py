"""Access lines that a worker could not write any more: the master writes them to standard output in its place."""

from typing import Any

from smoothserve.control.regions import Regions
from smoothserve.logs.files import STDOUT, LogFile
from smoothserve.logs.lines import Log
from smoothserve.logs.waiting import REGION_BYTES, WaitingLines


class Leftovers:
    """Gives workers memory for the lines that wait, and writes what is in it when they are gone.

    Only for standard output, which is the master's, too. To files lines are written as they come, and the master, which
    may be root, opens none that a worker's user could have put in the place of another.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._regions: Regions | None = None
        self._file: LogFile | None = None

    def provide(self, row: int, settings: dict[str, Any]) -> tuple[int, int]:
        """Return descriptor and size of the memory for a worker's launch: -1 and 0 where it needs none or has none."""
        if not settings.get("access_log") or settings.get("access_logfile") != "-":
            return -1, 0
        try:
            if self._regions is None:
                self._regions = Regions.create(REGION_BYTES)
            self._regions.provide(row)
        except OSError as error:
            self._log.warning(f"no shared memory for log lines: {error.strerror}; a crash may lose some")
            return -1, 0
        return self._regions.fd, self._regions.size

    def write(self, row: int) -> None:
        """Write what a worker that is gone has left, as far as the reader takes it; the rest follows."""
        if self._regions is None:
            return
        try:
            self._regions.provide(row)
            lines = WaitingLines(self._regions.open(row))
        except OSError as error:
            self._log.warning(f"what a worker has not logged cannot be read: {error.strerror}")
            return
        if lines or lines.lost:
            if self._file is None:
                self._file = LogFile("-", STDOUT)
                self._log.add_sinks([self._file])
            self._file.take_over(lines)
