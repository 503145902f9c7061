"""The root of the master process: `python -P -m smoothserve.master FD`, exec'ed by the command line.

Reads the settings, puts the parts together, and exits with a code of `errors.EXIT_CODES`. It holds the standard library
and modules of our own only, so that a reload never meets something old in here.
"""

import contextlib
import fcntl
import os
import signal
import sys
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from smoothserve import __version__
from smoothserve.control.identity import Identity, find_group, find_identity, find_user, give_log_files
from smoothserve.control.interpreter import find_interpreter, working_directory
from smoothserve.control.launch import MasterLaunch, read_launch, write_launch
from smoothserve.control.scoreboard import anonymous_file
from smoothserve.errors import BindError, ExitCode, SmoothserveError
from smoothserve.logs.files import STDERR, LogFile
from smoothserve.logs.lines import Level, Log, parse_level
from smoothserve.logs.standard import open_standard_streams
from smoothserve.master.companion import Companion
from smoothserve.master.descriptors import limit_warning, soft_limit
from smoothserve.master.desk import Desk
from smoothserve.master.dumps import Dumper
from smoothserve.master.herald import Herald
from smoothserve.master.listing import ConnectionLists
from smoothserve.master.pidfile import PROCESS_NAME, PidFile
from smoothserve.master.policy import Policy
from smoothserve.master.side import SideProcess
from smoothserve.master.signals import SIGNALS, SignalInbox
from smoothserve.master.spawn import Origin, Recipe
from smoothserve.master.supervisor import Configuration, Supervisor
from smoothserve.master.systemd import Notifier, find_manager
from smoothserve.master.watchdog import Watchdog
from smoothserve.master.watching import Watching
from smoothserve.net.addresses import FdAddress, parse_bind
from smoothserve.net.listeners import Listener, UnixAccess, open_listener
from smoothserve.settings import Settings, changed_needing_restart, keep_needing_restart
from smoothserve.settings.development import for_development, watched_directories
from smoothserve.settings.resolve import load_settings
from smoothserve.settings.sources import unknown_variables
from smoothserve.words import count

if TYPE_CHECKING:
    from smoothserve.logs.master import MasterLogs

#: Seconds that a stuck reader of the log may keep a master that would end.
LAST_LINES_TIMEOUT = 1.0
#: The workers of a master that was killed close their listeners within this many seconds.
BIND_PATIENCE = 1.0
_IMPLEMENTATIONS = {"cpython": "CPython", "pypy": "PyPy"}


def main(argv: list[str]) -> int:
    """Run the master that the launch message behind descriptor `argv[1]` describes; return the exit code."""
    open_standard_streams()
    inbox = SignalInbox()
    inbox.install()
    _name_process()
    log = Log(LogFile("-", STDERR))
    try:
        launch = read_launch(MasterLaunch, int(argv[1]))
        settings = _load(launch)
        log = Log(LogFile(settings.error_logfile, STDERR), parse_level(settings.log_level))
        return serve(launch, settings, log, inbox)
    except SmoothserveError as error:
        log.critical(str(error))
        return error.exit_code
    except Exception:  # noqa: BLE001 - a defect of ours: its traceback belongs into the error log
        log.critical(f"defect in smoothserve:\n{traceback.format_exc()}")  # noqa: G004 - not the logging package's log
        return ExitCode.INTERNAL
    finally:
        log.drain(LAST_LINES_TIMEOUT)
        inbox.close()


