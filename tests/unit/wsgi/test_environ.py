"""The environ that an application sees (PEP 3333, RFC 3875)."""

from dataclasses import replace
from typing import Any

import pytest

from smoothserve.protocol.events import Request
from smoothserve.protocol.tls import TLSInfo
from tests.unit.wsgi.fakes import FakeConnection, Server, request


def environ_of(
    head: Request | None = None, body: bytes = b"", connection: FakeConnection | None = None, **options: Any
) -> dict[str, Any]:
    seen: list[dict[str, Any]] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        seen.append(environ)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b""]

    with Server(app, **options) as server:
        server.answer(head, body, connection)
    assert type(seen[0]) is dict
    return seen[0]


def test_it_holds_what_pep_3333_and_cgi_ask_for() -> None:
    environ = environ_of(request("GET", "/a/b?x=1&y=%20"))
    streams = {"wsgi.input", "wsgi.errors", "wsgi.file_wrapper"}
    assert {key: value for key, value in environ.items() if key not in streams} == {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a/b",
        "QUERY_STRING": "x=1&y=%20",
        "RAW_URI": "/a/b?x=1&y=%20",
        "REQUEST_URI": "/a/b?x=1&y=%20",
        "SERVER_NAME": "198.51.100.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.7",
        "REMOTE_PORT": "51000",
        "HTTP_HOST": "example.org",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
    }
    assert streams < set(environ)
    assert environ["wsgi.input"].read() == b""


def test_threads_and_processes_are_announced() -> None:
    environ = environ_of(threads=2, multiprocess=True)
    assert environ["wsgi.multithread"] is True
    assert environ["wsgi.multiprocess"] is True


def test_every_request_has_an_environ_of_its_own() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        seen = environ.get("mine", "nothing")
        environ["mine"] = "changed"
        environ["wsgi.url_scheme"] = "changed"
        return [seen.encode()]

    with Server(app) as server:
        assert server.answer().body == b"nothing"
        assert server.answer().body == b"nothing"


@pytest.mark.parametrize(
    ("target", "path_info"),
    [
        ("/a%20b", "/a b"),
        ("/%C3%A9", "/\xc3\xa9"),
        ("/a%2Fb", "/a/b"),
        ("/%zz", "/%zz"),
        ("/\xe9", "/\xe9"),
        ("//a//b", "//a//b"),
        ("/a;p=1", "/a;p=1"),
        ("*", ""),
        ("http://example.org/a%20b?q", "/a b"),
    ],
)
def test_path_info_is_decoded_bytes_as_latin_1(target: str, path_info: str) -> None:
    environ = environ_of(request("OPTIONS", target))
    assert environ["PATH_INFO"] == path_info
    assert environ["RAW_URI"] == environ["REQUEST_URI"] == target


@pytest.mark.parametrize(
    ("root_path", "target", "script_name", "path_info"),
    [
        ("/app", "/app/a", "/app", "/a"),
        ("/app/", "/app/a", "/app", "/a"),
        ("app", "/app/a", "/app", "/a"),
        ("/app", "/app", "/app", ""),
        ("/app", "/a", "/app", "/a"),
        ("/app", "/application", "/app", "/application"),
        ("/\xe9", "/%C3%A9/a", "/\xc3\xa9", "/a"),
        ("/", "/a", "", "/a"),
        ("", "/a", "", "/a"),
    ],
)
def test_the_root_path_is_script_name_and_no_part_of_path_info(
    root_path: str, target: str, script_name: str, path_info: str
) -> None:
    environ = environ_of(request(target=target), root_path=root_path)
    assert environ["SCRIPT_NAME"] == script_name
    assert environ["PATH_INFO"] == path_info


def test_fields_become_variables() -> None:
    environ = environ_of(
        request(
            "POST",
            headers=[
                (b"content-type", b"text/plain"),
                (b"x-one", b"1"),
                (b"x-one", b"2"),
                (b"x-one", b"3"),
                (b"cookie", b"a=1"),
                (b"cookie", b"b=2"),
                (b"x-latin", b"\xe9"),
                (b"x.odd!name", b"kept"),
            ],
            content_length=2,
        ),
        b"ab",
    )
    assert environ["CONTENT_TYPE"] == "text/plain"
    assert environ["CONTENT_LENGTH"] == "2"
    assert environ["HTTP_X_ONE"] == "1,2,3"
    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["HTTP_X_LATIN"] == "\xe9"
    assert environ["HTTP_X.ODD!NAME"] == "kept"
    assert "HTTP_CONTENT_TYPE" not in environ
    assert "HTTP_CONTENT_LENGTH" not in environ


def test_a_name_with_an_underscore_never_passes_for_one_with_a_dash() -> None:
    environ = environ_of(
        request(
            headers=[
                (b"x_forwarded_for", b"forged"),
                (b"x-forwarded-for", b"real"),
                (b"x-forwarded_for", b"forged"),
                (b"content_length", b"7"),
                (b"proxy", b"http://evil"),
            ]
        )
    )
    assert environ["HTTP_X_FORWARDED_FOR"] == "real"
    assert "HTTP_CONTENT_LENGTH" not in environ
    assert "CONTENT_LENGTH" not in environ
    assert "HTTP_PROXY" not in environ


def test_a_chunked_body_has_its_decoded_length() -> None:
    environ = environ_of(request("POST", chunked=True), b"twelve bytes")
    assert environ["CONTENT_LENGTH"] == "12"
    assert "HTTP_TRANSFER_ENCODING" not in environ
    assert environ["wsgi.input"].read() == b"twelve bytes"


