"""Certificates and keys that cannot be used are one line that says what to do; an expired one is a warning."""

import os
import re
import ssl
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from smoothserve.errors import FileError, SettingsError, SmoothserveError
from smoothserve.net.certificates import CertificateFiles, TLSOptions
from smoothserve.net.tls import ServerTLS
from tests.certificates import Certificates


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


def options(files: tuple[str, str | None], **more: object) -> TLSOptions:
    return TLSOptions(CertificateFiles(*files), **more)  # type: ignore[arg-type]


def encrypt(path: str, password: str) -> None:
    key = load_pem_private_key(Path(path).read_bytes(), None)
    encryption = BestAvailableEncryption(password.encode())
    Path(path).write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))


def refusal(tls: TLSOptions, kind: type[SmoothserveError] = FileError) -> str:
    with pytest.raises(kind) as caught:
        ServerTLS(tls)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_certificate_and_its_key_are_read_from_two_files_or_one(certificates: Certificates) -> None:
    certificate, key = certificates.issue("a")
    assert ServerTLS(options((certificate, key))).warnings == []
    both = certificates.directory / "both.pem"
    both.write_bytes(Path(certificate).read_bytes() + Path(key).read_bytes())
    assert ServerTLS(options((str(both), None))).warnings == []


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("no certificate", "--certfile .*a.pem cannot be read: No such file or directory"),
        ("no key", "--keyfile .*a.key cannot be read: No such file"),
        ("empty certificate", "--certfile .*a.pem holds no certificate in PEM"),
        ("a key for a certificate", "a.pem holds no certificate"),
        ("a certificate for a key", "a.key holds no private key in PEM"),
        ("cut certificate", "a.pem with the key .*a.key cannot be used: "),
        ("another's key", "the key .*a.key is not that of the certificate .*a.pem"),
        ("an encrypted key", "the key .*a.key is encrypted: give its password with --keyfile-password"),
    ],
)
def test_a_bad_pair_is_refused_in_one_line(certificates: Certificates, damage: str, said: str) -> None:
    certificate, key = map(Path, certificates.issue("a"))
    _, other = map(Path, certificates.issue("b"))
    pem = certificate.read_bytes()
    lines = pem.splitlines()
    damages: dict[str, Callable[[], object]] = {
        "no certificate": lambda: certificate.unlink(),
        "no key": lambda: key.unlink(),
        "empty certificate": lambda: certificate.write_bytes(b""),
        "a key for a certificate": lambda: certificate.write_bytes(key.read_bytes()),
        "a certificate for a key": lambda: key.write_bytes(pem),
        "cut certificate": lambda: certificate.write_bytes(b"\n".join([*lines[:3], *lines[5:]])),
        "another's key": lambda: key.write_bytes(other.read_bytes()),
        "an encrypted key": lambda: encrypt(str(key), "secret"),
    }
    damages[damage]()
    assert re.search(said, refusal(options((str(certificate), str(key)))))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("flag", ["--certfile", "--keyfile", "--ca-certs"])
def test_a_pipe_is_refused_at_once(certificates: Certificates, flag: str) -> None:
    certificate, key = certificates.issue("a")
    fifo = str(certificates.directory / "fifo")
    os.mkfifo(fifo)
    files = (fifo if flag == "--certfile" else certificate, fifo if flag == "--keyfile" else key)
    more = {"ca_certs": fifo} if flag == "--ca-certs" else {}
    assert re.match(rf"{flag} .*fifo cannot be read: it is no regular file", refusal(options(files, **more)))


def test_the_key_is_named_where_it_is_missing_from_the_one_file(certificates: Certificates) -> None:
    certificate, _ = certificates.issue("a")
    assert "holds no private key in PEM: name the key's file with --keyfile" in refusal(options((certificate, None)))


def test_an_encrypted_key_needs_the_right_password(certificates: Certificates) -> None:
    certificate, key = certificates.issue("a")
    encrypt(key, "secret")
    assert ServerTLS(options((certificate, key), keyfile_password="secret")).warnings == []
    said = refusal(options((certificate, key), keyfile_password="wrong"))
    assert said.endswith("a.key cannot be decrypted: correct --keyfile-password")


def test_authorities_and_ciphers_are_checked(certificates: Certificates) -> None:
    files = certificates.issue("a")
    Path(files[0] + ".not").write_text("no authority")
    assert "--ca-certs" in refusal(options(files, ca_certs=files[0] + ".not"))
    assert "cannot be read" in refusal(options(files, ca_certs="/nowhere/ca.pem"))
    assert "--ciphers NONE" in refusal(options(files, ciphers="NONE"), SettingsError)
    good = options(files, ca_certs=certificates.ca, cert_reqs="required", ciphers="ECDHE+AESGCM")
    assert ServerTLS(good).warnings == []


def test_the_certificates_of_names_are_checked_as_well(certificates: Certificates) -> None:
    bad = CertificateFiles(certificates.issue("b")[0], certificates.issue("c")[1])
    assert "is not that of" in refusal(options(certificates.issue("a"), sni={"b.example": bad}))


def test_an_expired_certificate_is_a_warning(certificates: Certificates) -> None:
    old = certificates.expired("old")
    (warning,) = ServerTLS(options(old)).warnings
    assert re.search(r"the certificate .*old.pem has expired on 2021-02-03: renew it", warning)
    assert ServerTLS(options(old), now=datetime(2021, 2, 2, tzinfo=UTC)).warnings == []


def test_authorities_that_nobody_is_asked_for_are_a_warning(certificates: Certificates) -> None:
    (warning,) = ServerTLS(options(certificates.issue("a"), ca_certs=certificates.ca)).warnings
    assert "--cert-reqs" in warning


def test_a_client_that_asks_for_a_name_of_any_bytes_is_refused_and_prints_nothing(
    certificates: Certificates, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    others: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: others.append(unraisable.exc_value))
    a, b = (CertificateFiles(*certificates.issue(name)) for name in ("a", "b"))
    server = ServerTLS(TLSOptions(a, sni={"b.example": b}))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client = context.wrap_bio(ssl.MemoryBIO(), hello := ssl.MemoryBIO(), server_hostname="aaaaaaaa.example")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    session = server.begin(incoming := ssl.MemoryBIO(), ssl.MemoryBIO())
    incoming.write(hello.read().replace(b"aaaaaaaa.example", b"aaa\xff\xfe\naa.example"))
    with pytest.raises(ssl.SSLError, match="callback failed"):
        session.do_handshake()
    assert capfd.readouterr() == ("", "")
    assert others == []

    class Bad:
        def __del__(self) -> None:
            raise ValueError("what else cannot be raised is told as before")

    Bad()
    assert len(others) == 1
