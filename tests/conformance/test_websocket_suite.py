"""The WebSocket suite finds what it is there to find: a server with each fault in turn, and one that checks nothing."""

import asyncio
import random
from collections import Counter
from dataclasses import replace

import pytest

from conformance.target import Target, parse_selection
from conformance.websocket import compression
from conformance.websocket.__main__ import main, render
from conformance.websocket.cases import Behaviour, Case, Closing
from conformance.websocket.deflate import Agreement, Deflate, parse_agreement
from conformance.websocket.runner import CASES, Options, Result, run, run_case, select
from conformance.websocket.wire import FrameReader, WireError
from tests.conformance.faulty_server import serving

PATIENCE = 20.0
SHORT = 0.3

OK, FAILED = Behaviour.OK, Behaviour.FAILED


def case(number: str) -> Case:
    return next(case for case in CASES if case.number == number)


def result_of(number: str, fault: str, patience: float = PATIENCE) -> Result:
    async def one() -> Result:
        async with serving(fault) as port:
            return await run_case(case(number), Options(Target("127.0.0.1", port), patience=patience, messages=5))

    return asyncio.run(one())


def test_all_cases_of_the_test_suite_are_there_once() -> None:
    groups = Counter(case.number.partition(".")[0] for case in CASES)
    assert groups == {
        "1": 16,
        "2": 11,
        "3": 7,
        "4": 10,
        "5": 20,
        "6": 145,
        "7": 37,
        "9": 54,
        "10": 1,
        "12": 90,
        "13": 126,
    }
    assert len({case.number for case in CASES}) == 517


@pytest.mark.parametrize(
    "number", ["1.1.8", "1.2.4", "2.4", "2.11", "5.5", "5.19", "6.2.3", "7.1.2", "9.7.2", "10.1.1"]
)
def test_a_server_that_echoes_passes_what_it_does_right(number: str) -> None:
    result = result_of(number, "")
    assert (result.behaviour, result.closing, result.detail) == (OK, Closing.OK, "")


@pytest.mark.parametrize(
    ("fault", "number", "behaviour", "closing"),
    [
        ("masks", "1.1.2", FAILED, Closing.UNCLEAN),
        ("wastes octets on lengths", "1.1.2", FAILED, Closing.UNCLEAN),
        ("sets reserved bits", "1.1.2", FAILED, Closing.UNCLEAN),
        ("turns text into binary", "1.1.2", FAILED, Closing.OK),
        ("adds to echoes", "1.1.2", FAILED, Closing.OK),
        ("adds to echoes", "9.7.2", FAILED, Closing.UNCLEAN),
        ("reverses pings", "2.2", FAILED, Closing.OK),
        ("sends behind its close frame", "2.2", FAILED, Closing.UNCLEAN),
        ("drops without closing", "1.1.2", OK, Closing.UNCLEAN),
        ("another code", "1.1.2", OK, Closing.WRONG_CODE),
        ("another code", "7.1.1", FAILED, Closing.WRONG_CODE),
        ("refuses", "1.1.1", FAILED, Closing.UNCLEAN),
        ("wrong accept", "1.1.1", FAILED, Closing.UNCLEAN),
        ("deflate unasked", "1.1.1", FAILED, Closing.UNCLEAN),
        ("window greater than asked", "13.3.1", FAILED, Closing.UNCLEAN),
        ("unknown parameter", "12.1.1", FAILED, Closing.UNCLEAN),
        ("", "12.1.1", Behaviour.UNIMPLEMENTED, Closing.OK),
    ],
)
def test_a_fault_is_found(fault: str, number: str, behaviour: Behaviour, closing: Closing) -> None:
    result = result_of(number, fault)
    assert (result.behaviour, result.closing) == (behaviour, closing), result
    assert result.detail or behaviour is Behaviour.UNIMPLEMENTED


def test_a_failure_without_a_close_frame_that_says_why_is_mute() -> None:
    dropped = result_of("7.9.1", "drops without closing")
    assert (dropped.behaviour, dropped.closing, dropped.mute, dropped.strict) == (OK, Closing.OK, True, False)
    assert not result_of("7.3.1", "").mute


def test_a_server_that_never_echoes_or_never_drops_is_found_out_after_the_patience() -> None:
    assert result_of("1.1.2", "echoes nothing", SHORT).behaviour is FAILED
    assert result_of("1.1.2", "leaves dropping to the client", SHORT).closing is Closing.NOT_DROPPED


def test_a_server_that_checks_nothing_fails_every_case_in_which_it_should_have_closed() -> None:
    # In 3.7 Autobahn is content with any close frame, so there is nothing to find.
    cases = [case for case in CASES if not case.ours and case.number != "3.7"]
    # The pauses of 6.4 are for servers that judge; this one is known.
    cases = [replace(case, script=case.script[:1]) if case.number.startswith("6.4") else case for case in cases]

    async def all_of_them() -> list[Result]:
        async with serving() as port:
            return await run(cases, Options(Target("127.0.0.1", port), patience=SHORT, concurrency=64))

    results = asyncio.run(all_of_them())
    assert len(results) == 104
    assert all(result.failed for result in results), [result for result in results if not result.failed]


def test_a_selection_names_cases_groups_and_patterns() -> None:
    def numbers(selection: str) -> list[str]:
        return [case.number for case in select(parse_selection(selection), quick=False)]

    assert numbers("2.1") == ["2.1"]
    assert numbers("10") == ["10.1.1"]
    assert numbers("1.*.1,3.7") == ["1.1.1", "1.2.1", "3.7"]
    assert numbers("8") == []


