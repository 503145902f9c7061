from smoothserve.control.measures import USED_WORDS, WORDS, Measures
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


def test_what_was_measured_and_why_requests_were_dropped_outlives_the_worker() -> None:
    tally = Tally(2)
    for clean, unanswered in ((True, 9), (False, 2)):
        row = tally.take_row()
        assert row is not None
        words = tally.scoreboard.row(row)
        words[Counter.DROPPED] = 3
        words[Counter.DROPPED_AT_DRAIN], words[Counter.DROPPED_AT_STOP] = 1, 2
        words[Counter.UNANSWERED] = unanswered
        tally.scoreboard.measures(row)[0] = 10
        before = tally.measured()[0]
        tally.settle(row, clean=clean)
        assert tally.measured()[0] == before
    assert before == 20
    assert tally.dropped_by_reason() == {"drain-timeout": 2, "stop-timeout": 4, "worker-died": 2}
    assert sum(tally.dropped_by_reason().values()) == tally.total(Counter.DROPPED)


def test_a_worker_that_measures_more_than_the_master_knows_leaves_that_out() -> None:
    measures, row = Measures(), memoryview(bytearray(8 * 8)).cast("q")
    measures.publish(row, finished=5, seconds=1.0, received=0, sent=0)
    assert list(row) == [0, 5, 0, 0, 0, 0, 0, 0]
    assert USED_WORDS <= WORDS
