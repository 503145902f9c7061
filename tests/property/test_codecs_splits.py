"""How the bytes are split, when requests are answered and whether a codec is replaced on the way does not matter."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from smoothserve.protocol.events import Limits
from smoothserve.protocol.h11_codec import H11Codec
from smoothserve.protocol.httptools_codec import HttptoolsCodec
from tests.property.streams import fields, streams
from tests.unit.protocol.delivery import Delivery, MakeCodec, cut, deliver, single_bytes

Bounds = tuple[int, int, int]
WIDE: Bounds = (8190, 100, 65536)
TIGHT: Bounds = (24, 4, 120)

_each_codec = pytest.mark.parametrize("make_codec", [HttptoolsCodec, H11Codec])
_places = st.lists(st.integers(0, 2000), max_size=8)


@_each_codec
@settings(max_examples=400, deadline=None)
@given(streams(), _places, st.booleans(), st.booleans(), st.sampled_from([WIDE, TIGHT]))
def test_splits(
    make_codec: MakeCodec, data: bytes, places: list[int], eof: bool, answer_at_once: bool, bounds: Bounds
) -> None:
    whole = deliver(make_codec(Limits(*bounds)), [data], eof=eof)
    codec = make_codec(Limits(*bounds))
    assert deliver(codec, cut(data, places), eof=eof, answer_at_once=answer_at_once) == whole


@_each_codec
@settings(max_examples=100, deadline=None)
@given(streams(), st.sampled_from([WIDE, TIGHT]))
def test_single_bytes(make_codec: MakeCodec, data: bytes, bounds: Bounds) -> None:
    assert deliver(make_codec(Limits(*bounds)), single_bytes(data)) == deliver(make_codec(Limits(*bounds)), [data])


@_each_codec
@settings(max_examples=300, deadline=None)
@given(streams(), streams(), _places, st.booleans(), st.sampled_from([WIDE, TIGHT]))
def test_what_other_connections_have_sent_does_not_matter(
    make_codec: MakeCodec, before: bytes, data: bytes, places: list[int], eof: bool, bounds: Bounds
) -> None:
    limits = Limits(*bounds)
    for earlier in (before, data):
        deliver(make_codec(limits), [earlier])
    pieces = cut(data, places)
    again = deliver(make_codec(limits), pieces, eof=eof, take_known=True)
    assert again == deliver(make_codec(Limits(*bounds)), pieces, eof=eof)


#: What earlier streams of the whole test have left: a memory as a worker has it after a while.
_old_memories = {(make, bounds): Limits(*bounds) for make in (HttptoolsCodec, H11Codec) for bounds in (WIDE, TIGHT)}


@_each_codec
@settings(max_examples=600, deadline=None)
@given(streams(), _places, st.booleans(), st.sampled_from([WIDE, TIGHT]))
def test_what_has_been_sent_in_a_long_time_does_not_matter(
    make_codec: type[HttptoolsCodec | H11Codec], data: bytes, places: list[int], eof: bool, bounds: Bounds
) -> None:
    limits = _old_memories[make_codec, bounds]
    pieces = cut(data, places)
    again = deliver(make_codec(limits), pieces, eof=eof, take_known=True)
    assert again == deliver(make_codec(Limits(*bounds)), pieces, eof=eof)


@_each_codec
@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(fields(), max_size=5), min_size=2, max_size=5), st.sampled_from([WIDE, TIGHT]))
def test_heads_put_together_from_lines_that_were_sent_before_mean_the_same(
    make_codec: MakeCodec, blocks: list[list[bytes]], bounds: Bounds
) -> None:
    limits = Limits(*bounds)
    lines = [line for block in blocks for line in block]
    for block in [*blocks, lines, lines[::-1], *blocks, lines[::2], lines[1::2]]:
        for request_line in (b"GET / HTTP/1.1\r\n", b"POST /a HTTP/1.0\r\n", b"PUT http://b/ HTTP/1.1\r\n"):
            for before in (b"Host: a\r\n", b""):
                data = request_line + before + b"".join(block) + b"\r\nabc"
                assert deliver(make_codec(limits), [data]) == deliver(make_codec(Limits(*bounds)), [data])


@_each_codec
@settings(max_examples=200, deadline=None)
@given(streams(), _places)
def test_a_codec_can_be_replaced_wherever_it_gives_its_bytes_back(
    make_codec: MakeCodec, data: bytes, places: list[int]
) -> None:
    assume(b"\r\n" * 9 not in data)  # empty lines are counted afresh by the next codec
    delivery = Delivery(make_codec(Limits()))
    for piece in cut(data, places):
        delivery.receive_data(piece)
        last = delivery.outcome.served[-1].request if delivery.outcome.served else None
        keeps = last is None or last[6] or last[10] is not None
        if delivery.outcome.refused is None and keeps:
            given_back = delivery.codec.trailing_data()
            if given_back is not None:
                assert delivery.codec.at_boundary
                delivery.codec = make_codec(Limits())
                delivery.receive_data(given_back)
    assert delivery.outcome == deliver(make_codec(Limits()), [data])


@_each_codec
@settings(max_examples=200, deadline=None)
@given(streams(), _places)
def test_at_a_boundary_nothing_is_given_back_and_the_end_is_no_error(
    make_codec: MakeCodec, data: bytes, places: list[int]
) -> None:
    delivery = Delivery(make_codec(Limits()))
    for piece in cut(data, places):
        delivery.receive_data(piece)
        if delivery.codec.at_boundary:
            assert delivery.codec.trailing_data() == b""
    at_boundary = delivery.codec.at_boundary
    refused = delivery.outcome.refused
    delivery.receive_eof()
    assert (delivery.outcome.refused == refused) is (at_boundary or refused is not None)
