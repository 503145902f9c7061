"""Workers of a model, which drive `HandoverSender` and `HandoverReceiver` as the real ones do.

They go on in steps so small that a crash fits between any two system calls.
"""

from collections import deque
from dataclasses import dataclass

from smoothserve.control.handover import (
    Acknowledged,
    Event,
    HandoverReceiver,
    Offered,
    ReceiverStuck,
    Returned,
    parse_content,
    render_content,
)
from tests.property.handover.kernel import (
    ACK,
    CANCELLED,
    NAK,
    Anonymous,
    Connection,
    Descriptor,
    Link,
    Process,
    Socket,
    Wire,
    require,
)


class SenderWorker(Process):
    """The predecessor: holds back from reading, offers, and reads again only when an offer is returned."""

    def __init__(self, fuse: int | None = None) -> None:
        super().__init__(fuse)
        self.links: list[Link] = []

    def queued(self) -> list[Wire]:
        return [wire for link in self.links for wire in link.sender_end.waiting]

    def crash(self) -> None:
        self.alive = False
        for link in self.links:
            link.sender_end.close()

    # offering

    def usable(self) -> list[Link]:
        return [link for link in self.links if link.protocol.usable and not link.sender_end.ended]

    def become_idle(self, connection: Connection, now: float, turn: int, in_file: bool) -> None:
        connection.idle = True
        links = self.usable()
        if links and not connection.unwanted and connection.reading:
            self.offer(links[turn % len(links)], connection, now, in_file)

    def offer(self, link: Link, connection: Connection, now: float, in_file: bool) -> None:
        self.pause(connection)
        socket = connection.socket
        content = render_content({"socket": socket.number, "used": connection.used_to}, self.leftover(connection))
        number = link.protocol.offer(b"" if in_file else content, now)
        link.offers[number] = connection
        link.sockets[number] = socket
        if in_file:
            link.files[number] = Anonymous(content)
        self.collect(link)

    def pause(self, connection: Connection) -> None:
        connection.reading = False

    def leftover(self, connection: Connection) -> bytes:
        return connection.socket.stream(connection.used_to, connection.read_to)

    def collect(self, link: Link) -> None:
        link.outgoing.extend(link.protocol.packets_to_send())

    def send(self, link: Link) -> None:
        data, number = link.outgoing.popleft()
        descriptors: tuple[Descriptor, ...] = ()
        if number is not None and number in link.offers:
            files = [link.files[number]] if number in link.files else []
            descriptors = (link.offers[number].socket, *files)
        link.sender_end.send(Wire(data, descriptors))

    # what comes back

    def step(self, link: Link, now: float) -> bool:
        """Do what fits between two crashes, on this link. Return whether there was anything to do."""
        self.collect(link)
        if link.outgoing:
            self.send(link)
        elif link.sender_end.flush():
            pass
        elif link.sender_end.inbox:
            wire = link.sender_end.inbox.popleft()
            self.apply(link, link.protocol.receive_packet(wire.data, now))
        elif link.sender_end.ended and not link.protocol.closed:
            self.apply(link, link.protocol.receive_eof())
        else:
            return False
        return True

    def tick(self, now: float, read_first: bool) -> None:
        for link in self.links:
            while read_first and (link.sender_end.inbox or link.sender_end.ended) and self.step(link, now):
                pass
            self.apply(link, link.protocol.tick(now), read_first)

    def apply(self, link: Link, events: list[Event], read_first: bool = False) -> None:
        for event in events:
            if isinstance(event, Acknowledged):
                connection = self.end_offer(link, event.offer)
                del self.connections[connection.socket.number]
                self.let_go(connection.socket)
            elif isinstance(event, Returned):
                connection = self.end_offer(link, event.offer)
                connection.unwanted = event.lasting and bool(self.usable())
                self.take_back(connection)
            elif isinstance(event, ReceiverStuck):
                answered = {wire.offer for wire in link.sender_end.inbox if wire.kind in (ACK, NAK, CANCELLED)}
                require(not (read_first and answered), "a receiver that answers is not called stuck")
                link.stuck = True

    def end_offer(self, link: Link, number: int) -> Connection:
        require(number not in link.ended, "an offer ends once")
        require(number in link.offers, "an end is of an offer that was made")
        link.ended.add(number)
        link.files.pop(number, None)
        return link.offers.pop(number)

    def take_back(self, connection: Connection) -> None:
        self.begin_to_read(connection)

    def let_go(self, socket: Socket) -> None:
        """Close the descriptor and nothing else."""


@dataclass
class Conduct:
    """How a receiver behaves: it refuses and says why, loses so many descriptors, answers late, is stopped, crashes."""

    refusing: str = ""
    lose: int = 0
    hesitates: bool = False
    stopped: bool = False
    fuse: int | None = None


class ReceiverWorker(Process):
    """The successor: its ACK is in the kernel before it reads."""

    def __init__(self, link: Link, conduct: Conduct) -> None:
        super().__init__(conduct.fuse)
        self.conduct = conduct
        self.link = link
        self.end = link.receiver_end
        self.protocol = HandoverReceiver()
        self.outgoing: deque[bytes] = deque(self.protocol.packets_to_send())
        self.undecided: deque[tuple[Offered, Wire]] = deque()
        self.taken: deque[Connection] = deque()
        """What has been acknowledged and is not read from yet."""

    def queued(self) -> list[Wire]:
        return list(self.end.waiting)

    def crash(self) -> None:
        self.alive = False
        self.end.close()

    def step(self) -> bool:
        """Do what fits between two crashes. Return whether there was anything to do."""
        if self.conduct.stopped:
            return False
        if self.outgoing:
            self.answer(Wire(self.outgoing.popleft()))
        elif self.end.flush():
            pass
        elif self.undecided and not self.conduct.hesitates:
            self.decide(*self.undecided.popleft())
        elif self.taken and not self.end.waiting:
            self.adopt(self.taken.popleft())
        elif self.end.inbox:
            self.take(self.end.inbox.popleft())
        else:
            return False
        self.outgoing.extend(self.protocol.packets_to_send())
        return True

    def answer(self, wire: Wire) -> None:
        self.end.send(wire)

    def take(self, wire: Wire) -> None:
        kept = wire.descriptors[: max(0, len(wire.descriptors) - self.conduct.lose)]
        truncated = len(kept) < len(wire.descriptors)
        for event in self.protocol.receive_packet(wire.data, len(kept), truncated=truncated):
            if isinstance(event, Offered):
                self.loose += kept
                self.undecided.append((event, wire))

    def decide(self, event: Offered, wire: Wire) -> None:
        socket, *files = wire.descriptors
        assert isinstance(socket, Socket)
        for file in files:
            self.loose.remove(file)
        if self.conduct.refusing:
            self.protocol.refuse(event.offer, self.conduct.refusing, lasting=self.conduct.refusing == "for good")
            self.loose.remove(socket)
            return
        meta, leftover = event.meta, event.leftover
        if event.in_file:
            assert isinstance(files[0], Anonymous)
            meta, leftover = parse_content(files[0].content)
        require(meta["socket"] == socket.number, "an offer and its descriptor belong together")
        connection = Connection(socket, meta["used"] + len(leftover), meta["used"], reading=False)
        require(leftover == socket.stream(connection.used_to, connection.read_to), "leftover input moves along")
        if self.protocol.acknowledge(event.offer):
            self.taken.append(connection)
        else:
            self.loose.remove(socket)

    def adopt(self, connection: Connection) -> None:
        self.loose.remove(connection.socket)
        self.connections[connection.socket.number] = connection
        self.begin_to_read(connection)
