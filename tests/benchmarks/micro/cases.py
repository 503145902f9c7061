"""The hot paths, each as a function that does one thing once; run under valgrind by `tests.benchmarks.micro`.

Nothing here waits, opens a socket or starts a thread: what is counted is ours and the interpreter's.
"""

import asyncio
import gc
import logging
import os
import sys
from array import array
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, cast

from smoothserve.asgi.http import ASGIApplication
from smoothserve.connection.http import HTTPConnection
from smoothserve.connection.service import Service
from smoothserve.protocol.codecs import codec_factory
from smoothserve.protocol.events import Codec, Limits
from smoothserve.protocol.exchange import Application
from smoothserve.protocol.response import DefaultHeaders, Response
from smoothserve.protocol.websocket.codecs import codec_factory as websocket_codec_factory
from smoothserve.wsgi.application import WSGIApplication
from smoothserve.wsgi.pool import Job, ThreadPool
from tests.benchmarks.codecs import BROWSER, REQUESTS
from tests.benchmarks.compare.apps import asgi, wsgi
from tests.property.frames import frame

#: How often each case is run uncounted, so that everything that can be remembered is, and counted.
WARM_UP = 250
TIMES = 400

Run = Callable[[], object]

SMALL = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"
JSON_BODY = b'{"first": "smooth", "text": "%b"}' % (b"x" * 1000)
POST = (
    b"POST /json HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
    % (len(JSON_BODY), JSON_BODY)
)
_ADDRESSES = ("127.0.0.1", 50000), ("127.0.0.1", 8000)
_LOG = logging.getLogger("micro")


def unique_field() -> Iterator[bytes]:
    """Yield a browser's request again and again, each with a number of its own in a field."""
    head = BROWSER[:-2]
    for number in count(100000):
        yield b"%bX-Request-ID: request-%d\r\n\r\n" % (head, number)


def unique_query() -> Iterator[bytes]:
    """Yield a browser's request again and again, each with another query."""
    _, _, fields = BROWSER.partition(b"\r\n")
    for number in count(100000):
        yield b"GET /static/app/index.html?page=%d HTTP/1.1\r\n%b" % (number, fields)


class Transport:
    """Takes everything that is written, at once."""

    def write(self, data: bytes) -> None:
        """Take it."""

    def get_write_buffer_size(self) -> int:
        """Return 0."""
        return 0

    def is_closing(self) -> bool:
        """Return False."""
        return False

    def close(self) -> None:
        """Do nothing."""

    def get_extra_info(self, name: str) -> None:
        """Know nothing."""


class Pool:
    """A `ThreadPool` without threads: the jobs are run by whoever asks for it."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def submit(self, job: Job) -> None:
        """Take note of a job."""
        self.jobs.append(job)

    def post(self, job: Job) -> None:
        """Take note of nothing: the job is finished in a moment."""

    def run(self) -> None:
        """Run what has been submitted."""
        jobs, self.jobs = self.jobs, []
        for job in jobs:
            job.run()
            job.finish()


def _codec(data: bytes | Iterator[bytes], name: str = "httptools") -> Run:
    codec: Codec = codec_factory(name)(Limits())
    events = codec.events

    def run() -> None:
        codec.receive_data(data if isinstance(data, bytes) else next(data))
        events.clear()
        codec.next_request()

    return run


def _service(loop: asyncio.AbstractEventLoop, application: Application, defaults: DefaultHeaders) -> Service:
    limits = Limits()
    make = codec_factory("httptools")
    return Service(
        loop=loop,
        application=application,
        make_codec=lambda: make(limits),
        defaults=defaults,
        counters=memoryview(array("q", [0] * 64)),
        error_log=_LOG,
    )


def _connect(service: Service) -> HTTPConnection:
    connection = HTTPConnection(service, *_ADDRESSES)
    connection.connection_made(cast("asyncio.Transport", Transport()))
    return connection


def _asgi_service() -> Service:
    loop = asyncio.get_running_loop()
    defaults = DefaultHeaders()
    return _service(loop, ASGIApplication(cast("Any", asgi), loop=loop, defaults=defaults, error_log=_LOG), defaults)


def _asgi(data: bytes | Iterator[bytes]) -> Run:
    connection = _connect(_asgi_service())
    if isinstance(data, bytes):
        return lambda: connection.data_received(data)
    return lambda: connection.data_received(next(data))


def _connection() -> Run:
    service = _asgi_service()

    def run() -> None:
        connection = _connect(service)
        connection.data_received(SMALL)
        connection.connection_lost(None)

    return run


def _wsgi(data: bytes | Iterator[bytes]) -> Run:
    loop = asyncio.get_running_loop()
    defaults = DefaultHeaders()
    application = WSGIApplication(
        cast("Any", wsgi), loop=loop, threads=1, defaults=defaults, error_log=_LOG, multiprocess=True
    )
    pool = Pool()
    application.pool = cast("ThreadPool", pool)
    connection = _connect(_service(loop, application, defaults))

    def run() -> None:
        connection.data_received(data if isinstance(data, bytes) else next(data))
        pool.run()

    return run


def _response() -> Run:
    defaults = DefaultHeaders()
    headers = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", b"13"),
        (b"x-frame-options", b"DENY"),
    ]

    def run() -> None:
        response = Response("GET", "1.1", True)
        response.start(200, headers, defaults)
        response.data_to_send(b"Hello, world!", False)

    return run


def _websocket(size: int) -> Run:
    make = websocket_codec_factory("fast")
    assert make is not None
    codec = make(2**24)
    data = frame(0x81, b"x" * size, b"\x12\x34\x56\x78")

    def run() -> None:
        codec.receive_data(data)
        codec.render_text(cast("str", codec.next_event()))
        codec.next_event()

    return run


CASES: dict[str, Callable[[], Run]] = {
    "calibration": lambda: lambda: sorted(range(200), key=lambda n: -n),
    "codec-small": lambda: _codec(SMALL),
    "codec-browser": lambda: _codec(BROWSER),
    "codec-browser-unique-field": lambda: _codec(unique_field()),
    "codec-browser-unique-query": lambda: _codec(unique_query()),
    "codec-post": lambda: _codec(REQUESTS["POST, 13 bytes"]),
    "codec-chunked": lambda: _codec(REQUESTS["POST, 2 chunks"]),
    "codec-h11-small": lambda: _codec(SMALL, "h11"),
    "response": _response,
    "asgi-small": lambda: _asgi(SMALL),
    "asgi-browser": lambda: _asgi(BROWSER),
    "asgi-browser-unique-field": lambda: _asgi(unique_field()),
    "asgi-json": lambda: _asgi(POST),
    "asgi-connection": _connection,
    "wsgi-small": lambda: _wsgi(SMALL),
    "wsgi-browser-unique-field": lambda: _wsgi(unique_field()),
    "wsgi-json": lambda: _wsgi(POST),
    "websocket-64": lambda: _websocket(64),
    "websocket-4096": lambda: _websocket(4096),
}


async def main(names: list[str]) -> None:
    """Run cases; valgrind's counters are dumped whenever `getppid` is called: before and after each."""
    for name in names:
        run = CASES[name]()
        for _ in range(WARM_UP):
            run()
        gc.collect()
        gc.disable()
        os.getppid()
        for _ in range(TIMES):
            run()
        os.getppid()
        gc.enable()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(sys.argv[1:] or list(CASES)))
