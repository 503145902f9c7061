"""Settings: one declarative table, and the readers of flags, environment and file that fill it.

Standard library only: the master reads settings again at every reload. The readers are in `resolve`, which workers, who
get the values from the master, need not load.
"""

from smoothserve.settings.table import TABLE, Settings, changed_needing_restart, keep_needing_restart

__all__ = [
    "TABLE",
    "Settings",
    "changed_needing_restart",
    "keep_needing_restart",
]
