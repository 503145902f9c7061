"""Which interpreter and which directory a process of ours is started with, resolved by path at every spawn.

Symbolic links are never resolved here: a `current -> releases/N` that has been swapped, its virtual
environment included, is picked up by the next spawn. Knows nothing of settings: it takes the plain values.
"""

import os
from collections.abc import Mapping

from smoothserve.errors import FileError

#: What stands in the root of an environment that has packages of its own: venv and virtualenv, conda.
_ENVIRONMENT_MARKS = ("pyvenv.cfg", "conda-meta")


def find_interpreter(python: str | None, script: str, executable: str, directory: str = "") -> str:
    """Return the path of the interpreter to run, symbolic links unresolved.

    `python` is what `--python` says: a path (a relative one counts from `directory`) or a name to look up in
    PATH. Without it, the `python` beside `script` (the command as it was invoked) is taken if they are in an
    environment of their own: `~/.local/bin/smoothserve` says nothing of a `~/.local/bin/python`. Else
    `executable`, the interpreter that runs already. Raise `FileError` for what cannot be run.
    """
    if python is not None:
        if os.sep in python:
            return _checked(os.path.join(directory, python), "--python")
        import shutil  # it loads a great deal, and is needed for a bare name only

        found = shutil.which(python)
        if found is None:
            raise FileError(f"there is no interpreter {python} in PATH: write its whole path after --python")
        return found
    beside = _beside(os.path.join(directory, script)) if script else None
    return beside or _checked(executable, "the running interpreter")


def _beside(script: str) -> str | None:
    folder = os.path.dirname(script)
    root = os.path.dirname(folder)
    if not any(os.path.exists(os.path.join(root, mark)) for mark in _ENVIRONMENT_MARKS):
        return None
    candidate = os.path.join(folder, "python")
    return candidate if _runnable(candidate) else None


def _runnable(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


def _checked(path: str, what: str) -> str:
    if _runnable(path):
        return path
    if os.path.isdir(path):
        inside = os.path.join(path, "bin", "python")
        hint = f"did you mean {inside}?" if _runnable(inside) else "name the interpreter itself"
        raise FileError(f"{what}: {path} is a directory: {hint}")
    if os.path.exists(path):
        raise FileError(f"{what}: {path} cannot be executed: check that it is a program, and its permissions")
    raise FileError(f"{what}: {path} does not exist: name an interpreter that does with --python")


def working_directory(chdir: str | None, environ: Mapping[str, str], cwd: str) -> str:
    """Return the directory to work in, symbolic links unresolved: `chdir` as typed, else $PWD, else `cwd`.

    $PWD counts only where it names `cwd`; a relative `chdir` counts from there. Raise `FileError` if it is
    not a directory that can be entered.
    """
    base = _as_typed(environ.get("PWD", ""), cwd)
    directory = os.path.join(base, chdir) if chdir else base
    source = "--chdir" if chdir else "the working directory"
    if not os.path.exists(directory):
        raise FileError(f"{source}: {directory} does not exist")
    if not os.path.isdir(directory):
        raise FileError(f"{source}: {directory} is not a directory")
    if not os.access(directory, os.X_OK):
        raise FileError(f"{source}: {directory} cannot be entered: check its permissions")
    return directory


def _as_typed(pwd: str, cwd: str) -> str:
    # POSIX has $PWD absolute and without . and ..; a stale one names another directory
    if not os.path.isabs(pwd) or not {".", ".."}.isdisjoint(pwd.split(os.sep)):
        return cwd
    try:
        return pwd if os.path.samefile(pwd, cwd) else cwd
    except OSError:
        return cwd
