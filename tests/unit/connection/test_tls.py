"""TLS: what the application is told, how connections begin and end, and that nobody can hold the server up."""

import asyncio
import contextlib
import json
import socket
import ssl
import warnings
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from smoothserve.connection.service import ProxyProtocol, Timeouts
from smoothserve.net.certificates import CertificateFiles, TLSOptions
from smoothserve.net.tls import ServerTLS
from smoothserve.protocol.forwarded import Forwarding, TrustedProxies
from tests.certificates import CLOSE_NOTIFY, RESET, TORN, Certificates, TLSClient
from tests.unit.connection.harness import Server, serving, until
from tests.unit.connection.test_handover import pair

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def secured(certificates: Certificates, **more: Any) -> dict[str, Any]:
    """Return the service's options for TLS."""
    files = CertificateFiles(*certificates.issue("server"))
    return {"tls": ServerTLS(TLSOptions(files, ca_certs=certificates.ca, **more))}


async def tell(scope: Any, receive: Any, send: Any) -> None:
    """Say what the scope says."""
    body = json.dumps({"scheme": scope["scheme"], "tls": scope["extensions"].get("tls")}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Send the body back."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def talk(
    run: Run,
    app: Any,
    options: dict[str, Any],
    conversation: Callable[[int], Any],
    check: Callable[[Server], Any] = lambda server: None,
    **more: Any,
) -> None:
    """Serve, hold a blocking conversation in a thread of its own, then look at the server."""

    async def scenario() -> None:
        async with serving(app, service_options=options, **more) as server:
            await asyncio.to_thread(conversation, server.port)
            await until(lambda: not server.service.connections and not server.service.attaching, 20)
            check(server)

    run(scenario())


def ask(client: TLSClient) -> dict[str, Any]:
    status, _, body = client.get()
    assert status == 200
    said: dict[str, Any] = json.loads(body)
    return said


def test_requests_are_answered_and_the_scope_says_how_they_came(
    run: Run, http: str, certificates: Certificates
) -> None:
    def conversation(port: int) -> None:
        with TLSClient(port, certificates.client()) as client:
            said = ask(client)
            assert said["scheme"] == "https"
            shown = client.sock.getpeercert(binary_form=True)
            assert shown is not None
            name = client.sock.cipher()
            assert name is not None
            numbers = {one["name"]: one["id"] & 0xFFFF for one in certificates.client().get_ciphers()}
            assert said["tls"] == {
                "server_cert": ssl.DER_cert_to_PEM_cert(shown),
                "client_cert_chain": [],
                "client_cert_name": None,
                "client_cert_error": None,
                "tls_version": 0x0304,
                "cipher_suite": numbers[name[0]],
            }
            assert ask(client) == said, "the connection is kept"

    talk(run, tell, secured(certificates), conversation, http=http)


def test_large_bodies_go_both_ways(run: Run, http: str, certificates: Certificates) -> None:
    body = bytes(range(256)) * 12_000

    def conversation(port: int) -> None:
        with TLSClient(port, certificates.client()) as client:
            for _ in range(3):
                client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body))
                client.send(body)
                assert client.answer()[2] == body

    talk(run, echo, secured(certificates), conversation, http=http)


def test_pipelined_requests_are_answered_in_order(run: Run, http: str, certificates: Certificates) -> None:
    parts = [b"%d" % number * (number * 997) for number in range(1, 60)]

    def conversation(port: int) -> None:
        with TLSClient(port, certificates.client()) as client:
            client.send(
                b"".join(
                    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(part), part) for part in parts
                )
            )
            assert [client.answer()[2] for _ in parts] == parts

    talk(run, echo, secured(certificates), conversation, http=http)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_are_spoken_and_alpn_says_http(
    run: Run, certificates: Certificates, version: ssl.TLSVersion
) -> None:
    def conversation(port: int) -> None:
        context = certificates.client(minimum_version=version, maximum_version=version)
        context.set_alpn_protocols(["h2", "http/1.1"])
        with TLSClient(port, context) as client:
            assert ask(client)["tls"]["tls_version"] == {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}[client.sock.version()]  # type: ignore[index]
            assert client.sock.selected_alpn_protocol() == "http/1.1"

    talk(run, tell, secured(certificates), conversation)


