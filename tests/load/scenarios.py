"""What clients do: a scenario is a number of clients and how one of them behaves until it is told to stop.

A client never repeats a request. It opens a new connection when the last one was closed properly (announced
by `Connection: close`), closed while idle, or lost with a request: each is counted, only the last is a drop.
"""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from tests.load.answers import AnswerError
from tests.load.asking import Ask, Verdict, ask_all, hold_stream
from tests.load.connection import ConnectError, LoadConnection, Target
from tests.load.outcomes import Failure, Outcome, Report

CONNECT_TIMEOUT = 10.0
#: How long the server may take to close a connection whose close it has announced.
CLOSE_TIMEOUT = 5.0
#: After a failed connect: the clients of a server that is gone must not spin.
FAILURE_PAUSE = 0.05

Think = tuple[float, float]
"""Seconds between an answer and the client's next request: at least, at most."""


class Pace:
    """How long clients think that were not told. Tests that run side by side leave each other some of the machine."""

    think: Think = (0.0, 0.005)


class Client:
    """One virtual client: its connection, its tokens, its place in the report."""

    def __init__(self, run: "Run", scenario: "Scenario", number: int) -> None:
        self.run = run
        self.scenario = scenario
        self.number = number
        self.random = random.Random(f"{scenario.name} {number}")
        self._connection: LoadConnection | None = None
        self._asked = 0

    @property
    def stopped(self) -> bool:
        """Whether the run is over: finish what is in hand and leave."""
        return self._asked >= self.run.limit or self.run.stopping.is_set()

    def token(self) -> str:
        """Return a token that no other request of the run has."""
        self._asked += 1
        return f"{self.scenario.name}.{self.number}.{self._asked}"

    async def pause(self, seconds: float) -> None:
        """Think; a long thought ends when the run stops."""
        if seconds < 0.1:
            await asyncio.sleep(seconds)
            return
        try:
            async with asyncio.timeout(seconds):
                await self.run.stopping.wait()
        except TimeoutError:
            pass

    async def ask(self, *asks: Ask) -> list[Verdict]:
        """Send requests (several: pipelined) on the kept connection or a new one; report the outcomes."""
        connection = await self._connected(asks)
        if connection is None:
            return []
        verdicts = await ask_all(connection, asks, self.run.timeout)
        self._report(connection, verdicts)
        if any(verdict.outcome is not Outcome.OK for verdict in verdicts):
            self._forget()
        elif connection.announced_close:
            await self._see_closed(connection, asks[-1].token)
        return verdicts

    async def ask_in_vain(self, ask: Ask, expected: Outcome) -> None:
        """Send a request whose answer must fail in one way and no other; only another outcome is reported."""
        connection = await self._connected([ask])
        if connection is None:
            return
        (verdict,) = await ask_all(connection, [ask], self.run.timeout)
        if verdict.outcome is not expected:
            detail = f"{verdict.outcome.value} ({verdict.detail}) instead of {expected.value}"
            self._report_misbehaviour(ask.token, detail, connection)
        if connection.end is not None or verdict.outcome is not expected:
            self._forget()
        elif connection.announced_close:
            await self._see_closed(connection, ask.token)

    async def hold(self, ask: Ask, render: Callable[[int], bytes]) -> None:
        """Hold an endless answer until the run stops."""
        connection = await self._connected([ask])
        if connection is not None:
            verdict = await hold_stream(connection, ask, render, self.run.stopping.is_set, self.run.timeout)
            self._report(connection, [verdict])
            self._forget()

    def close(self) -> None:
        """Close the kept connection, as a client that has no more to ask."""
        self._see_idle_end()
        self._forget()

    async def _connected(self, asks: Sequence[Ask]) -> LoadConnection | None:
        self._see_idle_end()
        if self._connection is not None:
            return self._connection
        try:
            self._connection = await LoadConnection.open(self.run.target, CONNECT_TIMEOUT)
        except ConnectError as error:
            for ask in asks:
                self._report_failure(ask.token, error.outcome, str(error), None)
            await asyncio.sleep(FAILURE_PAUSE)
            return None
        self.run.report.connections_opened += 1
        return self._connection

    def _see_idle_end(self) -> None:
        """Let go of a kept connection that has ended while nothing was asked on it."""
        kept = self._connection
        if kept is None or kept.end is None:
            return
        if isinstance(kept.end, AnswerError) or kept.answers.answers:
            self._report_misbehaviour("-", "bytes came that nobody had asked for", kept)
        else:
            self.run.report.connections_closed_idle += 1
        self._forget()

    async def _see_closed(self, connection: LoadConnection, token: str) -> None:
        """Wait for the close that the server has announced."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                while connection.end is None:
                    await connection.wait()
        except TimeoutError:
            self._report_misbehaviour(token, "announced a close and stays", connection)
        if connection.answers.answers or connection.answers.in_head:
            self._report_misbehaviour(token, "bytes after the last answer", connection)
        if isinstance(connection.end, OSError):
            self.run.report.connections_reset_after_close += 1
        self._forget()

    def _forget(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _report(self, connection: LoadConnection, verdicts: list[Verdict]) -> None:
        for verdict in verdicts:
            if verdict.outcome is Outcome.OK:
                self.run.report.observe_answer(self.scenario.name, verdict.latency, verdict.version, verdict.pid)
            else:
                self._report_failure(verdict.ask.token, verdict.outcome, verdict.detail, connection)

    def _report_misbehaviour(self, token: str, detail: str, connection: LoadConnection) -> None:
        self._report_failure(token, Outcome.PROTOCOL_ERROR, detail, connection)

    def _report_failure(self, token: str, outcome: Outcome, detail: str, connection: LoadConnection | None) -> None:
        self.run.report.observe_failure(
            Failure(
                outcome=outcome,
                scenario=self.scenario.name,
                token=token,
                detail=detail,
                at=self.run.report.now(),
                local=connection.local if connection else "nowhere",
                served_by=connection.served_by if connection else None,
            )
        )


Behaviour = Callable[[Client], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A number of clients that all behave alike."""

    name: str
    clients: int
    behaviour: Behaviour


