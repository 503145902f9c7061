"""What all tests share: the two depths, and the closing list of what the default depth left out."""

import signal
import sys
from collections import Counter
from typing import Any

import pytest
from hypothesis import settings

from tests.load.scenarios import Pace


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the tests marked `full`, too: long, heavy, repeated")


def pytest_configure(config: pytest.Config) -> None:
    """Let the default depth try the same examples each time; --full explores."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell has begun us in the background; the servers and commands of the tests would go on to ignore it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    settings.register_profile("default depth", derandomize=True)
    settings.register_profile("full depth", derandomize=False)
    settings.load_profile("full depth" if config.getoption("--full") else "default depth")
    if hasattr(config, "workerinput"):
        # One of several processes: a load without a pause would take the processors from the others, and their
        # reloads and requests would take many times what they take. Tests that need it are marked `alone`.
        Pace.think = (0.0, 0.1)


@pytest.hookimpl(trylast=True)  # after -m and -k have chosen
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    full = config.getoption("--full")
    left_out = [item for item in items if _is_left_out(item.get_closest_marker("full"), full=full)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        left = set(left_out)
        items[:] = [item for item in items if item not in left]
    names = Counter(f"{item.location[0]}::{item.location[2].split('[')[0]}" for item in left_out)
    config.stash[LEFT_OUT] = names
    if (output := getattr(config, "workeroutput", None)) is not None:  # one of several processes: tell the first
        output["left out"] = dict(names)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take over what one of several processes left out; all of them leave out the same."""
    names = getattr(node, "workeroutput", {}).get("left out")
    if names:
        node.config.stash[LEFT_OUT] = Counter(names)


def _is_left_out(marker: pytest.Mark | None, *, full: bool) -> bool:
    """Whether a test is for the full depth, or there for the one Python of `full(only="3.13")`."""
    if marker is None:
        return False
    return not full or marker.kwargs.get("only") not in (None, f"{sys.version_info[0]}.{sys.version_info[1]}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    names = config.stash.get(LEFT_OUT, Counter())
    if names:
        full = config.getoption("--full")
        where = "on this Python: one of them runs it" if full else "of the default depth (run with --full)"
        terminalreporter.section(f"left out {where}")
        for name, count in names.items():
            terminalreporter.line(f"{name}{f' ({count} variants)' if count > 1 else ''}")


LEFT_OUT = pytest.StashKey[Counter[str]]()