def old_client(certificates: Certificates) -> ssl.SSLContext:
    """Return a context that speaks TLS 1.1 and no more."""
    context = certificates.client()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def test_tls_1_1_is_refused_with_an_alert_and_one_line(run: Run, certificates: Certificates) -> None:
    def conversation(port: int) -> None:
        with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
            TLSClient(port, old_client(certificates))

    def check(server: Server) -> None:
        (line,) = server.records.lines
        assert line.startswith("INFO TLS handshake failed: unsupported protocol (client ('127.0.0.1', ")

    talk(run, tell, secured(certificates), conversation, check)


def test_the_minimum_can_be_tls_1_3(run: Run, certificates: Certificates) -> None:
    def conversation(port: int) -> None:
        with pytest.raises(ssl.SSLError):
            TLSClient(port, certificates.client(maximum_version=ssl.TLSVersion.TLSv1_2))
        with TLSClient(port, certificates.client()) as client:
            ask(client)

    talk(run, tell, secured(certificates, min_version="1.3"), conversation)


def test_each_name_has_its_certificate(run: Run, certificates: Certificates) -> None:
    one = certificates.issue("one", "one.example")
    any_ = certificates.issue("any", "*.wild.example")
    sni = {"one.example": CertificateFiles(*one), "*.wild.example": CertificateFiles(*any_)}

    def conversation(port: int) -> None:
        # Each client verifies the name that it asks for.
        for host in ("one.example", "ONE.example", "a.wild.example", "localhost"):
            with TLSClient(port, certificates.client(), host=host) as client:
                shown = client.sock.getpeercert(binary_form=True)
                assert shown is not None
                assert ask(client)["tls"]["server_cert"] == ssl.DER_cert_to_PEM_cert(shown)
        for host in ("two.example", "a.b.wild.example", "wild.example"):
            with pytest.raises(ssl.SSLCertVerificationError, match="not valid for"):
                TLSClient(port, certificates.client(), host=host)
        anybody = certificates.client(check_hostname=False)
        with TLSClient(port, anybody, host="127.0.0.1") as client:  # an address: no name is sent
            ask(client)

    talk(run, tell, secured(certificates, sni=sni), conversation)


def test_clients_certificates_are_not_asked_for_by_default(run: Run, certificates: Certificates) -> None:
    mine = certificates.issue("me", "me@example.org")

    def conversation(port: int) -> None:
        with TLSClient(port, certificates.client(certificate=mine)) as client:
            assert ask(client)["tls"]["client_cert_chain"] == []

    talk(run, tell, secured(certificates), conversation)


