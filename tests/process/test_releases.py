"""A deploy by symbolic link: `current -> releases/N`, each release with its own virtual environment."""

import os
import site
import subprocess
import sys
from pathlib import Path

import pytest

from tests.load.runner import Load
from tests.load.scenarios import get_and_post, new_connections
from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import assert_nothing_dropped

SCRIPT = """\
#!{python}
import sys
from smoothserve.cli import main
sys.exit(main())
"""


def make_release(releases: Path, number: str) -> AppDirectory:
    """Make a release: the application, and a virtual environment with a dependency that differs from the others'."""
    directory = AppDirectory(releases / number)
    # The version that is answered with is that of the dependency.
    directory.deploy(number, after="\n\nimport marker\n\nVERSION = marker.VERSION\n")
    environment = directory.path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--symlinks", str(environment)], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    lines = [f"import site; site.addsitedir({path!r})" for path in site.getsitepackages()]
    (packages / "shared.pth").write_text("\n".join(lines) + "\n")
    (packages / "marker.py").write_text(f'VERSION = "dependency-{number}"\n')
    script = environment / "bin" / "smoothserve"
    script.write_text(SCRIPT.format(python=environment / "bin" / "python"))
    script.chmod(0o755)
    return directory


def point(current: Path, release: AppDirectory) -> None:
    """Let `current` point to a release, in one step."""
    new = current.with_name("current.new")
    new.symlink_to(release.path)
    new.rename(current)


@pytest.mark.parametrize("how", ["working directory", "--chdir"])
def test_a_link_to_the_next_release_brings_its_code_and_its_environment(serve: Serve, tmp_path: Path, how: str) -> None:
    current = tmp_path / "current"
    releases = [make_release(tmp_path / "releases", number) for number in ("1", "2", "3")]
    point(current, releases[0])
    command = (str(current / "venv" / "bin" / "smoothserve"), "app:app")
    if how == "--chdir":
        elsewhere = AppDirectory(tmp_path / "elsewhere")
        server = serve(elsewhere, "--workers", "2", "--chdir", str(current), command=command)
    else:
        started_in = AppDirectory.__new__(AppDirectory)
        started_in.path = current
        server = serve(started_in, "--workers", "2", command=command, environ={"PWD": str(current)})
    with Load(server.target, get_and_post(24), new_connections(4)) as load:
        load.wait_version("dependency-1")
        for release in releases[1:]:
            point(current, release)
            server.reload()
            load.wait_version(f"dependency-{release.path.name}")
            for pid in server.workers[-2:]:
                assert os.readlink(f"/proc/{pid}/cwd") == str(release.path)
    assert_nothing_dropped(load.report, "dependency-1", "dependency-2", "dependency-3")


def test_a_release_that_is_deleted_after_the_swap_is_not_missed(serve: Serve, tmp_path: Path) -> None:
    import shutil

    current = tmp_path / "current"
    first, second = (make_release(tmp_path / "releases", number) for number in ("1", "2"))
    point(current, first)
    elsewhere = AppDirectory(tmp_path / "elsewhere")
    command = (str(current / "venv" / "bin" / "smoothserve"), "app:app")
    server = serve(elsewhere, "--chdir", str(current), command=command)
    with Load(server.target, get_and_post(8)) as load:
        load.wait_version("dependency-1")
        point(current, second)
        shutil.rmtree(first.path)
        server.reload()
        load.wait_version("dependency-2")
    assert_nothing_dropped(load.report, "dependency-1", "dependency-2")
