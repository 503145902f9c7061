"""What proxies in front say of a request's client: X-Forwarded-* and Forwarded (RFC 7239).

Only what a trusted proxy has written counts. Each proxy appends the address that it was asked from, so the list is
read from its right end, and the first address that is no trusted proxy's is the client's. What stands further left
anybody may have written. Decides nothing about the connection; must not know sockets.
"""

import copy
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from smoothserve.protocol.events import Request
from smoothserve.protocol.memory import make_memory
from smoothserve.protocol.policy import TOKEN, is_valid_host

Client = tuple[str, int] | None
Server = tuple[str, int | None] | None

FOR = b"x-forwarded-for"
PROTO = b"x-forwarded-proto"
HOST = b"x-forwarded-host"
PORT = b"x-forwarded-port"
PREFIX = b"x-forwarded-prefix"
FORWARDED = b"forwarded"

#: How the peer of a unix socket is written, in the list of the trusted and (by nginx) in X-Forwarded-For.
UNIX = "unix:"

_SCHEMES = {b"http": "http", b"https": "https", b"ws": "http", b"wss": "https"}
_DEFAULT_PORTS = {"http": 80, "https": 443}
_PREFIX = re.compile(rb"(?:/[^\x00-\x20\x7f?#%]*)?\Z")
_ADDRESS_AND_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::([0-9]{1,5}))?\Z")
_PAIR = re.compile(rb'[ \t]*(%b)=(?:(%b)|"((?:[^"\\]|\\.)*)")[ \t]*' % (TOKEN, TOKEN), re.DOTALL)
#: Peers that are remembered with whether they are trusted, and values with what they say.
_MAX_REMEMBERED = 1024
_MAX_REMEMBERED_BYTES = 256


