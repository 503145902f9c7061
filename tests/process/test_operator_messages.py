"""What an operator gets wrong, or runs out of: one line that says what to do, from the real command line."""

import http.client
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from smoothserve.errors import ExitCode, VerbCode
from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import LISTENING, Server
from tests.process.test_start_and_stop import complaint
from tests.process.test_verbs import verb

#: Not even root may write here.
READ_ONLY = "/proc/sys/kernel/ostype"


def limited(limit: str) -> list[str]:
    """Return a command that serves with a limit of the shell's."""
    return ["sh", "-c", f'ulimit {limit}; exec {sys.executable} -m smoothserve app:app "$@"', "sh"]


def test_a_stale_pid_file_is_replaced_by_a_start_and_named_by_a_verb(
    serve: Serve, directory: AppDirectory, tmp_path: Path
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    path = tmp_path / "server.pid"
    path.write_text(f"{gone.pid}\n")
    result = verb("reload", "--pid-file", str(path))
    assert result.returncode == VerbCode.NO_SERVER
    assert f"there is no process {gone.pid} (of {path}): the file is stale, the server has died" in result.stderr
    server = serve(directory, "--pid-file", str(path))
    assert verb("reload", "--pid-file", str(path)).returncode == VerbCode.DONE
    second = serve(directory, "--pid-file", str(path), wait=False)
    line = complaint(second, ExitCode.FILE_FAILED)
    assert f"another server (pid {server.pid}) has the PID file {path}: stop it first (kill {server.pid})" in line
    assert "or choose another --pid-file" in line


def test_no_such_control_socket_and_one_that_nobody_listens_on(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    result = verb("status", "--control-socket", str(path))
    assert result.returncode == VerbCode.NO_SERVER
    assert (
        f"there is no control socket at {path}: is the server running, and with that --control-socket?" in result.stderr
    )
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    result = verb("reload", "--control-socket", str(path))
    assert result.returncode == VerbCode.NO_SERVER
    assert f"nobody listens at {path}: the server that made it is gone" in result.stderr


@pytest.mark.skipif(not os.path.exists(READ_ONLY), reason="Linux only")
@pytest.mark.parametrize("option", ["--error-logfile", "--access-logfile"])
def test_a_log_file_that_may_not_be_written(serve: Serve, directory: AppDirectory, option: str) -> None:
    server = serve(directory, option, READ_ONLY, wait=False)
    line = complaint(server, ExitCode.FILE_FAILED)
    assert f"the log file {READ_ONLY} cannot be opened: Permission denied: check the permissions of it" in line


#: What the system says to a user without privileges; the tests may run as root.
NOT_PERMITTED = """
import errno, os, socket


def bind(self, address):
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


socket.socket.bind = bind
"""


def test_a_port_that_is_not_permitted(serve: Serve, directory: AppDirectory, tmp_path: Path) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(NOT_PERMITTED)
    server = serve(directory, bind="127.0.0.1:80", environ={"PYTHONPATH": str(hooks)}, wait=False)
    line = complaint(server, ExitCode.BIND_FAILED)
    assert line.endswith(
        "cannot listen on 127.0.0.1:80: not permitted: ports below 1024 need privileges: choose a higher one"
    )


def test_a_limit_of_descriptors_that_is_too_low_is_said_at_the_start_with_the_number(
    serve: Serve, directory: AppDirectory
) -> None:
    server = serve(directory, command=limited("-n 256"))
    server.wait_log(
        r"WARNING\] ulimit -n is 256: each worker can hold about 192 connections, and further ones wait; a server "
        r"should have 1024: raise it \(ulimit -n 1024; systemd: LimitNOFILE=1024; docker: --ulimit nofile=1024\)"
    )
    server.stop()
    bounded = serve(directory, "--max-connections", "900", command=limited("-n 800"))
    bounded.wait_log(r"about 736 connections, and further ones wait; --max-connections 900 needs 964: raise it")
    bounded.stop()
    enough = serve(directory, "--max-connections", "100", command=limited("-n 256"))
    assert "ulimit" not in enough.log()


def test_at_the_limit_of_descriptors_the_line_says_what_to_raise(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, command=limited("-n 64"))
    idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(80)]
    server.wait_log(r"cannot accept connections: Too many open files; .* Raise `ulimit -n` \(LimitNOFILE\)")
    for connection in idle:
        connection.close()


STORES = """
def app(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [str(len(body)).encode()]
"""


def post(server: Server, size: int) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request("POST", "/", body=b"x" * size)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_a_body_that_cannot_be_stored_is_a_500_and_the_line_says_where_and_why(
    serve: Serve, directory: AppDirectory
) -> None:
    # A limit of the files' size is the nearest to a full disk that anybody may set: 5 MB here.
    directory.write("app.py", STORES)
    server = serve(directory, command=limited("-f 10000"))
    assert post(server, 500_000) == (200, b"500000")
    status, _ = post(server, 8_000_000)
    assert status == 500
    server.wait_log(
        r"the request body could not be stored \(File too large: raise ulimit -f \(LimitFSIZE\); "
        r"temporary files are in /\S+\)"
    )
    assert post(server, 500_000) == (200, b"500000"), "only that request was lost"


def test_a_misspelt_variable_is_a_warning_with_the_nearest_name(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, environ={"SMOOTHSERVE_WOKERS": "2"})
    server.wait_log(
        r"\[WARNING\] environment variable SMOOTHSERVE_WOKERS is ignored: there is no such setting, "
        r"did you mean SMOOTHSERVE_WORKERS\?"
    )
    result = verb("app:app", "--check-config", cwd=directory.path, environ={"SMOOTHSERVE_WOKERS": "2"})
    assert (result.returncode, result.stdout) == (0, "ok\n")
    assert "did you mean SMOOTHSERVE_WORKERS?" in result.stderr


def test_port_0_may_be_asked_for_twice(serve: Serve, directory: AppDirectory) -> None:
    server = serve(directory, "--bind", "127.0.0.1:0")
    ports = [int(one["port"]) for one in LISTENING.finditer(server.log())]
    assert len(set(ports)) == 2
    for port in ports:
        socket.create_connection(("127.0.0.1", port)).close()


WITHOUT_LIFESPAN = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"served"})
"""


def test_that_there_is_no_lifespan_is_said_once_not_by_each_worker(serve: Serve, directory: AppDirectory) -> None:
    directory.write("app.py", WITHOUT_LIFESPAN)
    server = serve(directory, "--workers", "4")
    server.wait_log("the application does not support lifespan")
    assert server.log().count("does not support lifespan") == 1


def test_the_start_says_what_is_served_where_by_whom_and_how_to_reload(serve: Serve, directory: AppDirectory) -> None:
    for options, kind in (((), "asgi"), (("--access-log",), "asgi")):
        server = serve(directory, "--workers", "2", "--lifespan", "off", *options)
        access = "on" if options else r"off \(--access-log\)"
        server.wait_log(r"\[INFO\] smoothserve \S+ starting: 2 workers for app:app, CPython 3\.\d+\.\d+\n")
        server.wait_log(r"\[INFO\] listening on http://127\.0\.0\.1:\d+\n")
        ready = (
            rf"\[INFO\] ready: 2 workers serve app:app \({kind}\) in \d+\.\d\d s; access log {access}; reload with: "
        )
        server.wait_log(rf"{ready}kill -HUP {server.pid}\n")
        assert len(re.findall(r"\[INFO\]", server.log())) == 3, "and no more"
        assert server.stop() == 0
