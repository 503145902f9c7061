"""Compare smoothserve with the servers that it replaces: `python -m tests.benchmarks.compare`.

Makes an environment with the peers at pinned versions, starts each server in turn with one worker on one core and the
load on the other, several rounds, and prints medians and ratios with their spread. Ratios within one round are what
counts: absolute figures drift with the machine. Takes an hour or so with all cases; `--quick` some minutes.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from tests.benchmarks.compare.cases import CASES, Case
from tests.benchmarks.compare.generators import require_wrk
from tests.benchmarks.compare.measure import Setup, measure
from tests.benchmarks.compare.peers import OURS, REQUIREMENTS
from tests.benchmarks.compare.processes import ROOT, BenchmarkError
from tests.benchmarks.compare.report import Results, plot, table


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
    log = ROOT / ".venv" / "benchmark.log"
    setup = Setup(
        python=str(_environment(arguments.python)),
        seconds=1.0 if arguments.quick else arguments.seconds,
        warm_up=0.5 if arguments.quick else 1.5,
        log=log,
        pinned=(os.cpu_count() or 1) > 1,
    )
    rounds = 1 if arguments.quick else arguments.rounds
    found = [_run(case, rounds, setup, arguments.servers) for case in chosen]
    if arguments.out:
        _write_page(Path(arguments.out), found, setup, rounds)
    return int(any(OURS in results.problems for results in found))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.compare", description=__doc__.splitlines()[0])
    parser.add_argument("--cases", help="keys of cases, separated by commas (default: all)")
    parser.add_argument("--servers", help="servers to compare with, separated by commas (default: all of the case)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each case (default: 5)")
    parser.add_argument("--seconds", type=float, default=4.0, help="seconds of each measurement (default: 4)")
    parser.add_argument("--quick", action="store_true", help="one round of 1 s: does it run, not how fast")
    parser.add_argument("--python", default=sys.executable, help="the interpreter of the servers (default: this one)")
    parser.add_argument("--out", help="directory to write results.md, results.json and the plots into")
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
    wanted = "\n".join(REQUIREMENTS) + (ROOT / "pyproject.toml").read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"setting up {place.relative_to(ROOT)}", flush=True)
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([python, "-m", "venv", str(place)], check=True)
        install = [str(inside), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, *REQUIREMENTS, "--editable", str(ROOT)], check=True)
        stamp.write_text(wanted)
    return inside


def _run(case: Case, rounds: int, setup: Setup, only: str | None) -> Results:
    servers = [name for name in case.servers if not only or name == OURS or name in only.split(",")]
    results = Results(replace(case, servers=tuple(servers)))
    if case.kind in ("latency", "reload"):
        setup = replace(setup, rate=_slowest(case, setup, servers))
    for number in range(rounds):
        row: dict[str, dict[str, float] | None] = {}
        # Who comes first changes, so that a slow minute of the machine is nobody's own.
        for name in servers[number % len(servers) :] + servers[: number % len(servers)]:
            if name in results.problems:
                continue
            try:
                row[name] = measure(case, name, setup)
            except (BenchmarkError, OSError) as error:
                results.problems[name] = " ".join(str(error).split())[:200]
        results.rounds.append(row)
    print("\n" + table(results), flush=True)
    return results


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


def _write_page(directory: Path, found: list[Results], setup: Setup, rounds: int) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    plots = directory / "plots"
    plots.mkdir(exist_ok=True)
    version = subprocess.run([setup.python, "-V"], capture_output=True, text=True, check=True).stdout.strip()
    lines = [
        "# smoothserve beside its peers",
        "",
        (
            f"Measured on {time.strftime('%Y-%m-%d')}: {version}, {os.cpu_count()} cores, {platform.system()} "
            f"{platform.release()}; one worker on one core, the load on the other; medians of {rounds} rounds of "
            f"{setup.seconds:g} s, ratios of pairs within a round with their range. "
            "Made by `python -m tests.benchmarks.compare`."
        ),
        "",
        "Versions: " + ", ".join(REQUIREMENTS) + ".",
        "",
    ]
    for results in found:
        lines += [table(results), "", f"![{results.case.title}](plots/{results.case.key}.svg)", ""]
        (plots / f"{results.case.key}.svg").write_text(plot(results))
    (directory / "results.md").write_text("\n".join(lines))
    values = {one.case.key: one.rounds for one in found}
    (directory / "results.json").write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
