import pytest

from smoothserve.errors import BindError, ExitCode
from smoothserve.net.addresses import Address, FdAddress, TcpAddress, UnixAddress, parse_bind


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8000", TcpAddress("127.0.0.1", 8000)),
        ("localhost:0", TcpAddress("localhost", 0)),
        (":8000", TcpAddress("0.0.0.0", 8000)),
        ("[::1]:8000", TcpAddress("::1", 8000)),
        ("[::]:65535", TcpAddress("::", 65535)),
        ("unix:/run/app.sock", UnixAddress("/run/app.sock")),
        ("unix:///run/app.sock", UnixAddress("/run/app.sock")),
        ("unix:app.sock", UnixAddress("app.sock")),
        ("fd://3", FdAddress(3)),
    ],
)
def test_an_address_is_parsed(text: str, address: Address) -> None:
    assert parse_bind(text) == address


@pytest.mark.parametrize("text", ["127.0.0.1:8000", "[::1]:8000", "unix:/run/app.sock", "fd://3"])
def test_an_address_is_rendered_as_it_is_written(text: str) -> None:
    assert str(parse_bind(text)) == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("8000", "port is missing"),
        ("localhost", "port is missing"),
        ("localhost:", "is not a port"),
        ("localhost:http", "is not a port"),
        ("localhost:65536", "is not a port"),
        ("localhost:-1", "is not a port"),
        ("localhost:\uff18\uff10", "is not a port"),
        ("::1:8000", "brackets: write [::1]:8000"),
        ("http://localhost:8000", "no address to listen on"),
        ("/run/app.sock", "no address to listen on"),
        ("unix:", "needs the path"),
        ("unix:/run/", "needs the path"),
        ("unix:/" + "x" * 107, "108 bytes"),
        ("fd://", "not the number"),
        ("fd://x", "not the number"),
    ],
)
def test_what_is_no_address_gets_one_line_that_says_how_to_write_it(text: str, says: str) -> None:
    with pytest.raises(BindError) as caught:
        parse_bind(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code is ExitCode.BIND_FAILED
