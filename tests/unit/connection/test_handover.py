"""Connections move from one worker's service to another's, and the client sees one connection all the time."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from smoothserve.connection.acceptor import attach
from smoothserve.connection.adopting import Adopting
from smoothserve.connection.base import HELD
from smoothserve.connection.http import HTTPConnection
from smoothserve.connection.moving import Resumption
from smoothserve.connection.service import Timeouts
from smoothserve.control.channel import Channel, channel_pair
from smoothserve.control.handover import HandoverReceiver
from tests.unit.connection.harness import Server, serving, until

Run = Callable[[Coroutine[Any, Any, None]], None]

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def named(name: bytes, release: asyncio.Event | None = None) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        body += message.get("body", b"")
        if release is not None and scope["path"] == "/slow":
            await release.wait()
        size = 8 * 1024 * 1024 if scope["path"] == "/big" else 0
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": name + body + b"x" * size})

    return app


class Pair:
    """A predecessor, a successor, and the channel between them."""

    def __init__(self, old: Server, new: Server) -> None:
        self.old = old
        self.new = new
        self.settled = asyncio.Event()
        self.empty = asyncio.Event()
        self.stuck: list[int] = []

    def link(self) -> None:
        left, right = channel_pair()
        self.old.service.hand_over(Channel(left), 2, self.settled.set, self.stuck.append)
        self.adopting = Adopting(self.new.service, Channel(right))

    def drain(self) -> None:
        self.old.acceptor.stop()
        self.old.service.begin_drain(0.2, self.empty.set)


@asynccontextmanager
async def pair(http: str, release: asyncio.Event | None = None, **options: Any) -> AsyncIterator[Pair]:
    async with (
        serving(named(b"old", release), http=http, **options) as old,
        serving(named(b"new"), http=http, **options) as new,
    ):
        both = Pair(old, new)
        yield both
        if both.old.service.offering is not None:
            both.old.service.offering.close()
            for link in both.old.service.offering.links:
                link.channel.close()


def test_an_idle_connection_moves_and_the_client_notices_nothing(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with pair(http) as both:
            clients = [await both.old.connect() for _ in range(100)]
            for client in clients[1:]:
                client.send(GET)
                assert (await client.answer())[2] == b"old"
            await until(lambda: len(both.old.service.connections) == 100)
            both.link()
            both.drain()
            await until(both.empty.is_set)
            await until(lambda: len(both.new.service.connections) == 100)
            for client in clients:
                client.send(GET)
                status, headers, body = await client.answer()
                assert (status, body) == (200, b"new")
                assert b"connection" not in headers
            assert both.old.service.handed_over == both.new.service.adopted == 100
            assert {one.requests for one in both.new.service.connections if isinstance(one, HTTPConnection)} == {1, 2}
            assert both.old.service.dropped == both.new.service.dropped == 0
            for client in clients:
                await client.close()

    run(scenario())


def test_a_busy_connection_moves_after_its_answer_which_does_not_say_close(run: Run, http: str) -> None:
    release = asyncio.Event()

    async def scenario() -> None:
        async with pair(http, release) as both:
            client = await both.old.connect()
            client.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: len(both.old.service.calls) == 1)
            both.link()
            both.drain()
            await until(both.settled.is_set)
            client.send(GET + GET)  # pipelined behind the one in hand: for the successor
            await asyncio.sleep(0.05)
            release.set()
            status, headers, body = await client.answer()
            assert (status, body) == (200, b"old")
            assert b"connection" not in headers
            assert (await client.answer())[2] == b"new"
            assert (await client.answer())[2] == b"new"
            await until(both.empty.is_set)
            await client.close()

    run(scenario())


def test_a_connection_moves_in_the_middle_of_a_head(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with pair(http) as both:
            client = await both.old.connect()
            client.send(GET + b"GET / HTTP/1.1\r\nHo")
            assert (await client.answer())[2] == b"old"
            await asyncio.sleep(0.05)
            both.link()
            both.drain()
            await until(both.empty.is_set)
            client.send(b"st: x\r\n\r\n")
            assert (await client.answer())[2] == b"new"
            await client.close()

    run(scenario())


def test_a_body_in_progress_stays_until_it_is_answered(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with pair(http) as both:
            client = await both.old.connect()
            client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc")
            await until(lambda: len(both.old.service.calls) == 1)
            both.link()
            both.drain()
            await asyncio.sleep(0.05)
            client.send(b"def" + GET)
            assert (await client.answer())[2] == b"oldabcdef"
            assert (await client.answer())[2] == b"new"
            await until(both.empty.is_set)
            await client.close()

    run(scenario())


def test_what_is_not_sent_yet_is_sent_by_the_old_worker_before_the_connection_moves(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with pair(http) as both:
            client = await both.old.connect()
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            client.send(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: both.old.service.requests == 1 and not both.old.service.calls)
            both.link()
            both.drain()
            await asyncio.sleep(0.1)
            assert both.old.service.handed_over == 0
            client.writer.transport.resume_reading()  # type: ignore[attr-defined]
            assert len((await client.answer())[2]) == 8 * 1024 * 1024 + 3
            await until(lambda: len(both.new.service.connections) == 1)
            (adopted,) = both.new.service.connections
            # Its idle time begins with the end of the answer, whatever it was watched for until then.
            keep_alive = both.new.service.timeouts.keep_alive
            assert keep_alive - 5 < adopted.deadline - asyncio.get_running_loop().time() <= keep_alive + 1
            client.send(GET)
            assert (await client.answer())[2] == b"new"
            await client.close()

    run(scenario())


def test_input_beyond_what_fits_a_packet_moves_too(run: Run, http: str) -> None:
    release = asyncio.Event()

    async def scenario() -> None:
        async with pair(http, release) as both:
            client = await both.old.connect()
            client.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: len(both.old.service.calls) == 1)
            count = 4000
            client.send(GET * count)
            await asyncio.sleep(0.1)
            both.link()
            both.drain()
            release.set()
            assert (await client.answer())[2] == b"old"
            for _ in range(count):
                assert (await client.answer())[2] == b"new"
            await until(both.empty.is_set)
            await client.close()

    run(scenario())


def test_a_connection_that_the_successor_refuses_for_good_is_served_and_closed_by_the_old_worker(
    run: Run, http: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with pair(http) as both:
            client = await both.old.connect()
            client.send(GET)
            await client.answer()
            monkeypatch.setattr("smoothserve.connection.adopting.KINDS", ())
            both.link()
            both.drain()
            await until(both.settled.is_set)
            client.send(GET)
            status, headers, body = await client.answer()
            assert (status, body, headers[b"connection"]) == (200, b"old", b"close")
            await client.close()
            await until(both.empty.is_set)

    run(scenario())


def test_a_successor_that_drains_itself_takes_nothing_and_the_next_one_does(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with pair(http) as both:
            client = await both.old.connect()
            await until(lambda: len(both.old.service.connections) == 1)
            both.new.service.draining = True
            both.link()
            both.drain()
            await until(both.settled.is_set)
            client.send(GET)
            status, headers, body = await client.answer()
            assert (status, body) == (200, b"old")
            assert b"connection" not in headers
            both.new.service.draining = False
            both.link()
            await until(both.empty.is_set)
            client.send(GET)
            assert (await client.answer())[2] == b"new"
            await client.close()

    run(scenario())


def test_a_thousand_connections_move_while_others_are_served(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with pair(http) as both:
            clients = [await both.old.connect() for _ in range(1000)]
            await until(lambda: len(both.old.service.connections) == 1000)
            both.link()
            both.drain()
            await until(both.empty.is_set)
            await until(lambda: len(both.new.service.connections) == 1000)
            assert both.old.service.handed_over == 1000
            for client in clients[::50]:
                client.send(GET)
                assert (await client.answer())[2] == b"new"
            for client in clients:
                client.writer.transport.abort()

    run(scenario())


def test_when_the_successor_dies_the_old_worker_keeps_and_serves_its_connections(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with pair(http) as both:
            clients = [await both.old.connect() for _ in range(80)]
            await until(lambda: len(both.old.service.connections) == 80)
            left, right = channel_pair()
            both.old.service.hand_over(Channel(left), 2, both.settled.set, both.stuck.append)
            both.drain()
            await asyncio.sleep(0.05)
            right.close()
            for client in clients:
                client.send(GET)
                status, headers, body = await client.answer()
                assert (status, body) == (200, b"old")
                assert b"connection" not in headers  # another receiver will come
            both.link()
            await until(both.empty.is_set)
            for client in clients:
                client.send(GET)
                assert (await client.answer())[2] == b"new"
                await client.close()

    run(scenario())


def test_the_old_worker_can_be_told_to_serve_on(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with pair(http) as both:
            client = await both.old.connect()
            await until(lambda: len(both.old.service.connections) == 1)
            left, right = channel_pair()
            both.old.service.hand_over(Channel(left), 2, both.settled.set, both.stuck.append)
            both.drain()
            right.close()
            await asyncio.sleep(0.02)
            both.old.service.end_drain()
            both.old.acceptor.start()
            client.send(GET)
            assert (await client.answer())[1].get(b"connection") is None
            other = await both.old.connect()
            other.send(GET)
            assert (await other.answer())[2] == b"old"
            both.link()
            both.drain()
            await until(both.empty.is_set)
            for one in (client, other):
                one.send(GET)
                assert (await one.answer())[2] == b"new"
                await one.close()

    run(scenario())


def test_the_idle_deadline_moves_along(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with pair(http, timeouts=Timeouts(keep_alive=0.6)) as both:
            loop = asyncio.get_running_loop()
            client = await both.old.connect()
            client.send(GET)
            await client.answer()
            began = loop.time()
            await asyncio.sleep(0.3)
            both.link()
            both.drain()
            await until(both.empty.is_set)
            assert await client.rest() == b""
            assert loop.time() - began < 0.8
            await client.close()

    run(scenario())


def test_a_receiver_short_of_descriptors_refuses_before_the_last_ones_are_used_up(
    run: Run, http: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with pair(http) as both:
            client = await both.old.connect()
            await until(lambda: len(both.old.service.connections) == 1)
            monkeypatch.setattr("smoothserve.connection.adopting._last_to_take", lambda: 3)
            both.link()
            both.drain()
            await until(lambda: "short of descriptors" in both.new.log)
            client.send(GET)
            status, headers, body = await client.answer()
            assert (status, body) == (200, b"old")
            assert b"connection" not in headers
            monkeypatch.undo()
            await until(both.empty.is_set)
            client.send(GET)
            assert (await client.answer())[2] == b"new"
            assert both.new.log.count("short of descriptors") == 1
            await client.close()

    run(scenario())


def test_the_receiver_is_told_when_nothing_is_on_its_way_and_how_much_may_follow(run: Run, http: str) -> None:
    release = asyncio.Event()

    async def scenario() -> None:
        async with pair(http, release) as both:
            idle = [await both.old.connect() for _ in range(40)]
            client = await both.old.connect()
            client.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: len(both.old.service.connections) == 41 and len(both.old.service.calls) == 1)
            both.link()
            both.drain()
            await until(lambda: both.adopting.left == 1)
            assert both.new.service.adopted == 40
            release.set()
            await client.answer()
            await until(lambda: both.adopting.left == 0)
            for one in (client, *idle):
                await one.close()

    run(scenario())


def test_a_worker_that_serves_on_sees_what_it_has_offered_to_its_end(
    run: Run, http: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smoothserve.control.handover.ANSWER_TIMEOUT", 0.2)

    async def scenario() -> None:
        async with pair(http) as both:
            clients = [await both.old.connect() for _ in range(5)]
            await until(lambda: len(both.old.service.connections) == 5)
            left, right = channel_pair()
            mute = Channel(right)  # greets, and then answers nothing
            for packet in HandoverReceiver().packets_to_send():
                mute.send(packet)
            both.old.service.hand_over(Channel(left), 7, both.settled.set, both.stuck.append)
            both.drain()
            offering = both.old.service.offering
            assert offering is not None
            await until(lambda: any(link.offers for link in offering.links))
            held = both.old.service.filenos()
            both.old.service.end_drain()
            assert set(both.old.service.filenos()) == set(held), "the channel is still guarded"
            await until(lambda: both.stuck == [7])
            mute.close()
            for client in clients:
                client.send(GET)
                assert (await client.answer())[2] == b"old"
                await client.close()
            await until(lambda: not both.old.service._ending)
            assert left.fileno() == -1

    run(scenario())


def test_descriptors_that_wait_in_a_channel_are_known_to_the_fork_guard(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with pair(http) as both:
            clients = [await both.old.connect() for _ in range(40)]
            await until(lambda: len(both.old.service.connections) == 40)
            left, right = channel_pair()
            left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
            mute = Channel(right)
            for packet in HandoverReceiver().packets_to_send():
                mute.send(packet)
            both.old.service.hand_over(Channel(left), 7, both.settled.set, both.stuck.append)
            both.drain()
            offering = both.old.service.offering
            assert offering is not None
            (link,) = offering.links
            await until(lambda: link.channel.wants_write)
            queued = {fd for _, fds in link.channel._queue for fd in fds}
            assert queued
            assert queued <= set(both.old.service.filenos())
            mute.close()
            await until(lambda: not offering.links)
            for client in clients:
                await client.close()

    run(scenario())


def test_a_connection_that_is_adopted_while_its_worker_begins_to_drain_is_read_by_one(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with pair(http) as both:
            client = await both.old.connect()
            await until(lambda: len(both.old.service.connections) == 1)
            (first,) = both.old.service.connections
            sock = socket.socket(fileno=os.dup(first.fileno()))
            first.let_go()
            # Adopted with a whole request, not attached yet; a drain begins meanwhile, and its receiver is there.
            resumption = Resumption(leftover=GET)
            attach(both.old.service, sock, lambda: HTTPConnection(both.old.service, None, None, resumption))
            both.link()
            both.drain()
            assert (await client.answer())[2] == b"old"
            for path in (b"/1", b"/2"):
                client.send(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path)
                assert (await client.answer())[2] in (b"old", b"new")
            both.old.service.sweep()
            await until(lambda: len(both.new.service.connections) == 1)
            client.send(GET)
            assert (await client.answer())[2] == b"new"
            await client.close()

    run(scenario())


def test_a_request_that_has_been_read_and_is_offered_counts_as_dropped_when_the_time_is_up(run: Run, http: str) -> None:
    async def scenario() -> None:
        release = asyncio.Event()
        async with pair(http, release) as both:
            client, idle = await both.old.connect(), await both.old.connect()
            for one in (client, idle):
                one.send(GET)
                await one.answer()
            both.link()
            reader = both.adopting._channel.fileno()
            await until(lambda: both.old.service.offering is not None and both.old.service.offering.usable)
            both.new.service.loop.remove_reader(reader)  # the successor does not answer
            client.send(GET.replace(b"/ ", b"/slow ") + GET)
            await until(lambda: len(both.old.service.calls) == 1)
            both.drain()
            release.set()
            await client.answer()
            offering = both.old.service.offering
            assert offering is not None
            await until(lambda: len(offering.links[0].offers) == 2)
            assert {one._phase for one in both.old.service.connections} == {HELD}
            assert both.old.service.cut() == 1, "the request behind the answer, and none of the idle client"
            both.adopting._channel.close()
            both.new.service.adopting.discard(both.adopting)
            for one in (client, idle):
                await one.close()

    run(scenario())
