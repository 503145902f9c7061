"""Every codec makes of every stream of the corpus what it must, however the bytes arrive."""

import pytest

from smoothserve.protocol.events import Limits
from tests.unit.protocol.corpus import CASES, Case
from tests.unit.protocol.delivery import MakeCodec, deliver, single_bytes

_each_case = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def test_names_are_unique() -> None:
    names = [case.name for case in CASES]
    assert sorted({name for name in names if names.count(name) > 1}) == []


@_each_case
def test_whole(make_codec: MakeCodec, case: Case) -> None:
    assert deliver(make_codec(Limits()), [case.data]).summary() == case.expected


@_each_case
def test_byte_by_byte(make_codec: MakeCodec, case: Case) -> None:
    whole = deliver(make_codec(Limits()), [case.data])
    assert deliver(make_codec(Limits()), single_bytes(case.data)) == whole


@_each_case
def test_cut_in_two_at_every_place(make_codec: MakeCodec, case: Case) -> None:
    whole = deliver(make_codec(Limits()), [case.data])
    step = max(1, len(case.data) // 100)
    for place in range(0, len(case.data), step):
        assert deliver(make_codec(Limits()), [case.data[:place], case.data[place:]]) == whole, place


@_each_case
def test_answered_only_when_everything_has_come(make_codec: MakeCodec, case: Case) -> None:
    whole = deliver(make_codec(Limits()), [case.data])
    assert deliver(make_codec(Limits()), single_bytes(case.data), answer_at_once=False) == whole
    assert deliver(make_codec(Limits()), [case.data], answer_at_once=False) == whole
