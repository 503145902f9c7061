"""The fixtures of the fault tests: those of the process tests."""

from tests.process.fixtures import directory, serve

__all__ = ["directory", "serve"]
