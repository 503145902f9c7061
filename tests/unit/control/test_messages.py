"""Messages between the master and a worker: they arrive as they were, and nothing else is taken for one."""

import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoothserve.control.channel import MAX_PACKET_BYTES
from smoothserve.control.messages import (
    KINDS,
    MAX_TEXT_BYTES,
    Accept,
    ControlError,
    Drain,
    Failed,
    Message,
    Unknown,
    parse_message,
    shorten,
)

VALUES: dict[type, st.SearchStrategy[Any]] = {
    str: st.text(),
    bool: st.booleans(),
    int: st.integers(),
    float: st.floats(allow_nan=False),
}
MESSAGES = st.sampled_from(sorted(KINDS.values(), key=lambda kind: kind.kind)).flatmap(
    lambda kind: st.builds(kind, **{field.name: VALUES[type(field.default)] for field in fields(kind)})
)


@given(MESSAGES)
def test_every_message_arrives_as_it_was(message: Message) -> None:
    assert parse_message(message.encode()) == message


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_are_a_message_or_one_error(packet: bytes) -> None:
    try:
        message = parse_message(packet)
    except ControlError:
        return
    assert isinstance(message, Message)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(min_value=10**308) | st.floats() | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=6,
)


@given(
    st.sampled_from([*sorted(KINDS), "", "unknown"]),
    st.dictionaries(st.sampled_from(sorted({f.name for kind in KINDS.values() for f in fields(kind)})), JSON),
)
def test_any_values_are_a_message_of_their_kind_or_one_error(kind: str, values: dict[str, Any]) -> None:
    try:
        message = parse_message(json.dumps({**values, "kind": kind}).encode())
    except ControlError:
        return
    assert isinstance(message, KINDS.get(kind, Unknown))
    for field in fields(message):
        assert type(getattr(message, field.name)) is type(field.default)


def test_deep_nesting_is_an_error() -> None:
    with pytest.raises(ControlError):
        parse_message(b"[" * 100_000)


def test_a_number_of_seconds_may_be_whole() -> None:
    assert parse_message(b'{"kind":"drain","timeout":3}') == Drain(timeout=3.0)


def test_a_number_of_seconds_beyond_all_bounds_is_an_error() -> None:
    with pytest.raises(ControlError):
        parse_message(b'{"kind":"drain","timeout":1%s}' % (b"0" * 400))


def test_fields_of_a_newer_version_are_ignored() -> None:
    assert parse_message(b'{"kind":"accept","soon":true}') == Accept()


def test_fields_of_a_newer_version_that_an_older_one_does_not_send_have_their_defaults() -> None:
    assert parse_message(b'{"kind":"drain"}') == Drain()


def test_a_kind_of_a_newer_version_is_unknown_and_no_error() -> None:
    assert parse_message(b'{"kind":"dance","to":"jazz"}') == Unknown(name="dance")


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"{}",
        b"[]",
        b'"ready"',
        b'{"kind":1}',
        b'{"kind":null}',
        b'{"kind":"drain","final":1}',
        b'{"kind":"drain","timeout":true}',
        b'{"kind":"drain","timeout":"1"}',
        b'{"kind":"handover-finished","left":true}',
        b'{"kind":"ready"',
        b"\xff\xfe\x00",
    ],
)
def test_what_is_no_message_is_an_error(packet: bytes) -> None:
    with pytest.raises(ControlError):
        parse_message(packet)


@pytest.mark.parametrize("letter", ["x", "\n", "\x1b", "ж", "漢", "😀", "\udc80", '"'])
def test_a_failure_fits_its_packet_whatever_the_application_says(letter: str) -> None:
    packet = Failed(reason=letter * 300_000, traceback=f"first{letter * 300_000}last").encode()
    assert len(packet) <= MAX_PACKET_BYTES
    message = parse_message(packet)
    assert isinstance(message, Failed)
    assert message.traceback.startswith("first")
    assert message.traceback.endswith("last")
    assert "[...]" in message.traceback


def test_a_traceback_of_ordinary_length_is_not_cut() -> None:
    text = "  File ...\n" * 1000
    assert shorten(text) is text


@given(st.text(max_size=300), st.integers(30, 200))
def test_a_shortened_text_is_as_short_as_asked_and_keeps_both_ends(text: str, limit: int) -> None:
    shortened = shorten(text, limit)
    if len(json.dumps(text)) <= limit:
        assert shortened == text
    else:
        head, _, tail = shortened.partition("\n  [...]\n")
        known = text.encode("utf-8", "replace").decode()
        assert known.startswith(head)
        assert known.endswith(tail)
        assert len(json.dumps(shortened)) <= limit


def test_two_texts_of_the_largest_size_fit_a_packet() -> None:
    assert 2 * MAX_TEXT_BYTES + 1024 <= MAX_PACKET_BYTES
