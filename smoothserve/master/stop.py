"""The end of the server: who asked for it, how long the workers get, with which code the master ends. Pure."""

from smoothserve.errors import ExitCode
from smoothserve.master.actions import AnnounceStop, CloseListeners, Exit, SayBootFailed, SayStopped, SayStopping
from smoothserve.master.crew import GIVE_UP_TIMEOUT, Crew
from smoothserve.master.succession import Succession

#: Seconds between "stop now" and SIGKILL.
QUIT_TIMEOUT = 1.0


class Stop:
    """The stop, to come or under way. Asked for again it only becomes faster."""

    def __init__(self, crew: Crew, succession: Succession) -> None:
        self._crew = crew
        self._succession = succession
        self.under_way = False
        self.begins_at: float | None = None
        """When the stop begins that has been announced (`--shutdown-delay`)."""
        self._cause = ""
        self._quitting = False
        self._exit_code = ExitCode.STOPPED

    def stop(self, cause: str, at: float) -> None:
        """Let every worker finish what it has in hand, within the graceful timeout."""
        if self.under_way or self.begins_at is not None:
            return
        self._cause = cause
        self._crew.do(SayStopping(cause, self._crew.policy.graceful_timeout))
        if self._crew.policy.shutdown_delay and self._crew.acceptors():
            self.begins_at = at + self._crew.policy.shutdown_delay
            self._crew.do(AnnounceStop())
            return
        self._succession.abandon(cause)
        self._end_all(at, self._crew.policy.graceful_timeout)

    def interrupt(self, at: float) -> None:
        """INT: the first stops, the second quits."""
        if self.under_way or self.begins_at is not None:
            self.quit("INT", at)
        else:
            self.stop("INT", at)

    def tick(self, at: float) -> None:
        """Begin the stop that was announced."""
        if self.begins_at is not None and at >= self.begins_at and not self.under_way:
            self._succession.abandon(self._cause)
            self._end_all(at, self._crew.policy.graceful_timeout)

    def quit(self, cause: str, at: float) -> None:
        """Stop now."""
        if self._quitting:
            return
        self._quitting = True
        self._crew.do(SayStopping(f"{cause}, now", 0.0))
        self._succession.abandon(cause)
        self._end_all(at, 0.0)
        for worker in self._crew.workers.values():
            if not worker.killed:
                worker.deadline = min(worker.deadline or at + QUIT_TIMEOUT, at + QUIT_TIMEOUT)

    def fail_boot(self, reason: str, at: float) -> None:
        """The first generation does not boot: the server has nothing to serve."""
        self._crew.do(SayBootFailed(reason))
        self._exit_code = ExitCode.BOOT_FAILED
        self._end_all(at, self._crew.policy.graceful_timeout)

    def advance(self) -> None:
        """End the master when the last worker has left."""
        if not self._crew.workers:
            if self._exit_code is ExitCode.STOPPED:
                self._crew.do(SayStopped())
            self._crew.do(Exit(self._exit_code))

    def _end_all(self, at: float, timeout: float) -> None:
        """Tell every worker to leave, then close the listeners: from here on it is only waiting."""
        first = not self.under_way
        self.begins_at = None
        self.under_way = True
        for slot in self._crew.slots.values():
            slot.respawn_at = None
        for worker in self._crew.workers.values():
            if worker.killed:
                worker.deadline = at + GIVE_UP_TIMEOUT
            else:
                self._crew.dismiss(worker, at, cause="stop", timeout=timeout, final=True)
        if first:
            self._crew.do(CloseListeners())
