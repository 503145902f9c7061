"""Each outcome occurs, against a server that does exactly that: a class that cannot occur would be a defect."""

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.certificates import Certificates
from tests.load.connection import ConnectError, LoadConnection, LoadError, Target
from tests.load.misbehaving import Script, answer, body, read_head, read_token, reset, serve
from tests.load.outcomes import Outcome, Report
from tests.load.runner import event_loop_factory
from tests.load.scenarios import (
    Client,
    Run,
    Scenario,
    event_streams,
    get,
    head,
    http10,
    one_slow_request,
    pipelined,
    post,
    streams,
    uploads,
)


def run_clients(target: Target, *scenarios: Scenario, timeout: float = 5.0, until: float = 0.0) -> Report:
    """Run scenarios until each client has asked once, or has been stopped after `until` seconds."""

    async def main() -> Report:
        run = Run(target, timeout, limit=1)
        if until:
            asyncio.get_running_loop().call_later(until, run.stopping.set)
        return await run.go(scenarios)

    with asyncio.Runner(loop_factory=event_loop_factory()) as runner:
        return runner.run(main())


def one_get() -> Scenario:
    async def behave(client: Client) -> None:
        await client.ask(get(client))

    return Scenario("get", 1, behave)


def two_gets(pause: float = 0.0) -> Scenario:
    async def behave(client: Client) -> None:
        await client.ask(get(client))
        await client.pause(pause)
        await client.ask(get(client))

    return Scenario("gets", 1, behave)


def only(report: Report) -> Outcome:
    """The outcome of a run that is to have just one request."""
    assert sum(report.outcomes.values()) == 1, report.render()
    (outcome,) = report.outcomes
    return outcome


def outcome_of_get(script: Script, timeout: float = 5.0) -> Outcome:
    with serve(script) as target:
        return only(run_clients(target, one_get(), timeout=timeout))


def sending(render: Callable[[str], bytes]) -> Script:
    """A server that answers each request with what `render` makes of its token, and closes when that is odd."""

    def script(connection: socket.socket) -> None:
        connection.sendall(render(read_token(connection)))
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)

    return script


def test_a_whole_and_right_answer_is_ok_with_its_version_and_worker() -> None:
    with serve(sending(lambda token: answer(body(token)))) as target:
        report = run_clients(target, one_get())
    assert only(report) is Outcome.OK
    assert report.dropped == 0
    assert list(report.versions) == ["v1"]
    assert report.versions["v1"].pids
    assert report.latency(0.5) > 0


def test_a_chunked_answer_is_ok_in_any_pieces() -> None:
    def script(connection: socket.socket) -> None:
        content = body(read_token(connection))
        text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x;a=b\r\n%s\r\n0\r\nX: y\r\n\r\n"
        for byte in text % (len(content), content):
            connection.sendall(bytes([byte]))
        connection.recv(1)

    assert outcome_of_get(script) is Outcome.OK


def test_interim_answers_are_passed_over() -> None:
    script = sending(lambda token: b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + answer(body(token)))
    assert outcome_of_get(script) is Outcome.OK


def test_nobody_listening_is_connect_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = Target(port=listener.getsockname()[1])
    assert only(run_clients(target, one_get())) is Outcome.CONNECT_REFUSED


def test_no_socket_file_is_connect_refused(tmp_path: Path) -> None:
    assert only(run_clients(Target(path=str(tmp_path / "none")), one_get())) is Outcome.CONNECT_REFUSED


