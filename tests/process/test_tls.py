"""TLS in a real server: certificates that come and go with reloads, connections that end properly, nothing dropped."""

import json
import re
import socket
import ssl
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import CLOSE_NOTIFY, Certificates, TLSClient
from tests.load.runner import Load
from tests.load.scenarios import get_and_post, streams, uploads
from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.harness import Server, assert_nothing_dropped, clean_environ
from tests.property.frames import frame

QUICK = ("--soak-interval", "0.05")

#: Says what a scope or an environ says of TLS.
TELLING = """\
import json


async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": json.dumps([scope["scheme"], scope["extensions"]["tls"]])})
        while (await receive())["type"] != "websocket.disconnect":
            pass
        return
    assert scope["type"] == "http"
    body = json.dumps([scope["scheme"], scope["extensions"]["tls"]]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def wsgi(environ, start_response):
    ours = ("wsgi.url_scheme", "HTTPS", "SSL_")
    body = json.dumps({name: value for name, value in environ.items() if name.startswith(ours)}).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "certificates")


@pytest.fixture
def telling(directory: AppDirectory) -> AppDirectory:
    directory.write("app.py", TELLING)
    return directory


def shown(server: Server, certificates: Certificates) -> bytes:
    """Return the certificate that a new connection gets."""
    with TLSClient(server.port, certificates.client()) as client:
        found = client.sock.getpeercert(binary_form=True)
    assert found is not None
    return found


def in_file(path: str) -> bytes:
    return ssl.PEM_cert_to_DER_cert(Path(path).read_text())


# reloads


@pytest.mark.parametrize("loop", [pytest.param("asyncio", marks=pytest.mark.full), "uvloop"])
def test_reloads_drop_nothing_of_tls(
    serve: Serve, directory: AppDirectory, certificates: Certificates, loop: str
) -> None:
    """Each connection gets an answer with Connection: close, and close_notify behind it: a torn end would count."""
    server = serve(directory, "--workers", "2", "--loop", loop, *certificates.options, *QUICK)
    target = replace(server.target, tls=certificates.client())
    with Load(target, get_and_post(24), streams(4, parts=25, gap=0.05), uploads(2, parts=10, gap=0.05)) as load:
        load.wait_version("1")
        for version in ("2", "3"):
            load.wait_answers(50)
            directory.deploy(version)
            server.reload()
            load.wait_version(version)
            # Each client, those with streams too, comes with a new connection before the next reload.
            generation = int(version)
            load.wait_until(lambda report, least=generation * 30: report.connections_opened >= least)  # type: ignore[misc]
        load.wait_answers(50)
    assert_nothing_dropped(load.report, "1", "2", "3")
    assert load.report.connections_opened >= 3 * 30, "connections of TLS stay with their worker"
    server.wait_drained()
    assert re.findall(r"(\d+) connections? handed over", server.log()) == ["0", "0"]


def test_reloads_drop_nothing_of_wsgi_over_tls(serve: Serve, tmp_path: Path, certificates: Certificates) -> None:
    directory = AppDirectory(tmp_path / "wsgi", app="wsgi_load")
    server = serve(directory, "--workers", "2", "--threads", "4", *certificates.options, *QUICK)
    with Load(replace(server.target, tls=certificates.client()), get_and_post(16), streams(2)) as load:
        load.wait_version("1")
        directory.deploy("2")
        server.reload()
        load.wait_version("2")
        load.wait_answers(50)
    assert_nothing_dropped(load.report, "1", "2")
    server.wait_drained()


@pytest.mark.parametrize("loop", [pytest.param("asyncio", marks=pytest.mark.full), "uvloop"])
def test_an_idle_connection_lingers_and_ends_with_close_notify(
    serve: Serve, telling: AppDirectory, certificates: Certificates, loop: str
) -> None:
    server = serve(telling, "--loop", loop, "--linger-timeout", "4", *certificates.options, *QUICK)
    context = certificates.client()
    with TLSClient(server.port, context) as idle, TLSClient(server.port, context) as asking:
        assert idle.get()[0] == asking.get()[0] == 200
        server.reload()  # does not wait for them
        status, fields, _ = asking.get()
        assert (status, fields["connection"]) == (200, "close")
        assert asking.rest() == (b"", CLOSE_NOTIFY)
        assert idle.rest() == (b"", CLOSE_NOTIFY)
    server.wait_drained()
    assert " 0 requests dropped so far" in server.log()


def test_a_handshake_that_goes_nowhere_holds_up_neither_a_reload_nor_the_drain(
    serve: Serve, telling: AppDirectory, certificates: Certificates
) -> None:
    server = serve(telling, "--linger-timeout", "0.5", *certificates.options, *QUICK)
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.sendall(b"\x16\x03\x01")
        with TLSClient(server.port, certificates.client()) as client:  # so that the other one is accepted, too
            client.get()
        server.reload()
        server.wait_drained(20)


def test_a_websocket_over_tls_is_closed_with_1012_after_a_reload(
    serve: Serve, telling: AppDirectory, certificates: Certificates
) -> None:
    drain = ("--websocket-drain-timeout", "0.5", "--websocket-close-spread", "0", "--websocket-handover", "reenter")
    server = serve(telling, *drain, *certificates.options, *QUICK)
    with TLSClient(server.port, certificates.client()) as client:
        client.send(
            b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert client.answer()[0] == 101
        first, payload = read_frame(client)
        assert first == 0x81
        scheme, tls = json.loads(payload)
        assert scheme == "wss"
        assert tls["tls_version"] == 0x0304
        server.reload()
        first, payload = read_frame(client)
        assert (first, struct.unpack("!H", payload[:2])) == (0x88, (1012,))
        client.send(frame(0x88, payload[:2]))
        assert client.rest() == (b"", CLOSE_NOTIFY)
    server.wait_drained()


def read_frame(client: TLSClient) -> tuple[int, bytes]:
    first, size = client.take(2)
    if size == 126:
        (size,) = struct.unpack("!H", client.take(2))
    return first, client.take(size)


# certificates


def test_a_reload_takes_a_renewed_certificate_and_is_refused_over_a_bad_one(
    serve: Serve, telling: AppDirectory, certificates: Certificates
) -> None:
    server = serve(telling, "--workers", "2", *certificates.options, *QUICK)
    _, certificate, _, key = certificates.options
    first = shown(server, certificates)
    assert first == in_file(certificate)
    certificates.issue("server")
    assert shown(server, certificates) == first, "not before a reload"
    server.reload()
    renewed = in_file(certificate)
    assert renewed != first
    assert all(shown(server, certificates) == renewed for _ in range(4))
    # A key that does not belong to it, no certificate at all, none that may be read.
    Path(key).write_bytes(Path(certificates.issue("other")[1]).read_bytes())
    assert "is not that of the certificate" in server.reload_refused()
    assert shown(server, certificates) == renewed
    Path(certificate).unlink()
    assert f"--certfile {certificate} cannot be read: No such file or directory" in server.reload_refused()
    assert shown(server, certificates) == renewed
    certificates.issue("server")
    server.reload()
    assert shown(server, certificates) == in_file(certificate) != renewed


def test_an_expired_certificate_is_served_with_a_warning(
    serve: Serve, telling: AppDirectory, certificates: Certificates
) -> None:
    certificate, key = certificates.expired("old")
    server = serve(telling, "--workers", "2", "--certfile", certificate, "--keyfile", key)
    with TLSClient(server.port, certificates.client(check_hostname=False, verify_mode=ssl.CERT_NONE)) as client:
        assert client.get()[0] == 200
    (line,) = re.findall(r"\[WARNING\] (.*)", server.log())
    assert line == f"the certificate {certificate} has expired on 2021-02-03: renew it"


def test_a_bad_certificate_at_the_start_is_one_line_and_an_exit_code(
    serve: Serve, telling: AppDirectory, certificates: Certificates
) -> None:
    certificate, _ = certificates.issue("server")
    _, key = certificates.issue("other")
    server = serve(telling, "--certfile", certificate, "--keyfile", key, wait=False)
    server.exit_code_expected = 6
    assert server.wait_exit() == 6
    assert server.log() == (
        f"smoothserve: error: the key {key} is not that of the certificate {certificate}: "
        "name the pair that belongs together\n"
    )


def test_check_config_looks_at_certificates(telling: AppDirectory, certificates: Certificates) -> None:
    def check(certificate: str, key: str, *more: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "smoothserve", "app:app", "--check-config", "--certfile", certificate]
        options: dict[str, Any] = {"cwd": telling.path, "env": clean_environ({}), "text": True, "capture_output": True}
        result = subprocess.run([*command, "--keyfile", key, *more], check=False, timeout=60, **options)
        return result.returncode, result.stdout + result.stderr

    good, old = certificates.issue("good"), certificates.expired("old")
    assert check(*good) == (0, "ok\n")
    code, said = check(*old)
    assert code == 0
    assert f"smoothserve: warning: the certificate {old[0]} has expired on 2021-02-03: renew it\n" in said
    code, said = check(*good, "--sni", f"a.example={good[0]}:{old[1]}")
    assert code == 6
    assert "is not that of the certificate" in said


def test_reloads_turn_tls_on_and_off(serve: Serve, telling: AppDirectory, certificates: Certificates) -> None:
    """What is open goes on as it began."""
    telling.write("app.py", TELLING.replace('["extensions"]["tls"]', '["extensions"].get("tls") is not None'))
    certificate, key = certificates.issue("server")
    off, on = "", f"certfile = {json.dumps(certificate)}\nkeyfile = {json.dumps(key)}\n"
    telling.write("smoothserve.toml", off)
    server = serve(telling, "--config", "smoothserve.toml", "--linger-timeout", "1", *QUICK)
    with socket.create_connection(("127.0.0.1", server.port), 20) as plain:
        telling.write("smoothserve.toml", on)
        server.reload()
        server.wait_drained()
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert plain.recv(65536).endswith(b'["http", false]')
        with TLSClient(server.port, certificates.client()) as client:
            assert json.loads(client.get()[2]) == ["https", True]
            telling.write("smoothserve.toml", off)
            server.reload()
            plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert plain.recv(65536).endswith(b'["http", false]')
            assert client.rest() == (b"", CLOSE_NOTIFY)


# what the application sees


def test_an_application_sees_its_clients_certificate(
    serve: Serve, telling: AppDirectory, certificates: Certificates
) -> None:
    mine = certificates.issue("me", "me@example.org", common_name="Zoé", organization_name="Us")
    options = (*certificates.options, "--ssl-ca-certs", certificates.ca, "--ssl-cert-reqs", "2")
    pem = Path(mine[0]).read_text().strip()
    server = serve(telling, *options)
    with pytest.raises(ssl.SSLError), TLSClient(server.port, certificates.client()) as stranger:
        stranger.get()
    with TLSClient(server.port, certificates.client(certificate=mine)) as client:
        scheme, tls = json.loads(client.get()[2])
    assert scheme == "https"
    assert tls["client_cert_chain"][0].strip() == pem
    assert re.fullmatch(r"CN=Zoé,OU=[^,]*,O=Us", tls["client_cert_name"])
    assert server.stop() == 0

    wsgi = serve(telling, *options, "--threads", "2", app="app:wsgi")
    with TLSClient(wsgi.port, certificates.client(certificate=mine)) as client:
        for _ in range(3):
            environ = json.loads(client.get()[2])
            assert environ["wsgi.url_scheme"] == "https"
            assert environ["HTTPS"] == "on"
            assert environ["SSL_PROTOCOL"] == "TLSv1.3"
            assert environ["SSL_CIPHER"].startswith("TLS_")
            assert environ["SSL_CLIENT_VERIFY"] == "SUCCESS"
            assert environ["SSL_CLIENT_CERT"].strip() == pem
            assert environ["SSL_CLIENT_S_DN"].startswith("CN=Zo\u00c3\u00a9,")
            assert environ["SSL_CLIENT_I_DN"]


def test_a_unix_socket_speaks_tls_as_well(
    serve: Serve, telling: AppDirectory, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("s") / "s"
    serve(telling, *certificates.options, bind=f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(20)
        raw.connect(str(path))
        with certificates.client().wrap_socket(raw, server_hostname="localhost") as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = b""
            while data := sock.recv(65536):
                answer += data
    assert b"https" in answer
