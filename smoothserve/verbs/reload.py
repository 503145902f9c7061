"""`smoothserve reload`: asks for new code, shows how slot after slot gets it, and says how that ended."""

import sys
import time
from dataclasses import dataclass, field
from typing import Any, TextIO

from smoothserve.control.operator import PROGRESS, Line
from smoothserve.errors import ExitCode, VerbCode
from smoothserve.verbs.client import Server, SilentError
from smoothserve.verbs.output import is_terminal, write

_CODES = {
    "finished": VerbCode.DONE,
    "asked": VerbCode.DONE,
    "refused": VerbCode.REFUSED,
    "abandoned": VerbCode.REFUSED,
    "mixed": VerbCode.MIXED,
}
_BAR_WIDTH = 24


@dataclass
class Progress:
    """Draws what has become of the slots: a bar on a terminal, a line for each step elsewhere."""

    out: TextIO | None
    terminal: bool
    served: set[int] = field(default_factory=set)

    def show(self, line: Line) -> None:
        """Show one step."""
        slots = line.get("workers", 0)
        if line.get("state") == "serves" and "slot" in line:
            self.served.add(line["slot"])
        text = self._text(line)
        if self.terminal:
            done = min(len(self.served), slots)
            filled = _BAR_WIDTH * done // max(slots, 1)
            bar = "#" * filled + "." * (_BAR_WIDTH - filled)
            write(f"\r\x1b[K[{bar}] {done}/{slots} {text}", self.out)
        else:
            write(f"{text}\n", self.out)

    def clear(self) -> None:
        """Make room for the result."""
        if self.terminal:
            write("\r\x1b[K", self.out)

    def _text(self, line: Line) -> str:
        if "slot" not in line:
            return f"reload of generation {line.get('generation')}: {line.get('state')}"
        return f"slot {line['slot']}: worker {line['worker']} {line['state']}"


def reload(server: Server, *, wait: str, timeout: float, as_json: bool) -> tuple[int, dict[str, Any]]:
    """Ask for a reload and follow it. `wait` is `finished`, `drained` or `none`, `timeout` 0 for no limit.

    Returns the exit code and the report. Who interrupts that no longer follows it: the reload is the server's.
    """
    progress = Progress(sys.stderr, is_terminal(sys.stderr))
    deadline = time.monotonic() + timeout if timeout else None
    late = VerbCode.TIMED_OUT, {"result": "timed-out", "reason": f"not over within {timeout:g} s, it goes on"}
    answer: dict[str, Any] = {}
    generation = None
    try:
        for line in server.ask("reload", wait=wait, timeout=timeout or None):
            if line.get("kind") != PROGRESS:
                answer = line
                break
            generation = line.get("generation", generation)
            if not as_json:
                progress.show(line)
            if deadline is not None and time.monotonic() >= deadline:
                return late
    except SilentError:
        return late
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED, _interrupted(generation)
    finally:
        if not as_json:
            progress.clear()
    if not answer:
        return VerbCode.NO_SERVER, {"result": "lost", "reason": "the server has ended meanwhile"}
    answer.pop("kind", None)
    return _CODES.get(answer.get("result", ""), VerbCode.REFUSED), answer


def _interrupted(generation: int | None) -> dict[str, Any]:
    """Return the report of a reload that is no longer followed; no generation: the server may not have heard of it."""
    if generation is None:
        reason = "the server has not answered yet; smoothserve status tells whether it reloads"
        return {"result": "interrupted", "reason": reason}
    reason = "the reload goes on; smoothserve status tells how it ended"
    return {"result": "interrupted", "generation": generation, "reason": reason}


def render_report(report: dict[str, Any]) -> str:
    """Render how a reload ended, as a person reads it."""
    result = report["result"]
    head = f"reload {result}"
    if "generation" in report:
        head += f": generation {report['generation']}"
    if result == "asked":
        return f"{head}: the log says how it ends"
    if result in {"finished", "mixed"}:
        swapped = f"{report['swapped']} of {report['workers']}" if result == "mixed" else str(report["swapped"])
        head += f" in {report['seconds']:.2f} s, workers swapped: {swapped}"
        head += f", connections handed over: {report['handed_over']}, WebSockets carried: "
        head += f"{report['websockets_carried']}, requests dropped so far: {report['dropped']}"
        if report.get("drained"):
            head += f"; the last replaced worker left after {report['drained_seconds']:.2f} s"
    if report.get("reason"):
        head += f": {report['reason']}"
    if result == "refused":
        head += "; the old workers serve on"
    trace = report.get("traceback")
    return f"{trace.rstrip()}\n{head}" if trace else head
