"""Set up and run all checks: `python3 -m tests` (default depth) or `python3 -m tests --full` (all Pythons, long).

Needs only a Python of 3.11 or later with `venv`; virtual environments go to `.venv/`, nginx and (for --full) Chromium
come from the system's packages if they are missing and this user may install them. Arguments after `--` go to pytest.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11", "3.12", "3.13")
# Most of the scenarios wait most of the time: three at once on two cores end in less than half the time.
PARALLEL = ("-n", "3", "--dist", "worksteal", "-m", "not alone")
# The rest measure time, or load the machine for all it has.
ALONE = ("-m", "alone")


def main() -> int:
    """Run the checks; return the exit code."""
    parser = argparse.ArgumentParser(prog="python3 -m tests", description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="all Pythons and loops, long and heavy scenarios")
    parser.add_argument("--setup-only", action="store_true", help="make the environments, run nothing")
    parser.add_argument(
        "--pythons",
        default=None,
        help="versions to test with, such as 3.11,3.13 (default: this one; --full: all)",
    )
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, after --")
    arguments = parser.parse_args()
    if sys.version_info < (3, 11):  # noqa: UP036 - a stranger may run it with an older one
        print(f"smoothserve needs Python 3.11 or later, this is {sys.version.split()[0]}", file=sys.stderr)
        return 2
    os.chdir(ROOT)
    wanted = arguments.pythons.split(",") if arguments.pythons else list(PYTHONS) if arguments.full else []
    interpreters = [find_python(version) for version in wanted] or [sys.executable]
    # Reloads are tested behind a real proxy and, at full depth, with a page in a real browser.
    ensure_program(("nginx",), "nginx-light", "brew install nginx")
    if arguments.full:
        ensure_program(("chromium", "chromium-browser"), "chromium", "or your system's way to it")
    environments = [make_environment(python) for python in interpreters]
    for python in environments:
        compile_all(python)
    if arguments.setup_only:
        return 0
    began = time.monotonic()
    failures = [name for name, command in static_checks(environments[0]) if not run(name, command)]
    for python in environments:
        for title, chosen in (("pytest", PARALLEL), ("pytest, one at a time,", ALONE)):
            name = f"{title} on {python.parent.parent.name}"
            command = [str(python), "-m", "pytest", *chosen, *(["--full"] if arguments.full else [])]
            if not run(name, [*command, *arguments.pytest], none_chosen=bool(arguments.pytest)):
                failures.append(name)
    print(
        f"\n{'FAILED: ' + ', '.join(failures) if failures else 'all checks passed'} in {time.monotonic() - began:.0f} s"
    )
    return 1 if failures else 0


def static_checks(python: Path) -> list[tuple[str, list[str]]]:
    """Name the checks that run nothing of the project."""
    programs = python.parent
    return [
        ("ruff check", [str(programs / "ruff"), "check", "."]),
        ("ruff format", [str(programs / "ruff"), "format", "--check", "."]),
        ("mypy", [str(programs / "mypy")]),
        ("import layers", [str(programs / "lint-imports")]),
    ]


def run(name: str, command: list[str], *, none_chosen: bool = False) -> bool:
    """Run one check in the foreground; return whether it passed.

    `none_chosen`: it is well if pytest finds no test: the caller has chosen some by arguments of their own.
    """
    print(f"\n=== {name}", flush=True)
    began = time.monotonic()
    code = subprocess.run(command, check=False).returncode
    if none_chosen and code == 5:  # pytest.ExitCode.NO_TESTS_COLLECTED
        code = 0
    print(
        f"--- {name}: {'passed' if code == 0 else f'FAILED ({code})'} in {time.monotonic() - began:.0f} s",
        flush=True,
    )
    return code == 0


def find_python(version: str) -> str:
    """Find an interpreter of a version on PATH or among pyenv's. End with a message if there is none."""
    if sys.version.startswith(version + "."):
        return sys.executable
    candidates = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python3"))
    on_path = shutil.which(f"python{version}")
    for candidate in [*map(str, candidates), *([on_path] if on_path else [])]:
        if subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
            return candidate
    sys.exit(f"Python {version} is not installed, and --full needs {', '.join(PYTHONS)}: install it, or say --pythons")


def make_environment(python: str) -> Path:
    """Make or refresh the virtual environment of an interpreter; return its python."""
    code = "import sys; print(sys.implementation.name + '-' + '.'.join(map(str, sys.version_info[:2])))"
    name = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    place = ROOT / ".venv" / name
    inside = place / "bin" / "python"
    stamp = place / "installed"
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    if inside.exists() and stamp.exists() and stamp.read_text() == wanted:
        return inside
    print(f"=== setting up {place.relative_to(ROOT)}", flush=True)
    if not inside.exists():
        made = subprocess.run([python, "-m", "venv", str(place)], check=False).returncode
        if made:
            sys.exit("no virtual environment could be made: on Debian and Ubuntu, apt-get install python3-venv")
    install = [
        str(inside),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--editable",
        ".[test]",
    ]
    for attempt in range(3):
        if subprocess.run(install, check=False).returncode == 0:
            break
        print(f"pip failed (attempt {attempt + 1} of 3)", flush=True)
    else:
        sys.exit("the test requirements could not be installed")
    stamp.write_text(wanted)
    return inside


def compile_all(python: Path) -> None:
    """Compile what the tests' servers import, hundreds of times: where PYTHONDONTWRITEBYTECODE is set nobody else does.

    What does not compile is for the checks to say.
    """
    subprocess.run([str(python), "-m", "compileall", "-q", "smoothserve", "tests", "conformance"], check=False)


def ensure_program(names: tuple[str, ...], package: str, elsewhere: str) -> None:
    """Install a program if it is missing and can be; end with a message if it cannot: no test is skipped for it."""

    def there() -> bool:
        return any(shutil.which(name) or Path("/usr/sbin", name).exists() for name in names)

    if there():
        return
    apt = shutil.which("apt-get")
    if apt and os.geteuid() == 0:
        print(f"=== installing {package}", flush=True)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (
            [apt, "-qq", "update"],
            [apt, "-qq", "install", "-y", "--no-install-recommends", package],
        ):
            subprocess.run(command, check=False, env=environment, stdout=subprocess.DEVNULL)
        if there():
            return
    sys.exit(f"the tests need {names[0]}: install it (apt-get install {package}, {elsewhere}) and run this again")


if __name__ == "__main__":
    sys.exit(main())