def serve(launch: MasterLaunch, settings: Settings, log: Log, inbox: SignalInbox) -> ExitCode:
    """Serve until told to stop; return the exit code. Raise `SmoothserveError` if it cannot begin."""
    python = f"{_IMPLEMENTATIONS.get(sys.implementation.name, sys.implementation.name)} {sys.version.split()[0]}"
    workers = count(settings.workers, "worker")
    loader = Loader(launch, settings, log)
    loader.configure_logging(settings)
    log.write(Level.INFO, f"smoothserve {__version__} starting: {workers} for {settings.app}, {python}")
    for warning in [*unknown_variables(os.environ), limit_warning(soft_limit(), settings.max_connections)]:
        if warning:
            log.write(Level.WARNING, warning)
    pid_file = PidFile(settings.pid_file) if settings.pid_file else None
    if pid_file is not None:
        pid_file.check()
    # Whoever waits for `start -d` wants to know now.
    configuration = configuration_of(settings, waits_for_change=settings.reload and launch.ready_fd < 0)
    loader.give_files(settings, configuration)
    dump_fd = anonymous_file("smoothserve-dump")
    fcntl.fcntl(dump_fd, fcntl.F_SETFL, os.O_APPEND)
    dumper = Dumper(lambda: dump_fd)
    lists = ConnectionLists()
    desk = Desk(settings.control_socket, app=settings.app, check=lambda: _load(launch), dumper=dumper, lists=lists)
    metrics = _listen_for_metrics(settings)
    if metrics is not None:
        log.info(f"metrics at {metrics.name}/metrics")  # noqa: G004 - not the logging package's log
    supervisor = Supervisor(
        configuration=configuration,
        load=loader.load,
        open_listeners=lambda: _listen(settings),
        started=pid_file.write if pid_file is not None else lambda: None,
        reopening=loader.give_files_again,
        origin=Origin(launch.script, launch.executable, launch.directory),
        inbox=inbox,
        log=log,
        app=settings.app,
        access_log=settings.access_log,
        companions=[
            lists,
            *_companions(launch, settings, desk, dumper),
            *_side_processes(launch, settings, desk, metrics, log),
        ],
        dump_fd=dump_fd,
    )
    try:
        code = supervisor.run()
    finally:
        if metrics is not None:
            metrics.close()
        if pid_file is not None:
            pid_file.remove()
    if desk.restarting and code is ExitCode.STOPPED:
        log.info("restarting")
        log.flush()
        _execute_again(launch, settings)
    return code


def _companions(launch: MasterLaunch, settings: Settings, desk: Desk, dumper: Dumper) -> list[Companion]:
    companions: list[Companion] = [dumper, desk, Watchdog(dumper)]
    if launch.ready_fd >= 0:
        companions.append(Herald(launch.ready_fd))
    manager = find_manager(os.environ)
    if manager is not None:
        companions.append(Notifier(*manager, app=settings.app, restarting=lambda: desk.restarting))
    return companions


def _side_processes(
    launch: MasterLaunch, settings: Settings, desk: Desk, metrics: Listener | None, log: Log
) -> list[Companion]:
    found: list[Companion] = []
    if settings.reload:
        directories = watched_directories(settings, launch.directory)
        found.append(Watching(directories, settings.reload_include, settings.reload_exclude))
    if metrics is not None:
        found.append(_metrics(desk, metrics, log))
    return found


def _metrics(desk: Desk, metrics: Listener, log: Log) -> SideProcess:
    fd = metrics.sock.fileno()

    def arguments(lifeline: int) -> list[str] | None:
        if desk.path is None:
            # Who asks there is to be refused, not to wait for ever.
            metrics.close()
            text = f"no metrics at {metrics.name}: they are asked for at the control socket, and there is none"
            log.warning(text)
            return None
        return [str(fd), str(lifeline), desk.path]

    return SideProcess("smoothserve.metrics", arguments, [fd])


def _execute_again(launch: MasterLaunch, settings: Settings) -> NoReturn:
    """Become a new master in the same process: the settings and smoothserve itself are read afresh."""
    fds = [fd for address in map(parse_bind, settings.bind) if isinstance(address, FdAddress) for fd in [address.fd]]
    fd = write_launch(replace(launch, ready_fd=-1))
    for inherited in [*fds, fd]:
        os.set_inheritable(inherited, True)
    # The new master's own handlers let them through. TERM ends it at once meanwhile: nothing has begun.
    signal.pthread_sigmask(signal.SIG_BLOCK, set(SIGNALS) - {signal.SIGTERM})
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    directory = working_directory(settings.chdir, {}, launch.directory)
    python = find_interpreter(settings.python, launch.script, launch.executable, directory)
    os.execv(python, [python, "-P", "-m", "smoothserve.master", str(fd)])  # noqa: S606 - no shell is wanted


