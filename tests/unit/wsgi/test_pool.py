"""The threads: how many run, when the worker counts as saturated, how they end. On real threads."""

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Self

import pytest

from smoothserve.wsgi.pool import ThreadPool
from tests.unit.wsgi.fakes import DEADLINE, Server, request


class Call:
    """A job that notes where it ran."""

    def __init__(self, work: Callable[[], object] = lambda: None) -> None:
        self.work = work
        self.thread = ""
        self.finished = 0

    def run(self) -> None:
        self.thread = threading.current_thread().name
        self.work()

    def deliver(self) -> None:
        raise AssertionError("nothing was posted")

    def finish(self) -> None:
        self.finished += 1


class Held(Call):
    """A job that lasts until it is released."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.release = threading.Event()
        super().__init__(self._hold)

    def _hold(self) -> None:
        self.entered.set()
        assert self.release.wait(DEADLINE)


@pytest.fixture(params=["asyncio", "uvloop"], autouse=True)
def loop_kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "uvloop":
        uvloop = pytest.importorskip("uvloop")
        monkeypatch.setattr(asyncio, "new_event_loop", uvloop.new_event_loop)


class Pool:
    def __init__(self, size: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.changes: list[bool] = []
        self.pool = ThreadPool(
            self.loop,
            size,
            log=logging.getLogger("test"),
            on_saturation=lambda: self.changes.append(self.pool.saturated),
        )
        self.pool.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.loop.run_until_complete(self.pool.stop(DEADLINE))
        self.loop.close()

    def until(self, holds: Callable[[], Any]) -> None:
        async def wait() -> None:
            end = time.monotonic() + DEADLINE
            while not holds():
                assert time.monotonic() < end, "the deadline has passed"
                await asyncio.sleep(0.0005)

        self.loop.run_until_complete(wait())

    def run(self, calls: list[Any]) -> None:
        for call in calls:
            self.pool.submit(call)
        self.until(lambda: all(call.finished for call in calls))


@pytest.mark.parametrize("size", [1, 2, 8])
def test_every_job_is_run_and_finished_once(size: int) -> None:
    with Pool(size) as pool:
        for count in (1, 2, 100, 1000):
            calls = [Call() for _ in range(count)]
            pool.run(calls)
            assert [call.finished for call in calls] == [1] * count
        assert pool.pool._in_hand == 0


def test_short_jobs_run_on_one_thread_at_a_time() -> None:
    running: list[int] = [0]
    most: list[int] = [0]

    def work() -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        running[0] -= 1

    with Pool(8) as pool:
        pool.until(lambda: len(pool.pool._parked) == 7)
        for _ in range(20):
            pool.run([Call(work) for _ in range(20)])
    assert most[0] == 1


def test_jobs_that_wait_get_all_threads() -> None:
    with Pool(4) as pool:
        held = [Held() for _ in range(4)]
        for one in held:
            pool.pool.submit(one)
        pool.until(lambda: all(one.entered.is_set() for one in held))
        assert len({one.thread for one in held}) == 4
        for one in held:
            one.release.set()
        pool.until(lambda: all(one.finished for one in held))


def test_a_job_behind_a_long_one_runs_on_another_thread() -> None:
    with Pool(2) as pool:
        held = Held()
        pool.pool.submit(held)
        pool.until(held.entered.is_set)
        for _ in range(50):
            pool.run([Call() for _ in range(3)])
        held.release.set()
        pool.until(lambda: held.finished)


def test_a_finished_job_does_not_wait_for_the_long_one_behind_it() -> None:
    with Pool(1) as pool:
        short, held = Call(), Held()
        pool.pool.submit(short)
        pool.pool.submit(held)
        pool.until(lambda: short.finished)
        assert not held.finished
        held.release.set()
        pool.until(lambda: held.finished)


@pytest.mark.parametrize("size", [2, 3, 8])
def test_no_job_is_forgotten_whatever_the_order_of_events(size: int) -> None:
    chance = random.Random(size)
    with Pool(size) as pool:
        for _ in range(100):
            pauses = [chance.choice([0, 0, 0, 0.0001, 0.0015]) for _ in range(chance.randrange(1, 2 * size))]
            calls = [Call(partial(time.sleep, pause)) for pause in pauses]
            for call in calls:
                pool.pool.submit(call)
                if chance.random() < 0.3:
                    pool.loop.run_until_complete(asyncio.sleep(chance.choice([0, 0, 0.0002])))
            pool.until(lambda calls=calls: all(call.finished for call in calls))  # type: ignore[misc]


def test_threads_are_daemons_with_names() -> None:
    with Pool(2):
        named = [thread for thread in threading.enumerate() if thread.name.startswith("smoothserve-wsgi-")]
        assert {thread.name for thread in named} == {"smoothserve-wsgi-0", "smoothserve-wsgi-1"}
        assert all(thread.daemon for thread in named)


# saturation


def test_the_pool_is_saturated_while_all_threads_are_in_long_calls() -> None:
    with Pool(2) as pool:
        first, second = Held(), Held()
        pool.pool.submit(first)
        pool.until(first.entered.is_set)
        pool.pool.submit(second)
        pool.until(lambda: pool.pool.saturated)
        assert pool.changes == [True]
        first.release.set()
        pool.until(lambda: not pool.pool.saturated)
        assert pool.changes == [True, False]
        second.release.set()
        pool.until(lambda: second.finished)
        assert pool.changes == [True, False]


def test_the_pool_stays_saturated_while_more_waits() -> None:
    with Pool(1) as pool:
        held = [Held() for _ in range(3)]
        for one in held:
            pool.pool.submit(one)
        pool.until(lambda: pool.pool.saturated)
        held[0].release.set()
        pool.until(held[1].entered.is_set)
        pool.until(lambda: held[0].finished)
        assert pool.pool.saturated
        held[1].release.set()
        held[2].release.set()
        pool.until(lambda: not pool.pool.saturated)
        assert pool.changes == [True, False]


def test_after_long_calls_the_pool_is_saturated_at_once() -> None:
    with Pool(1) as pool:
        for _ in range(3):
            held = Held()
            pool.pool.submit(held)
            pool.until(lambda: pool.pool.saturated)
            end = time.monotonic() + 0.002
            pool.until(lambda end=end: time.monotonic() > end)  # type: ignore[misc]
            held.release.set()
            pool.until(lambda held=held: held.finished)  # type: ignore[misc]
        held = Held()
        pool.pool.submit(held)
        assert pool.pool.saturated
        held.release.set()
        pool.until(lambda: held.finished)


# the end


def test_stop_waits_for_what_is_in_hand_and_ends_the_threads() -> None:
    pool = Pool(3)
    held = Held()
    waiting = [Call() for _ in range(5)]
    pool.pool.submit(held)
    for call in waiting:
        pool.pool.submit(call)
    pool.loop.call_later(0.01, held.release.set)
    pool.loop.run_until_complete(pool.pool.stop(DEADLINE))
    assert held.finished
    assert all(call.finished for call in waiting)
    assert pool.pool._alive == 0
    pool.loop.close()


def test_stop_leaves_a_stuck_thread_behind() -> None:
    pool = Pool(2)
    held = Held()
    pool.pool.submit(held)
    pool.until(held.entered.is_set)
    began = time.monotonic()
    pool.loop.run_until_complete(pool.pool.stop(0.05))
    assert time.monotonic() - began < 5
    pool.loop.close()
    # What comes back after the loop's end harms nobody.
    held.release.set()
    end = time.monotonic() + DEADLINE
    while any(thread.name.startswith("smoothserve-wsgi-") for thread in threading.enumerate()):
        assert time.monotonic() < end


def test_the_application_starts_and_stops_as_a_workers_lifecycle() -> None:
    server = Server(lambda environ, start_response: [])
    server.loop.run_until_complete(server.application.shutdown(DEADLINE))
    assert server.application.pool._alive == 0
    server.loop.run_until_complete(server.application.startup())
    assert server.application.pool._alive == 1
    server.close()


def test_saturation_is_passed_on() -> None:
    release: list[bool] = []
    changes: list[int] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        while not release:
            time.sleep(0.001)
        start_response("200 OK", [])
        return [b"done"]

    with Server(app, on_saturation=lambda: changes.append(1)) as server:
        connection, _ = server.begin(request())
        server.until(lambda: server.application.saturated)
        release.append(True)
        server.until(lambda: connection.returned)
        assert not server.application.saturated
        assert len(changes) == 2
