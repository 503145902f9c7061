"""Whose request a trusted proxy brings: the rightmost untrusted address wins, and nothing malformed counts."""

from typing import Any

import pytest

from smoothserve.protocol.events import Request
from smoothserve.protocol.forwarded import Forwarding, Origin, TrustedProxies, parse_address
from smoothserve.protocol.memory import FAST_PATHS

PEER = ("127.0.0.1", 5000)
SERVER = ("127.0.0.1", 8000)
ALL = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix")
TRUSTED = ("127.0.0.1", "::1", "unix:", "10.0.0.0/8")


def request(*headers: tuple[bytes, bytes]) -> Request:
    return Request("GET", b"/", b"/", b"", "1.1", [(b"host", b"inner"), *headers], keep_alive=True)


def read(
    *headers: tuple[bytes, bytes], names: tuple[str, ...] = ALL, trusted: tuple[str, ...] = TRUSTED, client: Any = PEER
) -> tuple[Origin, list[str]]:
    complaints: list[str] = []
    forwarding = Forwarding(names, TrustedProxies(trusted), complaints.append)
    asked = request(*headers)
    before = list(asked.headers)
    origin = forwarding.read(asked, client, SERVER, "http")
    assert asked.headers == before  # codecs give one request object for equal heads
    assert asked.prefix is None
    return origin or Origin(client, SERVER, "http", asked), complaints


@pytest.mark.parametrize(
    ("value", "client"),
    [
        (b"203.0.113.7", ("203.0.113.7", 0)),
        (b"203.0.113.7:4711", ("203.0.113.7", 4711)),
        (b"2001:db8::1", ("2001:db8::1", 0)),
        (b"[2001:db8::1]:80", ("2001:db8::1", 80)),
        (b"6.6.6.6, 203.0.113.7", ("203.0.113.7", 0)),
        (b"6.6.6.6, 203.0.113.7, 10.1.2.3", ("203.0.113.7", 0)),
        (b"garbage, 203.0.113.7,10.1.2.3 , 10.3.3.3", ("203.0.113.7", 0)),
        (b"10.1.2.3, 10.3.3.3", ("10.1.2.3", 0)),
        (b"203.0.113.7, unix:", ("203.0.113.7", 0)),
        (b"203.0.113.7, ::ffff:10.0.0.1", ("203.0.113.7", 0)),
        (b"203.0.113.7, unknown", PEER),
        (b"203.0.113.7, unknown, 10.0.0.9", ("10.0.0.9", 0)),
        (b"", PEER),
        (b" , ,", PEER),
    ],
)
def test_the_rightmost_untrusted_address_is_the_clients(value: bytes, client: Any) -> None:
    origin, complaints = read((b"x-forwarded-for", value))
    assert origin.client == client
    assert complaints == []


@pytest.mark.parametrize("value", [b"1.2.3", b"6.6.6.6, evil", b"1.2.3.4:99999", b"[::1", b"a b", b"1.2.3.4 5.6.7.8"])
def test_a_malformed_address_is_ignored_and_logged_once(value: bytes) -> None:
    origin, complaints = read((b"x-forwarded-for", value))
    assert origin.client == PEER
    assert len(complaints) == 1
    assert "x-forwarded-for" in complaints[0]
    complaints = []
    forwarding = Forwarding(ALL, TrustedProxies(TRUSTED), complaints.append)
    for _ in range(3):
        forwarding.read(request((b"x-forwarded-for", value), (b"x-forwarded-proto", b"gopher")), PEER, SERVER, "http")
    assert len(complaints) == 2


def test_several_lines_of_a_header_are_one_list() -> None:
    origin, _ = read((b"x-forwarded-for", b"6.6.6.6"), (b"x-forwarded-for", b"203.0.113.7"))
    assert origin.client == ("203.0.113.7", 0)


def test_with_a_star_everybody_is_trusted_and_the_leftmost_counts() -> None:
    assert read((b"x-forwarded-for", b"1.1.1.1, 2.2.2.2"), trusted=("*",))[0].client == ("1.1.1.1", 0)


@pytest.mark.parametrize(
    ("value", "hops", "scheme"),
    [
        (b"https", b"", "https"),
        (b"HTTPS", b"", "https"),
        (b"wss", b"", "https"),
        (b"http, https", b"", "https"),
        (b"https, http", b"203.0.113.7, 10.0.0.1", "https"),
        (b"https, http", b"6.6.6.6, 203.0.113.7", "http"),
        (b"gopher", b"", "http"),
    ],
)
def test_the_scheme_is_what_the_clients_proxy_said(value: bytes, hops: bytes, scheme: str) -> None:
    headers = [(b"x-forwarded-proto", value)] + ([(b"x-forwarded-for", hops)] if hops else [])
    assert read(*headers)[0].scheme == scheme


