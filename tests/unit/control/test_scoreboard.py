import os
from array import array

from smoothserve.control.measures import WORDS
from smoothserve.control.scoreboard import ROW_BYTES, Counter, Scoreboard


def test_what_one_process_counts_another_reads_also_after_its_death() -> None:
    board = Scoreboard.create(4)
    pid = os.fork()
    if pid == 0:
        Scoreboard(board.fd, 4).row(2)[Counter.DROPPED] = 7
        os._exit(0)
    os.waitpid(pid, 0)
    assert board.row(2)[Counter.DROPPED] == 7
    assert list(board.row(1)) == list(board.row(3)) == [0] * (ROW_BYTES // 8)
    board.clear(2)
    assert board.row(2)[Counter.DROPPED] == 0
    board.measures(3)[:2] = array("q", [5, 6])
    assert list(board.row(3)) == [0] * (ROW_BYTES // 8)
    assert list(board.measures(2)) == [0] * WORDS
    board.clear(3)
    assert not any(board.measures(3))


def test_its_file_is_not_inherited() -> None:
    assert not os.get_inheritable(Scoreboard.create(1).fd)
