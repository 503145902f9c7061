"""The tests of the handover turn red when its rules are broken: what cannot fail proves nothing."""

from pathlib import Path

import pytest

from tests.load.runner import Load
from tests.load.scenarios import Scenario, get_and_post, slow_requests, slow_rows
from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import assert_nothing_dropped
from tests.process.hooks import Hooks

#: The successor takes its time over the first offers, as one does that is busy: for the races that this opens.
SLOW_RECEIVER = """\
    def slow_down(self):
        if self._service.adopted < 40:
            time.sleep(0.02)
        original_readable(self)

    original_readable, Adopting._on_readable = Adopting._on_readable, slow_down

"""
BUSY = get_and_post(48, think=(0.0, 0.01))

SABOTAGES: dict[str, tuple[str, Scenario]] = {
    "it does not stop reading before it offers": (
        SLOW_RECEIVER
        + """\
    def hold_reading(self, who):
        if who == BY_HANDOVER:
            self._read_holds |= who
        else:
            original(self, who)

    original, Connection._hold_reading = Connection._hold_reading, hold_reading
""",
        BUSY,
    ),
    "it drops what it has read and not used": (
        """\
    def describe(self):
        return original(self)[0], b""

    original, HTTPConnection.describe = HTTPConnection.describe, describe
""",
        slow_rows(16),
    ),
    "it shuts the socket down when it lets go": (
        """\
    def let_go(self):
        import socket
        os_socket = socket.socket(fileno=os.dup(self.fileno()))
        os_socket.shutdown(socket.SHUT_RDWR)
        os_socket.close()
        original(self)

    original, Connection.let_go = Connection.let_go, let_go
""",
        BUSY,
    ),
    "it reads on after a bare time-out": (
        SLOW_RECEIVER
        + """\
    def offer(self, link, connection):
        original(self, link, connection)
        _, leftover, _ = next(reversed(link.offers.values()))
        self._loop.call_later(0.005, read_on, connection, leftover)

    def read_on(connection, leftover):
        if not connection.gone:
            connection.take_back(leftover)

    original, Offering._offer = Offering._offer, offer
""",
        slow_requests(48, (0.005, 0.04)),
    ),
}


def reload_under(serve: Serve, directory: AppDirectory, hooks: Hooks, traffic: Scenario) -> Load:
    server = serve(directory, "--workers", "1", "--soak-interval", "0.1", environ=hooks.environ)
    server.tracebacks_expected = True
    server.exit_code_expected = None
    with Load(server.target, traffic, timeout=3.0) as load:
        load.wait_answers(100)
        for version in ("2", "3"):
            directory.deploy(version)
            server.reload()
            load.wait_answers(100)
            if load.report.dropped or load.report.connections_closed_idle:
                break
    return load


@pytest.mark.parametrize("what", SABOTAGES)
def test_a_sabotaged_handover_turns_the_drop_tests_red(
    serve: Serve, directory: AppDirectory, tmp_path: Path, what: str
) -> None:
    code, traffic = SABOTAGES[what]
    load = reload_under(serve, directory, Hooks(tmp_path / "hooks", code), traffic)
    with pytest.raises(AssertionError):
        assert_nothing_dropped(load.report, *load.report.versions)
    assert load.report.dropped


def test_a_slow_receiver_alone_is_green(serve: Serve, directory: AppDirectory, tmp_path: Path) -> None:
    load = reload_under(serve, directory, Hooks(tmp_path / "hooks", SLOW_RECEIVER), BUSY)
    assert_nothing_dropped(load.report, "1", "2", "3")
    assert load.report.connections_opened == 48
