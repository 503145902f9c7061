"""The handover protocol against crashes, delays and cuts at every step: one reader, and none lost but with its owner.

Negative controls sabotage one rule of the protocol each, and the same promises must then be seen to break.
"""

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from smoothserve.control.handover import Offered
from tests.property.handover.kernel import ACK, Connection, Link, Socket, ViolationError, Wire
from tests.property.handover.workers import Conduct, ReceiverWorker, SenderWorker
from tests.property.handover.world import World

CAPACITIES = st.sampled_from([1, 2, 5, 100])
INDEXES = st.integers(0, 60)
#: Of what must happen now and then, but ends what is interesting.
SELDOM = st.sampled_from([False, False, False, True])
COMPATIBLE = SELDOM.map(lambda seldom: not seldom)
FUSES = st.none() | st.none() | st.integers(1, 60)
REFUSALS = st.sampled_from(["for now", "for good"])
CONDUCTS = st.one_of(
    st.builds(Conduct, fuse=FUSES),
    st.builds(Conduct, fuse=FUSES),
    st.builds(Conduct, fuse=FUSES, refusing=REFUSALS),
    st.builds(Conduct, fuse=FUSES, lose=st.integers(1, 2)),
    st.builds(Conduct, fuse=FUSES, hesitates=st.just(True)),
    st.builds(Conduct, fuse=FUSES, stopped=st.just(True)),
    st.builds(Conduct, REFUSALS, st.integers(0, 2), hesitates=st.booleans()),
)


class HandoverMachine(RuleBasedStateMachine):
    """Rules are what can happen; what must never happen is asserted by `World.check` after every smallest step."""

    sender_class = SenderWorker
    receiver_class = ReceiverWorker

    world: World

    @initialize(
        capacity=CAPACITIES,
        compatible=COMPATIBLE,
        conduct=CONDUCTS,
        fuse=FUSES,
        greeted=st.booleans(),
        idle=st.sampled_from([0, 1, 3, 36]),
    )
    def begin(
        self, capacity: int, compatible: bool, conduct: Conduct, fuse: int | None, greeted: bool, idle: int
    ) -> None:
        self.world = World(self.sender_class(fuse), self.receiver_class)
        self.world.pair(capacity, compatible, conduct)
        if greeted:
            self.all_go_on(5, 1)
        self.become_idle_anew(idle)

    def sender_lives(self) -> bool:
        return self.world.sender.alive

    def some_receiver_lives(self) -> bool:
        return any(receiver.alive for receiver in self.world.receivers)

    def link(self, index: int) -> Link:
        links = self.world.sender.links
        return links[index % len(links)]

    def receiver(self, index: int) -> ReceiverWorker:
        living = [receiver for receiver in self.world.receivers if receiver.alive]
        return living[index % len(living)]

    # clients

    def become_idle_anew(self, count: int) -> None:
        if not self.sender_lives():
            return
        for number in range(count):
            connection = self.world.connect(sent=number % 7)
            self.world.sender.read(connection, used=number % 3)
            self.world.sender.become_idle(connection, self.world.now, number, in_file=number % 5 == 4)
            self.world.check()

    @precondition(sender_lives)
    @rule(count=st.integers(1, 5))
    def idle_connections(self, count: int) -> None:
        self.become_idle_anew(count)

    @precondition(sender_lives)
    @rule()
    def a_busy_connection(self) -> None:
        self.world.connect(sent=3)

    @precondition(sender_lives)
    @rule(index=INDEXES, turn=st.integers(0, 2), in_file=st.booleans())
    def a_connection_becomes_idle(self, index: int, turn: int, in_file: bool) -> None:
        here = [connection for connection in self.world.sender.connections.values() if connection.reading]
        if here:
            self.world.sender.become_idle(here[index % len(here)], self.world.now, turn, in_file)
            self.world.check()

    @precondition(lambda self: self.world.sockets)
    @rule(index=INDEXES, count=st.integers(1, 9), unused=st.integers(0, 4))
    def a_client_sends(self, index: int, count: int, unused: int) -> None:
        """Whoever reads the socket takes it: nobody, while it is on its way."""
        socket = self.world.sockets[index % len(self.world.sockets)]
        socket.sent += count
        for process in (self.world.sender, *self.world.receivers):
            if process.reads(socket):
                process.read(process.connections[socket.number], unused)
        self.world.check()

    # the workers go on, up to a crash

    @precondition(sender_lives)
    @rule(index=st.integers(0, 2), steps=st.integers(1, 12), crashes=SELDOM)
    def the_sender_goes_on(self, index: int, steps: int, crashes: bool) -> None:
        for _ in range(steps):
            self.world.step_sender(self.link(index))
        if crashes:
            self.world.sender.crash()
            self.world.check()

    @precondition(some_receiver_lives)
    @rule(index=st.integers(0, 2), steps=st.integers(1, 12), crashes=SELDOM)
    def a_receiver_goes_on(self, index: int, steps: int, crashes: bool) -> None:
        receiver = self.receiver(index)
        for _ in range(steps):
            self.world.step_receiver(receiver)
        if crashes:
            receiver.crash()
            self.world.check()

    @rule(turns=st.integers(1, 20), haste=st.sampled_from([1, 2, 4, 10]))
    def all_go_on(self, turns: int, haste: int) -> None:
        self.world.haste = haste
        for _ in range(turns):
            self.world.go_on()

    # time, and the master

    @rule(
        seconds=st.sampled_from([5.0, 0.1, 10.0]), ticks=SELDOM.map(lambda seldom: not seldom), read_first=st.booleans()
    )
    def time_passes(self, seconds: float, ticks: bool, read_first: bool) -> None:
        """With or without the sender's sweep: it may be busy, and may have its answers unread."""
        self.world.now += seconds
        if ticks:
            self.world.tick(read_first)

    @precondition(some_receiver_lives)
    @rule(index=st.integers(0, 2), conduct=CONDUCTS)
    def a_receiver_changes_its_conduct(self, index: int, conduct: Conduct) -> None:
        self.receiver(index).conduct = conduct

    @rule()
    def the_master_kills_receivers_that_are_stuck(self) -> None:
        self.world.kill_stuck()

    @precondition(lambda self: self.sender_lives() and len(self.world.receivers) < 3)
    @rule(capacity=CAPACITIES, compatible=COMPATIBLE, conduct=CONDUCTS)
    def another_receiver_comes(self, capacity: int, compatible: bool, conduct: Conduct) -> None:
        self.world.pair(capacity, compatible, conduct)

    # the end: whatever has happened, this must be possible

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.move_everything()


