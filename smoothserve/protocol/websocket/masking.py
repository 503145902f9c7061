"""Masking (RFC 6455 section 5.3): the bulk XOR of the client's payloads. This is the hot path of WebSocket.

In C by the library websockets where it is installed with its compiled part. Else a payload up to some size is one XOR
of two long integers, a longer one four `translate` calls, each on every fourth byte (benchmark:
tests/benchmarks/websocket.py). `unmask_plainly` is the plain twin of all of them, for the tests.
"""

import importlib.util
from collections.abc import Callable
from importlib.machinery import PathFinder
from typing import Any, cast

_Unmask = Callable[[bytes, bytes], bytes]


def _load_in_c() -> _Unmask | None:
    """Load websockets' compiled module without the package around it, which takes 30 ms to import."""
    try:
        package = importlib.util.find_spec("websockets")
        found = package and PathFinder.find_spec("websockets.speedups", package.submodule_search_locations)
        if not (found and found.loader):
            return None
        module: Any = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
        return cast("_Unmask", module.apply_mask)
    except (ImportError, AttributeError):
        return None


in_c = _load_in_c()

#: Where translating becomes faster than an integer.
_LONG = 1024
_TABLES = [bytes(value ^ key for value in range(256)) for key in range(256)]
_from_bytes = int.from_bytes


def unmask_in_python(payload: bytes, mask: bytes) -> bytes:
    """XOR a payload with the four bytes of the mask, over and over."""
    size = len(payload)
    if size > _LONG:
        return _unmask_long(payload, mask)
    key = (mask * ((size + 3) >> 2))[:size]
    return (_from_bytes(payload, "little") ^ _from_bytes(key, "little")).to_bytes(size, "little")


def _unmask_long(payload: bytes, mask: bytes) -> bytes:
    if mask == b"\0\0\0\0":
        return payload
    unmasked = bytearray(payload)
    for offset in range(4):
        unmasked[offset::4] = payload[offset::4].translate(_TABLES[mask[offset]])
    return bytes(unmasked)


def unmask_plainly(payload: bytes, mask: bytes) -> bytes:
    """Do the same byte by byte."""
    return bytes(value ^ mask[index & 3] for index, value in enumerate(payload))


#: XOR a payload with the four bytes of the mask, over and over.
unmask: _Unmask = in_c or unmask_in_python
