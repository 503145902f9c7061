from smoothserve.control.scoreboard import Counter
from smoothserve.master.tally import Tally


def test_what_a_worker_counted_is_in_the_totals_while_it_lives_and_after() -> None:
    tally = Tally(4)
    row = tally.take_row()
    assert row is not None
    words = tally.scoreboard.row(row)
    words[Counter.REQUESTS] = 10
    words[Counter.DROPPED] = 1
    words[Counter.UNANSWERED] = 2
    assert tally.total(Counter.REQUESTS) == 10
    assert tally.settle(row, clean=True) == 1
    assert tally.total(Counter.REQUESTS) == 10
    assert tally.total(Counter.DROPPED) == 1


def test_what_a_crashed_worker_had_not_answered_is_dropped() -> None:
    tally = Tally(4)
    row = tally.take_row()
    assert row is not None
    words = tally.scoreboard.row(row)
    words[Counter.DROPPED] = 1
    words[Counter.UNANSWERED] = 2
    assert tally.settle(row, clean=False) == 3
    assert tally.total(Counter.DROPPED) == 3


def test_rows_are_used_again_empty() -> None:
    tally = Tally(1)
    row = tally.take_row()
    assert row == 0
    assert tally.take_row() is None
    tally.scoreboard.row(0)[Counter.CONNECTIONS] = 5
    tally.settle(0, clean=True)
    assert tally.take_row() == 0
    assert tally.scoreboard.row(0)[Counter.CONNECTIONS] == 0
