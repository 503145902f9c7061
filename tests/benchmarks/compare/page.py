"""The page about the comparison: what was measured where, the ratios at a glance, each case, how to do it again."""

import json
import os
import platform
import subprocess
import time
from pathlib import Path

from tests.benchmarks.compare.measure import Setup
from tests.benchmarks.compare.peers import MAY_BE_MISSING, OURS, REQUIREMENTS
from tests.benchmarks.compare.report import Results, overview, plot, table

_INTRODUCTION = """\
# Speed beside other servers

<!-- Made by `python -m tests.benchmarks.compare`: do not edit. -->

What smoothserve and the servers that it replaces do with the same small applications on one machine, in turns: each
server has one worker on one core (the load generator has the other), no access log, and as many application threads
as the others. A ratio is smoothserve's figure divided by the other's in the same round, so within a minute; the table
has the median of the rounds, with the lowest and the highest.

What to make of it:

- Only ratios within one run mean something; requests per second are the machine's more than the server's. Requests per
  CPU second of the server's processes are steadier where others use the machine, too.
- The applications do next to nothing. Behind a real one, whose call takes a millisecond, all servers of one kind are
  nearly equal in throughput: then what happens at a reload is what tells them apart.
- Load and servers share a machine and the loopback: no network is in the figures.
- An open loop sends requests at a constant rate; latency counts from when each was due, so a stall is not hidden.
- What is not met is said, too. Why, by instructions, and what would have to be compiled for it, is in
  [decision 020](../explanation/decisions/020-no-compiled-part-yet.md).
"""

_AGAIN = """\
## Measure it yourself

Needs Linux, two cores with nothing else on them, a checkout, and wrk; nginx for the cases behind it. The servers are
installed at these versions into an environment of their own.

```console
$ python3 -m tests.benchmarks.compare --rounds 1 --more-rounds 3 --seconds 2 --page /tmp/benchmarks.md
$ python3 -m tests.benchmarks.compare --table --rounds 3 --seconds 2
$ python3 -m tests.benchmarks.compare --list
$ python3 -m tests.benchmarks.compare --cases asgi-small,wsgi-small-1
$ python3 -m tests.benchmarks.compare --quick
```

The first has made this page: all cases and servers once, and three times more those about which we promise something,
which are all that the second measures. The last makes one short round of everything: it says whether all servers run,
not how fast. What single functions of the hot path cost is counted in instructions by
`python3 -m tests.benchmarks.micro`, which says what has become dearer than its baseline by more than 5 %.
"""


def write_page(page: Path, found: list[Results], setup: Setup) -> None:
    """Write the page, and beside it a directory of its name with the plots and all figures as JSON."""
    directory = page.with_suffix("")
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.glob("*.svg"):
        old.unlink()
    name = directory.name
    lines = [_INTRODUCTION, "## Environment", "", *_environment(found, setup), "", "## At a glance", ""]
    lines += [f"![Ratios of requests per CPU second]({name}/overview.svg)", ""]
    (directory / "overview.svg").write_text(overview(found))
    lines += ["## Case by case", ""]
    for results in found:
        lines += [table(results), "", f"![{results.case.title}]({name}/{results.case.key}.svg)", ""]
        (directory / f"{results.case.key}.svg").write_text(plot(results))
    lines += [_AGAIN]
    page.write_text("\n".join(lines))
    figures = {one.case.key: one.rounds for one in found}
    (directory / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")


def _environment(found: list[Results], setup: Setup) -> list[str]:
    version = _output([setup.python, "-c", "import platform; print(platform.python_version())"])
    rounds = [len(one.rounds) for one in found]
    many = f"{min(rounds)} to {max(rounds)} rounds"
    kernel = platform.release().partition("-")[0]
    model = next((line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith("model name")), "unknown")
    load = os.getloadavg()[2]
    return [
        f"- {time.strftime('%Y-%m-%d')}, {model}, {os.cpu_count()} cores, {platform.system()} {kernel}",
        f"- CPython {version}; medians of {many} of {setup.seconds:g} s each: the most of what is promised",
        f"- load average of the last 15 minutes at the end: {load:.1f} (the benchmark's own is about 2)",
        "- " + ", ".join([*REQUIREMENTS, *MAY_BE_MISSING]),
        f"- {OURS} of the same checkout, with uvloop and httptools",
    ]


def _cpu_lines() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
