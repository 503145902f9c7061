"""What the application forks without exec is no worker: it keeps none of the server's descriptors, and ends where it
would come back into the server.

Such a child would hold a client's connection open after the worker has closed it, and the listener after the server
has stopped. If it fell out of the application's call it would go on as a second worker. Descriptors are not
inheritable through exec anyhow.
"""

import asyncio
import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn

from smoothserve.logs.standard import flush_standard_streams


class ForkGuard:
    """Looks after each child forked from now on.

    `descriptors` yields the server's descriptors; assign another when there are more. `/dev/null` is put over them:
    they are not closed, since the child's copies of transports would later close numbers that are in use again.
    """

    def __init__(self, descriptors: Callable[[], Iterable[int]]) -> None:
        self.descriptors = descriptors
        self.disarm: Callable[[Callable[[BaseException | None], NoReturn]], None] = lambda _: None
        """Given what ends the process, sees that it is called when a child comes back from the application."""
        self.loop: asyncio.AbstractEventLoop | None = None
        self.in_child = False
        self._thread = threading.get_ident()
        os.register_at_fork(after_in_child=self._become_child)

    @contextlib.contextmanager
    def holding_children(self) -> Iterator[None]:
        """Let no child out of this block."""
        try:
            yield
        except BaseException as error:
            if self.in_child:
                end_child(error.__cause__ or error)
            raise
        if self.in_child:
            end_child(None)

    def _become_child(self) -> None:
        self.in_child = True
        self._replace()
        self.disarm(end_child)
        if self.loop is not None and threading.get_ident() == self._thread and not self.loop.is_closed():
            # A call that waits comes back through the loop, which is the parent's.
            self.loop.call_soon(end_child, None)

    def _replace(self) -> None:
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for fd in self.descriptors():
            if fd >= 0 and fd != null:
                os.dup2(null, fd, inheritable=False)
        os.close(null)


def end_child(error: BaseException | None) -> NoReturn:
    """End this process as the interpreter would for `error`, None if the application's call has returned."""
    code = 0 if error is None else 1
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
        if code == 1 and not isinstance(error.code, int):
            print(error.code, file=sys.stderr)
    elif error is not None:
        traceback.print_exception(error)
    flush_standard_streams(1.0)
    os._exit(code & 0xFF)
