"""What the suites with checks in an application share: a client that reads answers, and a runner of pairs.

A check is a pair: an application's side, which asserts what it is given, and a client's side, which asks and looks at
the answer. The application keeps what its side has found under the number of the run, and tells it when asked.
"""

import argparse
import asyncio
import contextlib
import json
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from conformance.http1.wire import Read, read_answers
from conformance.target import parse_target

#: Seconds for anything that is to happen.
PATIENCE = 10.0


class Level(StrEnum):
    """How binding a check is."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    RELIED = "RELIED"
    """Not said by the specification, and relied upon by frameworks."""


class Failure(AssertionError):  # noqa: N818 - it reads better where it is raised
    """What a side of a check has found wrong."""


def expect(found: bool, text: str) -> None:
    """Raise `Failure` unless it was found so."""
    if not found:
        raise Failure(text)


def expect_equal(seen: object, wanted: object, what: str = "value") -> None:
    """Raise `Failure` unless both are equal and of one type."""
    if seen != wanted or type(seen) is not type(wanted):
        raise Failure(f"{what} is {seen!r}, not {wanted!r}")


async def _connect(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port), PATIENCE)
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return reader, writer


class Talk:
    """One connection of the client's, for one check."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: bytes) -> None:
        self._reader = reader
        self._writer = writer
        self.target = target
        """Path of the check's application side; more may be put behind it."""
        self.data = b""
        self.ended = False
        self._closing = False

    @classmethod
    async def open(cls, host: str, port: int, target: bytes) -> Self:
        """Connect."""
        return cls(*await _connect(host, port), target)

    async def _reconnect(self) -> None:
        host, port = self._writer.get_extra_info("peername")[:2]
        await self.close()
        self._reader, self._writer = await _connect(host, port)
        self.data = b""
        self.ended = self._closing = False

    @property
    def address(self) -> tuple[str, int]:
        """The client's own address."""
        host, port = self._writer.get_extra_info("sockname")[:2]
        return host, port

    async def close(self) -> None:
        """Close."""
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(self._writer.wait_closed(), PATIENCE)

    async def another(self) -> "Talk":
        """Open another connection to the same application side."""
        host, port = self._writer.get_extra_info("peername")[:2]
        return await Talk.open(host, port, self.target)

    async def reset(self) -> None:
        """Go away without a word."""
        self._writer.transport.abort()

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        self._writer.write(data)
        await self._writer.drain()

    async def ask(
        self,
        suffix: bytes = b"",
        *fields: bytes,
        method: bytes = b"GET",
        body: bytes = b"",
        version: bytes = b"1.1",
        length: int | None = None,
    ) -> None:
        """Send a request to the application's side, on a new connection if the server has said that it closes this one.

        `length` belies the body's.
        """
        if self._closing:
            await self._reconnect()
        lines = [b"%b %b%b HTTP/%b" % (method, self.target, suffix, version), b"Host: a", *fields]
        if body or length is not None:
            lines.append(b"Content-Length: %d" % (len(body) if length is None else length))
        await self.send(b"\r\n".join(lines) + b"\r\n\r\n" + body)

    async def read(self, timeout: float = PATIENCE) -> bytes:
        """Return more of what the server says; empty at the end of the connection. Raise `TimeoutError`."""
        try:
            data = await asyncio.wait_for(self._reader.read(65536), timeout)
        except ConnectionError:
            data = b""
        self.data += data
        self.ended = self.ended or not data
        return data

    async def read_until(self, marker: bytes) -> None:
        """Read until the marker has come. Raise `Failure` if it does not."""
        while marker not in self.data:
            try:
                more = await self.read()
            except TimeoutError:
                raise Failure(f"{marker!r} does not come, only {self.data[-200:]!r}") from None
            if not more:
                raise Failure(f"the connection ends before {marker!r}: {self.data[-200:]!r}")

    async def answer(self, *, head: bool = False) -> Read:
        """Read one answer; what follows it stays in `data`. Raise `Failure` if it is invalid or does not come."""
        while True:
            answers = read_answers(self.data, closed=self.ended, head=(0,) if head else ())
            if answers and answers[0].whole and (b"\r\n\r\n" in self.data or self.ended):
                expect(not answers[0].faults, "; ".join(answers[0].faults))
                self.data = b""
                self._closing = "close" in ",".join(answers[0].values("connection")).lower()
                return answers[0]
            if self.ended:
                raise Failure(f"no whole answer: {self.data[-200:]!r}")
            try:
                await self.read()
            except TimeoutError:
                raise Failure(f"no whole answer in time: {self.data[-200:]!r}") from None

    async def end(self) -> None:
        """Wait for the server to end the connection. Raise `Failure` if it does not."""
        while not self.ended:
            try:
                await self.read()
            except TimeoutError:
                raise Failure("the server does not end the connection") from None


ClientSide = Callable[[Talk], Awaitable[None]]


async def get_fine(talk: Talk) -> None:
    """Be the client's side of checks that need but a GET: it is answered with 200."""
    await talk.ask()
    answer = await talk.answer()
    expect_equal(answer.status, 200, "status")


