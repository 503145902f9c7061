"""Compare smoothserve with the servers that it replaces: `python -m tests.benchmarks.compare`.

Makes an environment with the peers at pinned versions, starts each server in turn with one worker on one core and the
load on the other, several rounds, and prints medians and ratios with their spread. Ratios within one round are what
counts: absolute figures drift with the machine. Takes an hour or so with all cases; `--quick` some minutes.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from tests.benchmarks.compare.cases import CASES, Case
from tests.benchmarks.compare.generators import require_wrk
from tests.benchmarks.compare.measure import Setup, measure
from tests.benchmarks.compare.page import write_page
from tests.benchmarks.compare.peers import MAY_BE_MISSING, OURS, REQUIREMENTS
from tests.benchmarks.compare.processes import ROOT, BenchmarkError
from tests.benchmarks.compare.report import Results, table


def main() -> int:
    """Run the cases; return 1 if one could not be measured for our own server."""
    arguments = _parser().parse_args()
    if arguments.list:
        for case in CASES:
            print(f"{case.key:20} {case.title}")
        return 0
    chosen = [case for case in CASES if not arguments.cases or case.key in arguments.cases.split(",")]
    unknown = set(filter(None, (arguments.cases or "").split(","))) - {case.key for case in CASES}
    if unknown or not chosen:
        print(f"no such case: {', '.join(sorted(unknown))}; --list shows them", file=sys.stderr)
        return 2
    require_wrk()
    if arguments.table:
        chosen = [replace(case, servers=case.in_table) for case in chosen if case.in_table]
    log = ROOT / ".venv" / "benchmark.log"
    setup = Setup(
        python=str(_environment(arguments.python)),
        seconds=1.0 if arguments.quick else arguments.seconds,
        warm_up=0.5 if arguments.quick or arguments.table else 1.5,
        log=log,
        pinned=(os.cpu_count() or 1) > 1,
    )
    if arguments.older_python:
        setup = replace(setup, older_python=str(_environment(arguments.older_python)))
    rounds = 1 if arguments.quick else arguments.rounds
    runs = [_Run(case, setup, arguments.servers) for case in chosen if setup.older_python or not case.older]
    everything = runs
    began = time.monotonic()
    # All cases in each round: what the machine does for a while is spread over them.
    for number in range(rounds + arguments.more_rounds):
        if number >= rounds:
            runs = [run for run in runs if run.keep_promised()]
        for run in runs:
            if not arguments.minutes or number == 0 or time.monotonic() - began < 60 * arguments.minutes:
                run.go(number)
    found = [run.results for run in everything]
    for results in found:
        print("\n" + table(results), flush=True)
    if arguments.page:
        write_page(Path(arguments.page), found, setup)
    return int(any(OURS in results.problems for results in found))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.compare", description=__doc__.splitlines()[0])
    parser.add_argument("--cases", help="keys of cases, separated by commas (default: all)")
    parser.add_argument("--servers", help="servers to compare with, separated by commas (default: all of the case)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each case (default: 5)")
    parser.add_argument("--seconds", type=float, default=4.0, help="seconds of each measurement (default: 4)")
    parser.add_argument("--quick", action="store_true", help="one round of 1 s: does it run, not how fast")
    parser.add_argument("--python", default=sys.executable, help="the interpreter of the servers (default: this one)")
    parser.add_argument("--table", action="store_true", help="only the cases and servers about which much is promised")
    more = "then so many rounds of what --table measures (default: 0)"
    parser.add_argument("--more-rounds", type=int, default=0, metavar="ROUNDS", help=more)
    parser.add_argument("--minutes", type=float, default=0.0, help="begin nothing more after so long (default: no end)")
    parser.add_argument("--older-python", help="an interpreter of version 3.11, for the case that is about it")
    parser.add_argument("--page", help="Markdown file to write; figures and plots go into a directory of its name")
    parser.add_argument("--list", action="store_true", help="list the cases")
    return parser


def _environment(python: str) -> Path:
    """Make the virtual environment of the servers; return its python."""
    version = subprocess.run(
        [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True, text=True, check=True
    ).stdout.strip()
    place = ROOT / ".venv" / f"benchmark-{version}"
    inside = place / "bin" / "python"
    stamp = place / "installed"
    wanted = "\n".join([*REQUIREMENTS, *MAY_BE_MISSING]) + (ROOT / "pyproject.toml").read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"setting up {place.relative_to(ROOT)}", flush=True)
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([python, "-m", "venv", str(place)], check=True)
        install = [str(inside), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, *REQUIREMENTS, "--editable", str(ROOT)], check=True)
        for requirement in MAY_BE_MISSING:
            if subprocess.run([*install, requirement], check=False, capture_output=True).returncode:
                print(f"{requirement} cannot be installed here (bjoern needs a compiler and libev-dev)", flush=True)
        stamp.write_text(wanted)
    # As pip does for the peers: a start is not to compile us, where PYTHONDONTWRITEBYTECODE is set each time.
    subprocess.run([str(inside), "-m", "compileall", "-q", str(ROOT / "smoothserve")], check=True)
    return inside


class _Run:
    """One case over all rounds."""

    def __init__(self, case: Case, setup: Setup, only: str | None) -> None:
        servers = [name for name in case.servers if not only or name == OURS or name in only.split(",")]
        self.results = Results(replace(case, servers=tuple(servers)))
        self._servers = servers
        self._setup = setup if not case.older else replace(setup, python=setup.older_python)

    def keep_promised(self) -> bool:
        """Go on with the servers of `--table` only. Return whether there are any."""
        self._servers = [name for name in self._servers if name in self.results.case.in_table]
        return bool(self._servers)

    def go(self, number: int) -> None:
        """Measure each server once."""
        results, case, servers, setup = self.results, self.results.case, self._servers, self._setup
        print(f"{time.strftime('%H:%M:%S')} round {number + 1}: {case.key}", flush=True)
        if case.kind in ("latency", "reload") and number == 0:
            setup = self._setup = replace(setup, rate=_slowest(case, setup, servers))
        row: dict[str, dict[str, float] | None] = {}
        # Who comes first changes, so that a slow minute of the machine is nobody's own.
        for name in servers[number % len(servers) :] + servers[: number % len(servers)]:
            if name in results.problems:
                continue
            try:
                row[name] = measure(case, name, setup)
            except (BenchmarkError, OSError) as error:
                # What follows names places of this machine; they are on the terminal only.
                print(f"({name} could not be measured: {error})", file=sys.stderr)
                results.problems[name] = " ".join(str(error).partition(": see ")[0].split())[:200]
        results.rounds.append(row)


def _slowest(case: Case, setup: Setup, servers: list[str]) -> float:
    """Return the requests per second of the slowest server, which every server can do."""
    small = next(
        one for one in CASES if one.key == ("asgi-small" if case.options.interface == "asgi" else "wsgi-small-1")
    )
    rates = []
    for name in servers:
        try:
            rates.append(measure(small, name, replace(setup, seconds=1.0))["per_second"])
        except (BenchmarkError, OSError) as error:
            print(f"(the capacity of {name} could not be measured: {error})", file=sys.stderr)
    return min(rates, default=1000.0)


if __name__ == "__main__":
    sys.exit(main())
