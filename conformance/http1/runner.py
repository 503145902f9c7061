"""Run cases against a server, many connections at a time."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

from conformance.http1.judge import Observed, Verdict, judge
from conformance.http1.model import Case


@dataclass(frozen=True)
class Runner:
    """Where and how to run."""

    host: str
    port: int
    timeout: float = 5.0
    """Seconds without a word and without an end after which the server counts as leaving a connection open."""
    concurrency: int = 32

    def run(self, cases: Sequence[Case]) -> list[Verdict]:
        """Run the cases; return the verdicts in the same order."""
        return asyncio.run(self.run_async(cases))

    async def run_async(self, cases: Sequence[Case]) -> list[Verdict]:
        """Run the cases; return the verdicts in the same order."""
        room = asyncio.Semaphore(self.concurrency)

        async def one(case: Case) -> Verdict:
            async with room:
                return judge(case, await self.observe(case))

        return list(await asyncio.gather(*map(one, cases)))

    async def observe(self, case: Case) -> Observed:
        """Send a case's steps and read until the server ends the connection, or says nothing any more."""
        try:
            reader, writer = await asyncio.open_connection(self.host, self.port, limit=2**24)
        except OSError as error:
            return Observed(b"", closed=False, unreachable=f"no connection: {error}")
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        conversation = _Conversation(reader, writer, self)
        try:
            return await conversation.hold(case)
        finally:
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(writer.wait_closed(), 1.0)


class _Conversation:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, runner: Runner) -> None:
        self._reader = reader
        self._writer = writer
        self._runner = runner
        self._data = bytearray()
        self._said = asyncio.Event()
        self._spoke_at = time.monotonic()
        """When the client has said something last."""

    async def hold(self, case: Case) -> Observed:
        reading = asyncio.create_task(self._read())
        sending = asyncio.create_task(self._send(case))
        try:
            closed, reset = await reading
        finally:
            sending.cancel()
            await asyncio.wait([sending])
        return Observed(bytes(self._data), closed, reset)

    async def _send(self, case: Case) -> None:
        with contextlib.suppress(OSError):
            for number, step in enumerate(case.steps):
                if number and case.pause is not None:
                    await asyncio.sleep(case.pause)
                elif number:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._said.wait(), self._runner.timeout)
                self._said.clear()
                self._writer.write(step)
                await self._writer.drain()
                self._spoke_at = time.monotonic()
            if case.half_close:
                self._writer.write_eof()

    async def _read(self) -> tuple[bool, bool]:
        while True:
            try:
                data = await asyncio.wait_for(self._reader.read(65536), self._runner.timeout)
            except TimeoutError:
                if time.monotonic() - self._spoke_at > self._runner.timeout:
                    return False, False
                continue
            except OSError:
                return True, True
            if not data:
                return True, False
            self._data += data
            self._said.set()
