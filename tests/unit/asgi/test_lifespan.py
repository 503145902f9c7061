"""The lifespan protocol: what starts, what fails the boot, what merely means that it is not supported."""

import asyncio
import logging
from typing import Any

import pytest

from smoothserve.asgi.lifespan import Lifespan, LifespanFailedError
from tests.unit.connection.harness import Records


def lifespan(app: Any, mode: Any = "auto") -> tuple[Lifespan, Records]:
    records = Records()
    log = logging.Logger("test", logging.DEBUG)  # noqa: LOG001 - each test has its own
    log.addHandler(records)
    return Lifespan(app, mode, log), records


async def supporting(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "lifespan"
    assert scope["asgi"] == {"version": "3.0", "spec_version": "2.0"}
    assert (await receive()) == {"type": "lifespan.startup"}
    scope["state"]["pool"] = "open"
    await send({"type": "lifespan.startup.complete"})
    assert (await receive()) == {"type": "lifespan.shutdown"}
    scope["state"]["pool"] = "closed"
    await send({"type": "lifespan.shutdown.complete"})


async def raising(scope: Any, receive: Any, send: Any) -> None:
    raise ValueError("only http here")


async def returning(scope: Any, receive: Any, send: Any) -> None: ...


def test_state_is_filled_at_start_up_and_the_application_ends_at_shutdown() -> None:
    async def scenario() -> None:
        one, records = lifespan(supporting)
        await one.startup()
        assert one.state == {"pool": "open"}
        await one.shutdown(5.0)
        assert one.state == {"pool": "closed"}
        assert records.lines == []

    asyncio.run(scenario())


async def answering_as_if_asked(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})


@pytest.mark.parametrize(
    ("app", "reason"),
    [
        (raising, "raised ValueError: only http here"),
        (returning, "its call returned"),
        (answering_as_if_asked, "'http.response.start' is not expected"),
    ],
)
def test_auto_takes_an_exception_or_return_before_start_up_as_not_supported_and_says_so(app: Any, reason: str) -> None:
    async def scenario() -> None:
        one, records = lifespan(app)
        await one.startup()
        await one.shutdown(5.0)
        (line,) = records.lines
        assert line.startswith("INFO the application does not support lifespan (")
        assert reason in line
        assert line.endswith("): serving without")
        assert "Traceback" not in line

    asyncio.run(scenario())


@pytest.mark.parametrize("error", [RuntimeError("no\ndatabase"), SystemExit(1), KeyboardInterrupt()])
def test_auto_shows_the_traceback_of_a_start_up_that_raised_and_serves_on(error: BaseException) -> None:
    async def starting(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        raise error

    async def scenario() -> None:
        one, records = lifespan(starting)
        await one.startup()
        await one.shutdown(5.0)
        (line,) = records.lines
        first, *trace = line.splitlines()
        assert first.startswith("ERROR the application does not support lifespan (raised ")
        assert type(error).__name__ in first
        assert first.endswith("during start-up): serving without; with --lifespan on this fails the boot")
        assert trace[0].startswith("Traceback")
        assert "in starting" in line
        assert "asgi/lifespan.py" not in line, "the application's own frames only"

    asyncio.run(scenario())


def test_on_fails_the_boot_with_the_applications_traceback() -> None:
    async def scenario() -> None:
        one, _ = lifespan(raising, "on")
        with pytest.raises(LifespanFailedError, match="ValueError: only http here") as info:
            await one.startup()
        assert "in raising" in info.value.traceback
        one, _ = lifespan(returning, "on")
        with pytest.raises(LifespanFailedError, match="returned"):
            await one.startup()

    asyncio.run(scenario())


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_a_failed_start_up_fails_the_boot_with_its_message(mode: str) -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    async def scenario() -> None:
        one, _ = lifespan(failing, mode)
        with pytest.raises(LifespanFailedError, match="no database"):
            await one.startup()

    asyncio.run(scenario())


def test_the_reason_is_one_line_without_notes() -> None:
    async def raising_much(scope: Any, receive: Any, send: Any) -> None:
        error = ValueError("one\ntwo")
        error.add_note("a note")
        raise error

    async def telling_much(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database\n  at db:5432\n"})

    async def scenario() -> None:
        one, _ = lifespan(raising_much, "on")
        with pytest.raises(LifespanFailedError) as info:
            await one.startup()
        assert str(info.value) == "the lifespan start-up raised ValueError: one two"
        one, _ = lifespan(telling_much)
        with pytest.raises(LifespanFailedError) as info:
            await one.startup()
        assert str(info.value) == "the lifespan start-up failed: no database at db:5432"

    asyncio.run(scenario())


def test_starlettes_failure_shows_the_line_and_the_traceback() -> None:
    from contextlib import asynccontextmanager

    from starlette.applications import Starlette

    @asynccontextmanager
    async def broken(app: Any) -> Any:
        if app is not None:
            error = RuntimeError("no database")
            error.add_note("a note")
            raise error
        yield

    async def scenario() -> None:
        one, _ = lifespan(Starlette(lifespan=broken))
        with pytest.raises(LifespanFailedError) as info:
            await one.startup()
        assert str(info.value) == "the lifespan start-up failed: RuntimeError: no database"
        assert "in broken" in info.value.traceback

    asyncio.run(scenario())


def test_off_never_calls_the_application() -> None:
    async def scenario() -> None:
        one, _ = lifespan(raising, "off")
        await one.startup()
        await one.shutdown(5.0)

    asyncio.run(scenario())


def test_a_shutdown_that_hangs_or_fails_is_told_and_does_not_hold_the_worker() -> None:
    async def hanging(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if scope["state"].get("raise"):
            raise SystemExit("in shutdown")
        await asyncio.sleep(60)

    async def scenario() -> None:
        one, records = lifespan(hanging)
        await one.startup()
        await one.shutdown(0.02)
        assert "did not end within 0.02 s" in records.lines[0]
        one, records = lifespan(hanging)
        one.state["raise"] = True
        await one.startup()
        await one.shutdown(5.0)
        assert "exception in the application's lifespan shutdown" in records.lines[0]
        assert "SystemExit: in shutdown" in records.lines[0]

    asyncio.run(scenario())
