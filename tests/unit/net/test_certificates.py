"""Which files serve which names, and until when."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from smoothserve.net.certificates import (
    BadNameError,
    CertificateFiles,
    first_certificate,
    parse_sni,
    valid_until,
)
from tests.certificates import Certificates


@pytest.mark.parametrize(
    ("text", "host", "files"),
    [
        ("example.org=/a/cert.pem:/a/key.pem", "example.org", CertificateFiles("/a/cert.pem", "/a/key.pem")),
        ("Example.ORG.=both.pem", "example.org", CertificateFiles("both.pem")),
        ("*.example.org=a=b.pem", "*.example.org", CertificateFiles("a=b.pem")),
        ("bücher.example=x", "xn--bcher-kva.example", CertificateFiles("x")),
    ],
)
def test_a_name_and_its_files_are_read(text: str, host: str, files: CertificateFiles) -> None:
    assert parse_sni(text) == (host, files)


@pytest.mark.parametrize("text", ["", "a", "a=", "a=b:", "=b", "*=b", "a b=c", "*.*.a=c", "a..b=c", "-a=c", "a*=c"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(BadNameError):
        parse_sni(text)


def test_it_is_known_until_when_a_certificate_is_valid(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    pem = Path(certificates.expired("old")[0]).read_bytes()
    der = first_certificate(b"some text\n" + pem)
    assert der is not None
    assert valid_until(der) == datetime(2021, 2, 3, tzinfo=UTC)
    # After 2049 the time has four digits for its year.
    later = first_certificate(Path(certificates.issue("new", not_after=datetime(2077, 1, 1))[0]).read_bytes())  # noqa: DTZ001
    assert later is not None
    assert valid_until(later) == datetime(2077, 1, 1, tzinfo=UTC)


def test_what_is_no_certificate_has_no_end(tmp_path: Path) -> None:
    assert first_certificate(b"nothing") is None
    assert first_certificate(b"-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----") is None
    der = first_certificate(Path(Certificates(tmp_path).issue("a")[0]).read_bytes())
    assert der is not None
    for cut in range(0, len(der), 7):
        assert valid_until(der[:cut]) is None
