"""Where a task waits: the stack of its coroutine and of all that it awaits, outermost first.

`asyncio.Task.get_stack` knows only the outermost frame of a task that waits.
"""

import asyncio
import traceback
from types import FrameType
from typing import Any

#: A chain of awaits that is longer is cut.
MAX_FRAMES = 200


def render_stack(task: "asyncio.Task[Any]") -> str:
    """Return the stack as a traceback shows it, of a task that does not run at this moment."""
    awaited: Any = task.get_coro()
    frames: list[tuple[FrameType, int]] = []
    while awaited is not None and len(frames) < MAX_FRAMES:
        frame = next((found for name in _FRAMES if (found := getattr(awaited, name, None)) is not None), None)
        if frame is None:
            break
        frames.append((frame, frame.f_lineno))
        awaited = next((found for name in _AWAITED if (found := getattr(awaited, name, None)) is not None), None)
    return "".join(traceback.StackSummary.extract(iter(frames)).format())


#: Of a coroutine, a generator and an asynchronous generator.
_FRAMES = ("cr_frame", "gi_frame", "ag_frame")
_AWAITED = ("cr_await", "gi_yieldfrom", "ag_await")
