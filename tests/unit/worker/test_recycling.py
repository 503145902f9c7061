"""When a worker asks to be replaced."""

from smoothserve.worker.recycling import request_limit


def test_a_worker_that_has_served_its_number_says_so() -> None:
    served = [99]
    cause = request_limit(100, 0, lambda: served[0])
    assert cause() == ""
    served[0] = 103
    assert cause() == "103 requests (--max-requests)"


def test_without_a_limit_there_is_no_cause() -> None:
    assert request_limit(0, 50, lambda: 10**9)() == ""


def test_the_jitter_is_drawn_for_each_worker_between_nothing_and_its_most() -> None:
    served = [0]

    def number() -> int:
        cause = request_limit(100, 3, lambda: served[0])
        for served[0] in range(90, 110):
            if cause():
                break
        return served[0]

    assert {number() for _ in range(200)} == {100, 101, 102, 103}