class TrustedProxies:
    """Addresses and networks of proxies: `192.0.2.1`, `10.0.0.0/8`, `unix:`, or `*` for all."""

    def __init__(self, listed: Iterable[str]) -> None:
        words = list(listed)
        self._all = "*" in words
        self._unix = UNIX in words or self._all
        self._networks: list[IPv4Network | IPv6Network] = [
            ip_network(word, strict=False) for word in words if word not in ("*", UNIX)
        ]
        self._known: dict[str, bool] = make_memory()

    def trusts(self, address: str | None) -> bool:
        """Whether a proxy at this address is trusted; None is the peer of a unix socket."""
        if address is None or address == UNIX:
            return self._unix
        known = self._known.get(address)
        if known is None:
            known = self._all or self._contains(address)
            if len(self._known) < _MAX_REMEMBERED:
                self._known[address] = known
        return known

    def _contains(self, text: str) -> bool:
        try:
            address = ip_address(text)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any(one in network for one in (address, mapped) if one is not None for network in self._networks)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request came from, as far as the proxies are to be believed."""

    client: Client
    server: Server
    scheme: str
    request: Request
    """The request, its Host and prefix those that the client has used."""


class Forwarding:
    """Reads the headers that are named from the proxies that are trusted.

    `complain` gets one line for the first malformed value of each header.
    """

    def __init__(self, names: Iterable[str], trusted: TrustedProxies, complain: Callable[[str], None]) -> None:
        self._names = frozenset(name.encode("ascii") for name in names)
        self._trusted = trusted
        self._complain = complain
        self._complained: set[bytes] = set()
        #: What the usual two headers have been read as lately: clients come again.
        self._read: dict[tuple[bytes, bytes | None, str], tuple[Client, str]] = make_memory()

    def trusts(self, client: Client) -> bool:
        """Whether the peer is a proxy whose headers are read."""
        return self._trusted.trusts(client[0] if client is not None else None)

    def read(self, request: Request, client: Client, server: Server, scheme: str) -> Origin | None:
        """Return where a request of a trusted peer came from; None if no header says anything of it."""
        names = self._names
        for name, _ in request.headers:
            if name in names:
                break
        else:
            return None
        said: dict[bytes, bytes] = {}
        for name, value in request.headers:
            if name in names:
                # RFC 9110 section 5.3
                said[name] = value if name not in said else said[name] + b"," + value
        if FOR not in said or len(said) > 2 or (len(said) == 2 and PROTO not in said):
            return self._judge(said, request, client, server, scheme)
        key = (said[FOR], said.get(PROTO), scheme)
        known = self._read.get(key)
        if known is None:
            origin = self._judge(said, request, client, server, scheme)
            # Where the list says nothing, it is the peer that counts, another one each time.
            if origin.client is not client and len(key[0]) + len(key[1] or b"") <= _MAX_REMEMBERED_BYTES:
                if len(self._read) >= _MAX_REMEMBERED:
                    self._read.clear()
                self._read[key] = (origin.client, origin.scheme)
            return origin
        return Origin(known[0], server, known[1], request)

    def _judge(self, said: dict[bytes, bytes], request: Request, client: Client, server: Server, scheme: str) -> Origin:
        host: bytes | None = None
        proto: bytes | None = None
        if FORWARDED in said:
            client, proto, host = self._read_forwarded(said[FORWARDED], client)
        hop = 0
        if FOR in said:
            hops = _members(said[FOR])
            client, hop = self._walk(FOR, hops, client)
            hop -= len(hops)
        if PROTO in said:
            proto = _at_hop(_members(said[PROTO]), hop, len(_members(said.get(FOR, b""))))
        if HOST in said:
            host = _at_hop(_members(said[HOST]), hop, len(_members(said.get(FOR, b""))))
        if proto is not None:
            known = _SCHEMES.get(proto.lower())
            if known is None:
                self._ignore(PROTO if PROTO in said else FORWARDED, proto)
            scheme = known or scheme
        prefix = self._valid_prefix(said.get(PREFIX))
        port = self._valid_port(said.get(PORT))
        if host is not None and not (host and is_valid_host(host)):
            self._ignore(HOST if HOST in said else FORWARDED, host)
            host = None
        if host is not None or port is not None or prefix is not None:
            request = copy.copy(request)
            request.prefix = prefix
            request.memo = None
            server = _rewrite_host(request, host, port, scheme, server)
        return Origin(client, server, scheme, request)

    def _walk(self, header: bytes, hops: list[bytes], client: Client) -> tuple[Client, int]:
        """Go from the nearest hop to the first that is not trusted. Return it and its place in the list."""
        for index in range(len(hops) - 1, -1, -1):
            text = hops[index].decode("latin-1")
            if text == UNIX:
                address: tuple[str, int] | None = None
            else:
                address = parse_address(text)
                if address is None:
                    # An address that is hidden (RFC 7239 section 6.3) is no fault, but whatever is further left came
                    # through it.
                    if not (text.lower() == "unknown" or text.startswith("_")):
                        self._ignore(header, hops[index])
                    return client, min(index + 1, len(hops) - 1)
                client = address
            if not self._trusted.trusts(address[0] if address is not None else None):
                return client, index
        return client, 0

    def _read_forwarded(self, value: bytes, client: Client) -> tuple[Client, bytes | None, bytes | None]:
        """Read RFC 7239: the client, and what its proxy said of scheme and host."""
        elements = _parse_forwarded(value)
        if elements is None:
            self._ignore(FORWARDED, value)
            return client, None, None
        hops = [element.get(b"for", b"unknown") for element in elements]
        client, hop = self._walk(FORWARDED, hops, client)
        element = elements[hop] if elements else {}
        return client, element.get(b"proto"), element.get(b"host")

    def _valid_prefix(self, value: bytes | None) -> str | None:
        if value is None:
            return None
        prefix = value.split(b",")[-1].strip(b" \t").rstrip(b"/")
        if not _PREFIX.match(prefix) or prefix.startswith(b"//"):
            self._ignore(PREFIX, value)
            return None
        try:
            return prefix.decode("utf-8")
        except UnicodeDecodeError:
            self._ignore(PREFIX, value)
            return None

    def _valid_port(self, value: bytes | None) -> int | None:
        if value is None:
            return None
        text = value.split(b",")[-1].strip(b" \t")
        if not (text.isdigit() and len(text) <= 5 and 0 < int(text) <= 65535):
            self._ignore(PORT, value)
            return None
        return int(text)

    def _ignore(self, header: bytes, value: bytes) -> None:
        if header not in self._complained:
            self._complained.add(header)
            shown = value[:80].decode("latin-1").encode("unicode_escape").decode("ascii")
            self._complain(f"ignored a malformed value of {header.decode()} from a trusted proxy: {shown}")


def parse_address(text: str) -> tuple[str, int] | None:
    """Read an address with or without a port, IPv6 with or without brackets. None if it is none."""
    port = "0"
    match = _ADDRESS_AND_PORT.match(text)
    if match is not None:
        text = match[1] or match[2]
        port = match[3] or "0"
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if "%" in text or int(port) > 65535:
        return None
    return str(address), int(port)


def _members(value: bytes) -> list[bytes]:
    return [member for part in value.split(b",") if (member := part.strip(b" \t"))]


def _at_hop(values: list[bytes], hop: int, hops: int) -> bytes | None:
    """Return what the proxy said that the client asked, if each has said something; else what the last one did."""
    if not values:
        return None
    return values[hop] if len(values) == hops else values[-1]


def _parse_forwarded(value: bytes) -> list[dict[bytes, bytes]] | None:
    """Parse the list of RFC 7239 section 4; None if it is malformed."""
    elements: list[dict[bytes, bytes]] = [{}]
    position = 0
    while position < len(value):
        if value[position] in b",; \t":
            if value[position] == 0x2C and elements[-1]:
                elements.append({})
            position += 1
            continue
        match = _PAIR.match(value, position)
        if match is None or (match.end() < len(value) and value[match.end()] not in b",;"):
            return None
        name = match[1].lower()
        if name in elements[-1]:
            return None  # each parameter once (section 4)
        elements[-1][name] = match[2] if match[2] is not None else re.sub(rb"\\(.)", rb"\1", match[3], flags=re.DOTALL)
        position = match.end()
    return elements if elements[-1] else elements[:-1]


def _rewrite_host(request: Request, host: bytes | None, port: int | None, scheme: str, server: Server) -> Server:
    """Put the host and port that the client has used in the place of Host. Return the server's address."""
    if host is None:
        host = next((value for name, value in request.headers if name == b"host"), b"")
    name, colon, digits = host.rpartition(b":")
    if not colon or b"]" in digits:
        name, digits = host, b""
    if port is not None:
        digits = b"" if port == _DEFAULT_PORTS[scheme] else b"%d" % port
        host = name + b":" + digits if digits else name
    if not name:
        return server
    request.headers = [(b"host", host), *((key, value) for key, value in request.headers if key != b"host")]
    number = int(digits[:6] or b"0") or _DEFAULT_PORTS[scheme]
    return name.decode("latin-1").strip("[]"), number if number <= 65535 else None
