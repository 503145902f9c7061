"""A worker's life: boot, ready, accept, drain, leave; on the master's word, or by itself when the master is gone.

Decides when to drain and when to leave; what is in hand is known to the `Service`, how connections end to
`connection`. The master's death is an end of file on the control socket.
"""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from smoothserve.connection.acceptor import Acceptor
from smoothserve.connection.adopting import Adopting
from smoothserve.connection.service import SWEEP_INTERVAL, Service
from smoothserve.control.channel import HAS_SEQPACKET, Channel
from smoothserve.control.messages import (
    Accept,
    Accepting,
    ConnectionsListed,
    ControlError,
    Drain,
    Draining,
    DumpTasks,
    HandOver,
    HandoverFinished,
    Heartbeat,
    ListConnections,
    Message,
    Ready,
    Receive,
    ReceiverStuck,
    Recycle,
    ReopenLogs,
    Saturated,
    StopAhead,
    parse_message,
)
from smoothserve.words import count
from smoothserve.worker.recycling import Cause
from smoothserve.worker.reserve import Reserve

#: Seconds between two heartbeats to the master.
HEARTBEAT_INTERVAL = 1.0
#: Seconds that cut calls get to end after their cancellation.
CUT_TIMEOUT = 1.0
#: Seconds for which a worker that drains by itself keeps its connections for a receiver, if the master says nothing.
RECEIVER_TIMEOUT = 5.0


class Lifecycle(Protocol):
    """The application's own start and end."""

    async def startup(self) -> None:
        """Start the application. Raise `BootError` if it fails."""

    async def shutdown(self, timeout: float) -> None:
        """End the application, within `timeout` seconds."""


class ListsConnections(Protocol):
    """Writes a list of connections."""

    def __call__(self, fd: int, limit: int, sort: str, done: Callable[[int], None]) -> None:
        """Write to a descriptor that is ours, soon; `done` is called with how many connections there are."""


