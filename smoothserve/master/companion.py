"""What lives in the master's loop beside the workers: the control socket, notifications, the watchdog, side processes.

A companion never blocks; it sees each event and what the rules made of it, and asks for something with an event of its
own. One that has a defect is put out; the master goes on without it.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from smoothserve.control.messages import Message
from smoothserve.logs.lines import Log
from smoothserve.master.actions import Action
from smoothserve.master.events import Event
from smoothserve.master.state import MasterState
from smoothserve.master.tally import Tally


class WorkerProcess(Protocol):
    """A worker's process, as the driver knows it."""

    number: int
    slot: int
    generation: int
    pid: int
    row: int
    exited: bool
    heartbeat_at: float


class Seat(Protocol):
    """What a companion gets of the master."""

    @property
    def state(self) -> MasterState:
        """The rules, to look at."""

    @property
    def tally(self) -> Tally:
        """The counters."""

    @property
    def log(self) -> Log:
        """The error log."""

    @property
    def listening(self) -> list[str]:
        """The addresses, as the user reads them."""

    def now(self) -> float:
        """Return the monotonic time in seconds."""

    def processes(self) -> Iterable[WorkerProcess]:
        """Return the workers that have not exited."""

    def submit(self, event: Event) -> None:
        """Let the rules decide on an event."""

    def send(self, worker: int, message: Message, *fds: int) -> None:
        """Say something to a worker, with descriptors that stay the caller's."""

    def watch(self, fd: int, mask: int, callback: Callable[[int], None]) -> None:
        """Call back with the selector's mask when the descriptor is ready; said again, it changes the mask."""

    def unwatch(self, fd: int) -> None:
        """Do not call back any more."""


class Companion:
    """A companion that does nothing."""

    def open(self, seat: Seat) -> None:
        """Begin: the master listens."""

    def next_deadline(self) -> float | None:
        """Return when `advance` is due at the latest (monotonic seconds), None: not at all."""
        return None

    def advance(self, now: float) -> None:
        """Do what is due."""

    def note(self, event: Event, actions: Sequence[Action]) -> None:
        """Take note of an event and of what the rules made of it; the actions have been performed."""

    def heard(self, worker: int, message: Message) -> None:
        """Take note of what a worker said."""

    def close(self) -> None:
        """End."""
