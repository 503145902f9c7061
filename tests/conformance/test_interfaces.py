"""Every check of ASGI 3 and PEP 3333 passes over a real socket, and the suites notice servers that break a rule."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from conformance.asgi.checks import CHECKS as ASGI_CHECKS
from conformance.exchange import Check, Finding, render_findings, run_checks
from conformance.wsgi.checks import CHECKS as WSGI_CHECKS
from tests.conformance.conftest import StartServer
from tests.process.harness import Server

_CODECS = ("httptools", "h11")


def run(checks: Mapping[str, Check], server: Server) -> list[Finding]:
    return asyncio.run(run_checks(checks, "127.0.0.1", server.port))


def assert_all_pass(findings: list[Finding]) -> None:
    assert not any(finding.fault for finding in findings), "\n" + render_findings(findings)


@pytest.mark.parametrize("codec", _CODECS)
@pytest.mark.parametrize(("version", "websocket"), [("2.3", "fast"), ("2.5", "wsproto")])
def test_every_check_of_asgi_passes(start: StartServer, codec: str, version: str, websocket: str) -> None:
    options = ("--http", codec, "--asgi-spec-version", version, "--websocket", websocket)
    server = start("conformance.asgi.application:app", *options)
    assert_all_pass(run(ASGI_CHECKS, server))


@pytest.mark.parametrize("codec", _CODECS)
@pytest.mark.parametrize("threads", ["1", "4"])
def test_every_check_of_wsgi_passes(start: StartServer, codec: str, threads: str) -> None:
    options = ("--interface", "wsgi", "--http", codec, "--threads", threads)
    assert_all_pass(run(WSGI_CHECKS, start("conformance.wsgi.application:app", *options)))


@pytest.mark.full
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("codec", _CODECS)
def test_every_check_passes_on_every_loop(start: StartServer, codec: str, loop: str) -> None:
    options = ("--http", codec, "--loop", loop)
    assert_all_pass(run(ASGI_CHECKS, start("conformance.asgi.application:app", *options)))
    assert_all_pass(run(WSGI_CHECKS, start("conformance.wsgi.application:app", "--interface", "wsgi", *options)))


def test_the_lifespan_ends_when_the_server_stops(start: StartServer, tmp_path: Path) -> None:
    log = tmp_path / "lifespan"
    server = start("conformance.asgi.application:app", environ={"CONFORMANCE_LOG": str(log)})
    assert log.read_text().splitlines() == ["lifespan.startup 1"]
    assert server.stop() == 0
    assert log.read_text().splitlines() == ["lifespan.startup 1", "lifespan.shutdown 1", "returned"]


# The suites themselves


#: What `tests/apps/faulty_conformance.py` breaks, with the checks that must notice.
ASGI_FAULTS = {
    "upper-case names": {"header_names_are_lower_case", "host_is_a_header"},
    "raw path for path": {"path_is_decoded"},
    "one state": {"state_is_a_copy", "state_is_a_shallow_copy"},
    "nothing raises": {"unknown_type_raises", "websocket_message_raises"},
    "answer at once": {"exception_amid_the_body_cuts_it"},
}
WSGI_FAULTS = {
    "no query": {"query_is_encoded"},
    "version as text": {"wsgi_version"},
    "answer at once": {"exception_amid_the_body_cuts_it", "parts_are_sent_at_once"},
}


@pytest.mark.parametrize("fault", ASGI_FAULTS)
def test_a_broken_rule_of_asgi_is_noticed(start: StartServer, fault: str) -> None:
    checks = {name: ASGI_CHECKS[name] for name in ASGI_FAULTS[fault]}
    findings = run(checks, start("tests.apps.faulty_conformance:asgi", environ={"FAULT": fault}))
    assert all(finding.fault for finding in findings), render_findings(findings, everything=True)


@pytest.mark.parametrize("fault", WSGI_FAULTS)
def test_a_broken_rule_of_wsgi_is_noticed(start: StartServer, fault: str) -> None:
    checks = {name: WSGI_CHECKS[name] for name in WSGI_FAULTS[fault]}
    server = start("tests.apps.faulty_conformance:wsgi", "--interface", "wsgi", environ={"FAULT": fault})
    findings = run(checks, server)
    assert all(finding.fault for finding in findings), render_findings(findings, everything=True)
