"""An application shares the process with the server: what it does to it at import, and forks from it, costs nobody."""

import signal
from pathlib import Path

import pytest

from smoothserve.errors import ExitCode
from tests.load.runner import Load
from tests.load.scenarios import get_and_post
from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import Server, assert_nothing_dropped
from tests.process.processes import children, session_members, wait_until

DEEDS = {
    "closes the standard streams": "import os\nfor fd in range(3): os.close(fd)\n",
    "changes directory and mask": "import os\nos.chdir('/')\nos.umask(0o777)\n",
    "sets signal handlers": (
        "import signal\n"
        "for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1): "
        "signal.signal(number, signal.SIG_DFL)\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGHUP])\n"
    ),
    "replaces sys.stdout and sys.stderr": "import io, sys\nsys.stdout = io.StringIO()\nsys.stderr = None\n",
    "starts threads that never end": (
        "import threading\nfor _ in range(3): threading.Thread(target=threading.Event().wait).start()\n"
    ),
    "configures logging": (
        "import logging.config\n"
        "logging.config.dictConfig({'version': 1, 'disable_existing_loggers': True, 'root': {'level': 'CRITICAL'}})\n"
        "logging.disable(logging.CRITICAL)\n"
    ),
    "runs an event loop": "import asyncio\nasyncio.run(asyncio.sleep(0))\n",
    "sets a policy of event loops": (
        "import asyncio\n"
        "class Policy(asyncio.DefaultEventLoopPolicy):\n"
        "    def get_event_loop(self): raise RuntimeError('not here')\n"
        "    def set_event_loop(self, loop): raise RuntimeError('not here')\n"
        "asyncio.set_event_loop_policy(Policy())\n"
    ),
    "empties the environment": "import os\nos.environ.clear()\n",
    "forks, and the child goes on": "import os\nos.fork()\n",
    "forks, and the child exits": "import os, sys\nif os.fork() == 0: sys.exit(5)\n",
}
#: Behind the application: an error line must be in the log, whatever has become of logging.
FAILING = """

served = app


async def app(scope, receive, send):
    if scope["type"] == "http" and scope["path"].startswith("/fail/"):
        raise RuntimeError("in the application")
    await served(scope, receive, send)
"""


def ask(server: Server, path: str) -> str:
    """Return the body of one answer."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize(
    "deeds",
    [
        pytest.param("".join(DEEDS.values()), id="everything at once"),
        *(pytest.param(deed, id=name, marks=pytest.mark.full) for name, deed in DEEDS.items()),
    ],
)
def test_what_an_application_does_at_import_keeps_it_from_nothing(
    serve: Serve, directory: AppDirectory, deeds: str
) -> None:
    directory.deploy("1", before=deeds, after=FAILING)
    server = serve(directory, "--workers", "2", "--kill-timeout", "1")
    server.tracebacks_expected = True
    assert ask(server, "/fail/x") == "Internal Server Error"
    server.wait_log(r"\[ERROR\] exception in the application: GET /fail/x")
    with Load(server.target, get_and_post(8)) as load:
        load.wait_version("1")
        directory.deploy("2", before=deeds, after=FAILING)
        server.reload()
        load.wait_version("2")
        server.kill(signal.SIGHUP)
    assert_nothing_dropped(load.report, "1", "2")
    server.wait_drained()


@pytest.mark.parametrize(
    "how",
    ["closerange(3, 256)", "closerange(3, 256)\nkept = [open(__file__) for _ in range(16)]"],
    ids=["closed", "reused"],
)
def test_an_application_that_closes_the_servers_descriptors_does_not_boot_and_is_told_why(
    serve: Serve, directory: AppDirectory, how: str
) -> None:
    server = serve(directory)
    good = (directory.path / "app.py").read_text()
    directory.deploy("2", before=f"import os\nos.{how}\n")
    server.reload_refused()
    server.wait_log(r"\[ERROR\] app:app has closed descriptors of the server's when it was imported")
    with Load(server.target, get_and_post(4)) as load:
        load.wait_version("1")
        directory.write("app.py", good)
        server.reload()
        load.wait_version("2")
    assert_nothing_dropped(load.report, "1", "2")


def test_a_first_boot_without_descriptors_ends_the_server_with_3(serve: Serve, directory: AppDirectory) -> None:
    directory.deploy("1", before="import os\nos.closerange(3, 256)\n")
    server = serve(directory, wait=False)
    server.exit_code_expected = ExitCode.BOOT_FAILED
    assert server.wait_exit() == ExitCode.BOOT_FAILED
    assert "has closed descriptors of the server's" in server.log()


FORKING = {
    "wsgi": """
import os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)

def app(environ, start_response):
    deed = environ["PATH_INFO"]
    body = b"a child answers"
    pid = os.fork()
    if pid == 0:
        if deed == "/exits":
            sys.exit(7)
        if deed == "/raises":
            raise RuntimeError("in the child")
    else:
        body = str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return iter([body]) if deed == "/yields" else [body]
""",
    "asgi": """
import os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    deed = scope["path"]
    body = b"a child answers"
    pid = os.fork()
    if pid == 0:
        if deed == "/exits":
            sys.exit(7)
        if deed == "/raises":
            raise RuntimeError("in the child")
        if deed == "/waits":
            await receive()
    else:
        body = str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
""",
}


@pytest.mark.parametrize(
    ("interface", "loop"),
    [
        ("wsgi", "auto"),
        ("asgi", "auto"),
        pytest.param("wsgi", "asyncio", marks=pytest.mark.full),
        pytest.param("asgi", "asyncio", marks=pytest.mark.full),
    ],
)
def test_a_child_that_the_application_forks_ends_where_it_would_come_back_into_the_server(
    serve: Serve, tmp_path: Path, interface: str, loop: str
) -> None:
    directory = AppDirectory(tmp_path / "forking")
    directory.write("app.py", FORKING[interface])
    server = serve(directory, "--loop", loop)
    server.tracebacks_expected = True
    assert ask(server, "/exits") == "7"
    assert "SystemExit" not in server.log()
    assert ask(server, "/raises") == "1"
    server.wait_log("RuntimeError: in the child")
    for deed in ("/returns", "/yields", "/waits"):
        assert ask(server, deed) == "0"
    workers = server.workers
    assert len(workers) == 1
    wait_until(lambda: not children(workers[0]), 10, "no child is left")
    assert set(session_members(server.session)) == {server.pid, *workers}
    server.reload()
    assert ask(server, "/exits") == "7"
