"""A worker does what the master says, and what it must when the master says nothing."""

import asyncio
import os
import resource
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, TypeVar

import pytest

from smoothserve.connection.adopting import Adopting
from smoothserve.control.channel import HAS_SEQPACKET, Channel, channel_pair
from smoothserve.control.messages import (
    Accept,
    Accepting,
    Drain,
    Draining,
    HandOver,
    HandoverFinished,
    Message,
    Ready,
    Recycle,
    ReopenLogs,
    parse_message,
)
from smoothserve.worker.process import Worker
from tests.unit.connection.harness import Client, Server, serving, until

pytestmark = pytest.mark.skipif(not HAS_SEQPACKET, reason="there is no handover on this system")

MessageType = TypeVar("MessageType", bound=Message)
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"served"})


class Application:
    """The application's lifecycle: nothing to start, nothing to end."""

    async def startup(self) -> None:
        pass

    async def shutdown(self, timeout: float) -> None:
        pass


class Master:
    """The master's end of the control channel, and the worker at the other."""

    def __init__(self, channel: Channel, server: Server, worker: Worker) -> None:
        self.channel = channel
        self.server = server
        self.worker = worker
        self.heard: list[Message] = []
        self.run = asyncio.get_running_loop().create_task(worker.run())

    def say(self, message: Message, *fds: int) -> None:
        self.channel.send(message.encode(), fds)

    async def hear(self, kind: type[MessageType]) -> MessageType:
        """Wait for a message of a kind; return the first."""

        def look() -> bool:
            self.heard += [parse_message(packet.data) for packet in self.channel.receive()]
            return any(isinstance(message, kind) for message in self.heard)

        await until(look)
        return next(message for message in self.heard if isinstance(message, kind))

    async def client(self) -> Client:
        """Return a connection that has been served once."""
        client = await self.server.connect()
        await ask(client)
        return client


async def ask(client: Client) -> bool:
    """Send a request; return whether the connection is kept."""
    client.send(GET)
    status, headers, body = await client.answer()
    assert (status, body) == (200, b"served")
    return b"connection" not in headers


def end(adopting: Adopting) -> None:
    """Close a receiver's end, if that has not happened yet."""
    if not adopting._channel.closed:
        asyncio.get_running_loop().remove_reader(adopting._channel.fileno())
        adopting._channel.close()


@asynccontextmanager
async def master(**options: Any) -> AsyncIterator[Master]:
    ours, theirs = channel_pair()
    async with serving(app) as server:
        control = Channel(theirs)
        worker = Worker(
            channel=control,
            service=server.service,
            acceptor=server.acceptor,
            lifecycle=Application(),
            error_log=server.service.error_log,
            ready=Ready(interface="asgi"),
            reopen_logs=lambda: None,
            tick=lambda: None,
            **{"drain_timeout": 20.0, "graceful_timeout": 5.0, "kill_timeout": 1.0, "linger_timeout": 0.2, **options},
        )
        one = Master(Channel(ours), server, worker)
        await one.hear(Ready)
        one.say(Accept())
        await one.hear(Accepting)
        try:
            yield one
        finally:
            if not one.run.done():
                one.say(Drain(timeout=0.0, linger=0.0, final=True))
            await asyncio.wait_for(one.run, 5.0)
            one.channel.close()
            loop = asyncio.get_running_loop()
            loop.remove_signal_handler(signal.SIGTERM)
            loop.remove_reader(control.fileno())
            control.close()
            for link in server.service.offering.links if server.service.offering else ():
                loop.remove_reader(link.channel.fileno())
                link.channel.close()


def test_after_term_connections_are_kept_until_the_master_names_a_receiver() -> None:
    async def scenario() -> None:
        async with master() as one, serving(app) as receiver:
            client = await one.client()
            os.kill(os.getpid(), signal.SIGTERM)
            await one.hear(Draining)
            assert await ask(client)
            one.say(Drain(timeout=20.0, linger=0.2, cause="it leaves", receiver_timeout=20.0))
            assert await ask(client)
            left, right = channel_pair()
            one.say(HandOver(receiver=2), left.fileno())
            left.close()
            adopting = Adopting(receiver.service, Channel(right))
            await one.hear(HandoverFinished)
            await asyncio.wait_for(one.run, 5.0)
            assert receiver.service.adopted == 1
            assert await ask(client)
            await client.close()
            end(adopting)

    asyncio.run(scenario())


