"""The packet channel: whole packets, descriptors that go along, the other side's death, never blocking."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator

import pytest

from smoothserve.control.channel import HAS_SEQPACKET, MAX_PACKET_BYTES, Channel, Packet, channel_pair

pytestmark = pytest.mark.skipif(not HAS_SEQPACKET, reason="no SOCK_SEQPACKET here")


def stream_pair() -> tuple[socket.socket, socket.socket]:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    left.setblocking(False)
    right.setblocking(False)
    return left, right


KINDS = {"seqpacket": channel_pair, "stream": stream_pair}


@contextlib.contextmanager
def opened(make: Callable[[], tuple[socket.socket, socket.socket]]) -> Iterator[tuple[Channel, Channel]]:
    left, right = map(Channel, make())
    try:
        yield left, right
    finally:
        left.close()
        right.close()


@pytest.fixture(params=KINDS)
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[Channel, Channel]]:
    with opened(KINDS[request.param]) as pair:
        yield pair


@pytest.fixture
def pair() -> Iterator[tuple[Channel, Channel]]:
    with opened(channel_pair) as pair:
        yield pair


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for fd in (reading, writing):
        with contextlib.suppress(OSError):
            os.close(fd)


def contents(packets: list[Packet]) -> list[bytes]:
    return [packet.data for packet in packets]


def received_fds(packets: list[Packet]) -> list[int]:
    return [fd for packet in packets for fd in packet.fds]


def open_fds() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def fill(channel: Channel, size: int = 1000) -> int:
    """Send until the kernel takes no more; one packet waits then. Return how many were sent."""
    sent = 0
    while not channel.wants_write:
        channel.send(b"%04d" % sent + b"x" * (size - 4))
        sent += 1
    return sent


# packets


def test_packets_arrive_whole_and_in_order(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    sent = [b"a", b"bc" * 1000, b"\0", b"x" * 50_000, b"end"]
    for data in sent:
        left.send(data)
    assert contents(right.receive()) == sent
    assert right.receive() == []
    assert not right.closed


def test_both_directions_are_independent(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    left.send(b"to the right")
    right.send(b"to the left")
    assert contents(left.receive()) == [b"to the left"]
    assert contents(right.receive()) == [b"to the right"]


def test_the_largest_packet_arrives_whole(pair: tuple[Channel, Channel]) -> None:
    left, right = pair
    data = os.urandom(MAX_PACKET_BYTES)
    left.send(data)
    assert contents(right.receive()) == [data]


def test_a_packet_larger_than_that_is_not_sent_in_part(pair: tuple[Channel, Channel]) -> None:
    left, right = pair
    with pytest.raises(ValueError):
        left.send(b"x" * (MAX_PACKET_BYTES + 1))
    assert right.receive() == []


def test_a_packet_that_was_cut_says_so() -> None:
    left, right = channel_pair()
    channel = Channel(right)
    with contextlib.closing(left), contextlib.closing(channel):
        left.send(b"x" * (MAX_PACKET_BYTES + 1))
        (packet,) = channel.receive()
        assert packet.truncated


def test_neither_end_is_inheritable_or_blocking() -> None:
    for end in channel_pair():
        with end:
            assert not end.get_inheritable()
            assert not end.getblocking()


# waiting


def test_packets_that_the_socket_does_not_take_wait_and_keep_their_order(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    count = fill(left)
    for number in range(count, count + 50):
        left.send(b"%04d" % number + b"x" * 996)
    arrived: list[bytes] = []
    while left.wants_write:
        arrived += contents(right.receive())
        left.flush()
    arrived += contents(right.receive())
    assert [int(data[:4]) for data in arrived] == list(range(count + 50))
    assert {len(data) for data in arrived} == {1000}


def test_a_flush_while_the_socket_is_full_loses_nothing(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    count = fill(left)
    left.flush()
    left.flush()
    assert left.wants_write
    arrived = contents(right.receive())
    left.flush()
    assert len(arrived + contents(right.receive())) == count


def test_descriptors_of_a_waiting_packet_may_be_closed_by_the_sender(
    pair: tuple[Channel, Channel], pipe: tuple[int, int]
) -> None:
    left, right = pair
    reading, writing = pipe
    fill(left)
    left.send(b"with", [reading])
    os.close(reading)
    right.receive()
    left.flush()
    _, packet = right.receive()
    assert packet.data == b"with"
    os.write(writing, b"!")
    assert os.read(packet.fds[0], 10) == b"!"
    os.close(packet.fds[0])


def test_what_waits_is_closed_when_the_other_side_is_gone(pipe: tuple[int, int]) -> None:
    with opened(channel_pair) as (left, right):
        fill(left)
        before = open_fds()
        left.send(b"with", pipe)
        assert len(open_fds() - before) == 2
        right.close()
        left.flush()
        assert not left.wants_write
        assert open_fds() <= before


def test_what_waits_is_closed_with_the_channel(pipe: tuple[int, int]) -> None:
    before = open_fds()
    with opened(channel_pair) as (left, _):
        fill(left)
        left.send(b"with", pipe)
    assert open_fds() == before


# descriptors


def test_descriptors_go_along_and_the_sender_keeps_its_own(
    pair: tuple[Channel, Channel], pipe: tuple[int, int]
) -> None:
    left, right = pair
    before = open_fds()
    left.send(b"two", pipe)
    left.send(b"none")
    with_two, without = right.receive()
    assert (with_two.data, len(with_two.fds), with_two.truncated) == (b"two", 2, False)
    assert (without.data, without.fds) == (b"none", [])
    os.write(with_two.fds[1], b"through")
    assert os.read(pipe[0], 10) == b"through"
    for fd in with_two.fds:
        assert not os.get_inheritable(fd)
        os.close(fd)
    assert open_fds() == before


def test_a_descriptor_that_is_not_open_is_the_callers_error_and_disturbs_nobody(
    pair: tuple[Channel, Channel], pipe: tuple[int, int]
) -> None:
    left, right = pair
    dead = 999_999
    before = open_fds()
    for fds in ([dead], [pipe[0], dead], [-1]):
        with pytest.raises(OSError, match="Bad file descriptor"):
            left.send(b"with", fds)
    fill(left)
    with pytest.raises(OSError, match="Bad file descriptor"):
        left.send(b"with", [pipe[0], dead])
    assert open_fds() == before
    assert b"with" not in contents(right.receive())
    left.flush()
    left.send(b"on")
    assert contents(right.receive())[-1] == b"on"


def limited(code: str) -> None:
    """Run code in a process of its own, which may lower its limit of descriptors."""
    prelude = """
        import os, resource, socket
        from smoothserve.control.channel import Channel, channel_pair

        def use_up(leave):
            most = max(map(int, os.listdir("/proc/self/fd"))) + 1 + leave
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
            taken = []
            try:
                while True:
                    taken.append(os.dup(0))
            except OSError:
                for fd in taken[len(taken) - leave:] if leave else ():
                    os.close(fd)

        left, right = map(Channel, channel_pair())
        fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(2)]
    """
    script = textwrap.dedent(prelude) + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_descriptors_that_the_receiver_has_no_room_for_are_reported() -> None:
    limited("""
        left.send(b"one", fds[:1])
        left.send(b"two", fds)
        left.send(b"none")
        use_up(leave=1)
        one, two, none = right.receive()
        assert (one.data, len(one.fds), one.truncated) == (b"one", 1, False)
        assert (two.data, two.fds, two.truncated) == (b"two", [], True)
        assert (none.data, none.fds, none.truncated) == (b"none", [], False)
        os.close(one.fds[0])
        left.send(b"two", fds)
        (part,) = right.receive()
        assert (part.data, len(part.fds), part.truncated) == (b"two", 1, True)
        assert not right.closed
    """)


def test_a_sender_without_a_descriptor_to_spare_passes_its_own_on() -> None:
    limited("""
        use_up(leave=0)
        left.send(b"two", fds)
        for fd in fds:
            os.close(fd)
        (two,) = right.receive()
        assert (two.data, len(two.fds), two.truncated) == (b"two", 2, False)
    """)


def test_a_packet_that_must_wait_and_cannot_is_not_sent_and_leaves_nothing_open() -> None:
    limited("""
        while not left.wants_write:
            left.send(b"x" * 1000)
        use_up(leave=1)
        try:
            left.send(b"two", fds)
        except OSError as error:
            assert error.errno == 24
        else:
            raise AssertionError("sent")
        os.close(os.dup(0))
        left.send(b"without")
        arrived = [packet.data for packet in right.receive()]
        left.flush()
        arrived += [packet.data for packet in right.receive()]
        assert b"two" not in arrived
        assert arrived[-1] == b"without"
    """)


def test_too_many_descriptors_under_way_make_packets_wait() -> None:
    """The kernel counts those of all processes of a user, unless it may exceed its limits."""
    limited("""
        if os.getuid() == 0:
            os.setuid(65534)
        resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
        sent = 0
        while not left.wants_write and sent < 100:
            left.send(b"%d" % sent, fds[:1])
            sent += 1
        arrived = []
        while left.wants_write or len(arrived) < sent:
            for packet in right.receive():
                arrived.append((packet.data, len(packet.fds) + packet.truncated))
                for fd in packet.fds:
                    os.close(fd)
            left.flush()
        assert arrived == [(b"%d" % number, 1) for number in range(sent)]
    """)


# the end


def test_the_end_comes_after_the_last_packet(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    left.send(b"first")
    left.send(b"last")
    left.close()
    assert contents(right.receive()) == [b"first", b"last"]
    assert right.closed
    assert right.receive() == []


def test_an_end_without_packets_is_an_end(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    left.close()
    assert right.receive() == []
    assert right.closed


def test_packets_are_read_past_the_reset_of_a_side_that_left_some_unread(
    pair: tuple[Channel, Channel], pipe: tuple[int, int]
) -> None:
    left, right = pair
    left.send(b"acknowledged", pipe[:1])
    left.send(b"refused")
    right.send(b"never read: the kernel reports a reset")
    left.close()
    packets = right.receive()
    for fd in received_fds(packets):
        os.close(fd)
    assert contents(packets) == [b"acknowledged", b"refused"]
    assert right.closed


def test_a_failed_send_does_not_hide_what_has_arrived(pair: tuple[Channel, Channel]) -> None:
    left, right = pair
    left.send(b"acknowledged")
    right.send(b"never read")
    left.close()
    right.send(b"meets the reset")
    right.send(b"meets the broken pipe")
    assert not right.wants_write
    assert not right.closed, "it has not been read up to its end"
    assert contents(right.receive()) == [b"acknowledged"]
    assert right.closed


def test_a_closed_channel_takes_packets_and_sends_none(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    left.close()
    right.receive()
    right.send(b"to nobody")
    left.send(b"from nobody")
    right.flush()
    assert not right.wants_write
    assert not left.wants_write


def test_what_a_killed_process_had_sent_is_read_up_to_the_end(pipe: tuple[int, int]) -> None:
    """And what was on its way to it is gone with it, its descriptors closed."""
    ours, theirs = channel_pair()
    channel = Channel(ours)
    pid = os.fork()
    if pid == 0:  # no more than system calls: this is the child of a process with threads
        try:
            theirs.send(b"ready")
            signal.pause()
        finally:
            os._exit(1)
    theirs.close()
    with contextlib.closing(channel):
        ours.setblocking(True)
        assert ours.recv(100) == b"ready"
        ours.setblocking(False)
        channel.send(b"unread", pipe[1:])
        os.close(pipe[1])
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert channel.receive() == []
        assert channel.closed
        assert os.read(pipe[0], 1) == b"", "the last descriptor of the writing end went with the process"
