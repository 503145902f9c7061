"""The figures as a table for the terminal, a page in Markdown and a plot."""

from dataclasses import dataclass, field
from statistics import median

from tests.benchmarks.compare.cases import BEST, Case
from tests.benchmarks.compare.peers import OURS

#: The least share of the requests per second that cannot be exceeded, where there is such a number.
OF_IDEAL = 0.95
#: What is compared in each kind of case: the figure, its title, whether more is better.
MEASURES: dict[str, tuple[tuple[str, str, bool], ...]] = {
    "throughput": (("per_second", "requests/s", True), ("per_cpu_second", "requests per CPU second", True)),
    "latency": (("p50", "p50, ms", False), ("p99", "p99, ms", False), ("p99_9", "p99.9, ms", False)),
    "reload": (("steady_p99", "steady p99, ms", False), ("p99", "p99, ms", False), ("failed", "failed", False)),
    "idle": (("kib", "KiB a connection", False),),
    "idle-websocket": (("kib", "KiB a connection", False),),
    "boot": (
        ("boot_seconds", "start to first answer, s", False),
        ("worker_boot_seconds", "start of the worker to first answer, s", False),
        ("tree_pss_mib", "PSS of the tree, MiB", False),
        ("worker_pss_mib", "PSS of a worker, MiB", False),
        ("worker_rss_mib", "RSS of a worker, MiB", False),
    ),
}


@dataclass(slots=True)
class Results:
    """All figures of one case: for each round a dictionary of each server's, None where it could not be measured."""

    case: Case
    rounds: list[dict[str, dict[str, float] | None]] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)

    def values(self, server: str, figure: str) -> list[float]:
        """Return the figure of a server in each round in which it was measured."""
        return [one[figure] for row in self.rounds if (one := row.get(server)) is not None and figure in one]

    def median(self, server: str, figure: str) -> float | None:
        """Return the median of a figure over the rounds."""
        values = self.values(server, figure)
        return median(values) if values else None

    def ratios(self, server: str, figure: str) -> list[float]:
        """Return ours divided by the server's in each round: a pair is measured within one minute."""
        pairs = [(row.get(OURS), row.get(server)) for row in self.rounds]
        return [
            ours[figure] / theirs[figure]
            for ours, theirs in pairs
            if ours and theirs and ours.get(figure) is not None and theirs.get(figure)
        ]

    def best_peer(self, figure: str, *, more: bool) -> str | None:
        """Return the peer with the best median."""
        found = {name: self.median(name, figure) for name in self.case.servers if name != OURS}
        known = {name: value for name, value in found.items() if value is not None}
        return (max if more else min)(known, key=known.__getitem__) if known else None


def spread(ratios: list[float]) -> str:
    """Render ratios as their median and range."""
    if not ratios:
        return "-"
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 100 else f"{value:.2f}"


def table(results: Results) -> str:
    """Render one case as a Markdown table, with what it was to show and whether it did."""
    measures = MEASURES[results.case.kind]
    head = ["server"]
    for _, title, _ in measures:
        head += [title, "smoothserve / it"]
    lines = [f"### {results.case.title}", "", "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name in results.case.servers:
        cells = [name]
        if name in results.problems:
            cells += [f"not measured: {results.problems[name]}"] + [""] * (2 * len(measures) - 1)
        else:
            for figure, _, _ in measures:
                ratio = "" if name == OURS else spread(results.ratios(name, figure))
                cells += [_number(results.median(name, figure)), ratio]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *verdicts(results)])


def verdicts(results: Results) -> list[str]:
    """Say for each target whether it is met, by the requests per CPU second and per second."""
    lines = []
    for name, least in results.case.targets.items():
        for figure, title, more in MEASURES[results.case.kind]:
            peer = results.best_peer(figure, more=more) if name == BEST else name
            ratios = results.ratios(peer, figure) if peer else []
            if ratios:
                met = "met" if median(ratios) >= least else "NOT met"
                lines.append(f"- at least {least:g} of {peer} by {title}: {median(ratios):.2f}, {met}")
    lines += _bounds(results)
    if results.case.ideal:
        ours = results.median(OURS, "per_second")
        if ours is not None:
            share = ours / results.case.ideal
            met = "met" if share >= OF_IDEAL else "NOT met"
            lines.append(f"- at least {OF_IDEAL:g} of the ideal {results.case.ideal:,.0f}/s: {share:.2f}, {met}")
    return lines


