"""What comes while all threads are stuck goes to a sibling with a free one, or is served here after all."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from smoothserve.connection.adopting import Adopting
from smoothserve.connection.relief import FLOWING, HOLD_TIMEOUT, OFFERS, STUCK_AFTER, Relief
from smoothserve.connection.room import Room
from smoothserve.control.channel import Channel, channel_pair
from smoothserve.control.scoreboard import Counter, Scoreboard
from tests.unit.connection.harness import Client, Server, serving, until
from tests.unit.connection.test_handover import GET, named

Run = Callable[[Coroutine[Any, Any, None]], None]


class Threads:
    def __init__(self, free: int) -> None:
        self.free = free
        self.calls_ended = 0
        self.stuck_since = 0.0

    def request_notice(self) -> None:
        """Take no note: the tests say when a call has returned."""


class Siblings:
    alone = False


class Pair:
    """A worker with relief, and a sibling of it, whose row of the scoreboard is the second."""

    def __init__(self, old: Server, new: Server) -> None:
        self.old = old
        self.new = new
        self.threads = Threads(0)
        self.sibling = Threads(1)
        self.asked = 0
        self.had: list[list[int]] = []
        scoreboard = Scoreboard.create(2)
        self.row = scoreboard.row(1)
        self.row[Counter.ACCEPTING] = 1
        new.service.room = Room(self.sibling)
        self.relief = old.service.relief = Relief(
            old.service.loop,
            old.service,
            room=Room(self.threads),
            threads=1,
            scoreboard=scoreboard,
            siblings=Siblings(),
            on_handed_over=old.service.note_relieved,
            ask=self.ask,
        )
        self.link_at_once = True

    def ask(self, have: list[int]) -> None:
        self.asked += 1
        self.had.append(have)
        if self.link_at_once:
            left, right = channel_pair()
            Adopting(self.new.service, Channel(right), relief=True)
            self.relief.add_sibling(Channel(left), 2, 1)

    def note_progress(self) -> None:
        self.row[Counter.PROGRESS] = int(time.monotonic() * 1000)

    async def saturate(self) -> None:
        self.threads.free = 0
        self.threads.stuck_since = time.monotonic()
        self.relief.note_saturation(True)
        await until(lambda: self.old.service.relieving)
        self.note_progress()

    def free_thread(self, free: int = 1) -> None:
        self.threads.free = free
        self.threads.calls_ended += 1
        self.relief.note_saturation(False)


@asynccontextmanager
async def pair(http: str) -> AsyncIterator[Pair]:
    async with serving(named(b"old"), http=http) as old, serving(named(b"new"), http=http) as new:
        both = Pair(old, new)
        yield both
        both.relief.close()
        offering = old.service.offering
        for link in [*both.relief.links, *(offering.links if offering is not None else [])]:
            link.channel.close()
        await until(lambda: not both.new.service.adopting)


async def asked(client: Client) -> bytes:
    client.send(GET)
    status, headers, body = await client.answer()
    assert status == 200
    assert b"connection" not in headers
    return body


async def kept(server: Server, number: int) -> list[Client]:
    """Return clients that have had an answer and keep their connections."""
    clients = [await server.connect() for _ in range(number)]
    for client in clients:
        assert await asked(client) == b"old"
    return clients


def test_a_request_goes_to_a_sibling_with_a_free_thread_and_idle_connections_stay(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with pair(http) as both:
            client, idle = await kept(both.old, 2)
            await both.saturate()
            assert await asked(client) == b"new"
            assert both.old.service.relieved == both.new.service.adopted == both.relief.offered == 1
            await until(lambda: len(both.old.service.connections) == 1)
            assert await asked(client) == b"new"
            both.free_thread()
            assert await asked(idle) == b"old"
            assert both.asked == 1
            assert both.old.service.dropped == both.new.service.dropped == 0
            for one in (client, idle):
                await one.close()

    run(scenario())


def test_nothing_is_held_while_calls_end_or_there_is_no_sibling(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with pair(http) as both:
            (client,) = await kept(both.old, 1)
            both.relief._siblings.alone = True  # type: ignore[misc]
            both.relief.note_saturation(True)
            await asyncio.sleep(2 * STUCK_AFTER)
            both.relief._look_again()
            assert not both.old.service.relieving
            both.relief._siblings.alone = False  # type: ignore[misc]
            for _ in range(10):
                both.threads.calls_ended += FLOWING
                both.relief._look_again()
                assert not both.old.service.relieving
            assert await asked(client) == b"old"
            assert both.asked == 0
            await client.close()

    run(scenario())


def test_a_sibling_that_is_busy_refuses_and_what_nobody_takes_is_served_here_in_order(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with pair(http) as both:
            clients = await kept(both.old, 4)
            both.sibling.free = 0
            # It has been in its calls for longer than this worker in its own.
            both.row[Counter.THREADS_STUCK] = int((time.monotonic() - 0.1) * 1000)
            await both.saturate()
            began = time.monotonic()
            assert await asked(clients[0]) == b"old"
            assert time.monotonic() - began >= HOLD_TIMEOUT * 0.8
            assert 1 <= both.relief.offered <= HOLD_TIMEOUT / 0.01 + 1, "a refusal is not asked for again at once"
            assert both.new.service.adopted == 0
            for one in clients:
                await one.close()

    run(scenario())


def test_siblings_without_a_thread_or_with_a_blocked_loop_are_not_asked(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with pair(http) as both:
            clients = await kept(both.old, 3)
            for prevent in (Counter.ACCEPTING, Counter.IN_HAND, Counter.PROGRESS):
                both.row[Counter.ACCEPTING], both.row[Counter.IN_HAND] = 1, 0
                await both.saturate()
                both.row[prevent] = int(prevent == Counter.IN_HAND)
                client = clients.pop()
                client.send(GET)
                await until(lambda: not both.relief.settled)
                await asyncio.sleep(0.05)
                assert both.relief.offered == 0, prevent
                both.free_thread()
                assert (await client.answer())[2] == b"old"
                await client.close()

    run(scenario())


def test_a_sibling_that_does_not_answer_has_a_few_offers_and_its_end_returns_them(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with pair(http) as both:
            both.link_at_once = False
            both.relief._threads = 100
            clients = await kept(both.old, OFFERS + 4)
            left, right = channel_pair()
            greeter, silent = channel_pair()
            # It greets, and then says nothing more.
            adopting = Adopting(both.new.service, Channel(right), relief=True)
            both.new.service.loop.remove_reader(adopting._channel.fileno())
            both.relief.add_sibling(Channel(left), 2, 1)
            for end in (greeter, silent):
                end.close()
            await until(lambda: both.relief.links[0].sender.greeted)
            await both.saturate()
            for client in clients:
                client.send(GET)
            answered = [await client.answer() for client in clients[OFFERS:]]
            assert [body for _, _, body in answered] == [b"old"] * 4
            assert both.relief.offered == OFFERS
            adopting._channel.close()
            both.new.service.adopting.discard(adopting)
            answered = [await client.answer() for client in clients[:OFFERS]]
            assert [body for _, _, body in answered] == [b"old"] * OFFERS
            assert not both.relief.links
            for client in clients:
                await client.close()

    run(scenario())


def test_a_drain_serves_what_is_held_here_and_relief_is_back_if_it_is_called_off(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with pair(http) as both:
            both.link_at_once = False
            (client,) = await kept(both.old, 1)
            await both.saturate()
            client.send(GET)
            await until(lambda: not both.relief.settled)
            both.old.service.begin_drain(5.0, lambda: None)
            assert (await client.answer())[2] == b"old"
            assert not both.old.service.relieving
            await client.close()
            both.old.service.end_drain()
            assert both.old.service.relief is not both.relief
            assert both.old.service.relief is not None
            assert not both.old.service.relief.closed
            assert both.old.service.dropped == 0

    run(scenario())


def test_a_request_that_is_cut_while_it_is_held_counts_as_dropped(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with pair(http) as both:
            both.link_at_once = False
            (client,) = await kept(both.old, 1)
            await both.saturate()
            client.send(GET)
            await until(lambda: not both.relief.settled)
            assert both.old.service.cut() == 1
            await until(lambda: both.relief.settled)
            await client.close()

    run(scenario())


def test_a_request_that_waits_for_long_goes_to_a_busy_sibling_whose_calls_end(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with pair(http) as both:
            (client,) = await kept(both.old, 1)
            both.sibling.free = -2
            both.row[Counter.IN_HAND] = 3
            await both.saturate()
            both.row[Counter.THREADS_STUCK] = int(time.monotonic() * 1000) + 1
            began = time.monotonic()
            assert await asked(client) == b"new"
            assert time.monotonic() - began >= HOLD_TIMEOUT * 0.8
            assert both.relief.offered == both.new.service.adopted == 1
            await client.close()

    run(scenario())


def test_a_worker_that_was_alone_when_its_threads_got_stuck_is_relieved_once_it_is_not(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with pair(http) as both:
            (client,) = await kept(both.old, 1)
            both.relief._siblings.alone = True  # type: ignore[misc]
            both.relief.note_saturation(True)
            await asyncio.sleep(2 * STUCK_AFTER)
            both.relief._siblings.alone = False  # type: ignore[misc]
            await until(lambda: both.old.service.relieving)
            both.note_progress()
            assert await asked(client) == b"new"
            await client.close()

    run(scenario())


def test_a_sibling_that_was_silent_for_long_is_linked_anew(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with pair(http) as both:
            first, second = await kept(both.old, 2)
            both.link_at_once = False
            left, right = channel_pair()
            adopting = Adopting(both.new.service, Channel(right), relief=True)
            both.relief.add_sibling(Channel(left), 2, 1)
            await until(lambda: both.relief.links[0].sender.greeted)
            (link,) = both.relief.links
            loop = both.new.service.loop
            loop.remove_reader(right.fileno())  # its loop is blocked
            await both.saturate()
            first.send(GET)
            await until(lambda: both.relief.offered == 1)
            for later in (6, 12):
                both.relief._apply(link, link.sender.tick(loop.time() + later))
                both.relief._send(link)
            loop.add_reader(right.fileno(), adopting._on_readable)
            await first.answer()
            await until(lambda: not both.relief.links)
            both.link_at_once = True
            both.relief._ask_at = 0.0
            both.note_progress()
            assert await asked(second) == b"new"
            assert both.had[-1] == []
            for client in (first, second):
                await client.close()

    run(scenario())


def test_what_is_held_at_a_drain_goes_to_the_successor(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with pair(http) as both:
            both.link_at_once = False
            (client,) = await kept(both.old, 1)
            await both.saturate()
            client.send(GET)
            await until(lambda: not both.relief.settled)
            left, right = channel_pair()
            Adopting(both.new.service, Channel(right))
            both.old.service.hand_over(Channel(left), 2, lambda: None, lambda _: None)
            both.old.service.begin_drain(5.0, lambda: None)
            assert (await client.answer())[2] == b"new"
            assert both.old.service.dropped == 0
            assert both.old.service.counters[Counter.UNREAD] == 0
            await client.close()

    run(scenario())


def test_what_is_held_unread_is_counted_and_is_no_drop_once_it_is_anothers(run: Run, http: str) -> None:
    async def scenario() -> None:
        async with pair(http) as both:
            both.link_at_once = False
            (client,) = await kept(both.old, 1)
            await both.saturate()
            client.send(GET)
            await until(lambda: not both.relief.settled)
            assert both.old.service.counters[Counter.UNREAD] == 1
            cut: list[int] = []
            note = both.relief._on_handed_over

            def note_and_cut() -> None:
                note()
                cut.append(both.old.service.cut())  # it is let go of, and not lost yet

            both.relief._on_handed_over = note_and_cut
            both.link_at_once = True
            both.ask([])
            both.note_progress()
            assert (await client.answer())[2] == b"new"
            assert cut == [0]
            assert both.old.service.counters[Counter.UNREAD] == both.old.service.dropped == 0
            await client.close()

    run(scenario())
