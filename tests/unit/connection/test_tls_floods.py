"""What a client may do once its handshake is complete costs a bounded amount of memory and of the others' time."""

import asyncio
import contextlib
import hashlib
import hmac
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from smoothserve.connection.http import HTTPConnection
from smoothserve.connection.service import Timeouts
from smoothserve.connection.tls import RECORDS_PER_TURN, TLSTransport
from tests.certificates import Certificates
from tests.unit.connection.harness import TIMEOUT, serving, until
from tests.unit.connection.test_tls import certificates, echo, secured

__all__ = ["certificates"]

Run = Callable[[Coroutine[Any, Any, None]], None]


class Wire:
    """A blocking client that sees the bytes on the wire, and decides when they go."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(("127.0.0.1", port))
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self.first = b""
        """What the server has sent first."""
        while True:
            try:
                self.session.do_handshake()
            except ssl.SSLWantReadError:
                self.flush()
                data = self.sock.recv(65536)
                assert data
                self.first = self.first or data
                self._incoming.write(data)
            else:
                break
        self.flush()

    def flush(self) -> None:
        self.sock.sendall(self._outgoing.read())

    def write(self, data: bytes) -> None:
        self.session.write(data)

    def read(self) -> bytes:
        while True:
            try:
                return self.session.read(65536)
            except ssl.SSLWantReadError:
                data = self.sock.recv(65536)
                assert data
                self._incoming.write(data)

    def goodbye(self) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):
            self.session.unwrap()
        self.flush()


async def endless(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})


def test_what_follows_a_goodbye_is_thrown_away_and_no_time_out_minds_it(run: Run, certificates: Certificates) -> None:
    most = 0

    def conversation(port: int) -> None:
        client = Wire(port, certificates.client())
        client.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        client.flush()
        client.goodbye()
        with pytest.raises(OSError, match=r"(?i)reset|broken pipe"):
            while True:
                client.sock.sendall(b"junk" * 4096)
        client.sock.close()

    async def scenario() -> None:
        nonlocal most
        async with serving(endless, service_options=secured(certificates), timeouts=Timeouts(write=0.5)) as server:
            talking = asyncio.create_task(asyncio.to_thread(conversation, server.port))
            while not talking.done():
                for one in server.service.connections:
                    assert isinstance(one, HTTPConnection)
                    transport = one._transport
                    if isinstance(transport, TLSTransport):
                        most = max(most, transport._incoming.pending)
                await asyncio.sleep(0.01)
            await talking
            await until(lambda: not server.service.connections)
            assert "the client took nothing of its answer for 0.5 s" in server.log

    run(scenario())
    # One read, at the most, was on its way to be decrypted.
    assert most <= 262_144


def test_many_tiny_records_leave_others_their_turn(
    run: Run, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 5000
    turn = 0
    delivered: Counter[int] = Counter()
    receive_data = HTTPConnection.data_received

    def counting(self: HTTPConnection, data: bytes) -> None:
        delivered[turn] += 1
        receive_data(self, data)

    async def ticking() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    def conversation(port: int) -> None:
        client = Wire(port, certificates.client())
        client.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % count)
        for _ in range(count):
            client.write(b"b")
        client.flush()
        answer = b""
        while len(answer) < count or not answer.endswith(b"b" * count):
            answer += client.read()
        # What is paused for a turn goes on, and so does the connection.
        client.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nc")
        client.flush()
        while not answer.endswith(b"c"):
            answer += client.read()
        client.sock.close()

    async def scenario() -> None:
        async with serving(echo, service_options=secured(certificates)) as server:
            ticker = asyncio.create_task(ticking())
            await asyncio.to_thread(conversation, server.port)
            ticker.cancel()

    monkeypatch.setattr(HTTPConnection, "data_received", counting)
    run(scenario())
    assert sum(delivered.values()) > count
    # What has come may be delivered at the end of one turn and at the beginning of the next.
    assert max(delivered.values()) <= 2 * RECORDS_PER_TURN


def expand(secret: bytes, seed: bytes, size: int) -> bytes:
    """The pseudorandom function of TLS 1.2 (RFC 5246 section 5)."""
    out, step = b"", seed
    while len(out) < size:
        step = hmac.new(secret, step, hashlib.sha256).digest()
        out += hmac.new(secret, step + seed, hashlib.sha256).digest()
    return out[:size]


def test_a_client_that_goes_on_to_renegotiate_and_takes_no_answer_is_parted_with(
    run: Run, certificates: Certificates, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"

    def conversation(port: int) -> None:
        context = certificates.client(maximum_version=ssl.TLSVersion.TLSv1_2)
        context.set_ciphers("ECDHE+AESGCM+AES128")
        context.keylog_filename = str(keys)
        client = Wire(port, context)
        words = [line for line in keys.read_text().splitlines() if line.startswith("CLIENT_RANDOM ")][-1].split()
        client_random, master = bytes.fromhex(words[1]), bytes.fromhex(words[2])
        # Its ServerHello: behind the headers of the record and the message, and the version.
        server_random = client.first[11:43]
        block = expand(master, b"key expansion" + server_random + client_random, 40)
        cipher, salt = AESGCM(block[:16]), block[32:36]
        hello_request_size = 4

        def record(number: int) -> bytes:
            nonce = struct.pack(">Q", number)
            text = b"\x01\0\0\0"  # a ClientHello, and an empty one at that
            extra = nonce + b"\x16\x03\x03" + struct.pack(">H", hello_request_size)
            sealed = cipher.encrypt(salt + nonce, text, extra)
            return b"\x16\x03\x03" + struct.pack(">H", 8 + len(sealed)) + nonce + sealed

        with pytest.raises(OSError, match=r"(?i)reset|broken pipe"):
            for start in range(1, 400_000, 500):
                client.sock.sendall(b"".join(map(record, range(start, start + 500))))
        client.sock.close()

    async def scenario() -> None:
        async with serving(echo, service_options=secured(certificates)) as server:
            talking = asyncio.create_task(asyncio.to_thread(conversation, server.port))
            await until(lambda: talking.done() or bool(server.service.connections))
            for one in server.service.connections:
                assert isinstance(one, HTTPConnection)
                # The system would take megabytes.
                sock = one._transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            await talking
            await until(lambda: server.service.empty)
            assert "takes no answer" in server.log

    run(scenario())
