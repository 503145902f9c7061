"""What `--reload` makes of the settings, and which directories it watches."""

import os
from dataclasses import replace

from smoothserve.control.interpreter import working_directory
from smoothserve.errors import FileError
from smoothserve.settings.table import Settings

#: What a developer does not want to wait for: replaced workers, with what they still have open, seconds at most.
DRAIN_TIMEOUT = 5.0
WEBSOCKET_DRAIN_TIMEOUT = 1.0
#: Replaced workers of a slot, so that no edit waits for what an earlier one has left open.
MAX_DRAINING = 8


def for_development(settings: Settings) -> Settings:
    """Return the settings with which a reload is quick, if files are watched; else as they are."""
    if not settings.reload:
        return settings
    return replace(
        settings,
        soak_interval=0.0,
        drain_timeout=min(settings.drain_timeout, DRAIN_TIMEOUT),
        websocket_drain_timeout=min(settings.websocket_drain_timeout, WEBSOCKET_DRAIN_TIMEOUT),
        websocket_close_spread=0.0,
        max_draining=max(settings.max_draining, MAX_DRAINING),
    )


def watched_directories(settings: Settings, directory: str) -> list[str]:
    """Return the directories, each once. Raise `FileError` if one is none; `directory`: where the command began."""
    workplace = os.path.realpath(working_directory(settings.chdir, {}, directory))
    typed = settings.reload_dir or [".", *([settings.app_dir] if settings.app_dir else [])]
    found = [os.path.realpath(os.path.join(workplace, one)) for one in typed]
    for path in found:
        if not os.path.isdir(path):
            raise FileError(f"--reload-dir {path} is no directory: name one to watch")
    return [one for one in dict.fromkeys(found) if not any(one.startswith(f"{other}/") for other in found)]
