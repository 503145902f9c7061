"""Every test here runs on both loops and both codecs."""

import asyncio
import importlib.util
from collections.abc import Callable, Coroutine
from typing import Any

import pytest


def loops() -> list[str]:
    return ["asyncio", "uvloop"] if importlib.util.find_spec("uvloop") else ["asyncio"]


@pytest.fixture(params=loops())
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    def runner(coroutine: Coroutine[Any, Any, None]) -> None:
        factory = None
        if request.param == "uvloop":
            import uvloop

            factory = uvloop.new_event_loop
        with asyncio.Runner(loop_factory=factory) as one:
            one.run(coroutine)

    return runner


@pytest.fixture(params=["httptools", "h11"])
def http(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave two of the four pairs of a loop and a codec to the full depth: each loop and each codec has its turn."""
    for item in items if len(loops()) > 1 else []:
        values = getattr(getattr(item, "callspec", None), "id", "").split("-")
        if "tests/unit/connection/" in item.nodeid and (
            {"asyncio", "httptools"} <= set(values) or {"uvloop", "h11"} <= set(values)
        ):
            item.add_marker(pytest.mark.full)
