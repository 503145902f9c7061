"""The formats of the access log: gunicorn's atoms mean what they mean there, and no client can leave its quotes."""

import base64
import json
import re

import pytest

from smoothserve.logs.access import AccessLog
from smoothserve.logs.formats import ATOMS, BadFormatError, Process, compile_format
from tests.unit.logs.test_access import Request, Response
from tests.unit.logs.test_lines import ListSink

PROCESS = Process(pid=7, slot=1, worker=5, generation=3)
HEADERS = [
    (b"host", b"example.org"),
    (b"referer", b"http://r/"),
    (b"user-agent", b"curl"),
    (b"authorization", b"Basic " + base64.b64encode(b"ann:secret")),
    (b"x-request-id", b'a"b'),
]


def line(line_format: str, request: Request | None = None, response: Response | None = None) -> str:
    sink = ListSink()
    log = AccessLog(sink, line_format, PROCESS)
    log.note(("192.0.2.7", 1), request or Request(headers=HEADERS), response or Response(), 1.234567)
    assert sink.text.endswith("\n")
    return sink.text[:-1]


@pytest.mark.parametrize(
    ("atoms", "shown"),
    [
        ("%(h)s %(l)s %(u)s", "192.0.2.7 - ann"),
        ("%(m)s %(U)s %(q)s %(H)s", "GET /path query=1 HTTP/1.1"),
        ("%(r)s", "GET /path?query=1 HTTP/1.1"),
        ("%(s)s %(b)s %(B)s", "200 35 35"),
        ("%(f)s %(a)s", "http://r/ curl"),
        ("%(T)s %(M)s %(D)s %(L)s", "1 1234 1234567 1.234567"),
        ("%(p)s %(worker)s %(slot)s %(generation)s", "<7> 5 1 3"),
        ("%({Host}i)s %({none}i)s", "example.org -"),
        ('"%({x-request-id}i)s"', '"a\\"b"'),
        ("100%% %(s)s", "100% 200"),
        ("%({content-type}o)s %({X-Trace}o)s %({none}o)s", 'text/plain a\\"b: c -'),
        ("%({REQUEST_METHOD}e)s %({REMOTE_ADDR}e)s %({HTTP_USER_AGENT}e)s", "GET 192.0.2.7 curl"),
        ("%({PATH_INFO}e)s %({QUERY_STRING}e)s %({CONTENT_TYPE}e)s %({wsgi.input}e)s", "/path query=1 - -"),
    ],
)
def test_atoms(atoms: str, shown: str) -> None:
    assert line(atoms) == shown


def test_every_atom_renders_a_request_with_nothing_in_it() -> None:
    for atom in ATOMS:
        assert line(f"<%({atom})s>", Request(target=b"*"), Response(204, 0)) != "<>" or atom == "q"
    assert line("%(b)s %(B)s %(u)s %(q)s", Request(target=b"/"), Response(304, 0)) == "- 0 - "


def test_common_and_combined_are_the_formats_of_that_name() -> None:
    stamp = r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]"
    common = rf'192\.0\.2\.7 - ann {stamp} "GET /path\?query=1 HTTP/1\.1" 200 35'
    assert re.fullmatch(common, line("common"))
    assert re.fullmatch(rf'192\.0\.2\.7 - ann {stamp} "GET /\S+ HTTP/1\.1" 200 35 "http://r/" "curl"', line("combined"))


@pytest.mark.parametrize("value", [b"Basic", b"Basic !!", b"Bearer abc", b"Basic " + base64.b64encode(b":x")])
def test_what_is_no_user_is_a_dash(value: bytes) -> None:
    assert line("%(u)s", Request(headers=[(b"authorization", value)])) == "-"


def test_json_is_one_object_a_line_whatever_the_client_sent() -> None:
    request = Request(target=b'/a"\x7f?b', headers=[*HEADERS, (b"host", b"second")])
    text = line("json", request)
    assert "\n" not in text
    value = json.loads(text)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d", value.pop("time"))
    assert value == {
        "client": "192.0.2.7",
        "method": "GET",
        "path": '/a"\x7f',
        "query": "b",
        "protocol": "HTTP/1.1",
        "host": "example.org",
        "status": 200,
        "bytes": 35,
        "duration": 1.234567,
        "referer": "http://r/",
        "user_agent": "curl",
        "pid": 7,
        "slot": 1,
        "worker": 5,
        "generation": 3,
    }


@pytest.mark.parametrize("text", ["%(x)s", "%({host}x)s", "%({host})s", "%s", "50%", "%({a b}i)s"])
def test_a_format_that_names_what_is_not_there_is_refused(text: str) -> None:
    with pytest.raises(BadFormatError, match="has "):
        compile_format(text)
