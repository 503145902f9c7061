"""Responses are framed by the server, and nothing the application says can break the framing."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoothserve.protocol.memory import FAST_PATHS
from smoothserve.protocol.response import (
    STATUS_LINES,
    DefaultHeaders,
    InvalidResponseError,
    Response,
    render_status,
)

NOW = 784111777.0
DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"
Headers = list[tuple[bytes, bytes]]


def defaults(server: bytes | None = None, extra: Headers | None = None) -> DefaultHeaders:
    made = DefaultHeaders(server, extra or ())
    made.render(NOW)
    return made


def render(
    parts: list[bytes],
    headers: Headers | None = None,
    *,
    status: int = 200,
    method: str = "GET",
    version: str = "1.1",
    keep_alive: bool = True,
) -> tuple[Response, bytes]:
    """Send an answer of these parts; return it and what was put on the wire."""
    response = Response(method, version, keep_alive=keep_alive)
    response.start(status, headers or [], defaults())
    sent = b""
    for index, part in enumerate(parts):
        sent += response.data_to_send(part, more=index < len(parts) - 1)
    return response, sent


def head_lines(sent: bytes) -> list[bytes]:
    return sent.partition(b"\r\n\r\n")[0].split(b"\r\n")


def body_of(sent: bytes) -> bytes:
    return sent.partition(b"\r\n\r\n")[2]


# Small answers


def test_a_whole_answer_is_one_write_with_its_length() -> None:
    response, sent = render([b"hello"], [(b"content-type", b"text/plain")])
    assert sent == b"HTTP/1.1 200 OK\r\ndate: %b\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello" % DATE
    assert response.complete
    assert response.keep_alive
    assert response.bytes_sent == 5


def test_an_empty_answer_has_length_0() -> None:
    assert b"content-length: 0" in head_lines(render([b""])[1])


def test_the_declared_length_is_sent_once() -> None:
    _, sent = render([b"hel", b"lo"], [(b"Content-Length", b"5"), (b"CONTENT-LENGTH", b"5")])
    assert [line for line in head_lines(sent) if b"ength" in line] == [b"content-length: 5"]
    assert body_of(sent) == b"hello"


def test_nothing_is_rendered_before_the_first_part() -> None:
    response = Response("GET", "1.1", keep_alive=True)
    assert (response.started, response.head_pending) == (False, False)
    response.start(200, [], defaults())
    assert (response.started, response.head_pending) == (True, True)
    response.data_to_send(b"", more=True)
    assert (response.complete, response.head_pending) == (False, False)


@pytest.mark.parametrize("data", [bytearray(b"abc"), memoryview(b"abc")])
@pytest.mark.parametrize("declared", [[], [(b"content-length", b"6")]])
def test_parts_may_be_other_buffers(data: bytes, declared: Headers) -> None:
    _, sent = render([data, data], declared)
    assert body_of(sent) in (b"abcabc", b"3\r\nabc\r\n3\r\nabc\r\n0\r\n\r\n")
    assert type(sent) is bytes


# Streams


def test_a_body_of_unknown_length_is_chunked() -> None:
    response, sent = render([b"hello", b"", b"x" * 16, b""])
    assert b"transfer-encoding: chunked" in head_lines(sent)
    assert body_of(sent) == b"5\r\nhello\r\n10\r\n" + b"x" * 16 + b"\r\n0\r\n\r\n"
    assert response.complete
    assert response.keep_alive
    assert response.bytes_sent == 21


def test_the_last_part_of_a_chunked_body_may_have_data() -> None:
    assert body_of(render([b"a", b"b"])[1]) == b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n"


def test_an_old_client_gets_no_chunks_but_the_end_of_the_connection() -> None:
    response, sent = render([b"a", b"b"], version="1.0")
    assert body_of(sent) == b"ab"
    assert not any(line.startswith(b"transfer-encoding") for line in head_lines(sent))
    assert b"connection: close" in head_lines(sent)
    assert not response.keep_alive


def test_an_old_client_that_persists_is_told_so() -> None:
    response, sent = render([b"ab"], version="1.0")
    assert b"connection: keep-alive" in head_lines(sent)
    assert response.keep_alive


def test_the_application_has_no_say_in_the_framing() -> None:
    _, sent = render(
        [b"a", b"b"], [(b"Transfer-Encoding", b"gzip"), (b"Keep-Alive", b"timeout=5"), (b"Connection", b"x")]
    )
    assert head_lines(sent)[2:] == [b"transfer-encoding: chunked"]


# Lengths that do not fit


def test_a_body_that_is_too_long_is_cut_and_closes() -> None:
    response, sent = render([b"hello", b"world"], [(b"content-length", b"7")])
    assert body_of(sent) == b"hellowo"
    assert response.error is not None
    assert not response.keep_alive


def test_a_body_that_is_too_short_closes() -> None:
    response, sent = render([b"hello", b""], [(b"content-length", b"7")])
    assert body_of(sent) == b"hello"
    assert response.error == "the body is 2 bytes shorter than its Content-Length"
    assert not response.keep_alive


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"hell", "the body is 1 byte shorter than its Content-Length"),
        (b"hello!", "the body is longer than its Content-Length, by 1 byte or more"),
        (b"hello you", "the body is longer than its Content-Length, by 4 bytes or more"),
    ],
)
def test_how_far_a_length_does_not_fit_is_told(body: bytes, error: str) -> None:
    response, _ = render([body], [(b"content-length", b"5")])
    assert response.error == error


def test_after_the_declared_length_nothing_more_is_sent() -> None:
    response, sent = render([b"ab", b"c", b"d"], [(b"content-length", b"2")])
    assert body_of(sent) == b"ab"
    assert response.error is not None


@pytest.mark.parametrize(
    "value", [b"", b"-1", b"+1", b"1.0", b"a", b"1 ", b" 1", b"1\n", b"1, 1", b"9" * 19, "1", 1, None]
)
def test_a_length_that_is_no_number_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidResponseError, match="Content-Length"):
        render([b""], [(b"content-length", value)])


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(InvalidResponseError, match="differ"):
        render([b""], [(b"content-length", b"1"), (b"content-length", b"2")])


# Answers without a body


@pytest.mark.parametrize("status", [204, 205, 304])
@pytest.mark.parametrize("parts", [[b""], [b"body"], [b"bo", b"dy"]])
def test_no_body_where_there_can_be_none(status: int, parts: list[bytes]) -> None:
    response, sent = render(parts, status=status)
    assert body_of(sent) == b""
    assert not any(line.startswith(b"transfer-encoding") for line in head_lines(sent))
    assert (b"content-length: 0" in head_lines(sent)) is (status == 205)
    assert response.complete
    assert response.keep_alive
    assert response.bytes_sent == 0


def test_the_length_that_a_body_would_have_is_told_with_304_but_not_with_204() -> None:
    declared = [(b"content-length", b"7")]
    assert b"content-length: 7" in head_lines(render([b""], declared, status=304)[1])
    assert not any(b"length" in line for line in head_lines(render([b""], declared, status=204)[1]))


@pytest.mark.parametrize("parts", [[b""], [b"hello"], [b"hel", b"lo"]])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_head_has_the_headers_and_no_body(parts: list[bytes], version: str) -> None:
    response, sent = render(parts, [(b"content-length", b"5")], method="HEAD", version=version)
    assert body_of(sent) == b""
    assert b"content-length: 5" in head_lines(sent)
    assert response.error is None
    assert response.keep_alive


def test_head_of_a_stream_is_not_the_end_of_the_connection() -> None:
    assert render([b"a", b"b"], method="HEAD")[0].keep_alive
    assert render([b"a", b"b"], method="HEAD", version="1.0")[0].keep_alive


# Closing


def test_an_answer_says_when_the_connection_closes() -> None:
    assert b"connection: close" in head_lines(render([b""], keep_alive=False)[1])
    assert b"connection: close" in head_lines(render([b""], keep_alive=False, version="1.0")[1])


@pytest.mark.parametrize("value", [b"close", b"Close", b"keep-alive, close"])
def test_the_application_may_ask_for_the_end_of_the_connection(value: bytes) -> None:
    response, sent = render([b""], [(b"Connection", value)])
    assert not response.keep_alive
    assert [line for line in head_lines(sent) if b"onnection" in line] == [b"connection: close"]


def test_keep_alive_can_be_taken_away_until_the_head_is_rendered() -> None:
    response = Response("GET", "1.1", keep_alive=True)
    response.start(200, [], defaults())
    response.keep_alive = False
    assert b"connection: close" in head_lines(response.data_to_send(b"", more=False))


# What must not reach the wire


@pytest.mark.parametrize(
    "value", [b"a\r\nset-cookie: b", b"a\nb", b"a\rb", b"a\x00b", b"\r\n\r\n<html>", b"\n", "text", None, 1]
)
def test_a_value_that_would_split_the_response_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidResponseError):
        render([b""], [(b"x", value)])


@pytest.mark.parametrize("value", ["close", None, 1])
def test_a_connection_header_that_is_not_bytes_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidResponseError):
        render([b""], [(b"connection", value)])


@pytest.mark.parametrize("name", [b"", b"a b", b"a:", b"a\r\n", b"a\n", b"a\x00", b"\xe9", b"(a)", b" a", "text", None])
def test_a_name_that_is_no_token_is_refused(name: bytes) -> None:
    with pytest.raises(InvalidResponseError):
        render([b""], [(name, b"value")])


@pytest.mark.parametrize("status", [0, 100, 101, 199, 1000, -200, 99, "200", b"200", None, True, 200.5])
def test_a_status_that_no_answer_has_is_refused(status: int) -> None:
    with pytest.raises(InvalidResponseError):
        render([b""], status=status)


def test_a_refused_answer_can_be_started_again() -> None:
    response = Response("GET", "1.1", keep_alive=True)
    with pytest.raises(InvalidResponseError):
        response.start(204, [(b"content-length", b"5"), (b"connection", b"close"), (b"x", b"\n")], defaults())
    assert not response.started
    response.start(500, [], defaults())
    sent = response.data_to_send(b"error", more=False)
    assert body_of(sent) == b"error"
    assert b"content-length: 5" in head_lines(sent)
    assert response.keep_alive


# Status lines


def test_every_known_status_has_its_line() -> None:
    assert STATUS_LINES[404] == b"HTTP/1.1 404 Not Found\r\n"
    assert min(STATUS_LINES) == 200
    assert all(render_status(status) == line for status, line in STATUS_LINES.items())


def test_another_status_has_an_empty_reason() -> None:
    assert render_status(299) == b"HTTP/1.1 299 \r\n"
    assert render([b""], status=599)[1].startswith(b"HTTP/1.1 599 \r\n")


def test_the_reason_may_be_the_applications() -> None:
    response = Response("GET", "1.1", keep_alive=True)
    response.start(200, [], defaults(), b"Fine \xe9")
    assert response.data_to_send(b"", more=False).startswith(b"HTTP/1.1 200 Fine \xe9\r\n")


@pytest.mark.parametrize("reason", [b"a\r\nb", b"a\nb", b"a\x00", b"a\x7f"])
def test_a_reason_with_control_characters_is_refused(reason: bytes) -> None:
    with pytest.raises(InvalidResponseError, match="reason"):
        render_status(200, reason)


# Default headers


def test_date_and_server_are_added() -> None:
    response = Response("GET", "1.1", keep_alive=True)
    response.start(200, [(b"x", b"y")], defaults(b"smoothserve", [(b"X-Frame-Options", b"DENY")]))
    assert head_lines(response.data_to_send(b"", more=False))[1:] == [
        b"date: " + DATE,
        b"server: smoothserve",
        b"x-frame-options: DENY",
        b"x: y",
        b"content-length: 0",
    ]


def test_a_header_of_the_applications_replaces_a_default_one() -> None:
    response = Response("GET", "1.1", keep_alive=True)
    response.start(200, [(b"Server", b"mine"), (b"DATE", b"now")], defaults(b"smoothserve"))
    assert head_lines(response.data_to_send(b"", more=False))[1:] == [
        b"Server: mine",
        b"DATE: now",
        b"content-length: 0",
    ]


def test_headers_may_repeat() -> None:
    _, sent = render([b""], [(b"set-cookie", b"a"), (b"set-cookie", b"b")])
    assert head_lines(sent)[2:4] == [b"set-cookie: a", b"set-cookie: b"]


def test_names_that_an_application_makes_up_are_not_remembered_for_ever() -> None:
    made = defaults()
    for index in range(2000):
        Response("GET", "1.1", keep_alive=True).start(200, [(b"x-%d" % index, b"y")], made)
    assert len(made.known) <= 512


# Another reader


@given(
    parts=st.lists(st.binary(max_size=50), min_size=1, max_size=5),
    status=st.sampled_from([200, 204, 205, 299, 304, 404, 500]),
    method=st.sampled_from(["GET", "HEAD"]),
    declare=st.booleans(),
    keep_alive=st.booleans(),
    version=st.sampled_from(["1.0", "1.1"]),
)
def test_h11_reads_what_was_sent(  # noqa: PLR0913, RUF100 - the dimensions of a response
    parts: list[bytes], status: int, method: str, version: str, *, declare: bool, keep_alive: bool
) -> None:
    body = b"".join(parts)
    declared = [(b"content-length", b"%d" % len(body))] if declare and status not in (204, 205) else []
    response, sent = render(parts, declared, status=status, method=method, version=version, keep_alive=keep_alive)
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(sent)
    if not response.keep_alive:
        client.receive_data(b"")
    head = client.next_event()
    assert isinstance(head, h11.Response)
    assert head.status_code == status
    read = b""
    while isinstance(event := client.next_event(), h11.Data):
        read += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert read == (b"" if method == "HEAD" or status in (204, 205, 304) else body)
    assert client.trailing_data[0] == b""


@pytest.mark.parametrize("name", [b"x-name", b"content-type", b"connection", b"date", b"keep-alive", b"upgrade"])
@pytest.mark.parametrize("control", [*range(9), *range(10, 32), 127])
def test_no_header_value_has_a_control_character(name: bytes, control: int) -> None:
    with pytest.raises(InvalidResponseError):
        render([b""], [(name, b"a" + bytes([control]) + b"b")])


def test_a_tab_in_a_header_value_is_sent() -> None:
    assert b"x-name: a\tb\r\n" in render([b""], [(b"x-name", b"a\tb")])[1]


def test_an_upgrade_that_the_application_names_is_named_in_connection() -> None:
    headers = [(b"Connection", b"Upgrade"), (b"Upgrade", b"foo")]
    assert b"Upgrade: foo\r\nconnection: upgrade\r\n" in render([b""], headers, status=426)[1]
    assert b"connection" not in render([b""], [(b"Connection", b"Upgrade")], status=426)[1]


# Fields that have been sent before


_FIELDS: list[list[object]] = [
    [(b"content-type", b"text/plain"), (b"content-length", b"2")],
    [(b"Content-Type", b"text/plain"), (b"X-A", b"1"), (b"X-A", b"2")],
    [(b"content-length", b"2"), (b"content-length", b"2")],
    [(b"content-length", b"2"), (b"content-length", b"3")],
    [(b"connection", b"close"), (b"x", b"y")],
    [(b"transfer-encoding", b"chunked"), (b"x", b"y")],
    [(b"date", b"never"), (b"x", b"y")],
    [[b"content-type", b"text/plain"], (b"x", b"y")],
    [(b"x", b"a\r\nb: c")],
    [(b"x", b"y\n")],
    [(b"x", "y")],
    [(b"x", b"y", b"z")],
    [(b"x y", b"z")],
    [(b"x", bytearray(b"y"))],
    [(b"content-length", bytearray(b"2"))],
    [(b"x", b"y" * 500)],
]


@pytest.mark.parametrize("fields", _FIELDS)
def test_a_field_that_has_been_sent_before_is_sent_or_refused_as_at_first(fields: list[object]) -> None:
    shared = defaults()
    seen = [_start_and_end(shared, fields) for _ in range(3)]
    assert seen[0] == seen[1] == seen[2]
    for others in _FIELDS:
        _start_and_end(shared, others)
    assert _start_and_end(shared, fields) == seen[0]


def _start_and_end(shared: DefaultHeaders, fields: list[object]) -> object:
    response = Response("GET", "1.1", keep_alive=True)
    try:
        response.start(200, iter(fields), shared)  # type: ignore[arg-type]
    except (InvalidResponseError, ValueError) as error:
        return type(error), str(error)
    return response.data_to_send(b"ok", more=False), response.keep_alive, response.error


def test_fields_that_an_application_makes_up_are_not_remembered_without_end() -> None:
    shared = defaults()
    for number in range(5000):
        response = Response("GET", "1.1", keep_alive=True)
        response.start(200, [(b"x-request", b"%d" % number)], shared)
        assert b"x-request: %d\r\n" % number in response.data_to_send(b"", more=False)
    assert len(shared.fields) <= 1024


# Heads that come again


@st.composite
def answers(draw: st.DrawFn) -> tuple[str, str, bool, bool, int, Headers, list[bytes]]:
    """Method, version, whether the connection would stay and then does, status, headers, and the parts of a body."""
    method, version = draw(st.sampled_from(["GET", "GET", "HEAD"])), draw(st.sampled_from(["1.1", "1.1", "1.0"]))
    keeps, stays = draw(st.booleans()), draw(st.booleans())
    status = draw(st.sampled_from([200, 200, 404, 204, 205, 304, 599]))
    fields = [(b"content-length", b"5"), (b"content-length", b"0"), (b"a", b"b"), (b"A", b"c"), (b"server", b"own")]
    headers = draw(st.lists(st.sampled_from([*fields, (b"connection", b"close"), (b"a", b"x" * 900)]), max_size=3))
    return method, version, keeps, stays, status, headers, draw(st.sampled_from([[b"hello"], [b""], [b"he", b"llo"]]))


def send_all(
    made: DefaultHeaders, answer: tuple[str, str, bool, bool, int, Headers, list[bytes]]
) -> list[tuple[bytes, bool, bool, str | None, bytes, int] | str]:
    method, version, keeps, stays, status, headers, parts = answer
    response = Response(method, version, keep_alive=keeps)
    try:
        response.start(status, headers, made)
    except InvalidResponseError as error:
        return [str(error)]
    response.keep_alive = response.keep_alive and stays
    seen: list[tuple[bytes, bool, bool, str | None, bytes, int] | str] = []
    for index, part in enumerate(parts):
        data = response.data_to_send(part, more=index < len(parts) - 1)
        seen.append((data, response.complete, response.keep_alive, response.error, response.head, response.bytes_sent))
    return seen


@given(st.lists(answers(), min_size=1, max_size=4), st.integers(2, 4))
def test_an_answer_like_earlier_ones_is_sent_as_if_it_were_the_first(
    several: list[tuple[str, str, bool, bool, int, Headers, list[bytes]]], times: int
) -> None:
    old = DefaultHeaders(b"x")
    for second in range(times):
        for answer in several:
            old.render(NOW + second)
            new = DefaultHeaders(b"x")
            new.render(NOW + second)
            assert send_all(old, answer) == send_all(new, answer)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize(("keeps", "stays"), [(True, True), (False, True), (True, False)])
@pytest.mark.parametrize("parts", [[b"hello"], [b"he", b"llo"], [b"long body"], [b"hell"]])
@pytest.mark.parametrize("status", [200, 304])
def test_a_head_that_is_remembered_serves_every_answer_like_a_new_one(
    method: str, version: str, *, keeps: bool, stays: bool, parts: list[bytes], status: int
) -> None:
    old = defaults()
    headers = [(b"content-length", b"5"), (b"a", b"b")]
    for _ in range(3):
        send_all(old, ("GET", "1.1", True, True, status, headers, [b"hello"]))
    answer = method, version, keeps, stays, status, headers, parts
    assert send_all(old, answer) == send_all(defaults(), answer)


def test_of_heads_so_many_are_remembered_and_no_long_ones() -> None:
    made = defaults()
    for number in range(1100):
        for _ in range(2):
            Response("GET", "1.1", keep_alive=True).start(200, [(b"x", b"%d" % (number % 900)), (b"y", b"z")], made)
    assert len(made.heads) <= 512
    assert bool(made.heads) == FAST_PATHS
    for _ in range(3):
        Response("GET", "1.1", keep_alive=True).start(200, [(b"long", b"x" * 120)] * 20, made)
    assert all(len(known.head) < 1200 for known in made.heads.values())
