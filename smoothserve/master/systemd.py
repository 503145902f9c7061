"""What systemd is told over $NOTIFY_SOCKET (sd_notify(3)): ready, reloading, stopping, a status line, keep-alive pings.

Datagrams that nobody takes are lost; the server does not wait for its supervisor.
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence

from smoothserve.master import actions, events
from smoothserve.master.companion import Companion, Seat


class Notifier(Companion):
    """Tells the service manager. Without one it is not made."""

    def __init__(
        self, address: str, watchdog_interval: float | None, *, app: str, restarting: Callable[[], bool]
    ) -> None:
        """`watchdog_interval` is what the manager allows between two pings (seconds)."""
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._interval = watchdog_interval / 2 if watchdog_interval else None
        self._app = app
        self._restarting = restarting
        self._next_ping: float | None = None
        self._ready = False
        self._reloading = False
        self._stopping = False

    def open(self, seat: Seat) -> None:
        """Begin to ping: a boot that takes long is no hang of the master's."""
        self._seat = seat
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.setblocking(False)
        self._next_ping = seat.now() if self._interval else None

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def next_deadline(self) -> float | None:
        """Return when the next ping is due."""
        return self._next_ping

    def advance(self, now: float) -> None:
        """Ping: the master's loop turns."""
        if self._interval and self._next_ping is not None and now >= self._next_ping:
            self._next_ping = now + self._interval
            self._send("WATCHDOG=1")

    def note(self, event: events.Event, actions_: Sequence[actions.Action]) -> None:
        """Tell what has come of an event."""
        if isinstance(event, events.HangupReceived) and self._ready and not self._stopping:
            self._send_reloading("reloading")
        if isinstance(event, events.TermReceived) and self._stopping and not self._restarting():
            self._send("STOPPING=1", "STATUS=stopping")
        for action in actions_:
            self._tell(action)
        succession = self._seat.state.succession
        if self._reloading and not self._stopping and not succession.busy:
            self._reloading = False
            self._send("READY=1")

    def _tell(self, action: actions.Action) -> None:
        match action:
            case actions.SayReady():
                self._ready = True
                workers = f"{action.workers} worker{'' if action.workers == 1 else 's'}"
                self._send("READY=1", f"MAINPID={os.getpid()}", f"STATUS={workers} of generation 1 serve {self._app}")
            case actions.SayReloadFinished():
                self._send(f"STATUS=generation {action.generation} serves {self._app}")
            case actions.SayReloadRefused():
                self._send(f"STATUS=reload of generation {action.generation} refused, old code serves: {action.reason}")
            case actions.SayReloadMixed():
                self._send(f"STATUS=reload of generation {action.generation} stopped half-way: {action.reason}")
            case actions.SayStopping():
                self._stopping = True
                if self._restarting():
                    self._send_reloading("restarting")
                else:
                    self._send("STOPPING=1", "STATUS=stopping")
            case actions.SayBootFailed():
                self._send(f"STATUS=the application did not boot: {action.reason}")
            case _:
                pass

    def _send_reloading(self, status: str) -> None:
        self._reloading = True
        # Type=notify-reload compares it with the moment of its own signal (CLOCK_MONOTONIC).
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", f"STATUS={status}")

    def _send(self, *lines: str) -> None:
        text = "\n".join(" ".join(line.split()) for line in lines)
        with contextlib.suppress(OSError):
            self._sock.sendto(text.encode("utf-8", "backslashreplace"), self._address)


def find_manager(environ: Mapping[str, str]) -> tuple[str, float | None] | None:
    """Return the manager's address and the watchdog interval that it wants (seconds), None: nobody is to be told."""
    address = environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in {"/", "@"}:
        return None
    interval = environ.get("WATCHDOG_USEC", "")
    ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return address, int(interval) / 1_000_000 if ours and interval.isdecimal() and int(interval) > 0 else None
