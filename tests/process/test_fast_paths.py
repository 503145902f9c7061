"""The suite passes without fast paths, too: they change what a request costs, and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.full(only="3.13")
@pytest.mark.timeout(2400)
@pytest.mark.parametrize(
    "parts",
    [
        pytest.param(("tests/unit/protocol", "tests/unit/asgi", "tests/unit/wsgi"), id="layers"),
        pytest.param(("tests/unit/connection",), id="connections"),
        pytest.param(("tests/property/test_codecs_agree.py", "tests/property/test_codecs_splits.py"), id="properties"),
        pytest.param(("tests/conformance",), id="conformance"),
        pytest.param(("tests/process/test_reload_under_load.py",), id="reloads"),
    ],
)
def test_the_suite_passes_without_fast_paths(parts: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *parts],
        cwd=ROOT,
        env={**os.environ, "SMOOTHSERVE_FAST_PATHS": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=2300,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
