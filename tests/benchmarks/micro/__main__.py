"""Count the instructions of the hot paths, and compare them with the baseline: `python -m tests.benchmarks.micro`.

Needs valgrind. Ends with 1 if a case costs more than 5 % over `baseline.json`; `--renew` writes that file anew. What is
counted does not depend on what else the machine does, but on the interpreter and the libraries: with others than those
that the baseline names, the counts are compared in relation to the calibration case, and only told, not judged.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks.micro.cases import CASES, TIMES

ROOT = Path(__file__).resolve().parents[3]
BASELINE = Path(__file__).with_name("baseline.json")
CALIBRATION = "calibration"
#: How much more a case may cost.
ALLOWED = 0.05
_LIBRARIES = ("httptools", "uvloop", "h11")


class MicroError(Exception):
    """The instructions could not be counted."""


def main() -> int:
    """Count, print, judge."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.micro", description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="case", help=f"of {', '.join(CASES)} (default: all)")
    parser.add_argument("--renew", action="store_true", help="write the baseline anew")
    arguments = parser.parse_args()
    unknown = set(arguments.cases) - set(CASES)
    if unknown:
        print(f"no such case: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    if shutil.which("valgrind") is None:
        print("valgrind is missing: apt-get install valgrind", file=sys.stderr)
        return 2
    recorded = json.loads(BASELINE.read_text()) if BASELINE.exists() else {"environment": {}, "instructions": {}}
    here = environment()
    same = here == recorded["environment"]
    if not same and not arguments.renew:
        print(f"(baseline of {recorded['environment']},\n this is {here}: compared with the calibration, not judged)")
    counted = count_instructions(sorted({CALIBRATION, *arguments.cases}) if arguments.cases else list(CASES))
    dearer = compare(counted, recorded["instructions"], scaled=not same)
    if arguments.renew:
        kept = recorded["instructions"] if same else {}
        text = json.dumps({"environment": here, "instructions": {**kept, **counted}}, indent=1)
        BASELINE.write_text(text + "\n")
        return 0
    return int(same and bool(dearer))


def environment() -> dict[str, str]:
    """Return what the counts depend on."""
    found = {"python": f"{platform.python_implementation()} {platform.python_version()}", "machine": platform.machine()}
    return {**found, **{name: version(name) for name in _LIBRARIES}}


def count_instructions(names: list[str]) -> dict[str, int]:
    """Return the instructions of each case done once. Raise `MicroError` if valgrind does not say."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "callgrind.out"
        done = subprocess.run(
            [
                *("valgrind", "--tool=callgrind", "--dump-before=getppid", f"--callgrind-out-file={out}"),
                *(sys.executable, "-m", "tests.benchmarks.micro.cases", *names),
            ],
            check=False,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
        if done.returncode != 0:
            raise MicroError(f"valgrind ended with {done.returncode}:\n{done.stderr[-2000:]}")
        # The first dump is the start and the first case's warm-up, the second that case, the third the next warm-up...
        return {name: _total(Path(f"{out}.{2 * index + 2}")) // TIMES for index, name in enumerate(names)}


def _total(dump: Path) -> int:
    if dump.exists():
        for line in dump.read_text().splitlines():
            if line.startswith(("summary:", "totals:")):
                return int(line.split()[1])
    raise MicroError(f"valgrind has left no counts in {dump.name}")


def compare(counted: dict[str, int], baseline: dict[str, int], *, scaled: bool) -> list[str]:
    """Print each case beside the baseline; return those that cost more than is allowed."""
    scale = 1.0
    if scaled and baseline.get(CALIBRATION):
        scale = counted[CALIBRATION] / baseline[CALIBRATION]
    dearer = []
    for name, instructions in counted.items():
        before = baseline.get(name)
        if before is None:
            print(f"{name:28} {instructions:10,}  new")
            continue
        change = instructions / (before * scale) - 1
        verdict = ""
        if change > ALLOWED:
            verdict = "  costs more"
            dearer.append(name)
        print(f"{name:28} {instructions:10,} {change:+8.1%}{verdict}")
    return dearer


if __name__ == "__main__":
    sys.exit(main())
