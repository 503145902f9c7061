"""Both codecs serve the same requests and refuse the same ones, with the same status, whatever comes.

The framing is one for both. So it has judges of its own: where llhttp or h11 alone accept a chunked body that we
accept, they have read the same bytes.
"""

import h11
import pytest
from httptools import HttpParserError, HttpRequestParser
from hypothesis import given, settings
from hypothesis import strategies as st

from smoothserve.protocol.chunked import ChunkedDecoder
from smoothserve.protocol.events import Limits
from smoothserve.protocol.h11_codec import H11Codec
from smoothserve.protocol.httptools_codec import HttptoolsCodec
from tests.property.streams import chunked_bodies, good_requests, streams
from tests.unit.protocol.delivery import MakeCodec, deliver

TIGHT = Limits(request_line_bytes=24, fields=4, head_bytes=120)

_each_codec = pytest.mark.parametrize("make_codec", [HttptoolsCodec, H11Codec])


@settings(max_examples=1500, deadline=None)
@given(streams(), st.booleans())
def test_on_streams(data: bytes, eof: bool) -> None:
    assert deliver(HttptoolsCodec(Limits()), [data], eof=eof) == deliver(H11Codec(Limits()), [data], eof=eof)


@settings(max_examples=500, deadline=None)
@given(streams())
def test_on_streams_with_tight_limits(data: bytes) -> None:
    assert deliver(HttptoolsCodec(TIGHT), [data]) == deliver(H11Codec(TIGHT), [data])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_on_any_bytes(data: bytes) -> None:
    assert deliver(HttptoolsCodec(Limits()), [data], eof=True) == deliver(H11Codec(Limits()), [data], eof=True)


@pytest.mark.parametrize(
    "place",
    ["X: %b", "X%b: y", "Host: a%b", "Content-Length: 3%b", "Transfer-Encoding: chunked%b", "Connection: close%b"],
)
def test_on_every_byte_in_every_place(place: str) -> None:
    for byte in range(256):
        for around in (b"%b", b"%bq", b" %b"):
            line = place.encode() % (around % bytes([byte]))
            data = (
                b"POST / HTTP/1.1\r\nAccept: x\r\n" + (b"" if b"Host" in line else b"Host: a\r\n") + line + b"\r\n\r\n"
            )
            assert deliver(HttptoolsCodec(Limits()), [data]) == deliver(H11Codec(Limits()), [data]), data


@_each_codec
@settings(max_examples=300, deadline=None)
@given(st.lists(good_requests(), min_size=1, max_size=4))
def test_good_requests_are_served_up_to_the_last(make_codec: MakeCodec, requests: list[bytes]) -> None:
    outcome = deliver(make_codec(Limits()), [b"".join(requests)])
    last = next((number for number, data in enumerate(requests, 1) if b"Connection: close" in data), len(requests))
    assert outcome.refused is None
    assert [one.complete for one in outcome.served] == [True] * last


def read_by_h11(body: bytes) -> bytes | None:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
    read = b""
    try:
        while type(event := connection.next_event()) is not h11.EndOfMessage:
            if event is h11.NEED_DATA:
                return None
            if isinstance(event, h11.Data):
                read += event.data
    except h11.RemoteProtocolError:
        return None
    return read + b"|" + connection.trailing_data[0]


class _Body:
    def __init__(self) -> None:
        self.read = b""
        self.complete = False

    def on_body(self, data: bytes) -> None:
        self.read += data

    def on_message_complete(self) -> None:
        self.complete = True


def read_by_llhttp(body: bytes) -> bytes | None:
    read = _Body()
    parser = HttpRequestParser(read)
    try:
        parser.feed_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
    except HttpParserError:
        return None
    return read.read if read.complete else None


@settings(max_examples=1000, deadline=None)
@given(chunked_bodies())
def test_a_chunked_body_is_what_others_read_too(body: bytes) -> None:
    decoder = ChunkedDecoder(Limits())
    read = decoder.receive_data(body)
    if decoder.complete:
        assert read_by_h11(body) in (None, read + b"|" + decoder.rest)
        if not decoder.rest:
            assert read_by_llhttp(body) in (None, read)
    else:
        # h11 lets pass what is no extension; llhttp lets nothing pass that we do not.
        assert decoder.malformed is not None or read_by_h11(body) is None
        assert read_by_llhttp(body) is None
