"""The successor's end of a handover: takes offered sockets, and makes connections of them that go on where they were.

The order is the whole point: the ACK is in the kernel before the socket is read from. An ACK that finds the
predecessor gone changes nothing: then the socket is ours alone.
"""

import contextlib
import os
import resource
import socket
import sys
from typing import Any

from smoothserve.connection.acceptor import attach
from smoothserve.connection.http import HTTPConnection
from smoothserve.connection.moving import Resumption
from smoothserve.connection.past import Past
from smoothserve.connection.room import Room
from smoothserve.connection.service import Service
from smoothserve.connection.websocket import WebSocketConnection
from smoothserve.connection.websocket_options import WebSocketResumption
from smoothserve.control.channel import Channel, Packet
from smoothserve.control.handover import HandoverError, HandoverReceiver, Offered, SenderDone, parse_content
from smoothserve.control.scoreboard import Counter

AnyResumption = Resumption | WebSocketResumption
#: The kinds of connections that this version can go on with.
KINDS: tuple[str, ...] = ("http", "websocket")
#: Descriptors that are left to the application and to the master's messages: offers do not use up the last ones.
KEPT_FREE = 16


class Adopting:
    """Takes over what one predecessor offers on its channel, until the channel ends."""

    def __init__(self, service: Service, channel: Channel, *, relief: bool = False) -> None:
        """Take offers. `relief`: those of a sibling that has no thread free, only while there is one here."""
        self._service = service
        self._room = service.room if relief else None
        self._channel = channel
        self._receiver = HandoverReceiver()
        #: Sockets whose ACK is not in the kernel yet.
        self._acknowledged: list[tuple[int, Any, Any, AnyResumption]] = []
        self._short_said = False
        self.left: int | None = None
        """How many connections the predecessor still has, as it said last."""
        service.adopting.add(self)
        service.loop.add_reader(channel.fileno(), self._on_readable)
        self._send()

    def filenos(self) -> list[int]:
        """Return the descriptors of the channel and of what is not a connection yet."""
        return [*self._channel.filenos(), *(fd for fd, *_ in self._acknowledged)]

    def _on_readable(self) -> None:
        for packet in self._channel.receive():
            self._take(packet)
        if self._channel.closed:
            self._service.loop.remove_reader(self._channel.fileno())
            self._service.loop.remove_writer(self._channel.fileno())
            self._adopt_acknowledged()
            self._service.adopting.discard(self)
            self._channel.close()

    def _take(self, packet: Packet) -> None:
        fds = list(packet.fds)
        try:
            events = self._receiver.receive_packet(packet.data, len(fds), truncated=packet.truncated)
            for event in events:
                if isinstance(event, Offered):
                    self._answer(event, fds)
                elif isinstance(event, SenderDone):
                    self.left = event.left
            if packet.truncated:
                self._say_short()
        except HandoverError as error:
            self._service.error_log.error("handover: %s", error)
        finally:
            for fd in fds:
                os.close(fd)
        self._send()

    def _answer(self, event: Offered, fds: list[int]) -> None:
        """Acknowledge or refuse. Takes the connection's descriptor out of `fds` if it is ours now."""
        if self._service.draining:
            self._receiver.refuse(event.offer, "draining")
            return
        if fds[0] >= _last_to_take():
            self._receiver.refuse(event.offer, "short of file descriptors")
            self._say_short()
            return
        meta, leftover = event.meta, event.leftover
        if event.in_file:
            try:
                with os.fdopen(fds.pop(), "rb") as file:
                    file.seek(0)
                    meta, leftover = parse_content(file.read())
            except (HandoverError, OSError) as error:
                self._receiver.refuse(event.offer, str(error), lasting=True)
                return
        if self._room is not None and not meta.get("late") and self._room.free <= len(self._acknowledged):
            self._receiver.refuse(event.offer, "busy")
            return
        kind = meta.get("kind")
        if kind not in KINDS or (kind == "websocket" and not self._takes_websockets):
            self._receiver.refuse(event.offer, "a connection of an unknown kind", lasting=True)
            return
        try:
            client, server, resumption = read_offer(meta, leftover)
        except HandoverError as error:
            self._receiver.refuse(event.offer, str(error), lasting=True)
            return
        if self._receiver.acknowledge(event.offer):
            self._acknowledged.append((fds.pop(0), client, server, resumption))

    @property
    def _takes_websockets(self) -> bool:
        options = self._service.websockets
        return options is not None and options.handover.mode != "off"

    def _say_short(self) -> None:
        """Say, once for each predecessor, that connections have to stay with it."""
        if not self._short_said:
            self._short_said = True
            self._service.error_log.warning(
                "short of descriptors: connections stay with the worker that hands them over, which tries again. "
                "Raise `ulimit -n` (LimitNOFILE)"
            )

    def _send(self) -> None:
        for packet in self._receiver.packets_to_send():
            self._channel.send(packet)
        if self._channel.wants_write:
            self._service.loop.add_writer(self._channel.fileno(), self._on_writable)
        else:
            self._adopt_acknowledged()

    def _on_writable(self) -> None:
        self._channel.flush()
        if not self._channel.wants_write:
            self._service.loop.remove_writer(self._channel.fileno())
            self._adopt_acknowledged()

    def _adopt_acknowledged(self) -> None:
        acknowledged, self._acknowledged = self._acknowledged, []
        for fd, client, server, resumption in acknowledged:
            adopt(self._service, fd, client, server, resumption, self._room)


def _last_to_take() -> int:
    """Return the first descriptor number that no offer may have. The lowest free number is given out first."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit - min(KEPT_FREE, limit // 8)


def adopt(
    service: Service, fd: int, client: Any, server: Any, resumption: AnyResumption, room: Room | None = None
) -> None:
    """Make a connection of a socket that is ours now. `room`: count its request, which has come already, at once."""
    try:
        sock = socket.socket(fileno=fd)
    except OSError:
        with contextlib.suppress(OSError):
            os.close(fd)
        return
    service.adopted += 1
    service.counters[Counter.ADOPTED] = service.adopted
    options = service.websockets
    if isinstance(resumption, WebSocketResumption):
        if options is None:  # pragma: no cover - it would not have been acknowledged
            sock.close()
            return
        request = resumption.request
        attach(service, sock, lambda: WebSocketConnection(service, options, client, server, resumption, request))
    else:
        connection = HTTPConnection(service, client, server, resumption)
        if room is not None:
            room.expect(connection)
        attach(service, sock, lambda: connection)


def read_offer(meta: dict[str, Any], leftover: bytes) -> tuple[Any, Any, AnyResumption]:
    """Read what an offer says of a connection: the client's address, the server's, and how it goes on.

    Raise `HandoverError` if it cannot be read.
    """
    try:
        resumption = (
            WebSocketResumption.from_meta(meta, leftover)
            if meta.get("kind") == "websocket"
            else Resumption(
                leftover=leftover,
                requests=int(meta.get("requests", 0)),
                idle=_seconds(meta, "idle"),
                head=_seconds(meta, "head"),
                past=Past.parse(meta.get("past")),
            )
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise HandoverError(f"what is said of the connection cannot be read: {error}") from error
    return _address(meta.get("client")), _address(meta.get("server")), resumption


def _seconds(meta: dict[str, Any], name: str) -> float | None:
    if name not in meta:
        return None
    seconds = float(meta[name])
    if not seconds >= 0.0:  # NaN is not either
        raise ValueError(f"{name}: {seconds} seconds")
    return seconds


def _address(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else None
