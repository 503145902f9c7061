"""The master's words: one line for each thing that an operator wants to know. Renders, decides nothing."""

from collections.abc import Callable
from typing import Any, Protocol

from smoothserve.control.scoreboard import Counter
from smoothserve.logs.lines import Log
from smoothserve.master import actions
from smoothserve.master.tally import Tally
from smoothserve.words import count


class WorkerFacts(Protocol):
    """What is said of a worker beside its number."""

    pid: int
    slot: int
    generation: int
    dropped: int


class Reporter:
    """Writes what the state machine says to the log. `find` knows workers, also those just gone."""

    def __init__(
        self, log: Log, tally: Tally, find: Callable[[int], WorkerFacts | None], *, pid: int, app: str, access_log: bool
    ) -> None:
        self._log = log
        self._tally = tally
        self._find = find
        self._pid = pid
        self._app = app
        self._access_log = access_log
        self._before: dict[int, dict[Counter, int]] = {}
        self._recycled: tuple[int, str, dict[Counter, int]] = (0, "", {})
        """The worker that is being recycled: its number, who it is and why, what had been counted before."""
        self._words: dict[type[actions.Say], Callable[[Any], None]] = {
            actions.SayNotice: self._notice,
            actions.SayReady: self._ready,
            actions.SayTraceback: self._traceback,
            actions.SayBootFailed: self._boot_failed,
            actions.SayWorkerLost: self._worker_lost,
            actions.SayReloadBegan: self._reload_began,
            actions.SayReloadFinished: self._reload_finished,
            actions.SayReloadDrained: self._reload_drained,
            actions.SayReloadRefused: self._reload_refused,
            actions.SayReloadMixed: self._reload_mixed,
            actions.SayReloadAbandoned: self._reload_abandoned,
            actions.SayRecycleBegan: self._recycle_began,
            actions.SayRecycled: self._recycle_finished,
            actions.SayRecycleFailed: self._recycle_failed,
            actions.SayStopping: self._stopping,
            actions.SayStopped: self._stopped,
        }

    def say(self, action: actions.Say) -> None:
        """Write the line for an action."""
        self._words[type(action)](action)

    def _notice(self, said: actions.SayNotice) -> None:
        if said.grave:
            self._log.warning(said.text)
        else:
            self._log.info(said.text)

    def _ready(self, said: actions.SayReady) -> None:
        access = "access log on" if self._access_log else "access log off (--access-log)"
        verb = "serves" if said.workers == 1 else "serve"
        self._log.info(
            f"ready: {count(said.workers, 'worker')} {verb} {self._app} ({said.interface}) in {said.seconds:.2f} s; "
            f"{access}; reload with: kill -HUP {self._pid}"
        )

    def _traceback(self, said: actions.SayTraceback) -> None:
        self._log.error(f"{self._name(said.worker)} says:\n{said.traceback}")

    def _boot_failed(self, said: actions.SayBootFailed) -> None:
        self._log.critical(f"the application did not boot: {said.reason}")

    def _worker_lost(self, said: actions.SayWorkerLost) -> None:
        facts = self._find(said.worker)
        dropped = f", {count(facts.dropped, 'request')} dropped" if facts is not None else ""
        if said.respawn_in is None:
            follow = ""
        elif said.respawn_in == 0.0:
            follow = "; respawning"
        else:
            follow = f"; respawning in {said.respawn_in:.1f} s"
        hint = f" ({said.hint})" if said.hint else ""
        self._log.error(f"{self._name(said.worker)} {said.what}{dropped}{follow}{hint}")

    def _reload_began(self, said: actions.SayReloadBegan) -> None:
        self._before[said.generation] = self._totals()
        self._log.info(f"reload: generation {said.generation} begins")

    def _totals(self) -> dict[Counter, int]:
        lasting = (Counter.HANDED_OVER, Counter.WEBSOCKETS_CARRIED, Counter.DROPPED)
        return {counter: self._tally.total(counter) for counter in lasting}

    def _since(self, generation: int, counter: Counter) -> int:
        return self._tally.total(counter) - self._before.get(generation, {}).get(counter, 0)

    def _dropped(self, generation: int) -> str:
        return f"{count(self._since(generation, Counter.DROPPED), 'request')} dropped so far"

    def _reload_finished(self, said: actions.SayReloadFinished) -> None:
        handed_over = count(self._since(said.generation, Counter.HANDED_OVER), "connection")
        carried = count(self._since(said.generation, Counter.WEBSOCKETS_CARRIED), "WebSocket")
        added = f", {said.added} added" if said.added else ""
        self._log.info(
            f"reload finished: generation {said.generation} in {said.seconds:.2f} s, "
            f"{count(said.swapped, 'worker')} swapped{added}, {handed_over} handed over, {carried} carried, "
            f"{self._dropped(said.generation)}"
        )

    def _reload_drained(self, said: actions.SayReloadDrained) -> None:
        self._log.info(
            f"reload drained: generation {said.generation} after {said.seconds:.2f} s, "
            f"the last replaced worker has left, {self._dropped(said.generation)}"
        )
        self._before.pop(said.generation, None)

    def _reload_refused(self, said: actions.SayReloadRefused) -> None:
        workers = f"{count(said.serving, 'worker')} of generation {' and '.join(map(str, said.serving_generations))}"
        serving = f"{workers} {'serves' if said.serving == 1 else 'serve'} on" if said.serving else "no worker serves"
        self._log.error(f"reload refused: generation {said.generation}: {said.reason}; {serving}")

    def _reload_mixed(self, said: actions.SayReloadMixed) -> None:
        self._log.error(
            f"reload mixed: generation {said.generation}: {said.reason}; "
            f"{said.swapped} of {count(said.workers, 'worker')} swapped; HUP tries again"
        )

    def _reload_abandoned(self, said: actions.SayReloadAbandoned) -> None:
        self._log.warning(
            f"reload abandoned: generation {said.generation}: {said.cause}; "
            f"{said.swapped} of {count(said.workers, 'worker')} swapped"
        )

    def _recycle_began(self, said: actions.SayRecycleBegan) -> None:
        who = f"{self._name(said.worker)}, {said.cause}"
        self._recycled = (said.worker, who, self._totals())
        self._log.info(f"recycle: {who}: its successor starts")

    def _recycle_finished(self, said: actions.SayRecycled) -> None:
        number, who, before = self._recycled
        if number != said.worker:
            return
        since = {counter: self._tally.total(counter) - value for counter, value in before.items()}
        self._log.info(
            f"recycled: {who}: worker {said.successor} has taken its place in {said.seconds:.2f} s, "
            f"{count(since[Counter.HANDED_OVER], 'connection')} handed over, "
            f"{count(since[Counter.WEBSOCKETS_CARRIED], 'WebSocket')} carried, "
            f"{count(since[Counter.DROPPED], 'request')} dropped so far"
        )

    def _recycle_failed(self, said: actions.SayRecycleFailed) -> None:
        follow = f"worker {said.worker} serves on, trying again" if said.serves else "the next attempt is"
        self._log.error(f"recycle failed: {said.reason}; {follow} in {said.retry_in:g} s")

    def _stopping(self, said: actions.SayStopping) -> None:
        self._log.info(f"stopping: {said.cause}, graceful timeout {said.timeout:g} s")

    def _stopped(self, said: actions.SayStopped) -> None:
        del said
        self._log.info(f"stopped: {count(self._tally.total(Counter.DROPPED), 'request')} dropped")

    def _name(self, worker: int) -> str:
        facts = self._find(worker)
        if facts is None:
            return f"worker {worker}"
        return f"worker {worker} (pid {facts.pid}, slot {facts.slot}, generation {facts.generation})"