class Run:
    """What the clients of one run share."""

    def __init__(self, target: Target, timeout: float, limit: float = math.inf) -> None:
        self.target = target
        self.limit = limit
        """Requests after which a client leaves (a row that has been begun is sent in full)."""
        self.timeout = timeout
        """Seconds that a request may take until its outcome is TIMEOUT."""
        self.report = Report()
        self.stopping = asyncio.Event()

    async def client(self, scenario: Scenario, number: int) -> None:
        """Be one client until the run stops."""
        client = Client(self, scenario, number)
        try:
            await scenario.behaviour(client)
        finally:
            client.close()

    async def go(self, scenarios: Sequence[Scenario]) -> Report:
        """Run all clients until `stopping` is set (and what they have in hand is over). Return the report."""
        async with asyncio.TaskGroup() as group:
            for scenario in scenarios:
                for number in range(scenario.clients):
                    group.create_task(self.client(scenario, number))
        return self.report


def event_piece(token: str, number: int) -> bytes:
    """Render the n-th piece of a streamed answer, as the applications of `tests/apps` do."""
    return f"data: {number} {token}\n\n".encode()


def head(client: Client, line: str, *fields: str) -> bytes:
    """Render a request's head."""
    rows = (line, f"Host: {client.run.target.authority}", *fields)
    return ("\r\n".join(rows) + "\r\n\r\n").encode()


def get(client: Client, version: str = "1.1", *fields: str) -> Ask:
    """Make a GET whose answer echoes the token."""
    token = client.token()
    return Ask(token, [head(client, f"GET /echo/{token} HTTP/{version}", *fields)])


def post(client: Client, version: str = "1.1", *fields: str, size: int = 300) -> Ask:
    """Make a POST whose answer echoes the body."""
    token = client.token()
    body = (token.encode() + b" ") * (size // (len(token) + 1) + 1)
    line = head(client, f"POST /echo/{token} HTTP/{version}", f"Content-Length: {len(body)}", *fields)
    return Ask(token, [line + body], rest=body)


def get_and_post(clients: int = 48, think: Think | None = None, name: str = "keep-alive") -> Scenario:
    """Keep-alive connections, GET and POST by turns, thinking between an answer and the next request."""

    async def behave(client: Client) -> None:
        while not client.stopped:
            await client.ask(get(client))
            await client.pause(client.random.uniform(*(think or Pace.think)))
            await client.ask(post(client))
            await client.pause(client.random.uniform(*(think or Pace.think)))

    return Scenario(name, clients, behave)


def idle_clients(clients: int = 16, longest: float = 12.0) -> Scenario:
    """Keep-alive connections that are idle for up to `longest` seconds."""
    return get_and_post(clients, (0.0, longest), "idle")


def new_connections(clients: int = 8, think: Think | None = None) -> Scenario:
    """A new connection for each request, closed by the server as asked or by the client, by turns."""

    async def behave(client: Client) -> None:
        while not client.stopped:
            await client.ask(get(client, "1.1", "Connection: close"))
            await client.ask(post(client))
            client.close()
            await client.pause(client.random.uniform(*(think or Pace.think)))

    return Scenario("new-connection", clients, behave)


def slow_requests(clients: int = 8, seconds: tuple[float, float] = (0.5, 3.0)) -> Scenario:
    """Requests that the application holds for a while."""

    async def behave(client: Client) -> None:
        while not client.stopped:
            token = client.token()
            wait = client.random.uniform(*seconds)
            await client.ask(Ask(token, [head(client, f"GET /slow/{token}/{wait:.3f} HTTP/1.1")]))

    return Scenario("slow", clients, behave)


def one_slow_request(clients: int, seconds: float, *, greet: bool = False) -> Scenario:
    """Each client asks once for an answer that takes `seconds`, and leaves.

    With `greet` it asks for a quick one before, on the same connection: its failure then names the worker.
    """

    async def behave(client: Client) -> None:
        if greet:
            await client.ask(get(client))
        token = client.token()
        await client.ask(Ask(token, [head(client, f"GET /slow/{token}/{seconds:.3f} HTTP/1.1")]))

    return Scenario("one-slow", clients, behave)


def uploads(clients: int = 8, parts: int = 20, gap: float = 0.05) -> Scenario:
    """Chunked request bodies that trickle in."""

    async def behave(client: Client) -> None:
        while not client.stopped:
            token = client.token()
            pieces = [event_piece(token, number) for number in range(parts)]
            line = head(client, f"POST /echo/{token} HTTP/1.1", "Transfer-Encoding: chunked")
            chunks = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces]
            await client.ask(Ask(token, [line, *chunks, b"0\r\n\r\n"], rest=b"".join(pieces), gap=gap))

    return Scenario("upload", clients, behave)


