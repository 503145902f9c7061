"""The desk: what each verb asks for becomes events for the rules, and what comes of them goes back to who asked.

Without a place for the control socket the server serves on, and says so.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from smoothserve.control import places
from smoothserve.control.operator import ERROR, PROGRESS, RESULT, Line
from smoothserve.errors import FileError, SmoothserveError
from smoothserve.master import actions, events
from smoothserve.master.chronicle import ABANDONED, FINISHED, Chronicle
from smoothserve.master.companion import Companion, Seat, WorkerProcess
from smoothserve.master.control_socket import ControlSocket, Session, remove_sockets_of_the_dead
from smoothserve.master.dumps import Dumper
from smoothserve.master.listing import ConnectionLists
from smoothserve.master.status import build_status

#: `workers +N`: more at once is rather a mistake.
MAX_STEP = 64


@dataclass(frozen=True, slots=True)
class _Waiter:
    """A verb that waits for a reload."""

    session: Session
    generation: int
    drained: bool


class Desk(Companion):
    """The control socket of a master."""

    def __init__(
        self,
        path: str | None,
        *,
        app: str,
        check: Callable[[], object],
        dumper: Dumper,
        lists: ConnectionLists,
    ) -> None:
        """`path` as set; None: the default place. `check` raises `SmoothserveError` if a restart could not start."""
        self._path = path
        self._app = app
        self._check = check
        self._dumper = dumper
        self._lists = lists
        self._socket: ControlSocket | None = None
        self._waiters: list[_Waiter] = []
        self.restarting = False
        """Whether the stop in progress is to be followed by a start."""
        self._submitting = False
        self._verbs: dict[str, Callable[[Session, Line], None]] = {
            "status": self._status,
            "reload": self._reload,
            "stop": self._stop,
            "restart": self._restart,
            "workers": self._workers,
            "dump": self._dump,
            "connections": self._connections,
        }

    def open(self, seat: Seat) -> None:
        """Listen. What prevents that is a warning: the server serves."""
        self._seat = seat
        self._log = seat.log
        self._started_at = seat.now()
        self.chronicle = Chronicle(seat.tally)
        if self._path == places.OFF:
            return
        try:
            path = places.check_length(self._path) if self._path else places.default_socket(os.getpid(), os.environ)
            self._socket = ControlSocket(path, seat, self._ask)
        except FileError as error:
            self._log.warning(
                f"{error}; the server serves, but smoothserve reload, status and stop cannot reach it: "
                "name a place with --control-socket (signals work as ever)"
            )
            return
        if os.path.exists("/proc/self"):
            remove_sockets_of_the_dead(path)
        self._log.debug(f"control socket: {path}")

    @property
    def path(self) -> str | None:
        """Where the control socket is, None: nowhere."""
        return self._socket.path if self._socket else None

    def close(self) -> None:
        """Close the control socket; who waits sees the end of file."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def next_deadline(self) -> float | None:
        """Return when the first session's time is up."""
        return self._socket.next_deadline() if self._socket else None

    def advance(self, now: float) -> None:
        """Close the sessions whose time is up."""
        if self._socket is not None:
            self._socket.advance(now)

    def note(self, event: events.Event, actions_: Sequence[actions.Action]) -> None:
        """Tell those who wait for a reload."""
        if isinstance(event, events.TermReceived | events.IntReceived | events.QuitReceived) and not self._submitting:
            self.restarting = False  # whoever wants it to stop now, wants no more than that
        lines = self.chronicle.note(event, actions_)
        if self._waiters:
            self._waiters = [one for one in self._waiters if not one.session.closed]
            for line in lines:
                self._tell(line)
            self._answer_waiters()

    def _tell(self, line: Line) -> None:
        for waiter in self._waiters:
            if line.get("generation") == waiter.generation:
                waiter.session.say({**line, "workers": len(self._seat.state.crew.wanted())})

    def _answer_waiters(self) -> None:
        for waiter in list(self._waiters):
            answer = self._answer(waiter)
            if answer is not None:
                self._waiters.remove(waiter)
                waiter.session.finish({"kind": RESULT, **answer})

    def _answer(self, waiter: _Waiter) -> dict[str, Any] | None:
        record = self.chronicle.reloads.get(waiter.generation)
        if record is None or not record.result:
            state = self._seat.state
            if state.stopping or state.succession.promised < waiter.generation:
                return {
                    "generation": waiter.generation,
                    "result": ABANDONED,
                    "reason": "the server stops, rests, or waits for code that boots",
                }
            return None
        if waiter.drained and record.result == FINISHED and record.swapped and not record.drained:
            return None if not self._seat.state.stopping else record.render()
        return record.render()

    # verbs

    def _ask(self, session: Session, request: Line) -> None:
        verb = self._verbs.get(request["verb"])
        if verb is None:
            session.finish({"kind": ERROR, "message": f"this server does not know the verb {request['verb']!r}"})
            return
        verb(session, request)

    def _status(self, session: Session, request: Line) -> None:
        del request
        session.finish({"kind": RESULT, **self.status()})

    def status(self) -> dict[str, Any]:
        """Return all that `status` tells."""
        told = build_status(self._seat, self.chronicle, app=self._app, started_at=self._started_at)
        return {**told, "control_socket": self.path}

    def _reload(self, session: Session, request: Line) -> None:
        if self._seat.state.ending:
            session.finish({"kind": ERROR, "message": "the server is stopping"})
            return
        self._seat.submit(events.HangupReceived(self._seat.now()))
        generation = self._seat.state.succession.promised
        wait = request.get("wait", "finished")
        if wait == "none":
            session.finish({"kind": RESULT, "generation": generation, "result": "asked"})
            return
        count = len(self._seat.state.crew.wanted())
        session.say({"kind": PROGRESS, "generation": generation, "state": "asked", "workers": count})
        self._waiters.append(_Waiter(session, generation, drained=wait == "drained"))
        self._say_what_is_under_way(session, generation)
        self._answer_waiters()

    def _say_what_is_under_way(self, session: Session, generation: int) -> None:
        for worker in self._seat.state.crew.workers.values():
            if worker.generation == generation:
                line = {"kind": PROGRESS, "generation": generation, "slot": worker.slot.index, "worker": worker.number}
                session.say({**line, "state": "boots", "workers": len(self._seat.state.crew.wanted())})

    def _stop(self, session: Session, request: Line) -> None:
        now = self._seat.now()
        kind = events.QuitReceived if request.get("now") else events.TermReceived
        in_hand = build_status(self._seat, self.chronicle, app=self._app, started_at=0.0)["totals"]["in_hand"]
        session.say({"kind": PROGRESS, "state": "stopping", "in_hand": in_hand})
        self._seat.submit(kind(now))

    def _restart(self, session: Session, request: Line) -> None:
        del request
        if self._seat.state.ending:
            session.finish({"kind": ERROR, "message": "the server is stopping"})
            return
        try:
            self._check()
        except SmoothserveError as error:
            session.finish({"kind": RESULT, "result": "refused", "reason": str(error)})
            return
        session.say({"kind": PROGRESS, "state": "stopping"})
        self.restarting = self._submitting = True
        self._seat.submit(events.TermReceived(self._seat.now()))
        self._submitting = False

    def _dump(self, session: Session, request: Line) -> None:
        pid = request.get("pid")
        if pid is not None and type(pid) is not int:
            session.finish({"kind": ERROR, "message": "pid is a worker's process number, or null for all"})
            return
        found = [one for one in self._seat.processes() if pid in {None, one.pid}]
        if not found:
            session.finish({"kind": ERROR, "message": f"{pid} is no worker of this server's"})
            return
        left = {one.number for one in found}

        def answer(process: WorkerProcess, text: str) -> None:
            left.discard(process.number)
            session.say({"kind": PROGRESS, "pid": process.pid, "slot": process.slot, "stacks": text})
            if not left:
                session.finish({"kind": RESULT, "dumped": len(found)})

        for process in found:
            self._dumper.dump(process.number, partial(answer, process))

    def _connections(self, session: Session, request: Line) -> None:
        limit, sort = request.get("limit", 0), request.get("sort", "")
        if type(limit) is not int or limit < 0 or not isinstance(sort, str):
            session.finish({"kind": ERROR, "message": "limit is a number from 0, sort a name"})
            return
        try:
            self._lists.ask(limit, sort, session.finish_with)
        except SmoothserveError as error:
            session.finish({"kind": ERROR, "message": str(error)})

    def _workers(self, session: Session, request: Line) -> None:
        change = request.get("change")
        if type(change) is not int or not 0 < abs(change) <= MAX_STEP:
            session.finish({"kind": ERROR, "message": f"change the number of workers by 1 to {MAX_STEP}"})
            return
        if self._seat.state.ending:
            session.finish({"kind": ERROR, "message": "the server is stopping"})
            return
        for _ in range(abs(change)):
            kind = events.TtinReceived if change > 0 else events.TtouReceived
            self._seat.submit(kind(self._seat.now()))
        session.finish({"kind": RESULT, "workers": len(self._seat.state.crew.wanted())})
