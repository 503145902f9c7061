"""What the state machine wants done. The driver does it, in order, and tells how it went with events.

The last group only says something: `report.py` has the words.
"""

from dataclasses import dataclass
from signal import Signals

from smoothserve.errors import ExitCode


@dataclass(frozen=True, slots=True)
class Action:
    """Something to do."""


@dataclass(frozen=True, slots=True)
class Spawn(Action):
    """Start a worker. A spawn that fails comes back as `WorkerFailed` and `WorkerExited`."""

    worker: int
    slot: int
    generation: int


@dataclass(frozen=True, slots=True)
class Pair(Action):
    """Make a channel over which one worker hands its connections over to another, and give each its end.

    `relief`: not because it drains, but while all its threads are stuck in calls.
    """

    receiver: int
    sender: int
    relief: bool = False


@dataclass(frozen=True, slots=True)
class SendAccept(Action):
    """Tell a worker to accept connections."""

    worker: int


@dataclass(frozen=True, slots=True)
class SendDrain(Action):
    """Tell a worker to drain. Said again it brings the deadlines down."""

    worker: int
    timeout: float
    linger: float
    final: bool
    cause: str
    receiver_timeout: float = 0.0
    """How long a receiver may still be to come."""


@dataclass(frozen=True, slots=True)
class Kill(Action):
    """Send a signal to a worker."""

    worker: int
    signal: Signals


@dataclass(frozen=True, slots=True)
class Forget(Action):
    """A worker has exited: add its numbers to the totals. Not `clean`: what it had not answered is dropped."""

    worker: int
    clean: bool


@dataclass(frozen=True, slots=True)
class LoadConfiguration(Action):
    """Read the configuration for a generation, open what it needs; answer with `ConfigurationLoaded` or `-Refused`."""

    generation: int


@dataclass(frozen=True, slots=True)
class KeepConfiguration(Action):
    """A generation serves in every slot: its configuration is the only one from now on."""

    generation: int


@dataclass(frozen=True, slots=True)
class DropConfiguration(Action):
    """A generation was refused: its configuration is not needed."""

    generation: int


@dataclass(frozen=True, slots=True)
class CloseListeners(Action):
    """Close the listening sockets (the workers have their own descriptors of them)."""


@dataclass(frozen=True, slots=True)
class ReopenLogs(Action):
    """Open the log files afresh, here and in every worker."""


@dataclass(frozen=True, slots=True)
class AnnounceStop(Action):
    """Tell every worker that the server will stop soon (`--shutdown-delay`)."""


@dataclass(frozen=True, slots=True)
class Exit(Action):
    """End the master."""

    code: ExitCode


# what to say


@dataclass(frozen=True, slots=True)
class Say(Action):
    """Say something to the operator."""


@dataclass(frozen=True, slots=True)
class SayNotice(Say):
    """A line that needs nothing but its text."""

    text: str
    grave: bool = False


@dataclass(frozen=True, slots=True)
class SayReady(Say):
    """All workers of the first generation accept."""

    interface: str
    seconds: float
    workers: int


@dataclass(frozen=True, slots=True)
class SayTraceback(Say):
    """A worker could not boot; `traceback` may be empty."""

    worker: int
    traceback: str


@dataclass(frozen=True, slots=True)
class SayBootFailed(Say):
    """The first boot failed, the server ends."""

    reason: str


@dataclass(frozen=True, slots=True)
class SayWorkerLost(Say):
    """A worker is gone that should not be. `respawn_in` is None where its slot is not filled again for it."""

    worker: int
    what: str
    respawn_in: float | None
    hint: str = ""


@dataclass(frozen=True, slots=True)
class SayReload(Say):
    """What became of the reload of a generation."""

    generation: int


@dataclass(frozen=True, slots=True)
class SayReloadBegan(SayReload):
    """A reload begins."""


@dataclass(frozen=True, slots=True)
class SayReloadFinished(SayReload):
    """Every successor accepts, every predecessor has handed over what it could."""

    seconds: float
    swapped: int
    added: int = 0
    """Slots that are new, beside those that were swapped."""


@dataclass(frozen=True, slots=True)
class SayReloadDrained(SayReload):
    """The last worker that the reload replaced has left."""

    seconds: float


@dataclass(frozen=True, slots=True)
class SayReloadRefused(SayReload):
    """Nothing was swapped: `serving` workers of these generations serve on."""

    reason: str
    serving: int
    serving_generations: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SayReloadMixed(SayReload):
    """The reload ended between its slots."""

    reason: str
    swapped: int
    workers: int


@dataclass(frozen=True, slots=True)
class SayReloadAbandoned(SayReload):
    """The server stops (or rests) in the middle of a reload."""

    cause: str
    swapped: int
    workers: int


@dataclass(frozen=True, slots=True)
class SayRecycleBegan(Say):
    """A worker that has asked for it is to be replaced."""

    worker: int
    cause: str


@dataclass(frozen=True, slots=True)
class SayRecycled(Say):
    """The successor accepts, the worker has handed over what it could."""

    worker: int
    successor: int
    seconds: float


@dataclass(frozen=True, slots=True)
class SayRecycleFailed(Say):
    """The worker could not be replaced; `serves`: it serves on. The next attempt is in `retry_in` seconds."""

    worker: int
    reason: str
    serves: bool
    retry_in: float


@dataclass(frozen=True, slots=True)
class SayStopping(Say):
    """The server stops; `timeout` is what the workers get, 0: nothing."""

    cause: str
    timeout: float


@dataclass(frozen=True, slots=True)
class SayStopped(Say):
    """All workers have left."""
