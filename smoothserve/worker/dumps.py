"""The stacks of this worker: those of all threads on a signal, those of all tasks by the event loop, if it turns.

On the signal they are written below the interpreter, so that a blocked worker tells them, too.
"""

import asyncio
import faulthandler
import io
import os

from smoothserve.asgi.stacks import render_stack
from smoothserve.control.dumps import DUMP_SIGNAL, TASKS_END


def arm(fd: int) -> None:
    """Write the stacks of all threads to the descriptor whenever `DUMP_SIGNAL` comes."""
    if fd >= 0 and DUMP_SIGNAL is not None:
        faulthandler.register(DUMP_SIGNAL, file=fd, all_threads=True)


def dump_tasks(fd: int, loop: asyncio.AbstractEventLoop) -> None:
    """Write the stacks of all tasks of the loop, which turns, to the descriptor."""
    if fd < 0:
        return
    text = io.StringIO()
    tasks = asyncio.all_tasks(loop)
    text.write(f"\nTasks: {len(tasks)}\n")
    for task in tasks:
        text.write(f"{task!r}\n{render_stack(task)}")
    text.write(TASKS_END)
    os.write(fd, text.getvalue().encode("utf-8", "backslashreplace"))
