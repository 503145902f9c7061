"""Starting a worker: fork and exec, with every signal of the table blocked and exactly the descriptors it needs.

Interpreter, directory and environment are resolved at every spawn, so that a swapped `current -> releases/N` is
picked up. Once resolved they are real paths, so that what a worker imports late still comes from its own release;
only the interpreter's last component stays as it is, because a virtual environment's `python` is a link.
"""

import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from smoothserve.control.channel import Channel, channel_pair
from smoothserve.control.environment import with_allocator, worker_environment
from smoothserve.control.identity import Identity, take_on
from smoothserve.control.interpreter import find_interpreter, working_directory
from smoothserve.control.launch import WorkerLaunch, write_launch
from smoothserve.control.messages import Failed
from smoothserve.errors import FileError
from smoothserve.master.signals import SIGNALS

WORKER_MODULE = "smoothserve.worker"
#: What a shell exits with when it cannot execute a program.
EXEC_FAILED = 127


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the workers of one generation are started with; paths as typed."""

    settings: dict[str, Any]
    python: str | None = None
    chdir: str | None = None
    env: Sequence[str] = ()
    env_file: str | None = None
    identity: Identity | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where this server was started from; paths as typed."""

    script: str
    executable: str
    directory: str


@dataclass(frozen=True, slots=True)
class Command:
    """What to execute, resolved."""

    interpreter: str
    directory: str
    environ: dict[str, str]
    identity: Identity | None = None
    """Whom the worker runs as; None: as we do."""


def resolve_command(recipe: Recipe, origin: Origin, environ: Mapping[str, str]) -> Command:
    """Resolve interpreter, directory and environment as they are now. Raise `FileError`, one line."""
    typed = working_directory(recipe.chdir, {}, origin.directory)
    directory = os.path.realpath(typed)
    interpreter = find_interpreter(recipe.python, origin.script, origin.executable, typed)
    folder, name = os.path.split(interpreter)
    env_file = os.path.join(directory, recipe.env_file) if recipe.env_file is not None else None
    return Command(
        interpreter=os.path.join(os.path.realpath(folder), name),
        directory=directory,
        environ=worker_environment(environ, env_file, recipe.env, directory),
        identity=recipe.identity,
    )


def spawn(command: Command, launch: WorkerLaunch, fds: Sequence[int]) -> tuple[int, Channel]:
    """Start a worker; return its process number and our end of its control channel.

    `launch` lacks the control descriptor only; `fds` are the other descriptors that it names. Raise `FileError` if
    the system has no process, descriptor or memory left. A program that cannot be executed comes back as `Failed`
    over the channel.
    """
    ours, theirs = channel_pair()
    launch_fd = -1
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        launch_fd = write_launch(replace(launch, control_fd=theirs.fileno()))
        pid = os.fork()
        if pid == 0:
            _become_worker(command, launch_fd, [theirs.fileno(), launch_fd, *fds], Channel(theirs))
    except OSError as error:
        ours.close()
        raise FileError(f"no process can be started: {error.strerror}: look at the limits of this user") from None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        theirs.close()
        if launch_fd >= 0:
            os.close(launch_fd)
    return pid, Channel(ours)


def _become_worker(command: Command, launch_fd: int, fds: Sequence[int], channel: Channel) -> NoReturn:
    """In the child: execute the worker. Never returns, never raises; the mask of signals goes along through exec."""
    try:
        if command.identity is not None:
            take_on(command.identity)
        os.chdir(command.directory)
        for fd in fds:
            os.set_inheritable(fd, True)
        arguments = [command.interpreter, "-P", "-m", WORKER_MODULE, str(launch_fd)]
        os.execve(command.interpreter, arguments, with_allocator(command.environ))  # noqa: S606 - no shell is wanted
    except BaseException as error:  # noqa: BLE001 - two masters must not come out of a fork
        with contextlib.suppress(BaseException):
            reason = error.strerror if isinstance(error, OSError) and error.strerror else repr(error)
            by = f" by {command.identity.name}" if command.identity is not None else ""
            failed = Failed(reason=f"{command.interpreter} cannot be executed in {command.directory}{by}: {reason}")
            channel.send(failed.encode())
    finally:
        os._exit(EXEC_FAILED)
