"""An even spread: a worker with clearly more than its share steps back, and never for long."""

from smoothserve.connection.balance import PATIENCE, Balance
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


def test_a_sibling_that_does_not_come_is_not_waited_for_again_until_it_accepts() -> None:
    scoreboard, balance = board(0, 0)
    for _ in range(PATIENCE):
        assert balance.ahead(30)
        balance.give_way()
    assert balance.ahead(30)
    balance.give_way()
    assert not balance.ahead(30)
    # One comes at last: it counts again, the other one does not.
    scoreboard.row(1)[Counter.ACCEPTED] += 1
    assert balance.ahead(30)
    scoreboard.row(1)[Counter.CONNECTIONS] = 30
    assert not balance.ahead(30)


def test_siblings_that_come_are_waited_for_as_often_as_it_takes() -> None:
    scoreboard, balance = board(0, 0)
    for _ in range(100):
        assert balance.ahead(30)
        balance.give_way()
        scoreboard.row(2)[Counter.ACCEPTED] += 1


def test_a_sibling_that_did_not_come_gets_another_chance_at_the_next_look() -> None:
    _, balance = board(0, 0)
    while balance.ahead(30):
        balance.give_way()
    balance.look_around(10_500)
    assert balance.ahead(30)


def test_a_sibling_that_has_stopped_accepting_counts_no_more_at_once() -> None:
    scoreboard, balance = board(0)
    assert balance.ahead(30)
    scoreboard.row(1)[Counter.ACCEPTING] = 0
    assert not balance.ahead(30)
    assert not balance.alone
