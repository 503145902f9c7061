"""The accept loop of a worker: fair among workers, and no accepted connection is ever lost.

`asyncio.Server` is not used: closing it loses a connection that falls between accept and attach (CPython gh-109564),
and it accepts up to `backlog` connections a wake-up, which loads one worker and starves its siblings.
"""

import asyncio
import errno
import select
import socket
from collections.abc import Callable

from smoothserve.connection.balance import STEP_BACK, Balance
from smoothserve.connection.http import HTTPConnection
from smoothserve.connection.room import EXPECTED, Room
from smoothserve.connection.service import ProxyProtocol, Service
from smoothserve.control.scoreboard import Counter
from smoothserve.protocol.proxy import ProxyError, ProxyHeader, ProxyReader

#: Connections taken in one wake-up: few, so that other workers on the same listener get their share.
ACCEPTS_PER_WAKE_UP = 4
#: When to look for siblings after the start: they start at about the same time.
SIBLINGS_START = (0.05, 0.15, 0.3)
#: Seconds after a wait within which whoever is there has waited, too.
IMPATIENT = 0.002
#: Seconds without accepting when the process or system is out of descriptors or memory.
EXHAUSTED_PAUSE = 0.5

#: Seconds between two looks at the queues of listeners where nothing is accepted, if there are health checks.
CHECK_INTERVAL = 0.1
#: How many connections may be open beyond those that were when accepting ended, for health checks among them.
MAX_EXTRA = 16

