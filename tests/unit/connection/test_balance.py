"""An even spread: a worker with clearly more than its share steps back, and never for long."""

from smoothserve.connection.balance import Balance
from smoothserve.control.scoreboard import Counter, Scoreboard


def board(*held: int, accepting: bool = True, progress: int = 10_000) -> tuple[Scoreboard, Balance]:
    scoreboard = Scoreboard.create(16)
    for number, connections in enumerate(held, 1):
        row = scoreboard.row(number)
        row[Counter.CONNECTIONS] = connections
        row[Counter.ACCEPTING] = accepting
        row[Counter.PROGRESS] = progress
    balance = Balance(scoreboard, 0)
    balance.look_around(10_000)
    return scoreboard, balance


def test_a_worker_alone_never_steps_back() -> None:
    assert not board()[1].ahead(10_000)


def test_clearly_more_than_the_share_is_ahead_and_a_little_more_is_not() -> None:
    _, balance = board(10, 10, 10)
    assert not balance.ahead(10)
    assert not balance.ahead(14)
    assert balance.ahead(40)


def test_a_few_connections_are_never_ahead() -> None:
    assert not board(0, 0, 0)[1].ahead(2)


def test_siblings_that_do_not_accept_or_do_not_turn_do_not_count() -> None:
    assert not board(0, 0, accepting=False)[1].ahead(100)
    assert not board(0, 0, progress=1)[1].ahead(100)


def test_a_worker_without_a_free_thread_leaves_the_next_connection_to_one_that_has_one() -> None:
    scoreboard, _ = board(0, 0)
    balance = Balance(scoreboard, 0, capacity=2)
    balance.look_around(10_000)
    assert not balance.crowded(1)
    assert balance.crowded(2)
    for row in (1, 2):
        scoreboard.row(row)[Counter.IN_HAND] = 2
    assert not balance.crowded(2)
    assert not balance.crowded(3)
    assert balance.crowded(4)