@dataclass
class Check:
    """One check; `app` is for the application of the suite to run."""

    name: str
    section: str
    level: Level
    rule: str
    app: Callable[..., Any]
    ask: ClientSide = get_fine

    def client(self, side: ClientSide) -> ClientSide:
        """Set the client's side (a decorator)."""
        self.ask = side
        return side


class Checks(dict[str, Check]):
    """The checks of a suite by name."""

    def __call__(
        self, section: str, level: Level = Level.MUST, ask: ClientSide = get_fine
    ) -> Callable[[Callable[..., Any]], Check]:
        """Register an application's side (a decorator); its docstring is the rule."""

        def register(app: Callable[..., Any]) -> Check:
            rule = (app.__doc__ or "").strip().splitlines()[0]
            check = Check(app.__name__, section, level, rule, app, ask)
            assert check.name not in self
            self[check.name] = check
            return check

        return register


@dataclass(frozen=True)
class Finding:
    """What came of a check: `fault` is empty if it passed."""

    check: Check
    fault: str


async def run_check(check: Check, host: str, port: int) -> Finding:
    """Run one check: the client's side, then the question what the application's has found."""
    run = secrets.token_hex(8)
    fault = ""
    try:
        talk = await Talk.open(host, port, f"/check/{check.name}/{run}".encode())
        try:
            await check.ask(talk)
        finally:
            await talk.close()
    except Exception as error:
        fault = f"client: {_say(error)}"
    try:
        found = await result_of(run, host, port)
    except (Failure, OSError, TimeoutError) as error:
        return Finding(check, fault or f"no result: {_say(error)}")
    return Finding(check, "; ".join(part for part in (found and f"application: {found}", fault) if part))


def _say(error: Exception) -> str:
    if isinstance(error, Failure) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}".rstrip(": ")


async def result_of(run: str, host: str, port: int) -> str:
    """Ask what the application's side has found; empty: nothing."""
    deadline = time.monotonic() + PATIENCE
    while True:
        talk = await Talk.open(host, port, f"/result/{run}".encode())
        try:
            await talk.ask(b"", b"Connection: close")
            answer = await talk.answer()
        finally:
            await talk.close()
        if answer.status == 200:
            try:
                return str(json.loads(answer.body)["fault"])
            except (ValueError, KeyError, TypeError):
                raise Failure(f"the application tells {answer.body[:80]!r}") from None
        if time.monotonic() > deadline:
            raise Failure("the application's side has not ended")
        await asyncio.sleep(0.05)


async def run_checks(checks: Mapping[str, Check], host: str, port: int, concurrency: int = 8) -> list[Finding]:
    """Run all checks, several at a time."""
    room = asyncio.Semaphore(concurrency)

    async def one(check: Check) -> Finding:
        async with room:
            return await run_check(check, host, port)

    return list(await asyncio.gather(*map(one, checks.values())))


def render_findings(findings: list[Finding], *, everything: bool = False) -> str:
    """Render the failed checks (or all), then a line for each level."""
    lines = []
    for finding in findings:
        if everything or finding.fault:
            check = finding.check
            lines.append(
                f"{'FAIL' if finding.fault else 'ok  '} {check.level:6} {check.name} ({check.section}): {check.rule}"
            )
            if finding.fault:
                lines.append(f"     {finding.fault}")
    for level in Level:
        of_level = [finding for finding in findings if finding.check.level == level]
        lines.append(f"{level:6} {sum(not finding.fault for finding in of_level)} of {len(of_level)}")
    return "\n".join(lines)


def main(suite: str, checks: Mapping[str, Check]) -> int:
    """Be the command `python -m conformance.SUITE HOST:PORT`; return the exit code."""
    parser = argparse.ArgumentParser(
        prog=f"python -m conformance.{suite}",
        description=f"Judge a server that serves conformance.{suite}.application with one worker.",
    )
    parser.add_argument("target", metavar="HOST:PORT", type=parse_target)
    parser.add_argument("--only", default="", metavar="TEXT", help="checks whose name has this in it")
    parser.add_argument("--concurrency", type=int, default=8, help="checks at a time (default: 8)")
    parser.add_argument("--strict", action="store_true", help="a failed SHOULD or RELIED check fails the run, too")
    parser.add_argument("--all", action="store_true", help="show the checks that pass, too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all findings there")
    arguments = parser.parse_args()
    wanted = {name: check for name, check in checks.items() if arguments.only in name}
    if not wanted:
        parser.error(f"no check has {arguments.only!r} in its name")
    findings = asyncio.run(run_checks(wanted, arguments.target.host, arguments.target.port, arguments.concurrency))
    print(render_findings(findings, everything=arguments.all))
    if arguments.json:
        rows = [{"name": one.check.name, "level": str(one.check.level), "fault": one.fault} for one in findings]
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    binding = [one for one in findings if arguments.strict or one.check.level == Level.MUST]
    return 1 if any(one.fault for one in binding) else 0
