"""What all tests share: the two depths, and the closing list of what the default depth left out."""

from collections import Counter

import pytest
from hypothesis import settings


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the tests marked `full`, too: long, heavy, repeated")


def pytest_configure(config: pytest.Config) -> None:
    """Let the default depth try the same examples each time; --full explores."""
    settings.register_profile("default depth", derandomize=True)
    settings.register_profile("full depth", derandomize=False)
    settings.load_profile("full depth" if config.getoption("--full") else "default depth")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--full"):
        return
    left_out = [item for item in items if item.get_closest_marker("full")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("full")]
    config.stash[LEFT_OUT] = left_out


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    left_out = config.stash.get(LEFT_OUT, [])
    if left_out:
        terminalreporter.section("left out of the default depth (run with --full)")
        names = Counter(f"{item.location[0]}::{item.location[2].split('[')[0]}" for item in left_out)
        for name, count in names.items():
            terminalreporter.line(f"{name}{f' ({count} variants)' if count > 1 else ''}")


LEFT_OUT = pytest.StashKey[list[pytest.Item]]()
