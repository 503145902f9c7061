"""What is fuzzed of the headers that proxies set: whatever they say, the application gets what it can rely on."""

from ipaddress import ip_address

from smoothserve.protocol.events import Request
from smoothserve.protocol.forwarded import FOR, UNIX, Client, Forwarding, Origin, TrustedProxies, parse_address
from smoothserve.protocol.policy import is_valid_host

PEER = ("10.0.0.1", 5000)
SERVER = ("10.0.0.1", 8000)
NAMES = (
    ("x-forwarded-for", "x-forwarded-proto"),
    ("forwarded",),
    ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix"),
    (
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "forwarded",
    ),
)
TRUSTED = (("10.0.0.0/8", "unix:"), ("10.0.0.1", "::1", "2001:db8::/32"), ("*",), ("127.0.0.1",))


def fuzz_forwarded(data: bytes) -> None:
    """The headers that trusted proxies set, each on a line of its own; a byte ahead chooses who and what is trusted."""
    options = data[0] if data else 0
    names, trusted = NAMES[options & 3], TrustedProxies(TRUSTED[options >> 2 & 3])
    client: Client = None if options & 16 else PEER
    scheme = "https" if options & 32 else "http"
    headers = [(b"host", b"inner:81" if options & 64 else b"inner")]
    for line in data[1:].split(b"\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"host":
            continue  # the codecs let no second one through
        # What the codecs let through (RFC 9110 section 5.5).
        headers.append((name.lower(), bytes(one for one in value if one >= 0x20 or one == 9).strip(b" \t")))
    complaints: list[str] = []
    forwarding = Forwarding(names, trusted, complaints.append)
    request = Request("GET", b"/", b"/", b"", "1.1", list(headers), keep_alive=True)
    origin = forwarding.read(request, client, SERVER, scheme)
    again = forwarding.read(request, client, SERVER, scheme)
    assert request.headers == headers, "the codecs give one request object for equal heads"
    assert request.prefix is None
    assert _shown(origin) == _shown(again), "what is remembered differs from what is read"
    assert len(complaints) <= len(names), "a line for the first malformed value of each header"
    assert all(line.isascii() and line.isprintable() and len(line) < 500 for line in complaints)
    if origin is None:
        assert not any(name.decode("latin-1") in names for name, _ in headers)
        return
    _check_origin(origin)
    if names == NAMES[0]:
        assert origin.request is request
        assert origin.server == SERVER
        _check_client(origin.client, client, [value for name, value in headers if name == FOR], trusted)


def _shown(origin: Origin | None) -> object:
    if origin is None:
        return None
    return origin.client, origin.server, origin.scheme, origin.request.headers, origin.request.prefix


def _check_origin(origin: Origin) -> None:
    if origin.client is not None:
        assert str(ip_address(origin.client[0])) == origin.client[0]
        assert 0 <= origin.client[1] <= 65535
    assert origin.scheme in ("http", "https")
    assert origin.server is not None
    assert origin.server[0]
    assert origin.server[1] is None or 0 <= origin.server[1] <= 65535
    (host,) = [value for name, value in origin.request.headers if name == b"host"]
    assert host
    assert is_valid_host(host), "the application takes Host for checked"
    prefix = origin.request.prefix
    if prefix:
        assert prefix.startswith("/")
        assert not prefix.startswith("//")
        assert not prefix.endswith("/")
        assert not set("?# \r\n\0") & set(prefix)


def _check_client(found: Client, peer: Client, lines: list[bytes], trusted: TrustedProxies) -> None:
    """Say it again, the plain way: from the right end, the first address that is no trusted proxy's."""
    expected = peer
    for member in reversed([one.strip(b" \t") for one in b",".join(lines).split(b",")]):
        if not member:
            continue
        text = member.decode("latin-1")
        if text == UNIX:
            if not trusted.trusts(None):
                break
            continue
        address = parse_address(text)
        if address is None:
            break
        expected = address
        if not trusted.trusts(address[0]):
            break
    assert found == expected, (found, expected)
