"""TLS between a socket's transport and a connection: the handshake, then a transport that encrypts what goes by.

Our own few lines on `ssl.MemoryBIO` in place of the loops' TLS transports, because these cannot say that nothing more
follows and still read (so that an answer would be lost with a reset), and do not tell how much is unsent. The same on
every loop. RFC 8446 section 6.1 and RFC 5246 section 7.2.1 for close_notify.
"""

import asyncio
import contextlib
import socket
import ssl
import sys
from typing import Any, cast

from smoothserve.connection.http import HTTPConnection
from smoothserve.connection.service import Service
from smoothserve.net.tls import ServerTLS
from smoothserve.protocol.tls import TLSInfo, render_name

#: More than a record, and than most flights of a handshake.
READ_BYTES = 65536
#: What is thrown away of a client whose handshake has failed, so that it reads the alert rather than a reset.
_IGNORED_READS = 16
#: Records that are delivered in one turn of the loop: a client may put each byte into one of its own.
RECORDS_PER_TURN = 256
#: What TLS itself may have answered (to new keys, to renegotiations that it refuses) a client that takes nothing.
_UNREAD_ANSWERS_BYTES = 65536

_ADVICE = b"This port speaks TLS: ask for it with https://\n"
_PLAIN_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(_ADVICE), _ADVICE)
)


class PlainHTTPError(Exception):
    """The client speaks HTTP without TLS."""


