"""Code put into the server's workers by a `sitecustomize` in their path; the product has no hooks for it."""

from pathlib import Path

ONLY_IN_WORKERS = """\
import sys

if "smoothserve.worker" in sys.orig_argv:
    import os
    import signal
    import time

    from smoothserve.connection.adopting import Adopting
    from smoothserve.connection.base import BY_HANDOVER, Connection
    from smoothserve.connection.http import HTTPConnection
    from smoothserve.connection.offering import Offering
    from smoothserve.control.handover import HandoverReceiver, HandoverSender
    from smoothserve.worker.process import Worker

    HERE = os.path.dirname(__file__)

    def springs(trap):
        # Whoever takes the file away is the one that it is for.
        try:
            os.unlink(os.path.join(HERE, trap))
        except FileNotFoundError:
            return False
        return True

"""


class Hooks:
    """A directory with code for workers, and traps: files, each of which makes one worker do something once."""

    def __init__(self, path: Path, code: str) -> None:
        path.mkdir()
        self.path = path
        (path / "sitecustomize.py").write_text(ONLY_IN_WORKERS + code)
        self.environ = {"PYTHONPATH": str(path)}

    def set_trap(self, name: str = "trap") -> None:
        """Let the next worker that comes by do what the code says."""
        (self.path / name).touch()

    def sprung(self, name: str = "trap") -> bool:
        """Whether somebody has come by."""
        return not (self.path / name).exists()
