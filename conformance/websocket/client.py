"""One connection of a frame-level client: it does the steps of a script and notes what the server does.

It judges nothing but the server's frames as such: what section 5 forbids is kept as `fault`.
"""

import asyncio
import base64
import contextlib
import random
from collections.abc import Callable, Iterator
from typing import cast

from conformance.target import Target
from conformance.websocket import wire
from conformance.websocket.cases import Await, Begin, Close, Event, Linger, Message, Part, Rounds, Send, Step, octets
from conformance.websocket.compression import test_data
from conformance.websocket.deflate import RSV1, Deflate, parse_agreement
from conformance.websocket.wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frame, WireError

#: Codes that may stand in a close frame (RFC 6455 section 7.4, and what IANA has registered since).
_CODES = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)})


class Link(asyncio.Protocol):
    """A connection. `events` is what the server did; `ended` tells how the connection did, once it has."""

    def __init__(self, seed: str, patience: float) -> None:
        self.events: list[Event] = []
        self.fault: str | None = None
        """What the server sent against the protocol."""
        self.deflate: Deflate | None = None
        self.sent_close = False
        self.got_close = False
        self.closed_by_us = False
        """Whether the client began to close."""
        self.code: int | None = None
        """The code of the server's close frame, None for an empty one or none."""
        self.ended: str | None = None
        """`eof`, `reset` or `dropped` (by the client)."""
        self._patience = patience
        self._chance = random.Random(seed)
        self._frames: wire.FrameReader | None = None
        self._head = b""
        self._parts: list[bytes] = []
        self._begun: Frame | None = None
        self._pending: list[bytes] = []
        self._part_key, self._part_sent, self._part_length = b"", 0, 0
        self._within = False
        self._replies: list[bytes] = []
        self._changed = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._transport: asyncio.Transport | None = None

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take what the server sent."""
        if self._frames is None:
            self._head += data
        elif self.fault is None:
            try:
                for frame in self._frames.receive_data(data):
                    self._take(frame)
            except WireError as error:
                self.fault = str(error)
        self._changed.set()

    def eof_received(self) -> None:
        """Note that the server has closed."""
        self.ended = self.ended or "eof"
        self._changed.set()

    def connection_lost(self, error: Exception | None) -> None:
        """Note how the connection ended."""
        self.ended = self.ended or ("reset" if error else "eof")
        self._changed.set()
        self._writable.set()

    def pause_writing(self) -> None:
        """Note that enough is buffered."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Note that more can be buffered."""
        self._writable.set()

    async def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until the condition holds; return whether it does."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        return condition()

    @property
    def over(self) -> bool:
        """Whether the server has said or done its last."""
        return self.got_close or self.ended is not None or self.fault is not None

    # the handshake

    @classmethod
    async def open(cls, target: Target, path: str, offers: tuple[str, ...], seed: str, patience: float) -> "Link":
        """Connect and shake hands. Raise `OSError` or `WireError`."""
        link = cls(seed, patience)
        async with asyncio.timeout(patience):
            await asyncio.get_running_loop().create_connection(lambda: link, target.host, target.port)
        try:
            await link._shake_hands(target, path, offers)
        except BaseException:
            link.drop()
            raise
        return link

    async def _shake_hands(self, target: Target, path: str, offers: tuple[str, ...]) -> None:
        key = base64.b64encode(self._chance.randbytes(16)).decode()
        self._write(wire.render_request(target.authority, path, key, offers))
        answered = await self.until(lambda: b"\r\n\r\n" in self._head or self.ended is not None, self._patience)
        answer = wire.parse_answer(self._head, key)
        if not answered or answer is None:
            raise WireError(f"no whole answer to the handshake{f', but {self.ended}' if self.ended else ''}")
        extensions, rest = answer
        agreement = parse_agreement(extensions, offers)
        self.deflate = Deflate(agreement) if agreement else None
        self._frames = wire.FrameReader(RSV1 if self.deflate else 0)
        if rest:
            self.data_received(rest)

    # what the server sends

    def _take(self, frame: Frame) -> None:
        if self.got_close:
            raise WireError(f"a frame with opcode {frame.opcode} behind its close frame (RFC 6455 section 5.5.1)")
        if frame.opcode == PONG:
            self.events.append(Event("pong", frame.payload))
        elif frame.opcode == PING:
            if not self.sent_close:
                self._reply(PONG, frame.payload)
        elif frame.opcode == CLOSE:
            self._take_close(frame.payload)
        else:
            self._take_data(frame)

    def _take_close(self, payload: bytes) -> None:
        if len(payload) == 1:
            raise WireError("a close frame with one octet (RFC 6455 section 5.5.1)")
        self.got_close = True
        if payload:
            self.code = int.from_bytes(payload[:2])
            if self.code not in _CODES:
                raise WireError(f"a close frame with the code {self.code} (RFC 6455 section 7.4)")
            _check_text(payload[2:], "the reason of a close frame")
        if not self.sent_close:
            self.sent_close = True
            self._reply(CLOSE, payload[:2])

    def _take_data(self, frame: Frame) -> None:
        if (frame.opcode == CONTINUATION) != (self._begun is not None):
            raise WireError("a fragment of nothing, or a message within a message (RFC 6455 section 5.4)")
        first = self._begun or frame
        self._parts.append(frame.payload)
        self._begun = None if frame.fin else first
        if not frame.fin:
            return
        payload = b"".join(self._parts)
        self._parts = []
        if first.rsv and self.deflate is not None:
            payload = self.deflate.inflate(payload)
        if first.opcode == TEXT:
            _check_text(payload, "a text message")
        self.events.append(Event("message", payload, first.opcode == BINARY))

    # the steps

    async def do(self, step: Step) -> None:
        """Do one step; a connection that has ended takes nothing any more."""
        if self.ended is not None:
            return
        match step:
            case Send():
                await self._send(step)
            case Message():
                await self._send_fragments(step.opcode, octets(step.payload), step.fragment)
            case Begin():
                self._part_key, self._part_sent, self._part_length = self._key(), 0, step.length
                self._within = True
                self._pending.append(wire.render_head(step.opcode, step.length, self._part_key))
            case Part():
                self._send_part(step.payload)
            case Linger():
                self._flush()
                if not await self.until(lambda: self.over, step.seconds):
                    self.events.append(Event("open", step.name.encode()))
            case Await():
                self._flush()
                await self.until(lambda: self.over or len(self.events) >= step.events, self._patience)
            case Close():
                self._close(step.payload)
            case Rounds():
                await self._rounds(step)

    async def flush(self) -> None:
        """Write what the steps have left to be written."""
        self._flush()
        await self._writable.wait()

    async def _send(self, step: Send) -> None:
        pieces = wire.render_frame(step.opcode, octets(step.payload), self._key(), fin=step.fin, rsv=step.rsv)
        self._within = True
        if step.chop is not None or step.alone:
            await self._write_apart(b"".join(pieces), step.chop)
        else:
            for piece in pieces:
                self._pending.append(piece)
                if len(piece) >= wire.PIECE_BYTES:
                    await self._flow()
        self._end_of_frame()

    async def _write_apart(self, data: bytes, size: int | None) -> None:
        """Write in pieces, with a turn of the loop between them so that the kernel may send each for itself."""
        self._flush()
        step = size or len(data)
        for begin in range(0, len(data), step):
            self._write(data[begin : begin + step])
            await asyncio.sleep(0)
            await self._writable.wait()

    async def _send_fragments(self, opcode: int, payload: bytes, size: int | None, rsv: int = 0) -> None:
        begin, waiting = 0, 0
        while True:
            piece = payload[begin : begin + size] if size else payload
            last = begin + len(piece) >= len(payload)
            self._within = True
            for part in wire.render_frame(
                CONTINUATION if begin else opcode, piece, self._key(), fin=last, rsv=0 if begin else rsv
            ):
                self._pending.append(part)
                waiting += len(part)
                if waiting > wire.PIECE_BYTES:
                    waiting = 0
                    await self._flow()
            self._end_of_frame()
            begin += len(piece)
            if last:
                return

    def _send_part(self, payload: bytes) -> None:
        turn = self._part_sent % 4
        self._part_sent += len(payload)
        self._pending.append(wire.mask(payload, self._part_key[turn:] + self._part_key[:turn]))
        if self._part_sent == self._part_length:
            self._end_of_frame()

    def _close(self, payload: bytes) -> None:
        if not self.sent_close:
            self.sent_close = self.closed_by_us = True
        self._pending.append(b"".join(wire.render_frame(CLOSE, payload, self._key())))

    async def _rounds(self, step: Rounds) -> None:
        for payload in _messages(step):
            if self.deflate is None:
                await self._send_fragments(step.opcode, payload, step.fragment)
            else:
                await self._send_fragments(step.opcode, self.deflate.compress(payload), step.fragment, RSV1)
            await self.flush()
            if not await self.until(lambda: self.over or bool(self.events), self._patience * 6) or not self.events:
                return
            if not self.events.pop().same(Event("message", payload, step.opcode == BINARY)):
                self.fault = "an echo that is not what was sent"
                return
        self.events.append(Event("rounds"))

    # the end

    async def finish(self, limit: float, done: Callable[[], bool]) -> None:
        """Wait for what is expected, close if the server does not, and wait until it drops the connection."""
        await self.flush()
        await self.until(lambda: self.over or self.sent_close or done(), limit)
        if self.fault is not None:
            # Nothing that it sends from here on can be relied upon.
            self._write(b"".join(wire.render_frame(CLOSE, (1002).to_bytes(2), self._key())))
            self.ended = self.ended or "dropped"
            self.drop()
            return
        if not self.sent_close and self.ended is None:
            self._close((1000).to_bytes(2))
        await self.flush()
        await self.until(lambda: self.over, limit)
        if not await self.until(lambda: self.ended is not None, self._patience):
            self.ended = "dropped"
        self.drop()

    def drop(self) -> None:
        """End the TCP connection from this side."""
        if self._transport is not None:
            self._transport.abort()

    # writing

    def _reply(self, opcode: int, payload: bytes) -> None:
        """Send a control frame of the client's own accord, but never into a frame that is only partly sent."""
        frame = b"".join(wire.render_frame(opcode, payload, self._key()))
        if self._within:
            self._replies.append(frame)
        else:
            self._flush()
            self._write(frame)

    def _end_of_frame(self) -> None:
        self._within = False
        self._pending += self._replies
        self._replies.clear()

    def _key(self) -> bytes:
        return self._chance.randbytes(4)

    async def _flow(self) -> None:
        self._flush()
        await asyncio.sleep(0)
        await self._writable.wait()

    def _flush(self) -> None:
        data = b"".join(self._pending)
        self._pending.clear()
        self._write(data)

    def _write(self, data: bytes) -> None:
        if data and self.ended is None and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


def _check_text(payload: bytes, what: str) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError:
        raise WireError(f"{what} that is not UTF-8 (RFC 6455 section 8.1)") from None


def _messages(step: Rounds) -> Iterator[bytes]:
    """Yield the payloads of a `Rounds`: fills, or pieces of test data, round and round."""
    if isinstance(step.data, bytes):
        for _ in range(step.messages):
            yield step.data * step.size
        return
    data = test_data(step.data)
    begin = 0
    for _ in range(step.messages):
        end = begin + step.size
        yield (data[begin:end] + data[: max(0, end - len(data))])[: step.size]
        begin = end % len(data)