@pytest.mark.parametrize(
    "examples", [300, pytest.param(10_000, marks=[pytest.mark.full(only="3.13"), pytest.mark.timeout(1800)])]
)
def test_a_socket_has_one_reader_and_is_lost_only_with_its_owner_whatever_crashes_when(examples: int) -> None:
    depth = settings(max_examples=examples, stateful_step_count=50, deadline=None, report_multiple_bugs=False)
    run_state_machine_as_test(HandoverMachine, settings=depth)


def test_every_idle_connection_moves_if_nothing_goes_wrong() -> None:
    world = World(SenderWorker(), ReceiverWorker)
    world.pair(capacity=5)
    for number in range(100):
        connection = world.connect(sent=number)
        world.sender.read(connection, used=number % 3)
        world.sender.become_idle(connection, world.now, 0, in_file=number % 5 == 0)
    world.settle()
    assert world.now == 0.0, "without waiting for any time-out"
    assert not world.sender.connections
    assert len(world.receivers[0].connections) == 100


# negative controls


class SenderThatDoesNotPause(SenderWorker):
    def pause(self, connection: Connection) -> None:
        pass


class SenderThatResumesOnABareTimeout(SenderWorker):
    def tick(self, now: float, read_first: bool) -> None:
        late = [link for link in self.links if now >= (link.protocol.next_deadline() or now + 1)]
        super().tick(now, read_first)
        for link in late:
            for connection in link.offers.values():
                self.take_back(connection)


class SenderThatTakesAFailedSendForTheEnd(SenderWorker):
    def send(self, link: Link) -> None:
        super().send(link)
        if not link.sender_end.peer.open and not link.protocol.closed:
            link.sender_end.inbox.clear()
            self.apply(link, link.protocol.receive_eof())


class SenderThatStopsReadingAtTheReset(SenderWorker):
    def step(self, link: Link, now: float) -> bool:
        if not link.sender_end.peer.open:
            link.sender_end.inbox.clear()
        return super().step(link, now)


class SenderThatThrowsLeftoverAway(SenderWorker):
    def leftover(self, connection: Connection) -> bytes:
        return b""


class SenderThatShutsDownWhatItLetsGo(SenderWorker):
    def let_go(self, socket: Socket) -> None:
        socket.shut = True


class ReceiverThatReadsBeforeItsAckIsInTheKernel(ReceiverWorker):
    def decide(self, event: Offered, wire: Wire) -> None:
        super().decide(event, wire)
        while self.taken:
            self.adopt(self.taken.popleft())


class ReceiverThatDropsWhatItCannotAcknowledge(ReceiverWorker):
    def answer(self, wire: Wire) -> None:
        super().answer(wire)
        if wire.kind == ACK and not self.end.peer.open:
            self.loose.remove(self.taken.pop().socket)


class ReceiverThatKeepsTheDescriptorsItRefuses(ReceiverWorker):
    def decide(self, event: Offered, wire: Wire) -> None:
        super().decide(event, wire)
        if self.conduct.refusing:
            self.loose += wire.descriptors


@pytest.mark.parametrize(
    ("sender", "receiver", "promise"),
    [
        (SenderThatDoesNotPause, ReceiverWorker, "read"),
        (SenderThatResumesOnABareTimeout, ReceiverWorker, "read"),
        (SenderThatTakesAFailedSendForTheEnd, ReceiverWorker, "read"),
        (SenderThatStopsReadingAtTheReset, ReceiverWorker, "read"),
        (SenderThatThrowsLeftoverAway, ReceiverWorker, "gap"),
        (SenderThatShutsDownWhatItLetsGo, ReceiverWorker, "shut down"),
        (SenderWorker, ReceiverThatReadsBeforeItsAckIsInTheKernel, "read by its owner"),
        (SenderWorker, ReceiverThatDropsWhatItCannotAcknowledge, "lost"),
        (SenderWorker, ReceiverThatKeepsTheDescriptorsItRefuses, "not its own"),
    ],
)
def test_a_worker_that_breaks_a_rule_is_found_out(
    sender: type[SenderWorker], receiver: type[ReceiverWorker], promise: str
) -> None:
    sabotaged = type("Sabotaged", (HandoverMachine,), {"sender_class": sender, "receiver_class": receiver})
    depth = settings(
        max_examples=2000,
        stateful_step_count=50,
        deadline=None,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        report_multiple_bugs=False,
    )
    with pytest.raises(ViolationError, match=promise):
        run_state_machine_as_test(sabotaged, settings=depth)
