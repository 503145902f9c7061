"""What a request means to the server: the same on every codec."""

import pytest

from smoothserve.protocol.events import Codec, Limits, Malformed, Request
from smoothserve.protocol.policy import is_valid_host, list_members
from tests.unit.protocol.corpus import get, post
from tests.unit.protocol.delivery import MakeCodec


@pytest.fixture
def codec(make_codec: MakeCodec) -> Codec:
    return make_codec(Limits())


def read(codec: Codec, data: bytes) -> Request:
    codec.receive_data(data)
    request = codec.events[0]
    assert isinstance(request, Request)
    return request


def test_headers_have_lower_case_names_in_the_order_of_arrival(codec: Codec) -> None:
    request = read(codec, get(b"/", b"X-One: A", b"HOST: a", b"x-two:B", b"X-ONE:  c \t"))
    assert request.headers == [(b"x-one", b"A"), (b"host", b"a"), (b"x-two", b"B"), (b"x-one", b"c")]


def test_values_keep_what_is_within_them(codec: Codec) -> None:
    request = read(codec, get(b"/", b"X: a \t b\xe9", b"Y:", b'Cookie: a=b; c="d"'))
    assert request.headers[1:] == [(b"x", b"a \t b\xe9"), (b"y", b""), (b"cookie", b'a=b; c="d"')]


def test_trailers_do_not_become_headers(codec: Codec) -> None:
    request = read(codec, post(b"0\r\nX: y\r\nHost: b\r\n\r\n", b"Transfer-Encoding: chunked"))
    assert [name for name, _ in request.headers] == [b"host", b"transfer-encoding"]


@pytest.mark.parametrize(
    ("target", "raw_path", "query_string"),
    [
        (b"/", b"/", b""),
        (b"/a%20b/?c=%26&d?e", b"/a%20b/", b"c=%26&d?e"),
        (b"/?", b"/", b""),
        (b"/\xc3\xa9?\xc3\xa9", b"/\xc3\xa9", b"\xc3\xa9"),
        (b"http://b/x/y?z", b"/x/y", b"z"),
        (b"http://b?z?", b"/", b"z?"),
        (b"http://b", b"/", b""),
    ],
)
def test_the_target_is_split(codec: Codec, target: bytes, raw_path: bytes, query_string: bytes) -> None:
    request = read(codec, get(target))
    assert (request.target, request.raw_path, request.query_string) == (target, raw_path, query_string)


def test_the_authority_of_an_absolute_target_replaces_host(codec: Codec) -> None:
    request = read(codec, get(b"http://b:80/", b"X: y", b"Host: a"))
    assert request.headers == [(b"x", b"y"), (b"host", b"b:80")]


def test_the_authority_of_an_absolute_target_is_the_host_where_there_is_none(codec: Codec) -> None:
    request = read(codec, b"GET http://b/ HTTP/1.0\r\nX: y\r\n\r\n")
    assert request.headers == [(b"host", b"b"), (b"x", b"y")]


@pytest.mark.parametrize(("version", "spoken"), [(b"HTTP/1.0", "1.0"), (b"HTTP/1.1", "1.1"), (b"HTTP/1.2", "1.1")])
def test_the_version_is_the_highest_that_both_speak(codec: Codec, version: bytes, spoken: str) -> None:
    assert read(codec, get(version=version)).http_version == spoken


@pytest.mark.parametrize(
    ("version", "fields", "keep_alive"),
    [
        (b"HTTP/1.1", [], True),
        (b"HTTP/1.1", [b"Connection: keep-alive"], True),
        (b"HTTP/1.1", [b"Connection: close"], False),
        (b"HTTP/1.1", [b"connection: CLOSE"], False),
        (b"HTTP/1.1", [b"Connection: keep-alive,\t close"], False),
        (b"HTTP/1.1", [b"Connection: TE", b"Connection: close"], False),
        (b"HTTP/1.1", [b"Connection: closed"], True),
        (b"HTTP/1.1", [b"Connection: " + b"x, " * 100 + b"close"], False),
        (b"HTTP/1.1", [b"Proxy-Connection: close"], True),
        (b"HTTP/1.0", [], False),
        (b"HTTP/1.0", [b"Connection: Keep-Alive"], True),
        (b"HTTP/1.0", [b"Connection: keep-alive, close"], False),
        (b"HTTP/1.0", [b"Proxy-Connection: keep-alive"], False),
    ],
)
def test_connections_persist(codec: Codec, version: bytes, fields: list[bytes], *, keep_alive: bool) -> None:
    assert read(codec, get(b"/", *fields, version=version)).keep_alive is keep_alive


