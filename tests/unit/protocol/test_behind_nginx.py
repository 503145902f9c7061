"""With the defaults nothing is refused that gunicorn and uvicorn serve behind nginx, as nginx passes it on."""

import pytest

from smoothserve.protocol.events import Limits
from smoothserve.settings import Settings
from tests.unit.protocol.delivery import MakeCodec, deliver

#: A header line of nginx's own for each upstream: `large_client_header_buffers 4 8k` bounds what a client may send it.
BUFFER = 8192


def request(line: bytes, *fields: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([line, *fields, b"", body])


def get(target: bytes) -> bytes:
    return request(b"GET %b HTTP/1.0" % target, b"Host: app_server", b"Connection: close")


PASSED_ON = {
    "nginx's default, HTTP/1.0 to an upstream whose name has an underscore": get(b"/"),
    "HTTP/1.0 without Host": request(b"GET / HTTP/1.0"),
    "kept connections": request(b"GET / HTTP/1.1", b"Host: localhost", b"Connection: "),
    "the longest request line": get(b"/" + b"a" * (BUFFER - len(b"GET / HTTP/1.1\r\n"))),
    "three header fields as long as they may be": request(
        b"GET / HTTP/1.1", b"Host: a", *[b"Cookie: " + b"a" * (BUFFER - 20)] * 3
    ),
    "a hundred header fields": request(b"GET / HTTP/1.1", b"Host: a", *[b"X-%d: a" % number for number in range(99)]),
    "an upload of ten gigabytes": request(b"PUT / HTTP/1.1", b"Host: a", b"Content-Length: 10000000000", body=b"a"),
    "a chunked upload": request(
        b"POST / HTTP/1.1", b"Host: a", b"Transfer-Encoding: chunked", body=b"1\r\na\r\n0\r\n\r\n"
    ),
    "a length of nothing": request(b"GET / HTTP/1.1", b"Host: a", b"Content-Length: 0"),
    "what forms post": request(b"POST / HTTP/1.0", b"Host: a", b"Content-Length: 3", body=b"a=b"),
    "a WebSocket": request(b"GET /ws HTTP/1.1", b"Host: a", b"Upgrade: websocket", b"Connection: upgrade"),
    "names with underscores, empty values, bytes beyond ASCII": request(
        b"GET / HTTP/1.1", b"Host: a", b"X_Under: 1", b"X-Empty:", b"X-Name: Jos\xc3\xa9", b"X-Latin: \xe9"
    ),
    "methods that are not HTTP's own": request(b"PROPFIND /dav HTTP/1.1", b"Host: a:8000"),
    "slashes twice and dots": get(b"//a/../b/./c//"),
    "characters that browsers do not encode": get(b'/a|b{c}[d]^e`?q="x"&f=<g>\\h'),
    "bytes beyond ASCII in the target": get(b"/caf\xc3\xa9?\xff"),
    "percent that encodes nothing": get(b"/100%?%zz"),
    "a host in IPv6": request(b"GET / HTTP/1.1", b"Host: [::1]:8000"),
}


@pytest.mark.parametrize("data", PASSED_ON.values(), ids=PASSED_ON)
def test_nothing_is_refused_by_default(make_codec: MakeCodec, data: bytes) -> None:
    settings = Settings()
    limits = Limits(settings.max_request_line_bytes, settings.max_header_fields, settings.max_head_bytes)
    assert settings.max_body_bytes == 0
    outcome = deliver(make_codec(limits), [data])
    assert outcome.refused is None
    assert len(outcome.served) == 1
