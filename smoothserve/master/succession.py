"""Which reload is in progress, which comes next, which are over while a worker that they replaced still drains.

One at a time: HUPs during a reload start it afresh once while it still boots, else ask for one reload more. Pure,
as `crew.py`.
"""

from dataclasses import replace

from smoothserve.master.actions import (
    CloseListeners,
    DropConfiguration,
    KeepConfiguration,
    LoadConfiguration,
    SayNotice,
    SayReloadAbandoned,
    SayReloadDrained,
    SayReloadFinished,
    SayReloadMixed,
    SayReloadRefused,
)
from smoothserve.master.crew import Crew, Phase, Slot, spare
from smoothserve.master.policy import Policy
from smoothserve.master.recycling import Recycling
from smoothserve.master.reload import Reload, Result


class Succession:
    """The order of generations."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self.reload: Reload | None = None
        self.recycling = Recycling(crew)
        self.generation = 1
        """The last number given out."""
        self.trusted = 1
        """The last generation that took a slot."""
        self.refused = False
        """The last reload did not succeed: what is on disk may not boot."""
        self._pending = False
        """A HUP asks for a reload after the one in progress."""
        self._asked: int | None = None
        """The generation whose configuration is being loaded."""
        self._trailing: list[Reload] = []
        self._policy_before = crew.policy

    @property
    def swap(self) -> Reload | None:
        """What replaces workers at this moment: a reload or a recycle."""
        return self.reload or self.recycling.swap

    # a HUP and its configuration

    def request(self, at: float, *, ready: bool) -> None:
        """A HUP: reload now, start what boots afresh, or note it for later. Not `ready`: the first boot goes on."""
        if self._asked is not None or not ready:
            self._pending = True
        elif self.reload is None:
            self._ask()
        elif not self.reload.may_refresh():
            self._pending = True
        elif self.reload.has_swapped:
            # This slot starts afresh; those that are swapped already have older code than this HUP asks for.
            self.reload.refresh(at)
            self._pending = True
        else:
            self._asked = self.reload.generation
            self._crew.do(LoadConfiguration(self._asked))

    def forget_request(self) -> None:
        """The first boot has failed: nobody is there to be swapped."""
        self._pending = False

    @property
    def promised(self) -> int:
        """The generation that fulfils what has been asked for last: in progress, or over, or to come."""
        return self.generation + 1 if self._pending else self.generation

    @property
    def busy(self) -> bool:
        """Whether a reload is in progress or to come."""
        return self.reload is not None or self._asked is not None or self._pending

    def go_on(self) -> None:
        """Begin the reload that was asked for meanwhile."""
        if self._pending and self.reload is None and self._asked is None:
            self._ask()

    def _ask(self) -> None:
        self._pending = False
        self.generation += 1
        self._asked = self.generation
        self._crew.do(LoadConfiguration(self.generation))

    def configure(self, policy: Policy, at: float) -> None:
        """The configuration has been loaded: begin the reload, or begin it afresh."""
        generation, self._asked = self._asked, None
        if generation is None:
            return
        earlier = self.reload
        if earlier is not None:
            if earlier.generation != generation or earlier.has_swapped or not earlier.may_refresh():
                self._pending = True
                return
            earlier.withdraw(at)
            self._undo_plan(earlier, at)
        self.recycling.give_way(generation, at)
        self.reload = self._plan(generation, policy, at)
        self.reload.begin(at, earlier)

    def refuse_configuration(self, reason: str) -> None:
        """The configuration cannot be used: all stays as it is."""
        generation, self._asked = self._asked, None
        if generation is None:
            return
        if self.reload:
            text = f"HUP refused: {reason}; the reload of generation {self.reload.generation} goes on"
            self._crew.do(SayNotice(text, grave=True))
            return
        self._say_refused(generation, reason)
        self._crew.do(DropConfiguration(generation))

    # the number of workers

    def _plan(self, generation: int, policy: Policy, at: float) -> Reload:
        """Decide which slots are swapped, filled and given up.

        A number adjusted by TTIN and TTOU stays until another is configured.
        """
        self._policy_before = before = self._crew.policy
        slots = self._crew.wanted()
        surplus: list[Slot] = []
        added: list[Slot] = []
        if policy.workers != before.workers:
            added = [self._crew.open_slot(generation) for _ in range(len(slots), policy.workers)]
            while len(slots) > policy.workers:
                surplus.append(spare(slots))
                slots.remove(surplus[-1])
        self._crew.policy = replace(policy, all_at_once=True) if self._crew.resting else policy
        reload = Reload(self._crew, generation, slots + added, surplus, at)
        reload.added = added
        reload.opened = {slot.index for slot in added}
        return reload

    def _undo_plan(self, reload: Reload, at: float) -> None:
        """Take back what a reload that did not succeed had planned for the number of workers."""
        policy = self._crew.policy if reload.result is Result.MIXED else self._policy_before
        self._crew.policy = replace(policy, workers=self._policy_before.workers)
        for slot in reload.added:
            if slot.serving is None:
                self._crew.close_slot(slot, at, "the reload did not succeed")

    # the end of a reload

    def advance(self, at: float) -> None:
        """Let the reload in progress do what has become possible; report what is over."""
        if self.reload:
            self.reload.advance(at)
            if self.reload.result is not None:
                self._close(self.reload, at)
        idle = self.reload is None and self._asked is None and not self._pending
        self.recycling.advance(at, may_begin=idle and not self._crew.resting)
        for trailing in [one for one in self._trailing if one.drained()]:
            self._trailing.remove(trailing)
            self._crew.do(SayReloadDrained(trailing.generation, at - trailing.began_at))

    def abandon(self, cause: str) -> None:
        """The server stops or rests: no reload any more."""
        self._pending = False
        self.recycling.abandon(cause)
        if self.reload:
            self.reload.abandon(cause)

    def _close(self, reload: Reload, at: float) -> None:
        """Report how a reload ended, once, and keep what follows from it."""
        self.reload = None
        crew, swapped, workers = self._crew, len(reload.swapped), len(self._crew.wanted())
        if reload.result is Result.FINISHED:
            self.refused = crew.resting = False
            self.trusted = reload.generation
            added = len(reload.opened & reload.swapped)
            crew.do(SayReloadFinished(reload.generation, at - reload.began_at, swapped - added, added))
            crew.do(KeepConfiguration(reload.generation))
        elif reload.result is Result.ABANDONED:
            for slot in reload.added:
                if slot.index not in reload.swapped:
                    # Nobody has watched a worker of the generation that it was opened for.
                    slot.generation = self.trusted
            crew.do(SayReloadAbandoned(reload.generation, reload.reason, swapped, workers))
        elif reload.result is Result.MIXED:
            self.refused = True
            crew.resting = False
            self.trusted = reload.generation
            crew.do(SayReloadMixed(reload.generation, reload.reason, swapped, workers))
            self._undo_plan(reload, at)
        else:
            self.refused = True
            self._say_refused(reload.generation, reload.reason)
            self._undo_plan(reload, at)
            crew.do(DropConfiguration(reload.generation))
            if crew.resting:
                crew.do(CloseListeners())
        if reload.swapped or reload.predecessors:
            self._trailing.append(reload)

    def _say_refused(self, generation: int, reason: str) -> None:
        # A predecessor that was told to accept again, but has not answered yet, serves on.
        told = [
            slot.serving for slot in self._crew.slots.values() if slot.serving and slot.serving.phase is Phase.TRUSTED
        ]
        serving = [*self._crew.acceptors(), *(worker for worker in told if not worker.killed)]
        generations = tuple(sorted({worker.generation for worker in serving}))
        self._crew.do(SayReloadRefused(generation, reason, len(serving), generations))
