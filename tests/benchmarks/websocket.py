"""Microseconds that a WebSocket codec takes for an echo, and unmasking: `python -m tests.benchmarks.websocket`."""

import sys
import timeit
from collections.abc import Callable

from smoothserve.protocol.websocket.codecs import codec_factory
from smoothserve.protocol.websocket.masking import in_c, unmask_in_python
from tests.property.frames import frame

SIZES = (16, 64, 1024, 4096, 65536)
MASK = b"\x12\x34\x56\x78"


def best(call: Callable[[], object]) -> float:
    """Return the microseconds for a call, in the best of some rounds."""
    times, _ = timeit.Timer(call).autorange()
    return min(timeit.repeat(call, number=times, repeat=5)) / times * 1e6


def measure(name: str, size: int) -> float:
    """Return the microseconds for a text message in and out."""
    make = codec_factory(name)
    assert make is not None
    codec = make(2**24)
    data = frame(0x81, b"x" * size, MASK)

    def echo() -> None:
        codec.receive_data(data)
        text = codec.next_event()
        assert isinstance(text, str)
        codec.render_text(text)
        codec.next_event()

    return best(echo)


def main() -> None:
    """Print the table."""
    for name in sys.argv[1:] or ("fast", "wsproto"):
        for size in SIZES:
            print(f"{name:8}  {size:6} bytes  {measure(name, size):8.2f} us")
    for title, unmask in (("in C", in_c), ("in Python", unmask_in_python)):
        for size in SIZES:
            if unmask is not None:
                payload = b"x" * size
                print(f"{title:9} {size:6} bytes  {best(lambda: unmask(payload, MASK)):8.2f} us")  # noqa: B023


if __name__ == "__main__":
    main()
