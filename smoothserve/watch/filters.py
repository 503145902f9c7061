"""Which files count (`--reload-include`, `--reload-exclude`): patterns of the shell's kind.

What the user excludes does not count, whatever else is said; what the user includes comes next, so that it may be what
is left out by default (`.env`), then what is left out by default, then what counts by default.
"""

import os
from collections.abc import Sequence
from fnmatch import fnmatchcase

INCLUDES = ("*.py",)
#: Also directories: nothing below them counts.
EXCLUDES = (".*", "__pycache__", "node_modules", "*.py[cod]", "*.sw?", "*~")


class Filter:
    """Says whether a changed file counts."""

    def __init__(self, roots: Sequence[str], includes: Sequence[str], excludes: Sequence[str]) -> None:
        self._roots = sorted(roots, key=len, reverse=True)
        self._includes = includes
        self._excludes = excludes

    def counts(self, path: str) -> bool:
        """Whether a change of this file is one of the application's."""
        names = self._names(path)
        if _any(names, self._excludes):
            return False
        if _any(names[:1], self._includes):
            return True
        return not _any(names, EXCLUDES) and _any(names[:1], INCLUDES)

    def may_hold(self, directory: str) -> bool:
        """Whether files below this directory may count."""
        names = self._names(directory)
        return not _any(names, self._excludes) and (bool(self._includes) or not _any(names, EXCLUDES))

    def relative(self, path: str) -> str:
        """Return the path from the watched directory that it is in."""
        for root in self._roots:
            if path.startswith(root.rstrip("/") + "/"):
                return os.path.relpath(path, root)
        return path

    def _names(self, path: str) -> list[str]:
        """Return the path and those of the directories that it is in, up to the watched one, innermost first."""
        name = self.relative(path)
        found = []
        while name not in {"", "/"}:
            found.append(name)
            name = os.path.dirname(name)
        return found


def _any(names: Sequence[str], patterns: Sequence[str]) -> bool:
    return any(_matches(name, pattern) for pattern in patterns for name in names)


def _matches(name: str, pattern: str) -> bool:
    """Match a path from the right, as a pattern without a slash means a name wherever it is; `**/` may be nothing."""
    pattern = pattern.removeprefix("./").rstrip("/")
    if "/" not in pattern:
        return fnmatchcase(os.path.basename(name), pattern)
    return any(fnmatchcase(name, one) or fnmatchcase(name, f"*/{one}") for one in {pattern, pattern.replace("**/", "")})