def test_a_full_accept_queue_is_connect_timeout(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")

    async def connect(target: Target) -> Outcome:
        opened: list[LoadConnection] = []
        try:
            while len(opened) < 8:
                opened.append(await LoadConnection.open(target, timeout=0.3))
        except ConnectError as error:
            return error.outcome
        finally:
            for connection in opened:
                connection.close()
        return Outcome.OK

    for family in (socket.AF_INET, socket.AF_UNIX):
        with socket.socket(family) as listener:
            listener.bind(path if family == socket.AF_UNIX else ("127.0.0.1", 0))
            listener.listen(0)
            target = Target(path=path) if family == socket.AF_UNIX else Target(port=listener.getsockname()[1])
            assert asyncio.run(connect(target)) is Outcome.CONNECT_TIMEOUT


def test_a_reset_while_connecting_is_connect_reset() -> None:
    async def main() -> Report:
        # The server is on the client's own loop, and readable before the client's socket is watched: it resets
        # the connection after the handshake and before the client has seen it.
        with socket.create_server(("127.0.0.1", 0)) as listener:
            loop = asyncio.get_running_loop()
            loop.add_reader(listener, lambda: reset(listener.accept()[0]))
            report = await Run(Target(port=listener.getsockname()[1]), 5.0).go([one_get()])
            loop.remove_reader(listener)
            return report

    assert only(asyncio.run(main())) is Outcome.CONNECT_RESET


def test_the_clients_own_trouble_is_no_outcome_but_an_error() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        run_clients(Target(host="224.0.0.1", port=9), one_get())
    assert caught.group_contains(LoadError)


def test_a_reset_between_the_parts_of_a_request_is_reset_on_write() -> None:
    def script(connection: socket.socket) -> None:
        read_head(connection)
        reset(connection)

    with serve(script) as target:
        report = run_clients(target, uploads(1, parts=2, gap=0.3))
    assert only(report) is Outcome.WRITE_RESET


def test_a_write_that_the_kernel_refuses_is_reset_on_write() -> None:
    async def behave(client: Client) -> None:
        await client.ask(get(client))
        # Blocks the loop, so that the reset is not read before the next request is written.
        time.sleep(0.3)
        await client.ask(get(client))

    def script(connection: socket.socket) -> None:
        connection.sendall(answer(body(read_token(connection))))
        time.sleep(0.1)
        reset(connection)

    with serve(script) as target:
        report = run_clients(target, Scenario("blocked", 1, behave))
    assert report.outcomes == {Outcome.OK: 1, Outcome.WRITE_RESET: 1}


def test_a_reset_after_the_request_is_reset_before_the_answer() -> None:
    def script(connection: socket.socket) -> None:
        read_head(connection)
        reset(connection)

    assert outcome_of_get(script) is Outcome.RESET_BEFORE_ANSWER


def test_a_close_after_the_request_is_eof_before_the_answer() -> None:
    def script(connection: socket.socket) -> None:
        read_head(connection)

    assert outcome_of_get(script) is Outcome.EOF_BEFORE_ANSWER


def test_a_close_that_meets_the_next_request_is_eof_before_the_answer() -> None:
    def script(connection: socket.socket) -> None:
        connection.sendall(answer(body(read_token(connection))))
        read_head(connection)

    with serve(script) as target:
        report = run_clients(target, two_gets())
    assert report.outcomes == {Outcome.OK: 1, Outcome.EOF_BEFORE_ANSWER: 1}
    assert report.connections_opened == 1


def test_a_head_that_stops_is_truncated_head() -> None:
    assert outcome_of_get(sending(lambda token: answer(body(token))[:20])) is Outcome.TRUNCATED_HEAD


def test_a_reset_in_the_head_is_truncated_head() -> None:
    def script(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200")
        time.sleep(0.1)
        reset(connection)

    assert outcome_of_get(script) is Outcome.TRUNCATED_HEAD


def test_a_body_that_stops_is_truncated_body() -> None:
    assert outcome_of_get(sending(lambda token: answer(body(token))[:-1])) is Outcome.TRUNCATED_BODY


def test_a_chunked_body_without_its_end_is_truncated_body() -> None:
    def render(token: str) -> bytes:
        content = body(token)
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(content), content)

    assert outcome_of_get(sending(render)) is Outcome.TRUNCATED_BODY


@pytest.mark.parametrize("missing", [1, 30])
def test_a_body_until_eof_that_is_too_short_is_truncated_body(missing: int) -> None:
    script = sending(lambda token: b"HTTP/1.0 200 OK\r\n\r\n" + body(token)[:-missing])
    assert outcome_of_get(script) is Outcome.TRUNCATED_BODY


@pytest.mark.parametrize("content", [b"", b"hello", b"v1 1 someone-else\n"])
def test_another_body_is_wrong_body(content: bytes) -> None:
    assert outcome_of_get(sending(lambda _: answer(content))) is Outcome.WRONG_BODY


def test_a_body_that_goes_on_too_long_is_wrong_body() -> None:
    assert outcome_of_get(sending(lambda token: answer(body(token) + b"x"))) is Outcome.WRONG_BODY


def test_an_upload_that_is_not_echoed_in_full_is_wrong_body() -> None:
    async def behave(client: Client) -> None:
        await client.ask(post(client))

    with serve(sending(lambda token: answer(body(token) + token.encode()))) as target:
        assert only(run_clients(target, Scenario("post", 1, behave))) is Outcome.WRONG_BODY


def test_swapped_answers_on_a_pipeline_are_wrong_order() -> None:
    def script(connection: socket.socket) -> None:
        data = b""
        while data.count(b"\r\n\r\n") < 3:
            data += connection.recv(65536)
        tokens = [line.split("/")[2].split(" ")[0] for line in data.decode().split("\r\n") if line[:3] == "GET"]
        connection.sendall(b"".join(answer(body(token)) for token in (tokens[0], tokens[2], tokens[1])))
        connection.recv(1)

    async def behave(client: Client) -> None:
        await client.ask(get(client), get(client), get(client))

    with serve(script) as target:
        report = run_clients(target, Scenario("row", 1, behave))
    assert report.outcomes == {Outcome.OK: 1, Outcome.WRONG_ORDER: 2}


def test_a_pipeline_that_is_left_half_answered_drops_the_other_half() -> None:
    def script(connection: socket.socket) -> None:
        connection.sendall(answer(body(read_token(connection)), "Connection: close"))

    with serve(script) as target:
        report = run_clients(target, pipelined(1, depth=3))
    assert report.outcomes[Outcome.EOF_BEFORE_ANSWER] + report.outcomes[Outcome.RESET_BEFORE_ANSWER] == 2


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("400 Bad Request", Outcome.STATUS_4XX),
        ("503 Service Unavailable", Outcome.STATUS_5XX),
        ("302 Found", Outcome.PROTOCOL_ERROR),
    ],
)
def test_another_status_is_told_by_its_class(status: str, outcome: Outcome) -> None:
    assert outcome_of_get(sending(lambda token: answer(body(token), status=status))) is outcome


