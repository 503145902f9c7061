"""One end of a packet channel between two processes: whole packets, file descriptors, never blocking.

Linux has SOCK_SEQPACKET; elsewhere a stream with length prefixes stands in behind the same class (and carries
no file descriptors). What the packets mean is not known here. End of file is the other side's death notice.
"""

import array
import contextlib
import errno
import os
import socket
import struct
import sys
from collections import deque
from collections.abc import Sequence

HAS_SEQPACKET = sys.platform.startswith("linux")
MAX_PACKET_BYTES = 128 * 1024
MAX_FDS = 16
_LENGTH = struct.Struct("!I")
_FD_BYTES = array.array("i").itemsize
#: The kernel is short of memory, or too many descriptors of this user's are under way: it takes the packet later.
_LATER = (errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS)


class Packet:
    """What one `receive` yields: the bytes, the descriptors that came along, and whether some of either were lost."""

    __slots__ = ("data", "fds", "truncated")

    def __init__(self, data: bytes, fds: list[int], truncated: bool) -> None:
        self.data = data
        self.fds = fds
        self.truncated = truncated


def channel_pair() -> tuple[socket.socket, socket.socket]:
    """Make the two sockets of a channel, non-blocking, not inheritable."""
    kind = socket.SOCK_SEQPACKET if HAS_SEQPACKET else socket.SOCK_STREAM
    left, right = socket.socketpair(socket.AF_UNIX, kind)
    for end in (left, right):
        end.setblocking(False)
        # A traceback of MAX_TEXT_BYTES must fit as one packet.
        with contextlib.suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MAX_PACKET_BYTES)
    return left, right


def _duplicate(fds: Sequence[int]) -> list[int]:
    copies: list[int] = []
    try:
        copies.extend(map(os.dup, fds))
    except OSError:
        _close_all(copies)
        raise
    return copies


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)


class Channel:
    """A non-blocking packet channel over a socket of `channel_pair`.

    Packets that the kernel does not take at once wait in a queue; call `flush` when the socket is writable
    (`wants_write`). After `closed` is true nothing more arrives.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._queue: deque[tuple[bytes, list[int]]] = deque()
        self._stream = sock.type & 0xF == socket.SOCK_STREAM
        self._inbox = bytearray()
        self.closed = False

    def fileno(self) -> int:
        """Return the socket's descriptor, for a selector or an event loop."""
        return self._sock.fileno()

    def filenos(self) -> list[int]:
        """Return the socket's descriptor and those that wait to be sent: what no forked child may keep."""
        return [self._sock.fileno(), *(fd for _, fds in self._queue for fd in fds)]

    @property
    def wants_write(self) -> bool:
        """Whether packets wait for the socket to become writable."""
        return bool(self._queue)

    def send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Send a packet, now or when the socket takes it. The caller keeps its descriptors.

        Raise `OSError`, with nothing sent, if a descriptor is not open, or can't be duplicated for a packet that has
        to wait; `ValueError` if the packet is larger than the other side takes.
        """
        if len(data) > MAX_PACKET_BYTES:
            raise ValueError(f"a packet of {len(data)} bytes, {MAX_PACKET_BYTES} are the most")
        if self.closed:
            return
        if self._stream:
            data = _LENGTH.pack(len(data)) + data
        if not self._queue:
            # Without copies of the descriptors: a process that has used up all it may have can still pass them on.
            try:
                sent = self._transmit(data, fds)
            except OSError as error:
                if error.errno == errno.EBADF:
                    raise
                return
            if sent == len(data):
                return
            if sent:
                data, fds = data[sent:], ()
        self._queue.append((data, _duplicate(fds)))

    def flush(self) -> None:
        """Send what waits, as far as the kernel takes it. The other side's death empties the queue."""
        while self._queue:
            data, fds = self._queue[0]
            try:
                sent = self._transmit(data, fds)
            except OSError:
                self._drop_queue()
                return
            if not sent:
                return
            self._queue.popleft()
            _close_all(fds)
            if sent < len(data):
                self._queue.appendleft((data[sent:], []))

    def _transmit(self, data: bytes, fds: Sequence[int]) -> int:
        """Return how much the kernel has taken: nothing, all, or of a stream a part. Raise `OSError`: it never will."""
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            return self._sock.sendmsg([data], ancillary)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            if error.errno in _LATER:
                return 0
            raise

    def receive(self) -> list[Packet]:
        """Return all packets that have arrived. Sets `closed` at end of file, after the last of them."""
        packets: list[Packet] = []
        while not self.closed:
            packet = self._receive_one()
            if packet is None:
                break
            packets.append(packet)
        return self._unframe(packets) if self._stream else packets

    def _receive_one(self) -> Packet | None:
        # socket.recv_fds() ignores its flags (CPython gh-107898), hence recvmsg with MSG_CMSG_CLOEXEC.
        flags = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
        for _ in range(3):
            try:
                data, ancillary, message_flags, _ = self._sock.recvmsg(
                    MAX_PACKET_BYTES, socket.CMSG_SPACE(MAX_FDS * _FD_BYTES), flags
                )
            except (BlockingIOError, InterruptedError):
                return None
            except ConnectionResetError:
                # SEQPACKET reports it once, ahead of packets that are still queued: read on to the end of file.
                continue
            except OSError as error:
                if error.errno in _LATER:
                    return None  # what is there can be read when there is memory again
                break
            if not data and not ancillary:
                break
            fds = array.array("i")
            for level, kind, content in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    fds.frombytes(content[: len(content) - len(content) % _FD_BYTES])
            return Packet(data, list(fds), bool(message_flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC)))
        self.closed = True
        return None

    def _unframe(self, parts: list[Packet]) -> list[Packet]:
        for part in parts:
            self._inbox += part.data
        packets = []
        while len(self._inbox) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._inbox)
            if len(self._inbox) < _LENGTH.size + length:
                break
            packets.append(Packet(bytes(self._inbox[_LENGTH.size : _LENGTH.size + length]), [], False))
            del self._inbox[: _LENGTH.size + length]
        return packets

    def _drop_queue(self) -> None:
        for _, fds in self._queue:
            _close_all(fds)
        self._queue.clear()

    def close(self) -> None:
        """Close this end. Packets that wait are dropped."""
        self.closed = True
        self._drop_queue()
        self._sock.close()
