"""`python -m tests.load`: a reload under load, live, with a closing table. Exit code 1 if anything was dropped."""

import argparse
import sys
from urllib.parse import urlsplit

from tests.load.connection import Target
from tests.load.watch import TRAFFIC, OwnServer, RunningServer, watch

MOST_SECONDS = 3600
MOST_CLIENTS = 5000
LOOPBACK = ("127.0.0.1", "localhost")

EPILOG = """\
examples:
  python -m tests.load                                 two workers, 48 keep-alive clients, 3 reloads
  python -m tests.load --traffic mixed --workers 8
  python -m tests.load --url http://127.0.0.1:8000 --pid 1234
                                                       a server that runs tests/apps/asgi_load.py already
  python -m tests.load -- --http h11 --loop asyncio    what follows -- goes to smoothserve
"""


def main() -> int:
    """Parse the command line, run, print; return the exit code."""
    arguments = parse()
    traffic = TRAFFIC[arguments.traffic](arguments.clients)
    options = {"reloads": arguments.reloads, "interval": arguments.interval, "timeout": arguments.timeout}
    if arguments.url:
        report = watch(RunningServer(parse_url(arguments.url), arguments.pid), traffic, **options)
    else:
        with OwnServer(arguments.workers, arguments.wsgi, arguments.options) as server:
            report = watch(server, traffic, **options)
    return 1 if report.dropped else 0


def parse() -> argparse.Namespace:
    """Parse and check the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.load",
        description="Watch a server reload under load: every request's outcome is classified, none is retried.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--traffic", choices=TRAFFIC, default="keep-alive", help="what the clients do (keep-alive)")
    parser.add_argument("--clients", type=int, default=48, help="how many clients (48); mixed has its own numbers")
    parser.add_argument("--reloads", type=int, default=3, help="how many HUPs (3)")
    parser.add_argument("--interval", type=float, default=3.0, help="seconds before, between and after them (3)")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds that a request may take (30)")
    parser.add_argument("--workers", type=int, default=2, help="workers of the server that is started (2)")
    parser.add_argument("--wsgi", action="store_true", help="start the WSGI application instead of the ASGI one")
    parser.add_argument("--url", help="load a running server instead: http://127.0.0.1:PORT or unix:/path")
    parser.add_argument("--pid", type=int, help="its master's process id, to send HUP to (else you do)")
    parser.add_argument("options", nargs="*", help="after --: options for the smoothserve that is started")
    arguments = parser.parse_args()
    if not 0 < arguments.clients <= MOST_CLIENTS:
        parser.error(f"--clients: from 1 to {MOST_CLIENTS}")
    if not 0 < arguments.interval * (arguments.reloads + 1) <= MOST_SECONDS:
        parser.error(f"--interval times --reloads: at most {MOST_SECONDS} s in all")
    if arguments.pid is not None and not arguments.url:
        parser.error("--pid goes with --url")
    return arguments


def parse_url(url: str) -> Target:
    """Parse where the server listens; only this machine is allowed."""
    if url.startswith("unix:"):
        return Target(path=url.removeprefix("unix:"))
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname not in LOOPBACK or parts.port is None:
        raise SystemExit("--url: http://127.0.0.1:PORT or unix:/path, and no other machine")
    return Target(port=parts.port)


if __name__ == "__main__":
    sys.exit(main())
