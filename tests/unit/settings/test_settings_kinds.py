"""Kinds of values: what text becomes, what a file may hold, what is refused and how that is said."""

import datetime as dt
from typing import Any

import pytest

from smoothserve.settings.kinds import Choice, Kind, NotAllowedError, Seconds, Several, Switch, Text, Whole, show

UPPER = Text("NAME", "a name", str.upper)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Switch(), "1", True),
        (Switch(), "Yes", True),
        (Switch(), " on ", True),
        (Switch(), "0", False),
        (Switch(), "FALSE", False),
        (Whole(1, 256), "1", 1),
        (Whole(1, 256), " 256 ", 256),
        (Whole(-5, 5), "-5", -5),
        (Seconds(), "75", 75.0),
        (Seconds(), "0", 0.0),
        (Seconds(), ".5", 0.5),
        (Seconds(), "1.25", 1.25),
        (Choice(("auto", "h11")), "H11", "h11"),
        (UPPER, "abc", "ABC"),
        (Several(UPPER, ","), "a, b,,c", ["A", "B", "C"]),
        (Several(UPPER, "\n"), "a, b\nc\n", ["A, B", "C"]),
    ],
)
def test_text_becomes_a_value(kind: Kind, text: str, value: Any) -> None:
    assert kind.parse(text) == value
    assert type(kind.parse(text)) is type(value)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Switch(), "maybe"),
        (Switch(), ""),
        (Whole(1, 256), "0"),
        (Whole(1, 256), "257"),
        (Whole(1, 256), "1.0"),
        (Whole(1, 256), "1_0"),
        (Whole(1, 256), "\u0661"),
        (Whole(1, 256), "9" * 5000),
        (Whole(1, 256), ""),
        (Seconds(), "-1"),
        (Seconds(), "nan"),
        (Seconds(), "inf"),
        (Seconds(), "1e3"),
        (Seconds(), "5s"),
        (Seconds(), "."),
        (Seconds(0, 1), "1.1"),
        (Seconds(above_minimum=True), "0"),
        (Choice(("auto", "h11")), "h12"),
        (UPPER, "a\0b"),
        (Several(UPPER, ",", is_set=True), ","),
        (Several(UPPER, ",", is_set=True), "a,A"),
    ],
)
def test_text_that_is_not_allowed_is_refused(kind: Kind, text: str) -> None:
    with pytest.raises(NotAllowedError):
        kind.parse(text)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Switch(), "true"),
        (Switch(), 1),
        (Whole(0, 9), "1"),
        (Whole(0, 9), True),
        (Whole(0, 9), 1.0),
        (Seconds(), "1"),
        (Seconds(), True),
        (Seconds(), float("nan")),
        (Seconds(), float("inf")),
        (Choice(("auto",)), 1),
        (UPPER, 1),
        (UPPER, ["a"]),
        (Several(UPPER, ","), 1),
        (Several(UPPER, ","), [1]),
        (Several(UPPER, ","), {"a": "b"}),
        (Several(UPPER, ",", is_set=True), []),
    ],
)
def test_a_value_of_a_wrong_type_in_a_file_is_refused(kind: Kind, value: Any) -> None:
    with pytest.raises(NotAllowedError):
        kind.check(value)


def test_a_whole_number_of_seconds_becomes_a_float() -> None:
    assert type(Seconds().check(5)) is float


def test_a_number_where_a_choice_is_meant_is_told_to_go_in_quotes() -> None:
    with pytest.raises(NotAllowedError, match="quotes"):
        Choice(("2.3", "2.5")).check(2.5)


def test_a_single_string_is_a_list_of_one() -> None:
    assert Several(UPPER, ",").check("a,b") == ["A,B"]


def test_the_bad_item_of_several_is_named() -> None:
    digits = Several(Text("N", "digits", lambda text: text if text.isdigit() else _refuse()), ",")
    with pytest.raises(NotAllowedError, match='has a bad item: "x" is not digits'):
        digits.check(["1", "x"])
    with pytest.raises(NotAllowedError, match=r"\Ais not digits"):
        digits.check(["x"])


def _refuse() -> str:
    raise NotAllowedError("is not digits")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a", '"a"'),
        ("a\nb", '"a\\nb"'),
        ("\x1b[0m\x7f", '"\\u001b[0m\\u007f"'),
        (True, "true"),
        (["a", 1], '["a", 1]'),
        (dt.date(2026, 1, 2), "2026-01-02"),
        ("x" * 200, '"' + "x" * 79 + "..."),
    ],
)
def test_a_value_is_shown_on_one_line(value: Any, shown: str) -> None:
    assert show(value) == shown


def test_a_list_that_splits_takes_several_in_one_item() -> None:
    kind = Several(UPPER, ",", splits=True)
    assert kind.check(["a, b", "c"]) == kind.check("a,b,c") == kind.parse("a,b,c") == ["A", "B", "C"]
    assert kind.check([""]) == []


def test_an_item_of_a_set_may_be_there_twice_if_its_end_says_so() -> None:
    kind = Several(UPPER, ",", is_set=True, twice_if_ends=":0")
    assert kind.parse("A:0,A:0") == ["A:0", "A:0"]
    with pytest.raises(NotAllowedError, match="twice"):
        kind.parse("A:1,A:1")
