"""Several addresses at once, of every kind, through a reload under load."""

import contextlib
import re
import signal
import socket
import sys
from pathlib import Path

import pytest

from tests.load.connection import Target
from tests.load.runner import Load
from tests.load.scenarios import get_and_post, new_connections
from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import assert_nothing_dropped
from tests.process.processes import kill, stat_fields, wait_until

#: Opens a listening socket as descriptor 9 and becomes the server, as a supervisor with sockets of its own does.
WITH_DESCRIPTOR = """
import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print("inherited port", listener.getsockname()[1], flush=True)
os.dup2(listener.fileno(), 9)
os.execv(sys.executable, [sys.executable, "-m", "smoothserve", *sys.argv[1:]])
"""


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def test_a_reload_drops_nothing_on_several_addresses_of_every_kind(
    serve: Serve, directory: AppDirectory, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path: Path = tmp_path_factory.mktemp("s") / "s"
    addresses = ["127.0.0.1:0", f"unix:{path}", "fd://9", *(["[::1]:0"] if has_ipv6() else [])]
    binds = [word for address in addresses for word in ("--bind", address)]
    command = [sys.executable, "-c", WITH_DESCRIPTOR, "app:app"]
    server = serve(directory, "--workers", "2", *binds, bind=None, command=command)
    log = server.log()
    inherited = int(re.findall(r"inherited port (\d+)", log)[0])
    ports = [int(port) for port in re.findall(r"listening on http://127\.0\.0\.1:(\d+)", log)]
    targets = [Target(port=port) for port in {*ports, inherited}]
    assert len(targets) == 2
    targets.append(Target(path=str(path)))
    if has_ipv6():
        targets.append(Target(host="::1", port=int(re.findall(r"listening on http://\[::1\]:(\d+)", log)[0])))
    with contextlib.ExitStack() as stack:
        loads = [stack.enter_context(Load(target, get_and_post(6), new_connections(2))) for target in targets]
        for load in loads:
            load.wait_version("1")
        directory.deploy("2")
        server.reload()
        for load in loads:
            load.wait_version("2")
    for load in loads:
        assert_nothing_dropped(load.report, "1", "2")
    server.wait_drained()


def test_uvicorns_flags_for_an_address_reach_a_real_server(
    serve: Serve, directory: AppDirectory, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("s") / "s"
    by_port = serve(directory, "--host", "127.0.0.1", "--port", "0", bind=None)
    by_path = serve(directory, "--uds", str(path), bind=None)
    assert by_path.target == Target(path=str(path))
    for server in (by_port, by_path):
        with Load(server.target, get_and_post(2)) as load:
            load.wait_version("1")
        assert_nothing_dropped(load.report, "1")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a full queue of a unix socket is told otherwise")
def test_as_many_connections_wait_as_the_backlog_says(
    serve: Serve, directory: AppDirectory, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("s") / "s"
    server = serve(directory, "--backlog", "3", bind=f"unix:{path}")
    (worker,) = server.workers
    kill(worker, signal.SIGSTOP)
    wait_until(lambda: stat_fields(worker)[0] == "T", 10, "the worker accepts nothing")
    with contextlib.ExitStack() as stack:
        waiting = 0
        with contextlib.suppress(BlockingIOError):
            while waiting < 100:
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(str(path))
                waiting += 1
        kill(worker, signal.SIGCONT)
    assert waiting == 4, "Linux lets one more wait"