def test_quick_leaves_out_only_limits_and_compression() -> None:
    everything = {case.number for case in select(lambda number: True, quick=False)}
    left_out = everything - {case.number for case in select(lambda number: True, quick=True)}
    assert {number.partition(".")[0] for number in left_out} == {"9", "12", "13"}


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\x81\x80abcd", "masked"),
        (b"\x83\x00", "reserved opcode"),
        (b"\x91\x00", "reserved bits"),
        (b"\xc9\x00", "reserved bits"),
        (b"\x09\x00", "control frame"),
        (b"\x89\x7e\x00\x7e", "control frame"),
        (b"\x81\x7e\x00\x7d", "length"),
        (b"\x81\x7f" + (65535).to_bytes(8), "length"),
        (b"\x81\x7f" + (2**63).to_bytes(8), "length"),
    ],
)
def test_a_forbidden_frame_of_the_server_is_found(data: bytes, what: str) -> None:
    with pytest.raises(WireError, match=what):
        FrameReader(allowed_rsv=4).receive_data(data)


def test_frames_are_read_however_they_are_split() -> None:
    data = b"\x01\x03abc\x89\x00\x80\x7e\x00\x80" + b"x" * 128 + b"\x82\x7f" + (65536).to_bytes(8) + b"y" * 65536
    whole = FrameReader().receive_data(data)
    assert [(frame.opcode, len(frame.payload), frame.fin) for frame in whole] == [
        (1, 3, False),
        (9, 0, True),
        (0, 128, True),
        (2, 65536, True),
    ]
    reader = FrameReader()
    assert [frame for octet in data for frame in reader.receive_data(bytes([octet]))] == whole


OFFER = ("permessage-deflate; client_max_window_bits; server_max_window_bits=10",)


@pytest.mark.parametrize(
    "answer",
    [
        "permessage-deflate",  # leaves out the window that was asked for
        "permessage-deflate; server_max_window_bits=11",
        "permessage-deflate; server_max_window_bits=010",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
        "permessage-deflate; server_max_window_bits=10; client_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=10; x",
        "permessage-deflate; server_max_window_bits=10, permessage-deflate; server_max_window_bits=10",
        "x-webkit-deflate-frame",
    ],
)
def test_an_answer_that_fits_no_offer_is_refused(answer: str) -> None:
    with pytest.raises(WireError):
        parse_agreement(answer, OFFER)


def test_the_server_may_reset_its_context_and_limit_the_clients_window() -> None:
    answer = "permessage-deflate; server_max_window_bits=9; client_max_window_bits=11; server_no_context_takeover"
    assert parse_agreement(answer, OFFER) == Agreement(
        server_no_context_takeover=True, server_max_window_bits=9, client_max_window_bits=11
    )
    assert parse_agreement(None, OFFER) is None


def test_a_server_that_keeps_to_another_window_or_context_is_found_out() -> None:
    message = random.Random(9).randbytes(1000) * 2
    server = Deflate(Agreement())
    assert Deflate(Agreement()).inflate(server.compress(message)) == message
    with pytest.raises(WireError, match="inflate"):
        Deflate(Agreement(server_max_window_bits=9)).inflate(Deflate(Agreement()).compress(message))
    forgetful = Deflate(Agreement(server_no_context_takeover=True))
    assert forgetful.inflate(Deflate(Agreement()).compress(message)) == message
    with pytest.raises(WireError, match="inflate"):
        forgetful.inflate(server.compress(message))


@pytest.mark.parametrize("bits", range(8, 16))
def test_the_client_keeps_to_the_window_that_it_was_given(bits: int) -> None:
    message = compression.test_data("html")[:70_000]
    client = Deflate(Agreement(client_max_window_bits=bits))
    assert Deflate(Agreement(server_max_window_bits=bits)).inflate(client.compress(message)) == message


def test_the_test_data_is_of_its_size_and_text_is_ascii() -> None:
    for name, opcode in compression.DATA:
        assert len(compression.test_data(name)) > 190_000
        assert opcode == 2 or compression.test_data(name).isascii()


def test_the_exit_code_tells_failures_from_a_server_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    async def with_server(fault: str, *arguments: str) -> int:
        async with serving(fault) as port:
            return await asyncio.to_thread(main, [f"127.0.0.1:{port}", *arguments])

    assert asyncio.run(with_server("", "--cases", "1.1.2")) == 0
    assert asyncio.run(with_server("masks", "--cases", "1.1.2")) == 1
    assert "the server sent a masked frame" in capsys.readouterr().out
    assert asyncio.run(with_server("", "--cases", "12.1.1", "--messages", "3")) == 0
    assert asyncio.run(with_server("", "--cases", "12.1.1", "--strict")) == 1
    assert asyncio.run(with_server("", "--cases", "77")) == 2
    assert main(["127.0.0.1:1", "--cases", "1.1.2"]) == 2
    assert "no server at 127.0.0.1:1" in capsys.readouterr().err


def test_the_table_counts_by_group_and_names_what_is_not_right() -> None:
    good = Result("1.1.1", "a message", OK, Closing.OK, 1000, "", 0.1)
    loose = Result("3.2", "a message, then a bad one", Behaviour.NON_STRICT, Closing.OK, 1002, "expected more", 0.1)
    unclean = Result("2.1", "a ping", OK, Closing.UNCLEAN, None, "no close frame came", 0.1)
    lines = render([good, unclean, loose], 1.0).splitlines()
    assert [line.split()[-1] for line in lines if line.startswith((" 1", " 2", " 3"))] == ["1", "1", "1"]
    assert lines[-3:-1] == [
        "2.1      UNCLEAN       a ping: no close frame came",
        "3.2      NON-STRICT    a message, then a bad one: expected more",
    ]
