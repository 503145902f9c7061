"""What became of each request, and the report that adds it all up.

Nothing here knows sockets. `dropped` is everything but `OK`: there is no outcome that is forgiven.
"""

import time
from array import array
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

#: Failures beyond this many are counted but not kept one by one.
MAX_FAILURES_KEPT = 10_000


class Outcome(Enum):
    """What became of one request. The value is what a person reads."""

    OK = "ok"
    CONNECT_REFUSED = "connect refused"
    CONNECT_RESET = "connect reset"
    CONNECT_TIMEOUT = "connect timeout"
    WRITE_RESET = "reset on write"
    RESET_BEFORE_ANSWER = "reset before the answer"
    EOF_BEFORE_ANSWER = "EOF before the answer"
    TRUNCATED_HEAD = "truncated head"
    TRUNCATED_BODY = "truncated body"
    WRONG_BODY = "wrong body"
    WRONG_ORDER = "wrong order"
    STATUS_4XX = "4xx"
    STATUS_5XX = "5xx"
    TIMEOUT = "timeout"
    PROTOCOL_ERROR = "protocol error"


@dataclass(frozen=True, slots=True)
class Failure:
    """One request that was not answered as it should have been."""

    outcome: Outcome
    scenario: str
    token: str
    detail: str
    at: float
    """Seconds since the report was begun."""
    local: str
    """The client's end of the connection."""
    served_by: int | None
    """Process id in the last good answer on the same connection, if there was one."""

    def __str__(self) -> str:
        return (
            f"{self.at:8.3f} s {self.scenario} {self.token} from {self.local} "
            f"(last answer by {self.served_by}): {self.outcome.value}: {self.detail}"
        )


@dataclass(slots=True)
class Seen:
    """When a version of the application answered: first, last, how often and which processes."""

    first: float
    last: float
    answers: int = 0
    pids: set[int] = field(default_factory=set)


class Report:
    """The sum of what the clients saw. Written by one thread; its numbers may be read by another."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.outcomes: Counter[Outcome] = Counter()
        self.by_scenario: dict[str, Counter[Outcome]] = {}
        self.failures: list[Failure] = []
        self.versions: dict[str, Seen] = {}
        self.latencies = array("d")
        """Seconds from the first byte sent to the last one received, good answers only."""
        self.connections_opened = 0
        self.connections_closed_idle = 0
        """Closed by the server, unannounced, but seen before the next request was sent: none was lost."""
        self.connections_reset_after_close = 0
        """Reset by the server after an answer that announced the close: it had not read everything."""

    @property
    def answered(self) -> int:
        """Good answers."""
        return self.outcomes[Outcome.OK]

    @property
    def dropped(self) -> int:
        """Requests without a good answer, whatever the reason."""
        return sum(self.outcomes.values()) - self.outcomes[Outcome.OK]

    def now(self) -> float:
        """Seconds since the report was begun."""
        return time.monotonic() - self.started

    def observe_answer(self, scenario: str, latency: float, version: str, pid: int) -> None:
        """Count a good answer."""
        self._count(scenario, Outcome.OK)
        self.latencies.append(latency)
        now = self.now()
        seen = self.versions.get(version)
        if seen is None:
            seen = self.versions[version] = Seen(now, now)
        seen.last = now
        seen.answers += 1
        seen.pids.add(pid)

    def observe_failure(self, failure: Failure) -> None:
        """Count a request that was dropped."""
        self._count(failure.scenario, failure.outcome)
        if len(self.failures) < MAX_FAILURES_KEPT:
            self.failures.append(failure)

    def _count(self, scenario: str, outcome: Outcome) -> None:
        self.outcomes[outcome] += 1
        counter = self.by_scenario.get(scenario)
        if counter is None:
            counter = self.by_scenario[scenario] = Counter()
        counter[outcome] += 1

    def latency(self, quantile: float) -> float:
        """Return the seconds that `quantile` (0 to 1) of the good answers do not exceed; 0 without any."""
        values = sorted(self.latencies)
        if not values:
            return 0.0
        return values[min(len(values) - 1, int(quantile * len(values)))]

    def render(self) -> str:
        """Render the closing table."""
        lines = [f"{outcome.value:<28}{self.outcomes[outcome]:>10}" for outcome in Outcome if self.outcomes[outcome]]
        lines.append(f"{'dropped':<28}{self.dropped:>10}")
        lines.append(f"{'connections opened':<28}{self.connections_opened:>10}")
        lines.append(f"{'connections closed idle':<28}{self.connections_closed_idle:>10}")
        lines.append(f"{'resets after a close':<28}{self.connections_reset_after_close:>10}")
        quantiles = " / ".join(f"{self.latency(quantile) * 1000:.1f}" for quantile in (0.5, 0.99, 1.0))
        lines.append(f"{'latency p50/p99/max, ms':<28}{quantiles:>10}")
        for version, times in sorted(self.versions.items(), key=lambda item: item[1].first):
            span = f"{times.first:.2f} s to {times.last:.2f} s, {len(times.pids)} workers"
            lines.append(f"version {version:<20}{times.answers:>10}  {span}")
        if len(self.by_scenario) > 1:
            for scenario, outcomes in sorted(self.by_scenario.items()):
                text = ", ".join(f"{count} {outcome.value}" for outcome, count in outcomes.items())
                lines.append(f"  {scenario}: {text}")
        lines += [str(failure) for failure in self.failures[:20]]
        return "\n".join(lines)
