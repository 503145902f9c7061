"""A long run: the application, what its clients do, and what is measured of the server's processes meanwhile."""

import asyncio
import contextlib
import socket
import statistics
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.load.asking import Ask
from tests.load.outcomes import Outcome
from tests.load.scenarios import (
    Client,
    Scenario,
    get,
    get_and_post,
    head,
    http10,
    new_connections,
    pipelined,
    post,
    slow_requests,
    streams,
    uploads,
)
from tests.process.directory import APPS, AppDirectory
from tests.process.harness import Server
from tests.process.processes import open_count, session_members, stat_fields

#: Each of these is a module of its own beside it; they keep what they do elsewhere.
APPLICATION = """
import asyncio
import asgi_load
import websocket_echo


async def app(scope, receive, send):
    if scope["type"] != "http":
        await websocket_echo.app(scope, receive, send)
        return
    route, token = scope["path"].split("/")[1:3]
    if route == "fail":
        raise RuntimeError("the application fails")
    if route == "break":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("the application fails")
    if route == "tasks":
        names = sorted(task.get_coro().__qualname__ for task in asyncio.all_tasks())
        body = f"{asgi_load.VERSION} {asgi_load.os.getpid()} {token}\\n{' '.join(names)}"
        await asgi_load.answer(send, body.encode())
        return
    await asgi_load.app(scope, receive, send)
"""
EXPECTED_ERROR = "RuntimeError: the application fails"
LINGER_RESET = struct.pack("ii", 1, 0)
#: One in twenty is to fail.
FAILS_EVERY = 20


def soak_directory(path: Path) -> AppDirectory:
    """Make the application's directory."""
    directory = AppDirectory(path)
    for name in ("asgi_load", "websocket_echo"):
        directory.write(f"{name}.py", (APPS / f"{name}.py").read_text())
    directory.write("app.py", APPLICATION)
    return directory


def failing(clients: int) -> Scenario:
    """Clients one in twenty of whose requests the application raises at, before or amid its answer."""

    async def behave(client: Client) -> None:
        while not client.stopped:
            for _ in range(FAILS_EVERY - 1):
                await client.ask(get(client))
                await client.pause(client.random.uniform(0.0, 0.05))
            token = client.token()
            route, outcome = client.random.choice(
                [("fail", Outcome.STATUS_5XX), ("fail", Outcome.STATUS_5XX), ("break", Outcome.TRUNCATED_BODY)]
            )
            await client.ask_in_vain(Ask(token, [head(client, f"GET /{route}/{token} HTTP/1.1")]), outcome)

    return Scenario("failing", clients, behave)


def dripping(clients: int) -> Scenario:
    """Clients whose requests come byte for byte."""

    async def behave(client: Client) -> None:
        while not client.stopped:
            ask = post(client, size=40)
            data = b"".join(ask.parts)
            await client.ask(Ask(ask.token, [data[at : at + 1] for at in range(len(data))], rest=ask.rest, gap=0.01))
            await client.pause(client.random.uniform(0.0, 0.2))

    return Scenario("dripping", clients, behave)


def aborting(clients: int) -> Scenario:
    """Clients that leave, with a reset or not, amid their request or its answer."""

    async def behave(client: Client) -> None:
        while not client.stopped:
            with contextlib.suppress(OSError):
                await _abort(client)
            await client.pause(client.random.uniform(0.0, 0.2))

    return Scenario("aborting", clients, behave)


async def _abort(client: Client) -> None:
    token, chance = client.token(), client.random
    line = chance.choice(
        [f"GET /stream/{token}/20/0.02", f"GET /slow/{token}/0.5", f"POST /echo/{token}", f"GET /events/{token}/0.02"]
    )
    data = head(client, f"{line} HTTP/1.1", *(["Content-Length: 5000"] if line.startswith("POST") else []))
    reader, writer = await asyncio.open_connection(client.run.target.host, client.run.target.port)
    try:
        writer.write(data[: chance.choice([len(data), len(data), chance.randrange(len(data))])])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(chance.uniform(0.0, 0.3)):
                while await reader.read(4096):
                    pass
        if chance.random() < 0.5:
            sock: socket.socket = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
    finally:
        writer.close()


def soak_traffic() -> list[Scenario]:
    """Some of everything, with pauses: a run is long, not fast."""
    return [
        get_and_post(12, (0.0, 0.1)),
        get_and_post(4, (0.0, 12.0), "idle"),
        new_connections(2, (0.0, 0.1)),
        slow_requests(4, (0.1, 1.0)),
        uploads(2, parts=10),
        streams(2, parts=10),
        streams(1, parts=10, version="1.0"),
        pipelined(2, think=(0.0, 0.2)),
        http10(1, think=(0.0, 0.1)),
        http10(1, keep_alive=True, think=(0.0, 0.1)),
        failing(4),
        dripping(3),
        aborting(4),
    ]


@dataclass(frozen=True)
class Sample:
    """What the server had at one moment."""

    at: float
    master_kib: int
    master_descriptors: int
    processes: int
    workers_kib: int


@dataclass
class Watch:
    """Samples of a server, about one a second."""

    server: Server
    samples: list[Sample] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)

    def sample(self) -> None:
        """Look at master and workers."""
        members = session_members(self.server.session)
        workers = [resident_kib(pid) for pid in members if pid != self.server.pid]
        self.samples.append(
            Sample(
                time.monotonic() - self._began,
                resident_kib(self.server.pid),
                open_count(self.server.pid),
                len(members),
                sum(workers),
            )
        )

    def during(self, seconds: float) -> None:
        """Sample for that long."""
        ends_at = time.monotonic() + seconds
        while (left := ends_at - time.monotonic()) > 0:
            self.sample()
            time.sleep(min(1.0, left))


def resident_kib(pid: int) -> int:
    fields = stat_fields(pid)
    return int(fields[21]) * 4 if fields else 0


def slope_per_minute(points: Sequence[tuple[float, float]]) -> float:
    """Return how fast the values grow, by least squares; `points` are (seconds, value)."""
    slope: float = statistics.linear_regression([at for at, _ in points], [value for _, value in points]).slope
    return slope * 60.0


def lowest(samples: Sequence[Sample], name: str, window: float = 5.0) -> list[tuple[float, float]]:
    """Return the least value of each window: between two reloads there is nothing that is on its way."""
    windows: dict[int, list[float]] = {}
    for one in samples:
        windows.setdefault(int(one.at / window), []).append(float(getattr(one, name)))
    return [(number * window, min(values)) for number, values in sorted(windows.items())]
