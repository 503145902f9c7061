"""Every kept input, and a short fresh run of fixed chance, keep the contract of their target."""

import random

import pytest

from smoothserve.protocol.forwarded import Client, Forwarding, parse_address
from tests.fuzz.corpus_files import load_corpus
from tests.fuzz.mutator import Finding, HangError, fuzz, no_hang, run_one
from tests.fuzz.targets import TARGETS

_each_target = pytest.mark.parametrize("name", TARGETS)


@_each_target
def test_any_bytes_are_accepted_or_rejected(name: str) -> None:
    corpus = load_corpus(name)
    assert corpus, "a target without a kept corpus"
    fuzz(TARGETS[name], corpus, random.Random(1), runs=500)


@pytest.mark.full(only="3.13")
@pytest.mark.timeout(300)
@_each_target
def test_any_bytes_are_accepted_or_rejected_at_length(name: str) -> None:
    fuzz(TARGETS[name], load_corpus(name), random.Random(), seconds=20)


def test_a_target_that_breaks_its_contract_is_found_out() -> None:
    def broken(data: bytes) -> None:
        if b"\0" in data:
            raise KeyError(data)

    with pytest.raises(Finding):
        fuzz(broken, [b"seed"], random.Random(1), runs=5000)


def test_an_address_that_anybody_may_have_written_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def leftmost(self: Forwarding, header: bytes, hops: list[bytes], client: Client) -> tuple[Client, int]:
        return parse_address(hops[0].decode("latin-1")) or client, 0

    monkeypatch.setattr(Forwarding, "_walk", leftmost)
    with pytest.raises(Finding):
        fuzz(TARGETS["forwarded"], load_corpus("forwarded"), random.Random(1), runs=500)


def test_a_hang_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def hanging(data: bytes) -> None:
        while True:
            pass

    monkeypatch.setattr("tests.fuzz.mutator.HANG_TIMEOUT", 0.2)
    with pytest.raises(Finding) as found:
        run_one(hanging, b"")
    assert isinstance(found.value.__cause__, HangError)


def test_the_alarm_is_taken_back() -> None:
    with no_hang():
        pass
