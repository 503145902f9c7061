"""What an application's name, an address, a header, a path may look like, and the hint for what it may not."""

from collections.abc import Callable

import pytest

from smoothserve.settings.checks import (
    check_app,
    check_bind,
    check_env,
    check_header,
    check_host,
    check_mode,
    check_root_path,
)
from smoothserve.settings.kinds import NotAllowedError


def refusal(check: Callable[[str], str], text: str) -> str:
    with pytest.raises(NotAllowedError) as caught:
        check(text)
    return str(caught.value)


@pytest.mark.parametrize("text", ["app:app", "pkg.mod:obj.app", "_a1:_b2", "my-app.main:app", "größe:äpp"])
def test_an_application_is_a_module_and_an_attribute(text: str) -> None:
    assert check_app(text) == text


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("app.py", "did you mean app:app?"),
        ("app.py:api", "did you mean app:api?"),
        ("dir/app.py:app", "did you mean dir.app:app?"),
        ("./dir/app.py", "did you mean dir.app:app?"),
        ("dir/sub/app", "did you mean dir.sub.app:app?"),
        ("/srv/x/app.py:api", "did you mean app:api --app-dir /srv/x?"),
        ("../app.py", "did you mean app:app --app-dir ..?"),
        ("/app.py", "did you mean app:app --app-dir /?"),
    ],
)
def test_a_file_for_an_application_gets_the_module_as_a_hint(text: str, hint: str) -> None:
    assert refusal(check_app, text).endswith(hint)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("myapp", "write MODULE:ATTR, such as myapp:app"),
        ("myapp:", "such as myapp:app"),
        ("pkg.mod", "such as pkg.mod:app"),
        ("mod:make()", "write mod:make --factory"),
        ("mod:make('x')", "write mod:make --factory"),
    ],
)
def test_an_application_without_an_attribute_or_with_a_call_gets_a_hint(text: str, hint: str) -> None:
    assert refusal(check_app, text).endswith(hint)


@pytest.mark.parametrize(
    "text", ["", ":app", "a..b:app", ".a:app", "a:b c", "a:1", "a:b:c", "a b:app", "a:b-c", "a:b."]
)
def test_what_is_no_application_is_refused(text: str) -> None:
    assert "MODULE:ATTR" in refusal(check_app, text)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("127.0.0.1:8000", "127.0.0.1:8000"),
        ("localhost:0", "localhost:0"),
        ("example.org:65535", "example.org:65535"),
        (":8000", "0.0.0.0:8000"),
        ("0.0.0.0:080", "0.0.0.0:80"),
        ("[::1]:8000", "[::1]:8000"),
        ("[::]:8000", "[::]:8000"),
        ("[fe80::1%eth0]:8000", "[fe80::1%eth0]:8000"),
        ("unix:/run/app.sock", "unix:/run/app.sock"),
        ("unix:///run/app.sock", "unix:/run/app.sock"),
        ("unix:app.sock", "unix:app.sock"),
        ("fd://3", "fd://3"),
        (" 127.0.0.1:1 ", "127.0.0.1:1"),
    ],
)
def test_an_address_has_a_normal_form(text: str, normal: str) -> None:
    assert check_bind(text) == normal
    assert check_bind(normal) == normal


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("8000", "write 127.0.0.1:8000, or :8000 for all interfaces"),
        ("localhost", "write localhost:8000"),
        ("[::1]", "write [::1]:8000"),
        ("::1", "needs brackets and a port: write [::1]:8000"),
        ("::1:8000", "needs brackets around the address: write [::1]:8000"),
        ("2001:db8::7:443", "needs brackets around the address: write [2001:db8::7]:443"),
        ("*:8000", "write 0.0.0.0"),
        ("127.0.0.1:65536", "with a port from 0 to 65535"),
        ("127.0.0.1:http", "with a port from 0 to 65535"),
        ("127.0.0.1:-1", "with a port from 0 to 65535"),
        ("[127.0.0.1]:80", "no IPv6 address in its brackets"),
        ("http://localhost:8000", "host:port, [ipv6]:port, unix:/path or fd://N"),
        ("a b:80", "host:port, [ipv6]:port, unix:/path or fd://N"),
        ("", "host:port, [ipv6]:port, unix:/path or fd://N"),
        ("unix:", "names no path"),
        ("fd:3", "such as fd://3"),
        ("fd://stdin", "such as fd://3"),
        ("fd://-1", "such as fd://3"),
    ],
)
def test_a_bad_address_is_told_how_to_be_written(text: str, hint: str) -> None:
    assert hint in refusal(check_bind, text)


@pytest.mark.parametrize(
    ("text", "normal"), [("::1", "[::1]"), ("[::1]", "[::1]"), ("localhost", "localhost"), ("0.0.0.0", "0.0.0.0")]
)
def test_a_host_may_be_ipv6_with_or_without_brackets(text: str, normal: str) -> None:
    assert check_host(text) == normal


@pytest.mark.parametrize("text", ["", " ", "localhost:80", "*", "http://x", "[zz]"])
def test_what_is_no_host_is_refused(text: str) -> None:
    assert "host name or an address" in refusal(check_host, text)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("X-Frame-Options: DENY", "X-Frame-Options: DENY"),
        ("server:mine", "server: mine"),
        ("X-Empty:", "X-Empty: "),
        ("X-Colons: a:b:c ", "X-Colons: a:b:c"),
        ("X-Latin: \xe9", "X-Latin: \xe9"),
    ],
)
def test_a_header_has_a_normal_form(text: str, normal: str) -> None:
    assert check_header(text) == normal
    assert check_header(normal) == normal


@pytest.mark.parametrize(
    "text",
    ["X-No-Colon", ": value", "X Y: z", "X\r\nY: z", "X: a\r\nY: b", "X: a\nb", "X: a\0b", "X: \u20ac", "\xe9: a"],
)
def test_a_header_that_could_break_a_response_is_refused(text: str) -> None:
    refusal(check_header, text)


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "CONNECTION", "Date", "Keep-Alive", "Upgrade"])
def test_a_header_that_the_server_sets_itself_is_refused(name: str) -> None:
    assert "the server sets" in refusal(check_header, f"{name}: x")


def test_an_environment_variable_is_a_name_and_a_value() -> None:
    for text in ("A=b", "A=", "A=b=c", "A= spaced value "):
        assert check_env(text) == text
    for text in ("A", "=b", "", "A B=c"):
        assert "NAME=VALUE" in refusal(check_env, text)


def test_a_root_path_begins_with_a_slash_and_does_not_end_with_one() -> None:
    assert [check_root_path(text) for text in ("", "/", "/api", "/api/", "/a/b")] == ["", "", "/api", "/api", "/a/b"]
    assert "write /api" in refusal(check_root_path, "api")
    for text in ("/a b", "/a?b", "/a#b", "/%20", "/a\r\nb"):
        refusal(check_root_path, text)


@pytest.mark.parametrize(("text", "mode"), [("660", "660"), ("0660", "660"), ("0o600", "600"), ("0", "000")])
def test_a_mode_is_octal_digits(text: str, mode: str) -> None:
    assert check_mode(text) == mode


@pytest.mark.parametrize("text", ["", "rw", "888", "4755", "-660", "6 6"])
def test_anything_else_is_no_mode(text: str) -> None:
    with pytest.raises(NotAllowedError):
        check_mode(text or "x")
