"""The load: wrk for throughput, an echo client for WebSockets, an open-loop client for latency at a constant rate.

The clients of ours run as processes of their own (`python -m tests.benchmarks.compare.client`), on the load's core.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks.compare.processes import ROOT, BenchmarkError

CONNECTIONS = 64


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent to a server in one measurement."""

    path: str = "/"
    method: str = "GET"
    headers: tuple[str, ...] = ()
    body: bytes = b""
    connections: int = CONNECTIONS
    expected: bytes | None = None
    """The whole body of a right answer, checked once before each measurement."""
    unique: bool = False
    """Whether each request carries a number of its own in a header, as behind a proxy that numbers requests."""
    tool: str = "wrk"
    parameters: dict[str, float] = field(default_factory=dict)


BROWSER_HEADERS = (
    'sec-ch-ua: "Chromium";v="130", "Google Chrome";v="130", "Not?A_Brand";v="99"',
    "sec-ch-ua-mobile: ?0",
    'sec-ch-ua-platform: "Linux"',
    "Upgrade-Insecure-Requests: 1",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Sec-Fetch-Site: none",
    "Sec-Fetch-Mode: navigate",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Accept-Language: en-US,en;q=0.9",
    "Cookie: session=abcdef0123456789; csrftoken=0123456789abcdef0123456789abcdef",
)


def run_load(load: Load, port: int, seconds: float, cores: set[int] | None) -> dict[str, float]:
    """Send a load for some seconds; return what its tool counted, `requests` and `seconds` among it.

    Raise `BenchmarkError` if any answer was missing or no success.
    """
    return _run_wrk(load, port, seconds, cores) if load.tool == "wrk" else _run_client(load, port, seconds, cores)


def require_wrk() -> None:
    """Install wrk if it is missing and can be; end with a message if not."""
    if shutil.which("wrk"):
        return
    apt = shutil.which("apt-get")
    if apt and os.geteuid() == 0:
        for arguments in (["-qq", "update"], ["-qq", "install", "-y", "--no-install-recommends", "wrk"]):
            subprocess.run([apt, *arguments], check=False, stdout=subprocess.DEVNULL)
    if not shutil.which("wrk"):
        sys.exit("the benchmark needs wrk: install it (apt-get install wrk, brew install wrk)")


def _run_wrk(load: Load, port: int, seconds: float, cores: set[int] | None) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as directory:
        arguments = ["-t", "1", "-c", str(load.connections), "-d", f"{max(1, round(seconds))}s", "--latency"]
        for header in load.headers:
            arguments += ["-H", header]
        script = Path(directory) / "load.lua"
        script.write_text(_script(load, Path(directory)))
        # `wrk` sends its last requests into the end of its time: those are not errors.
        text = _run(["wrk", *arguments, "-s", str(script), f"http://127.0.0.1:{port}{load.path}"], seconds, cores)
    counted = {key: float(value) for key, value in re.findall(r"^@(\w+) ([0-9.]+)$", text, re.MULTILINE)}
    wrong = {key: counted[key] for key in ("status", "connect", "read", "write", "timeout") if counted.get(key)}
    if wrong or not counted.get("requests"):
        raise BenchmarkError(f"wrk counted errors: {wrong or text}")
    return counted


def _script(load: Load, directory: Path) -> str:
    """Write what wrk sends; it prints its figures in a form that is easy to read."""
    body = directory / "body"
    body.write_bytes(load.body)
    lines = [f'wrk.method = "{load.method}"']
    if load.body:
        lines.append(f'local file = io.open("{body}", "rb"); wrk.body = file:read("*a"); file:close()')
    if load.unique:
        lines.append(
            """
local number = 0
request = function()
  number = number + 1
  wrk.headers["X-Request-ID"] = "request-" .. number
  return wrk.format()
end"""
        )
    lines.append(
        """
done = function(summary, latency, requests)
  io.write(string.format("@requests %d\\n@seconds %f\\n", summary.requests, summary.duration / 1e6))
  for _, kind in ipairs({"status", "connect", "read", "write", "timeout"}) do
    io.write(string.format("@%s %d\\n", kind, summary.errors[kind]))
  end
  for _, p in ipairs({50, 99, 99.9}) do
    io.write(string.format("@p%s %f\\n", tostring(p):gsub("%.", "_"), latency:percentile(p) / 1000))
  end
end"""
    )
    return "\n".join(lines)


def _run_client(load: Load, port: int, seconds: float, cores: set[int] | None) -> dict[str, float]:
    arguments = {"tool": load.tool, "port": port, "seconds": seconds, "path": load.path, **load.parameters}
    arguments.setdefault("connections", load.connections)
    text = _run(
        [sys.executable, "-m", "tests.benchmarks.compare.client", json.dumps(arguments)], seconds, cores, cwd=ROOT
    )
    counted: dict[str, Any] = json.loads(text.splitlines()[-1])
    if counted.get("errors"):
        raise BenchmarkError(f"{load.tool}: {counted['errors']} errors: {counted.get('first_error')}")
    return {key: float(value) for key, value in counted.items() if isinstance(value, int | float)}


def _run(command: list[str], seconds: float, cores: set[int] | None, cwd: Path | None = None) -> str:
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=seconds + 60,
        preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None,
    )
    if done.returncode != 0:
        raise BenchmarkError(f"{command[0]} ended with {done.returncode}: {done.stdout[-500:]}{done.stderr[-2000:]}")
    return done.stdout
