"""Masking (RFC 6455 section 5.3): the bulk XOR of the client's payloads. This is the hot path of WebSocket.

A payload up to some size is one XOR of two long integers, a longer one four `translate` calls, each on every fourth
byte (benchmark: tests/benchmarks/websocket.py). `unmask_plainly` is their plain twin, for the tests.
"""

#: Where translating becomes faster than an integer.
_LONG = 1024
_TABLES = [bytes(value ^ key for value in range(256)) for key in range(256)]
_from_bytes = int.from_bytes


def unmask(payload: bytes, mask: bytes) -> bytes:
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
