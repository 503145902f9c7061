"""A request body on its way to `wsgi.input`: collected by the loop, in memory first, then in a temporary file.

Decides what is kept where, and when to stop reading from the client: never more than `spool_bytes` and one batch is
in memory. The disk is written to on the loop's executor, so that a slow disk does not hold up other connections.
"""

import asyncio
import errno
import io
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import IO, Protocol

#: Collected bytes that make a batch for the disk.
BATCH_BYTES = 256 * 1024


class ClientDisconnectedError(ConnectionError):
    """The client has gone: raised by `wsgi.input` and by `write()`, and no fault of the application's."""


def storage_advice(error: OSError) -> str:
    """Say what is wrong with the place of temporary files, and what to do."""
    what = error.strerror or f"{error}"
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        what += ": free some space there, or name another directory with TMPDIR"
    elif error.errno == errno.EFBIG:
        what += ": raise ulimit -f (LimitFSIZE)"
    return f"{what}; temporary files are in {tempfile.gettempdir()}"


class BodyFlow(Protocol):
    """The part of an `ExchangeConnection` that a body needs."""

    def pause_body(self) -> None:
        """Stop reading from the client."""

    def resume_body(self) -> None:
        """Read on."""


class RequestBody:
    """Collects one body. All methods but `open` on the loop's thread."""

    __slots__ = (
        "_attached",
        "_batch",
        "_batch_bytes",
        "_discarded",
        "_ended",
        "_file",
        "_flow",
        "_loop",
        "_on_complete",
        "_paused",
        "_spool_bytes",
        "_writing",
        "complete",
        "error",
        "size",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        flow: BodyFlow,
        spool_bytes: int,
        on_complete: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._flow = flow
        self._spool_bytes = spool_bytes
        self._on_complete = on_complete
        self._batch: list[bytes] = []
        self._batch_bytes = 0
        self._file: IO[bytes] | None = None
        self._writing = False
        self._paused = False
        self._attached = True
        self._ended = False
        self._discarded = False
        self.size = 0
        self.complete = False
        """Whether all of it can be read. `on_complete` is called when this becomes true, or `error` is set."""
        self.error: OSError | None = None
        """Why the body could not be stored."""

    def receive_data(self, data: bytes) -> None:
        """Take a part of the body."""
        if self._discarded or self.error is not None:
            return
        self.size += len(data)
        self._batch.append(data)
        self._batch_bytes += len(data)
        if self._file is None:
            if self.size > self._spool_bytes:
                self._store()
        elif self._batch_bytes >= BATCH_BYTES:
            self._store()

    def receive_end(self) -> None:
        """Take note that the body is complete."""
        self._ended = True
        if self._writing:
            return
        if self._file is not None and self._batch:
            self._store()
        else:
            self._finish()

    def open(self) -> io.BufferedIOBase | IO[bytes]:
        """Return the complete body as a file to be read. On an application thread."""
        if self._file is None:
            return io.BytesIO(self._batch[0] if len(self._batch) == 1 else b"".join(self._batch))
        self._file.seek(0)
        return self._file

    def detach(self) -> None:
        """Leave the client's reading alone from now on: it sends the next request, or nothing."""
        self._attached = False
        self._paused = False

    def discard(self) -> None:
        """Give up what has been collected; more is ignored."""
        self.detach()
        self._discarded = True
        self._batch = []
        if self._file is not None and not self._writing:
            self._file.close()
            self._file = None

    def _store(self) -> None:
        """Pass the batch to the disk. One write is under way at a time; the client waits beyond one batch more."""
        if self._writing:
            if self._attached and not self._paused:
                self._paused = True
                self._flow.pause_body()
            return
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        self._writing = True
        self._loop.run_in_executor(None, self._write, batch).add_done_callback(self._stored)

    def _write(self, batch: list[bytes]) -> IO[bytes]:
        """Write a batch, on the executor."""
        file = self._file
        if file is None:
            file = tempfile.TemporaryFile(prefix="smoothserve-body-")  # noqa: SIM115 - closed in `discard`
        try:
            for data in batch:
                file.write(data)
        except OSError:
            file.close()
            raise
        return file

    def _stored(self, written: "asyncio.Future[IO[bytes]]") -> None:
        self._writing = False
        try:
            self._file = written.result()
        except OSError as error:
            self._file = None
            self.error = error
            self._batch = []
            self._read_on()
            if not self._discarded:
                self._on_complete()
            return
        if self._discarded:
            self._file.close()
            self._file = None
        elif self._batch and (self._ended or self._batch_bytes >= BATCH_BYTES):
            self._store()
            self._read_on()
        elif self._ended:
            self._finish()
        else:
            self._read_on()

    def _read_on(self) -> None:
        if self._paused:
            self._paused = False
            self._flow.resume_body()

    def _finish(self) -> None:
        self.complete = True
        self._on_complete()


class AwaitedInput:
    """`wsgi.input` of a request whose client waits for `100 Continue`: the first read asks for the body.

    Reads block until the body is complete; the client's leaving raises `ClientDisconnectedError`.
    """

    def __init__(self, ask: Callable[[], None], body: RequestBody) -> None:
        self._ask = ask
        self._body = body
        self._settled = threading.Event()
        self._gone = False
        self._file: io.BufferedIOBase | IO[bytes] | None = None

    def settle(self, *, gone: bool = False) -> None:
        """Let readers go on: the body is complete, or (`gone`) will never be. On the loop's thread."""
        if not self._settled.is_set():
            self._gone = gone
            self._settled.set()

    def _opened(self) -> io.BufferedIOBase | IO[bytes]:
        if self._file is None:
            if not self._settled.is_set():
                self._ask()
                self._settled.wait()
            if self._body.error is not None:
                raise self._body.error
            if self._gone:
                raise ClientDisconnectedError("the client has disconnected before the request body was complete")
            self._file = self._body.open()
        return self._file

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes, all if negative."""
        return self._opened().read(-1 if size is None else size)

    def readline(self, size: int | None = -1, /) -> bytes:
        """Read a line."""
        return self._opened().readline(-1 if size is None else size)

    def readlines(self, hint: int = -1, /) -> list[bytes]:
        """Read all lines."""
        return self._opened().readlines(hint)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._opened())
