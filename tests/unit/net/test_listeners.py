import contextlib
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from smoothserve.errors import BindError
from smoothserve.net.addresses import Address, FdAddress, TcpAddress, UnixAddress
from smoothserve.net.listeners import UNIX_SOCKET_MODE, Listener, UnixAccess, _give_access, open_listener

LOOPBACK = TcpAddress("127.0.0.1", 0)


@contextlib.contextmanager
def listening(address: Address, patience: float = 0.0) -> Iterator[Listener]:
    listener = open_listener(address, 16, patience)
    try:
        yield listener
    finally:
        listener.close()


def port_of(listener: Listener) -> int:
    port: int = listener.sock.getsockname()[1]
    return port


def test_a_tcp_listener_says_tcp_so_that_asyncio_sets_nodelay_and_does_not_block() -> None:
    with listening(LOOPBACK) as listener:
        assert listener.sock.proto == socket.IPPROTO_TCP
        assert listener.sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        assert not listener.sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
        assert not listener.sock.getblocking()
        assert not listener.sock.get_inheritable()


def test_its_name_has_the_port_that_the_system_chose() -> None:
    with listening(LOOPBACK) as listener:
        assert listener.name == f"http://127.0.0.1:{port_of(listener)}"
        with socket.create_connection(("127.0.0.1", port_of(listener))):
            pass


def test_an_ipv6_listener_is_for_ipv6_only_and_can_stand_beside_an_ipv4_one() -> None:
    try:
        everywhere = open_listener(TcpAddress("::", 0), 16)
    except BindError as error:
        pytest.skip(str(error))
    with contextlib.closing(everywhere):
        assert everywhere.name == f"http://[::]:{port_of(everywhere)}"
        assert everywhere.sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        with listening(TcpAddress("0.0.0.0", port_of(everywhere))):
            pass


def test_localhost_means_ipv4() -> None:
    with listening(TcpAddress("localhost", 0)) as listener:
        assert listener.name == f"http://127.0.0.1:{port_of(listener)}"


def test_a_port_in_use_gets_a_line_that_says_so() -> None:
    with listening(LOOPBACK) as first, pytest.raises(BindError, match="in use: is another server running") as caught:
        open_listener(TcpAddress("127.0.0.1", port_of(first)), 16)
    assert "\n" not in str(caught.value)


def test_a_port_that_becomes_free_within_the_patience_is_taken() -> None:
    first = open_listener(LOOPBACK, 16)
    address = TcpAddress("127.0.0.1", port_of(first))
    timer = threading.Timer(0.1, first.close)
    timer.start()
    with listening(address, patience=10.0) as second:
        assert port_of(second) == address.port
    timer.join()


def test_an_address_of_another_machine_gets_a_line_that_says_so() -> None:
    with pytest.raises(BindError, match="does not have that address"):
        open_listener(TcpAddress("192.0.2.1", 0), 16)


def test_a_host_that_is_not_found_gets_a_line_that_says_so() -> None:
    with pytest.raises(BindError, match=r"'no\.such\.host\.invalid' was not found"):
        open_listener(TcpAddress("no.such.host.invalid", 8000), 16)
    with pytest.raises(BindError, match="was not found"):
        open_listener(TcpAddress("x" * 70, 8000), 16)


# unix sockets