def test_host_port_and_prefix_count_only_where_they_are_named() -> None:
    headers = (
        (b"x-forwarded-host", b"example.org"),
        (b"x-forwarded-port", b"8443"),
        (b"x-forwarded-prefix", b"/app/"),
        (b"x-forwarded-proto", b"https"),
        (b"forwarded", b"for=6.6.6.6"),
        (b"x_forwarded_for", b"6.6.6.6"),
    )
    origin, _ = read(*headers, names=("x-forwarded-for", "x-forwarded-proto"))
    assert (origin.client, origin.server, origin.request.prefix) == (PEER, SERVER, None)
    assert origin.request.headers[0] == (b"host", b"inner")
    origin, _ = read(*headers)
    assert origin.request.headers[0] == (b"host", b"example.org:8443")
    assert [name for name, _ in origin.request.headers].count(b"host") == 1
    assert (origin.server, origin.request.prefix) == (("example.org", 8443), "/app")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x-forwarded-host", b"a/b"),
        (b"x-forwarded-host", b"u@a"),
        (b"x-forwarded-port", b"0"),
        (b"x-forwarded-port", b"65536"),
        (b"x-forwarded-port", b"x"),
        (b"x-forwarded-prefix", b"app"),
        (b"x-forwarded-prefix", b"//evil.example"),
        (b"x-forwarded-prefix", b"/a b"),
        (b"x-forwarded-prefix", b"/\xff"),
    ],
)
def test_malformed_hosts_ports_and_prefixes_are_ignored(name: bytes, value: bytes) -> None:
    origin, complaints = read((name, value))
    assert (origin.server, origin.request.prefix) == (SERVER, None)
    assert origin.request.headers[0] == (b"host", b"inner")
    assert len(complaints) == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"for=203.0.113.7", ("203.0.113.7", "http", b"inner")),
        (b'For="[2001:db8::1]:4711";Proto=https;host="example.org"', ("2001:db8::1", "https", b"example.org")),
        (b"for=6.6.6.6;proto=http, for=203.0.113.7;proto=https;by=10.0.0.1", ("203.0.113.7", "https", b"inner")),
        (
            b"for=203.0.113.7;proto=https;host=a.example, for=10.0.0.2;proto=http",
            ("203.0.113.7", "https", b"a.example"),
        ),
        (b"for=6.6.6.6, for=_hidden", ("127.0.0.1", "http", b"inner")),
        (b'for="_a\\"b", for=10.0.0.2;proto=https', ("10.0.0.2", "https", b"inner")),
    ],
)
def test_forwarded_is_read_as_rfc_7239_says(value: bytes, expected: tuple[str, str, bytes]) -> None:
    origin, complaints = read((b"forwarded", value), names=("forwarded",))
    assert origin.client is not None
    assert (origin.client[0], origin.scheme, origin.request.headers[0][1]) == expected
    assert complaints == []


@pytest.mark.parametrize(
    "value", [b"for", b"for=", b"for=a b", b'for="', b"for=1.1.1.1;for=2.2.2.2", b"=a", b"for=[::1]"]
)
def test_a_malformed_forwarded_is_ignored_and_logged(value: bytes) -> None:
    origin, complaints = read((b"forwarded", value), names=("forwarded",))
    assert (origin.client, origin.scheme) == (PEER, "http")
    assert len(complaints) == 1


def test_trust_knows_addresses_networks_and_unix_sockets() -> None:
    proxies = TrustedProxies(TRUSTED)
    for address in ("127.0.0.1", "::1", "10.255.0.1", "::ffff:10.0.0.1", None):
        assert proxies.trusts(address)
    for address in ("127.0.0.2", "11.0.0.1", "2001:db8::1", "nonsense"):
        assert not proxies.trusts(address)
    assert not TrustedProxies(["127.0.0.1"]).trusts(None)
    assert parse_address("fe80::1%eth0") is None


def test_what_has_been_read_before_is_read_the_same_and_not_remembered_without_end() -> None:
    forwarding = Forwarding(ALL, TrustedProxies(TRUSTED), lambda line: None)
    for number in range(3000):
        client = f"203.0.{number // 256}.{number % 256}"
        asked = request((b"x-forwarded-for", client.encode()), (b"x-forwarded-proto", b"https"))
        for peer in (PEER, ("127.0.0.1", number)):
            origin = forwarding.read(asked, peer, SERVER, "http")
            assert origin == Origin((client, 0), SERVER, "https", asked)
    assert FAST_PATHS <= len(forwarding._read) <= 1024 * FAST_PATHS
    forwarding._read.clear()
    for long in (b"203.0.113.1" + b" " * 300, b"203.0.113.1"):
        asked = request((b"x-forwarded-for", long), (b"x-forwarded-proto", b"https" + b" " * 300))
        assert forwarding.read(asked, PEER, SERVER, "http") is not None
    assert not forwarding._read
    unknown = request((b"x-forwarded-for", b"unknown"))
    for port in (1, 2):
        origin = forwarding.read(unknown, ("127.0.0.1", port), SERVER, "http")
        assert origin is not None
        assert origin.client == ("127.0.0.1", port)
