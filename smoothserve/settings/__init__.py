"""Settings: one declarative table, and the readers of flags, environment and file that fill it.

Standard library only: the master reads settings again at every reload.
"""

from smoothserve.settings.resolve import Resolved, load_settings, resolve_settings
from smoothserve.settings.table import TABLE, Settings, changed_needing_restart, keep_needing_restart

__all__ = [
    "TABLE",
    "Resolved",
    "Settings",
    "changed_needing_restart",
    "keep_needing_restart",
    "load_settings",
    "resolve_settings",
]