def test_a_unix_socket_can_be_used_by_a_proxy_of_another_user(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    mask = os.umask(0o077)
    try:
        with listening(UnixAddress(str(path))) as listener:
            assert listener.name == f"unix:{path}"
            assert stat.S_IMODE(path.stat().st_mode) == UNIX_SOCKET_MODE
    finally:
        os.umask(mask)
    assert not path.exists()


def test_a_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with listening(UnixAddress(str(path))), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_live_unix_socket_is_never_stolen(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with listening(UnixAddress(str(path))):
        before = path.stat().st_ino
        with pytest.raises(BindError, match="another server listens there"):
            open_listener(UnixAddress(str(path)), 16)
        assert path.stat().st_ino == before


def test_a_live_unix_socket_whose_queue_is_full_is_never_stolen(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket(socket.AF_UNIX))
        server.bind(str(path))
        server.listen(0)
        for _ in range(2):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(str(path))
        with pytest.raises(BindError, match="another server listens there"):
            open_listener(UnixAddress(str(path)), 16)


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(BindError, match="no socket"):
        open_listener(UnixAddress(str(path)), 16)
    assert path.read_text() == "data"


def test_a_unix_socket_that_another_server_has_replaced_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    first = open_listener(UnixAddress(str(path)), 16)
    path.unlink()
    with listening(UnixAddress(str(path))):
        first.close()
        assert path.exists()


def test_a_unix_socket_in_a_directory_that_does_not_exist_gets_a_line(tmp_path: Path) -> None:
    with pytest.raises(BindError, match="directory does not exist"):
        open_listener(UnixAddress(str(tmp_path / "none" / "app.sock")), 16)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do anything")
def test_a_unix_socket_in_a_directory_of_others_gets_a_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(BindError, match="not permitted"):
        open_listener(UnixAddress(str(tmp_path / "app.sock")), 16)


# inherited sockets


def test_an_inherited_listening_socket_is_adopted_with_its_name() -> None:
    with contextlib.ExitStack() as stack:
        given = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        given.set_inheritable(True)
        listener = stack.enter_context(listening(FdAddress(given.fileno())))
        assert listener.name == f"http://127.0.0.1:{given.getsockname()[1]}"
        assert listener.sock.fileno() != given.fileno()
        assert not given.get_inheritable(), "the workers get ours only"
        assert not listener.sock.getblocking()


def test_an_inherited_unix_socket_is_adopted_and_its_file_is_not_ours_to_remove(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with socket.socket(socket.AF_UNIX) as given:
        given.bind(str(path))
        with listening(FdAddress(given.fileno())) as listener:
            assert listener.name == f"unix:{path}"
            assert listener.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    assert path.exists()


def test_a_descriptor_that_is_no_listening_socket_gets_a_line(tmp_path: Path) -> None:
    with open(tmp_path / "file", "w") as file, pytest.raises(BindError, match="not an open socket"):
        open_listener(FdAddress(file.fileno()), 16)
    with pytest.raises(BindError, match="not an open socket"):
        open_listener(FdAddress(987_654), 16)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as given,
        pytest.raises(BindError, match="not a stream socket"),
    ):
        open_listener(FdAddress(given.fileno()), 16)


def test_a_unix_socket_has_the_mode_and_the_group_that_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    own = os.getgid()
    for access, mode in ((UnixAccess(), 0o666), (UnixAccess(0o660, os.getuid(), own), 0o660)):
        listener = open_listener(UnixAddress(str(path)), 16, access=access)
        found = path.stat()
        assert (found.st_mode & 0o777, found.st_gid) == (mode, own)
        listener.close()


@pytest.mark.parametrize("planted", ["link", "file", "another socket"])
def test_what_somebody_puts_in_the_place_of_a_new_unix_socket_gets_no_permissions(tmp_path: Path, planted: str) -> None:
    path, precious = tmp_path / "app.sock", tmp_path / "precious"
    precious.write_text("")
    precious.chmod(0o600)
    with socket.socket(socket.AF_UNIX) as other:
        if planted == "link":
            path.symlink_to(precious)
        elif planted == "file":
            path.hardlink_to(precious)
        else:
            other.bind(str(tmp_path / "other.sock"))
            path.hardlink_to(tmp_path / "other.sock")
        before = path.stat().st_mode
        with pytest.raises(BindError, match="somebody has put something else there"):
            _give_access(UnixAddress(str(path)), UnixAccess(0o666, os.getuid(), os.getgid()))
        assert path.stat().st_mode == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_unix_socket_belongs_to_whom_it_is_given(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with contextlib.closing(open_listener(UnixAddress(str(path)), 16, access=UnixAccess(0o600, 54321, 54322))):
        assert (path.stat().st_uid, path.stat().st_gid) == (54321, 54322)


def test_a_unix_socket_that_cannot_be_given_gets_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "chown", refuse)
    with pytest.raises(BindError, match="only root can give a socket to another user"):
        open_listener(UnixAddress(str(tmp_path / "app.sock")), 16, access=UnixAccess(0o600, 0))
