"""The Autobahn cases against a worker of ours, on both loops and both codecs: nothing failed, nothing non-strict."""

import asyncio

import pytest

from conformance.target import Target
from conformance.websocket.__main__ import render
from conformance.websocket.compression import DATA, OFFERS
from conformance.websocket.runner import QUICK_MESSAGES, Options, run, select
from tests.conformance.conftest import StartServer

#: Long enough for a busy machine: a server of ours leaves nothing unanswered, so that no case waits for it.
PATIENCE = 60.0

SETTINGS = [(loop, codec) for loop in ("uvloop", "asyncio") for codec in ("fast", "wsproto")]
EACH_SETTING = pytest.mark.parametrize(("loop", "codec"), SETTINGS)


def assert_all_pass(start: StartServer, loop: str, codec: str, prefixes: tuple[str, ...], messages: int | None) -> None:
    """Run the cases whose numbers begin so; without `messages` all that they send, else the quick ones."""
    cases = select(lambda number: f"{number}.".startswith(prefixes), quick=messages == QUICK_MESSAGES)
    server = start("conformance.websocket.echo:app", "--loop", loop, "--websocket", codec)
    options = Options(Target("127.0.0.1", server.port), patience=PATIENCE, messages=messages)
    results = asyncio.run(run(cases, options))
    assert results
    assert all(result.strict for result in results), "\n" + render(results, 0)
    assert "Traceback" not in server.log()


@EACH_SETTING
def test_no_case_fails_or_is_non_strict(start: StartServer, loop: str, codec: str) -> None:
    assert_all_pass(start, loop, codec, ("",), QUICK_MESSAGES)


@pytest.mark.full
@pytest.mark.timeout(600)
@EACH_SETTING
def test_no_case_fails_or_is_non_strict_with_all_limits(start: StartServer, loop: str, codec: str) -> None:
    assert_all_pass(start, loop, codec, tuple(f"{group}." for group in range(1, 11)), None)


@pytest.mark.full
@pytest.mark.timeout(600)
@EACH_SETTING
def test_compression_in_all_sizes(start: StartServer, loop: str, codec: str) -> None:
    assert_all_pass(start, loop, codec, ("12.", "13."), 60)


#: Minutes for each setting: one Python is enough, and they share the work.
PYTHON_OF = {
    ("uvloop", "fast"): "3.13",
    ("asyncio", "wsproto"): "3.13",
    ("uvloop", "wsproto"): "3.12",
    ("asyncio", "fast"): "3.11",
}
SUBGROUPS = [
    f"{group}.{index}." for group, count in ((12, len(DATA)), (13, len(OFFERS))) for index in range(1, count + 1)
]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("prefix", SUBGROUPS)
@pytest.mark.parametrize(
    ("loop", "codec"),
    [pytest.param(*setting, marks=pytest.mark.full(only=python)) for setting, python in PYTHON_OF.items()],
)
def test_compression_of_all_messages(start: StartServer, loop: str, codec: str, prefix: str) -> None:
    assert_all_pass(start, loop, codec, (prefix,), None)
