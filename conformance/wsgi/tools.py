"""What the application's sides of the checks share."""

from collections.abc import Callable, Iterable
from typing import Any

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]


class IntendedError(Exception):
    """What the application's side of a check raises on purpose."""


def answer(start_response: StartResponse, data: bytes = b"fine", status: str = "200 OK") -> Iterable[bytes]:
    """Give a whole answer."""
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(data)))])
    return [data]
