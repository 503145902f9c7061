"""The fixtures of the process tests, and more time for their long versions."""

import pytest

from tests.process.fixtures import directory, serve

__all__ = ["directory", "serve"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("full") and "tests/process" in item.path.as_posix():
            item.add_marker(pytest.mark.timeout(600))
