"""A connection that records what reaches it, and a worker's loop around a WSGI application.

The loop runs in the test's own thread: `Server.until` turns it until something holds, or fails at a deadline.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Self
from urllib.parse import urlsplit

from smoothserve.protocol.events import Request
from smoothserve.protocol.exchange import Exchange
from smoothserve.protocol.response import DefaultHeaders
from smoothserve.protocol.tls import TLSInfo
from smoothserve.wsgi.application import WSGIApplication
from smoothserve.wsgi.exchange import WSGIExchange

DEADLINE = 20.0


def request(
    method: str = "GET",
    target: str = "/",
    headers: list[tuple[bytes, bytes]] | None = None,
    *,
    http_version: str = "1.1",
    keep_alive: bool = True,
    content_length: int | None = None,
    chunked: bool = False,
    expect_continue: bool = False,
) -> Request:
    path, _, query = target.partition("?")
    if "://" in path:
        path = urlsplit(path).path or "/"
    fields = [(b"host", b"example.org"), *(headers or [])]
    if content_length is not None:
        fields.append((b"content-length", b"%d" % content_length))
    if chunked:
        fields.append((b"transfer-encoding", b"chunked"))
    return Request(
        method,
        target.encode("latin-1"),
        path.encode("latin-1"),
        query.encode("latin-1"),
        http_version,
        fields,
        keep_alive=keep_alive,
        content_length=content_length,
        chunked=chunked,
        expect_continue=expect_continue,
    )


class FakeConnection:
    """Implements `ExchangeConnection` in memory. Fails the test if it is called on another thread than the loop's."""

    scheme = "http"
    tls: TLSInfo | None = None

    def __init__(self, *, writable: bool = True) -> None:
        self.client: tuple[str, int] | None = ("192.0.2.7", 51000)
        self.server: tuple[str, int | None] | None = ("198.51.100.1", 8000)
        self.writable = writable
        self.stays_open = True
        #: Bytes that the transport takes before it is no longer writable; None: no bound.
        self.high_water: int | None = None
        self.sent = bytearray()
        self.writes = 0
        self.calls: list[str] = []
        self.paused = False
        self.finished = False
        self.failed = False
        self.returned = 0
        self._thread = threading.get_ident()
        self._buffered = 0

    def _note(self, call: str) -> None:
        assert threading.get_ident() == self._thread, f"{call} was called outside the loop's thread"
        self.calls.append(call)

    def write(self, data: bytes) -> None:
        self._note("write")
        assert isinstance(data, bytes)
        self.sent += data
        self.writes += 1
        self._buffered += len(data)
        if self.high_water is not None and self._buffered > self.high_water:
            self.writable = False

    def send_continue(self) -> None:
        self._note("send_continue")

    def pause_body(self) -> None:
        self._note("pause_body")
        assert not self.paused
        self.paused = True

    def resume_body(self) -> None:
        self._note("resume_body")
        assert self.paused
        self.paused = False

    def keep_alive_allowed(self) -> bool:
        assert threading.get_ident() == self._thread
        return self.stays_open

    def _note_end(self) -> None:
        assert self.calls.count("answer_finished") + self.calls.count("answer_failed") == 1

    def answer_finished(self, exchange: Exchange) -> None:
        self._note("answer_finished")
        self._note_end()
        self.finished = True

    def answer_failed(self, exchange: Exchange) -> None:
        self._note("answer_failed")
        self._note_end()
        self.failed = True

    def request_timed_out(self, exchange: Exchange) -> None:
        self._note("request_timed_out")
        exchange.client_left()

    def call_returned(self, exchange: Exchange) -> None:
        self._note("call_returned")
        self.returned += 1
        assert self.returned == 1

    def drain(self, exchange: Exchange) -> None:
        """The client has taken everything."""
        self._buffered = 0
        if not self.writable:
            self.writable = True
            exchange.writable_again()

    # what the client sees

    @property
    def head(self) -> str:
        return bytes(self.sent).partition(b"\r\n\r\n")[0].decode("latin-1")

    @property
    def status(self) -> str:
        return self.head.split("\r\n")[0].partition(" ")[2]

    @property
    def headers(self) -> dict[str, str]:
        lines = [line.partition(": ") for line in self.head.split("\r\n")[1:]]
        return {name.lower(): value for name, _, value in lines}

    @property
    def body(self) -> bytes:
        body = bytes(self.sent).partition(b"\r\n\r\n")[2]
        if self.headers.get("transfer-encoding") != "chunked":
            return body
        decoded = b""
        while body:
            size, _, body = body.partition(b"\r\n")
            count = int(size, 16)
            decoded += body[:count]
            assert body[count : count + 2] in (b"\r\n", b"")
            body = body[count + 2 :]
        return decoded


class Records(logging.Handler):
    """Keeps log records."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.flushes = 0
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def flush(self) -> None:
        self.flushes += 1

    @property
    def text(self) -> str:
        return "\n".join(self.format(record) for record in self.records)

    @property
    def messages(self) -> list[str]:
        return [record.getMessage() for record in self.records]


def private_logger(handler: logging.Handler) -> logging.Logger:
    """Make a logger that no other test knows."""
    logger = logging.Logger("test", logging.DEBUG)  # noqa: LOG001 - the global registry is shared by all tests
    logger.addHandler(handler)
    return logger


class Server:
    """A loop and a started application. Close it, or use it in a `with` statement."""

    def __init__(self, app: Any, *, threads: int = 1, **options: Any) -> None:
        self.loop = asyncio.new_event_loop()
        self.log = Records()
        logger = private_logger(self.log)
        self.application = WSGIApplication(
            app,
            loop=self.loop,
            threads=threads,
            defaults=DefaultHeaders(),
            error_log=logger,
            multiprocess=options.pop("multiprocess", False),
            **options,
        )
        self.application.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self, timeout: float = DEADLINE) -> None:
        self.loop.run_until_complete(self.application.stop(timeout))
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    def turn(self) -> None:
        """Let the loop do what it has to do at once."""
        self.loop.run_until_complete(asyncio.sleep(0))

    def until(self, holds: Callable[[], Any], deadline: float = DEADLINE) -> None:
        """Run the loop until `holds()` is true."""

        async def wait() -> None:
            end = time.monotonic() + deadline
            while not holds():
                assert time.monotonic() < end, "the deadline has passed"
                await asyncio.sleep(0.0005)

        self.loop.run_until_complete(wait())

    def begin(
        self, head: Request | None = None, body: bytes = b"", connection: FakeConnection | None = None
    ) -> tuple[FakeConnection, WSGIExchange]:
        """Begin a request whose body has come with the head."""
        connection = connection or FakeConnection()
        exchange = self.application.exchange(connection, head or request())
        if body:
            exchange.data_received(body)
        if not exchange.request.expect_continue:
            exchange.body_ended()
        exchange.start()
        return connection, exchange

    def answer(
        self, head: Request | None = None, body: bytes = b"", connection: FakeConnection | None = None
    ) -> FakeConnection:
        """Make a request; return its connection once the call has returned and the answer is over."""
        connection, _ = self.begin(head, body, connection)
        self.until(lambda: connection.returned and (connection.finished or connection.failed))
        return connection
