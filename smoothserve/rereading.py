"""Reading files that are read again later: by the master, for each new worker, at each reload.

A pipe gives what it has to the first reader only, and one that nobody writes to would hold its reader up for ever.
"""

import errno
import os
import stat

_PIPE = "it is no regular file, and it is read again for each worker: name a regular file"


def read_again(path: str) -> bytes:
    """Return what is in the file. Raise `OSError`, at once, for what is no regular file; the null device is empty."""
    # Not waiting for the writer of a pipe; for a regular file it means nothing.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with open(fd, "rb") as file:
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode):
            return file.read()
    if stat.S_ISCHR(status.st_mode) and os.path.samestat(status, os.stat(os.devnull)):
        return b""
    raise OSError(errno.EINVAL, _PIPE, path)