class Worker:
    """Serves one generation of the application, from `Ready` to the last call's return."""

    def __init__(
        self,
        *,
        channel: Channel,
        service: Service,
        acceptor: Acceptor,
        lifecycle: Lifecycle,
        error_log: logging.Logger,
        ready: Ready,
        drain_timeout: float,
        graceful_timeout: float,
        kill_timeout: float,
        linger_timeout: float,
        reopen_logs: Callable[[], None],
        dump_tasks: Callable[[], None] = lambda: None,
        list_connections: ListsConnections | None = None,
        tick: Callable[[], None],
        recycle_causes: Sequence[Cause] = (),
    ) -> None:
        self._channel = channel
        self._service = service
        self._acceptor = acceptor
        self._lifecycle = lifecycle
        self._error_log = error_log
        self._ready = ready
        self._drain_timeout = drain_timeout
        self._graceful_timeout = graceful_timeout
        self._kill_timeout = kill_timeout
        self._linger_timeout = linger_timeout
        self._reopen_logs = reopen_logs
        self._dump_tasks = dump_tasks
        self._list_connections = list_connections
        self._tick = tick
        self._recycle_causes = recycle_causes
        self._loop = service.loop
        if service.relief is not None:
            service.relief.ask = self._ask_for_relief
        self._empty = asyncio.Event()
        self._cut = asyncio.Event()
        self._resumed = asyncio.Event()
        self._leaving: asyncio.Event = asyncio.Event()
        self._deadline: asyncio.TimerHandle | None = None
        self._final = False
        self._gone = False
        self._handover_told = False
        self._no_channel = False
        self._linger: asyncio.TimerHandle | None = None
        self._receiver_due: asyncio.TimerHandle | None = None
        self._next_beat = 0.0
        self._reserve = Reserve()

    async def run(self) -> None:
        """Boot, serve, drain. Returns when the worker may exit. Raise `BootError` if the application does not boot."""
        loop = self._loop
        loop.add_signal_handler(signal.SIGTERM, self._on_term)
        loop.add_reader(self._channel.fileno(), self._on_control)
        if not await self._boot():
            return
        self._send(self._ready)
        self._sweep()
        while not self._gone:
            await self._leaving.wait()
            self._gone = await self._drained()
        await self._lifecycle.shutdown(self._shutdown_timeout())
        self._service.publish()

    def _shutdown_timeout(self) -> float:
        """Return how long the application may take to end; once the deadline has passed only until we are killed."""
        if self._cut.is_set():
            return max(0.5, self._kill_timeout - 2 * CUT_TIMEOUT)
        return self._graceful_timeout

    async def _boot(self) -> bool:
        """Start the application. Return False if the worker was told to leave meanwhile."""
        startup = self._loop.create_task(_as_coroutine(self._lifecycle.startup()))
        leaving = self._loop.create_task(self._leaving.wait())
        await asyncio.wait({startup, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if startup.done():
            leaving.cancel()
            startup.result()
            return True
        startup.cancel()
        await asyncio.wait({startup}, timeout=CUT_TIMEOUT)
        return False

    # the master's word

    def _on_control(self) -> None:
        self._reserve.release()
        for packet in self._channel.receive():
            try:
                self._obey(parse_message(packet.data), packet.fds)
            except ControlError as error:
                self._error_log.warning("%s", error)
            except Exception:  # noqa: BLE001 - whatever is wrong with one message, the next may be the one to leave
                self._error_log.exception("defect in smoothserve, the worker goes on")
            for fd in packet.fds:
                os.close(fd)
        self._reserve.restore()
        if self._channel.closed:
            self._loop.remove_reader(self._channel.fileno())
            if not self._final:
                self._error_log.error("the master is gone: draining, then leaving")
                self._drain(
                    Drain(
                        timeout=self._graceful_timeout,
                        linger=min(self._linger_timeout, 1.0),
                        final=True,
                        cause="the master is gone",
                    )
                )

    def _obey(self, message: Message, fds: list[int]) -> None:
        """Do what the master says. Takes the descriptors that it needs out of `fds`."""
        if isinstance(message, Accept):
            self._accept()
        elif isinstance(message, Receive) and fds:
            Adopting(self._service, Channel(socket.socket(fileno=fds.pop())), relief=message.relief)
        elif isinstance(message, HandOver) and fds:
            self._hand_over(Channel(socket.socket(fileno=fds.pop())), message)
        elif isinstance(message, HandOver | Receive):
            self._do_without_channel(message)
        elif isinstance(message, Drain):
            self._drain(message)
        elif isinstance(message, ReopenLogs):
            self._reopen_logs()
        elif isinstance(message, DumpTasks):
            self._dump_tasks()
        elif isinstance(message, ListConnections) and fds and self._list_connections is not None:
            question = message.question
            self._list_connections(
                fds.pop(),
                message.limit,
                message.sort,
                lambda total: self._send(ConnectionsListed(question=question, total=total)),
            )
        elif isinstance(message, StopAhead):
            self._service.stopping = True
        else:
            self._error_log.warning("a message from the master that this version does not know: %s", message)

    def _accept(self) -> None:
        """Accept connections; if we were draining, our successor is gone, and we serve on (if we have not left yet)."""
        if self._gone or self._final:
            return
        if self._leaving.is_set():
            self._leaving.clear()
            self._resumed.set()
            self._handover_told = self._no_channel = False
            for timer in (self._deadline, self._linger, self._receiver_due):
                if timer is not None:
                    timer.cancel()
            self._deadline = self._linger = self._receiver_due = None
            self._service.end_drain()
        self._acceptor.start()
        self._send(Accepting())

    def _ask_for_relief(self, have: list[int]) -> None:
        """Ask the master for channels to the other siblings: all threads are stuck in calls, and something waits."""
        self._send(Saturated(have=" ".join(map(str, have))))

    def _hand_over(self, channel: Channel, message: HandOver) -> None:
        receiver, relief = message.receiver, self._service.relief
        if message.relief and relief is not None and not relief.closed:
            relief.add_sibling(channel, receiver, message.row)
            return
        if self._final or self._gone or message.relief:
            channel.close()
            return
        self._no_channel = False
        if self._receiver_due is not None:
            self._receiver_due.cancel()
        self._service.hand_over(channel, receiver, self._on_handover_settled, self._on_receiver_stuck)

    def _do_without_channel(self, message: HandOver | Receive) -> None:
        """Take note that the channel of a handover was lost on its way, for want of a descriptor here or there."""
        if message.relief:
            return  # the siblings that have one suffice
        self._error_log.error(
            "no descriptor for a handover channel (worker %d): connections are not handed over on it. "
            "Raise `ulimit -n` (LimitNOFILE)",
            message.receiver if isinstance(message, HandOver) else message.sender,
        )
        offering = self._service.offering
        if isinstance(message, HandOver) and (offering is None or not offering.links):
            self._no_channel = True
            if self._leaving.is_set():
                self._expect_no_receiver()

    def _await_receiver(self, timeout: float) -> None:
        """Keep connections for a receiver that the master is to name within `timeout` seconds.

        It may have named one already, or else only be about to hear that we drain.
        """
        offering = self._service.offering
        if not HAS_SEQPACKET or self._final or self._no_channel:
            return
        if offering is not None and (offering.links or offering.closed):
            return
        self._service.await_receiver(self._on_handover_settled, self._on_receiver_stuck)
        if self._receiver_due is not None:
            self._receiver_due.cancel()
        self._receiver_due = self._loop.call_later(timeout, self._expect_no_receiver)

    def _expect_no_receiver(self) -> None:
        """Drain without handing over: nobody has been named who would take connections."""
        self._receiver_due = None
        self._service.stop_handing_over()
        self._on_handover_settled()

    def _on_receiver_stuck(self, receiver: int) -> None:
        self._send(ReceiverStuck(receiver=receiver))

    def _on_handover_settled(self) -> None:
        """Tell the master, once for each drain, that what could be handed over is handed over."""
        offering = self._service.offering
        if offering is not None and not (offering.usable or offering.closed):
            return  # the receiver is gone amid the handover: the master gives us another, or lets us serve on
        if self._leaving.is_set() and not self._handover_told:
            self._handover_told = True
            self._send(HandoverFinished(left=len(self._service.calls)))

    def _on_term(self) -> None:
        """TERM straight to this worker: leave; the siblings and a new worker go on."""
        self._drain(
            Drain(
                timeout=self._drain_timeout,
                linger=self._linger_timeout,
                cause="TERM",
                receiver_timeout=RECEIVER_TIMEOUT,
            )
        )

    def _send(self, message: Message) -> None:
        self._channel.send(message.encode())
        if self._channel.wants_write:
            self._loop.add_writer(self._channel.fileno(), self._flush_control)

    def _flush_control(self) -> None:
        self._channel.flush()
        if not self._channel.wants_write:
            self._loop.remove_writer(self._channel.fileno())

    # draining

    def _drain(self, message: Drain) -> None:
        """Begin to drain; said again, it only brings deadlines down (or makes the drain a final one)."""
        service = self._service
        service.drain.begin(message.timeout)
        if message.final and not self._final:
            self._final = service.stopping = True
            self._acceptor.accept_the_rest_and_close()
            service.stop_handing_over()
        elif not service.draining:
            self._acceptor.stop()
        # At the end of a drain that is short, too, there is time to linger, and before it time to hand over.
        linger = min(message.linger, message.timeout / 2)
        due = self._loop.time() + message.timeout
        if self._deadline is None or due < self._deadline.when():
            if self._deadline is not None:
                self._deadline.cancel()
            self._deadline = self._loop.call_at(due, self._cut.set)
            if self._linger is not None:
                self._linger.cancel()
            self._linger = self._loop.call_at(due - linger, service.stop_handing_over)
        first = not self._leaving.is_set()
        self._leaving.set()
        if first:
            self._send(Draining())
        self._await_receiver(message.receiver_timeout)
        service.begin_drain(linger, self._empty.set)
        if service.offering is None or service.offering.settled:
            self._on_handover_settled()

    async def _drained(self) -> bool:
        """Wait until nothing is in hand, or the deadline has passed and what was left has been cut.

        Return False if the drain was called off meanwhile.
        """
        empty = self._loop.create_task(self._empty.wait())
        cut = self._loop.create_task(self._cut.wait())
        resumed = self._loop.create_task(self._resumed.wait())
        await asyncio.wait({empty, cut, resumed}, return_when=asyncio.FIRST_COMPLETED)
        off = self._resumed.is_set()
        self._resumed.clear()
        if not empty.done() and not off:
            calls = len(self._service.calls)
            dropped = self._service.cut()
            lost = f"{count(dropped, 'request')} dropped, {count(calls, 'call')} cut"
            self._error_log.warning("the drain deadline has passed: %s", lost)
            await asyncio.wait({empty}, timeout=CUT_TIMEOUT)
        for task in (empty, cut, resumed):
            task.cancel()
        if off:
            self._empty.clear()
        return not off

    # the clock

    def _sweep(self) -> None:
        self._loop.call_later(SWEEP_INTERVAL, self._sweep)
        self._tick()
        self._service.sweep()
        self._reserve.restore()
        self._look_for_recycling()
        now = self._service.now
        if now >= self._next_beat:
            self._next_beat = now + HEARTBEAT_INTERVAL - SWEEP_INTERVAL / 2
            self._send(Heartbeat())

    def _look_for_recycling(self) -> None:
        """Ask the master, once, to be replaced if there is a cause for it. It remembers."""
        if not self._recycle_causes or self._leaving.is_set():
            return
        cause = next(filter(None, (one() for one in self._recycle_causes)), "")
        if cause:
            self._recycle_causes = ()
            self._send(Recycle(cause=cause))


async def _as_coroutine(awaitable: Awaitable[None]) -> None:
    await awaitable
