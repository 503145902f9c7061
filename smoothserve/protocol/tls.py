"""What is known of a TLS session, for the application: plain values, and names of certificates as text (RFC 4514)."""

from collections.abc import Iterable
from dataclasses import dataclass

Name = Iterable[Iterable[tuple[str, str]]]
"""A distinguished name as the `ssl` module has it: a sequence of sets of (type, value)."""

VERSIONS = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}
#: RFC 4514 section 3; types beyond it keep the name that OpenSSL gives them.
_SHORT_TYPES = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}
_ESCAPED = frozenset('"+,;<>\\')


@dataclass(frozen=True, slots=True)
class TLSInfo:
    """A session, as far as an application may want to know it. Certificates are PEM."""

    version: str
    """As OpenSSL says it: `TLSv1.3`."""
    cipher: str
    """OpenSSL's name of the cipher suite."""
    cipher_number: int | None
    """Its 16-bit number in the RFCs."""
    server_certificate: str | None = None
    client_chain: tuple[str, ...] = ()
    """What the client has sent and is verified, its own certificate first; empty if it has sent none."""
    client_subject: str | None = None
    client_issuer: str | None = None
    client_serial: str | None = None


def render_name(name: Name) -> str:
    """Render a distinguished name as RFC 4514 section 2 wants it: the most specific part first."""
    parts = ["+".join(f"{_SHORT_TYPES.get(kind, kind)}={_escape(value)}" for kind, value in part) for part in name]
    return ",".join(reversed(parts))


def _escape(value: str) -> str:
    """Escape a value (RFC 4514 section 2.4)."""
    escaped = "".join(_escape_character(one) for one in value)
    if value[:1] in ("#", " "):
        escaped = "\\" + escaped
    if len(value) > 1 and value.endswith(" "):
        escaped = escaped[:-1] + "\\ "
    return escaped


def _escape_character(one: str) -> str:
    if one in _ESCAPED:
        return "\\" + one
    # Not only NUL: no line end or other control character comes through.
    return f"\\{ord(one):02X}" if one < " " or one == "\x7f" else one
