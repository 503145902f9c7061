"""Out of descriptors, a full disk, stopped processes, slow readers: the server goes on, and so do reloads."""

import os
import signal
import socket
import sys
import time

import pytest

from tests.load.answers import AnswerReader
from tests.load.connection import Target
from tests.load.outcomes import Outcome
from tests.load.runner import Load
from tests.load.scenarios import get_and_post, one_slow_request
from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import assert_nothing_dropped
from tests.process.processes import free_port, is_listening, wait_until


def test_out_of_descriptors_it_waits_and_goes_on_when_there_are_some(serve: Serve, directory: AppDirectory) -> None:
    command = ["sh", "-c", f'ulimit -n 64; exec {sys.executable} -m smoothserve app:app "$@"', "sh"]
    server = serve(directory, "--workers", "1", command=command)
    port = server.port
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
    server.wait_log("cannot accept connections: Too many open files")
    # The control socket needs no new descriptor in the old worker: a reload works even now.
    directory.deploy("2")
    server.reload()
    for connection in idle:
        connection.close()
    with Load(server.target, get_and_post(8)) as load:
        load.wait_answers(50)
    assert_nothing_dropped(load.report, "2")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_under_the_log_costs_lines_and_nothing_else(serve: Serve, directory: AppDirectory) -> None:
    port = free_port()
    options = ("--workers", "2", "--error-logfile", "/dev/full", "--access-log", "--access-logfile", "/dev/full")
    server = serve(directory, *options, bind=f"127.0.0.1:{port}", wait=False)
    wait_until(lambda: is_listening(port), 10, "it listens")
    with Load(Target(port=port), get_and_post(16)) as load:
        load.wait_version("1")
        directory.deploy("2")
        server.hup()
        load.wait_version("2")
        load.wait_answers(100)
    assert_nothing_dropped(load.report, "1", "2")
    assert server.stop() == 0


def test_a_successor_that_is_stopped_while_it_boots_aborts_the_reload(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--workers", "2", "--boot-timeout", "8", "--kill-timeout", "1")
    with Load(server.target, get_and_post(16)) as load:
        load.wait_answers(50)
        old = set(server.workers)
        directory.deploy("2", before="import time\ntime.sleep(1)\n")
        server.hup()
        wait_until(lambda: len(server.workers) == 3, 10, "the successor was started")
        (successor,) = set(server.workers) - old
        os.kill(successor, signal.SIGSTOP)
        assert "--boot-timeout" in server.wait_reload("refused")
        server.wait_gone([successor])
        load.wait_answers(50)
    assert_nothing_dropped(load.report, "1")


def test_a_stopped_predecessor_does_not_hold_the_reload_up_and_what_it_held_is_counted(
    serve: Serve, directory: AppDirectory
) -> None:
    options = ("--workers", "1", "--drain-timeout", "3", "--kill-timeout", "1")
    server = serve(directory, *options)
    (old,) = server.workers
    with Load(server.target, one_slow_request(4, 5.0)) as load:
        load.wait_until(lambda report: report.connections_opened == 4)
        load.wait_until(lambda report: report.now() > 0.3)
        os.kill(old, signal.SIGSTOP)
        directory.deploy("2")
        server.reload()
        with Load(server.target, get_and_post(8)) as others:
            others.wait_answers(50)
        assert_nothing_dropped(others.report, "2")
        server.wait_log("died by SIGKILL: it did not leave in time, 4 requests dropped")
        load.join()
    assert load.report.dropped == 4
    assert set(load.report.outcomes) <= {Outcome.EOF_BEFORE_ANSWER, Outcome.RESET_BEFORE_ANSWER}


@pytest.mark.full
def test_a_slow_reader_gets_its_whole_answer_through_a_reload(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--workers", "1")
    (old,) = server.workers
    size = 8_000_000
    first = f"1 {old} slow\n".encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.sendall(f"POST /echo/slow HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode())
        client.sendall(b"x" * size)
        reader = AnswerReader()
        reader.receive_data(client.recv(1000))
        directory.deploy("2")
        server.reload()
        while not reader.answers or not reader.answers[0].complete:
            part = client.recv(100_000)
            assert part, f"the answer ended after {len(reader.answers[0].body)} bytes"
            reader.receive_data(part)
            if len(reader.answers[0].body) < 1_000_000:
                time.sleep(0.05)  # a slow reader is slow
    assert reader.answers[0].body == first + b"x" * size
    server.wait_drained()
