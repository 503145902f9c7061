"""Which certificate files serve which names, as the user types them, and until when a certificate is valid.

Without the `ssl` module: the master, which ends no TLS, reads settings with it.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

_PEM_CERTIFICATE = re.compile(
    rb"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----"
    rb"([A-Za-z0-9+/=\s]+)"
    rb"-----END (?:TRUSTED |X509 )?CERTIFICATE-----"
)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z")
_UTC_TIME, _EXPLICIT_VERSION = 0x17, 0xA0


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """A certificate with its chain, and its key; without a key file the key is in the first one, too."""

    certfile: str
    keyfile: str | None = None


@dataclass(frozen=True, slots=True)
class TLSOptions:
    """What is typed: files, whom to trust, what to speak."""

    certificate: CertificateFiles
    """Used where no name of `sni` is asked for."""
    sni: Mapping[str, CertificateFiles] = field(default_factory=dict)
    """By the host's name in lower case; `*.example.org` stands for one label."""
    keyfile_password: str | None = None
    ca_certs: str | None = None
    cert_reqs: str = "none"
    """Whether clients need a certificate: none, optional, required."""
    ciphers: str | None = None
    """OpenSSL's list for TLS 1.2."""
    min_version: str = "1.2"


class BadNameError(ValueError):
    """Not HOST=CERTFILE or HOST=CERTFILE:KEYFILE. The text goes on after what was typed."""


def parse_sni(text: str) -> tuple[str, CertificateFiles]:
    """Parse `HOST=CERTFILE[:KEYFILE]`. The host comes back in lower case, as its name on the wire (IDNA)."""
    host, equals, files = text.strip().partition("=")
    certfile, colon, keyfile = files.strip().partition(":")
    if not equals or not certfile or (colon and not keyfile):
        raise BadNameError("is not HOST=CERTFILE:KEYFILE, or HOST=CERTFILE with the key in the same file")
    return normal_host(host), CertificateFiles(certfile, keyfile or None)


def normal_host(text: str) -> str:
    """Return a host's name as clients ask for it; `*.` in front stands for one label."""
    host = text.strip().lower().rstrip(".")
    wildcard, name = ("*.", host[2:]) if host.startswith("*.") else ("", host)
    try:
        name = name if name.isascii() else name.encode("idna").decode("ascii")
    except UnicodeError:
        name = ""
    if not name or not all(_LABEL.match(label) for label in name.split(".")):
        raise BadNameError("has no host name in front of the equals sign, such as example.org or *.example.org")
    return wildcard + name


def first_certificate(pem: bytes) -> bytes | None:
    """Return the first certificate of a PEM file, as DER; None if there is none."""
    found = _PEM_CERTIFICATE.search(pem)
    if found is None:
        return None
    try:
        return base64.b64decode(found[1])
    except binascii.Error:
        return None


def valid_until(der: bytes) -> datetime | None:
    """Return the time after which a certificate is no longer valid (RFC 5280 section 4.1); None if it is unreadable.

    The `ssl` module tells this of a peer's certificate only.
    """
    try:
        fields = _children(_children(der)[0][1])[0][1]
        values = [one for one in _children(fields) if one[0] != _EXPLICIT_VERSION]
        # serialNumber, signature, issuer, validity
        _, not_after = _children(values[3][1])[:2]
    except (IndexError, ValueError):
        return None
    return _parse_time(*not_after)


def _children(data: bytes) -> list[tuple[int, bytes]]:
    """Split DER into its (tag, content)."""
    found = []
    at = 0
    while at < len(data):
        tag, size = data[at], data[at + 1]
        at += 2
        if size & 0x80:
            octets = size & 0x7F
            size = int.from_bytes(data[at : at + octets], "big")
            at += octets
        if at + size > len(data):
            raise ValueError("cut off")
        found.append((tag, data[at : at + size]))
        at += size
    return found


def _parse_time(tag: int, content: bytes) -> datetime | None:
    try:
        text = content.decode("ascii")
        if tag == _UTC_TIME:  # RFC 5280 section 4.1.2.5.1: two digits of the year
            text = ("20" if text[:2] < "50" else "19") + text
        return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