@pytest.mark.parametrize("requirement", ["optional", "required"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_clients_certificate_reaches_the_application(
    run: Run, certificates: Certificates, requirement: str, version: ssl.TLSVersion
) -> None:
    mine = certificates.issue("me", "me@example.org", common_name="Zoé, of +1", organization_name="Us")

    def conversation(port: int) -> None:
        context = certificates.client(certificate=mine, maximum_version=version)
        with TLSClient(port, context) as client:
            said = ask(client)["tls"]
            assert said["client_cert_chain"][0].strip() == Path(mine[0]).read_text().strip()
            assert said["client_cert_name"].startswith("CN=Zoé\\, of \\+1,")
            assert said["client_cert_name"].endswith(",O=Us")
            assert said["client_cert_error"] is None

    talk(run, tell, secured(certificates, cert_reqs=requirement), conversation)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_what_a_client_puts_behind_its_certificate_does_not_reach_the_application(
    run: Run, certificates: Certificates, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    certificate, key = certificates.issue("me", "me@example.org")
    stranger = Path(Certificates(tmp_path).issue("other", "admin@example.org")[0]).read_text().strip()
    with_stranger = tmp_path / "chain.pem"
    with_stranger.write_text(Path(certificate).read_text() + stranger + "\n")

    def conversation(port: int) -> None:
        context = certificates.client(certificate=(str(with_stranger), key), maximum_version=version)
        with TLSClient(port, context) as client:
            chain = [one.strip() for one in ask(client)["tls"]["client_cert_chain"]]
            assert chain[0] == Path(certificate).read_text().strip()
            assert stranger not in chain

    talk(run, tell, secured(certificates, cert_reqs="required"), conversation)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_without_a_certificate_is_served_only_where_it_is_optional(
    run: Run, certificates: Certificates, version: ssl.TLSVersion
) -> None:
    def served(port: int) -> None:
        with TLSClient(port, certificates.client(maximum_version=version)) as client:
            assert ask(client)["tls"]["client_cert_chain"] == []

    def refused(port: int) -> None:
        # In TLS 1.3 the client learns of it with its first read: by an alert, not by a reset.
        with pytest.raises(ssl.SSLError, match=r"(?i)certificate.required|handshake.failure"):  # noqa: SIM117
            with TLSClient(port, certificates.client(maximum_version=version)) as client:
                client.get()

    def check(server: Server) -> None:
        assert "TLS handshake failed: peer did not return a certificate" in server.log
        assert server.service.requests == 0

    talk(run, tell, secured(certificates, cert_reqs="optional"), served)
    talk(run, tell, secured(certificates, cert_reqs="required"), refused, check)


@pytest.mark.parametrize("requirement", ["optional", "required"])
def test_a_strangers_certificate_is_refused(
    run: Run, certificates: Certificates, tmp_path: Path, requirement: str
) -> None:
    strange = Certificates(tmp_path).issue("me", "me@example.org")

    def conversation(port: int) -> None:
        with pytest.raises(ssl.SSLError, match=r"(?i)unknown.ca"):  # noqa: SIM117
            with TLSClient(port, certificates.client(certificate=strange)) as client:
                client.get()

    def check(server: Server) -> None:
        assert "TLS handshake failed: certificate verify failed" in server.log

    talk(run, tell, secured(certificates, cert_reqs=requirement), conversation, check)


# the end of a connection


def test_a_connection_ends_with_close_notify(run: Run, http: str, certificates: Certificates) -> None:
    def conversation(port: int) -> None:
        with TLSClient(port, certificates.client()) as client:
            assert client.get(Connection="close")[0] == 200
            assert client.rest() == (b"", CLOSE_NOTIFY)
        with TLSClient(port, certificates.client()) as client:
            client.send(b"nonsense\r\n\r\n")
            data, how = client.rest()
            assert data.startswith(b"HTTP/1.1 400")
            assert how == CLOSE_NOTIFY

    talk(run, tell, secured(certificates), conversation, http=http)


def test_an_idle_connection_ends_with_close_notify(run: Run, certificates: Certificates) -> None:
    def conversation(port: int) -> None:
        with TLSClient(port, certificates.client()) as client:
            ask(client)
            assert client.rest() == (b"", CLOSE_NOTIFY)

    talk(run, tell, secured(certificates), conversation, timeouts=Timeouts(keep_alive=1.5))


def test_the_answer_to_a_client_that_sends_on_is_not_lost_with_a_reset(run: Run, certificates: Certificates) -> None:
    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"no"})

    def conversation(port: int) -> None:
        with TLSClient(port, certificates.client()) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 400000\r\n\r\n")
            # More than fits anywhere, none of it is wanted, and the answer is read last.
            for _ in range(40):
                client.send(b"x" * 10_000)
            assert client.answer()[0::2] == (413, b"no")
            assert client.rest() == (b"", CLOSE_NOTIFY)

    talk(run, refuse, secured(certificates), conversation)


def test_a_broken_answer_is_not_ended_properly(run: Run, certificates: Certificates) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError

    def conversation(port: int) -> None:
        with TLSClient(port, certificates.client()) as client:
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            assert client.rest()[1] in (TORN, RESET)

    talk(run, broken, secured(certificates), conversation)


def test_a_client_that_says_goodbye_first_gets_its_answer(run: Run, certificates: Certificates) -> None:
    async def scenario() -> None:
        leave = asyncio.Event()

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            await leave.wait()
            await tell(scope, receive, send)

        def half_close(client: TLSClient) -> None:
            client.sock.setblocking(False)
            with pytest.raises(ssl.SSLWantReadError):
                client.sock.unwrap()
            client.sock.setblocking(True)

        async with serving(slow, service_options=secured(certificates)) as server:
            client = await asyncio.to_thread(TLSClient, server.port, certificates.client())
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: server.service.unanswered == 1)
            half_close(client)
            leave.set()
            # OpenSSL reads no further for this client; the bytes tell.
            raw = await asyncio.to_thread(drained, client.sock)
            assert raw > 100
            client.close()

    run(scenario())


