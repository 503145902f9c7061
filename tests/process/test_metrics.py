"""Metrics come from a process beside the master, and go on through reloads and the deaths of workers and its own."""

import os
import re
import signal
import socket
import struct
import urllib.error
import urllib.request
from contextlib import ExitStack

import pytest

from smoothserve.errors import ExitCode
from tests.load.runner import Load
from tests.load.scenarios import get_and_post, one_slow_request
from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import Server
from tests.process.processes import running, wait_until
from tests.process.test_status import GET, UPGRADE, connect
from tests.process.test_watchdog import BLOCKS_LOOP, block

DROPPED = ("drain-timeout", "stop-timeout", "worker-died")


def metrics(server: Server) -> dict[str, float]:
    """Return the samples by name and labels; none while nobody answers."""
    url = server.wait_log(r"metrics at (http\S+)")[1]
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            lines = answer.read().decode().splitlines()
    except (urllib.error.URLError, ConnectionError):
        return {}
    samples = {}
    for line in lines:
        if not line.startswith("#"):
            assert re.fullmatch(r'[a-z_]+(\{([a-z]+="[^"]*",?)*\})? [0-9.e+-]+', line), line
            name, _, value = line.rpartition(" ")
            samples[name] = float(value)
    return samples


def side_process(server: Server) -> int:
    found = running(server.pid, "smoothserve.metrics")
    return found[0] if found else 0