class TLSTransport(asyncio.Transport, asyncio.Protocol):
    """Both a connection's transport and the protocol of the socket's: everything between them is encrypted."""

    __slots__ = (
        "_again",
        "_closing",
        "_ended",
        "_eof_waits",
        "_incoming",
        "_outgoing",
        "_paused",
        "_protocol",
        "_service",
        "_session",
        "_shut",
        "_unread_answers",
        "_wire",
        "_wire_paused",
    )

    def __init__(
        self,
        service: Service,
        session: ssl.SSLObject,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        protocol: asyncio.Protocol,
    ) -> None:
        super().__init__()
        self._service = service
        self._session = session
        self._incoming = incoming
        self._outgoing = outgoing
        self._protocol = protocol
        self._wire: asyncio.Transport = cast("asyncio.Transport", None)
        self._paused = False
        self._wire_paused = False
        self._eof_waits = False
        self._shut = False
        """close_notify is sent: nothing more of ours follows, and what comes is no longer decrypted."""
        self._closing = False
        self._ended = False
        """The client has said that nothing more follows: what comes all the same means nothing (RFC 8446 6.1)."""
        self._again = False
        """A turn of the loop is due to deliver the rest."""
        self._unread_answers = 0
        """Bytes of TLS's own that the client has not taken."""

    # from the socket's transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, with what has come behind the handshake."""
        self._wire = cast("asyncio.Transport", transport)
        self._protocol.connection_made(self)
        self._deliver()

    def data_received(self, data: bytes) -> None:
        """Decrypt what has come, and pass it on."""
        if self._shut:
            if not self._closing:
                # Only that something comes is of interest.
                self._protocol.data_received(data)
            return
        if self._ended:
            return
        self._incoming.write(data)
        if self._paused or self._again:
            # It was read ahead: uvloop begins to read after connection_made, whatever has been said within it.
            self._pause_wire()
        else:
            self._deliver()

    def eof_received(self) -> bool:
        """Take note that the client sends no more, with or without saying so in TLS first."""
        if self._ended:
            return not self._closing
        if (self._paused or self._again) and not self._shut and self._undelivered:
            self._eof_waits = True
            return True
        return bool(self._protocol.eof_received()) and not self._closing

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note that the connection is gone."""
        self._closing = True
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        """Let the connection wait: the socket's transport holds enough."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Let it go on."""
        self._protocol.resume_writing()

    # for the connection

    def write(self, data: "bytes | bytearray | memoryview[Any]") -> None:
        """Encrypt and send."""
        if self._shut or self._closing or not data:
            return
        try:
            self._session.write(data)
        except ssl.SSLError as error:
            self._fail(error)
            return
        self._wire.write(self._outgoing.read())

    def can_write_eof(self) -> bool:
        """Whether `write_eof` works: it does."""
        return True

    def write_eof(self) -> None:
        """Say that nothing more follows: close_notify, then the end of our side of the TCP connection."""
        self._say_goodbye()
        if not self._wire.is_closing():
            self._wire.write_eof()

    def close(self) -> None:
        """Send what waits, and close_notify behind it; then close."""
        if not self._closing:
            self._say_goodbye()
            self._closing = True
            self._wire.close()

    def abort(self) -> None:
        """Close at once, without close_notify: the client must see that something is missing."""
        self._closing = True
        self._wire.abort()

    def is_closing(self) -> bool:
        """Whether it is closed or about to be."""
        return self._closing or self._wire.is_closing()

    def pause_reading(self) -> None:
        """Deliver nothing for now."""
        self._paused = True
        self._pause_wire()

    def resume_reading(self) -> None:
        """Deliver again, first what is here already."""
        self._paused = False
        if self._wire_paused and not self._wire.is_closing():
            self._wire_paused = False
            self._wire.resume_reading()
        if self._undelivered:
            self._service.loop.call_soon(self._deliver)

    def is_reading(self) -> bool:
        """Whether what comes is delivered."""
        return not (self._paused or self._closing)

    def get_write_buffer_size(self) -> int:
        """Return how many bytes the system has not taken yet, encrypted."""
        return self._wire.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set when the connection is to wait with writing."""
        self._wire.set_write_buffer_limits(high, low)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Deliver to another connection from now on."""
        self._protocol = cast("asyncio.Protocol", protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return to whom is delivered."""
        return self._protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the socket's transport knows, or the session as `ssl_object`."""
        return self._session if name == "ssl_object" else self._wire.get_extra_info(name, default)

    # between them

    @property
    def _undelivered(self) -> bool:
        return bool(self._incoming.pending or self._session.pending() or self._eof_waits)

    def _pause_wire(self) -> None:
        if not (self._wire_paused or self._wire.is_closing()):
            self._wire_paused = True
            self._wire.pause_reading()

    def _deliver(self) -> None:
        """Pass on what can be decrypted, as far as the connection takes it."""
        self._again = False
        read = self._session.read
        left = RECORDS_PER_TURN
        try:
            while not (self._paused or self._shut or self._closing or self._ended):
                if not left:
                    self._pause_wire()
                    self._again = True
                    self._service.loop.call_soon(self._go_on)
                    self._send_answers()
                    return
                left -= 1
                data = read(READ_BYTES)
                if not data:
                    self._end_of_input()
                    return
                self._protocol.data_received(data)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._end_of_input()
            return
        except ssl.SSLError as error:
            self._fail(error)
            return
        self._send_answers()
        if self._eof_waits and not self._paused:
            self._end_of_input()

    def _go_on(self) -> None:
        """Deliver the rest of what has come, others having had their turn."""
        if not self._again or self._closing:
            return
        self._again = False
        if not self._paused:
            self._deliver()
            self._read_on()

    def _read_on(self) -> None:
        """Read what comes, unless there is still something to deliver."""
        if self._wire_paused and not (self._again or self._paused or self._wire.is_closing()):
            self._wire_paused = False
            self._wire.resume_reading()

    def _send_answers(self) -> None:
        """Send what TLS itself has to say, to a change of keys for example; part with who asks and never listens."""
        if self._closing or not self._outgoing.pending:
            return
        data = self._outgoing.read()
        self._unread_answers = self._unread_answers + len(data) if self._wire.get_write_buffer_size() else 0
        if self._unread_answers > _UNREAD_ANSWERS_BYTES:
            self._service.error_log.info(
                "TLS connection closed: the client goes on asking for new keys and takes no answer (client %s)",
                self._client,
            )
            self.abort()
            return
        self._wire.write(data)

    def _end_of_input(self) -> None:
        """Take note of the client's close_notify, or of an end of file that has waited."""
        self._eof_waits = False
        if self._ended:
            return
        self._ended = True
        if not (self._protocol.eof_received() or self._closing):
            self.close()

    def _say_goodbye(self) -> None:
        if self._shut or self._wire.is_closing():
            return
        self._shut = True
        # It wants to read the client's close_notify, too, for which we do not wait here.
        with contextlib.suppress(ssl.SSLError):
            self._session.unwrap()
        if self._outgoing.pending:
            self._wire.write(self._outgoing.read())

    def _fail(self, error: ssl.SSLError) -> None:
        """End a connection whose other side does not speak TLS as it should; an alert says so to it."""
        if self._closing:
            return
        self._service.error_log.info("TLS connection closed: %s (client %s)", _words(error), self._client)
        self._closing = self._shut = True
        if self._outgoing.pending:
            self._wire.write(self._outgoing.read())
        self._wire.close()

    @property
    def _client(self) -> object:
        return getattr(self._protocol, "client", None)


def attach_secured(
    service: Service,
    tls: ServerTLS,
    sock: socket.socket,
    client: tuple[str, int] | None,
    server: tuple[str, int | None] | None,
) -> None:
    """Make a connection of a socket once its handshake is complete; until then nothing counts as served."""
    sock.setblocking(False)
    task = service.loop.create_task(secure(service, tls, sock, client, server))
    service.attaching[task] = sock
    service.unannounced.add(task)
    task.add_done_callback(service.attached)


async def secure(
    service: Service,
    tls: ServerTLS,
    sock: socket.socket,
    client: tuple[str, int] | None,
    server: tuple[str, int | None] | None,
) -> None:
    """Shake hands, and make a connection of the socket. Whatever is wrong with the client is a line in the log."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = tls.begin(incoming, outgoing)
    try:
        async with asyncio.timeout(service.timeouts.head):
            await _shake_hands(service.loop, sock, session, incoming, outgoing)
        info = describe(tls, session)
    except asyncio.CancelledError:
        sock.close()
        raise
    except PlainHTTPError:
        service.error_log.info("plain HTTP on a port that speaks TLS: answered with 400 (client %s)", client)
        await _part(service, sock, _PLAIN_HTTP)
        return
    except ssl.SSLError as error:
        service.error_log.info("TLS handshake failed: %s (client %s)", _words(error), client)
        await _part(service, sock, outgoing.read())
        return
    except OSError as error:  # a TimeoutError is one, too
        reason = "it took too long" if isinstance(error, TimeoutError) else error.strerror or str(error)
        service.error_log.debug("TLS handshake not completed: %s (client %s)", reason, client)
        sock.close()
        return
    task = asyncio.current_task()
    if task is not None:
        service.unannounced.discard(task)
    connection = HTTPConnection(service, client, server)
    connection.secure(info)
    if service.room is not None:
        service.room.expect(connection)
    transport = TLSTransport(service, session, incoming, outgoing, connection)
    try:
        await service.loop.connect_accepted_socket(lambda: transport, sock)
    except OSError as error:
        service.error_log.debug("a connection could not be attached: %s", error)
        sock.close()


async def _shake_hands(
    loop: asyncio.AbstractEventLoop,
    sock: socket.socket,
    session: ssl.SSLObject,
    incoming: ssl.MemoryBIO,
    outgoing: ssl.MemoryBIO,
) -> None:
    """Complete the handshake. Raise `PlainHTTPError`, `ssl.SSLError`, or another OSError if the client has gone."""
    first = True
    while True:
        data = await loop.sock_recv(sock, READ_BYTES)
        if not data:
            raise ConnectionResetError("the client has closed the connection")
        if first and data[:1].isalpha():
            raise PlainHTTPError
        first = False
        incoming.write(data)
        try:
            session.do_handshake()
        except ssl.SSLWantReadError:
            done = False
        else:
            done = True
        if outgoing.pending:
            await loop.sock_sendall(sock, outgoing.read())
        if done:
            return


async def _part(service: Service, sock: socket.socket, last_words: bytes) -> None:
    """Send an alert or an answer, and close so that it arrives: not before the client's side is read to its end."""
    try:
        with contextlib.suppress(OSError):
            async with asyncio.timeout(service.timeouts.close):
                if last_words:
                    await service.loop.sock_sendall(sock, last_words)
                sock.shutdown(socket.SHUT_WR)
                for _ in range(_IGNORED_READS):
                    if not await service.loop.sock_recv(sock, READ_BYTES):
                        break
    finally:
        sock.close()


def _words(error: ssl.SSLError) -> str:
    """Say in words what OpenSSL says: `unsupported protocol`, `peer did not return a certificate`."""
    return (error.reason or str(error)).replace("_", " ").lower()


def describe(tls: ServerTLS, session: ssl.SSLObject) -> TLSInfo:
    """Say what is known of a session whose handshake is complete."""
    name, version, _ = session.cipher() or ("", "", 0)
    # Empty unless certificates are asked for: only what is verified counts.
    client: dict[str, Any] = cast("dict[str, Any]", session.getpeercert() or {})
    return TLSInfo(
        version=session.version() or version,
        cipher=name,
        cipher_number=tls.cipher_number(name),
        server_certificate=tls.certificate_of(session),
        client_chain=tuple(map(ssl.DER_cert_to_PEM_cert, _client_chain(session))) if client else (),
        client_subject=render_name(client["subject"]) if client else None,
        client_issuer=render_name(client["issuer"]) if client else None,
        client_serial=client.get("serialNumber"),
    )


def _client_chain(session: ssl.SSLObject) -> list[bytes]:
    """Return the certificates that were verified, the client's own first. A resumed session has only that one.

    Not what the client has sent: it may put anything behind its own.
    """
    if sys.version_info >= (3, 13):
        chain = session.get_verified_chain()
    else:
        # The same, before it was public.
        raw: Any = session._sslobj  # type: ignore[attr-defined]
        chain = [ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in raw.get_verified_chain() or ()]
    leaf = session.getpeercert(binary_form=True)
    return chain or ([leaf] if leaf else [])