def drained(sock: ssl.SSLSocket) -> int:
    """Count the bytes on the wire up to the end of the connection."""
    total = 0
    with socket.socket(fileno=sock.detach()) as raw:
        raw.settimeout(20)
        while data := raw.recv(65536):
            total += len(data)
    return total


def test_garbage_in_the_middle_ends_the_connection_with_one_line(run: Run, certificates: Certificates) -> None:
    def conversation(port: int) -> None:
        client = TLSClient(port, certificates.client())
        client.get()
        with socket.socket(fileno=client.sock.detach()) as raw:
            raw.settimeout(20)
            raw.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)
            while raw.recv(65536):
                pass

    def check(server: Server) -> None:
        (line,) = server.records.lines
        assert line.startswith("INFO TLS connection closed: decryption failed or bad record mac (client ('127.0.0.1'")

    talk(run, tell, secured(certificates), conversation, check)


def test_a_slow_reader_gets_everything_and_holds_the_application_back(run: Run, certificates: Certificates) -> None:
    part, count = b"x" * 65536, 400
    sent = []

    async def long(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(count):
            await send({"type": "http.response.body", "body": part, "more_body": True})
            sent.append(number)
        await send({"type": "http.response.body", "body": b""})

    async def scenario() -> None:
        async with serving(long, service_options=secured(certificates)) as server:
            client = await asyncio.to_thread(TLSClient, server.port, certificates.client())
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            await until(lambda: any(not one.writable for one in server.service.connections))
            assert len(sent) < count, "the application does not wait"
            data, how = await asyncio.to_thread(client.rest)
            assert data.endswith(b"\r\n\r\n" + part * count)
            assert how == CLOSE_NOTIFY
            client.close()
            sent.clear()

    run(scenario())


def test_a_client_that_takes_nothing_is_cut_off(run: Run, certificates: Certificates) -> None:
    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})

    async def scenario() -> None:
        options = secured(certificates)
        async with serving(endless, service_options=options, timeouts=Timeouts(write=0.5)) as server:
            client = await asyncio.to_thread(TLSClient, server.port, certificates.client())
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            await until(lambda: "the client took nothing of its answer for 0.5 s" in server.log, 20)
            await until(lambda: not server.service.connections)
            assert (await asyncio.to_thread(client.rest))[1] in (TORN, RESET)
            client.close()

    run(scenario())


# what is no handshake


def test_plain_http_is_told_what_the_port_speaks(run: Run, certificates: Certificates) -> None:
    def conversation(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), 20) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while data := sock.recv(65536):
                answer += data
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert f"Content-Length: {len(body)}".encode() in head
        assert b"https://" in body

    def check(server: Server) -> None:
        (line,) = server.records.lines
        assert line.startswith("INFO plain HTTP on a port that speaks TLS: answered with 400 (client ")

    talk(run, tell, secured(certificates), conversation, check)


@pytest.mark.parametrize("words", [b"\x16\x03\x01\x00\x05hello", b"\x80\x2e\x01", bytes(range(128, 256)) * 300])
def test_what_is_no_tls_is_one_line(run: Run, certificates: Certificates, words: bytes) -> None:
    def conversation(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), 20) as sock:
            sock.sendall(words)
            sock.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                while sock.recv(65536):
                    pass

    def check(server: Server) -> None:
        assert len(server.records.lines) == 1
        assert "TLS handshake" in server.log
        assert "Traceback" not in server.log

    talk(run, tell, secured(certificates), conversation, check)


def test_a_slow_handshake_has_its_time_and_counts_as_nothing_served(run: Run, certificates: Certificates) -> None:
    def conversation(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), 20) as silent, TLSClient(port, certificates.client()) as one:
            silent.sendall(b"\x16\x03")
            ask(one)
            assert silent.recv(100) == b""

    def check(server: Server) -> None:
        assert server.service.requests == 1
        (line,) = server.records.lines
        assert line.startswith("DEBUG TLS handshake not completed: it took too long (client ")

    talk(run, tell, secured(certificates), conversation, check, timeouts=Timeouts(head=2.0))


