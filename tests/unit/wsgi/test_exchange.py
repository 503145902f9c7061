"""What a request costs and keeps: slow clients, clients that leave, cut calls, the ends of answer and call."""

import gc
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from smoothserve.wsgi.body import ClientDisconnectedError
from smoothserve.wsgi.exchange import WSGIExchange
from smoothserve.wsgi.output import MEMORY_BYTES, TAKE_BYTES
from tests.unit.wsgi.fakes import FakeConnection, Server, request

KIB_64 = bytes(range(256)) * 256


def hold(condition: Callable[[], Any]) -> None:
    """Wait on an application thread."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


class Stream:
    """An application whose answer has `count` parts; it is seen how far it got and that it was closed."""

    def __init__(self, count: float, part: bytes = KIB_64) -> None:
        self.count = count
        self.part = part
        self.yielded = 0
        self.closed = threading.Event()

    def __call__(self, environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            while self.yielded < self.count:
                self.yielded += 1
                yield self.part
        finally:
            self.closed.set()


# slow clients


def test_a_slow_client_does_not_hold_the_thread() -> None:
    stream = Stream(100)
    with Server(stream) as server:
        connection = FakeConnection()
        connection.high_water = 1
        _, exchange = server.begin(connection=connection)
        server.until(lambda: connection.returned)
        assert len(connection.sent) < 2 * 1024 * 1024
        other = server.answer(connection=FakeConnection())
        assert other.finished
        while not connection.finished:
            connection.drain(exchange)
        assert connection.body == KIB_64 * 100
        assert connection.sent.endswith(b"0\r\n\r\n")


def test_an_answer_waits_for_a_connection_that_is_not_writable() -> None:
    with Server(Stream(1)) as server:
        connection = FakeConnection(writable=False)
        _, exchange = server.begin(connection=connection)
        server.until(lambda: connection.returned)
        assert not connection.sent
        connection.drain(exchange)
        assert connection.finished
        assert connection.body == KIB_64


def test_an_endless_stream_waits_at_the_bound_of_the_disk_and_goes_on_with_the_client() -> None:
    stream = Stream(float("inf"))
    bound = 8 * 1024 * 1024
    with Server(stream, disk_bytes=bound) as server:
        connection = FakeConnection()
        connection.high_water = 1
        _, exchange = server.begin(connection=connection)
        # On disk, in memory, with the connection, and in the application's hands.
        most = (bound + MEMORY_BYTES + TAKE_BYTES) // len(KIB_64) + 2
        server.until(lambda: stream.yielded >= most - 8)
        assert stream.yielded <= most
        taken = 0
        while taken < 40:
            server.until(lambda: not connection.writable)
            connection.drain(exchange)
            taken += 1
        server.until(lambda: stream.yielded > most)
        assert connection.body[: len(KIB_64) * 100] == KIB_64 * 100
        exchange.client_left()
        server.until(lambda: connection.returned)
        assert stream.closed.is_set()


def test_what_was_sent_before_an_error_reaches_the_slow_client_before_the_cut() -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        for _ in range(40):
            yield KIB_64
        raise ValueError("broken")

    with Server(app) as server:
        connection = FakeConnection()
        connection.high_water = 1
        _, exchange = server.begin(connection=connection)
        server.until(lambda: connection.returned)
        while not connection.failed:
            connection.drain(exchange)
        assert connection.body == KIB_64 * 40
        assert not connection.sent.endswith(b"0\r\n\r\n")


def test_many_small_parts_share_writes() -> None:
    with Server(Stream(5000, b"x")) as server:
        connection = server.answer()
        assert connection.body == b"x" * 5000
        assert connection.writes < 2500


def test_a_fast_client_of_an_endless_stream_leaves_the_loop_to_others() -> None:
    stream = Stream(float("inf"))
    with Server(stream, disk_bytes=2 * MEMORY_BYTES) as server:
        connection, exchange = server.begin()
        for _ in range(10):
            before = len(connection.sent)
            server.turn()
            server.turn()
            assert len(connection.sent) - before < 8 * 1024 * 1024
        exchange.client_left()
        server.until(lambda: connection.returned)


def test_small_parts_at_full_speed_leave_the_loop_to_others() -> None:
    over: list[bool] = []

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        while not over:
            yield b"0123456789"

    with Server(app) as server:
        connection, exchange = server.begin(request())
        server.until(lambda: connection.sent)
        for _ in range(200):
            before = len(connection.sent)
            server.turn()
            # Bounded by looks at the output, whatever is added to it meanwhile: a few thousand parts of ten bytes.
            assert len(connection.sent) - before < MEMORY_BYTES // 4
        assert exchange.output is not None
        assert exchange.output._put - exchange.output._taken < MEMORY_BYTES
        over.append(True)
        server.until(lambda: connection.finished)


# clients that leave


@pytest.mark.parametrize("leave", ["client_left", "cancel"])
def test_the_iteration_ends_and_is_closed_when_the_client_leaves(leave: str) -> None:
    stream = Stream(float("inf"))
    with Server(stream, disk_bytes=2 * MEMORY_BYTES) as server:
        connection, exchange = server.begin()
        server.until(lambda: connection.sent)
        getattr(exchange, leave)()
        sent = len(connection.sent)
        server.until(lambda: connection.returned)
        assert stream.closed.is_set()
        assert len(connection.sent) == sent
        assert not connection.finished
        assert not connection.failed
        assert server.log.text == ""


@pytest.mark.parametrize("leave", ["client_left", "cancel"])
def test_a_thread_that_waits_for_room_is_free_at_once_when_the_client_leaves(leave: str) -> None:
    stream = Stream(float("inf"))
    with Server(stream, disk_bytes=0) as server:
        connection = FakeConnection(writable=False)
        _, exchange = server.begin(connection=connection)
        server.until(lambda: stream.yielded * len(KIB_64) > MEMORY_BYTES)
        getattr(exchange, leave)()
        server.until(lambda: connection.returned)
        assert stream.closed.is_set()


def test_an_application_that_yields_nothing_for_long_is_stopped_too() -> None:
    with Server(Stream(float("inf"), b"")) as server:
        connection, exchange = server.begin()
        server.until(lambda: server.application.pool._threads[0].busy_since)
        exchange.client_left()
        server.until(lambda: connection.returned)


def test_write_tells_an_application_that_its_client_has_left() -> None:
    raised: list[BaseException] = []

    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", [])
        try:
            while True:
                write(KIB_64)
        except OSError as error:
            raised.append(error)
            raise RuntimeError("wrapped, as frameworks do") from error

    with Server(app, disk_bytes=2 * MEMORY_BYTES) as server:
        connection, exchange = server.begin()
        server.until(lambda: connection.sent)
        exchange.client_left()
        server.until(lambda: connection.returned)
        assert isinstance(raised[0], ClientDisconnectedError)
        assert server.log.text == ""


def test_an_error_of_the_applications_own_is_logged_although_the_client_has_left() -> None:
    entered: list[bool] = []
    left: list[bool] = []

    def app(environ: Any, start_response: Any) -> Any:
        entered.append(True)
        hold(lambda: left)
        raise ValueError("boom")

    with Server(app) as server:
        connection, exchange = server.begin()
        server.until(lambda: entered)
        exchange.client_left()
        left.append(True)
        server.until(lambda: connection.returned)
        assert "ValueError: boom" in server.log.text
        assert not connection.sent


@pytest.mark.parametrize(("method", "called"), [("GET", False), ("POST", True)])
def test_a_waiting_call_for_a_client_that_has_left_is_made_only_if_it_may_change_something(
    method: str, called: bool
) -> None:
    release: list[bool] = []
    calls: list[str] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        calls.append(environ["PATH_INFO"])
        hold(lambda: release)
        start_response("200 OK", [])
        return [b""]

    with Server(app) as server:
        first, _ = server.begin(request(target="/first"))
        server.until(lambda: calls)
        second, exchange = server.begin(request(method, "/second"))
        exchange.client_left()
        assert not second.returned
        release.append(True)
        server.until(lambda: first.returned and second.returned)
        assert calls == (["/first", "/second"] if called else ["/first"])
        assert not second.sent


def test_a_waiting_call_that_is_cut_is_not_made() -> None:
    release: list[bool] = []
    calls: list[str] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        calls.append(environ["PATH_INFO"])
        hold(lambda: release)
        start_response("200 OK", [])
        return [b""]

    with Server(app) as server:
        server.begin(request(target="/first"))
        server.until(lambda: calls)
        second, exchange = server.begin(request("POST", "/second"))
        exchange.dropped = True
        exchange.cancel()
        release.append(True)
        server.until(lambda: second.returned)
        assert calls == ["/first"]


def test_a_cut_call_is_in_hand_until_it_returns() -> None:
    release: list[bool] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        hold(lambda: release)
        start_response("200 OK", [])
        return [b"too late"]

    with Server(app) as server:
        connection, exchange = server.begin()
        server.until(lambda: server.application.pool._threads[0].busy_since)
        exchange.dropped = True
        exchange.cancel()
        exchange.cancel()
        exchange.client_left()
        server.turn()
        assert not connection.returned
        release.append(True)
        server.until(lambda: connection.returned)
        assert not connection.sent
        assert server.log.text == ""


def test_a_client_that_only_stops_sending_gets_its_answer() -> None:
    with Server(Stream(3)) as server:
        connection, exchange = server.begin()
        exchange.input_ended()
        server.until(lambda: connection.finished and connection.returned)
        assert connection.body == KIB_64 * 3


# what is left behind


def test_exchanges_leave_no_garbage_for_the_collector() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        environ["wsgi.input"].read()
        start_response("200 OK", [])
        if environ["QUERY_STRING"] == "fail":
            raise ValueError
        return [b"hello"] if environ["QUERY_STRING"] else iter([b"hello", b"again"])

    with Server(app) as server:
        gc.collect()
        gc.disable()
        try:
            for query in ("", "list", "fail"):
                server.answer(request(target=f"/?{query}"))
                server.answer(request("POST", f"/?{query}", content_length=3), b"abc")
            server.log.records.clear()
            # The thread's own frame may still hold the last one.
            left = [one for one in gc.get_objects() if type(one) is WSGIExchange]
            assert len(left) <= 1
        finally:
            gc.enable()


def test_a_defect_of_ours_costs_neither_the_thread_nor_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(Stream(1)) as server:
        monkeypatch.setattr(WSGIExchange, "_make_call", lambda self: 1 / 0)
        connection = server.answer()
        assert connection.failed
        assert "a call has failed in the server" in server.log.text
        monkeypatch.undo()
        assert server.answer().finished


def test_a_connection_that_fails_does_not_hold_up_the_others() -> None:
    class Broken(FakeConnection):
        def write(self, data: bytes) -> None:
            raise RuntimeError("a defect of ours")

    with Server(Stream(1)) as server:
        failures: list[Any] = []
        server.loop.set_exception_handler(lambda loop, context: failures.append(context))
        broken, _ = server.begin(connection=Broken())
        others = [server.begin()[0] for _ in range(5)]
        server.until(lambda: broken.returned and all(one.finished and one.returned for one in others))
        assert failures
        assert not server.application.pool._in_hand
