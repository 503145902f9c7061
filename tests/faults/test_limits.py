"""Each limit by its name, on a real server: what is beyond it is refused with its status, what is at it is served.

Those that need load beside them are in `test_attacks.py`: connections, requests in hand, the WSGI queue, slow readers.
"""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.directory import AppDirectory
from tests.process.harness import Server

#: Seconds; the head, the body and the idle connection each have their own.
TIMEOUT = 1.0
LIMITS = {
    "--max-request-line-bytes": 200,
    "--max-header-fields": 10,
    "--max-head-bytes": 2000,
    "--max-body-bytes": 1000,
    "--max-connection-requests": 3,
    "--head-timeout": TIMEOUT,
    "--body-timeout": TIMEOUT,
    "--keep-alive-timeout": TIMEOUT,
}
#: What a closing may take beyond the setting on a loaded machine.
SLACK = 15.0
#: Between two bytes of a client that drips.
DRIP = 0.1


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("limits")
    options = [word for name, value in LIMITS.items() for word in (name, str(value))]
    with Server(AppDirectory(Path(folder, "app")).path, *options, logs=folder) as server:
        server.tracebacks_expected = True  # the application raises when a body breaks off
        yield server.wait_ready()


def connect(server: Server) -> socket.socket:
    return socket.create_connection((server.target.host, server.port), timeout=30)


def rest(sock: socket.socket) -> bytes:
    """Read until the server closes."""
    data = b""
    while True:
        try:
            part = sock.recv(65536)
        except ConnectionResetError:  # it closed with bytes of ours unread, after a moment for us to read
            return data
        if not part:
            return data
        data += part


def head(*lines: bytes, target: bytes = b"/echo/a", method: bytes = b"GET") -> bytes:
    return b"\r\n".join([b"%b %b HTTP/1.1" % (method, target), b"Host: x", *lines, b"", b""])


def long_target(size: int) -> bytes:
    """Make a target so that the request line has `size` bytes, its end not counted."""
    return b"/echo/" + b"a" * (size - len(b"GET /echo/ HTTP/1.1"))


def padded(size: int) -> bytes:
    """Make a head of `size` bytes."""
    return head(b"X: " + b"a" * (size - len(head(b"X: "))))


def body(size: int, *, chunked: bool) -> bytes:
    if chunked:
        return head(b"Transfer-Encoding: chunked", method=b"POST") + b"%x\r\n%b\r\n0\r\n\r\n" % (size, b"a" * size)
    return head(b"Content-Length: %d" % size, method=b"POST") + b"a" * size


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(head(target=long_target(200)), 200, id="the request line at its limit"),
        pytest.param(head(target=long_target(201)), 414, id="the request line beyond it"),
        pytest.param(b"GET /" + b"a" * 50_000, 414, id="a request line without an end"),
        pytest.param(head(*[b"X: a"] * 9), 200, id="header fields at their limit"),
        pytest.param(head(*[b"X: a"] * 10), 431, id="header fields beyond it"),
        pytest.param(padded(2000), 200, id="the head at its limit"),
        pytest.param(padded(2001), 431, id="the head beyond it"),
        pytest.param(head()[:-2] + b"X: " + b"a" * 50_000, 431, id="a header field without an end"),
        pytest.param(body(1000, chunked=False), 200, id="the body at its limit"),
        pytest.param(body(1001, chunked=False), 413, id="the body beyond it"),
        pytest.param(body(1000, chunked=True), 200, id="the chunked body at its limit"),
        pytest.param(body(1001, chunked=True), 413, id="the chunked body beyond it"),
        pytest.param(
            head(b"Content-Length: 1001", b"Expect: 100-continue", method=b"POST"), 413, id="a body that is announced"
        ),
    ],
)
def test_what_is_beyond_a_limit_of_size_is_refused_with_its_status(server: Server, data: bytes, status: int) -> None:
    with connect(server) as sock:
        sock.sendall(data)
        began = time.monotonic()
        answer = rest(sock)
        took = time.monotonic() - began
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert answer.count(b"HTTP/1.1 ") == 1, "no 100 Continue for what is refused"
    assert (b"connection: close\r\n" in answer.lower()) == (status != 200)
    if status == 200:
        assert took > TIMEOUT / 2, "the connection is kept for another request"


def drip(sock: socket.socket, data: bytes) -> None:
    """Send byte for byte until the server has enough of it."""
    sock.settimeout(DRIP)
    for number in range(len(data)):
        try:
            sock.send(data[number : number + 1])
            sock.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            continue
        except OSError:
            pass
        break
    sock.settimeout(30)


@pytest.mark.parametrize(
    ("whole", "dripped", "answer"),
    [
        pytest.param(b"", b"", b"", id="nothing was sent, and nothing is answered"),
        pytest.param(b"GET /echo/a HT", b"", b"HTTP/1.1 408 ", id="half a request line"),
        pytest.param(
            b"", b"GET /echo/a HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 400, b"HTTP/1.1 408 ", id="a head that drips"
        ),
        pytest.param(b"\r\n", b"\r\n" * 200, b"HTTP/1.1 408 ", id="empty lines that drip"),
        pytest.param(
            head(b"Content-Length: 100", method=b"POST") + b"ab", b"", b"HTTP/1.1 408 ", id="a body that stands still"
        ),
        pytest.param(
            head(b"Transfer-Encoding: chunked", method=b"POST") + b"5\r\nab",
            b"",
            b"HTTP/1.1 408 ",
            id="a chunk that stands still",
        ),
        pytest.param(
            head(b"Transfer-Encoding: chunked", method=b"POST") + b"1\r\na\r\n0\r\nX: ",
            b"a" * 400,
            b"HTTP/1.1 408 ",
            id="trailers that drip",
        ),
    ],
)
def test_what_takes_too_long_is_ended_in_time(server: Server, whole: bytes, dripped: bytes, answer: bytes) -> None:
    with connect(server) as sock:
        began = time.monotonic()
        sock.sendall(whole)
        drip(sock, dripped)
        got = rest(sock)
        took = time.monotonic() - began
    assert got.startswith(answer), got[:200]
    assert bool(got) == bool(answer)
    assert TIMEOUT * 0.5 < took < TIMEOUT + SLACK


def test_a_body_that_goes_on_may_drip_for_longer_than_the_time_out(server: Server) -> None:
    with connect(server) as sock:
        began = time.monotonic()
        sock.sendall(head(b"Content-Length: 20", method=b"POST"))
        drip(sock, b"a" * 20)
        assert time.monotonic() - began > 1.5 * TIMEOUT
        assert rest(sock).startswith(b"HTTP/1.1 200 ")


def test_a_head_that_drips_within_its_time_is_served(server: Server) -> None:
    with connect(server) as sock:
        sock.sendall(head()[:-4])
        drip(sock, head()[-4:])
        assert rest(sock).startswith(b"HTTP/1.1 200 ")


def test_a_connection_that_is_idle_between_requests_is_closed_without_an_answer(server: Server) -> None:
    with connect(server) as sock:
        for _ in range(2):
            sock.sendall(head())
            got = b""
            while not got.endswith(b" a\n"):
                got += sock.recv(4096)
        began = time.monotonic()
        assert rest(sock) == b""
        assert TIMEOUT * 0.5 < time.monotonic() - began < TIMEOUT + SLACK


def test_the_last_request_of_a_connection_is_answered_with_close(server: Server) -> None:
    with connect(server) as sock:
        sock.sendall(head() * 4)
        answers = rest(sock).lower().split(b"http/1.1 200 ")[1:]
    assert [b"connection: close\r\n" in answer for answer in answers] == [False, False, True]
