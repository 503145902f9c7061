"""Fast paths can be turned off, and then nothing is remembered."""

import os
import subprocess
import sys

import pytest

from smoothserve.protocol.memory import Forgetful

PROBE = """
from smoothserve.asgi.http import HAS_EAGER_TASKS
from smoothserve.protocol.events import Limits
from smoothserve.protocol.httptools_codec import HttptoolsCodec
from smoothserve.protocol.response import DefaultHeaders, Response

limits, defaults = Limits(), DefaultHeaders()
for _ in range(3):
    codec = HttptoolsCodec(limits)
    codec.receive_data(b"GET / HTTP/1.1\\r\\nHost: a\\r\\nAccept: b\\r\\n\\r\\n")
    assert codec.events
    Response("GET", "1.1", keep_alive=True).start(200, [(b"a", b"b")], defaults)
known = limits.lines
memories = [*limits.heads.values(), known.request_lines, known.plain, known.notable, known.judged, known.blocks]
memories += [defaults.fields, defaults.known, defaults.heads]
print(HAS_EAGER_TASKS, [bool(memory) for memory in memories])
"""


def test_a_forgetful_memory_stays_empty() -> None:
    memory: Forgetful[str, int] = Forgetful()
    memory["a"] = 1
    assert not memory
    assert memory.get("a") is None


@pytest.mark.parametrize(("switch", "expected"), [("1", True), ("0", False)])
def test_without_fast_paths_nothing_is_remembered_and_no_task_is_eager(switch: str, expected: bool) -> None:
    environment = {**os.environ, "SMOOTHSERVE_FAST_PATHS": switch}
    said = subprocess.run(
        [sys.executable, "-c", PROBE], env=environment, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert said.split(" ", 1) == [str(expected and sys.version_info >= (3, 12)), f"{[expected] * 9}\n"]
