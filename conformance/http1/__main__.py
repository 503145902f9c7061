"""Judge a server: `python -m conformance.http1 HOST:PORT`. It must serve `conformance.http1.application`."""

import argparse
import json
import sys
import time
from pathlib import Path

from conformance.http1.cases import CASES
from conformance.http1.judge import Verdict
from conformance.http1.model import Level
from conformance.http1.runner import Runner
from conformance.target import parse_target


def main() -> int:
    """Run, print the table, return the exit code: 1 if a MUST case fails (with --strict: any), 2 for a bad call."""
    parser = argparse.ArgumentParser(prog="python -m conformance.http1", description=__doc__)
    parser.add_argument("target", metavar="HOST:PORT", type=parse_target)
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose name has this in it")
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds of silence (default: 5)")
    parser.add_argument("--concurrency", type=int, default=32, help="connections at a time (default: 32)")
    parser.add_argument("--strict", action="store_true", help="a failed SHOULD or CARE case fails the run, too")
    parser.add_argument("--all", action="store_true", help="show the cases that pass, too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all verdicts there")
    arguments = parser.parse_args()
    cases = [case for case in CASES if arguments.only in case.name]
    if not cases:
        parser.error(f"no case has {arguments.only!r} in its name")
    began = time.monotonic()
    verdicts = Runner(arguments.target.host, arguments.target.port, arguments.timeout, arguments.concurrency).run(cases)
    print(render_table(verdicts, everything=arguments.all))
    print(f"{len(cases)} cases in {time.monotonic() - began:.1f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps([to_json(one) for one in verdicts], indent=1) + "\n")
    binding = verdicts if arguments.strict else [one for one in verdicts if one.case.level == Level.MUST]
    return 0 if all(one.passed for one in binding) else 1


def to_json(verdict: Verdict) -> dict[str, object]:
    """Return a verdict for a file."""
    case = verdict.case
    return {
        "name": case.name,
        "section": case.section,
        "level": str(case.level),
        "passed": verdict.passed,
        "seen": verdict.seen,
    }


def render_table(verdicts: list[Verdict], *, everything: bool = False) -> str:
    """Render the failed cases (or all), then a line for each level."""
    lines = []
    for verdict in verdicts:
        if everything or not verdict.passed:
            case = verdict.case
            mark = "ok  " if verdict.passed else "FAIL"
            section = case.section if case.section.startswith("RFC") else f"RFC 9112 {case.section}"
            lines.append(f"{mark} {case.level:6} {section:17} {case.name}: {verdict.seen}")
    for level in Level:
        of_level = [verdict for verdict in verdicts if verdict.case.level == level]
        lines.append(f"{level:6} {sum(verdict.passed for verdict in of_level)} of {len(of_level)}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
