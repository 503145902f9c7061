"""The chunked decoder by itself: parts, what follows, and no more work than the bytes are worth."""

import time

import pytest

from smoothserve.protocol.chunked import MAX_CHUNK_LINE_BYTES, ChunkedDecoder
from smoothserve.protocol.events import Limits


def decode(*pieces: bytes) -> tuple[bytes, ChunkedDecoder]:
    decoder = ChunkedDecoder(Limits())
    return b"".join([decoder.receive_data(piece) for piece in pieces]), decoder


def test_a_body_is_given_as_it_comes() -> None:
    decoder = ChunkedDecoder(Limits())
    assert decoder.receive_data(b"5\r\nab") == b"ab"
    assert decoder.receive_data(b"c") == b"c"
    assert decoder.receive_data(b"de") == b"de"
    assert decoder.receive_data(b"\r\n0\r\n") == b""
    assert not decoder.complete
    assert decoder.receive_data(b"\r\n") == b""
    assert decoder.complete


def test_what_follows_the_body_is_left_alone() -> None:
    body, decoder = decode(b"1\r\na\r\n0\r\nX: y\r\n\r\n\r\nGET /")
    assert (body, decoder.complete, decoder.rest) == (b"a", True, b"\r\nGET /")


def test_what_came_before_a_fault_is_given() -> None:
    body, decoder = decode(b"3\r\nabcX")
    assert body == b"abc"
    assert decoder.malformed is not None
    assert not decoder.complete


@pytest.mark.parametrize("line", [b"1;" + b"a" * (MAX_CHUNK_LINE_BYTES - 4), b"0" * (MAX_CHUNK_LINE_BYTES - 3) + b"1"])
def test_a_chunk_line_may_be_as_long_as_the_limit(line: bytes) -> None:
    assert decode(line + b"\r\na\r\n0\r\n\r\n")[1].complete
    assert decode(line + b"1\r\na\r\n0\r\n\r\n")[1].malformed is not None


@pytest.mark.parametrize(
    "line",
    [
        b"1" + b";a" * 2000 + b"=",
        b"1" + b" " * 4000 + b"x",
        b'1;a="' + b"\\" * 4000,
        b"1" + b" ;a" * 1300 + b"\x00",
        b"1" + b"; a = b " * 500,
    ],
)
def test_no_extension_makes_the_decoder_slow(line: bytes) -> None:
    began = time.process_time()
    for _ in range(20):
        assert decode(line + b"\r\n")[1].malformed is not None
    assert time.process_time() - began < 1.0


def test_many_small_chunks_take_time_in_proportion() -> None:
    data = b"1\r\na\r\n" * 50_000
    began = time.process_time()
    body, _ = decode(data)
    assert len(body) == 50_000
    assert time.process_time() - began < 2.0