def streams(clients: int = 8, parts: int = 20, gap: float = 0.05, version: str = "1.1") -> Scenario:
    """Streamed answers: chunked, or for HTTP/1.0 ended by the connection."""

    async def behave(client: Client) -> None:
        while not client.stopped:
            token = client.token()
            line = head(client, f"GET /stream/{token}/{parts}/{gap} HTTP/{version}")
            rest = b"".join(event_piece(token, number) for number in range(parts))
            await client.ask(Ask(token, [line], rest=rest))

    return Scenario(f"stream-{version}", clients, behave)


def event_streams(clients: int = 2, gap: float = 0.05) -> Scenario:
    """Endless streams of events, held until the run stops."""

    async def behave(client: Client) -> None:
        token = client.token()
        ask = Ask(token, [head(client, f"GET /events/{token}/{gap} HTTP/1.1", "Accept: text/event-stream")])
        await client.hold(ask, lambda number: event_piece(token, number))

    return Scenario("events", clients, behave)


def pipelined(clients: int = 8, depth: int = 6, think: Think | None = None) -> Scenario:
    """Rows of requests sent at once, GET and POST mixed; the answers must come in order."""

    async def behave(client: Client) -> None:
        while not client.stopped:
            await client.ask(*(post(client) if number % 3 == 1 else get(client) for number in range(depth)))
            await client.pause(client.random.uniform(*(think or Pace.think)))

    return Scenario("pipelined", clients, behave)


def slow_rows(clients: int = 8, depth: int = 6, seconds: float = 0.03) -> Scenario:
    """Rows of requests sent at once, each held for a moment: the others wait, read and not answered.

    Not in step: whatever happens comes amid the rows of most, and not between those of all.
    """

    async def behave(client: Client) -> None:
        await client.pause(client.random.uniform(0, depth * seconds))
        while not client.stopped:
            tokens = [client.token() for _ in range(depth)]
            await client.ask(
                *(Ask(token, [head(client, f"GET /slow/{token}/{seconds:.3f} HTTP/1.1")]) for token in tokens)
            )

    return Scenario("slow-row", clients, behave)


def http10(clients: int = 8, *, keep_alive: bool = False, think: Think | None = None) -> Scenario:
    """HTTP/1.0 clients, that ask for keep-alive or do not."""
    fields = ("Connection: keep-alive",) if keep_alive else ()

    async def behave(client: Client) -> None:
        while not client.stopped:
            await client.ask(get(client, "1.0", *fields))
            await client.pause(client.random.uniform(*(think or Pace.think)))
            await client.ask(post(client, "1.0", *fields))
            await client.pause(client.random.uniform(*(think or Pace.think)))

    return Scenario("http10-keep-alive" if keep_alive else "http10", clients, behave)


def mixed() -> list[Scenario]:
    """Some clients of every kind that ends by itself."""
    return [
        get_and_post(16),
        idle_clients(4, 3.0),
        new_connections(4),
        slow_requests(4),
        uploads(4),
        streams(4),
        streams(2, version="1.0"),
        pipelined(4),
        http10(2),
        http10(2, keep_alive=True),
    ]
