"""The PROXY protocol: what is a header and what is none, in any pieces."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoothserve.protocol.proxy import SIGNATURE, ProxyError, ProxyHeader, ProxyReader

V1 = b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n"
ADDRESSES = ProxyHeader(("203.0.113.7", 4711), ("192.0.2.1", 443))


def v2(command: int = 0x21, family: int = 0x11, body: bytes = b"", extra: bytes = b"") -> bytes:
    body = body or bytes([203, 0, 113, 7, 192, 0, 2, 1]) + struct.pack("!HH", 4711, 443)
    return SIGNATURE + struct.pack("!BBH", command, family, len(body + extra)) + body + extra


def feed(data: bytes, versions: str = "auto") -> tuple[ProxyHeader | None, bytes]:
    """Feed a reader as a connection does; return the header and the bytes that were not read."""
    reader = ProxyReader(versions)
    while reader.header is None and data:
        wanted = reader.wanted
        assert wanted > 0
        reader.receive_data(data[:wanted])
        data = data[wanted:]
    return reader.header, data


@pytest.mark.parametrize(
    ("data", "header"),
    [
        (V1, ADDRESSES),
        (b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", ProxyHeader(("2001:db8::1", 1), ("::1", 65535))),
        (b"PROXY UNKNOWN\r\n", ProxyHeader()),
        (b"PROXY UNKNOWN ff::1 ff::1 1 2\r\n", ProxyHeader()),
        (v2(), ADDRESSES),
        (v2(extra=b"\x04\x00\x03abc"), ADDRESSES),
        (v2(0x20, 0x00), ProxyHeader()),
        (v2(0x21, 0x31, b"x" * 216), ProxyHeader()),
        (
            v2(0x21, 0x21, bytes(15) + b"\1" + bytes(15) + b"\2" + struct.pack("!HH", 3, 4)),
            ProxyHeader(("::1", 3), ("::2", 4)),
        ),
    ],
)
def test_a_header_is_read_and_nothing_behind_it(data: bytes, header: ProxyHeader) -> None:
    assert feed(data + b"GET / HTTP/1.1\r\n") == (header, b"GET / HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 4711\r\n",
        b"PROXY TCP4 203.0.113.300 192.0.2.1 4711 443\r\n",
        b"PROXY TCP4 ::1 ::1 4711 443\r\n",
        b"PROXY TCP6 1.2.3.4 1.2.3.4 4711 443\r\n",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 04711 443\r\n",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 65536 443\r\n",
        b"PROXY TCP4  203.0.113.7 192.0.2.1 4711 443\r\n",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\n",
        b"PROXY UNKNOWN " + b"a" * 200,
        b"proxy TCP4 203.0.113.7 192.0.2.1 4711 443\r\n",
        b"\r\n\r\nGET / HTTP/1.1\r\n",
        v2(0x11),
        v2(0x22),
        v2(0x21, 0x41),
        v2(0x21, 0x11, b"short"),
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(ProxyError):
        feed(data)


def test_only_the_versions_asked_for_are_spoken() -> None:
    assert feed(V1, "v1")[0] == feed(v2(), "v2")[0] == ADDRESSES
    for data, versions in ((V1, "v2"), (v2(), "v1")):
        with pytest.raises(ProxyError):
            feed(data, versions)


HEADERS = st.sampled_from([V1, v2(), v2(extra=b"tlv" * 9), b"PROXY UNKNOWN\r\n", b"PROXY ", SIGNATURE])


@given(
    st.binary(max_size=300) | st.tuples(HEADERS, st.binary(max_size=40)).map(b"".join),
    st.sampled_from(["v1", "v2", "auto"]),
)
def test_any_bytes_are_accepted_refused_or_too_few(data: bytes, versions: str) -> None:
    try:
        header, rest = feed(data, versions)
    except ProxyError:
        return
    assert header is not None or rest == b""
    assert data.endswith(rest)


@given(HEADERS, st.integers(0, 100), st.integers(0, 255))
def test_a_header_with_a_byte_changed_is_read_or_refused(data: bytes, place: int, byte: int) -> None:
    place %= len(data)
    test_any_bytes = data[:place] + bytes([byte]) + data[place + 1 :]
    try:
        feed(test_any_bytes)
    except ProxyError:
        return


@given(st.lists(st.integers(1, 20), max_size=80))
def test_pieces_do_not_matter(sizes: list[int]) -> None:
    for data in (V1, v2()):
        reader = ProxyReader("auto")
        rest = data
        for size in sizes:
            if reader.header is not None:
                break
            piece = rest[: min(size, reader.wanted)]
            reader.receive_data(piece)
            rest = rest[len(piece) :]
        while reader.header is None:
            piece = rest[: reader.wanted]
            reader.receive_data(piece)
            rest = rest[len(piece) :]
        assert reader.header == ADDRESSES