def test_a_handshake_that_goes_nowhere_does_not_block_a_drain(run: Run, certificates: Certificates) -> None:
    async def scenario() -> None:
        async with serving(tell, service_options=secured(certificates)) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            await until(lambda: len(server.service.attaching) == 1)
            empty = asyncio.Event()
            server.acceptor.stop()
            server.service.begin_drain(0.2, empty.set)
            async with asyncio.timeout(10):
                await empty.wait()
            writer.close()

    run(scenario())


def test_a_handshake_that_began_before_a_drain_is_completed_and_its_request_answered(
    run: Run, certificates: Certificates
) -> None:
    async def scenario() -> None:
        async with serving(tell, service_options=secured(certificates)) as server:
            raw = await asyncio.to_thread(socket.create_connection, ("127.0.0.1", server.port), 20)
            await until(lambda: len(server.service.attaching) == 1)
            server.acceptor.stop()
            server.service.begin_drain(20, lambda: None)

            def conversation() -> None:
                with certificates.client().wrap_socket(
                    raw, server_hostname="localhost", suppress_ragged_eofs=False
                ) as sock:
                    sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                    answer = b""
                    while data := sock.recv(65536):
                        answer += data
                assert answer.startswith(b"HTTP/1.1 200")
                assert b"connection: close" in answer

            await asyncio.to_thread(conversation)

    run(scenario())


# beside what else there is


def test_a_draining_worker_keeps_tls_connections_to_itself(run: Run, certificates: Certificates) -> None:
    """The successor takes plain connections only; one of TLS gets an answer with Connection: close, or lingers."""

    async def scenario() -> None:
        async with pair("auto", service_options=secured(certificates)) as both:
            service = both.old.service
            busy, idle = [await asyncio.to_thread(TLSClient, both.old.port, certificates.client()) for _ in range(2)]
            await until(lambda: len(service.connections) == 2)
            both.link()
            both.old.acceptor.stop()
            service.begin_drain(2.0, both.empty.set)
            await until(both.settled.is_set)  # the reload does not wait for them
            status, fields, body = await asyncio.to_thread(busy.get)
            assert (status, body, fields["connection"]) == (200, b"old", "close")
            assert await asyncio.to_thread(busy.rest) == (b"", CLOSE_NOTIFY)
            assert await asyncio.to_thread(idle.rest) == (b"", CLOSE_NOTIFY)
            busy.close()
            idle.close()
            await until(both.empty.is_set)
            assert service.handed_over == service.dropped == both.new.service.adopted == 0

    run(scenario())


def test_a_proxy_header_comes_before_tls(run: Run, certificates: Certificates) -> None:
    async def who(scope: Any, receive: Any, send: Any) -> None:
        body = json.dumps([scope["client"], scope["scheme"]]).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    header = b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n"
    options = secured(certificates) | {"proxy": ProxyProtocol("v1", TrustedProxies(["127.0.0.1"]))}

    def conversation(port: int) -> None:
        with TLSClient(port, certificates.client(), first=header) as client:
            assert json.loads(client.get()[2]) == [["203.0.113.7", 4711], "https"]
        with pytest.raises(OSError, match=r"."):
            TLSClient(port, certificates.client())

    talk(run, who, options, conversation)


def test_a_proxy_that_speaks_tls_may_say_that_its_client_does_not(run: Run, certificates: Certificates) -> None:
    forwarding = Forwarding(("x-forwarded-proto",), TrustedProxies(["127.0.0.1"]), lambda line: None)

    def conversation(port: int) -> None:
        with TLSClient(port, certificates.client()) as client:
            assert json.loads(client.get(**{"X-Forwarded-Proto": "http"})[2])["scheme"] == "http"
            assert ask(client)["scheme"] == "https"

    talk(run, tell, secured(certificates) | {"forwarding": forwarding}, conversation)


def test_connections_without_tls_have_no_such_extension(run: Run) -> None:
    async def scenario() -> None:
        async with serving(tell) as server:
            _, _, body = await server.ask(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert json.loads(body) == {"scheme": "http", "tls": None}

    run(scenario())
