import os
import pty
import subprocess
import sys

from smoothserve.master import events
from smoothserve.master.signals import SIGNALS

LOOK = """
import fcntl, sys, termios
if sys.argv[1] == "with":
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from smoothserve.master.signals import has_terminal
print(has_terminal())
"""
COLLECT = """
import os, select, signal
from smoothserve.master.signals import SignalInbox
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
inbox = SignalInbox()
inbox.install()
for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGTERM):
    os.kill(os.getpid(), number)
select.select([inbox], [], [])
print([number.name for number in inbox.take()], inbox.take(), select.select([inbox], [], [], 0)[0])
"""


def run(program: str, *arguments: str, stdin: int | None = None) -> str:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        stdin=stdin,
        start_new_session=True,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def test_every_signal_of_the_design_means_something() -> None:
    assert {number.name for number in SIGNALS} == {
        *("SIGHUP", "SIGTERM", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGTTIN", "SIGTTOU", "SIGWINCH")
    }
    assert all(issubclass(event, events.Event) for event in SIGNALS.values())


def test_the_inbox_keeps_signals_in_order_and_lets_those_through_that_were_blocked() -> None:
    assert run(COLLECT) == "['SIGHUP', 'SIGTERM', 'SIGTERM'] [] []"


def test_a_controlling_terminal_is_seen() -> None:
    master, slave = pty.openpty()
    try:
        assert run(LOOK, "with", stdin=slave) == "True"
        assert run(LOOK, "without") == "False"
    finally:
        os.close(master)
        os.close(slave)
