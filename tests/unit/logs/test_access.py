"""Access log lines: the combined format, which no client can leave."""

import re
from dataclasses import dataclass, field

import pytest

from smoothserve.logs.access import AccessLog
from tests.unit.logs.test_lines import ListSink


@dataclass
class Request:
    method: str = "GET"
    target: bytes = b"/path?query=1"
    http_version: str = "1.1"
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


@dataclass
class Response:
    status: int = 200
    bytes_sent: int = 35
    head: bytes = b'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nx-trace: a"b: c\r\n\r\n'


def line(
    client: tuple[str, int] | None = ("192.0.2.7", 4711),
    request: Request | None = None,
    response: Response | None = None,
) -> str:
    sink = ListSink()
    AccessLog(sink).note(client, request or Request(), response or Response(), 0.25)
    return sink.text


def test_a_line_is_in_the_combined_format() -> None:
    headers = [(b"host", b"x"), (b"referer", b"http://example.org/"), (b"user-agent", b"curl/7.88.1")]
    text = line(request=Request("POST", b"/a%20b?q", "1.0", headers), response=Response(201, 7))
    stamp = r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]"
    rest = r'"POST /a%20b\?q HTTP/1\.0" 201 7 "http://example\.org/" "curl/7\.88\.1"\n'
    assert re.fullmatch(rf"192\.0\.2\.7 - - {stamp} {rest}", text)


def test_what_is_missing_is_a_dash() -> None:
    text = line(client=None, response=Response(304, 0))
    assert text.startswith("- - - [")
    assert text.endswith('"GET /path?query=1 HTTP/1.1" 304 - "-" "-"\n')


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b'a" 200 1 "x', r"a\" 200 1 \"x"),
        (b"a\\", r"a\\"),
        (b"a\tb", r"a\tb"),
        (b"\x1b[31m", r"\x1b[31m"),
        (b"\xff\xe9", "\xff\xe9"),
        (b"\x85\xa0", r"\x85\xa0"),
    ],
)
def test_a_client_cannot_leave_its_quotes_or_its_line(value: bytes, shown: str) -> None:
    text = line(request=Request(headers=[(b"user-agent", value), (b"referer", value)]))
    assert text.endswith(f'"{shown}" "{shown}"\n')
    assert text.count("\n") == 1


def test_each_line_is_written_at_once_and_in_order() -> None:
    sink = ListSink()
    log = AccessLog(sink)
    for number in range(3):
        log.note(None, Request(target=b"/%d" % number), Response(), 0.0)
        assert sink.text.count("\n") == number + 1
    assert re.findall(r'"GET /(\d) ', sink.text) == ["0", "1", "2"]
