"""One predecessor and its successors in a model; `World.check` holds the promises against what happens."""

from tests.property.handover.kernel import Connection, Link, Process, Socket, require
from tests.property.handover.workers import Conduct, ReceiverWorker, SenderWorker


class World:
    """One predecessor, its receivers, and everybody's sockets."""

    def __init__(self, sender: SenderWorker, receiver: type[ReceiverWorker]) -> None:
        self.now = 0.0
        self.sender = sender
        self.receiver_class = receiver
        self.receivers: list[ReceiverWorker] = []
        self.haste = 1
        """Steps that a receiver takes while the sender takes one."""
        self.sockets: list[Socket] = []

    def pair(self, capacity: int = 100, compatible: bool = True, conduct: Conduct | None = None) -> None:
        """Give the sender a receiver more."""
        link = Link(capacity, compatible)
        link.receiver = receiver = self.receiver_class(link, conduct or Conduct())
        self.receivers.append(receiver)
        self.sender.links.append(link)
        for connection in self.sender.connections.values():
            connection.unwanted = False

    def connect(self, sent: int) -> Connection:
        """Let a client connect and send so much; the sender has accepted and read it."""
        socket = Socket(len(self.sockets), self.sender, sent)
        connection = Connection(socket)
        self.sockets.append(socket)
        self.sender.connections[socket.number] = connection
        return connection

    # steps

    def step_sender(self, link: Link) -> bool:
        moved = self.sender.alive and self.sender.step(link, self.now)
        self.finish_step(self.sender, moved)
        return moved

    def step_receiver(self, receiver: ReceiverWorker) -> bool:
        moved = receiver.alive and receiver.step()
        self.finish_step(receiver, moved)
        return moved

    def finish_step(self, process: Process, moved: bool) -> None:
        if moved:
            self.check()
            process.burn_fuse()
            self.check()

    def tick(self, read_first: bool) -> None:
        if self.sender.alive:
            self.sender.tick(self.now, read_first)
            self.check()

    def kill_stuck(self) -> bool:
        """Do what the master does when it hears of a receiver that is stuck."""
        stuck = [receiver for receiver in self.receivers if receiver.alive and receiver.link.stuck]
        for receiver in stuck:
            receiver.crash()
        self.check()
        return bool(stuck)

    # promises

    def check(self) -> None:
        """What holds at every moment."""
        processes = [process for process in (self.sender, *self.receivers) if process.alive]
        held = {descriptor for process in processes for descriptor in process.held()}
        for receiver in self.receivers:
            held.update(descriptor for wire in receiver.end.inbox for descriptor in wire.descriptors)
        read = [socket for process in processes for socket in process.read_sockets()]
        foreign = [socket for process in processes for socket in process.read_sockets() if socket.owner is not process]
        require(len(read) == len(set(read)), "a socket has one reader")
        require(not foreign, "a socket is read by its owner")
        lost = [socket for socket in self.sockets if socket not in held and socket.owner.alive]
        require(not lost, "a connection is lost only with its owner")
        require(not any(socket.shut for socket in self.sockets), "a connection is not shut down because it moves")

    def settle(self) -> None:
        """Let everything happen that is under way, and time pass; then receivers mend. Nothing is in doubt any more."""
        self.come_to_rest()
        for link in self.living_links():
            require(not link.protocol.pending and not link.offers, "every offer ends")
        for receiver in self.receivers:
            receiver.conduct = Conduct()
        self.come_to_rest()
        for link in self.living_links():
            working = link.compatible and link.receiver.alive
            require(link.protocol.usable == working, "a receiver that answers can be offered to, and no other")
        for socket in self.sockets:
            require(socket.owner.reads(socket) or not socket.owner.alive, "every connection is served by its owner")
        for process in (self.sender, *self.receivers):
            read = {connection.socket for connection in process.connections.values()}
            require(not process.alive or process.held() == read, "a worker keeps no descriptor that is not its own")

    def living_links(self) -> list[Link]:
        return self.sender.links if self.sender.alive else []

    def come_to_rest(self) -> None:
        while self.go_on() or self.kill_stuck() or self.wait():
            pass

    def go_on(self) -> bool:
        """Let everybody take a step, receivers some more. Return whether anybody had something to do."""
        moved = False
        for link in self.sender.links:
            moved |= self.step_sender(link)
        for receiver in self.receivers * self.haste:
            moved |= self.step_receiver(receiver)
        return moved

    def wait(self) -> bool:
        deadlines = [link.protocol.next_deadline() for link in self.living_links()]
        due = min((deadline for deadline in deadlines if deadline is not None), default=None)
        if due is not None:
            self.now = max(self.now, due)
            self.tick(read_first=True)
        return due is not None

    def move_everything(self) -> None:
        """Once all have settled, the sender offers what is idle again: everything moves if there is where to."""
        self.settle()
        for _ in self.living_links():
            for connection in list(self.sender.connections.values()):
                connection.unwanted = False
                if connection.idle:
                    self.sender.become_idle(connection, self.now, 0, in_file=False)
            self.settle()
        stayed = [connection for connection in self.sender.connections.values() if connection.idle]
        require(not (self.sender.alive and self.sender.usable() and stayed), "everything that is idle moves")
