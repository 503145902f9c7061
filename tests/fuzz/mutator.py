"""A mutating fuzzer that keeps what reaches new lines: small, of our own, since no other installs everywhere.

On CPython 3.12 and later `sys.monitoring` tells which lines of the package an input is the first to reach, at no cost
once they have been seen; on 3.11 it mutates without that knowledge.
"""

import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

from tests.fuzz.targets import Target

#: Seconds that one input may take before it counts as a hang.
HANG_TIMEOUT = 10.0
MAX_BYTES = 4096

#: What parsers look for: inserted as a whole, since chance would seldom spell it.
DICTIONARY: tuple[bytes, ...] = (
    b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b": ", b";", b",", b"=", b'"', b"\\", b"#", b"?",
    b"%",     b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"POST /p HTTP/1.1\r\nHost: a\r\n",
    b"HTTP/1.0", b"HTTP/2.0", b"CONNECT a:1",
    b"OPTIONS * ", b"http://b/", b"Host: ", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n", b"Connection: close\r\n", b"Connection: upgrade, keep-alive\r\n",
    b"Upgrade: websocket\r\n", b"Expect: 100-continue\r\n", b"0\r\n\r\n", b"3\r\nabc\r\n", b'3;a="b"\r\n', b"ffffffff",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"Cookie: ", b"[::1]", b"\xff\xfe", b"\xc3\xa9",
    b'{"kind":"http"}', b'{"kind":"drain","timeout":1}', b'"requests":', b'"idle":', b'"client":["::1",1]', b"Infinity",
    b"NaN", b"-1", b"1e400", b"9" * 30, b"null", b"true", b"{}", b"[]", b"\\ud800", b'{"version":1}',
    b"\x01\0\0\0\0", b"\x02\0\0\0\x01", b"\x03\0\0\0\x01", b"\x04\0\0\0\x01", b"\x05\0\0\0\x01", b"\x06\0\0\0\x01",
    b"\x81\x83\0\0\0\0abc", b"\x01\x81\0\0\0\0a", b"\x80\x81\0\0\0\0b", b"\x89\x80\0\0\0\0",
    b"\x88\x82\0\0\0\0\x03\xe8",
    b"\xc1\x83\0\0\0\0KL\x04\0", b"\x82\xfe\x01\0\0\0\0\0", b"\x82\xff\0\0\0\0\0\0\x01\0\0\0\0\0",
    b"sec-websocket-version:13\nsec-websocket-key:dGhlIHNhbXBsZSBub25jZQ==\n", b"sec-websocket-protocol:",
    b"sec-websocket-extensions:permessage-deflate; client_max_window_bits=9",
    b'{"kind":"websocket","deflate":{}}',
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", b"PROXY TCP6 ::1 ::2 1 65535\r\n", b"PROXY UNKNOWN\r\n",
    b"\r\n\r\n\x00\r\nQUIT\n", b"\x21\x11\x00\x0c", b"\x21\x21\x00\x24", b"\x20\x00\x00\x00",
    b"\x07\0\0\0\0", b"\x08\0\0\0\x05",
    b"\x81\x85\0\0\0\0hello", b"\x82\x80abcd", b"\x01\x81\0\0\0\0\xc3", b"\x00\x80\0\0\0\0", b"\x80\x81\0\0\0\0\xa9",
    b"\x89\x80\0\0\0\0", b"\x8a\x82\0\0\0\0hi", b"\x88\x80\0\0\0\0", b"\x88\x82\0\0\0\0\x03\xe8",
    b"\x88\x83\0\0\0\0\x0f\xa0!",
    b"\x81\xfe\0\x7e\0\0\0\0", b"\x82\xff\0\0\0\0\0\1\0\0\0\0\0\0",
    b"\xc1\x87\0\0\0\0\xf2\x48\xcd\xc9\xc9\x07\0", b"\xc2\x82\0\0\0\0\x03\0",
    b"\x41\x83\0\0\0\0\xf2\x48\xcd", b"\xf0\x9f\x98\x80", b"\xed\xa0\x80", b"permessage-deflate",
    b"; client_max_window_bits", b"; server_max_window_bits=", b"; server_no_context_takeover",
    b"; client_no_context_takeover",
    b"\nx-forwarded-for:", b"\nx-forwarded-proto:https", b"\nx-forwarded-host:", b"\nx-forwarded-port:443",
    b"\nx-forwarded-prefix:/", b"\nforwarded:for=", b"10.0.0.2", b"203.0.113.7:80", b"[2001:db8::1]:443", b"unix:",
    b"unknown", b"_hidden", b";proto=https", b";host=", b"::ffff:10.0.0.1", b"fe80::1%eth0",
)  # fmt: skip


