"""Where the companions sit: their part of the master's loop, and the wall between their defects and the workers."""

import selectors
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from smoothserve.control.messages import Message
from smoothserve.logs.lines import Level, Log
from smoothserve.master.actions import Action
from smoothserve.master.companion import Companion, WorkerProcess
from smoothserve.master.events import Event
from smoothserve.master.state import MasterState
from smoothserve.master.tally import Tally


@dataclass(slots=True)
class Bench:
    """The companions of a master. It is the seat of each of them."""

    companions: list[Companion]
    selector: selectors.BaseSelector
    state: MasterState
    tally: Tally
    log: Log
    now: Callable[[], float]
    submit: Callable[[Event], None]
    send: Callable[..., None]
    processes: Callable[[], Iterable[WorkerProcess]]
    addresses: Callable[[], list[str]]

    @property
    def listening(self) -> list[str]:
        """The addresses, as the user reads them."""
        return self.addresses()

    def open(self) -> None:
        """Let all of them begin."""
        self._each(lambda one: one.open(self))

    def close(self) -> None:
        """Let all of them end."""
        self._each(lambda one: one.close())

    def deadlines(self) -> list[float]:
        """Return when something is due (monotonic seconds)."""
        return [at for at in (one.next_deadline() for one in self.companions) if at is not None]

    def advance(self, now: float) -> None:
        """Do what is due."""
        self._each(lambda one: one.advance(now))

    def note(self, event: Event, decided: Sequence[Action]) -> None:
        """Show an event and what the rules made of it."""
        self._each(lambda one: one.note(event, decided))

    def heard(self, worker: int, message: Message) -> None:
        """Pass on what a worker said."""
        self._each(lambda one: one.heard(worker, message))

    # descriptors

    def watch(self, fd: int, mask: int, callback: Callable[[int], None]) -> None:
        """Call back with the selector's mask when the descriptor is ready; said again, it changes the mask."""
        if fd in self.selector.get_map():
            self.selector.modify(fd, mask, callback)
        else:
            self.selector.register(fd, mask, callback)

    def unwatch(self, fd: int) -> None:
        """Do not call back any more."""
        if fd in self.selector.get_map():
            self.selector.unregister(fd)

    def call_back(self, key: selectors.SelectorKey, mask: int) -> None:
        """Tell whoever watches a descriptor, unless that was closed since the selector looked."""
        if self.selector.get_map().get(key.fd) is not key:
            return
        try:
            key.data(mask)
        except Exception:  # noqa: BLE001 - what goes wrong beside the workers costs no worker
            self._say_defect("")
            self.unwatch(key.fd)

    def _each(self, call: Callable[[Companion], None]) -> None:
        """Let each companion do something; one with a defect is put out."""
        for companion in list(self.companions):
            try:
                call(companion)
            except Exception:  # noqa: BLE001 - what goes wrong beside the workers costs no worker
                self.companions.remove(companion)
                self._say_defect(f" without its {type(companion).__name__}")

    def _say_defect(self, how: str) -> None:
        self.log.write(Level.ERROR, f"defect in smoothserve, the master goes on{how}:\n{traceback.format_exc()}")
