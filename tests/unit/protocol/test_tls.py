"""Names of certificates as RFC 4514 has them."""

import pytest

from smoothserve.protocol.tls import Name, render_name


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ((), ""),
        (((("countryName", "DE"),), (("commonName", "Zoé"),)), "CN=Zoé,C=DE"),
        (((("organizationName", "A, B"),),), "O=A\\, B"),
        (((("commonName", 'a+b"c\\d<e>f;g=h'),),), 'CN=a\\+b\\"c\\\\d\\<e\\>f\\;g=h'),
        (((("commonName", " x "),),), "CN=\\ x\\ "),
        (((("commonName", "#1"),),), "CN=\\#1"),
        (((("commonName", " "),),), "CN=\\ "),
        (((("commonName", "a\r\nb\0"),),), "CN=a\\0D\\0Ab\\00"),
        (((("commonName", "x"), ("userId", "y")), (("emailAddress", "a@b"),)), "emailAddress=a@b,CN=x+UID=y"),
    ],
)
def test_a_name_is_rendered_with_its_last_part_first(name: Name, text: str) -> None:
    assert render_name(name) == text
