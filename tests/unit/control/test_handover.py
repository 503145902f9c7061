"""Who owns a connection at any moment: every message of the handover protocol, and every edge."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoothserve.control.handover import (
    ANSWER_TIMEOUT,
    HANDOVER_VERSION,
    MAX_INLINE_BYTES,
    WINDOW,
    Acknowledged,
    Event,
    HandoverError,
    HandoverReceiver,
    HandoverSender,
    Offered,
    PeerGreeted,
    ReceiverStuck,
    Returned,
    SenderDone,
    parse_content,
    render_content,
)

HELLO, OFFER, ACK, NAK, CANCEL, CANCELLED, DONE, LEFT = range(1, 9)
CONTENT = render_content({"kind": "http"}, b"GET / HT")


def packet(kind: int, offer: int = 0, payload: bytes = b"") -> bytes:
    return bytes([kind]) + offer.to_bytes(4, "big") + payload


def hello(version: Any = HANDOVER_VERSION) -> bytes:
    return packet(HELLO, 0, json.dumps({"version": version}).encode())


class Pair:
    """A sender and a receiver; what one says reaches the other when the test says so."""

    def __init__(self, greeted: bool = True) -> None:
        self.sender = HandoverSender()
        self.receiver = HandoverReceiver()
        self.now = 100.0
        if greeted:
            assert self.to_receiver() == [PeerGreeted(True)]
            assert self.to_sender() == [PeerGreeted(True)]

    def offer(self, content: bytes = CONTENT) -> int:
        return self.sender.offer(content, self.now)

    def usable(self) -> bool:
        return self.sender.usable

    def to_receiver(self, descriptors: int = 1, truncated: bool = False) -> list[Event]:
        """Let everything that the sender has to say arrive; offers with so many descriptors."""
        events = []
        for data, offer in self.sender.packets_to_send():
            count = descriptors if offer is not None else 0
            events += self.receiver.receive_packet(data, count, truncated=truncated and offer is not None)
        return events

    def to_sender(self) -> list[Event]:
        return [
            event for data in self.receiver.packets_to_send() for event in self.sender.receive_packet(data, self.now)
        ]

    def tick(self, seconds: float) -> list[Event]:
        self.now += seconds
        return self.sender.tick(self.now)


@pytest.fixture
def pair() -> Pair:
    return Pair()


# HELLO


def test_nothing_is_offered_before_both_have_greeted() -> None:
    pair = Pair(greeted=False)
    number = pair.offer()
    assert pair.to_receiver() == [PeerGreeted(True)]
    assert pair.to_sender() == [PeerGreeted(True)]
    assert pair.to_receiver() == [Offered(number, {"kind": "http"}, b"GET / HT")]


@pytest.mark.parametrize("version", [HANDOVER_VERSION + 1, 0, None, "1", []])
def test_another_version_falls_back_to_no_handover_and_gives_everything_back(version: Any) -> None:
    sender = HandoverSender()
    numbers = [sender.offer(CONTENT, 0.0) for _ in range(WINDOW + 2)]
    sender.packets_to_send()
    greeted, *returned = sender.receive_packet(hello(version), 0.0)
    assert greeted == PeerGreeted(False)
    assert [(event.offer, event.lasting) for event in returned if isinstance(event, Returned)] == [
        (number, True) for number in numbers
    ]
    assert (sender.usable, sender.pending, sender.next_deadline(), sender.packets_to_send()) == (False, 0, None, [])


def test_a_receiver_of_another_version_says_so_and_refuses_for_good_what_comes_all_the_same() -> None:
    receiver = HandoverReceiver()
    receiver.packets_to_send()
    assert receiver.receive_packet(hello(HANDOVER_VERSION + 1), 0, truncated=False) == [PeerGreeted(False)]
    assert receiver.receive_packet(packet(OFFER, 1, CONTENT), 1, truncated=False) == []
    assert receiver.packets_to_send() == [packet(NAK, 1, b"\x01another version of the protocol")]


def test_a_hello_with_more_in_it_than_we_know_is_compatible() -> None:
    sender = HandoverSender()
    assert sender.receive_packet(packet(HELLO, 0, b'{"version":1,"kinds":["http","x"],"new":{}}'), 0.0) == [
        PeerGreeted(True)
    ]


@pytest.mark.parametrize("version", [HANDOVER_VERSION, HANDOVER_VERSION + 1])
def test_a_second_hello_is_an_error_and_returns_nothing_that_the_receiver_may_own(pair: Pair, version: int) -> None:
    pair.offer()
    pair.to_receiver()
    with pytest.raises(HandoverError):
        pair.sender.receive_packet(hello(version), pair.now)
    assert pair.sender.pending == 1
    with pytest.raises(HandoverError):
        pair.receiver.receive_packet(hello(version), 0, truncated=False)


def test_connections_do_not_wait_for_a_receiver_that_never_greets() -> None:
    pair = Pair(greeted=False)
    pair.sender.packets_to_send()
    number = pair.offer()
    assert pair.sender.next_deadline() == pair.now + ANSWER_TIMEOUT
    assert pair.tick(ANSWER_TIMEOUT - 0.1) == []
    assert pair.tick(0.1) == [Returned(number, "the receiver does not answer")]
    assert not pair.usable()
    assert pair.tick(0.1) == []
    assert pair.to_sender() == [PeerGreeted(True)]
    assert pair.usable()
    assert pair.sender.next_deadline() is None
    assert pair.offer() == number + 1


def test_a_receiver_that_never_greets_is_stuck_after_ten_seconds() -> None:
    pair = Pair(greeted=False)
    pair.sender.packets_to_send()
    number = pair.offer()
    began = pair.now
    assert pair.tick(ANSWER_TIMEOUT) == [Returned(number, "the receiver does not answer")]
    assert pair.sender.next_deadline() == began + 2 * ANSWER_TIMEOUT
    assert pair.tick(ANSWER_TIMEOUT - 0.1) == []
    assert pair.tick(0.1) == [ReceiverStuck()]
    assert pair.tick(ANSWER_TIMEOUT) == []
    assert pair.sender.next_deadline() is None
    assert pair.to_sender() == [PeerGreeted(True)]
    assert not pair.usable()


# offer and answer


def test_an_acknowledged_connection_is_the_receivers(pair: Pair) -> None:
    number = pair.offer()
    assert pair.to_receiver() == [Offered(number, {"kind": "http"}, b"GET / HT")]
    assert pair.sender.pending == 1
    assert pair.receiver.acknowledge(number)
    assert pair.to_sender() == [Acknowledged(number)]
    assert pair.sender.pending == 0


def test_an_offer_names_its_descriptors_and_no_other_packet_does(pair: Pair) -> None:
    numbers = [pair.offer(), pair.offer()]
    pair.sender.done(0)
    assert [offer for _, offer in pair.sender.packets_to_send()] == [*numbers, None]


@pytest.mark.parametrize("lasting", [False, True])
def test_a_refused_connection_returns_with_the_reason(pair: Pair, lasting: bool) -> None:
    number = pair.offer()
    pair.to_receiver()
    pair.receiver.refuse(number, "zu müde", lasting=lasting)
    assert pair.to_sender() == [Returned(number, "zu müde", lasting)]
    assert pair.usable()


@pytest.mark.parametrize("reason", ["", "x" * 100_000, "ü" * 100_000, "\udcff\x00"])
def test_any_reason_fits_and_can_be_sent(pair: Pair, reason: str) -> None:
    number = pair.offer()
    pair.to_receiver()
    pair.receiver.refuse(number, reason)
    (event,) = pair.to_sender()
    assert isinstance(event, Returned)
    assert event.reason[:500] == reason.replace("\udcff", "?")[:500]
    assert len(event.reason) <= 1024


def test_an_offer_is_answered_once(pair: Pair) -> None:
    number = pair.offer()
    pair.to_receiver()
    assert pair.receiver.acknowledge(number)
    assert not pair.receiver.acknowledge(number)
    pair.receiver.refuse(number, "too late")
    assert pair.to_sender() == [Acknowledged(number)]
    with pytest.raises(HandoverError):
        pair.sender.receive_packet(packet(ACK, number), pair.now)


def test_answers_may_come_in_any_order(pair: Pair) -> None:
    first, second, third = pair.offer(), pair.offer(), pair.offer()
    pair.to_receiver()
    pair.receiver.acknowledge(third)
    pair.receiver.refuse(first, "no")
    pair.receiver.acknowledge(second)
    assert pair.to_sender() == [Acknowledged(third), Returned(first, "no"), Acknowledged(second)]


def test_at_most_a_window_of_offers_is_unanswered_and_answers_let_more_go(pair: Pair) -> None:
    numbers = [pair.offer() for _ in range(WINDOW + 3)]
    offered = [event.offer for event in pair.to_receiver() if isinstance(event, Offered)]
    assert offered == numbers[:WINDOW]
    assert pair.to_receiver() == []
    pair.receiver.acknowledge(offered[0])
    pair.receiver.refuse(offered[1], "no")
    pair.to_sender()
    assert [event.offer for event in pair.to_receiver() if isinstance(event, Offered)] == numbers[WINDOW : WINDOW + 2]
    assert pair.sender.pending == WINDOW + 1


def test_what_the_sender_has_left_is_told(pair: Pair) -> None:
    pair.sender.done(7)
    pair.sender.done(0)
    assert pair.to_receiver() == [SenderDone(7), SenderDone(0)]


def test_done_follows_the_offers_made_before_it(pair: Pair) -> None:
    number = pair.offer()
    pair.sender.done(0)
    assert [type(event) for event in pair.to_receiver()] == [Offered, SenderDone]
    pair.receiver.acknowledge(number)
    assert pair.to_sender() == [Acknowledged(number)]


# descriptors and content


@pytest.mark.parametrize(("descriptors", "truncated"), [(0, True), (1, True), (2, True), (0, False)])
def test_an_offer_without_all_its_descriptors_is_refused_for_now(pair: Pair, descriptors: int, truncated: bool) -> None:
    number = pair.offer()
    assert pair.to_receiver(descriptors, truncated) == []
    assert pair.to_sender() == [Returned(number, "out of file descriptors")]
    assert not pair.receiver.acknowledge(number)
    assert pair.usable()


def test_content_beyond_the_limit_comes_as_a_file_in_a_second_descriptor(pair: Pair) -> None:
    content = render_content({"kind": "http"}, b"x" * MAX_INLINE_BYTES)
    number = pair.offer(b"")
    assert pair.to_receiver(descriptors=2) == [Offered(number, in_file=True)]
    assert parse_content(content) == ({"kind": "http"}, b"x" * MAX_INLINE_BYTES)
    pair.receiver.acknowledge(number)
    assert pair.to_sender() == [Acknowledged(number)]


def test_a_file_that_cannot_be_read_is_a_reason_to_refuse(pair: Pair) -> None:
    number = pair.offer(b"")
    pair.to_receiver(descriptors=2)
    with pytest.raises(HandoverError):
        parse_content(b"")
    pair.receiver.refuse(number, "no content", lasting=True)
    assert pair.to_sender() == [Returned(number, "no content", lasting=True)]


@pytest.mark.parametrize(
    "content",
    [b"", b"\0\0\0", b"\0\0\0\5{}", b"\0\0\0\2{]", b"\0\0\0\2[]", b"\0\0\0\1\xff", b"\0\0\xff\xff" + b"[" * 0xFFFF],
)
def test_an_offer_with_content_that_is_none_is_refused_for_good(pair: Pair, content: bytes) -> None:
    number = pair.offer(content)
    assert pair.to_receiver() == []
    (event,) = pair.to_sender()
    assert isinstance(event, Returned)
    assert (event.offer, event.lasting) == (number, True)


# cancelling


def test_an_offer_without_an_answer_is_withdrawn_after_five_seconds(pair: Pair) -> None:
    number = pair.offer()
    pair.sender.packets_to_send()
    assert pair.sender.next_deadline() == pair.now + ANSWER_TIMEOUT
    assert pair.tick(ANSWER_TIMEOUT - 0.1) == []
    assert pair.sender.packets_to_send() == []
    assert pair.tick(0.1) == [], "a time-out alone returns nothing"
    assert pair.sender.packets_to_send() == [(packet(CANCEL, number), None)]
    assert pair.sender.pending == 1


def test_a_receiver_that_answers_neither_offer_nor_cancellation_is_stuck_after_ten_seconds(pair: Pair) -> None:
    pair.offer()
    pair.offer()
    pair.tick(ANSWER_TIMEOUT)
    assert pair.sender.next_deadline() == pair.now + ANSWER_TIMEOUT
    assert pair.tick(ANSWER_TIMEOUT - 0.1) == []
    assert pair.tick(0.1) == [ReceiverStuck()], "said once, and nothing is returned"
    assert pair.tick(1000.0) == []
    assert (pair.sender.pending, pair.usable(), pair.sender.next_deadline()) == (2, False, None)


def test_the_end_of_a_stuck_receiver_returns_what_it_did_not_own(pair: Pair) -> None:
    owned, lost = pair.offer(), pair.offer()
    pair.to_receiver()
    pair.receiver.acknowledge(owned)
    pair.tick(ANSWER_TIMEOUT)
    pair.tick(ANSWER_TIMEOUT)
    assert pair.to_sender() == [Acknowledged(owned)]
    assert pair.sender.receive_eof() == [Returned(lost, "the receiver is gone", lasting=True)]


def test_a_withdrawn_offer_returns_when_the_receiver_says_so_and_may_be_made_again(pair: Pair) -> None:
    number = pair.offer()
    pair.to_receiver()
    pair.tick(ANSWER_TIMEOUT)
    assert not pair.usable()
    assert pair.to_receiver() == []
    assert not pair.receiver.acknowledge(number), "it is the sender's again"
    pair.receiver.refuse(number, "too late")
    assert pair.to_sender() == [Returned(number, "cancelled")]
    assert pair.usable()
    again = pair.offer()
    assert pair.to_receiver() == [Offered(again, {"kind": "http"}, b"GET / HT")]


@pytest.mark.parametrize("acknowledged", [True, False])
def test_a_cancellation_that_crosses_the_answer_changes_nothing(pair: Pair, acknowledged: bool) -> None:
    number = pair.offer()
    pair.to_receiver()
    if acknowledged:
        pair.receiver.acknowledge(number)
    else:
        pair.receiver.refuse(number, "no")
    pair.tick(ANSWER_TIMEOUT)
    assert pair.to_receiver() == []
    assert pair.to_sender() == [Acknowledged(number) if acknowledged else Returned(number, "no")]
    assert pair.receiver.packets_to_send() == []
    assert pair.sender.next_deadline() is None
    assert pair.usable()


def test_a_cancellation_behind_its_offer_finds_it_answered(pair: Pair) -> None:
    number = pair.offer()
    pair.tick(ANSWER_TIMEOUT)
    offer, cancel = pair.sender.packets_to_send()
    assert pair.receiver.receive_packet(offer[0], 1, truncated=False)
    pair.receiver.acknowledge(number)
    assert pair.receiver.receive_packet(cancel[0], 0, truncated=False) == []
    assert pair.receiver.packets_to_send() == [packet(ACK, number)]


def test_what_waits_behind_an_offer_without_an_answer_returns_at_once(pair: Pair) -> None:
    numbers = [pair.offer() for _ in range(WINDOW + 2)]
    assert pair.tick(ANSWER_TIMEOUT) == [
        Returned(number, "the receiver does not answer") for number in numbers[WINDOW:]
    ]
    assert pair.sender.pending == WINDOW


def test_each_offer_has_its_own_deadline(pair: Pair) -> None:
    first = pair.offer()
    pair.tick(3.0)
    second = pair.offer()
    pair.sender.packets_to_send()
    assert pair.sender.next_deadline() == 100.0 + ANSWER_TIMEOUT
    pair.tick(2.0)
    assert pair.sender.packets_to_send() == [(packet(CANCEL, first), None)]
    assert pair.sender.next_deadline() == 103.0 + ANSWER_TIMEOUT
    pair.tick(3.0)
    assert pair.sender.packets_to_send() == [(packet(CANCEL, second), None)]
    assert pair.tick(2.0) == [ReceiverStuck()]


# the end


def test_the_end_of_the_receiver_returns_everything_that_it_has_not_acknowledged(pair: Pair) -> None:
    numbers = [pair.offer() for _ in range(WINDOW + 1)]
    pair.to_receiver()
    pair.receiver.acknowledge(numbers[0])
    pair.receiver.refuse(numbers[1], "no")
    assert pair.to_sender() == [Acknowledged(numbers[0]), Returned(numbers[1], "no")]
    assert pair.sender.receive_eof() == [
        Returned(number, "the receiver is gone", lasting=True) for number in numbers[2:]
    ]
    assert pair.sender.receive_eof() == []
    pair.sender.done(3)
    assert pair.tick(1000.0) == []
    assert (pair.usable(), pair.sender.closed, pair.sender.pending) == (False, True, 0)
    assert (pair.sender.next_deadline(), pair.sender.packets_to_send()) == (None, [])


def test_an_offer_that_could_never_end_cannot_be_made(pair: Pair) -> None:
    pair.sender.receive_eof()
    with pytest.raises(RuntimeError):
        pair.offer()


# what is none of the protocol


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x03",
        b"\x03\0\0\0",
        packet(0),
        packet(9),
        packet(255),
        packet(HELLO, 0, b"not JSON"),
        packet(HELLO, 0, b"\xff\xfe"),
        packet(HELLO, 0, b"[" * 100_000),
        packet(OFFER, 1),
        packet(CANCEL, 1),
        packet(DONE),
        packet(LEFT, 3),
        packet(ACK, 1),
        packet(ACK, 0),
        packet(NAK, 2**32 - 1, b"\x01x"),
        packet(CANCELLED, 1),
    ],
)
def test_a_sender_takes_no_packet_that_no_receiver_sends(data: bytes) -> None:
    sender = HandoverSender()
    with pytest.raises(HandoverError):
        sender.receive_packet(data, 0.0)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x02\0\0", packet(0), packet(9), packet(HELLO, 0, b"{"), packet(ACK, 1), packet(NAK, 1), packet(CANCELLED)],
)
def test_a_receiver_takes_no_packet_that_no_sender_sends(data: bytes) -> None:
    with pytest.raises(HandoverError):
        HandoverReceiver().receive_packet(data, 1, truncated=False)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_an_offer_is_not_taken_twice(pair: Pair, number: int) -> None:
    pair.offer()
    pair.offer()
    pair.to_receiver()
    with pytest.raises(HandoverError):
        pair.receiver.receive_packet(packet(OFFER, number, CONTENT), 1, truncated=False)


def test_a_wrong_answer_returns_nothing(pair: Pair) -> None:
    pair.offer()
    pair.to_receiver()
    for data in (packet(ACK, 99), packet(NAK, 99), packet(DONE), b"garbage"):
        with pytest.raises(HandoverError):
            pair.sender.receive_packet(data, pair.now)
    assert pair.sender.pending == 1


# any bytes

PACKETS = st.one_of(
    st.binary(max_size=64),
    st.builds(packet, st.integers(0, 10), st.integers(0, 5), st.binary(max_size=64)),
    st.builds(packet, st.integers(0, 10), st.integers(0, 5), st.just(CONTENT)),
    st.builds(hello, st.sampled_from([HANDOVER_VERSION, 2, None])),
    st.builds(lambda values: packet(HELLO, 0, json.dumps(values).encode()), st.recursive(st.none(), st.lists)),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(), values, max_size=4),
    max_leaves=12,
)


@given(st.lists(PACKETS, max_size=12), st.integers(0, 3))
def test_any_packets_give_a_sender_events_or_one_error(packets: list[bytes], offers: int) -> None:
    sender = HandoverSender()
    numbers = [sender.offer(CONTENT, 0.0) for _ in range(offers)]
    ended: list[int] = []
    for data in packets:
        try:
            events = sender.receive_packet(data, 0.0)
        except HandoverError:
            continue
        ended += [event.offer for event in events if isinstance(event, Acknowledged | Returned)]
    ended += [event.offer for event in sender.receive_eof() if isinstance(event, Returned)]
    assert sorted(ended) == numbers, "each offer ends once"


@given(st.lists(st.tuples(PACKETS, st.integers(0, 3), st.booleans()), max_size=12))
def test_any_packets_give_a_receiver_events_or_one_error(packets: list[tuple[bytes, int, bool]]) -> None:
    receiver = HandoverReceiver()
    for data, descriptors, truncated in packets:
        try:
            events = receiver.receive_packet(data, descriptors, truncated=truncated)
        except HandoverError:
            continue
        for event in events:
            if isinstance(event, Offered):
                assert receiver.acknowledge(event.offer)
    answered = [data[1:5] for data in receiver.packets_to_send()[1:]]
    assert len(answered) == len(set(answered)), "each offer is answered once"


@given(st.dictionaries(st.text(), JSON, max_size=6), st.binary(max_size=100))
def test_what_an_offer_says_arrives_as_it_was(meta: dict[str, Any], leftover: bytes) -> None:
    assert parse_content(render_content(meta, leftover)) == (meta, leftover)


@given(st.binary(max_size=64) | st.builds(lambda data: b"\0\0\0" + data, st.binary(max_size=64)))
def test_any_content_is_parsed_or_one_error(content: bytes) -> None:
    try:
        meta, leftover = parse_content(content)
    except HandoverError:
        return
    assert isinstance(meta, dict)
    assert content.endswith(leftover)
