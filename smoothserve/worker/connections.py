"""What this worker's connections are and do, for `smoothserve connections`: written to a file that the master gives.

A part at a time, so that ten thousand connections do not hold the requests up; only as many as were asked for.
"""

import heapq
import json
import os
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from smoothserve.connection.base import Connection
from smoothserve.connection.service import Service
from smoothserve.control.listing import sort_key
from smoothserve.control.operator import PROGRESS

#: Connections that are written in one turn of the loop.
AT_ONCE = 200
#: A path is cut there.
MAX_PATH = 300


class ConnectionLister:
    """Writes lists of a worker's connections. `identity` says in each line whose they are."""

    def __init__(self, service: Service, identity: dict[str, Any]) -> None:
        self._service = service
        self._identity = identity

    def write(self, fd: int, limit: int, sort: str, done: Callable[[int], None]) -> None:
        """Write `limit` connections (0: all) to a descriptor that is ours; call `done` with how many there are."""
        found = list(self._service.connections)
        key = sort_key(sort)

        def rank(connection: Connection) -> Any:
            return key(self._describe(connection))

        chosen = heapq.nsmallest(limit, found, rank) if 0 < limit < len(found) else found
        self._write_part(fd, iter(chosen), lambda: done(len(found)))

    def _write_part(self, fd: int, connections: Iterator[Connection], done: Callable[[], None]) -> None:
        part = list(islice(connections, AT_ONCE))
        lines = [
            json.dumps({"kind": PROGRESS, "connection": self._identity | self._describe(one)}, separators=(",", ":"))
            for one in part
        ]
        try:
            _write_all(fd, "".join(f"{line}\n" for line in lines).encode())
        except OSError:
            part = []  # no memory for it: what is there is told
        if len(part) == AT_ONCE:
            self._service.loop.call_soon(self._write_part, fd, connections, done)
            return
        os.close(fd)
        done()

    def _describe(self, connection: Connection) -> dict[str, Any]:
        told = connection.tell()
        client = connection.client
        path = told["path"]
        return {
            **told,
            "age": round(max(0.0, self._service.loop.time() - connection.born), 1),
            "received": connection.past.received + connection.received,
            "sent": connection.past.sent + connection.sent,
            "client": f"{client[0]}:{client[1]}" if client else None,
            "path": path[:MAX_PATH] if path is not None else None,
        }


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