_ACCEPTED = int(Counter.ACCEPTED)
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Acceptor:
    """Accepts on the worker's listeners while it is started and not paused."""

    def __init__(
        self,
        service: Service,
        listeners: list[socket.socket],
        balance: Balance | None = None,
        max_connections: int = 0,
        room: Room | None = None,
        *,
        answers_checks: bool = False,
    ) -> None:
        """`answers_checks`: a few connections are taken also while paused or full, for health checks are answered."""
        self._service = service
        self._listeners = listeners
        self._balance = balance
        self._max_connections = max_connections
        self._room = room
        self._started = False
        self._paused = False
        self._full = False
        self._has_accepted = False
        self._returns: asyncio.TimerHandle | None = None
        self._impatient_until = 0.0
        self._accepted = 0
        self._answers_checks = answers_checks
        self._looks: asyncio.TimerHandle | None = None
        self._seen_waiting = False
        self._most = 0

    def start(self) -> None:
        """Accept from now on."""
        self._started = True
        self._has_accepted = True
        self._service.counters[Counter.ACCEPTING] = 1
        self._service.publish()
        for seconds in SIBLINGS_START:
            self._service.loop.call_later(seconds, self._service.publish)
        self._watch()

    def stop(self) -> None:
        """Accept nothing more; what waits in the listeners' queues is for other workers."""
        self._unwatch()
        self._started = False
        self._service.counters[Counter.ACCEPTING] = 0

    def pause(self) -> None:
        """Leave new connections to the siblings for a while."""
        self._unwatch()
        self._paused = True
        self._service.counters[Counter.ACCEPTING] = 0
        self._look_for_checks()

    def resume(self) -> None:
        """Accept again: after `pause`, or because a call has returned."""
        if self.accepting:
            return
        if self._returns is not None:
            self._returns.cancel()
            self._returns = None
        self._paused = False
        self._service.counters[Counter.ACCEPTING] = int(self._started and not self._full)
        self._watch()

    def accept_the_rest_and_close(self) -> None:
        """Accept until the listeners' queues are empty, then close them: the server stops."""
        self.stop()
        for listener in self._listeners:
            # Also if we drain already: who waits in the queue has nobody else.
            while self._has_accepted and self._accept_one(listener):
                pass
            listener.close()
        self._listeners = []

    def filenos(self) -> list[int]:
        """Return the listeners' descriptors."""
        return [listener.fileno() for listener in self._listeners]

    @property
    def accepting(self) -> bool:
        """Whether connections are accepted now."""
        return self._started and not (self._paused or self._full) and self._returns is None

    def _watch(self) -> None:
        if self.accepting:
            for listener in self._listeners:
                self._service.loop.add_reader(listener, self._on_readable, listener)

    def _unwatch(self) -> None:
        if self._returns is not None:
            self._returns.cancel()
            self._returns = None
        elif self.accepting:
            for listener in self._listeners:
                self._service.loop.remove_reader(listener)

    def _on_readable(self, listener: socket.socket) -> None:
        patient = self._service.loop.time() >= self._impatient_until
        self._impatient_until = 0.0
        for _ in range(ACCEPTS_PER_WAKE_UP):
            if self._stop_at_limit() or self._leave_to_siblings(patient=patient):
                return
            # Accepting one may have saturated the application, and so paused the acceptor.
            if not self.accepting or not self._accept_one(listener):
                return

    def _stop_at_limit(self) -> bool:
        """Stop while there are as many connections as there may be; further ones wait in the listener's queue."""
        service = self._service
        if not self._max_connections or self._open < self._max_connections:
            return False
        self._unwatch()
        self._full = True
        service.counters[Counter.ACCEPTING] = 0
        service.on_room = self._note_room
        self._look_for_checks()
        return True

    def _note_room(self) -> None:
        """Go on: a connection has ended."""
        self._service.on_room = None
        self._full = False
        self._service.counters[Counter.ACCEPTING] = int(self._started and not self._paused)
        self._watch()

    def _look_for_checks(self) -> None:
        """Take a few of the connections that wait, though nothing is accepted: a health check may be among them."""
        if self._answers_checks and self._looks is None:
            self._most = self._open + MAX_EXTRA
            self._seen_waiting = False
            self._looks = self._service.loop.call_later(CHECK_INTERVAL, self._take_check)

    def _take_check(self) -> None:
        self._looks = None
        if not (self._paused or self._full) or not self._listeners:
            return
        self._looks = self._service.loop.call_later(CHECK_INTERVAL, self._take_check)
        if not self._started:
            return
        poll = select.poll()
        for listener in self._listeners:
            poll.register(listener, select.POLLIN)
        waiting = {fd for fd, _ in poll.poll(0)}
        # Not what has just come: a sibling may be about to take it.
        if waiting and self._seen_waiting and self._open < self._most:
            for listener in self._listeners:
                if listener.fileno() in waiting:
                    self._accept_one(listener)
        self._seen_waiting = bool(waiting)

    @property
    def _open(self) -> int:
        return len(self._service.connections) + len(self._service.attaching)

    def _leave_to_siblings(self, *, patient: bool) -> bool:
        """Step back for a moment if a sibling should rather have the next connection."""
        balance, room = self._balance, self._room
        if balance is None or balance.alone:
            return False
        if balance.ahead(self._open):
            balance.give_way()
            self._step_back(STEP_BACK)
            return True
        if room is not None and not room.allows_one(patient=patient):
            room.request_notice()
            self._step_back(EXPECTED)
            return True
        return False

    def _step_back(self, seconds: float) -> None:
        self._unwatch()
        self._returns = self._service.loop.call_later(seconds, self._return)

    def _return(self) -> None:
        """Come back after having left connections to the siblings: perhaps they still wait.

        Clients that are slow to send their requests have had their time: now others are accepted, too.
        """
        self._returns = None
        self._impatient_until = self._service.loop.time() + IMPATIENT
        self._watch()

    def _accept_one(self, listener: socket.socket) -> bool:
        """Accept one connection. Return whether there may be another."""
        try:
            sock, address = listener.accept()
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            if error.errno in _EXHAUSTED:
                self._pause_exhausted(error)
                return False
            # The client has gone already (ECONNABORTED and the like).
            return error.errno not in (errno.EBADF, errno.EINVAL, errno.ENOTSOCK)
        client, server = _addresses(sock, address)
        service = self._service
        self._accepted += 1
        service.counters[_ACCEPTED] = self._accepted
        if service.proxy is not None:
            attach_proxied(service, service.proxy, sock, client, server)
            return True
        if service.tls is not None:
            from smoothserve.connection.tls import attach_secured  # most servers are behind a proxy that speaks TLS

            attach_secured(service, service.tls, sock, client, server)
            return True
        connection = HTTPConnection(service, client, server)
        if self._room is not None:
            self._room.expect(connection)
        attach(service, sock, lambda: connection)
        return True

    def _pause_exhausted(self, error: OSError) -> None:
        self._service.error_log.error(
            "cannot accept connections: %s; trying again in %g s. Raise `ulimit -n` (LimitNOFILE) if this goes on",
            error.strerror,
            EXHAUSTED_PAUSE,
        )
        if self.accepting:
            self._unwatch()
            started, self._started = self._started, False
            self._service.loop.call_later(EXHAUSTED_PAUSE, self._resume_exhausted, started)

    def _resume_exhausted(self, started: bool) -> None:
        if started and self._listeners and not self._service.draining:
            self.start()


