"""Serve an ASGI application in the test's own loop, over a real socket, and speak raw bytes to it."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, cast

from smoothserve.asgi.http import ASGIApplication
from smoothserve.asgi.websocket import ASGIWebSockets
from smoothserve.connection.acceptor import Acceptor
from smoothserve.connection.service import Service, Timeouts
from smoothserve.connection.websocket_options import WebSocketOptions
from smoothserve.control.scoreboard import ROW_WORDS
from smoothserve.protocol.codecs import codec_factory
from smoothserve.protocol.events import Limits
from smoothserve.protocol.exchange import Application
from smoothserve.protocol.response import DefaultHeaders
from smoothserve.protocol.websocket.codecs import codec_factory as websocket_codec_factory

#: What nothing takes on a quiet machine; 32 MiB in one answer need some seconds on a loaded one.
TIMEOUT = 20.0


class Client:
    """One raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def half_close(self) -> None:
        self.writer.write_eof()

    def stop_reading(self) -> None:
        """Take nothing more from the kernel."""
        cast("asyncio.Transport", self.writer.transport).pause_reading()

    async def head(self) -> tuple[int, dict[bytes, bytes]]:
        async with asyncio.timeout(TIMEOUT):
            data = await self.reader.readuntil(b"\r\n\r\n")
        lines = data[:-4].split(b"\r\n")
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(b": ")
            headers[name.lower()] = value
        return int(lines[0].split()[1]), headers

    async def answer(self, method: str = "GET") -> tuple[int, dict[bytes, bytes], bytes]:
        status, headers = await self.head()
        async with asyncio.timeout(TIMEOUT):
            if method == "HEAD" or status in (204, 304) or status < 200:
                return status, headers, b""
            if headers.get(b"transfer-encoding") == b"chunked":
                body = bytearray()
                while size := int(await self.reader.readline(), 16):
                    body += await self.reader.readexactly(size)
                    assert await self.reader.readexactly(2) == b"\r\n"
                assert await self.reader.readexactly(2) == b"\r\n"
                return status, headers, bytes(body)
            if b"content-length" in headers:
                return status, headers, await self.reader.readexactly(int(headers[b"content-length"]))
            return status, headers, await self.reader.read()

    async def rest(self) -> bytes:
        """Return all up to the end of the connection; a reset counts as one."""
        async with asyncio.timeout(TIMEOUT):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b"<reset>"

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()


class Records(logging.Handler):
    """The lines of the error log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(logging.Formatter("%(levelname)s %(message)s").format(record))


class Server:
    """A service with its acceptor on a loopback port."""

    def __init__(self, service: Service, acceptor: Acceptor, port: int, records: Records) -> None:
        self.service = service
        self.acceptor = acceptor
        self.port = port
        self.records = records

    @property
    def log(self) -> str:
        return "\n".join(self.records.lines)

    async def connect(self) -> Client:
        return Client(*await asyncio.open_connection("127.0.0.1", self.port))

    async def ask(self, data: bytes, method: str = "GET") -> tuple[int, dict[bytes, bytes], bytes]:
        client = await self.connect()
        client.send(data)
        try:
            return await client.answer(method)
        finally:
            await client.close()


@asynccontextmanager
async def serving(
    app: Any,
    *,
    http: str = "auto",
    timeouts: Timeouts | None = None,
    spec_version: str = "2.3",
    websocket: str = "fast",
    websocket_options: dict[str, Any] | None = None,
    max_queue: int = 32,
    make_application: Callable[[asyncio.AbstractEventLoop, DefaultHeaders, logging.Logger], Application] | None = None,
    limits: Limits | None = None,
    max_connections: int = 0,
    service_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[Server]:
    """Serve `app`; at the end everything is cut."""
    loop = asyncio.get_running_loop()
    records = Records()
    error_log = logging.Logger("test", logging.DEBUG)  # noqa: LOG001 - each test has its own
    error_log.addHandler(records)
    defaults = DefaultHeaders()
    application = (
        make_application(loop, defaults, error_log)
        if make_application
        else ASGIApplication(
            app, loop=loop, defaults=defaults, error_log=error_log, spec_version=spec_version, **options
        )
    )
    websockets = None
    make_websocket_codec = websocket_codec_factory(websocket)
    if make_websocket_codec is not None and isinstance(application, ASGIApplication):
        websockets = WebSocketOptions(
            make_codec=make_websocket_codec,
            application=ASGIWebSockets(application, max_queue=max_queue),
            **(websocket_options or {}),
        )
    service = Service(
        loop=loop,
        application=application,
        make_codec=partial(codec_factory(http), limits or Limits()),
        defaults=defaults,
        counters=memoryview(bytearray(ROW_WORDS * 8)).cast("q"),
        error_log=error_log,
        timeouts=timeouts,
        websockets=websockets,
        **(service_options or {}),
    )
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    listener.setblocking(False)
    acceptor = Acceptor(service, [listener], max_connections=max_connections)
    acceptor.start()

    sweeper = loop.create_task(sweep(service))
    try:
        yield Server(service, acceptor, listener.getsockname()[1], records)
    finally:
        sweeper.cancel()
        acceptor.stop()
        listener.close()
        service.cut()
        await until(lambda: service.empty)


async def sweep(service: Service) -> None:
    while True:
        await asyncio.sleep(0.02)
        service.sweep()


async def until(condition: Callable[[], bool], timeout: float = TIMEOUT) -> None:
    """Wait for a condition, with a deadline."""
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.005)
