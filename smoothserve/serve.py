"""`smoothserve MODULE:ATTR`: check everything that can be checked, then become the master, in the same process.

The master is exec'ed clean, so that it holds no module of the command line's, and keeps the process number that the
user's supervisor knows. It resolves the settings afresh, from what is in the launch message, now and at each reload.
"""

import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from smoothserve.control.environment import read_env_file
from smoothserve.control.identity import Identity, find_group, find_identity, find_user
from smoothserve.control.interpreter import find_interpreter, working_directory
from smoothserve.control.launch import MasterLaunch, write_launch
from smoothserve.errors import FileError
from smoothserve.logs.config import read_log_config
from smoothserve.logs.files import check_log_file
from smoothserve.logs.standard import flush_standard_streams
from smoothserve.settings import Settings
from smoothserve.settings.certificates import tls_options
from smoothserve.settings.development import watched_directories
from smoothserve.settings.resolve import load_settings
from smoothserve.settings.sources import unknown_variables

MASTER_MODULE = "smoothserve.master"
#: Blocked through the exec, since by default they would end the master before its handlers stand; it lets them
#: through then. TERM ends it at once: nothing has begun; of INT an interpreter that starts would show a traceback.
HELD_SIGNALS = (
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGWINCH,
)
#: Seconds that another interpreter may take to say that it has smoothserve.
_PROBE_TIMEOUT = 30.0
_PROBED = "smoothserve is there"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A start that has been checked: what to execute and with which message."""

    settings: Settings
    launch: MasterLaunch
    python: str
    identity: Identity | None = None
    """Whom workers run as; None: as this process does."""
    warnings: list[str] = field(default_factory=list)
    """What serves, but should be seen to."""


def start_directory() -> str:
    """Return the directory that the command was started in, as the user sees it. Raise `FileError` if it is gone."""
    try:
        cwd = os.getcwd()
    except OSError:
        raise FileError("the working directory does not exist any more: change to one that does") from None
    return working_directory(None, os.environ, cwd)


def prepare(flags: Mapping[str, Any], config: str | None, *, ready_fd: int = -1) -> Prepared:
    """Check settings, directory and interpreter. Raise `SettingsError` or `FileError` for the user's mistakes."""
    directory = start_directory()
    settings = load_settings(flags, os.environ, config, directory)
    script = os.path.join(directory, sys.argv[0])
    python = find_interpreter(settings.python, script, sys.executable, working_directory(settings.chdir, {}, directory))
    if not _same_environment(python, sys.executable):
        _probe(python)
    warnings = unknown_variables(os.environ) + _check_files(settings, directory)
    identity = _check_accounts(settings)
    if settings.reload:
        watched_directories(settings, directory)
        _check_watching(python)
    launch = MasterLaunch(
        flags=dict(flags),
        config=config,
        script=script,
        executable=sys.executable,
        directory=directory,
        ready_fd=ready_fd,
    )
    return Prepared(settings, launch, python, identity, warnings)


def serve(
    flags: Mapping[str, Any],
    config: str | None,
    execute: Callable[[str, list[str]], NoReturn] = os.execv,
    *,
    ready_fd: int = -1,
) -> NoReturn:
    """Become the master. Raise `SettingsError` or `FileError` if the user must mend something first.

    `flags` are by setting name, as text or as values that JSON holds; `config` is the file as typed. To the
    descriptor `ready_fd`, if there is one, the master says when all workers are ready.
    """
    prepared = prepare(flags, config, ready_fd=ready_fd)
    fd = write_launch(prepared.launch)
    os.set_inheritable(fd, True)
    if ready_fd >= 0:
        os.set_inheritable(ready_fd, True)
    flush_standard_streams()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_SIGNALS)
    try:
        execute(prepared.python, [prepared.python, "-P", "-m", MASTER_MODULE, str(fd)])
    except OSError as error:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(fd)
        raise FileError(
            f"the interpreter {prepared.python} cannot be executed ({error.strerror}): name one with --python"
        ) from None


def _check_files(settings: Settings, directory: str) -> list[str]:
    """See whether the files can be used that master and workers open later, where it would look like a failed boot.

    Return what should be seen to.
    """
    workplace = os.path.realpath(working_directory(settings.chdir, {}, directory))
    if settings.app_dir is not None and not os.path.isdir(app_dir := os.path.join(workplace, settings.app_dir)):
        raise FileError(f"--app-dir {app_dir} is no directory: name the one that the application's module is in")
    if settings.env_file is not None:
        read_env_file(os.path.join(workplace, settings.env_file))
    if settings.log_config is not None:
        read_log_config(settings.log_config)
    check_log_file(settings.error_logfile)
    if settings.access_log:
        check_log_file(settings.access_logfile)
    options = tls_options(settings, workplace)
    if options is None:
        return []
    from smoothserve.net.tls import ServerTLS

    return ServerTLS(options).warnings


def _check_accounts(settings: Settings) -> Identity | None:
    """See whether the users and groups are there."""
    if settings.uds_owner is not None:
        find_user(settings.uds_owner, "--uds-owner")
    if settings.uds_group is not None:
        find_group(settings.uds_group, "--uds-group")
    return find_identity(settings.user, settings.group)


def _same_environment(python: str, other: str) -> bool:
    try:
        here = os.path.samefile(os.path.dirname(python), os.path.dirname(other))
        return here and os.path.samefile(python, other)
    except OSError:
        return False


def _check_watching(python: str) -> None:
    """See whether the package that watches files is there, for the interpreter that will run it."""
    if _same_environment(python, sys.executable):
        missing = importlib.util.find_spec("watchfiles") is None
    else:
        import subprocess

        command = [python, "-P", "-c", "import watchfiles"]
        missing = subprocess.run(command, capture_output=True, check=False, timeout=_PROBE_TIMEOUT).returncode != 0  # noqa: S603 - the user's own
    if missing:
        raise FileError(
            "--reload needs the package watchfiles, which is not installed: pip install 'smoothserve[reload]', "
            "or leave --reload out: smoothserve reload, or kill -HUP, reloads as well"
        )


def _probe(python: str) -> None:
    """See whether another interpreter has smoothserve: after exec, its own words would be all the user gets."""
    import subprocess

    command = [python, "-P", "-c", f"import smoothserve.master; print({_PROBED!r})"]
    try:
        result = subprocess.run(command, capture_output=True, check=False, timeout=_PROBE_TIMEOUT)  # noqa: S603 - the user's own
    except OSError as error:
        raise FileError(f"the interpreter {python} cannot be executed ({error.strerror})") from None
    except subprocess.TimeoutExpired:
        raise FileError(f"the interpreter {python} did not answer in {_PROBE_TIMEOUT:.0f} s") from None
    if result.returncode != 0 or _PROBED.encode() not in result.stdout:
        said = result.stderr.decode("utf-8", "replace").strip().splitlines() or ["it said nothing"]
        raise FileError(
            f"the interpreter {python} cannot run smoothserve ({said[-1]}): install smoothserve for it (Python 3.11 "
            "or newer), or name another with --python"
        )
