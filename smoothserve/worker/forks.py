"""Keep the server's descriptors out of processes that the application forks without exec.

Such a child would hold a client's connection open after the worker has closed it, and the listener after the server
has stopped. Descriptors are not inheritable through exec anyhow.
"""

import os
from collections.abc import Callable, Iterable


class ForkGuard:
    """Puts /dev/null over the server's descriptors in each child forked from now on.

    Not closed but replaced: the child's copies of transports would otherwise close numbers that are in use again.
    `descriptors` yields them; assign another when there are more.
    """

    def __init__(self, descriptors: Callable[[], Iterable[int]]) -> None:
        self.descriptors = descriptors
        os.register_at_fork(after_in_child=self._replace)

    def _replace(self) -> None:
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for fd in self.descriptors():
            if fd >= 0 and fd != null:
                os.dup2(null, fd, inheritable=False)
        os.close(null)
