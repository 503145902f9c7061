"""Traps at exact steps of a handover, what happens to who steps into one, and a server that is reloaded into it."""

import signal
from pathlib import Path

from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve
from tests.process.hooks import Hooks
from tests.process.processes import wait_until

CONNECTIONS = 300
QUICK = ("--soak-interval", "0.1")
#: How many connections have been acknowledged when the fault happens, where the step says "amid".
AMID = 50

#: Put before a step of the handover; `act` is what happens there, to the one that steps into the trap.
BEFORE_RECEIVING = """\
    def take_up(self, service, channel, **options):
        if springs("trap"):
            act()
        original(self, service, channel, **options)

    original, Adopting.__init__ = Adopting.__init__, take_up
"""
AMID_BEFORE_ACK = f"""\
    def answer(self, event, fds):
        if self._service.adopted >= {AMID} and springs("trap"):
            act()
        original(self, event, fds)

    original, Adopting._answer = Adopting._answer, answer
"""
AMID_AFTER_ACK = f"""\
    def adopt_acknowledged(self):
        if self._acknowledged and self._service.adopted >= {AMID - 1} and springs("trap"):
            act()
        original(self)

    original, Adopting._adopt_acknowledged = Adopting._adopt_acknowledged, adopt_acknowledged
"""
AFTER_ACCEPTING = """\
    def accept(self):
        original(self)
        if springs("trap"):
            act()

    original, Worker._accept = Worker._accept, accept
"""
OFFERS_QUEUED = """\
    def send(self, link):
        original(self, link)
        if len(link.sender._unanswered) > 8 and springs("trap"):
            act()

    original, Offering._send = Offering._send, send
"""
KILLED = "    act = lambda: os.kill(os.getpid(), signal.SIGKILL)\n"
#: A child that lives on must not hide the death; it leaves the server's session, so that the test's end need not wait.
FORKED_AND_KILLED = """\
    def act():
        if os.fork() == 0:
            os.setsid()
            time.sleep(20)
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)

"""
STOPPED = "    act = lambda: os.kill(os.getpid(), signal.SIGSTOP)\n"


#: The receiver takes offers down to its last descriptor, so that the kernel is who refuses.
NOTHING_KEPT_FREE = """\
    from smoothserve.connection import adopting
    adopting.KEPT_FREE = 0

    def take(self, packet):
        if packet.truncated:
            springs("trap")
        original(self, packet)

    original, Adopting._take = Adopting._take, take

"""
#: Deadlines that need not be waited for in full.
IMPATIENT = """\
    from smoothserve.control import handover
    handover.ANSWER_TIMEOUT = 1.0

"""
#: An application that leaves its process without a free descriptor when it is asked to.
EATS = """

import resource

resource.setrlimit(resource.RLIMIT_NOFILE, (96, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
served = app


async def app(scope, receive, send):
    if scope["type"] == "http" and scope["path"].startswith("/eat"):
        number = 0
        try:
            while True:
                os.open("/dev/null", os.O_RDONLY)
                number += 1
        except OSError:
            await answer(send, b"eaten %d" % number)
    else:
        await served(scope, receive, send)
"""


def tells_master(number: signal.Signals) -> str:
    """Return the code for a signal to the master, and a moment in which it may arrive amid the step."""
    return f"    act = lambda: (os.kill(os.getppid(), signal.{number.name}), time.sleep(0.2))\n"


class Faulty:
    """A server with a trap, with idle connections, and reloads."""

    def __init__(self, serve: Serve, directory: AppDirectory, tmp_path: Path, code: str, workers: int = 1) -> None:
        self.hooks = Hooks(tmp_path / "hooks", code)
        self.directory = directory
        self.server = serve(directory, "--workers", str(workers), *QUICK, environ=self.hooks.environ)

    def begin_reload(self, version: str = "2") -> None:
        """Reload into the trap."""
        self.hooks.set_trap()
        self.directory.deploy(version)
        self.server.hup()
        wait_until(self.hooks.sprung, 30, "the trap is sprung")
