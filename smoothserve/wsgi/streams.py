"""The small objects of an environ: `wsgi.errors` and `wsgi.file_wrapper` (PEP 3333).

Used on application threads only.
"""

import io
import logging
import os
import stat
import threading
from collections.abc import Iterable, Iterator
from typing import Any

#: A line without an end that grows beyond this is written as it is.
_MAX_LINE = 65536


class ErrorLogStream:
    """`wsgi.errors`: whole lines become entries of the error log, one for each write. One stream for all threads."""

    encoding = "utf-8"
    closed = False

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        # What several threads write at once must not run together in a line.
        self._own = threading.local()

    def write(self, text: str, /) -> int:
        """Take text; whole lines are logged, the rest waits for its end or for `flush`."""
        if not isinstance(text, str):
            raise TypeError(f"wsgi.errors takes str, not {type(text).__name__}")
        pending = getattr(self._own, "pending", "") + text
        *lines, pending = pending.split("\n")
        if len(pending) > _MAX_LINE:
            lines.append(pending)
            pending = ""
        self._own.pending = pending
        if lines:
            # What is written together, a traceback say, stays together: one entry.
            self._log.error("%s", "\n".join(lines))
        return len(text)

    def writelines(self, texts: Iterable[str], /) -> None:
        """Take several texts."""
        for text in texts:
            self.write(text)

    def flush(self) -> None:
        """Log what has been written and is no whole line yet; have the log's handlers pass on what they hold."""
        pending = getattr(self._own, "pending", "")
        if pending:
            self._own.pending = ""
            self._log.error("%s", pending)
        log: logging.Logger | None = self._log
        while log is not None:
            for handler in log.handlers:
                handler.flush()
            log = log.parent if log.propagate else None

    def isatty(self) -> bool:
        """Return False: some loggers ask before they colour their lines."""
        return False

    def writable(self) -> bool:
        """Return True."""
        return True


class FileWrapper:
    """`wsgi.file_wrapper`: iterates over a file-like object in blocks, and closes it (PEP 3333)."""

    def __init__(self, filelike: Any, blksize: int = 8192) -> None:
        self.filelike = filelike
        self.blksize = blksize
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        block: bytes = self.filelike.read(self.blksize)
        if not block:
            raise StopIteration
        return block

    def regular_file(self) -> tuple[int, int, int] | None:
        """Return descriptor, position and size, if reading the file-like object is reading a regular file."""
        filelike = self.filelike
        # Others have a `fileno()` too, and read something else than what is in that file (GzipFile).
        raw = filelike.raw if type(filelike) in (io.BufferedReader, io.BufferedRandom) else filelike
        if type(raw) is not io.FileIO:
            return None
        status = os.fstat(raw.fileno())
        if not stat.S_ISREG(status.st_mode):
            return None
        filelike.flush()
        return raw.fileno(), filelike.tell(), status.st_size
