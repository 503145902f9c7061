"""The application to be served, with one worker: runs the application's side of each check, and tells its result.

Where `CONFORMANCE_LOG` names a file, the events of the lifespan are noted there.
"""

import json
import os
from pathlib import Path

from conformance.asgi.checks import CHECKS
from conformance.asgi.events import LIFESPAN, IntendedError, Receive, Scope, Send, answer
from conformance.exchange import Failure

RESULTS: dict[str, str] = {}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve as ASGI."""
    if scope["type"] == "lifespan":
        await live(scope, receive, send)
        return
    if LIFESPAN["scope"] is None:
        LIFESPAN["requests_before"] += 1
    _, kind, name, *rest = scope["path"].split("/")
    if kind == "result":
        known = name in RESULTS
        await answer(send, json.dumps({"fault": RESULTS.get(name)}).encode(), 200 if known else 404)
    elif kind == "check":
        await run(name, rest[0], scope, receive, send)
    else:
        await answer(send, b"no such path", 404)


async def run(name: str, number: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Run the application's side of a check; keep what it finds."""
    fault = "the call was cut"
    try:
        await CHECKS[name].app(scope, receive, send)
        fault = ""
    except IntendedError:
        fault = ""
        raise
    except Failure as error:
        fault = str(error)
        raise
    except Exception as error:
        fault = f"{type(error).__name__}: {error}"
        raise
    finally:
        RESULTS[number] = fault


async def live(scope: Scope, receive: Receive, send: Send) -> None:
    """Go through the lifespan, taking notes."""
    LIFESPAN["scope"] = dict(scope)
    while True:
        event = await receive()
        LIFESPAN["events"].append(dict(event))
        note(f"{event['type']} {len(event)}")
        if event["type"] == "lifespan.startup":
            if "state" in scope:
                scope["state"]["shared"] = LIFESPAN["shared"]
                scope["state"]["number"] = 1
            await send({"type": "lifespan.startup.complete"})
        else:
            await send({"type": "lifespan.shutdown.complete"})
            note("returned")
            return


def note(text: str) -> None:
    """Add a line to the log, if there is one."""
    path = os.environ.get("CONFORMANCE_LOG")
    if path:
        with Path(path).open("a") as file:
            file.write(text + "\n")
