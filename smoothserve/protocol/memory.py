"""Memories: what has been worked out from bytes and is used again for equal ones.

A fast path is a memory that is asked first, or an eager task. With `SMOOTHSERVE_FAST_PATHS=0` in the environment there
are none, so that the whole suite can be run without (decision 016): the memories then forget at once.
"""

import os
from typing import TypeVar

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

#: Not a setting: nobody who serves has a reason to turn it.
FAST_PATHS = os.environ.get("SMOOTHSERVE_FAST_PATHS", "1") != "0"


class Forgetful(dict[_Key, _Value]):
    """A dictionary that stays empty."""

    def __setitem__(self, key: _Key, value: _Value, /) -> None:
        """Forget it."""


def make_memory() -> dict[_Key, _Value]:
    """Return an empty dictionary: a forgetful one where fast paths are off."""
    return {} if FAST_PATHS else Forgetful()
