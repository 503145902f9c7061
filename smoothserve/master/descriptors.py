"""Whether the limit of descriptors (`ulimit -n`) is enough for the connections that workers are to hold."""

import resource

#: What a worker has open beside connections: listeners, logs, its loop, handover channels, the application's own files.
BESIDE_CONNECTIONS = 64
#: Below this even a server without `--max-connections` soon stands at the limit: the usual limit of a system.
USUAL = 1024


def soft_limit() -> int:
    """Return how many descriptors a process may have open; workers have the same limit."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def limit_warning(limit: int, max_connections: int) -> str:
    """Return what an operator should do about a limit that is too low; nothing if it is enough.

    `max_connections` is what each worker may hold, 0 without limit.
    """
    needed = max_connections + BESIDE_CONNECTIONS if max_connections else USUAL
    if limit == resource.RLIM_INFINITY or limit >= needed:
        return ""
    room = max(0, limit - BESIDE_CONNECTIONS)
    what = f"--max-connections {max_connections} needs" if max_connections else "a server should have"
    return (
        f"ulimit -n is {limit}: each worker can hold about {room} connections, and further ones wait; {what} {needed}: "
        f"raise it (ulimit -n {needed}; systemd: LimitNOFILE={needed}; docker: --ulimit nofile={needed})"
    )