class Loader:
    """Reads the settings again for a reload. What only a restart can change stays, and a line says so."""

    def __init__(self, launch: MasterLaunch, settings: Settings, log: Log) -> None:
        self._launch = launch
        self._settings = settings
        self._log = log
        self._identity: Identity | None = None
        self._log_files: set[str] = set()
        self._logs: MasterLogs | None = None

    def load(self) -> Configuration:
        """Return the configuration as it is now. Raise `SettingsError` if it cannot be used."""
        new = _load(self._launch)
        kept = changed_needing_restart(self._settings, new)
        if kept:
            names = ", ".join("--" + name.replace("_", "-") for name in kept)
            self._log.warning(f"changed, but a reload keeps it as it was: {names}; stop and start to change it")
        settings = keep_needing_restart(self._settings, new)
        configuration = configuration_of(settings)
        self.configure_logging(settings)
        self._log.level = parse_level(settings.log_level)
        self.give_files(settings, configuration)
        return configuration

    def configure_logging(self, settings: Settings) -> None:
        """Let --log-config say where the master's lines go. Raise `FileError` if it cannot be used."""
        if settings.log_config is None and self._logs is None:
            return
        from smoothserve.logs.master import MasterLogs

        self._logs = self._logs or MasterLogs(self._log)
        self._logs.configure(settings.log_config)
        self._log_files |= self._logs.files()

    def give_files(self, settings: Settings, configuration: Configuration) -> None:
        """Let the workers' user write the log files that it is to open."""
        self._identity = configuration.recipe.identity
        files = {settings.error_logfile, *([settings.access_logfile] if settings.access_log else [])}
        self._log_files |= files - {"-"}
        self.give_files_again()

    def give_files_again(self) -> None:
        """Make them afresh: they have been rotated away."""
        if self._identity is not None:
            give_log_files(self._log_files, self._identity)


def configuration_of(settings: Settings, *, waits_for_change: bool = False) -> Configuration:
    """Take from the settings what the rules and the workers need."""
    settings = for_development(settings)
    return Configuration(
        policy=Policy(
            workers=settings.workers,
            all_at_once=settings.reload_strategy == "all",
            soak_interval=settings.soak_interval,
            boot_timeout=settings.boot_timeout,
            graceful_timeout=settings.graceful_timeout,
            drain_timeout=settings.drain_timeout,
            kill_timeout=settings.kill_timeout,
            linger_timeout=settings.linger_timeout,
            max_draining=settings.max_draining,
            shutdown_delay=settings.shutdown_delay,
            watchdog_timeout=settings.timeout,
            waits_for_change=waits_for_change,
        ),
        recipe=Recipe(
            settings=settings.to_dict(),
            python=settings.python,
            chdir=settings.chdir,
            env=settings.env,
            env_file=settings.env_file,
            identity=find_identity(settings.user, settings.group),
        ),
    )


def _load(launch: MasterLaunch) -> Settings:
    return load_settings(launch.flags, os.environ, launch.config, launch.directory)


def _listen(settings: Settings) -> list[Listener]:
    listeners: list[Listener] = []
    access = _unix_access(settings)
    try:
        for text in settings.bind:
            listeners.append(open_listener(parse_bind(text), settings.backlog, BIND_PATIENCE, access))  # noqa: PERF401 - those opened so far are closed on an error
    except SmoothserveError:
        for listener in listeners:
            listener.close()
        raise
    if settings.certfile is not None:
        for listener in listeners:
            listener.name = listener.name.replace("http://", "https://", 1)
    return listeners


def _listen_for_metrics(settings: Settings) -> Listener | None:
    if not settings.metrics_bind:
        return None
    try:
        return open_listener(parse_bind(settings.metrics_bind), settings.backlog)
    except BindError as error:
        raise BindError(f"--metrics-bind: {error}") from None


def _unix_access(settings: Settings) -> UnixAccess:
    """Return to whom unix sockets belong: to whom the settings say, else to the user and the group of the workers."""
    identity = find_identity(settings.user, settings.group)
    owner = find_user(settings.uds_owner, "--uds-owner") if settings.uds_owner is not None else None
    group = find_group(settings.uds_group, "--uds-group") if settings.uds_group is not None else None
    if identity is not None:
        owner = identity.uid if owner is None else owner
        group = identity.gid if group is None else group
    return UnixAccess(int(settings.uds_mode, 8), owner, group)


def _name_process() -> None:
    """Let `pkill -HUP smoothserve` find the master (Linux)."""
    with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="ascii") as file:
        file.write(PROCESS_NAME)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
