"""What is fuzzed of WebSocket: both codecs, the two compared, inflating, the fields of a handshake."""

import zlib
from collections.abc import Callable, Sequence
from typing import Any

from conformance.websocket.cases import Case, Close, Message, Send, octets
from conformance.websocket.runner import CASES
from conformance.websocket.wire import CLOSE, CONTINUATION, render_frame
from smoothserve.protocol.websocket.codecs import CodecFactory
from smoothserve.protocol.websocket.deflate import Deflate, Inflater, OfferError, TooBigError, negotiate, parse_offers
from smoothserve.protocol.websocket.events import Closed, Event, Failed, Ping, Pong, WebSocketCodec, parse_close
from smoothserve.protocol.websocket.fast_codec import FastCodec
from smoothserve.protocol.websocket.wsproto_codec import WsprotoCodec
from tests.fuzz.plan import split

LIMIT = 1000
PARAMETERS = (
    None,
    Deflate(),
    Deflate(client_no_context_takeover=True, server_no_context_takeover=True),
    Deflate(client_max_window_bits=9, server_max_window_bits=8, client_names_bits=True),
)
FAILURES = (1002, 1007, 1009)


def _shown(event: Event) -> Any:
    if isinstance(event, Ping | Pong):
        return type(event).__name__, event.payload
    if isinstance(event, Closed):
        return "closed", event.code, event.reason
    if isinstance(event, Failed):
        return "failed", event.code
    return event


def _drain(codec: WebSocketCodec) -> list[Any]:
    """Take all events that have come, and answer each as a server would."""
    events: list[Any] = []
    while (event := codec.next_event()) is not None:
        assert not any(isinstance(shown, tuple) and shown[0] in ("closed", "failed") for shown in events)
        events.append(_shown(event))
        if isinstance(event, str):
            assert len(event.encode()) <= LIMIT
            assert codec.render_text(event)
        elif isinstance(event, bytes):
            assert len(event) <= LIMIT
            assert codec.render_bytes(event)
        elif isinstance(event, Ping):
            assert codec.render_pong(event.payload)
        elif isinstance(event, Failed):
            assert event.code in FAILURES
            assert codec.render_close(event.code, event.reason)
        elif isinstance(event, Closed):
            assert isinstance(parse_close(codec.render_close(event.code, event.reason)[2:]), Closed)
    return events


def _deliver(make: CodecFactory, options: int, pieces: Sequence[bytes]) -> list[list[Any]]:
    """Return the events after each piece. By one of the options, a fresh codec goes on from the leftover each time."""
    deflate, moves = PARAMETERS[options & 3], bool(options & 4)
    codec = make(LIMIT, deflate, remembers=moves)
    seen: list[list[Any]] = []
    for piece in pieces:
        codec.receive_data(piece)
        seen.append(_drain(codec))
        if any(isinstance(event, tuple) and event[0] in ("closed", "failed") for event in seen[-1]):
            break
        if moves:
            leftover, window = codec.leftover(), codec.window()
            codec = make(LIMIT, deflate, remembers=True, window=window)
            codec.receive_data(leftover)
            assert not _drain(codec), "what was seen is seen again"
    return seen


def _flat(events: list[list[Any]]) -> list[Any]:
    return [event for step in events for event in step]


def fuzz_fast(data: bytes) -> None:
    """The codec without a library."""
    options, pieces = split(data)
    _deliver(FastCodec, options, pieces)


def fuzz_wsproto(data: bytes) -> None:
    """The codec on wsproto."""
    options, pieces = split(data)
    _deliver(WsprotoCodec, options, pieces)


def fuzz_agree(data: bytes) -> None:
    """Both codecs, which must see the same at the same moment, however the bytes are cut and the connection moves."""
    options, pieces = split(data)
    seen = _deliver(FastCodec, options, pieces)
    assert seen == _deliver(WsprotoCodec, options, pieces), "the codecs do not agree"
    whole = _flat(_deliver(FastCodec, options & 3, [data[2:]]))
    assert whole == _flat(seen), "the cut of the bytes matters, or that the connection moved"


def fuzz_inflate(data: bytes) -> None:
    """Compressed messages, of a length that a byte ahead of each tells."""
    options, rest = data[0] if data else 0, data[1:]
    inflater = Inflater(PARAMETERS[1 + options % 3] or Deflate(), remembers=bool(options & 64))
    while rest:
        size = rest[0]
        try:
            assert len(inflater.inflate(rest[1 : 1 + size], LIMIT)) <= LIMIT
        except (TooBigError, zlib.error):
            return
        assert len(inflater.window()) <= 1 << 15
        rest = rest[1 + size :]


def fuzz_offers(data: bytes) -> None:
    """The Sec-WebSocket-Extensions fields of a handshake, one a line; what is agreed can be said and carried over."""
    try:
        agreed = negotiate(parse_offers(line.decode("latin-1") for line in data.split(b"\n")))
    except OfferError:
        return
    if agreed is not None:
        assert agreed == Deflate.from_dict(agreed.to_dict())
        assert parse_offers([agreed.render()])


WEBSOCKET_TARGETS: dict[str, Callable[[bytes], None]] = {
    "websocket-fast": fuzz_fast,
    "websocket-wsproto": fuzz_wsproto,
    "websocket-agree": fuzz_agree,
    "websocket-inflate": fuzz_inflate,
    "websocket-offers": fuzz_offers,
}


def conformance_streams() -> list[bytes]:
    """What the smaller Autobahn cases send, each whole and octet by octet, the second also with compression."""
    streams = {_stream(case) for case in CASES if not case.offers and case.number[0] != "9"}
    return [plan + stream for stream in sorted(streams) if 0 < len(stream) < 400 for plan in (b"\0\0", b"\5\1")]


def _stream(case: Case) -> bytes:
    """Render a script with a mask of zeros: chance changes what is masked, too."""
    key = b"\0\0\0\0"
    parts: list[bytes] = []
    for step in case.script:
        if isinstance(step, Send):
            parts += render_frame(step.opcode, octets(step.payload), key, fin=step.fin, rsv=step.rsv)
        elif isinstance(step, Close):
            parts += render_frame(CLOSE, step.payload, key)
        elif isinstance(step, Message):
            payload = octets(step.payload)
            for at in range(0, len(payload), step.fragment):
                piece = payload[at : at + step.fragment]
                last = at + step.fragment >= len(payload)
                parts += render_frame(CONTINUATION if at else step.opcode, piece, key, fin=last)
    return b"".join(parts)
