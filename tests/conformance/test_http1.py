"""Every HTTP/1.1 case passes on every codec and interface, and both codecs decide alike."""

import socket
from collections import Counter
from pathlib import Path

import pytest

from conformance.http1.__main__ import render_table
from conformance.http1.cases import CASES
from conformance.http1.judge import Observed, Verdict, judge
from conformance.http1.model import Level
from conformance.http1.runner import Runner
from tests.certificates import Certificates
from tests.conformance.conftest import StartServer
from tests.tls_pipe import tls_pipe

#: Long enough for a busy machine: a server of ours leaves no connection open, so that no case waits for it.
SILENCE = 30.0

_CODECS = ("httptools", "h11")
_LOOPS = ("uvloop", "asyncio")


def run(start: StartServer, app: str, *options: str) -> list[Verdict]:
    server = start(f"conformance.http1.application:{app}", "--interface", app, *options)
    return Runner("127.0.0.1", server.port, timeout=SILENCE).run(CASES)


def assert_all_pass(verdicts: list[Verdict]) -> None:
    assert all(verdict.passed for verdict in verdicts), "\n" + render_table(verdicts)


def test_every_case_passes_on_both_codecs_which_decide_alike(start: StartServer) -> None:
    by_codec = {codec: run(start, "asgi", "--http", codec) for codec in _CODECS}
    for verdicts in by_codec.values():
        assert_all_pass(verdicts)
    seen = {codec: {one.case.name: one.seen for one in verdicts} for codec, verdicts in by_codec.items()}
    assert seen["httptools"] == seen["h11"]


def test_every_case_passes_through_wsgi(start: StartServer) -> None:
    assert_all_pass(run(start, "wsgi", "--threads", "2"))


@pytest.mark.full
@pytest.mark.parametrize("loop", _LOOPS)
@pytest.mark.parametrize("codec", _CODECS)
@pytest.mark.parametrize("app", ["asgi", "wsgi"])
def test_every_case_passes_on_every_loop_and_codec(start: StartServer, app: str, codec: str, loop: str) -> None:
    assert_all_pass(run(start, app, "--http", codec, "--loop", loop))


@pytest.mark.full
@pytest.mark.parametrize("loop", _LOOPS)
def test_every_case_passes_over_tls(start: StartServer, tmp_path: Path, loop: str) -> None:
    certificates = Certificates(tmp_path)
    server = start("conformance.http1.application:asgi", *certificates.options, "--loop", loop)
    with tls_pipe(server.port, certificates.client()) as port:
        verdicts = Runner("127.0.0.1", port, timeout=SILENCE).run(CASES)
    assert_all_pass(verdicts)


# The suite itself


def test_there_are_enough_cases_each_with_a_name_of_its_own_and_a_section() -> None:
    names = Counter(case.name for case in CASES)
    assert [name for name, count in names.items() if count > 1] == []
    assert len(CASES) >= 200
    assert sum(case.level == Level.MUST for case in CASES) >= 200
    assert all(case.section and case.accept and case.steps for case in CASES)


def answers(*bodies: bytes) -> bytes:
    return b"".join(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body) for body in bodies)


ECHO = b'{"method": "GET", "path": "%b", "query": "", "fields": [], "body": ""}'
STREAM = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nd\r\none,two,three\r\n"
REFUSAL = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("name", "data", "closed", "passed"),
    [
        ("line: plain request", answers(ECHO % b"/", ECHO % b"/next"), True, True),
        ("line: plain request", answers(ECHO % b"/", ECHO % b"/next"), False, False),
        ("line: plain request", answers(ECHO % b"/"), True, False),
        ("line: plain request", answers(ECHO % b"/", ECHO % b"/smuggled"), True, False),
        ("line: plain request", answers(ECHO % b"/", ECHO % b"/next") + b"stray", True, False),
        ("line: plain request", answers(ECHO % b"/", ECHO % b"/next")[:-1], True, False),
        ("line: plain request", b"", True, False),
        ("line: plain request", b"HTTP/1.1 200 OK\ncontent-length: 0\n\n", True, False),
        ("framing: CL.TE", REFUSAL, True, True),
        ("framing: CL.TE", REFUSAL, False, False),
        ("framing: CL.TE", REFUSAL + answers(ECHO % b"/smuggled"), True, False),
        ("answer: HEAD that is refused has no content", REFUSAL, True, True),
        ("answer: HEAD that is refused has no content", REFUSAL + b"why", True, False),
        ("answer: 204 has no Content-Length", b"HTTP/1.1 204 No Content\r\n\r\n", True, True),
        ("answer: 204 has no Content-Length", b"HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\n", True, False),
        ("answer: short-body: the connection ends", answers(b"body")[:-2], True, True),
        ("answer: short-body: the connection ends", answers(b"body")[:-2], False, False),
        ("answer: crlf-in-value is not sent", b"HTTP/1.1 200 OK\r\nx-injected: yes\r\n\r\n", True, False),
        ("answer: stream", STREAM + b"0\r\n\r\n", True, True),
        ("answer: stream", STREAM, True, False),
    ],
)  # fmt: skip
def test_the_judge_tells_good_from_bad(name: str, data: bytes, closed: bool, passed: bool) -> None:
    (case,) = [case for case in CASES if case.name == name]
    assert judge(case, Observed(data, closed=closed)).passed is passed


def test_a_server_that_is_not_there_passes_nothing() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        verdicts = Runner("127.0.0.1", unused.getsockname()[1], timeout=5.0).run(CASES)
    assert not any(verdict.passed for verdict in verdicts)
