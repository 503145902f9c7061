"""What only the codec on httptools could get wrong: its parsers serve many connections in turn."""

import gc
import tracemalloc

import pytest

from smoothserve.protocol import httptools_codec
from smoothserve.protocol.events import Codec, Limits
from smoothserve.protocol.httptools_codec import HttptoolsCodec
from tests.unit.protocol.corpus import CASES, Case, get
from tests.unit.protocol.delivery import deliver


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_stream_leaves_nothing_for_the_next_connection(case: Case) -> None:
    deliver(HttptoolsCodec(Limits()), [case.data])
    mark = get(b"/mine", b"X: y", version=b"HTTP/1.0")
    served = deliver(HttptoolsCodec(Limits()), [mark]).served
    assert [(one.request[2], one.request[5]) for one in served] == [(b"/mine", ((b"host", b"a"), (b"x", b"y")))]


@pytest.mark.parametrize("byte", range(256))
def test_the_quick_look_at_a_request_line_decides_as_the_careful_one(byte: int) -> None:
    """The quick one leaves the target's bytes to llhttp; a head that is one byte too long is judged without it."""
    data = get(b"/a%bb?c%bd" % (bytes([byte]), bytes([byte])))
    quick = deliver(HttptoolsCodec(Limits()), [data]).refused
    careful = deliver(HttptoolsCodec(Limits(head_bytes=len(data) - 1)), [data]).refused
    assert careful == (quick or 431)


def test_connections_in_turn_do_not_disturb_each_other() -> None:
    codecs: list[Codec] = [HttptoolsCodec(Limits()) for _ in range(10)]
    data = get(b"/", b"Content-Length: 2") + b"ab"
    for index in range(len(data)):
        for codec in codecs:
            codec.receive_data(data[index : index + 1])
    for codec in codecs:
        assert [event for event in codec.events if isinstance(event, bytes)] == [b"a", b"b"]


def test_names_that_clients_make_up_are_not_remembered_for_ever() -> None:
    def flood(begin: int) -> None:
        for index in range(begin, begin + 3000):
            deliver(HttptoolsCodec(Limits()), [get(b"/", b"X-%d-%b: y" % (index, b"z" * 500), b"X-%d: y" % index)])

    flood(0)
    gc.collect()
    tracemalloc.start()
    flood(3000)
    gc.collect()
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 100_000


def test_a_codec_is_freed_without_the_garbage_collector() -> None:
    codec = HttptoolsCodec(Limits())
    codec.receive_data(get() + get())
    gc.collect()
    gc.disable()
    try:
        del codec
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_idle_parsers_are_few() -> None:
    before = len(httptools_codec._idle_readers)
    for _ in range(100):
        deliver(HttptoolsCodec(Limits()), [get(), get(b"/", b"Content-Length: 1"), b"a"])
    assert len(httptools_codec._idle_readers) <= max(before, 1)