def test_after_term_without_a_word_of_the_master_the_worker_drains_without_handing_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("smoothserve.worker.process.RECEIVER_TIMEOUT", 0.3)

    async def scenario() -> None:
        async with master() as one:
            idle, busy = await one.client(), await one.client()
            os.kill(os.getpid(), signal.SIGTERM)
            await one.hear(Draining)
            assert await ask(busy)
            await one.hear(HandoverFinished)
            assert not await ask(busy)
            assert await idle.rest() == b""
            await busy.close()
            await idle.close()
            await asyncio.wait_for(one.run, 5.0)

    asyncio.run(scenario())


def test_a_drain_that_is_shorter_than_the_time_to_linger_hands_over_all_the_same() -> None:
    async def scenario() -> None:
        async with master() as one, serving(app) as receiver:
            client = await one.client()
            one.say(Drain(timeout=5.0, linger=10.0))
            ours, theirs = channel_pair()
            with ours, theirs:
                one.say(HandOver(receiver=2), theirs.fileno())
                adopting = Adopting(receiver.service, Channel(ours.dup()))
                await until(lambda: bool(receiver.service.connections))
                assert await ask(client)
                end(adopting)
            await client.close()

    asyncio.run(scenario())


def test_a_final_stop_waits_for_no_receiver() -> None:
    async def scenario() -> None:
        async with master() as one:
            client = await one.client()
            os.kill(os.getpid(), signal.SIGTERM)
            await one.hear(Draining)
            one.say(Drain(timeout=5.0, linger=0.2, final=True))
            await until(lambda: one.server.service.offering is None or one.server.service.offering.closed)
            assert not await ask(client)
            await client.close()

    asyncio.run(scenario())


def test_a_worker_whose_channel_is_lost_on_the_way_drains_without_handing_over() -> None:
    async def scenario() -> None:
        async with master() as one:
            client = await one.client()
            one.say(HandOver(receiver=2))
            one.say(Drain(timeout=20.0, linger=0.2, receiver_timeout=20.0))
            await one.hear(HandoverFinished)
            assert "no descriptor for a handover channel (worker 2)" in one.server.log
            assert not await ask(client)
            await client.close()

    asyncio.run(scenario())


def test_a_worker_with_a_cause_for_it_asks_once_to_be_replaced_and_serves_on() -> None:
    async def scenario() -> None:
        async with master(recycle_causes=[lambda: "", lambda: "enough"]) as one:
            client = await one.client()
            assert (await one.hear(Recycle)).cause == "enough"
            await asyncio.sleep(1.2)  # two sweeps
            await one.hear(Recycle)
            assert sum(isinstance(message, Recycle) for message in one.heard) == 1
            assert await ask(client)
            await client.close()

    asyncio.run(scenario())


def test_a_defect_in_obeying_one_message_does_not_keep_the_worker_from_draining(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        async with master() as one:

            def reopen() -> None:
                raise RuntimeError("defect")

            one.worker._reopen_logs = reopen
            one.say(ReopenLogs())
            one.say(Drain(timeout=1.0, linger=0.0, final=True))
            await asyncio.wait_for(one.run, 5.0)
            assert "RuntimeError: defect" in one.server.log

    asyncio.run(scenario())


def test_a_worker_at_its_limit_of_descriptors_still_takes_a_handover_channel_up() -> None:
    async def scenario() -> None:
        async with master() as one, serving(app) as receiver:
            client = await one.client()
            left, right = channel_pair()
            with all_descriptors_used():
                one.say(HandOver(receiver=2), left.fileno())
                await until(lambda: one.server.service.offering is not None)
            left.close()
            adopting = Adopting(receiver.service, Channel(right))
            one.say(Drain(timeout=20.0, linger=0.2))
            await asyncio.wait_for(one.run, 5.0)
            assert await ask(client)
            assert receiver.service.adopted == 1
            await client.close()
            end(adopting)

    asyncio.run(scenario())


@contextmanager
def all_descriptors_used() -> Iterator[None]:
    """Leave this process without a free descriptor."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 20, limits[1]))
    used = []
    try:
        with suppress(OSError):
            while True:
                used.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for fd in used:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
