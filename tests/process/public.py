"""An interpreter with smoothserve that every user can execute, wherever the tests' own is; linked, not copied."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import smoothserve

#: What workers import, where it is installed.
LIBRARIES = ("click", "h11", "httptools", "uvloop", "websockets", "wsproto", "setproctitle")
NOBODY = 65534


@dataclass(frozen=True)
class PublicPython:
    """Where it is, what it needs in its environment, and a directory beside it that everybody may look into."""

    python: str
    environ: dict[str, str]
    directory: Path


@contextmanager
def public_python() -> Iterator[PublicPython]:
    """Make one, and see that nobody can use it."""
    directory = Path(tempfile.mkdtemp(prefix="smoothserve-public-"))
    try:
        directory.chmod(0o755)
        public = PublicPython(str(directory / "bin" / "python"), _link(directory), directory / "work")
        public.directory.mkdir()
        command = [public.python, "-P", "-c", "import smoothserve.worker.__main__"]
        subprocess.run(
            command,
            env={**os.environ, **public.environ},
            cwd="/",
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            check=True,
            timeout=60,
        )
        yield public
    finally:
        shutil.rmtree(directory)


def _link(root: Path) -> dict[str, str]:
    """Link a whole Python below `root`; return what its environment must say."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    ours = root / "lib" / stdlib.name
    ignored = shutil.ignore_patterns("site-packages", "test", "idlelib", "ensurepip", "tkinter", "config-*")
    shutil.copytree(stdlib, ours, ignore=ignored, copy_function=_link_file)
    for place in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for name in LIBRARIES:
            if (found := Path(place, name)).is_dir():
                shutil.copytree(found, ours / "site-packages" / name, copy_function=_link_file)
    # A clone may be its owner's only, and its modes are not to be changed.
    source = Path(smoothserve.__file__).parent
    target = ours / "site-packages" / "smoothserve"
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"), copy_function=shutil.copyfile)
    for path in [ours / "site-packages", *target.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    (root / "bin").mkdir()
    _link_file(os.path.realpath(sys.executable), root / "bin" / "python")
    libraries = Path(sysconfig.get_config_var("LIBDIR") or "/nonexistent")
    for library in libraries.glob("libpython*.so*"):
        _link_file(str(library), root / "lib" / library.name)
    return {"LD_LIBRARY_PATH": str(root / "lib")}


def _link_file(source: str | Path, target: str | Path) -> None:
    try:
        os.link(os.path.realpath(source), target)
    except OSError:  # another file system
        shutil.copy2(source, target)
