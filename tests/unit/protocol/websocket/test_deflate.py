"""Inflating: blocks that are marked as the last, and how many of them."""

import zlib

import pytest

from smoothserve.protocol.websocket.deflate import MAX_STREAMS, TAIL, Deflate, Inflater
from smoothserve.protocol.websocket.events import Failed, WebSocketCodec
from smoothserve.protocol.websocket.fast_codec import FastCodec, render_frame
from smoothserve.protocol.websocket.wsproto_codec import WsprotoCodec

LIMIT = 1 << 20
ENDED_EMPTY = b"\x03\x00"
_TEXT, _FIN, _RSV1 = 1, 0x80, 0x40


def ended(payload: bytes) -> bytes:
    """Compress a payload into a stream whose block is marked as the last."""
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(payload) + compressor.flush()


def test_an_ended_stream_may_be_followed_by_others_and_by_messages_of_their_own() -> None:
    inflater = Inflater(Deflate())
    # RFC 7692 section 7.2.3.4: what ends the last block is followed by one byte of an empty block.
    assert inflater.inflate(bytes.fromhex("f348cdc9c9070000"), LIMIT) == b"Hello"
    assert inflater.inflate(ended(b"one ") + ended(b"two ") + ended(b"three") + b"\0", LIMIT) == b"one two three"
    plain = zlib.compressobj(wbits=-15)
    assert inflater.inflate((plain.compress(b"four") + plain.flush(zlib.Z_SYNC_FLUSH))[: -len(TAIL)], LIMIT) == b"four"


@pytest.mark.parametrize("make", [FastCodec, WsprotoCodec])
@pytest.mark.timeout(20)
def test_a_message_of_very_many_ended_streams_is_refused_at_once(make: type[FastCodec] | type[WsprotoCodec]) -> None:
    codec: WebSocketCodec = make(LIMIT, Deflate())
    codec.receive_data(render_frame(_FIN | _RSV1 | _TEXT, ENDED_EMPTY * (LIMIT // 2), b"\0\0\0\0"))
    event = codec.next_event()
    assert isinstance(event, Failed)
    assert event.code == 1007
    assert codec.next_event() is None


def test_as_many_streams_as_are_allowed_are_inflated() -> None:
    assert Inflater(Deflate()).inflate(ended(b"x") * MAX_STREAMS, LIMIT) == b"x" * MAX_STREAMS
    with pytest.raises(zlib.error):
        Inflater(Deflate()).inflate(ended(b"x") * (MAX_STREAMS + 1), LIMIT)