@pytest.mark.parametrize(
    ("fields", "length", "chunked"),
    [
        ([], None, False),
        ([b"Content-Length: 0"], 0, False),
        ([b"Content-Length: 007"], 7, False),
        ([b"Transfer-Encoding: CHUNKED"], None, True),
    ],
)
def test_bodies_are_announced(codec: Codec, fields: list[bytes], length: int | None, *, chunked: bool) -> None:
    request = read(codec, post(b"", *fields))
    assert (request.content_length, request.chunked) == (length, chunked)
    assert request.has_body is (chunked or length == 7)


@pytest.mark.parametrize(
    ("data", "expects"),
    [
        (post(b"", b"Content-Length: 3", b"Expect: 100-continue"), True),
        (post(b"", b"Transfer-Encoding: chunked", b"Expect: 100-CONTINUE"), True),
        (post(b"", b"Content-Length: 0", b"Expect: 100-continue"), False),
        (post(b"", b"Expect: 100-continue"), False),
        (post(b"", b"Content-Length: 3"), False),
        (post(b"", b"Content-Length: 3", b"Expect:"), False),
        (b"POST / HTTP/1.0\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n", False),
    ],
)
def test_clients_wait_for_100_continue(codec: Codec, data: bytes, *, expects: bool) -> None:
    assert read(codec, data).expect_continue is expects


@pytest.mark.parametrize(
    ("version", "fields", "upgrade"),
    [
        (b"HTTP/1.1", [b"Connection: Upgrade", b"Upgrade: WebSocket"], b"websocket"),
        (b"HTTP/1.1", [b"Connection: keep-alive, upgrade", b"Upgrade: h2c", b"Upgrade: websocket"], b"h2c,websocket"),
        (b"HTTP/1.1", [b"Upgrade: websocket"], None),
        (b"HTTP/1.1", [b"Connection: upgrade"], None),
        (b"HTTP/1.0", [b"Connection: Upgrade", b"Upgrade: websocket"], None),
    ],
)
def test_upgrades_are_noticed(codec: Codec, version: bytes, fields: list[bytes], upgrade: bytes | None) -> None:
    assert read(codec, get(b"/", *fields, version=version)).upgrade == upgrade


@pytest.mark.parametrize("size", [10, 1000])
def test_long_values_are_judged_as_short_ones(size: int) -> None:
    assert is_valid_host(b"a" * size)
    assert not is_valid_host(b"a" * size + b"/")
    assert list_members(b"A, " * size + b"\tb ,") == {b"a", b"b"}


def test_a_refusal_says_why(codec: Codec) -> None:
    codec.receive_data(get(b"/", b"Host: a", b"Host: b"))
    refusal = codec.events[0]
    assert isinstance(refusal, Malformed)
    assert refusal.reason == "more than one host header"


@pytest.mark.parametrize(
    ("data", "method"),
    [
        (b"HEAD / HTTP/1.1\r\n\r\n", "HEAD"),
        (b"\r\nHEAD / HTTP/1.1\r\n\r\n", "HEAD"),
        (get(b"/" + b"a" * 10_000, method=b"HEAD"), "HEAD"),
        (get(b"/", b"X: " + b"a" * 100_000, method=b"HEAD"), "HEAD"),
        (b"GET / HTTP/1.1\r\n\r\n", "GET"),
        (b"HEADS / HTTP/1.1\r\n\r\n", "GET"),
    ],
)
def test_a_refusal_of_head_is_known_as_one(codec: Codec, data: bytes, method: str) -> None:
    codec.receive_data(data)
    refusal = codec.events[0]
    assert isinstance(refusal, Malformed)
    assert refusal.method == method
