"""What is fuzzed: each target takes any bytes and returns, or raises what its contract forbids.

The bytes of a target that reads in steps begin with a plan: see `plan.split`.
"""

from collections.abc import Callable
from ipaddress import ip_address

from smoothserve.connection.adopting import read_offer
from smoothserve.control.handover import (
    HandoverError,
    HandoverReceiver,
    HandoverSender,
    Offered,
    parse_content,
    render_content,
)
from smoothserve.control.messages import ControlError, Unknown, parse_message
from smoothserve.protocol.codecs import codec_factory
from smoothserve.protocol.events import Limits, Request
from smoothserve.protocol.proxy import ProxyError, ProxyReader
from smoothserve.protocol.websocket.handshake import Handshake, read_handshake, render_acceptance
from tests.fuzz.forwarded_target import fuzz_forwarded
from tests.fuzz.plan import split
from tests.fuzz.websocket_targets import WEBSOCKET_TARGETS
from tests.unit.protocol.delivery import Outcome, deliver

Target = Callable[[bytes], None]

LIMITS = (Limits(), Limits(request_line_bytes=24, fields=4, head_bytes=120))


def _deliver(codec: str, data: bytes) -> Outcome:
    options, pieces = split(data)
    limits = LIMITS[options & 1]
    outcome = deliver(codec_factory(codec)(limits), pieces, eof=bool(options & 2), answer_at_once=not options & 4)
    assert outcome.refused is None or 400 <= outcome.refused < 600
    for served in outcome.served:
        fields = served.request[5]
        assert isinstance(fields, tuple)
        assert len(fields) <= limits.fields + 1  # and the Host of an absolute-form target
        for name, value in fields:
            assert name == name.lower()
            assert not set(b"\r\n\0") & set(name + value), "what could split a response or a log line"
    return outcome


def fuzz_httptools(data: bytes) -> None:
    """The codec on httptools."""
    _deliver("httptools", data)


def fuzz_h11(data: bytes) -> None:
    """The codec on h11."""
    _deliver("h11", data)


def fuzz_codecs_agree(data: bytes) -> None:
    """Both codecs, which must decide alike, and alike however the bytes are cut."""
    outcome = _deliver("httptools", data)
    assert outcome == _deliver("h11", data), "the codecs do not agree"
    assert outcome == _deliver("httptools", data[:1] + b"\0" + data[2:]), "the cut of the bytes matters"


def fuzz_proxy(data: bytes) -> None:
    """The PROXY protocol's header; nothing behind it is ever asked for, and addresses are what they say."""
    versions = ("auto", "v1", "v2")[data[0] % 3 if data else 0]
    rest = data[1:]
    reader = ProxyReader(versions)
    at = 0
    try:
        while at < len(rest) and reader.wanted:
            assert reader.wanted > 0
            piece = rest[at : at + reader.wanted]
            reader.receive_data(piece)
            at += len(piece)
    except ProxyError:
        return
    if reader.header is not None:
        for address in (reader.header.client, reader.header.server):
            if address is not None:
                ip_address(address[0])  # raises if it is none
                assert 0 <= address[1] <= 65535


def fuzz_websocket_handshake(data: bytes) -> None:
    """The fields of a handshake, on lines of their own; an acceptance can be said."""
    fields = [(name.lower(), value) for line in data.split(b"\n") for name, _, value in [line.partition(b":")]]
    headers = [(name, value) for name, value in fields if not set(b"\r\0") & set(name + value)]
    request = Request("GET", b"/", b"/", b"", "1.1", headers, keep_alive=True, upgrade=b"websocket")
    handshake = read_handshake(request, compression=True)
    if isinstance(handshake, Handshake):
        for name in (*handshake.subprotocols, None):
            head = render_acceptance(handshake, name, b"")
            assert head.count(b"\r\n\r\n") == 1
            assert head.endswith(b"\r\n\r\n")


def packets_of(data: bytes) -> list[bytes]:
    """Cut bytes into packets: a byte for the length of each ahead of it."""
    packets = []
    at = 0
    while at < len(data):
        size = data[at]
        packets.append(data[at + 1 : at + 1 + size])
        at += 1 + size
    return packets


def fuzz_handover_sender(data: bytes) -> None:
    """What a receiver may say to the worker that hands over; each offer ends at most once."""
    sender = HandoverSender()
    offers = [sender.offer(b"x", 0.0) for _ in range(5)]
    ended: list[int] = []
    for now, packet in enumerate(packets_of(data)):
        try:
            events = sender.receive_packet(packet, float(now))
        except HandoverError:
            continue
        sender.packets_to_send()
        events += sender.tick(float(now))
        ended += [offer for event in events if (offer := getattr(event, "offer", None)) is not None]
    ended += [getattr(event, "offer", 0) for event in sender.receive_eof()]
    assert sorted(ended) == offers, "an offer ends once, and not twice"


def fuzz_handover_receiver(data: bytes) -> None:
    """What a predecessor may say to the worker that takes over; the number of descriptors comes with each packet."""
    receiver = HandoverReceiver()
    for packet in packets_of(data):
        descriptors = packet[0] & 3 if packet else 0
        truncated = bool(packet and packet[0] & 4)
        try:
            events = receiver.receive_packet(packet[1:], descriptors, truncated=truncated)
        except HandoverError:
            continue
        for event in events:
            if isinstance(event, Offered) and not event.in_file:
                _read_offer(event.meta, event.leftover)
                receiver.acknowledge(event.offer)
        receiver.packets_to_send()


def fuzz_handover_content(data: bytes) -> None:
    """What an offer says of its connection; what was read can be said again."""
    try:
        meta, leftover = parse_content(data)
    except HandoverError:
        return
    assert parse_content(render_content(meta, leftover))[1] == leftover
    _read_offer(meta, leftover)


def _read_offer(meta: dict[str, object], leftover: bytes) -> None:
    try:
        read_offer(meta, leftover)
    except HandoverError:
        return


def fuzz_control(data: bytes) -> None:
    """The messages between the master and a worker; what was read can be said again."""
    try:
        message = parse_message(data)
    except ControlError:
        return
    if not isinstance(message, Unknown):
        again = parse_message(message.encode())
        assert repr(again) == repr(message)  # by repr: NaN is not equal to itself


TARGETS: dict[str, Target] = {
    "httptools": fuzz_httptools,
    "h11": fuzz_h11,
    "codecs-agree": fuzz_codecs_agree,
    "proxy": fuzz_proxy,
    "forwarded": fuzz_forwarded,
    "websocket-handshake": fuzz_websocket_handshake,
    "handover-sender": fuzz_handover_sender,
    "handover-receiver": fuzz_handover_receiver,
    "handover-content": fuzz_handover_content,
    "control": fuzz_control,
    **WEBSOCKET_TARGETS,
}
