"""Clients that mean no good: many connections that hold on to what a server has, driven by one selector."""

import contextlib
import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from tests.load.connection import Target

#: How often a dripping attacker sends another byte.
DRIP_INTERVAL = 0.2


@dataclass(frozen=True)
class Attack:
    """What each connection sends at first, what it drips then, and whether it reads."""

    name: str
    opening: bytes
    drip: bytes = b""
    reads: bool = True


SLOWLORIS = Attack("slowloris", b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ", b"a")
SLOW_BODY = Attack("slow body", b"POST /echo/a HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", b"a")
SILENT_BODY = Attack("silent body", b"POST /echo/a HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nab")
SILENT = Attack("silent", b"")
IDLE = Attack("idle", b"GET /echo/a HTTP/1.1\r\nHost: x\r\n\r\n")
#: The answer is larger than what the system's buffers hold.
SLOW_READER = Attack(
    "slow reader",
    b"POST /echo/a HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n" + b"x" * 8_000_000,
    reads=False,
)


class Attackers:
    """`count` connections that attack. Use it as a context; `run` until a condition, then see what is `left`."""

    def __init__(self, target: Target, attack: Attack, count: int) -> None:
        self._attack = attack
        self._selector = selectors.DefaultSelector()
        self._next_drip = 0.0
        self.answers: list[bytes] = []
        """What each attacker whose connection has ended had got."""
        self._got: dict[socket.socket, bytes] = {}
        for _ in range(count):
            sock = socket.socket()
            if not attack.reads:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
            sock.settimeout(20)
            sock.connect((target.host, target.port))
            if attack.opening:
                sock.sendall(attack.opening)
            sock.setblocking(False)
            self._got[sock] = b""
            # Who does not read still notices a reset.
            self._selector.register(sock, selectors.EVENT_READ if attack.reads else selectors.EVENT_WRITE)

    @property
    def left(self) -> int:
        """How many connections the server has not ended."""
        return len(self._got)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for sock in self._got:
            sock.close()
        self._selector.close()

    def run_for(self, seconds: float) -> None:
        """Attack for a while."""
        ends_at = time.monotonic() + seconds
        self.run(lambda: time.monotonic() > ends_at, seconds + 60.0)

    def run(self, until: Callable[[], bool], timeout: float) -> float:
        """Attack until the condition is met; return the seconds it took. Fail after `timeout`."""
        began = time.monotonic()
        while not until():
            assert time.monotonic() - began < timeout, f"{self.left} {self._attack.name} left after {timeout} s"
            if self._attack.reads:
                for key, _ in self._selector.select(0.05):
                    assert isinstance(key.fileobj, socket.socket)
                    self._read(key.fileobj)
            else:
                time.sleep(0.05)
                for sock in list(self._got):
                    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                        self._end(sock)
            if self._attack.drip and time.monotonic() > self._next_drip:
                self._next_drip = time.monotonic() + DRIP_INTERVAL
                for sock in list(self._got):
                    with contextlib.suppress(OSError):
                        sock.send(self._attack.drip)
        return time.monotonic() - began

    def _read(self, sock: socket.socket) -> None:
        try:
            data = sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._got[sock] += data
        if not data:
            self._end(sock)

    def _end(self, sock: socket.socket) -> None:
        self._selector.unregister(sock)
        self.answers.append(self._got.pop(sock))
        sock.close()
