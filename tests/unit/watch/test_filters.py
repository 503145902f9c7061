"""Which files count for `--reload`."""

import os
import time
from pathlib import Path

import pytest

from smoothserve.watch.__main__ import changed_since
from smoothserve.watch.filters import Filter

ROOT = "/srv/.hidden/app"


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("app.py", True),
        ("pkg/deep/mod.py", True),
        ("app.pyc", False),
        ("page.html", False),
        (".app.py", False),
        (".venv/lib/site.py", False),
        ("pkg/__pycache__/mod.py", False),
        ("node_modules/gyp/gyp.py", False),
        ("app.py~", False),
        (".app.py.swp", False),
    ],
)
def test_python_files_count_that_are_not_hidden(path: str, counts: bool) -> None:
    assert Filter([ROOT], [], []).counts(f"{ROOT}/{path}") is counts


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.html", "deep/down/page.html", True),
        ("*.html", "page.htm", False),
        (".env", ".env", True),
        ("templates/*", "templates/a.txt", True),
        ("templates/*", "pkg/templates/a.txt", True),
        ("templates/**/*.txt", "templates/a.txt", True),
        ("templates/**/*.txt", "templates/b/c/a.txt", True),
        ("templates/**/*.txt", "a.txt", False),
        ("./conf/*.toml", "conf/x.toml", True),
    ],
)
def test_patterns_include_from_the_right(pattern: str, path: str, matches: bool) -> None:
    assert Filter([ROOT], [pattern], []).counts(f"{ROOT}/{path}") is matches


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("tests/*", "tests/unit/test_a.py"),
        ("tests", "tests/unit/test_a.py"),
        ("*_pb2.py", "a/b_pb2.py"),
        ("*.py", "a.py"),
    ],
)
def test_what_is_excluded_does_not_count_even_if_it_is_included(pattern: str, path: str) -> None:
    assert Filter([ROOT], [], []).counts(f"{ROOT}/{path}")
    assert not Filter([ROOT], ["*.py"], [pattern]).counts(f"{ROOT}/{path}")


def test_paths_are_told_from_the_innermost_watched_directory() -> None:
    files = Filter(["/srv/app", "/srv/app/lib"], [], [])
    assert files.relative("/srv/app/lib/a.py") == "a.py"
    assert files.relative("/srv/app/library/a.py") == "library/a.py"
    assert files.relative("/elsewhere/a.py") == "/elsewhere/a.py"


def test_what_has_changed_since_a_moment_is_found_whatever_its_own_time_says(tmp_path: Path) -> None:
    (tmp_path / "old.py").write_text("")
    (tmp_path / "skipped").mkdir()
    (tmp_path / ".venv").mkdir()
    since = time.time()
    deadline = since + 10
    while (tmp_path / "old.py").stat().st_ctime >= since or not _later(tmp_path / "new.py", since):
        assert time.time() < deadline
    for name in (".venv/mod.py", "skipped/mod.py"):
        (tmp_path / name).write_text("")
    os.utime(tmp_path / "new.py", (1, 1))
    found = list(changed_since([str(tmp_path)], Filter([str(tmp_path)], [], ["skipped"]), since))
    assert found == [str(tmp_path / "new.py")]
    assert not list(changed_since([str(tmp_path)], Filter([str(tmp_path)], [], []), time.time() + 60))


def _later(path: Path, since: float) -> bool:
    """Write a file; return whether its change time is after the moment (kernels count in ticks)."""
    path.write_text("")
    return path.stat().st_ctime > since
