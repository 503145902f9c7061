"""What the suites share on their command lines: where the server is, and which cases are wanted."""

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

NO_SERVER = 2
"""Exit code of a suite that could not speak to the server, or was asked for cases that do not exist."""


@dataclass(frozen=True, slots=True)
class Target:
    """A server's address."""

    host: str
    port: int

    @property
    def authority(self) -> str:
        """What the Host field says."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_target(text: str) -> Target:
    """Parse `HOST:PORT` or `[IPV6]:PORT`. Raise `argparse.ArgumentTypeError` for anything else."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]/\s]+)):([0-9]{1,5})", text)
    if match is None or not 0 < int(match[3]) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is no HOST:PORT")
    return Target(match[1] or match[2], int(match[3]))


def parse_selection(text: str) -> Callable[[str], bool]:
    """Turn `1,2.*,9.1.3` into a test of case numbers: a number stands for itself and all below it, `*` for anything."""
    patterns = [pattern.strip() for pattern in text.split(",") if pattern.strip()]
    if not patterns:
        raise argparse.ArgumentTypeError("no case is named; for example: --cases 1,2.*")

    def wanted(number: str) -> bool:
        return any(fnmatchcase(number, pattern) or number.startswith(f"{pattern}.") for pattern in patterns)

    return wanted