class HangError(Exception):
    """An input took longer than `HANG_TIMEOUT`."""


def mutate(chance: random.Random, corpus: Sequence[bytes]) -> bytes:
    """Make a new input of one or two of the corpus."""
    data = bytearray(chance.choice(corpus))
    for _ in range(1 << chance.randrange(4)):
        at = chance.randrange(len(data) + 1)
        how = chance.randrange(8)
        if how == 0:
            data[at:at] = chance.choice(DICTIONARY)
        elif how == 1:
            data[at : at + 1] = bytes([chance.randrange(256)])
        elif how == 2:
            del data[at : at + chance.randrange(1, 9)]
        elif how == 3:
            data[at:at] = data[at : at + chance.randrange(1, 65)]
        elif how == 4 and at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        elif how == 5:
            other = chance.choice(corpus)
            begin = chance.randrange(len(other) + 1)
            data[at:] = other[begin:]
        elif how == 6:
            token = chance.choice(DICTIONARY)
            data[at : at + len(token)] = token
        else:
            data[at:at] = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 5)))
    return bytes(data[:MAX_BYTES])


class Coverage:
    """Counts the lines of the package that have been reached for the first time."""

    def __init__(self) -> None:
        self.lines = 0
        self._disable: object = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch lines for as long as the context lasts. Nothing is seen before CPython 3.12."""
        monitoring: Any = getattr(sys, "monitoring", None)
        if monitoring is None:
            yield
            return
        self._disable = monitoring.DISABLE
        tool = 4
        monitoring.use_tool_id(tool, "smoothserve-fuzz")
        monitoring.register_callback(tool, monitoring.events.LINE, self._reach)
        monitoring.set_events(tool, monitoring.events.LINE)
        try:
            yield
        finally:
            monitoring.set_events(tool, 0)
            monitoring.register_callback(tool, monitoring.events.LINE, None)
            monitoring.free_tool_id(tool)

    def _reach(self, code: CodeType, line: int) -> object:
        if "smoothserve/" in code.co_filename:
            self.lines += 1
        return self._disable


@contextmanager
def no_hang() -> Iterator[None]:
    """Raise `HangError` in the main thread once `HANG_TIMEOUT` has passed."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise HangError(f"an input took longer than {HANG_TIMEOUT} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, HANG_TIMEOUT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Finding(Exception):  # noqa: N818 - what a fuzzer has found is called a finding
    """An input that breaks the contract: `data`, and the exception as the cause."""

    def __init__(self, data: bytes) -> None:
        super().__init__(repr(data))
        self.data = data


def run_one(target: Target, data: bytes) -> None:
    """Try one input. Raise `Finding` if it breaks the contract."""
    try:
        with no_hang():
            target(data)
    except Exception as error:
        raise Finding(data) from error


def fuzz(
    target: Target,
    corpus: list[bytes],
    chance: random.Random,
    *,
    runs: int | None = None,
    seconds: float | None = None,
    keep: Callable[[bytes], None] = lambda data: None,
) -> int:
    """Try the corpus, then what is made of it; return the number of runs. Raise `Finding` at the first one.

    What reaches new lines joins the corpus (the list grows) and goes to `keep`.
    """
    coverage = Coverage()
    ends_at = None if seconds is None else time.monotonic() + seconds
    corpus = corpus or [b""]
    done = 0
    with coverage.watching():
        for data in list(corpus):
            run_one(target, data)
        while (runs is None or done < runs) and (ends_at is None or time.monotonic() < ends_at):
            data = mutate(chance, corpus)
            before = coverage.lines
            run_one(target, data)
            done += 1
            if coverage.lines > before:
                corpus.append(data)
                keep(data)
    return done