def test_a_content_length_of_0_is_said() -> None:
    assert environ_of(request("POST", content_length=0))["CONTENT_LENGTH"] == "0"


@pytest.mark.parametrize(
    ("host", "scheme", "name", "port"),
    [
        (b"example.org", "http", "example.org", "80"),
        (b"example.org", "https", "example.org", "443"),
        (b"example.org:8080", "http", "example.org", "8080"),
        (b"[::1]", "http", "[::1]", "80"),
        (b"[::1]:81", "http", "[::1]", "81"),
        (b"", "http", "localhost", "80"),
    ],
)
@pytest.mark.parametrize("server", [("/run/app.sock", None), None])
def test_on_a_unix_socket_the_host_field_names_the_server(
    host: bytes, scheme: str, name: str, port: str, server: Any
) -> None:
    connection = FakeConnection()
    connection.server = server
    connection.client = None
    connection.scheme = scheme
    head = request()
    head.headers[0] = (b"host", host)
    environ = environ_of(head, connection=connection)
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == (name, port)
    assert environ["REMOTE_ADDR"] == ""
    assert "REMOTE_PORT" not in environ
    assert environ["wsgi.url_scheme"] == scheme


def test_what_is_remembered_of_clients_is_bounded() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [environ[f"HTTP_X_{environ['QUERY_STRING']}"].encode()]

    with Server(app) as server:
        long = "L" * 1000
        head = request(target=f"/?{long}", headers=[(b"x-" + long.lower().encode(), b"long")])
        assert server.answer(head).body == b"long"
        for number in range(600):
            connection = FakeConnection()
            connection.server = (f"198.51.100.{number}", 80)
            head = request(target=f"/?{number}", headers=[(b"x-%d" % number, b"%d" % number)])
            assert server.answer(head, connection=connection).body == b"%d" % number
        environs = server.application.environs
        assert len(environs._names) <= 512
        assert max(map(len, environs._names)) <= 64
        assert len(environs._templates) <= 64


def test_a_head_that_comes_again_has_the_same_environ_and_one_of_its_own() -> None:
    seen: list[dict[str, Any]] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        seen.append({**environ, "wsgi.input": None})
        environ["HTTP_HOST"] = environ["mine"] = "changed"
        start_response("200 OK", [])
        return [b""]

    head = request("GET", "/a?b", [(b"x-a", b"1"), (b"x-a", b"2")])
    with Server(app) as server:
        for _ in range(4):
            server.answer(head)
    assert seen[0] == seen[1] == seen[2] == seen[3]
    assert seen[0]["HTTP_X_A"] == "1,2"
    assert "mine" not in seen[3]


def test_a_head_that_comes_again_on_another_connection_has_that_ones_addresses() -> None:
    seen: list[dict[str, Any]] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        seen.append(environ)
        start_response("200 OK", [])
        return [b""]

    head = request()
    with Server(app) as server:
        for _ in range(3):
            usual, other, secure, local = (FakeConnection() for _ in range(4))
            other.client, other.server = ("203.0.113.9", 4), ("198.51.100.2", 81)
            secure.scheme = "https"
            local.client, local.server = None, ("/run/app.sock", None)
            for connection in (usual, other, secure, local):
                server.answer(head, b"", connection)
    keys = ("REMOTE_ADDR", "SERVER_NAME", "SERVER_PORT", "wsgi.url_scheme")
    found = [tuple(environ[key] for key in keys) for environ in seen]
    expected = [
        ("192.0.2.7", "198.51.100.1", "8000", "http"),
        ("203.0.113.9", "198.51.100.2", "81", "http"),
        ("192.0.2.7", "198.51.100.1", "8000", "https"),
        ("", "example.org", "80", "http"),
    ]
    assert found == expected * 3


def test_a_tls_session_has_the_variables_of_mod_ssl() -> None:
    seen: list[dict[str, Any]] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        seen.append(environ)
        start_response("200 OK", [])
        return [b""]

    plain = TLSInfo(version="TLSv1.3", cipher="TLS_AES_128_GCM_SHA256", cipher_number=0x1301)
    known = replace(
        plain, client_chain=("PEM", "CA"), client_subject="CN=Zoé", client_issuer="CN=CA", client_serial="1A"
    )
    head = request(headers=[(b"ssl-client-verify", b"SUCCESS")])
    with Server(app) as server:
        for tls in (plain, known, None) * 2:
            connection = FakeConnection()
            connection.tls = tls
            connection.scheme = "https" if tls is not None else "http"
            server.answer(head, b"", connection)
    ours = [{name: environ[name] for name in environ if name.startswith(("SSL_", "HTTPS"))} for environ in seen]
    session = {"HTTPS": "on", "SSL_PROTOCOL": "TLSv1.3", "SSL_CIPHER": "TLS_AES_128_GCM_SHA256"}
    client = {
        "SSL_CLIENT_VERIFY": "SUCCESS",
        "SSL_CLIENT_CERT": "PEM",
        "SSL_CLIENT_S_DN": "CN=Zo\u00c3\u00a9",  # bytes as latin-1, as all text of an environ
        "SSL_CLIENT_I_DN": "CN=CA",
        "SSL_CLIENT_M_SERIAL": "1A",
    }
    assert ours == [session | {"SSL_CLIENT_VERIFY": "NONE"}, session | client, {}] * 2
