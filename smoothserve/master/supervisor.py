"""The driver: turns the world into events for the state machine, and its actions into system calls.

One thread, one selector. It never waits for anything but the next thing to happen.
"""

import contextlib
import os
import selectors
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from smoothserve.control.channel import HAS_SEQPACKET, channel_pair
from smoothserve.control.launch import ListenerLaunch, WorkerLaunch
from smoothserve.control.messages import (
    Accept,
    ControlError,
    Drain,
    HandOver,
    Message,
    Receive,
    ReopenLogs,
    StopAhead,
    Unknown,
    parse_message,
)
from smoothserve.errors import ExitCode, SmoothserveError
from smoothserve.logs.lines import Log
from smoothserve.master import actions, events
from smoothserve.master.bench import Bench
from smoothserve.master.companion import Companion
from smoothserve.master.leftovers import Leftovers
from smoothserve.master.policy import Policy
from smoothserve.master.processes import Process, understand
from smoothserve.master.report import Reporter
from smoothserve.master.signals import SIGNALS, SignalInbox, has_terminal
from smoothserve.master.spawn import EXEC_FAILED, Origin, Recipe, resolve_command, spawn
from smoothserve.master.state import MasterState
from smoothserve.master.tally import Tally
from smoothserve.net.listeners import Listener

