"""Run the cases against a server: `python -m conformance.websocket HOST:PORT`. See README.md here."""

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from conformance.target import NO_SERVER, parse_selection, parse_target
from conformance.websocket.cases import Behaviour
from conformance.websocket.runner import QUICK_MESSAGES, Options, Result, run, select

GROUPS = {
    "1": "messages",
    "2": "pings and pongs",
    "3": "reserved bits",
    "4": "opcodes",
    "5": "fragments",
    "6": "UTF-8",
    "7": "closing",
    "9": "limits and speed",
    "10": "many fragments",
    "12": "compression, by kind of data",
    "13": "compression, by offer",
}
COLUMNS = (Behaviour.OK, Behaviour.NON_STRICT, Behaviour.FAILED, Behaviour.INFORMATIONAL, Behaviour.UNIMPLEMENTED)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; return 0 if nothing failed, 1 if something did, 2 if there is no such server or case."""
    asked = parse_arguments(arguments)
    cases = select(asked.cases, quick=asked.quick)
    if not cases:
        print("no case has such a number", file=sys.stderr)
        return NO_SERVER
    messages = asked.messages or (QUICK_MESSAGES if asked.quick else None)
    options = Options(asked.target, asked.path, asked.patience, asked.concurrency, messages)
    began = time.monotonic()
    try:
        asyncio.run(check_server(options))
    except OSError as error:
        print(f"no server at {asked.target.authority}: {str(error) or 'no answer'}", file=sys.stderr)
        return NO_SERVER
    results = asyncio.run(run(cases, options))
    if asked.json:
        print(json.dumps([asdict(result) for result in results], indent=1))
    else:
        print(render(results, time.monotonic() - began))
    bad = [result for result in results if result.failed or (asked.strict and not result.strict)]
    return 1 if bad else 0


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m conformance.websocket", description=__doc__.partition(":")[0] if __doc__ else None
    )
    parser.add_argument("target", metavar="HOST:PORT", type=parse_target, help="a server whose application echoes")
    parser.add_argument("--path", default="/", help="path of the WebSocket (default: /)")
    parser.add_argument(
        "--cases", type=parse_selection, default="*", help="numbers, such as 1,2.*,9.1.3 (default: all)"
    )
    parser.add_argument(
        "--quick", action="store_true", help=f"no heavy cases, {QUICK_MESSAGES} messages instead of 1000"
    )
    parser.add_argument("--messages", type=int, help="at most so many messages where many are sent (default: 1000)")
    parser.add_argument("--patience", type=float, default=10.0, help="seconds to wait for the server (default: 10)")
    parser.add_argument("--concurrency", type=int, default=16, help="cases at a time (default: 16)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 for non-strict, unimplemented and mute, too")
    parser.add_argument("--json", action="store_true", help="print all results as JSON instead of a table")
    return parser.parse_args(arguments)


async def check_server(options: Options) -> None:
    """Raise `OSError` if nobody listens there."""
    async with asyncio.timeout(options.patience):
        _, writer = await asyncio.open_connection(options.target.host, options.target.port)
    writer.close()


def render(results: Sequence[Result], seconds: float) -> str:
    """Return the table of the groups, and below it each case that is not as it should be."""
    lines = [f"{'group':<34}" + "".join(f"{column:>15}" for column in COLUMNS) + f"{'bad closing':>15}{'mute':>6}"]
    for group, name in [*GROUPS.items(), ("", "all")]:
        chosen = [result for result in results if not group or result.number.partition(".")[0] == group]
        if not chosen:
            continue
        counts = Counter(result.behaviour for result in chosen)
        bad = sum(result.failed and result.behaviour is not Behaviour.FAILED for result in chosen)
        mute = sum(result.mute for result in chosen)
        row = [f"{counts[column] or '':>15}" for column in COLUMNS]
        lines.append(f"{group:>2} {name:<31}{''.join(row)}{bad or '':>15}{mute or '':>6}".rstrip())
    for result in results:
        if result.failed or result.behaviour is Behaviour.NON_STRICT:
            verdict = result.behaviour if not result.failed or result.behaviour is Behaviour.FAILED else result.closing
            lines.append(f"{result.number:<8} {verdict:<13} {result.says}: {result.detail}".rstrip(": "))
    lines.append(f"{len(results)} cases in {seconds:.1f} s")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
