"""A worker without an application: it speaks the control protocol and does what the file `behaviour` tells it.

Started by a real master through `--python`, with the arguments of a real worker. It writes what it was started with
to `started-N` in its directory, N being its number.
"""

import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from smoothserve.control.channel import Channel
from smoothserve.control.launch import WorkerLaunch, read_launch
from smoothserve.control.messages import (
    Accept,
    Accepting,
    Drain,
    Draining,
    Failed,
    HandoverFinished,
    Heartbeat,
    Message,
    Ready,
    ReopenLogs,
    parse_message,
)
from smoothserve.control.scoreboard import Counter, Scoreboard


def main() -> int:
    descriptors = os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd") else []
    descriptors = [fd for fd in descriptors if os.path.exists(f"/proc/self/fd/{fd}")]  # not the listing's own
    launch = read_launch(WorkerLaunch, int(sys.argv[-1]))
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGWINCH):
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    behaviour: dict[str, Any] = json.loads(Path("behaviour").read_text()) if os.path.exists("behaviour") else {}
    started = {
        "pid": os.getpid(),
        "directory": os.getcwd(),
        "program": os.environ.get("FAKE_INTERPRETER"),
        "arguments": sys.argv[1:],
        "environ": dict(os.environ),
        "descriptors": descriptors,
        "blocked": sorted(signal.Signals(number).name for number in blocked),
        "listeners": launch.listeners,
        "launch": {name: getattr(launch, name) for name in ("worker", "slot", "generation", "control_fd", "dump_fd")},
        "scoreboard_fd": launch.scoreboard_fd,
        "setting": launch.settings["app"],
    }
    temporary = Path(f".started-{launch.worker}")
    temporary.write_text(json.dumps(started))
    temporary.rename(f"started-{launch.worker}")
    return Fake(launch, behaviour).run()


class Fake:
    def __init__(self, launch: WorkerLaunch, behaviour: dict[str, Any]) -> None:
        self.launch = launch
        self.behaviour = behaviour
        self.channel = Channel(socket.socket(fileno=launch.control_fd))
        self.row = Scoreboard(launch.scoreboard_fd, launch.scoreboard_rows).row(launch.scoreboard_row)

    def say(self, message: Message) -> None:
        self.channel.send(message.encode())

    def run(self) -> int:
        boot = self.behaviour.get("boot", "ready")
        if boot == "fail":
            self.say(Failed(reason="ImportError: no", traceback="Traceback (most recent call last):\nImportError: no"))
            return 3
        if boot == "exit":
            return 0
        while boot == "hang":
            time.sleep(60)
        self.row[Counter.UNANSWERED] = self.behaviour.get("unanswered", 0)
        self.row[Counter.HANDED_OVER] = self.behaviour.get("handed_over", 0)
        self.say(Heartbeat())
        if boot == "garbage":
            self.channel.send(b"garbage")
            self.channel.send(b'{"kind":"sing"}')
        self.say(Ready(interface="asgi", version="0"))
        leave = False
        while not leave:
            select.select([self.channel], [], [])
            for packet in self.channel.receive():
                leave = self.obey(parse_message(packet.data)) or leave
            leave = leave or self.channel.closed
        return 0

    def obey(self, message: Message) -> bool:
        """Do as told; True: leave."""
        if isinstance(message, Accept):
            self.say(Accepting())
            if self.behaviour.get("disconnect"):
                self.channel.close()
                time.sleep(600)
        elif isinstance(message, Drain):
            self.say(Draining())
            self.say(HandoverFinished(left=0))
            self.row[Counter.UNANSWERED] = 0
            return not self.behaviour.get("stay") or message.timeout < 1.0
        elif isinstance(message, ReopenLogs):
            Path(f"reopened-{self.launch.worker}").touch()
        return False


if __name__ == "__main__":
    sys.exit(main())