#: Seconds between the end of a worker's control socket and the suspicion that its process lives on.
EXIT_GRACE = 1.0
#: After a defect of ours: not at full speed into the next one.
DEFECT_PAUSE = 1.0
#: While lines wait for somebody to read them.
FLUSH_INTERVAL = 0.2


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the configuration says, for the rules and for the workers of one generation."""

    policy: Policy
    recipe: Recipe


class Supervisor:
    """Runs the master until it is to exit."""

    def __init__(
        self,
        *,
        configuration: Configuration,
        load: Callable[[], Configuration],
        open_listeners: Callable[[], Sequence[Listener]],
        started: Callable[[], None],
        reopening: Callable[[], None] = lambda: None,
        origin: Origin,
        inbox: SignalInbox,
        log: Log,
        app: str,
        access_log: bool,
        companions: Sequence[Companion] = (),
        dump_fd: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = MasterState(configuration.policy)
        self._configurations = {self._state.succession.generation: configuration}
        self._load = load
        self._open_listeners = open_listeners
        self._started = started
        self._reopening = reopening
        self._listeners: Sequence[Listener] = ()
        self._origin = origin
        self._inbox = inbox
        self._log = log
        self._clock = clock
        self._tally = Tally()
        self._dump_fd = dump_fd
        self._leftovers = Leftovers(log)
        self._reporter = Reporter(log, self._tally, self._find, pid=os.getpid(), app=app, access_log=access_log)
        self._selector = selectors.DefaultSelector()
        self._bench = Bench(
            companions=list(companions),
            selector=self._selector,
            state=self._state,
            tally=self._tally,
            log=log,
            now=clock,
            submit=self._handle,
            send=self._send,
            processes=lambda: [one for one in self._processes.values() if not one.exited],
            addresses=lambda: [one.name for one in self._listeners],
        )
        self._processes: dict[int, Process] = {}
        self._departed: Process | None = None
        self._events: deque[events.Event] = deque()
        self._exit_code: ExitCode | None = None
        self._strangers: set[str] = set()
        self._proven: set[str] = set()
        self._perform_by_type: dict[type[actions.Action], Callable[[Any], None]] = {
            actions.Spawn: self._spawn,
            actions.Pair: self._pair,
            actions.SendAccept: self._send_accept,
            actions.SendDrain: self._send_drain,
            actions.Kill: self._kill,
            actions.Forget: self._forget,
            actions.LoadConfiguration: self._load_configuration,
            actions.KeepConfiguration: self._keep_configuration,
            actions.DropConfiguration: self._drop_configuration,
            actions.CloseListeners: self._close_listeners,
            actions.ReopenLogs: self._reopen_logs,
            actions.AnnounceStop: self._announce_stop,
            actions.Exit: self._exit,
        }

    def run(self) -> ExitCode:
        """Listen and serve until told to stop; return the exit code. Raise `BindError` if it cannot listen."""
        self._listen()
        self._selector.register(self._inbox.fileno(), selectors.EVENT_READ)
        try:
            self._started()
            self._bench.open()
            self._handle(events.Started(self._clock()))
            while self._exit_code is None:
                self._wait()
                self._reap()
                self._watch_clock()
            return self._exit_code
        finally:
            self._bench.close()
            self._close_listeners()
            self._selector.close()

    # the world -> events

    def _wait(self) -> None:
        ready = self._selector.select(self._timeout())
        # TERM to the whole group reaches us and the workers: that they leave is then no surprise.
        self._take_signals()
        for key, mask in ready:
            process = key.data
            if callable(process):
                self._bench.call_back(key, mask)
                continue
            if process is None or process.exited:
                continue
            if mask & selectors.EVENT_WRITE:
                process.channel.flush()
                self._watch(process)
            if mask & selectors.EVENT_READ:
                self._receive(process)

    def _timeout(self) -> float | None:
        due = [one.disconnected_at + EXIT_GRACE for one in self._processes.values() if one.disconnected_at is not None]
        deadline = self._state.next_deadline()
        if deadline is not None:
            due.append(deadline)
        due += self._bench.deadlines()
        now = self._clock()
        if self._log.waiting:
            due.append(now + FLUSH_INTERVAL)
        return max(0.0, min(due) - now) if due else None

    def _take_signals(self) -> None:
        for number in self._inbox.take():
            if number == signal.SIGCHLD or (number == signal.SIGWINCH and has_terminal()):
                continue
            self._handle(SIGNALS[number](self._clock()))

    def _reap(self) -> None:
        """Collect every child that has ended, also those that are not ours (as process 1 we inherit orphans)."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            process = next((one for one in self._processes.values() if one.pid == pid), None)
            if process is None:
                continue
            # What it said last comes before its exit: a traceback must not be lost.
            self._receive(process)
            self._unwatch(process)
            process.exited = True
            process.disconnected_at = None
            process.channel.close()
            code = os.waitstatus_to_exitcode(status)
            self._handle(events.WorkerExited(self._clock(), process.number, code, self._doubt(process, code)))

    def _doubt(self, process: Process, code: int) -> str:
        """Say so if an interpreter that no worker was ready with may lack smoothserve: then it exits with 1 or 2."""
        if code not in (1, 2) or not self._proven or process.interpreter in self._proven:
            return ""
        python = process.interpreter
        return f": is smoothserve installed for {python}? See {python} -P -m smoothserve --version"

    def _watch_clock(self) -> None:
        now = self._clock()
        for process in list(self._processes.values()):
            if process.disconnected_at is not None and now >= process.disconnected_at + EXIT_GRACE:
                process.disconnected_at = None
                self._handle(events.WorkerDisconnected(now, process.number))
        deadline = self._state.next_deadline()
        if deadline is not None and now >= deadline:
            self._handle(events.Tick(now))
        self._bench.advance(now)
        self._log.flush()

    def _receive(self, process: Process) -> None:
        for packet in process.channel.receive():
            for fd in packet.fds:
                os.close(fd)
            try:
                message = parse_message(packet.data)
            except ControlError as error:
                self._log.warning(f"worker {process.number}: {error}")
                continue
            event = understand(process, message, self._clock())
            if isinstance(event, events.WorkerReady):
                self._proven.add(process.interpreter)
            if event is not None:
                self._handle(event)
            else:
                self._note_stranger(process, message)
                self._bench.heard(process.number, message)
        if process.channel.closed and not process.exited:
            self._unwatch(process)
            if process.disconnected_at is None:
                process.disconnected_at = self._clock()

    def _note_stranger(self, process: Process, message: Message) -> None:
        if isinstance(message, Unknown) and message.name not in self._strangers:
            self._strangers.add(message.name)
            self._log.warning(f"worker {process.number} said {message.name!r}, which this master does not know")

    # events -> actions

    def _handle(self, event: events.Event) -> None:
        """Feed the state machine, and do what it says. What that leads to at once is fed to it afterwards, in order."""
        self._events.append(event)
        if len(self._events) > 1:
            return
        while self._events:
            event, decided = self._events[0], []
            try:
                decided = self._state.handle(event)
                for action in decided:
                    self._perform(action)
            except Exception:  # noqa: BLE001 - whatever is wrong with the master, the workers serve on
                self._log.error(f"defect in smoothserve, the master goes on:\n{traceback.format_exc()}")
                time.sleep(DEFECT_PAUSE)
            self._bench.note(event, decided)
            self._events.popleft()

    def _perform(self, action: actions.Action) -> None:
        if isinstance(action, actions.Say):
            self._reporter.say(action)
        else:
            self._perform_by_type[type(action)](action)

    # actions -> system calls

    def _spawn(self, action: actions.Spawn) -> None:
        configuration = self._configurations.get(action.generation) or self._configurations[max(self._configurations)]
        row = self._tally.take_row()
        try:
            if row is None:
                raise SmoothserveError("there are more worker processes than the scoreboard has rows")  # noqa: TRY301
            command = resolve_command(configuration.recipe, self._origin, os.environ)
            lines_fd, lines_bytes = self._leftovers.provide(row, configuration.recipe.settings)
            launch = WorkerLaunch(
                worker=action.worker,
                slot=action.slot,
                generation=action.generation,
                settings=configuration.recipe.settings,
                directory=command.directory,
                listeners=[asdict(ListenerLaunch(one.sock.fileno(), one.name)) for one in self._listeners],
                scoreboard_fd=self._tally.scoreboard.fd,
                scoreboard_rows=self._tally.scoreboard.rows,
                scoreboard_row=row,
                measure_words=self._tally.scoreboard.measure_words,
                dump_fd=self._dump_fd,
                lines_fd=lines_fd,
                lines_bytes=lines_bytes,
            )
            shared = [self._tally.scoreboard.fd, self._dump_fd, *([lines_fd] if lines_fd >= 0 else [])]
            fds = [*shared, *(one.sock.fileno() for one in self._listeners)]
            pid, channel = spawn(command, launch, fds)
        except SmoothserveError as error:
            if row is not None:
                self._tally.settle(row, clean=True)
            now = self._clock()
            self._events.append(events.WorkerFailed(now, action.worker, str(error)))
            self._events.append(events.WorkerExited(now, action.worker, EXEC_FAILED))
            return
        process = Process(action.worker, action.slot, action.generation, pid, channel, row, command.interpreter)
        self._processes[action.worker] = process
        self._watch(process)
        self._log.debug(f"worker {action.worker} (pid {pid}, slot {action.slot}) started: {command.interpreter}")

    def _pair(self, action: actions.Pair) -> None:
        """Make a handover channel. Where there can be none, the sender drains without handing over."""
        if not HAS_SEQPACKET:
            return
        try:
            ends = channel_pair()
        except OSError as error:
            if action.relief:
                self._log.warning(f"no channel to relieve worker {action.sender}: {error.strerror}")
                return
            self._log.error(
                f"no handover channel: {error.strerror}; worker {action.sender} drains without handing over"
            )
            # Without a descriptor, so that it waits for nobody.
            self._send(action.sender, HandOver(receiver=action.receiver))
            return
        receiver = self._processes.get(action.receiver)
        row = receiver.row if receiver is not None else 0
        said = HandOver(receiver=action.receiver, relief=action.relief, row=row)
        try:
            self._send(action.receiver, Receive(sender=action.sender, relief=action.relief), ends[0].fileno())
            self._send(action.sender, said, ends[1].fileno())
        except OSError as error:
            # Out of descriptors for the copy that waits in a full channel: what else is decided must still be done.
            self._log.error(f"no handover channel for worker {action.sender}: {error.strerror}")
        finally:
            for end in ends:
                end.close()

    def _send_accept(self, action: actions.SendAccept) -> None:
        self._send(action.worker, Accept())

    def _send_drain(self, action: actions.SendDrain) -> None:
        self._send(
            action.worker,
            Drain(
                timeout=action.timeout,
                linger=action.linger,
                final=action.final,
                cause=action.cause,
                receiver_timeout=action.receiver_timeout,
            ),
        )

    def _send(self, worker: int, message: Message, *fds: int) -> None:
        process = self._processes.get(worker)
        if process is not None and not process.exited:
            process.channel.send(message.encode(), fds)
            self._watch(process)

    def _kill(self, action: actions.Kill) -> None:
        process = self._processes.get(action.worker)
        # Once reaped, the number may be another process's.
        if process is not None and not process.exited:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, action.signal)

    def _forget(self, action: actions.Forget) -> None:
        process = self._processes.pop(action.worker, None)
        if process is not None:
            self._leftovers.write(process.row)
            process.dropped = self._tally.settle(process.row, clean=action.clean)
            self._departed = process

    def _load_configuration(self, action: actions.LoadConfiguration) -> None:
        try:
            configuration = self._load()
            if not self._listeners:
                self._listen()
        except SmoothserveError as error:
            self._events.append(events.ConfigurationRefused(self._clock(), str(error)))
            return
        except Exception as error:  # noqa: BLE001 - a defect must not end a master that serves
            self._log.error(f"defect in smoothserve:\n{traceback.format_exc()}")
            self._events.append(events.ConfigurationRefused(self._clock(), f"defect in smoothserve: {error!r}"))
            return
        self._configurations[action.generation] = configuration
        self._events.append(events.ConfigurationLoaded(self._clock(), configuration.policy))

    def _keep_configuration(self, action: actions.KeepConfiguration) -> None:
        self._configurations = {action.generation: self._configurations[action.generation]}

    def _drop_configuration(self, action: actions.DropConfiguration) -> None:
        self._configurations.pop(action.generation, None)

    def _listen(self) -> None:
        self._listeners = self._open_listeners()
        for listener in self._listeners:
            self._log.info(f"listening on {listener.name}")

    def _close_listeners(self, action: actions.CloseListeners | None = None) -> None:
        del action
        for listener in self._listeners:
            listener.close()
        self._listeners = ()

    def _reopen_logs(self, action: actions.ReopenLogs) -> None:
        del action
        self._log.reopen()
        self._reopening()
        self._log.info("log files reopened")
        for number in list(self._processes):
            self._send(number, ReopenLogs())

    def _announce_stop(self, action: actions.AnnounceStop) -> None:
        del action
        for number in list(self._processes):
            self._send(number, StopAhead())

    def _exit(self, action: actions.Exit) -> None:
        self._exit_code = action.code

    # the selector

    def _watch(self, process: Process) -> None:
        if process.channel.closed or process.exited:
            return
        mask = selectors.EVENT_READ | (selectors.EVENT_WRITE if process.channel.wants_write else 0)
        key = self._selector.get_map().get(process.channel.fileno())
        if key is None:
            self._selector.register(process.channel.fileno(), mask, process)
        elif key.events != mask:
            self._selector.modify(process.channel.fileno(), mask, process)

    def _unwatch(self, process: Process) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(process.channel.fileno())

    def _find(self, worker: int) -> Process | None:
        if self._departed is not None and self._departed.number == worker:
            return self._departed
        return self._processes.get(worker)
