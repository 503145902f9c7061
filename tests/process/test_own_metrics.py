"""The how-to's code for an application's own metrics: its counters never go back, whatever becomes of the workers."""

import http.client
import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import Server
from tests.process.processes import is_running, wait_until

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "measure-the-application.md"
FILES = re.compile(r"^```python\n# (\w+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TIMEOUT = 30.0
COUNTED = re.compile(r"_(total|count|sum|bucket)\b")

both_applications = pytest.mark.parametrize(
    ("app", "options"), [("shop:app", ()), ("flask_shop:app", ("--threads", "4"))], ids=["starlette", "flask"]
)


@pytest.fixture
def directory(tmp_path: Path) -> AppDirectory:
    """An application directory with the page's files."""
    directory = AppDirectory(tmp_path / "app")
    for name, code in FILES.findall(PAGE.read_text()):
        directory.write(name, code)
    return directory


def start(serve: Serve, directory: AppDirectory, app: str, *options: str) -> Server:
    where = f"PROMETHEUS_MULTIPROC_DIR={directory.path / 'prometheus'}"
    return serve(directory, "--workers", "2", "--env", where, *options, app=app)


def get(server: Server, path: str) -> str:
    """Ask on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read().decode()
    finally:
        connection.close()


def samples(server: Server) -> dict[str, float]:
    lines = [line for line in get(server, "/metrics").splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


class Customer:
    """Orders again and again on one connection, until it is told to stop."""

    def __init__(self, server: Server) -> None:
        self.answered = 0
        self.lost = 0
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=TIMEOUT)
        while not self._over.is_set():
            try:
                connection.request("GET", "/order")
                answer = connection.getresponse()
                assert (answer.status, answer.read()) == (200, b"thank you\n")
                self.answered += 1
            except (OSError, http.client.HTTPException):
                self.lost += 1
                connection.close()
        connection.close()

    @contextmanager
    def ordering(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._thread.join(TIMEOUT)
            assert not self._thread.is_alive()


class Scrapes:
    """Scrapes, and holds each against the one before."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.last: dict[str, float] = {}

    def take(self) -> dict[str, float]:
        now = samples(self._server)
        back = {name: (value, now.get(name)) for name, value in self.last.items() if now.get(name, -1.0) < value}
        self.last = {name: value for name, value in now.items() if COUNTED.search(name)}
        assert back == {}, "numbers that went back"
        return now


def worker_gauges(directory: AppDirectory) -> set[int]:
    """Return the process numbers that have live gauges."""
    paths = (directory.path / "prometheus").glob("gauge_live*.db")
    return {int(path.stem.rpartition("_")[2]) for path in paths}


@both_applications
def test_own_counters_go_on_through_a_reload_and_the_kill_of_a_worker(
    serve: Serve, directory: AppDirectory, app: str, options: tuple[str, ...]
) -> None:
    server = start(serve, directory, app, *options)
    scrapes, customer = Scrapes(server), Customer(server)

    def wait_more() -> None:
        enough = customer.answered + 20
        wait_until(lambda: (scrapes.take(), customer.answered >= enough)[1], TIMEOUT, "more orders")

    with customer.ordering():
        wait_more()
        old = server.workers
        server.hup()
        wait_until(lambda: (scrapes.take(), "reload drained: generation 2" in server.log())[1], 60, "the reload")
        server.wait_gone(old)
        wait_more()
        assert customer.lost == 0
    assert scrapes.take()["shop_orders_total"] == customer.answered
    assert scrapes.last["shop_order_seconds_count"] == customer.answered
    assert scrapes.last['shop_order_seconds_bucket{le="+Inf"}'] == customer.answered

    after = Customer(server)
    with after.ordering():
        wait_until(lambda: (scrapes.take(), after.answered >= 10)[1], TIMEOUT, "orders")
        os.kill(server.workers[0], signal.SIGKILL)
        server.wait_log("died by SIGKILL")
        wait_until(lambda: len(server.workers) == 2, TIMEOUT, "its successor")
        enough = after.answered + 20
        wait_until(lambda: after.answered >= enough, TIMEOUT, "more orders")
        scrapes.take()
    # What the killed one had in hand may be counted though nobody has its answer.
    answered = customer.answered + after.answered
    assert answered <= scrapes.take()["shop_orders_total"] <= answered + after.lost


@both_applications
def test_live_gauges_of_gone_workers_go_and_those_of_running_ones_stay(
    serve: Serve, directory: AppDirectory, app: str, options: tuple[str, ...]
) -> None:
    server = start(serve, directory, app, *options)
    slow = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)
    slow.request("GET", "/order?seconds=600")
    wait_until(lambda: samples(server)["shop_orders_in_progress"] == 1, TIMEOUT, "the order in progress")
    old = server.workers
    server.reload()
    # The worker that takes the order retires, and still counts; the other has left.
    wait_until(lambda: len([pid for pid in old if is_running(pid)]) == 1, TIMEOUT, "one to leave")
    (retiring,) = [pid for pid in old if is_running(pid)]
    assert samples(server)["shop_orders_in_progress"] == 1
    assert retiring in worker_gauges(directory)
    os.kill(retiring, signal.SIGKILL)
    server.wait_gone([retiring])
    wait_until(lambda: samples(server)["shop_orders_in_progress"] == 0, TIMEOUT, "the lost order to be forgotten")
    slow.close()

    def only_those_that_run() -> bool:
        samples(server)
        return worker_gauges(directory) <= set(server.workers)

    wait_until(only_those_that_run, TIMEOUT, "no live gauges but those of running workers")


def test_a_worker_killed_amid_its_start_does_not_break_the_metrics(serve: Serve, directory: AppDirectory) -> None:
    server = start(serve, directory, "shop:app")
    get(server, "/order")
    # What prometheus_client leaves of a process that is killed between making a file and sizing it.
    (directory.path / "prometheus" / "counter_4194305.db").touch()
    assert samples(server)["shop_orders_total"] == 1


def test_a_directory_that_is_emptied_before_the_start_begins_at_nothing(serve: Serve, directory: AppDirectory) -> None:
    first = start(serve, directory, "shop:app")
    get(first, "/order")
    assert samples(first)["shop_orders_total"] == 1
    first.stop()
    (line,) = re.findall(r"^rm -rf .*$", PAGE.read_text(), re.MULTILINE)
    assert os.system(f"PROMETHEUS_MULTIPROC_DIR='{directory.path}/prometheus'; {line}") == 0
    assert samples(start(serve, directory, "shop:app")).get("shop_orders_total", 0) == 0
