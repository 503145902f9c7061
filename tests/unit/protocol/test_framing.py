"""Where requests end, what is held back, what is bounded: the same on every codec, and in every cut."""

from collections.abc import Iterable

import pytest

from smoothserve.protocol.events import END_OF_REQUEST, Limits, Malformed, Request
from smoothserve.protocol.memory import FAST_PATHS
from tests.unit.protocol.corpus import NEXT, chunked, get, post
from tests.unit.protocol.delivery import Delivery, MakeCodec, cut, deliver, single_bytes


def in_every_cut(make_codec: MakeCodec, data: bytes, limits: Limits, *, eof: bool = False) -> list[object]:
    """Deliver in many cuts, check that the outcome is always the same, and return its summary."""
    whole = deliver(make_codec(limits), [data], eof=eof)
    assert deliver(make_codec(limits), single_bytes(data), eof=eof) == whole
    for place in range(0, len(data), max(1, len(data) // 200)):
        assert deliver(make_codec(limits), cut(data, [place]), eof=eof) == whole, place
    return whole.summary()


def begun(make_codec: MakeCodec, pieces: Iterable[bytes]) -> Delivery:
    """Deliver pieces to a new codec without answering."""
    delivery = Delivery(make_codec(Limits()), answer_at_once=False)
    for piece in pieces:
        delivery.receive_data(piece)
    return delivery


# The head's bounds

LIMITS = Limits(request_line_bytes=64, fields=4, head_bytes=256)


def test_a_request_line_of_just_the_limit_is_served(make_codec: MakeCodec) -> None:
    target = b"/" + b"a" * (64 - len(b"GET / HTTP/1.1"))
    assert in_every_cut(make_codec, get(target), LIMITS) == [("GET", target, b"")]


def test_a_longer_request_line_is_414(make_codec: MakeCodec) -> None:
    target = b"/" + b"a" * (65 - len(b"GET / HTTP/1.1"))
    assert in_every_cut(make_codec, get(target), LIMITS) == [414]
    assert in_every_cut(make_codec, get(b"/" + b"a" * 1000), LIMITS) == [414]


def test_a_request_line_is_refused_before_it_ends(make_codec: MakeCodec) -> None:
    assert in_every_cut(make_codec, b"GET /" + b"a" * 61, LIMITS) == [414]
    assert in_every_cut(make_codec, b"GET /" + b"a" * 60, LIMITS) == []


def test_a_megabyte_of_target_is_414(make_codec: MakeCodec) -> None:
    assert deliver(make_codec(Limits()), [get(b"/" + b"a" * 2**20)]).summary() == [414]


def test_a_method_without_end_is_501(make_codec: MakeCodec) -> None:
    assert in_every_cut(make_codec, b"A" * 200, LIMITS) == [501]


@pytest.mark.parametrize(
    "line", [b"GET /" + b"a" * 20 + b"\r" + b"a" * 80 + b" HTTP/1.1\r\n", b"\xff" * 200, b"GET / HTTP/1.1" + b" " * 80]
)
def test_what_is_wrong_in_a_long_line_is_told_in_its_order(make_codec: MakeCodec, line: bytes) -> None:
    assert in_every_cut(make_codec, line, LIMITS) in ([400], [414])


def test_a_head_of_just_the_limit_is_served(make_codec: MakeCodec) -> None:
    head = get(b"/", b"X: " + b"a" * (256 - len(get(b"/", b"X: "))))
    assert len(head) == 256
    assert in_every_cut(make_codec, head + NEXT, LIMITS) == [("GET", b"/", b""), ("GET", b"/next", b"")]


def test_a_longer_head_is_431(make_codec: MakeCodec) -> None:
    assert in_every_cut(make_codec, get(b"/", b"X: " + b"a" * (257 - len(get(b"/", b"X: ")))), LIMITS) == [431]
    assert in_every_cut(make_codec, get(b"/", b"X: " + b"a" * 1000), LIMITS) == [431]


def test_a_head_is_refused_before_it_ends(make_codec: MakeCodec) -> None:
    head = b"GET / HTTP/1.1\r\nHost: a\r\nX: "
    assert in_every_cut(make_codec, head + b"a" * (257 - len(head)), LIMITS) == [431]
    assert in_every_cut(make_codec, head + b"a" * (256 - len(head)), LIMITS) == []


@pytest.mark.parametrize("target", [b"/a#b", b"/a\x01", b"/a\rb", b"*"])
def test_a_bad_line_is_told_before_a_head_that_is_too_long(make_codec: MakeCodec, target: bytes) -> None:
    assert in_every_cut(make_codec, get(target, b"X: " + b"a" * 1000), LIMITS) == [400]


def test_a_bare_line_end_is_told_before_a_head_that_is_too_long(make_codec: MakeCodec) -> None:
    assert in_every_cut(make_codec, get(b"/", b"X: y\nZ: a", b"X: " + b"a" * 1000), LIMITS) == [400]
    assert in_every_cut(make_codec, get(b"/", b"X: " + b"a" * 1000, b"X: y\nZ: a"), LIMITS) == [431]


def test_as_many_fields_as_the_limit_are_served(make_codec: MakeCodec) -> None:
    assert in_every_cut(make_codec, get(b"/", *[b"X: y"] * 3), LIMITS) == [("GET", b"/", b"")]


def test_more_fields_are_431(make_codec: MakeCodec) -> None:
    assert in_every_cut(make_codec, get(b"/", *[b"X: y"] * 4), LIMITS) == [431]


def test_more_fields_with_bad_framing_are_400(make_codec: MakeCodec) -> None:
    assert in_every_cut(make_codec, post(b"", *[b"Content-Length: 0"] * 8), LIMITS) == [400]


def test_as_many_trailers_as_the_limits_are_read(make_codec: MakeCodec) -> None:
    body = b"0\r\n" + b"X: y\r\n" * 4 + b"\r\n"
    assert in_every_cut(make_codec, chunked(body) + NEXT, LIMITS) == [("POST", b"/p", b""), ("GET", b"/next", b"")]


@pytest.mark.parametrize(
    "trailers",
    [b"X: y\r\n" * 5, b"X: " + b"y" * 300 + b"\r\n", b"X: " + b"y" * 300, (b"X: " + b"y" * 100 + b"\r\n") * 3],
)
def test_more_trailers_are_431(make_codec: MakeCodec, trailers: bytes) -> None:
    assert in_every_cut(make_codec, chunked(b"0\r\n" + trailers + b"\r\n"), LIMITS) == ["incomplete", 431]


@pytest.mark.parametrize("size", [b"1;" + b"a" * 5000, b"0" * 5000])
def test_a_chunk_line_is_refused_before_it_ends(make_codec: MakeCodec, size: bytes) -> None:
    assert in_every_cut(make_codec, chunked(size), LIMITS) == ["incomplete", 400]


# What is held back


def test_the_next_request_is_held_back_until_it_is_asked_for(make_codec: MakeCodec) -> None:
    codec = make_codec(Limits())
    codec.receive_data(get() + NEXT + NEXT)
    assert [type(event) for event in codec.events] == [Request, type(END_OF_REQUEST)]
    codec.events.clear()
    assert not codec.at_boundary
    codec.next_request()
    assert [type(event) for event in codec.events] == [Request, type(END_OF_REQUEST)]
    codec.events.clear()
    codec.next_request()
    codec.events.clear()
    assert codec.at_boundary


def test_a_refusal_comes_after_the_good_requests_ahead_of_it(make_codec: MakeCodec) -> None:
    delivery = begun(make_codec, [get() + b"\x00\x00"])
    assert delivery.outcome.summary() == [("GET", b"/", b"")]
    delivery.answer()
    assert delivery.outcome.summary() == [("GET", b"/", b""), 400]


def test_next_request_in_the_middle_of_one_changes_nothing(make_codec: MakeCodec) -> None:
    codec = make_codec(Limits())
    codec.receive_data(post(b"ab", b"Content-Length: 3"))
    codec.next_request()
    codec.receive_data(b"c" + NEXT)
    assert [event for event in codec.events if isinstance(event, bytes)] == [b"ab", b"c"]
    assert codec.events[-1] is END_OF_REQUEST


def test_nothing_comes_after_a_refusal(make_codec: MakeCodec) -> None:
    codec = make_codec(Limits())
    codec.receive_data(b"\x00")
    codec.receive_data(get())
    codec.receive_eof()
    codec.next_request()
    assert [type(event) for event in codec.events] == [Malformed]
    assert not codec.at_boundary


def test_what_follows_a_last_request_is_ignored(make_codec: MakeCodec) -> None:
    delivery = begun(make_codec, [get(b"/", b"Connection: close") + NEXT, NEXT])
    delivery.answer()
    delivery.receive_data(NEXT)
    delivery.receive_eof()
    assert delivery.outcome.summary() == [("GET", b"/", b"")]
    assert delivery.codec.trailing_data() == b""


def test_a_body_is_passed_on_as_it_comes(make_codec: MakeCodec) -> None:
    codec = make_codec(Limits())
    codec.receive_data(post(b"ab", b"Content-Length: 5"))
    assert list(codec.events)[1:] == [b"ab"]
    codec.events.clear()
    codec.receive_data(b"cd")
    assert list(codec.events) == [b"cd"]
    codec.receive_data(b"efg")
    assert list(codec.events) == [b"cd", b"e", END_OF_REQUEST]


def test_the_chunks_of_one_piece_are_passed_on_together(make_codec: MakeCodec) -> None:
    codec = make_codec(Limits())
    codec.receive_data(chunked(b"2\r\nab\r\n3\r\ncde\r\n5\r\nfg"))
    assert list(codec.events)[1:] == [b"abcdefg"]


# Boundaries


@pytest.mark.parametrize(
    "first", [b"", get(), get() + b"\r\n", post(b"abc", b"Content-Length: 3") + b"\r\n", chunked(b"0\r\n\r\n")]
)
def test_between_requests_the_codec_is_at_a_boundary(make_codec: MakeCodec, first: bytes) -> None:
    delivery = begun(make_codec, single_bytes(first))
    assert delivery.codec.at_boundary
    delivery.answer()
    assert delivery.codec.at_boundary
    assert delivery.codec.trailing_data() == b""


@pytest.mark.parametrize("answered", [True, False])
@pytest.mark.parametrize("begin", [b"G", b"\r", NEXT[:-1], b"\r\nGET"])
def test_the_first_byte_of_a_request_ends_the_boundary(make_codec: MakeCodec, begin: bytes, *, answered: bool) -> None:
    delivery = begun(make_codec, [get()])
    if answered:
        delivery.answer()
    delivery.receive_data(begin)
    assert not delivery.codec.at_boundary


def test_an_event_that_waits_is_no_boundary(make_codec: MakeCodec) -> None:
    codec = make_codec(Limits())
    codec.receive_data(get())
    assert not codec.at_boundary


@pytest.mark.parametrize("request_", [post(b"a", b"Content-Length: 2"), chunked(b""), chunked(b"1\r\na\r\n0\r\n")])
def test_within_a_body_is_no_boundary(make_codec: MakeCodec, request_: bytes) -> None:
    delivery = begun(make_codec, [request_])
    assert not delivery.codec.at_boundary
    assert delivery.codec.trailing_data() is None


# Bytes given back


STREAM = b"\r\n" + NEXT + NEXT


@pytest.mark.parametrize("answered", [True, False])
@pytest.mark.parametrize("place", range(len(NEXT)))
def test_another_codec_goes_on_with_the_bytes_given_back(make_codec: MakeCodec, place: int, *, answered: bool) -> None:
    delivery = begun(make_codec, [get()])
    if answered:
        delivery.answer()
    delivery.receive_data(STREAM[:place])
    given_back = delivery.codec.trailing_data()
    assert given_back is not None
    assert STREAM[:place].endswith(given_back)
    assert delivery.codec.at_boundary
    assert deliver(make_codec(Limits()), [given_back + STREAM[place:]]).summary() == [("GET", b"/next", b"")] * 2


def test_requests_held_back_are_given_back(make_codec: MakeCodec) -> None:
    delivery = begun(make_codec, [get() + NEXT + NEXT[:9]])
    assert delivery.codec.trailing_data() == NEXT + NEXT[:9]
    delivery.answer()
    assert delivery.outcome.summary() == [("GET", b"/", b"")]


def test_the_same_codec_can_take_them_again(make_codec: MakeCodec) -> None:
    delivery = begun(make_codec, [NEXT[:20]])
    given_back = delivery.codec.trailing_data()
    assert given_back is not None
    for piece in (given_back, NEXT[20:]):
        delivery.receive_data(piece)
    assert delivery.outcome.summary() == [("GET", b"/next", b"")]


WEBSOCKET = get(b"/", b"Connection: keep-alive, Upgrade", b"Upgrade: WebSocket", b"Sec-WebSocket-Version: 13")


def test_what_follows_an_upgrade_is_given_back(make_codec: MakeCodec) -> None:
    codec = make_codec(Limits())
    codec.receive_data(WEBSOCKET + b"\x81\x80abcd")
    request = codec.events.popleft()
    assert isinstance(request, Request)
    assert request.upgrade == b"websocket"
    assert codec.events.popleft() is END_OF_REQUEST
    codec.receive_data(b"\x00\r\n")
    assert codec.trailing_data() == b"\x81\x80abcd\x00\r\n"


def test_what_follows_an_upgrade_is_given_back_although_the_connection_would_close(make_codec: MakeCodec) -> None:
    delivery = begun(make_codec, [get(b"/", b"Connection: close, Upgrade", b"Upgrade: websocket"), b"frame"])
    assert delivery.codec.trailing_data() == b"frame"


# The end of the connection


@pytest.mark.parametrize(
    "data", [b"", get(), get() + b"\r\n", NEXT + NEXT, post(b"abc", b"Content-Length: 3"), chunked(b"0\r\n\r\n")]
)
def test_an_end_between_requests_is_no_error(make_codec: MakeCodec, data: bytes) -> None:
    ended = in_every_cut(make_codec, data, Limits(), eof=True)
    assert ended == deliver(make_codec(Limits()), [data]).summary()
    assert 400 not in ended


@pytest.mark.parametrize(
    "data",
    [
        b"G",
        b"\r",
        NEXT[:-1],
        NEXT[:20],
        post(b"ab", b"Content-Length: 3"),
        chunked(b""),
        chunked(b"3\r\nab"),
        chunked(b"0\r\n"),
    ],
)
def test_an_end_within_a_request_is_refused(make_codec: MakeCodec, data: bytes) -> None:
    assert in_every_cut(make_codec, data, Limits(), eof=True)[-1] == 400
    assert in_every_cut(make_codec, get() + data, Limits(), eof=True)[-1] == 400


@pytest.mark.parametrize("rest", [NEXT, NEXT + NEXT, NEXT[:-1], post(b"ab", b"Content-Length: 3"), b"\r\n", b""])
def test_requests_held_back_are_served_after_the_end(make_codec: MakeCodec, rest: bytes) -> None:
    delivery = begun(make_codec, [get(), rest])
    delivery.receive_eof()
    assert delivery.outcome.refused is None
    delivery.answer()
    assert delivery.outcome == deliver(make_codec(Limits()), [get() + rest], eof=True)


remembering = pytest.mark.skipif(not FAST_PATHS, reason="nothing is remembered without fast paths")


@remembering
def test_heads_and_lines_that_clients_make_up_are_not_remembered_without_end(make_codec: MakeCodec) -> None:
    limits = Limits()
    for number in range(3000):
        path = b"/%d" % number
        made_up = [b"X-%d: %d" % (number, number), b"Cookie: %d" % number, b"X: " + b"x" * 2000 + b"%d" % number]
        for fields in ([], made_up[:2], made_up, [b"Connection: x%d" % number]):
            for _ in range(3):
                assert deliver(make_codec(limits), [get(path, *fields)]).summary() == [("GET", path, b"")]
    (heads,) = limits.heads.values()
    assert 0 < len(heads) <= 256
    assert max(map(len, heads)) <= 1024
    known = limits.lines
    assert 0 < len(known.request_lines) <= 1024
    for lines in (known.request_lines, known.plain, known.notable):
        assert len(lines) <= 1024
        assert max(map(len, lines), default=0) <= 256
    assert len(known.judged) <= 256
    assert len(known.blocks) <= 256
    assert max(map(len, known.blocks), default=0) <= 1024


@remembering
def test_what_is_remembered_of_a_head_is_short_however_long_it_is(make_codec: MakeCodec) -> None:
    limits = Limits()
    for number in range(20):
        for size in (0, 5000):
            path = b"/%d" % number + b"p" * size
            fields = [b"Connection: close, x%d" % number, b"User-Agent: %d" % number + b"u" * size]
            for more in ([], [b"Expect: " + b"e" * size]):
                for _ in range(3):
                    deliver(make_codec(limits), [get(path, *fields, *more)])
    known = limits.lines
    for key, request in known.judged.items():
        assert sum(len(field[1]) for field in key if isinstance(field, tuple)) <= 1024
        assert (request.target, request.raw_path, request.headers) == (b"", b"", [])
    for request in known.blocks.values():
        assert (request.target, request.raw_path) == (b"", b"")


@remembering
def test_a_head_that_has_been_read_twice_is_one_object(make_codec: MakeCodec) -> None:
    limits = Limits()
    requests = []
    for _ in range(4):
        codec = make_codec(limits)
        codec.receive_data(get(b"/same"))
        requests.append(codec.events.popleft())
    assert requests[2] is requests[3]
    assert make_codec(limits).take_known(get(b"/same")) is requests[3]
    assert make_codec(limits).take_known(get(b"/other")) is None


@remembering
def test_a_request_whose_head_has_been_read_twice_is_taken_with_its_body_if_that_is_here(make_codec: MakeCodec) -> None:
    limits = Limits()
    head = get(b"/same", b"Content-Length: 4").replace(b"GET", b"POST", 1)
    for _ in range(3):
        deliver(make_codec(limits), [head + b"body"])
    codec = make_codec(limits)
    for data in (head, head + b"bod", head + b"body+", head + b"bodyPOST / HTTP/1.1\r\n", b"\r\n" + head + b"body"):
        assert codec.take_whole(data) is None
    whole = codec.take_whole(head + b"last")
    assert whole is not None
    assert (whole[0].method, whole[1]) == ("POST", b"last")
    assert not codec.events
    codec.receive_data(get(b"/held"))
    assert not codec.events, "the next request is held back"
    codec.next_request()
    assert len(codec.events) == 2
    codec.next_request()
    assert codec.take_known(head + b"last") is None
    for field in (b"Connection: close", b"Expect: 100-continue", b"Connection: upgrade\r\nUpgrade: x"):
        odd = get(b"/odd", b"Content-Length: 4", field).replace(b"GET", b"POST", 1)
        for _ in range(3):
            deliver(make_codec(limits), [odd + b"body"])
        assert make_codec(limits).take_whole(odd + b"body") is None


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 11\r\n\r\n0123456789a",
        b"Transfer-Encoding: chunked\r\n\r\nb\r\n0123456789a\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n6\r\n012345\r\n5\r\n6789a\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n1\r\nazz",
    ],
)
def test_a_longer_body_is_413(make_codec: MakeCodec, body: bytes) -> None:
    limits = Limits(body_bytes=10)
    head = b"POST / HTTP/1.1\r\nHost: x\r\n"
    assert in_every_cut(make_codec, head + body, limits)[-1] == 413
    assert in_every_cut(make_codec, head + b"Content-Length: 10\r\n\r\n0123456789" + NEXT, limits) == [
        ("POST", b"/", b"0123456789"),
        ("GET", b"/next", b""),
    ]
