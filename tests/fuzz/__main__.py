"""Fuzz for a while: `python -m tests.fuzz [--seconds N] [--seed N] [TARGET ...]`.

Findings are saved in the corpus of their target, to be replayed by every run of the tests, and end the run with 1.
"""

import argparse
import random
import sys
import time
import traceback

from tests.fuzz.corpus_files import load_corpus, save
from tests.fuzz.mutator import Finding, fuzz
from tests.fuzz.targets import TARGETS


def main() -> int:
    """Take turns over the targets; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--seconds", type=float, default=60.0, help="in all")
    parser.add_argument("--seed", type=int, default=None)
    arguments = parser.parse_args()
    names = arguments.targets or list(TARGETS)
    unknown = sorted(set(names) - set(TARGETS))
    if unknown:
        parser.error(f"no target is called {', '.join(unknown)}: choose from {', '.join(TARGETS)}")
    seed = arguments.seed if arguments.seed is not None else time.time_ns() & 0xFFFFFFFF
    print(f"seed {seed}", flush=True)
    chance = random.Random(seed)
    findings = 0
    corpora = {name: load_corpus(name) for name in names}
    turn = max(1.0, min(30.0, arguments.seconds / len(names)))
    ends_at = time.monotonic() + arguments.seconds
    runs = dict.fromkeys(names, 0)
    while time.monotonic() < ends_at:
        for name in names:
            corpus = corpora[name]
            before = len(corpus)
            try:
                runs[name] += fuzz(TARGETS[name], corpus, chance, seconds=turn)
            except Finding as finding:
                findings += 1
                print(f"{name}: FOUND, saved as {save(name, finding.data)}")
                traceback.print_exc()
                names = [other for other in names if other != name]
                break
            print(f"{name}: {runs[name]} runs, {len(corpus)} inputs (+{len(corpus) - before})", flush=True)
        if not names:
            break
    for name in names:
        for data in corpora[name]:
            save(name, data)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
