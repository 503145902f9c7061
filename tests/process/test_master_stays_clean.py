"""The master never imports the application nor any third-party module, also after reloads and refused reloads."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.load.runner import Load
from tests.load.scenarios import get_and_post
from tests.process.directory import BROKEN, AppDirectory
from tests.process.fixtures import Serve
from tests.process.processes import mapped_files, wait_until

#: Dumps the modules of the process that gets URG, a signal that means nothing to the server.
SITECUSTOMIZE = """\
import json, os, signal, sys


def dump(number, frame):
    found = {{name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}}
    with open({path!r} + ".new", "w") as file:
        json.dump({{"argv": sys.orig_argv, "modules": found}}, file)
    os.rename({path!r} + ".new", {path!r})


signal.signal(signal.SIGURG, dump)
"""
OURS = {"__main__", "__mp_main__", "smoothserve", "sitecustomize", "usercustomize"}


def foreign_modules(modules: dict[str, str | None]) -> dict[str, str | None]:
    """Leave out the standard library, the server's own, and what the environment's .pth files import at every start."""
    bare = [sys.executable, "-P", "-c", "import json, sys; print(json.dumps(list(sys.modules)))"]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    started_with = json.loads(subprocess.run(bare, capture_output=True, check=True, env=environ).stdout)
    allowed = OURS | set(sys.stdlib_module_names) | {name.partition(".")[0] for name in started_with}
    return {name: path for name, path in modules.items() if name.partition(".")[0] not in allowed}


def test_the_master_holds_no_third_party_module_and_nothing_of_the_application(
    serve: Serve, directory: AppDirectory, tmp_path: Path
) -> None:
    dumped = tmp_path / "modules.json"
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(SITECUSTOMIZE.format(path=str(dumped)))
    # Empty: a coverage run of the tests would have itself imported into every process.
    environ = {"PYTHONPATH": str(hooks), "COVERAGE_PROCESS_START": "", "COVERAGE_PROCESS_CONFIG": ""}
    server = serve(directory, "--workers", "2", "--pid-file", str(tmp_path / "pid"), environ=environ)
    server.tracebacks_expected = True
    with Load(server.target, get_and_post(8)) as load:
        load.wait_answers(20)
        directory.deploy("broken", before=BROKEN["raises at import"])
        server.reload_refused()
        directory.deploy("2")
        server.reload()
        load.wait_version("2")
        server.kill(signal.SIGURG)
        wait_until(dumped.exists, 10, "the master has dumped its modules")
    found = json.loads(dumped.read_text())
    assert "smoothserve.master" in found["argv"]
    assert foreign_modules(found["modules"]) == {}
    inner = {name for name in found["modules"] if name.startswith("smoothserve.")}
    layers = ("smoothserve.connection", "smoothserve.asgi", "smoothserve.wsgi", "smoothserve.worker")
    assert {name for name in inner if name.startswith(layers)} == set()
    assert "ssl" not in found["modules"], "TLS is the workers'"


def test_no_file_of_a_third_party_or_of_the_application_is_mapped_into_the_master(
    serve: Serve, directory: AppDirectory
) -> None:
    server = serve(directory, environ={"COVERAGE_PROCESS_START": "", "COVERAGE_PROCESS_CONFIG": ""})
    server.reload()
    files = mapped_files(server.pid)
    assert files, "maps can be read"
    assert [path for path in files if "site-packages" in path or str(directory.path) in path] == []
    # The control: in a worker there are some.
    server.wait_drained()
    assert any("site-packages" in path for pid in server.workers for path in mapped_files(pid))
