"""The messages between the master and a worker, as typed values and as JSON bytes.

Decides the wire form only; when a message is sent is the state machine's and the worker's business. Unknown
fields are ignored and unknown kinds come back as `Unknown`, so that a newer worker can talk to an older master.
"""

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar

#: Raised when the meaning of an existing message changes; a new field or kind does not need it.
CONTROL_VERSION = 1

#: A text that takes more than this on the wire is cut in the middle: the channel carries packets of limited size.
MAX_TEXT_BYTES = 48 * 1024


class ControlError(ValueError):
    """Bytes on the control socket that are no message."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message on the control socket; `kind` names it on the wire."""

    kind: ClassVar[str] = ""

    def encode(self) -> bytes:
        """Render the message as one packet."""
        return json.dumps({"kind": self.kind, **asdict(self)}, separators=(",", ":")).encode()


# worker -> master


@dataclass(frozen=True, slots=True)
class Ready(Message):
    """The application is imported and its lifespan start-up is complete; nothing is accepted yet."""

    kind = "ready"
    interface: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Failed(Message):
    """The worker can't boot, and will exit. `usage` marks a mistake that needs no traceback."""

    kind = "failed"
    reason: str = ""
    traceback: str = ""

    def encode(self) -> bytes:
        """Render the message as one packet, its texts shortened: they are the application's, of any length."""
        return Message.encode(replace(self, reason=shorten(self.reason), traceback=shorten(self.traceback)))


@dataclass(frozen=True, slots=True)
class Accepting(Message):
    """The worker accepts connections from now on: the answer to `Accept`."""

    kind = "accepting"


@dataclass(frozen=True, slots=True)
class Draining(Message):
    """The worker has begun to drain, on the master's word or because it got TERM itself."""

    kind = "draining"


@dataclass(frozen=True, slots=True)
class HandoverFinished(Message):
    """The draining worker has handed over what it could; `left` requests are still in hand there."""

    kind = "handover-finished"
    left: int = 0


@dataclass(frozen=True, slots=True)
class ReceiverStuck(Message):
    """The worker that we hand over to answers neither offers nor cancellations: its end must decide who owns what.

    `receiver` is its number, as the master gave it with `HandOver`.
    """

    kind = "receiver-stuck"
    receiver: int = 0


@dataclass(frozen=True, slots=True)
class Saturated(Message):
    """All threads are stuck in calls, and something waits that a sibling could serve. Said once a second at most.

    `have`: the numbers of the siblings that there are channels to, with spaces between them.
    """

    kind = "saturated"
    have: str = ""


@dataclass(frozen=True, slots=True)
class Recycle(Message):
    """The worker serves on, but asks to be replaced, once it suits. Said once; `cause` is for the log."""

    kind = "recycle"
    cause: str = ""


@dataclass(frozen=True, slots=True)
class ConnectionsListed(Message):
    """The answer to `ListConnections`: the file is written. `total` is how many connections there are."""

    kind = "connections-listed"
    question: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class Heartbeat(Message):
    """The worker's loop turns; sent about once a second."""

    kind = "heartbeat"


# master -> worker


@dataclass(frozen=True, slots=True)
class Accept(Message):
    """Accept connections from now on. To a draining worker: its successor is gone, it serves on."""

    kind = "accept"


@dataclass(frozen=True, slots=True)
class Drain(Message):
    """Accept nothing new, finish what is in hand, leave.

    `timeout` seconds from now what is left is cut and counted as dropped. `linger` seconds an idle keep-alive
    connection may still bring a request. `final`: the server stops, so the listener is emptied and closed.
    `receiver_timeout` seconds connections are kept for a receiver that is still to come.
    """

    kind = "drain"
    timeout: float = 300.0
    linger: float = 5.0
    final: bool = False
    cause: str = "reload"
    receiver_timeout: float = 5.0


@dataclass(frozen=True, slots=True)
class Receive(Message):
    """Take over the connections that are offered on the channel which comes as a file descriptor.

    `relief`: of a sibling that has no thread free, only while there is one here.
    """

    kind = "receive"
    sender: int = 0
    relief: bool = False


@dataclass(frozen=True, slots=True)
class HandOver(Message):
    """Hand connections over to worker `receiver`, on the channel which comes as a file descriptor, once draining.

    Without a descriptor: there can be no channel.
    `relief`: not when draining, but while all threads are stuck in calls; `row` is the receiver's on the scoreboard.
    """

    kind = "hand-over"
    receiver: int = 0
    relief: bool = False
    row: int = 0


@dataclass(frozen=True, slots=True)
class DumpTasks(Message):
    """Add the stacks of all tasks to the file of dumps."""

    kind = "dump-tasks"


@dataclass(frozen=True, slots=True)
class ListConnections(Message):
    """Write what the connections are and do to the file that comes as a descriptor: `limit` of them, 0 for all."""

    kind = "list-connections"
    question: int = 0
    limit: int = 0
    sort: str = ""


@dataclass(frozen=True, slots=True)
class StopAhead(Message):
    """The server will stop soon: serve on, but tell balancers that ask (`--health-path`)."""

    kind = "stop-ahead"


@dataclass(frozen=True, slots=True)
class ReopenLogs(Message):
    """Open the log files afresh: they have been rotated."""

    kind = "reopen-logs"


@dataclass(frozen=True, slots=True)
class Unknown(Message):
    """A message of a kind that this version does not know. Ignored, and logged once."""

    kind = "unknown"
    name: str = ""


KINDS: dict[str, type[Message]] = {
    message.kind: message
    for message in (
        Ready,
        Failed,
        Accepting,
        Draining,
        HandoverFinished,
        ReceiverStuck,
        Saturated,
        Recycle,
        Heartbeat,
        Accept,
        Drain,
        Receive,
        HandOver,
        ReopenLogs,
        StopAhead,
        DumpTasks,
        ListConnections,
        ConnectionsListed,
    )
}


def shorten(text: str, limit: int = MAX_TEXT_BYTES) -> str:
    """Cut the middle out of a text that takes more than `limit` bytes in JSON: head and tail of a traceback matter.

    JSON needs six bytes for a control character or a letter beyond ASCII.
    """
    shortened, kept = text, limit
    while kept and len(json.dumps(shortened)) > limit:
        shortened = _cut(text, kept)
        kept = kept * 3 // 4
    return shortened


def _cut(text: str, kept: int) -> str:
    data = text.encode("utf-8", "replace")
    half = kept // 2
    return data[:half].decode("utf-8", "ignore") + "\n  [...]\n" + data[len(data) - half :].decode("utf-8", "ignore")


def parse_message(packet: bytes) -> Message:
    """Parse one packet. Raise `ControlError` for anything that is no message."""
    try:
        values: Any = json.loads(packet)
    except (ValueError, RecursionError) as error:
        raise ControlError(f"not a control message: {packet[:80]!r}") from error
    if not isinstance(values, dict) or not isinstance(values.get("kind"), str):
        raise ControlError(f"not a control message: {packet[:80]!r}")
    kind = KINDS.get(values["kind"])
    if kind is None:
        return Unknown(name=values["kind"])
    known = {}
    for field in fields(kind):
        if field.name in values:
            value = values[field.name]
            if isinstance(field.default, float) and type(value) is int:
                value = _parse_seconds(kind, value)
            if type(value) is not type(field.default):
                raise ControlError(f"{kind.kind}: {field.name} has the wrong type")
            known[field.name] = value
    return kind(**known)


def _parse_seconds(kind: type[Message], value: int) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise ControlError(f"{kind.kind}: a number is too large") from error
