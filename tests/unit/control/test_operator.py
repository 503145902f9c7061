"""The control socket's lines: what is not understood says why, what is newer is not guessed at."""

import pytest

from smoothserve.control.operator import OPERATOR_VERSION, OperatorError, parse_line, parse_request, render_line


def test_a_line_survives_its_rendering() -> None:
    line = {"version": 1, "verb": "status", "text": "a\nb\u2028"}
    data = render_line(line)
    assert data.count(b"\n") == 1
    assert parse_line(data) == parse_request(data) == line


@pytest.mark.parametrize(
    "data",
    [b"", b"status", b"[]", b"{}", b"\xff", b'{"verb": "status"}', b'{"version": true, "verb": "status"}', b"[" * 9000],
)
def test_what_is_no_request_is_refused_with_words(data: bytes) -> None:
    with pytest.raises(OperatorError, match="not a"):
        parse_request(data)


def test_a_newer_language_is_refused_with_what_to_do() -> None:
    with pytest.raises(OperatorError, match="use its own smoothserve command"):
        parse_request(render_line({"version": OPERATOR_VERSION + 1, "verb": "status"}))