def test_no_answer_in_time_is_timeout() -> None:
    def script(connection: socket.socket) -> None:
        read_head(connection)
        connection.recv(1)

    assert outcome_of_get(script, timeout=0.2) is Outcome.TIMEOUT


@pytest.mark.parametrize("sent", [5, -1])
def test_half_an_answer_in_time_is_timeout(sent: int) -> None:
    def script(connection: socket.socket) -> None:
        connection.sendall(answer(body(read_token(connection)))[:sent])
        connection.recv(1)

    assert outcome_of_get(script, timeout=0.2) is Outcome.TIMEOUT


@pytest.mark.parametrize(
    "text",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
    ],
)
def test_what_is_no_http_is_protocol_error(text: bytes) -> None:
    assert outcome_of_get(sending(lambda _: text)) is Outcome.PROTOCOL_ERROR


def test_two_answers_to_one_request_are_protocol_error() -> None:
    assert outcome_of_get(sending(lambda token: answer(body(token)) * 2)) is Outcome.PROTOCOL_ERROR


def test_bytes_between_two_requests_are_protocol_error() -> None:
    def script(connection: socket.socket) -> None:
        connection.sendall(answer(body(read_token(connection))))
        time.sleep(0.1)
        connection.sendall(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        connection.recv(1)

    with serve(script) as target:
        report = run_clients(target, two_gets(pause=0.4))
    assert report.outcomes == {Outcome.OK: 1, Outcome.PROTOCOL_ERROR: 1}


def test_an_announced_close_that_does_not_come_is_protocol_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.load.scenarios.CLOSE_TIMEOUT", 0.2)

    def script(connection: socket.socket) -> None:
        connection.sendall(answer(body(read_token(connection)), "Connection: close"))
        connection.recv(1)

    with serve(script) as target:
        report = run_clients(target, one_get())
    assert report.outcomes == {Outcome.OK: 1, Outcome.PROTOCOL_ERROR: 1}


def test_an_announced_close_is_no_drop_and_the_client_opens_another() -> None:
    script = sending(lambda token: answer(body(token), "Connection: close"))
    with serve(script) as target:
        report = run_clients(target, two_gets())
    assert report.outcomes == {Outcome.OK: 2}
    assert (report.connections_opened, report.connections_closed_idle) == (2, 0)
    assert report.connections_reset_after_close == 0


def test_a_reset_instead_of_an_announced_close_is_counted() -> None:
    def script(connection: socket.socket) -> None:
        connection.sendall(answer(body(read_token(connection)), "Connection: close"))
        time.sleep(0.1)
        reset(connection)

    with serve(script) as target:
        report = run_clients(target, one_get())
    assert report.outcomes == {Outcome.OK: 1}
    assert report.connections_reset_after_close == 1


def test_an_unannounced_close_of_an_idle_connection_is_counted_apart() -> None:
    def script(connection: socket.socket) -> None:
        connection.sendall(answer(body(read_token(connection))))

    with serve(script) as target:
        report = run_clients(target, two_gets(pause=0.3))
    assert report.outcomes == {Outcome.OK: 2}
    assert report.connections_closed_idle >= 1
    assert report.connections_opened == 2


def test_an_answer_that_comes_before_the_upload_is_complete_counts() -> None:
    def script(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(answer(b"", "Connection: close", status="413 Content Too Large"))
        with contextlib.suppress(OSError):
            connection.recv(65536)

    with serve(script) as target:
        report = run_clients(target, uploads(1, parts=3, gap=0.2))
    assert only(report) is Outcome.STATUS_4XX


def test_http10_answers_end_with_the_connection() -> None:
    script = sending(lambda token: b"HTTP/1.0 200 OK\r\n\r\n" + body(token))
    with serve(script) as target:
        report = run_clients(target, http10(1))
    # The second is the POST, whose body this server does not echo.
    assert report.outcomes == {Outcome.OK: 1, Outcome.TRUNCATED_BODY: 1}


def stream(connection: socket.socket, *, pieces: int, wrong: int = -1) -> None:
    """Send the head and some pieces of a streamed answer, one of them wrong if asked to."""
    token = read_token(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for content in [
        body(token),
        *(f"data: {0 if number == wrong else number} {token}\n\n".encode() for number in range(pieces)),
    ]:
        connection.sendall(b"%x\r\n%s\r\n" % (len(content), content))


def test_a_streamed_answer_is_checked_piece_by_piece() -> None:
    def whole(connection: socket.socket) -> None:
        stream(connection, pieces=5)
        connection.sendall(b"0\r\n\r\n")
        connection.recv(1)

    def wrong(connection: socket.socket) -> None:
        stream(connection, pieces=5, wrong=3)
        connection.sendall(b"0\r\n\r\n")
        connection.recv(1)

    for script, outcome in ((whole, Outcome.OK), (wrong, Outcome.WRONG_BODY)):
        with serve(script) as target:
            report = run_clients(target, streams(1, parts=5))
        assert only(report) is outcome


@pytest.mark.parametrize(
    ("pieces", "wrong", "stays", "outcome"),
    [
        (5, -1, True, Outcome.OK),
        (5, 3, True, Outcome.WRONG_BODY),
        (5, -1, False, Outcome.TRUNCATED_BODY),
    ],
)
def test_an_endless_stream_is_good_until_it_ends(pieces: int, wrong: int, stays: bool, outcome: Outcome) -> None:
    def script(connection: socket.socket) -> None:
        stream(connection, pieces=pieces, wrong=wrong)
        if stays:
            connection.recv(1)

    with serve(script) as target:
        assert only(run_clients(target, event_streams(1), until=0.5)) is outcome


def test_an_endless_stream_that_stalls_is_timeout() -> None:
    def script(connection: socket.socket) -> None:
        stream(connection, pieces=2)
        connection.recv(1)

    with serve(script) as target:
        report = run_clients(target, event_streams(1), timeout=0.3, until=10)
    assert only(report) is Outcome.TIMEOUT


def test_every_client_of_a_scenario_asks() -> None:
    with serve(sending(lambda token: answer(body(token)))) as target:
        report = run_clients(target, one_slow_request(5, 0.0))
    assert report.outcomes == {Outcome.OK: 5}
    assert report.connections_opened == 5


def test_the_report_names_what_was_seen() -> None:
    with serve(sending(lambda token: answer(body(token), status="500 Oops"))) as target:
        report = run_clients(target, one_get())
    text = report.render()
    assert "5xx" in text
    assert "dropped                              1" in text
    assert "get.0.1" in text


def test_a_request_head_names_the_host() -> None:
    run = Run.__new__(Run)
    run.target = Target(port=80)
    client = Client(run, one_get(), 0)
    assert head(client, "GET / HTTP/1.1", "A: b") == b"GET / HTTP/1.1\r\nHost: 127.0.0.1:80\r\nA: b\r\n\r\n"


@pytest.mark.parametrize("proper", [True, False], ids=["close_notify", "torn"])
def test_over_tls_a_connection_must_end_with_close_notify(tmp_path: Path, proper: bool) -> None:
    certificates = Certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificates.issue("server"))

    def script(connection: socket.socket) -> None:
        # The socket stays that of the server, which closes it.
        with contextlib.closing(connection.dup()) as ours, context.wrap_socket(ours, server_side=True) as sock:
            sock.sendall(answer(body(read_token(sock)), "Connection: close"))
            if proper:
                with contextlib.suppress(OSError):
                    sock.unwrap()

    with serve(script) as target:
        report = run_clients(replace(target, tls=certificates.client()), one_get())
    assert report.outcomes == {Outcome.OK: 1}
    assert report.connections_reset_after_close == (0 if proper else 1)
