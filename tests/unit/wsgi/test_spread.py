"""How many threads run at a time, by what has been measured."""

import pytest

from smoothserve.wsgi.spread import WINDOW, Spread

TICK = 0.001


class Load:
    """Feeds a `Spread` with a steady load, tick by tick."""

    def __init__(self, spread: Spread) -> None:
        self.spread = spread
        self.now = 100.0
        self.cpu = 5.0
        self.ended = 0.0

    def run(self, seconds: float, *, share: float, calls_per_second: float, backlog: bool = True) -> None:
        for _ in range(round(seconds / TICK)):
            self.now += TICK
            self.cpu += share * TICK
            self.ended += calls_per_second * TICK
            if self.spread.due(self.now, backlog=backlog):
                self.spread.judge(self.now, self.cpu, int(self.ended))


def test_one_thread_is_the_beginning() -> None:
    assert Spread(8).width == 1


def test_calls_that_wait_get_all_threads_one_after_the_other() -> None:
    spread = Spread(4)
    load = Load(spread)
    load.run(2.5 * WINDOW, share=0.1, calls_per_second=1000)
    assert 1 < spread.width < 4
    load.run(10 * WINDOW, share=0.1, calls_per_second=1000)
    assert spread.width == 4


def test_calls_that_compute_get_one_thread() -> None:
    spread = Spread(4)
    spread.needs(4)
    load = Load(spread)
    load.run(10 * WINDOW, share=0.95, calls_per_second=20000)
    assert spread.width == 1


def test_long_calls_keep_their_threads_even_where_they_compute() -> None:
    spread = Spread(4)
    spread.needs(3)
    Load(spread).run(10 * WINDOW, share=1.0, calls_per_second=50)
    assert spread.width == 3


def test_nothing_is_concluded_without_a_backlog() -> None:
    spread = Spread(4)
    Load(spread).run(10 * WINDOW, share=0.1, calls_per_second=1000, backlog=False)
    assert spread.width == 1


def test_a_pause_is_no_load() -> None:
    spread = Spread(4)
    load = Load(spread)
    for _ in range(20):
        load.run(WINDOW / 2, share=0.9, calls_per_second=20000)
        load.now += 1.0
    assert spread.width == 1


@pytest.mark.parametrize("width", [0, 1, 2, 3, 9])
def test_what_is_needed_is_bounded_by_the_threads_there_are(width: int) -> None:
    spread = Spread(3)
    spread.needs(2)
    spread.needs(width)
    assert spread.width == min(max(width, 2), 3)
