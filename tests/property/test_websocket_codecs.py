"""Both WebSocket codecs see the same events at the same moments, whatever comes, in whatever pieces.

And a codec that goes on from another's leftover, as after a handover, sees what that one would have seen.
"""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoothserve.protocol.websocket.codecs import CodecFactory
from smoothserve.protocol.websocket.deflate import Deflate
from smoothserve.protocol.websocket.events import Closed, Event, Failed, Ping, Pong, WebSocketCodec
from smoothserve.protocol.websocket.fast_codec import FastCodec
from smoothserve.protocol.websocket.masking import unmask, unmask_in_python, unmask_plainly
from smoothserve.protocol.websocket.wsproto_codec import WsprotoCodec
from tests.property.frames import PARAMETERS, splits, streams

BOTH: list[CodecFactory] = [FastCodec, WsprotoCodec]
LIMIT = 1000

_parameters = pytest.mark.parametrize("deflate", PARAMETERS, ids=["plain", "deflate", "no-takeover", "small-window"])


def shown(event: Event) -> Any:
    if isinstance(event, str | bytes):
        return event
    if isinstance(event, Ping | Pong):
        return type(event).__name__, event.payload
    if isinstance(event, Closed):
        return "closed", event.code, event.reason
    assert isinstance(event, Failed)
    return "failed", event.code


def drain(codec: WebSocketCodec) -> list[Any]:
    events = []
    while (event := codec.next_event()) is not None:
        events.append(shown(event))
    return events


@_parameters
@settings(max_examples=250, deadline=None)
@given(data=st.data())
def test_both_codecs_agree_on_any_stream_in_any_split(deflate: Deflate | None, data: st.DataObject) -> None:
    stream = data.draw(streams(deflate))
    fast, reference = (make(LIMIT, deflate) for make in BOTH)
    for piece in data.draw(splits(stream)):
        fast.receive_data(piece)
        reference.receive_data(piece)
        assert drain(fast) == drain(reference)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_both_codecs_agree_on_any_bytes(data: st.DataObject) -> None:
    stream = data.draw(st.binary(max_size=200))
    fast, reference = (make(LIMIT, Deflate()) for make in BOTH)
    for piece in data.draw(splits(stream)):
        fast.receive_data(piece)
        reference.receive_data(piece)
        assert drain(fast) == drain(reference)


@_parameters
@pytest.mark.parametrize("make_first", BOTH)
@pytest.mark.parametrize("make_second", BOTH)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_codec_goes_on_from_the_leftover_of_another(
    make_first: CodecFactory, make_second: CodecFactory, deflate: Deflate | None, data: st.DataObject
) -> None:
    stream = data.draw(streams(deflate))
    alone = make_first(LIMIT, deflate)
    alone.receive_data(stream)
    expected = drain(alone)
    at = data.draw(st.integers(0, len(stream)))
    first = make_first(LIMIT, deflate, remembers=True)
    first.receive_data(stream[:at])
    seen = drain(first)
    if any(isinstance(event, tuple) and event[0] in ("closed", "failed") for event in seen):
        return  # such a connection is not handed over
    second = make_second(LIMIT, deflate, remembers=True, window=first.window())
    second.receive_data(first.leftover())
    assert not drain(second), "what was seen is seen again"
    second.receive_data(stream[at:])
    assert seen + drain(second) == expected


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=3000), st.binary(min_size=4, max_size=4))
def test_the_bulk_masks_are_the_plain_one(payload: bytes, mask: bytes) -> None:
    plain = unmask_plainly(payload, mask)
    assert unmask(payload, mask) == plain
    assert unmask_in_python(payload, mask) == plain
