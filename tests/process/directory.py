"""Application directories as a deploy leaves them: what is served is a copy, and a test rewrites it."""

import os
import shutil
import time
from pathlib import Path

APPS = Path(__file__).resolve().parent.parent / "apps"

#: Put before a good application, each makes a deploy that must not cost anything.
BROKEN: dict[str, str] = {
    "raises at import": "raise RuntimeError('broken deploy')\n",
    "a syntax error": "def broken(:\n",
    "a missing dependency": "import no_such_dependency\n",
    "sys.exit at import": "import sys\nsys.exit(0)\n",
    "os._exit at import": "import os\nos._exit(0)\n",
    "kills itself at import": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n",
}
HANGS = "import time\ntime.sleep(3600)\n"
HANGS_DEAF = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + HANGS

#: Put behind a good ASGI application: its lifespan start-up fails.
FAILING_LIFESPAN = """

served = app


async def app(scope, receive, send):
    if scope["type"] != "lifespan":
        await served(scope, receive, send)
        return
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database today"})
"""


class AppDirectory:
    """A directory that holds `app.py`, a copy of one of `tests/apps`, and its `version.txt`."""

    def __init__(self, path: Path, app: str = "asgi_load", version: str = "1") -> None:
        self.path = path
        self.app = app
        path.mkdir(parents=True, exist_ok=True)
        self._modified = int(time.time()) - 10_000
        self.deploy(version)

    def deploy(self, version: str, *, app: str | None = None, before: str = "", after: str = "") -> None:
        """Replace the code, each file at once, as a deploy does; `before` and `after` go around the application."""
        self.app = app or self.app
        source = (APPS / f"{self.app}.py").read_text()
        self.write("version.txt", f"{version}\n")
        self.write("app.py", before + source + after)

    def write(self, name: str, text: str) -> None:
        """Put a file in place by rename, with a time that no earlier one had: compiled files go by whole seconds."""
        self._modified += 1
        new = self.path / f".{name}.new"
        new.write_text(text)
        os.utime(new, (self._modified, self._modified))
        new.rename(self.path / name)

    def copy_to(self, path: Path) -> None:
        """Copy the whole directory."""
        shutil.copytree(self.path, path)
