"""The lifespan protocol 2.0: start-up before the worker is ready, shutdown when the last call has returned."""

import asyncio
import logging
import traceback
from typing import Any, Literal

from smoothserve.asgi.http import ASGICallable, Message
from smoothserve.errors import BootError, one_line

_UNSUPPORTED = "the application does not support lifespan"


class LifespanFailedError(BootError):
    """The application's start-up failed. `traceback` is the application's, or empty."""

    def __init__(self, reason: str, trace: str = "") -> None:
        super().__init__(reason)
        self.traceback = trace


class _ForeignMessageError(RuntimeError):
    """The application has sent a message of another protocol."""


class Lifespan:
    """One lifespan of an ASGI application: `startup`, then `shutdown`.

    With `auto` an exception before start-up is complete means that the application does not support the protocol;
    `lifespan.startup.failed` fails the boot in any case.
    """

    def __init__(
        self,
        app: ASGICallable,
        mode: Literal["auto", "on", "off"],
        error_log: logging.Logger,
        *,
        speaks: bool = True,
    ) -> None:
        """`speaks` is false where a sibling says already that the application is served without lifespan."""
        self._app = app
        self._mode = mode
        self._error_log = error_log
        self._unsupported_level = logging.INFO if speaks else logging.DEBUG
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._started = asyncio.Event()
        self._stopped = asyncio.Event()
        self._startup_failed: str | None = None
        self._startup_received = False
        self._completed = False
        self._shutdown_asked = False
        self._error: BaseException | None = None
        self._task: asyncio.Task[None] | None = None
        self.state: dict[str, Any] = {}
        """The namespace that the application fills at start-up; each request gets a shallow copy."""

    async def startup(self) -> None:
        """Send `lifespan.startup` and wait for its answer. Raise `LifespanFailedError` if the boot must fail."""
        if self._mode == "off":
            return
        self._events.put_nowait({"type": "lifespan.startup"})
        self._task = asyncio.get_running_loop().create_task(self._run(), name="smoothserve-lifespan")
        await self._started.wait()
        if self._startup_failed is not None:
            trace = _render(self._error) if self._error is not None else ""
            if not trace and "\n" in self._startup_failed:
                trace = self._startup_failed
            reason = _reason(self._startup_failed, self._error)
            raise LifespanFailedError(f"the lifespan start-up failed: {reason}".rstrip(": "), trace)
        if self._error is not None:
            if self._mode == "on":
                raise LifespanFailedError(f"the lifespan start-up raised {one_line(self._error)}", _render(self._error))
            self._say_unsupported(self._error)
        elif self._stopped.is_set() and not self._completed:
            if self._mode == "on":
                raise LifespanFailedError(
                    "the application returned from its lifespan call before start-up was complete"
                )
            self._error_log.log(self._unsupported_level, "%s (its call returned): serving without", _UNSUPPORTED)

    def _say_unsupported(self, error: BaseException) -> None:
        """Say that the application is served without lifespan, and how sure it is that this is what was meant.

        Who raises without having asked for an event, or answers it as a request, does not know the protocol. Anyone
        else who had `lifespan.startup` in hand was most likely starting up, and what it was to set up is missing.
        """
        if not self._startup_received or isinstance(error, _ForeignMessageError):
            text = "%s (raised %s): serving without"
            self._error_log.log(self._unsupported_level, text, _UNSUPPORTED, one_line(error))
            return
        self._error_log.error(
            "%s (raised %s during start-up): serving without; with --lifespan on this fails the boot",
            _UNSUPPORTED,
            one_line(error),
            exc_info=_without_our_frame(error),
        )

    async def shutdown(self, timeout: float) -> None:
        """Send `lifespan.shutdown` and wait for its answer, at most `timeout` seconds."""
        if self._task is None or self._stopped.is_set():
            return
        self._shutdown_asked = True
        self._events.put_nowait({"type": "lifespan.shutdown"})
        try:
            async with asyncio.timeout(timeout):
                await self._stopped.wait()
        except TimeoutError:
            self._error_log.error("the lifespan shutdown did not end within %g s", timeout)
            self._task.cancel()

    async def cancel(self) -> None:
        """Cut a start-up short: the worker is told to leave before it was ready."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=1.0)

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            await self._app(scope, self._receive, self._send)
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - SystemExit, too, is the application's failure, not ours
            if not isinstance(error, asyncio.CancelledError):
                self._error = error
            if self._shutdown_asked and not self._stopped.is_set() and self._error is not None:
                self._error_log.error("exception in the application's lifespan shutdown", exc_info=error)
            elif self._started.is_set() and self._startup_failed is None and not self._shutdown_asked:
                self._error_log.error("exception in the application's lifespan call", exc_info=error)
        finally:
            self._stopped.set()
            self._started.set()

    async def _receive(self) -> Message:
        message = await self._events.get()
        self._startup_received = True
        return message

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "lifespan.startup.complete" and not self._started.is_set():
            self._completed = True
            self._started.set()
        elif kind == "lifespan.startup.failed" and not self._started.is_set():
            self._startup_failed = message.get("message", "") or "no message"
            # The application usually raises right after this: wait for the task's end, so that its traceback is known.
            asyncio.get_running_loop().call_later(0.2, self._started.set)
        elif kind == "lifespan.shutdown.complete" and self._shutdown_asked:
            self._stopped.set()
        elif kind == "lifespan.shutdown.failed" and self._shutdown_asked:
            self._error_log.error("the application's lifespan shutdown failed: %s", message.get("message", ""))
            self._stopped.set()
        else:
            error = RuntimeError if kind.startswith("lifespan.") else _ForeignMessageError
            raise error(f"the message {kind!r} is not expected at this point of the lifespan protocol")


def _render(error: BaseException) -> str:
    return "".join(traceback.format_exception(_without_our_frame(error)))


def _reason(message: str, error: BaseException | None) -> str:
    """Return the application's message on one line; of a traceback, which Starlette sends, what was raised."""
    if not message.startswith("Traceback (most recent call last)"):
        return " ".join(message.split())
    return one_line(error) if error is not None else (message.strip().splitlines() or [""])[-1].strip()


def _without_our_frame(error: BaseException) -> BaseException:
    """Drop the server's own frame from the traceback: it begins in the application's call."""
    if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
        return error.with_traceback(error.__traceback__.tb_next)
    return error
