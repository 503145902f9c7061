"""The lifespan protocol, as the application's lifespan call saw it (ASGI Lifespan 2.0)."""

from conformance.asgi.checks.registry import check
from conformance.asgi.events import LIFESPAN, Receive, Scope, Send, answer
from conformance.exchange import expect, expect_equal

SECTION = "Lifespan Scope"


@check(SECTION)
async def lifespan_was_called(scope: Scope, receive: Receive, send: Send) -> None:
    """The lifespan call came before the first request."""
    expect(LIFESPAN["scope"] is not None, "there was no lifespan call")
    expect_equal(LIFESPAN["requests_before"], 0, "the number of requests before it")
    await answer(send)


@check(SECTION)
async def lifespan_scope_is_whole(scope: Scope, receive: Receive, send: Send) -> None:
    """Its scope has type, asgi and, if state is supported, state."""
    seen = LIFESPAN["scope"]
    expect_equal(seen["type"], "lifespan", "type")
    expect_equal(seen["asgi"]["version"], "3.0", "version")
    expect(seen["asgi"].get("spec_version", "1.0") in ("1.0", "2.0"), f"spec_version {seen['asgi']}")
    expect(isinstance(seen.get("state", {}), dict), "state is not a dict")
    await answer(send)


@check("Startup - receive event")
async def startup_came_once(scope: Scope, receive: Receive, send: Send) -> None:
    """The first event was the start-up, and there is no other yet."""
    expect_equal([event["type"] for event in LIFESPAN["events"]], ["lifespan.startup"], "events")
    expect(LIFESPAN["events"][0].keys() == {"type"}, f"keys {sorted(LIFESPAN['events'][0])}")
    await answer(send)
