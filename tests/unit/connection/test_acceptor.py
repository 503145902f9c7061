"""The accept loop takes few connections a wake-up, so that siblings on the same listener get their share."""

import asyncio
import socket
from typing import Any

import pytest

from smoothserve.connection import acceptor
from smoothserve.control.scoreboard import Counter
from tests.unit.connection.harness import serving, until

WAITING = 10


async def answer(scope: Any, receive: Any, send: Any) -> None: ...


async def most_accepted_in_a_turn() -> int:
    """Let connections wait before the loop looks; return how many one turn of it has taken at most."""
    async with serving(answer) as server:
        counters = server.service.counters
        before = counters[Counter.ACCEPTED]
        # They are in the kernel's queue before the loop turns again.
        clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(WAITING)]
        most = 0
        try:
            async with asyncio.timeout(20):
                while (seen := counters[Counter.ACCEPTED]) < before + WAITING:
                    await asyncio.sleep(0)
                    most = max(most, counters[Counter.ACCEPTED] - seen)
        finally:
            for client in clients:
                client.close()
        await until(lambda: server.service.empty)
    return most


def test_a_wake_up_takes_a_few_of_many_waiting_connections_and_all_are_taken() -> None:
    assert asyncio.run(most_accepted_in_a_turn()) == acceptor.ACCEPTS_PER_WAKE_UP < WAITING


def test_without_that_bound_one_wake_up_would_take_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptor, "ACCEPTS_PER_WAKE_UP", 1000)
    assert asyncio.run(most_accepted_in_a_turn()) == WAITING
