"""The PROXY protocol, versions 1 and 2: the addresses that a load balancer says ahead of a connection's bytes.

Sans-IO. Source: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, sections 2.1 and 2.2. Any bytes become a
`ProxyHeader` or a `ProxyError`. The reader says how many bytes it is sure to need, so that nobody reads beyond.
"""

import re
import socket
import struct
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
#: The longest header of version 1, its CRLF included.
MAX_V1_BYTES = 107
#: Of version 2: the part that every header has.
V2_FIXED_BYTES = 16

_V1_PREFIX = b"PROXY "
_V1 = re.compile(
    rb"PROXY (?:UNKNOWN(?: [^\r\n]*)?|(TCP4|TCP6) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) ([0-9]+) ([0-9]+))\r\n"
)
_PORT = re.compile(rb"0|[1-9][0-9]{0,4}")


class ProxyError(Exception):
    """The bytes are no header of the PROXY protocol that is spoken here."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What a header says; None where it says nothing: the connection's own addresses count."""

    client: tuple[str, int] | None = None
    server: tuple[str, int] | None = None


class ProxyReader:
    """Reads one header. Feed it at most `wanted` bytes at a time, until `header` is there."""

    def __init__(self, versions: str) -> None:
        self._versions = versions
        """`v1`, `v2` or `auto`."""
        self._data = b""
        self.header: ProxyHeader | None = None

    @property
    def wanted(self) -> int:
        """How many bytes can be read without reading beyond the header."""
        data = self._data
        if self.header is not None:
            return 0
        if not data:
            return 1
        if data[0] == SIGNATURE[0]:
            if len(data) < V2_FIXED_BYTES:
                return V2_FIXED_BYTES - len(data)
            return V2_FIXED_BYTES + int.from_bytes(data[14:16], "big") - len(data)
        # Every header of version 1 has "PROXY ", a word, CRLF. Behind that its end is anywhere.
        return max(1, len(b"PROXY UNKNOWN\r\n") - len(data))

    def receive_data(self, data: bytes) -> None:
        """Take bytes. Raise `ProxyError` as soon as no header can come of them."""
        self._data += data
        begun = self._data
        if begun[:1] == SIGNATURE[:1]:
            self._read_v2(begun)
        else:
            self._read_v1(begun)

    def _read_v1(self, data: bytes) -> None:
        if self._versions == "v2" or data[: len(_V1_PREFIX)] != _V1_PREFIX[: len(data)]:
            raise ProxyError("the connection does not begin with a PROXY header")
        end = data.find(b"\n") + 1
        if not end:
            if len(data) >= MAX_V1_BYTES:
                raise ProxyError("the PROXY header is too long")
            return
        match = _V1.fullmatch(data)
        if match is None or len(data) > MAX_V1_BYTES:
            raise ProxyError("the PROXY header is malformed")
        if match[1] is None:
            self.header = ProxyHeader()
            return
        kind: type[IPv4Address | IPv6Address] = IPv4Address if match[1] == b"TCP4" else IPv6Address
        try:
            source, target = (str(kind(match[index].decode("ascii"))) for index in (2, 3))
        except (AddressValueError, ValueError):
            raise ProxyError("the PROXY header has an invalid address") from None
        self.header = ProxyHeader((source, _read_port(match[4])), (target, _read_port(match[5])))

    def _read_v2(self, data: bytes) -> None:
        if self._versions == "v1" or data[: len(SIGNATURE)] != SIGNATURE[: len(data)]:
            raise ProxyError("the connection does not begin with a PROXY header")
        if len(data) < V2_FIXED_BYTES:
            return
        version_and_command, family, length = struct.unpack("!BBH", data[12:16])
        if version_and_command not in (0x20, 0x21):
            raise ProxyError("the PROXY header has an unknown version or command")
        if family not in (0x00, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32):
            raise ProxyError("the PROXY header has an unknown family")
        addresses = {0x11: 12, 0x21: 36, 0x31: 216}.get(family, 0)
        if version_and_command == 0x21 and length < addresses:
            raise ProxyError("the PROXY header is too short for its addresses")
        if len(data) < V2_FIXED_BYTES + length:
            return
        if len(data) > V2_FIXED_BYTES + length:
            raise ProxyError("more than the PROXY header was read")
        # LOCAL: the load balancer's own connection, a health check.
        self.header = ProxyHeader() if version_and_command == 0x20 else _read_addresses(family, data[V2_FIXED_BYTES:])


def _read_addresses(family: int, data: bytes) -> ProxyHeader:
    """Read the addresses of a stream over IP; of anything else there are none that we could say."""
    if family == 0x11:
        kind, size = socket.AF_INET, 4
    elif family == 0x21:
        kind, size = socket.AF_INET6, 16
    else:
        return ProxyHeader()
    source, target = socket.inet_ntop(kind, data[:size]), socket.inet_ntop(kind, data[size : 2 * size])
    source_port, target_port = struct.unpack("!HH", data[2 * size : 2 * size + 4])
    return ProxyHeader((source, source_port), (target, target_port))


def _read_port(digits: bytes) -> int:
    if not _PORT.fullmatch(digits) or int(digits) > 65535:
        raise ProxyError("the PROXY header has an invalid port")
    return int(digits)
