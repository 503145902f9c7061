"""TLS as this server ends it: contexts made of certificate files.

TLS 1.2 and 1.3 (RFC 5246, RFC 8446), ALPN http/1.1 (RFC 7301), a certificate for each name that clients ask for (SNI,
RFC 6066 section 3). Every mistake in the files is one line. Sockets are `connection`'s.
"""

import ssl
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from smoothserve.errors import FileError, SettingsError
from smoothserve.net.certificates import CertificateFiles, TLSOptions, first_certificate, valid_until
from smoothserve.rereading import read_again

_REQUIREMENTS = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_ALPN = ["http/1.1"]


class ServerTLS:
    """The contexts of a worker, and what went into them."""

    def __init__(self, options: TLSOptions, now: datetime | None = None) -> None:
        """Read all files. Raise `FileError` or `SettingsError`, one line, for the first that cannot be used."""
        self.warnings: list[str] = []
        """What serves, but should be seen to: expired certificates."""
        self._now = now or datetime.now(UTC)
        self._certificates: dict[int, str] = {}
        self._context = self._make_context(options, options.certificate)
        self._by_name = {name: self._make_context(options, files) for name, files in options.sni.items()}
        self._numbers = {one["name"]: int(one["id"]) & 0xFFFF for one in self._context.get_ciphers()}
        if self._by_name:
            self._context.sni_callback = self._choose
            sys.unraisablehook = _pass_bad_names(sys.unraisablehook)
        if options.ca_certs is not None and options.cert_reqs == "none":
            self.warnings.append("clients are not asked for certificates: --ca-certs needs --cert-reqs required")

    def begin(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        """Begin a session, the server's side of it."""
        return self._context.wrap_bio(incoming, outgoing, server_side=True)

    def certificate_of(self, session: ssl.SSLObject) -> str | None:
        """Return the certificate, as PEM, that a session has shown to its client."""
        return self._certificates.get(id(session.context))

    def cipher_number(self, name: str) -> int | None:
        """Return the 16-bit number of a cipher suite, by OpenSSL's name for it."""
        return self._numbers.get(name)

    def _choose(self, session: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        """Take the certificate of the name that the client asks for, if there is one."""
        del context
        if name is None:
            return
        host = name.lower()
        chosen = self._by_name.get(host) or self._by_name.get("*." + host.partition(".")[2])
        if chosen is not None:
            session.context = chosen

    def _make_context(self, options: TLSOptions, files: CertificateFiles) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = _VERSIONS[options.min_version]
        # A client could have us work without end (and a write could have to wait for a read).
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(_ALPN)
        if options.ciphers is not None:
            try:
                context.set_ciphers(options.ciphers)
            except ssl.SSLError:
                raise SettingsError(
                    f"--ciphers {options.ciphers}: OpenSSL knows none of them: write its cipher list format"
                ) from None
        if options.ca_certs is not None:
            _trust(context, options.ca_certs)
        context.verify_mode = _REQUIREMENTS[options.cert_reqs]
        self._load(context, files, options.keyfile_password)
        return context

    def _load(self, context: ssl.SSLContext, files: CertificateFiles, password: str | None) -> None:
        pem = _read("--certfile", files.certfile)
        der = first_certificate(pem)
        if der is None:
            raise FileError(f"--certfile {files.certfile} holds no certificate in PEM: name one, its chain behind it")
        key = files.keyfile or files.certfile
        if files.keyfile is not None:
            pem = _read("--keyfile", files.keyfile)
        if b"PRIVATE KEY-----" not in pem:
            advice = "name the key's file with --keyfile" if files.keyfile is None else "name the key's file"
            raise FileError(f"{key} holds no private key in PEM: {advice}")
        asked: list[str] = []

        def give_password() -> str:
            asked.append(key)
            return password or ""

        try:
            context.load_cert_chain(files.certfile, files.keyfile, give_password)
        except ssl.SSLError as error:
            raise FileError(_reason(error, files.certfile, key, asked, password)) from None
        except (OSError, ValueError) as error:
            raise FileError(f"the certificate {files.certfile} with the key {key} cannot be used: {error}") from None
        self._certificates[id(context)] = ssl.DER_cert_to_PEM_cert(der)
        until = valid_until(der)
        if until is not None and until < self._now:
            self.warnings.append(f"the certificate {files.certfile} has expired on {until:%Y-%m-%d}: renew it")


def _pass_bad_names(otherwise: Callable[[Any], object]) -> Callable[[Any], object]:
    """Make a hook that says nothing of a name that is no ASCII.

    The ssl module prints it before any callback is asked, and refuses the handshake, which is what there is to do;
    a client must not write to the error log as it pleases.
    """

    def hook(unraisable: Any, /) -> object:
        error = unraisable.exc_value
        if isinstance(error, UnicodeDecodeError) and type(unraisable.object) is bytes:
            return None
        return otherwise(unraisable)

    return hook


def _reason(error: ssl.SSLError, certfile: str, key: str, asked: list[str], password: str | None) -> str:
    """Say in words what is wrong with a certificate or its key."""
    reason = error.reason or ""
    if "MISMATCH" in reason:
        return f"the key {key} is not that of the certificate {certfile}: name the pair that belongs together"
    if asked and password is None:
        return f"the key {key} is encrypted: give its password with --keyfile-password"
    if asked:
        return f"the key {key} cannot be decrypted: correct --keyfile-password"
    words = reason.replace("_", " ").lower() or str(error)
    return f"the certificate {certfile} with the key {key} cannot be used: {words}"


def _trust(context: ssl.SSLContext, path: str) -> None:
    """Trust the authorities in a file, for clients' certificates."""
    _read("--ca-certs", path)
    try:
        context.load_verify_locations(path)
    except OSError:
        raise FileError(
            f"--ca-certs {path} holds no certificates in PEM: name the authorities of your clients"
        ) from None


def _read(flag: str, path: str) -> bytes:
    try:
        return read_again(path)
    except OSError as error:
        raise FileError(f"{flag} {path} cannot be read: {error.strerror or error}") from None