def _bounds(results: Results) -> list[str]:
    """Judge what is promised by figures rather than ratios: latencies, memory, start-up."""
    kind = results.case.kind
    of = results.median
    found: list[tuple[str, float | None, float | None]] = []
    if kind == "latency":
        peer = results.best_peer("p99", more=False)
        if peer is not None:
            # The best peer's own spread is what a difference must exceed to be one.
            found.append((f"p99 at most {peer}'s highest", of(OURS, "p99"), max(results.values(peer, "p99"))))
    elif kind == "reload":
        steady = of(OURS, "steady_p99")
        bound = None if steady is None else max(2 * steady, steady + 20)
        found.append(("p99 with reloads at most 2 times the steady one or 20 ms more", of(OURS, "p99"), bound))
        found.append(("failed requests", of(OURS, "failed"), 0.0))
    elif kind == "idle":
        theirs = of("uvicorn", "kib")
        found.append(("at most 3.5 KiB", of(OURS, "kib"), 3.5))
        found.append(("under half of uvicorn's", of(OURS, "kib"), None if theirs is None else theirs / 2))
    elif kind == "idle-websocket":
        found.append(("at most 8 KiB", of(OURS, "kib"), 8.0))
    elif kind == "boot":
        ratios = results.ratios("uvicorn", "worker_boot_seconds")
        found.append(("a worker's start by uvicorn's, at most 1.3", median(ratios) if ratios else None, 1.3))
        found.append(("PSS of a worker at most uvicorn's", of(OURS, "worker_pss_mib"), of("uvicorn", "worker_pss_mib")))
    return [
        f"- {what}: {_number(ours)} of {_number(bound)}, {'met' if ours <= bound else 'NOT met'}"
        for what, ours, bound in found
        if ours is not None and bound is not None
    ]


_BAR = 22
_COLOURS = {OURS: "#0a7d55"}


def plot(results: Results) -> str:
    """Render the first figure of a case as an SVG of bars."""
    figure, title, _ = MEASURES[results.case.kind][0]
    values = [(name, results.median(name, figure)) for name in results.case.servers]
    known = [(name, value) for name, value in values if value is not None]
    top = max((value for _, value in known), default=1.0) or 1.0
    height = 40 + _BAR * len(known)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="640" height="{height}" font-family="sans-serif">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="8" y="20" font-weight="bold">{results.case.title}: {title}</text>',
    ]
    for row, (name, value) in enumerate(known):
        y = 34 + _BAR * row
        width = 380 * value / top
        colour = _COLOURS.get(name, "#8a94a6")
        parts += [
            f'<text x="8" y="{y + 13}">{name}</text>',
            f'<rect x="140" y="{y}" width="{width:.1f}" height="{_BAR - 6}" fill="{colour}"/>',
            f'<text x="{146 + width:.1f}" y="{y + 13}">{_number(value)}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def overview(found: list[Results]) -> str:
    """Render the ratio to each peer, by requests per CPU second, of all cases of throughput: one row for each pair."""
    rows = [
        (f"{results.case.title}: {name}", median(ratios), min(ratios), max(ratios))
        for results in found
        if results.case.kind == "throughput"
        for name in results.case.servers
        if name != OURS and (ratios := results.ratios(name, "per_cpu_second"))
    ]
    height = 48 + 18 * len(rows)
    top = max([2.0, *(min(row[1] * 1.1, 10.0) for row in rows)])
    unit = 330 / top
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="720" height="{height}" font-family="sans-serif">',
        '<rect width="100%" height="100%" fill="white"/>',
        '<text x="8" y="20" font-weight="bold">requests per CPU second: smoothserve / other, median and range</text>',
    ]
    for row, (title, middle, low, high) in enumerate(rows):
        y = 34 + 18 * row
        width, left, right = (unit * min(value, top) for value in (middle, low, high))
        colour = "#0a7d55" if middle >= 1 else "#b4532a"
        parts += [
            f'<text x="8" y="{y + 11}" font-size="12">{title}</text>',
            f'<rect x="330" y="{y + 1}" width="{width:.1f}" height="11" fill="{colour}"/>',
            f'<path d="M{330 + left:.1f} {y + 6.5} H{330 + right:.1f}" stroke="black"/>',
            f'<text x="{336 + max(width, right):.1f}" y="{y + 11}" font-size="12">{middle:.2f}</text>',
        ]
    parts.append(f'<path d="M{330 + unit:.1f} 30 V{height - 10}" stroke="#555" stroke-dasharray="3 3"/>')
    return "\n".join([*parts, "</svg>", ""])
