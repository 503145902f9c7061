"""Fuzz one target with atheris (libFuzzer): `python -m tests.fuzz.with_atheris TARGET [--seconds N] [-FLAG=VALUE ...]`.

Needs the extra `fuzz`, on a Python that atheris is built for. Starts from the kept corpus. A finding is saved in it;
of the inputs that were made those stay which reach lines that no kept one does.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

MAX_BYTES = 4096
#: Seconds that one input may take before libFuzzer calls it a hang.
HANG_TIMEOUT = 10
#: libFuzzer's names for what it saves of a finding.
FINDINGS = ("crash-*", "timeout-*", "oom-*", "leak-*")


def main() -> int:
    """Fuzz in a process of its own, which libFuzzer ends; then keep what it has found. Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.with_atheris")
    parser.add_argument("target")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    arguments, flags = parser.parse_known_args()
    if arguments.inside is not None:
        return _fuzz(arguments.target, [arguments.inside, *flags])
    # Not before: what has been imported already is not instrumented.
    from tests.fuzz.corpus_files import CORPUS, load_corpus, save
    from tests.fuzz.targets import TARGETS

    if arguments.target not in TARGETS:
        parser.error(f"no target is called {arguments.target}: choose from {', '.join(TARGETS)}")
    with tempfile.TemporaryDirectory(prefix="smoothserve-fuzz-") as directory:
        made, found = Path(directory, "made"), Path(directory, "found")
        made.mkdir()
        found.mkdir()
        for number, data in enumerate(load_corpus(arguments.target)):
            (made / f"kept-{number}").write_bytes(data)
        limits = [f"-max_total_time={arguments.seconds}", f"-max_len={MAX_BYTES}", f"-timeout={HANG_TIMEOUT}"]
        command = [sys.executable, "-m", "tests.fuzz.with_atheris", arguments.target, "--inside", str(made)]
        code = subprocess.run([*command, f"-artifact_prefix={found}/", *limits, *flags], check=False).returncode
        findings = [one.read_bytes() for pattern in FINDINGS for one in sorted(found.glob(pattern))]
        for data in findings:
            print(f"{arguments.target}: FOUND, saved as {save(arguments.target, data)}")
        if not findings:
            inputs = [one.read_bytes() for one in sorted(made.iterdir()) if not one.name.startswith("kept-")]
            print(f"{arguments.target}: {len(inputs)} inputs made, {_keep(arguments.target, inputs)} kept in {CORPUS}")
    return 1 if findings or code else 0


def _fuzz(name: str, arguments: list[str]) -> int:
    """Hand the process over to libFuzzer, which ends it."""
    import atheris

    # Instrumented is what is imported from here on: ours, and the pure Python that bytes of clients reach.
    with atheris.instrument_imports(include=["smoothserve", "h11", "wsproto"]):
        from tests.fuzz.targets import TARGETS

    fuzzer: Any = atheris
    fuzzer.Setup([sys.argv[0], *arguments], TARGETS[name])
    fuzzer.Fuzz()
    return 0


def _keep(name: str, inputs: list[bytes]) -> int:
    """Keep the inputs that reach lines which none before them has reached; return how many. Needs CPython 3.12."""
    from tests.fuzz.corpus_files import load_corpus, save
    from tests.fuzz.mutator import Coverage, run_one
    from tests.fuzz.targets import TARGETS

    coverage, kept = Coverage(), 0
    with coverage.watching():
        for data in load_corpus(name):
            run_one(TARGETS[name], data)
        for data in sorted(inputs, key=len):
            before = coverage.lines
            run_one(TARGETS[name], data)
            if coverage.lines > before:
                save(name, data)
                kept += 1
    return kept


if __name__ == "__main__":
    sys.exit(main())
