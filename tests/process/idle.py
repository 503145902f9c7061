"""Many keep-alive connections without an event loop: all ask at once, and then all are idle.

The load client tells what became of requests; this tells what became of connections that have none.
"""

import contextlib
import re
import selectors
import socket
import time
from collections import Counter
from typing import Self

from tests.load.answers import AnswerError, AnswerReader
from tests.load.connection import Target

#: Connections opened at a time: a listener's queue is not what is tested.
BURST = 200
FIRST_LINE = re.compile(rb"(\S+) (\d+) (\S+)\n")


class IdleClients:
    """`count` connections to a server. Use it as a context: leaving it closes them."""

    def __init__(self, target: Target, count: int) -> None:
        self._target = target
        self._asked = 0
        self.lost = 0
        """Connections that were closed or reset by the server, however."""
        self.connections: list[socket.socket] = []
        with contextlib.ExitStack() as stack:
            stack.callback(self.close)
            for _ in range(0, count, BURST):
                new = [self._connect() for _ in range(min(BURST, count - len(self.connections)))]
                self.connections += new
                self.ask(of=new)
            stack.pop_all()

    def _connect(self) -> socket.socket:
        if not self._target.path:
            return socket.create_connection((self._target.host, self._target.port), timeout=10)
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(10)
        sock.connect(self._target.path)
        return sock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        for sock in self.connections:
            sock.close()

    def ask(self, timeout: float = 20.0, *, of: list[socket.socket] | None = None) -> Counter[tuple[str, int]]:
        """Send a request on each connection (`of` these); return how many answers came from each (version, process).

        A connection that has ended, or ends instead of an answer, counts as lost. Raise `TimeoutError` for a silent
        one.
        """
        waiting = {sock: AnswerReader() for sock in list(self.connections if of is None else of) if self._send(sock)}
        answers: Counter[tuple[str, int]] = Counter()
        deadline = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            for sock in waiting:
                selector.register(sock, selectors.EVENT_READ, sock)
            while waiting:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{len(waiting)} of {len(self.connections)} connections got no answer")
                for key, _ in selector.select(0.2):
                    sock = key.data
                    if not self._receive(sock, waiting[sock], answers):
                        selector.unregister(sock)
                        del waiting[sock]
        return answers

    def versions(self, timeout: float = 20.0) -> dict[str, int]:
        """Ask on each connection; return how many answers came from each version."""
        versions: Counter[str] = Counter()
        for (version, _), count in self.ask(timeout).items():
            versions[version] += count
        return dict(versions)

    def _send(self, sock: socket.socket) -> bool:
        self._asked += 1
        try:
            sock.sendall(b"GET /echo/%d HTTP/1.1\r\nHost: a\r\n\r\n" % self._asked)
        except OSError:
            self._lose(sock)
            return False
        return True

    def _receive(self, sock: socket.socket, reader: AnswerReader, answers: Counter[tuple[str, int]]) -> bool:
        """Take what has come. Return whether more is waited for."""
        try:
            data = sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._lose(sock)
            return False
        reader.receive_data(data)
        if not reader.answers or not reader.answers[0].complete:
            return True
        match = FIRST_LINE.match(reader.answers[0].body)
        if match is None or len(reader.answers) > 1 or reader.answers[0].status != 200:
            raise AnswerError(f"not the answer that was asked for: {data!r}")
        answers[match[1].decode(), int(match[2])] += 1
        if reader.answers[0].closes:
            self._lose(sock)
        return False

    def _lose(self, sock: socket.socket) -> None:
        self.lost += 1
        self.connections.remove(sock)
        sock.close()