def test_metrics_add_up_through_reloads_and_deaths(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--metrics-bind", "127.0.0.1:0")
    with Load(server.target, get_and_post(2)) as load:
        load.wait_answers(50)
    answered = load.report.answered
    wait_until(lambda: metrics(server).get("smoothserve_requests_total", 0) >= answered, 20, "all requests counted")
    before = metrics(server)["smoothserve_requests_total"]
    server.reload()
    server.wait_drained()
    after = metrics(server)
    assert after["smoothserve_requests_total"] >= before
    assert {after[f'smoothserve_dropped_total{{reason="{reason}"}}'] for reason in DROPPED} == {0}
    assert after['smoothserve_reloads_total{result="finished"}'] == 1
    assert after["smoothserve_generation"] == 2
    causes = ("died", "max-requests", "max-worker-lifetime", "max-memory", "request-timeout", "timeout")
    assert {after[f'smoothserve_worker_restarts_total{{cause="{cause}"}}'] for cause in causes} == {0}
    os.kill(side_process(server), signal.SIGKILL)
    server.wait_log("smoothserve.metrics has ended: it is started again")
    wait_until(lambda: metrics(server).get("smoothserve_requests_total", 0) >= before, 30, "metrics again")


def test_every_answer_is_told_and_no_counter_goes_back_when_workers_are_replaced_or_killed(
    serve: Serve, directory: AppDirectory
) -> None:
    server = serve(directory, "--workers", "2", "--metrics-bind", "127.0.0.1:0")
    with Load(server.target, get_and_post(4)) as load:
        load.wait_answers(60)
    answered = load.report.answered
    with Load(server.target, one_slow_request(2, 0.3)) as load:
        load.wait_answers(2)

    def told() -> float:
        return sum(value for name, value in metrics(server).items() if name.startswith("smoothserve_answers_total"))

    wait_until(lambda: told() == answered + 2, 20, "every answer to be told")
    first = metrics(server)
    assert first['smoothserve_answers_total{method="POST",status="2xx"}'] > 0
    assert first['smoothserve_answers_total{method="GET",status="2xx"}'] > 0
    duration = "smoothserve_request_duration_seconds"
    assert first[f"{duration}_count"] == first[f'{duration}_bucket{{le="+Inf"}}'] == answered + 2
    assert first[f'{duration}_bucket{{le="0.25"}}'] <= answered
    assert first[f"{duration}_sum"] >= 0.6
    assert first["smoothserve_received_bytes_total"] > 20 * answered
    assert first["smoothserve_sent_bytes_total"] > 20 * answered
    server.reload()
    server.wait_drained()
    second = metrics(server)
    os.kill(server.workers[-1], signal.SIGKILL)
    died = 'smoothserve_worker_restarts_total{cause="died"}'
    wait_until(lambda: metrics(server).get(died) == 1, 30, "the death to be counted")
    third = metrics(server)
    assert second["smoothserve_reload_duration_seconds_count"] == 1
    assert 0 < second["smoothserve_reload_duration_seconds_sum"] < 60
    for before, after in ((first, second), (second, third)):
        lasting = [name for name in before if re.search(r"_(total|count|sum|bucket)\b", name)]
        assert len(lasting) > 30
        assert [name for name in lasting if after.get(name, 0) < before[name]] == []


def test_dropped_requests_are_told_by_reason_and_lost_clients_are_not_among_them(
    serve: Serve, directory: AppDirectory
) -> None:
    server = serve(directory, "--metrics-bind", "127.0.0.1:0", "--drain-timeout", "0.2", "--graceful-timeout", "1")
    with Load(server.target, one_slow_request(2, 60)) as load:
        load.wait_until(lambda report: report.connections_opened == 2)
        wait_until(lambda: metrics(server).get("smoothserve_requests_in_progress") == 2, 20, "two in progress")
        server.reload()
        server.wait_drained()
    reason = 'smoothserve_dropped_total{{reason="{}"}}'.format
    assert metrics(server)[reason("drain-timeout")] == 2
    with Load(server.target, one_slow_request(1, 60)) as load:
        load.wait_until(lambda report: report.connections_opened == 1)
        wait_until(lambda: metrics(server).get("smoothserve_requests_in_progress") == 1, 20, "one in progress")
        os.kill(next(pid for pid in server.workers if pid != side_process(server)), signal.SIGKILL)
        wait_until(lambda: metrics(server).get(reason("worker-died")) == 1, 20, "the death to be counted")
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET /slow/a/60 HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_until(lambda: metrics(server).get("smoothserve_requests_in_progress") == 1, 20, "one in progress")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    left = 'smoothserve_unfinished_total{by="client"}'
    wait_until(lambda: metrics(server).get(left) == 1, 20, "the client's leaving to be told")
    told = metrics(server)
    assert [told[reason(one)] for one in DROPPED] == [2, 0, 1]


def test_the_metrics_process_ends_with_a_master_that_is_killed(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--metrics-bind", "127.0.0.1:0")
    wait_until(lambda: metrics(server), 20, "metrics")
    url = server.wait_log(r"metrics at (http\S+)")[1]
    with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=20) as head:
        assert (head.status, head.read()) == (200, b"")
        assert int(head.headers["Content-Length"]) > 1000
    pids = [side_process(server), *server.workers]
    server.exit_code_expected = -signal.SIGKILL
    server.kill(signal.SIGKILL)
    server.wait_gone(pids)


def test_an_address_for_metrics_that_is_in_use_is_one_line(serve: Serve, directory: AppDirectory) -> None:
    first = serve(directory)
    second = serve(directory, "--metrics-bind", f"127.0.0.1:{first.port}", wait=False)
    second.exit_code_expected = ExitCode.BIND_FAILED
    assert second.wait_exit() == ExitCode.BIND_FAILED
    (line,) = (line for line in second.log().splitlines() if "cannot listen" in line)
    assert line == second.log().splitlines()[-1]
    assert f"] --metrics-bind: cannot listen on 127.0.0.1:{first.port}: it is in use" in line
    assert line.endswith("choose another address"), "which of the addresses is said before"


MOVES_ON = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    await receive()
    if scope["type"] == "websocket":
        scope["extensions"]["smoothserve.handover"]["opt_in"]()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""


def test_connections_are_counted_open_accepted_and_handed_over(serve: Serve, directory: AppDirectory) -> None:
    directory.write("app.py", MOVES_ON)
    server = serve(directory, "--workers", "2", "--metrics-bind", "127.0.0.1:0", "--soak-interval", "0")
    names = ("connections", "websockets", "connections_accepted_total", "handed_over_total", "websockets_carried_total")

    def wait_told(*wanted: int) -> dict[str, float]:
        last: dict[str, float] = {}

        def as_wanted() -> bool:
            last.update(now := metrics(server))
            return [now.get(f"smoothserve_{name}") for name in names] == list(wanted)

        try:
            wait_until(as_wanted, 30, "")
        except AssertionError:
            raise AssertionError(f"{names}: {wanted} wanted, told {last}") from None
        return last

    with ExitStack() as stack:
        for _ in range(3):
            connect(server, stack, GET, b"ok")
        socket_ = connect(server, stack, UPGRADE, b"\r\n\r\n")
        wait_told(4, 1, 4, 0, 0)
        server.reload()
        server.wait_drained()
        told = wait_told(4, 1, 4, 4, 1)
        # The same, worker by worker, of those of the new generation only.
        for kind, count in (("connections", 4), ("websockets", 1), ("in_hand", 1)):
            each = {name: value for name, value in told.items() if name.startswith(f"smoothserve_worker_{kind}{{")}
            assert sum(each.values()) == count
            assert all('generation="2"' in name for name in each)
        socket_.close()
        wait_told(3, 0, 4, 4, 1)
        connect(server, stack, GET, b"ok")
        wait_told(4, 0, 5, 4, 1)
    wait_told(0, 0, 5, 4, 1)


@pytest.mark.parametrize(
    ("cause", "value"), [("max-requests", "5"), ("max-worker-lifetime", "1"), ("max-memory", "1"), ("timeout", "1")]
)
def test_restarts_are_told_by_their_cause(serve: Serve, directory: AppDirectory, cause: str, value: str) -> None:
    directory.deploy("1", after=BLOCKS_LOOP)
    server = serve(directory, f"--{cause}", value, "--metrics-bind", "127.0.0.1:0", "--soak-interval", "0")

    def restarts() -> dict[str, float]:
        pattern = re.compile(r'smoothserve_worker_restarts_total\{cause="(.*)"\}')
        return {found[1]: value for name, value in metrics(server).items() if (found := pattern.fullmatch(name))}

    wait_until(restarts, 20, "metrics")
    if cause == "max-requests":
        assert set(restarts().values()) == {0}
        with Load(server.target, get_and_post(1)) as load:
            load.wait_answers(5)
    elif cause == "timeout":
        blocked = block(server)
        server.wait_log(r"\(--timeout\): its successor starts", 30)
        # Else the master would wait 15 s for its answer.
        (directory.path / "release").touch()
        assert blocked.getresponse().read() == b"released"
        blocked.close()
    wait_until(lambda: restarts()[cause] >= 1, 60, "the restart to be counted")
    assert {name for name, count in restarts().items() if count} == {cause}
