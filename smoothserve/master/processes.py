"""The master's end of a worker: its process, its control channel, and what its messages mean to the rules."""

from smoothserve.control.channel import Channel
from smoothserve.control.messages import (
    Accepting,
    Draining,
    Failed,
    HandoverFinished,
    Heartbeat,
    Message,
    Ready,
    ReceiverStuck,
    Recycle,
    Saturated,
)
from smoothserve.master import events


class Process:
    """A worker's process and our end of its control channel."""

    __slots__ = (
        "channel",
        "disconnected_at",
        "dropped",
        "exited",
        "generation",
        "heartbeat_at",
        "interpreter",
        "number",
        "pid",
        "row",
        "slot",
    )

    def __init__(
        self, number: int, slot: int, generation: int, pid: int, channel: Channel, row: int, interpreter: str
    ) -> None:
        self.number = number
        self.slot = slot
        self.generation = generation
        self.pid = pid
        self.channel = channel
        self.row = row
        self.interpreter = interpreter
        self.dropped = 0
        self.exited = False
        self.disconnected_at: float | None = None
        self.heartbeat_at = 0.0


def understand(process: Process, message: Message, now: float) -> events.Event | None:
    """Return what a worker's message means to the state machine, None: nothing."""
    number = process.number
    match message:
        case Ready():
            return events.WorkerReady(now, number, message.interface)
        case Failed():
            return events.WorkerFailed(now, number, message.reason, message.traceback)
        case Accepting():
            return events.WorkerAccepting(now, number)
        case Draining():
            return events.WorkerDraining(now, number)
        case HandoverFinished():
            return events.WorkerHandedOver(now, number, message.left)
        case ReceiverStuck():
            return events.ReceiverGotStuck(now, number, message.receiver)
        case Saturated():
            have = frozenset(int(one) for one in message.have.split() if one.isdecimal())
            return events.WorkerSaturated(now, number, have)
        case Recycle():
            return events.WorkerWantsReplacement(now, number, message.cause)
        case Heartbeat():
            process.heartbeat_at = now
    return None
