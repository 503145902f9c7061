"""What the load client asks for, in WSGI: the twin of `asgi_load`. An answer begins with `VERSION PID TOKEN\\n`."""

import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

StartResponse = Callable[[str, list[tuple[str, str]]], Any]

VERSION = Path(__file__).with_name("version.txt").read_text().strip()


def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    _, route, token, *words = environ["PATH_INFO"].split("/")
    first = f"{VERSION} {os.getpid()} {token}\n".encode()
    if route == "echo":
        return answer(start_response, first + environ["wsgi.input"].read())
    if route == "slow":
        time.sleep(float(words[0]))
        return answer(start_response, first)
    if route == "stream":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return pieces(first, token, range(int(words[0])), float(words[1]))
    if route == "events":
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return pieces(first, token, itertools.count(), float(words[0]))
    return answer(start_response, b"no such path", "404 Not Found")


def answer(start_response: StartResponse, body: bytes, status: str = "200 OK") -> list[bytes]:
    start_response(status, [("Content-Length", str(len(body))), ("Content-Type", "text/plain")])
    return [body]


def pieces(first: bytes, token: str, numbers: Iterable[int], gap: float) -> Iterator[bytes]:
    yield first
    for number in numbers:
        time.sleep(gap)
        yield f"data: {number} {token}\n\n".encode()
