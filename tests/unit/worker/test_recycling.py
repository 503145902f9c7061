"""When a worker asks to be replaced."""

from smoothserve.worker.recycling import lifetime_limit, memory_limit, request_limit, resident_bytes


def test_a_worker_that_has_served_its_number_says_so() -> None:
    served = [99]
    cause = request_limit(100, 0, lambda: served[0])
    assert cause() == ""
    served[0] = 103
    assert cause() == "103 requests (--max-requests)"
    assert request_limit(1, 0, lambda: 1)() == "1 request (--max-requests)"


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


def test_a_lifetime_ends_between_the_limit_and_a_tenth_more() -> None:
    now = 100.0
    least = lifetime_limit(60.0, lambda: now, lambda: 0.0)
    most = lifetime_limit(60.0, lambda: now, lambda: 1.0)
    now = 159.9
    assert (least(), most()) == ("", "")
    now = 160.0
    assert (least(), most()) == ("60 s of life (--max-worker-lifetime)", "")
    now = 166.1
    assert most() == "66 s of life (--max-worker-lifetime)"
    never = lifetime_limit(0.0, lambda: now)
    now += 1e9
    assert never() == ""


def test_memory_is_looked_at_now_and_then_and_bounded_a_little_below_the_limit() -> None:
    now, size, looks = 0.0, 80 * 1048576, 0

    def measure() -> int:
        nonlocal looks
        looks += 1
        return size

    cause = memory_limit(100, measure, lambda: now, lambda: 0.5)
    assert [cause(), cause()] == ["", ""]
    assert looks == 1
    size = 95 * 1048576
    assert cause() == ""
    now = 5.0
    assert cause() == "95 MiB resident (--max-memory)"
    assert memory_limit(0, measure, lambda: now)() == ""
    assert resident_bytes() > 1048576
