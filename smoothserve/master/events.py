"""What the state machine is told: things that have happened, each with the moment (monotonic seconds) it was seen."""

from dataclasses import dataclass

from smoothserve.master.policy import Policy


@dataclass(frozen=True, slots=True)
class Event:
    """Something that has happened."""

    at: float


@dataclass(frozen=True, slots=True)
class Started(Event):
    """The master listens and may start its workers."""


@dataclass(frozen=True, slots=True)
class Tick(Event):
    """Time has passed; deadlines up to `at` are due."""


@dataclass(frozen=True, slots=True)
class WorkerEvent(Event):
    """Something that a worker did."""

    worker: int


@dataclass(frozen=True, slots=True)
class WorkerReady(WorkerEvent):
    """The application is loaded and started in the worker, which accepts nothing yet."""

    interface: str = ""


@dataclass(frozen=True, slots=True)
class WorkerFailed(WorkerEvent):
    """The worker (or its spawn) says that it cannot serve, and why."""

    reason: str = ""
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class WorkerAccepting(WorkerEvent):
    """The worker accepts connections: its answer to `SendAccept`."""


@dataclass(frozen=True, slots=True)
class WorkerDraining(WorkerEvent):
    """The worker accepts nothing any more, on our word or because it got TERM itself."""


@dataclass(frozen=True, slots=True)
class WorkerHandedOver(WorkerEvent):
    """The draining worker has handed over what it could; `left` requests are still in its hands."""

    left: int = 0


@dataclass(frozen=True, slots=True)
class ReceiverGotStuck(WorkerEvent):
    """The worker hands over to one that answers neither offers nor cancellations."""

    receiver: int = 0


@dataclass(frozen=True, slots=True)
class WorkerSaturated(WorkerEvent):
    """The worker's threads are all stuck in calls, and something waits that a sibling could serve.

    `have`: the numbers of the siblings that it has channels to. Those of others are lost or of no use any more.
    """

    have: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class WorkerWantsReplacement(WorkerEvent):
    """The worker serves on, but asks for a successor: `cause` says why."""

    cause: str = ""


@dataclass(frozen=True, slots=True)
class WorkerDisconnected(WorkerEvent):
    """The worker's control socket is at its end, yet its process lives on."""


@dataclass(frozen=True, slots=True)
class WorkerExited(WorkerEvent):
    """The process has been reaped. `status` is its exit status, or minus the signal that killed it."""

    status: int = 0
    remark: str = ""
    """What to say as well if it was not ready yet."""


@dataclass(frozen=True, slots=True)
class ConfigurationLoaded(Event):
    """The answer to `LoadConfiguration`: what it says for the state machine."""

    policy: Policy


@dataclass(frozen=True, slots=True)
class ConfigurationRefused(Event):
    """The answer to `LoadConfiguration`: it cannot be used."""

    reason: str


@dataclass(frozen=True, slots=True)
class HangupReceived(Event):
    """HUP: reload."""


@dataclass(frozen=True, slots=True)
class FilesChanged(HangupReceived):
    """Watched files have changed (`--reload`): reload, or boot at last."""


@dataclass(frozen=True, slots=True)
class TermReceived(Event):
    """TERM: drain and stop."""


@dataclass(frozen=True, slots=True)
class IntReceived(Event):
    """INT: drain and stop; the second one: stop now."""


@dataclass(frozen=True, slots=True)
class QuitReceived(Event):
    """QUIT: stop now."""


@dataclass(frozen=True, slots=True)
class TtinReceived(Event):
    """TTIN: one worker more."""


@dataclass(frozen=True, slots=True)
class TtouReceived(Event):
    """TTOU: one worker fewer."""


@dataclass(frozen=True, slots=True)
class WinchReceived(Event):
    """WINCH without a controlling terminal: drain the workers, close the listeners, stay."""


@dataclass(frozen=True, slots=True)
class Usr1Received(Event):
    """USR1: reopen the log files."""


@dataclass(frozen=True, slots=True)
class Usr2Received(Event):
    """USR2: re-exec the master."""