def attach_proxied(
    service: Service,
    proxy: ProxyProtocol,
    sock: socket.socket,
    client: tuple[str, int] | None,
    server: tuple[str, int | None] | None,
) -> None:
    """Make a connection of a socket whose first bytes say, in the PROXY protocol, who is at its other end."""
    sock.setblocking(False)
    task = service.loop.create_task(_attach_proxied(service, proxy, sock, client, server))
    service.attaching[task] = sock
    service.unannounced.add(task)
    task.add_done_callback(service.attached)


async def _attach_proxied(
    service: Service,
    proxy: ProxyProtocol,
    sock: socket.socket,
    client: tuple[str, int] | None,
    server: tuple[str, int | None] | None,
) -> None:
    try:
        async with asyncio.timeout(service.timeouts.head):
            said = await _read_proxy_header(service.loop, proxy, sock, client)
    except (ProxyError, OSError) as error:  # a TimeoutError is an OSError
        reason = error if isinstance(error, ProxyError) else "no PROXY header came"
        service.error_log.info("connection refused: %s (client %s)", reason, client)
        sock.close()
        return
    except asyncio.CancelledError:
        sock.close()
        raise
    client, server = said.client or client, said.server or server
    if service.tls is not None:
        from smoothserve.connection.tls import secure

        await secure(service, service.tls, sock, client, server)
        return
    task = asyncio.current_task()
    if task is not None:
        service.unannounced.discard(task)
    await _attach(service, sock, lambda: HTTPConnection(service, client, server))


async def _read_proxy_header(
    loop: asyncio.AbstractEventLoop, proxy: ProxyProtocol, sock: socket.socket, client: tuple[str, int] | None
) -> ProxyHeader:
    """Read the header, and no byte beyond it. Raise `ProxyError` if there is none or nobody trusted sends it."""
    if not proxy.trusted.trusts(client[0] if client is not None else None):
        raise ProxyError("its address is not in --proxy-allow-from")
    reader = ProxyReader(proxy.versions)
    while reader.header is None:
        data = await loop.sock_recv(sock, reader.wanted)
        if not data:
            raise ProxyError("it ended before its PROXY header")
        reader.receive_data(data)
    return reader.header


def attach(service: Service, sock: socket.socket, make: Callable[[], asyncio.Protocol]) -> None:
    """Make a connection of an open socket. Until it is one, the service is not empty, so that no drain misses it."""
    sock.setblocking(False)
    task = service.loop.create_task(_attach(service, sock, make))
    service.attaching[task] = sock
    task.add_done_callback(service.attached)


async def _attach(service: Service, sock: socket.socket, make: Callable[[], asyncio.Protocol]) -> None:
    try:
        await service.loop.connect_accepted_socket(make, sock)
    except OSError as error:
        # The client has gone between accept and attach: nothing was promised to it yet.
        service.error_log.debug("a connection could not be attached: %s", error)
        sock.close()


def _addresses(sock: socket.socket, address: object) -> tuple[tuple[str, int] | None, tuple[str, int | None] | None]:
    """Return client and server address as ASGI has them: IPv6 without flow and scope, a unix socket by its path."""
    if sock.family == socket.AF_UNIX:
        path = sock.getsockname()
        return None, (path if isinstance(path, str) else path.decode("utf-8", "surrogateescape"), None)
    client = (str(address[0]), int(address[1])) if isinstance(address, tuple) and len(address) >= 2 else None
    try:
        name = sock.getsockname()
    except OSError:
        return client, None
    return client, (str(name[0]), int(name[1]))
