"""What a worker measures for metrics, beside the counters of the scoreboard.

For the usual answer, 200 to a GET within the first bound, nothing is noted: it is what is left of all answers when the
others are counted (benchmark: small answer, keep-alive). The numbers are copied to the worker's second row of the
scoreboard about twice a second. The places in it are appended to and never moved: a worker may be newer than its
master, which then leaves out what it does not know.
"""

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
#: All other methods, which clients can make up.
OTHER = "other"
CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
#: Upper bounds of the histogram of durations, in seconds.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

#: An answer that takes no longer is not noted, if it is 200 to a GET.
USUAL_SECONDS = BOUNDS[0]

_NAMES = (*METHODS, OTHER)
_DURATIONS = len(_NAMES) * len(CLASSES)
_MICROSECONDS = _DURATIONS + len(BOUNDS) + 1
_RECEIVED = _MICROSECONDS + 1
_SENT = _RECEIVED + 1
_CLIENT_LEFT = _SENT + 1
_FAILED = _CLIENT_LEFT + 1
#: How many numbers there are.
USED_WORDS = _FAILED + 1
#: How many the master has room for, for each worker.
WORDS = 96


class Measures:
    """What one worker has measured."""

    def __init__(self) -> None:
        #: Answers that are not usual, by method and by the first digit of their status.
        self.statuses = {name: [0] * 10 for name in _NAMES}
        #: How many of them are exchanges' answers, whose duration is measured.
        self._timed = 0
        #: Answers by their duration: up to each of `BOUNDS`, and beyond; of those up to the first none.
        self.durations = [0] * (len(BOUNDS) + 1)
        #: Bytes from and to clients, on connections that have ended.
        self.received = 0
        self.sent = 0
        #: Requests that got no whole answer because the client had gone, or the application did not complete it.
        self.client_left = 0
        self.failed = 0

    def note_status(self, method: str, status: int) -> None:
        """Count an answer that no exchange has given, and whose duration is not measured."""
        self.statuses.get(method, self.statuses[OTHER])[status // 100] += 1

    def note_unusual(self, method: str, status: int, seconds: float) -> None:
        """Count an exchange's answer that is another than 200 to a GET, or took longer than `USUAL_SECONDS`."""
        if status != 200 or method != "GET":
            self.note_status(method, status)
            self._timed += 1
        if seconds > USUAL_SECONDS:
            self.durations[bisect_left(BOUNDS, seconds)] += 1

    def publish(self, words: memoryview, *, finished: int, seconds: float, received: int, sent: int) -> None:
        """Copy everything to the scoreboard.

        `finished` is how many answers exchanges have given, `seconds` how long these took together; `received` and
        `sent` are of the connections that are open.
        """
        values = [count for row in self.statuses.values() for count in (*row[1:5], sum(row[5:]))]
        values[CLASSES.index("2xx")] += finished - self._timed  # of GET, the first method
        values += (finished - sum(self.durations), *self.durations[1:])
        values += (int(seconds * 1e6), self.received + received, self.sent + sent, self.client_left, self.failed)
        room = len(words)
        words[: len(values)] = array("q", values[:room])


def render_measures(words: Sequence[int]) -> dict[str, Any]:
    """Return the sums of workers' words as `status --json` tells them. Methods without an answer are left out."""
    size = len(CLASSES)
    answers = {
        name: dict(zip(CLASSES, counts, strict=True))
        for index, name in enumerate(_NAMES)
        if any(counts := words[index * size : (index + 1) * size])
    }
    durations = words[_DURATIONS:_MICROSECONDS]
    return {
        "answers": answers,
        "durations": {
            "bounds": list(BOUNDS),
            "counts": list(durations),
            "count": sum(durations),
            "sum": words[_MICROSECONDS] / 1e6,
        },
        "bytes_received": words[_RECEIVED],
        "bytes_sent": words[_SENT],
        "unfinished": {"client": words[_CLIENT_LEFT], "application": words[_FAILED]},
    }
