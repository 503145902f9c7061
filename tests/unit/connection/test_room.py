"""Room for calls: free threads, less what has been accepted, plus what is about to become free. With a fake clock."""

import pytest

from smoothserve.connection import room
from smoothserve.connection.room import EXPECTED, LATELY, Room


class Threads:
    def __init__(self, free: int) -> None:
        self.free = free
        self.calls_ended = 0
        self.stuck_since = 0.0
        self.notices = 0

    def request_notice(self) -> None:
        self.notices += 1


class Connection:
    awaits_request = True


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(room, "time", clock)
    return clock


def test_there_is_room_for_as_many_connections_as_threads_are_free(clock: Clock) -> None:
    threads = Threads(2)
    space = Room(threads)
    for _ in range(2):
        assert space.allows_one()
        space.expect(Connection())
    assert not space.allows_one()
    assert space.free == 0


def test_a_request_that_has_come_is_counted_by_its_call_only(clock: Clock) -> None:
    space = Room(Threads(1))
    connection = Connection()
    space.expect(connection)
    assert not space.allows_one()
    connection.awaits_request = False
    assert space.allows_one()


def test_a_client_that_is_slow_to_send_is_not_waited_for_long(clock: Clock) -> None:
    space = Room(Threads(1))
    space.expect(Connection())
    assert not space.allows_one()
    assert space.allows_one(patient=False)
    clock.now += EXPECTED
    assert space.allows_one()


def test_threads_that_are_in_calls_leave_no_room_however_long_one_waits(clock: Clock) -> None:
    space = Room(Threads(0))
    clock.now += 10
    assert not space.allows_one()
    assert not space.allows_one(patient=False)


def test_calls_that_end_one_after_the_other_are_room_for_as_many(clock: Clock) -> None:
    threads = Threads(0)
    space = Room(threads)
    assert not space.allows_one()
    for _ in range(20):
        threads.calls_ended += 3
        clock.now += LATELY / 4
        assert space.allows_one()
    clock.now += 3 * LATELY
    assert not space.allows_one()


def test_connections_are_forgotten_also_where_nobody_asks_for_room(clock: Clock) -> None:
    space = Room(Threads(1))
    connections = [Connection() for _ in range(1000)]
    for connection in connections:
        space.expect(connection)
        clock.now += EXPECTED / 2
    kept = sum(connection in [one for _, one in space._expected] for connection in connections)
    assert kept <= 3
