"""The servers that are compared: how each is started with one worker for one kind of application, at which version.

Each is given what its users would type in production for speed: no access log unless a case is about it, and the
same number of application threads.
"""

import os
from dataclasses import dataclass, field

#: What is installed beside smoothserve; pinned, so that a figure names what it was measured against.
REQUIREMENTS = (
    "uvicorn[standard]==0.54.0",
    "granian==2.8.7",
    "gunicorn==27.0.1",
    "hypercorn==0.18.0",
    "waitress==3.0.2",
    "django==5.2.16",
    "flask==3.1.3",
    "fastapi==0.139.2",
)

#: What needs a compiler and libraries to install: measured where it can be, and said where not.
MAY_BE_MISSING = ("pyuwsgi==2.0.30.post1", "bjoern==3.2.2")

OURS = "smoothserve"


@dataclass(frozen=True, slots=True)
class Options:
    """What a case asks of a server."""

    interface: str = "asgi"
    threads: int = 1
    workers: int = 1
    access_log: bool = False
    unix_socket: str | None = None
    extra: tuple[str, ...] = field(default=())


def asgi_peers() -> tuple[str, ...]:
    """Return the names of the ASGI servers, ours first."""
    return (OURS, "uvicorn", "granian", "gunicorn-asgi", "hypercorn")


def wsgi_peers() -> tuple[str, ...]:
    """Return the names of the WSGI servers, ours first."""
    return (OURS, "granian", "gunicorn-gthread", "gunicorn-sync", "waitress", "uwsgi", "bjoern")


def command(name: str, python: str, app: str, port: int, options: Options) -> list[str]:
    """Return the command line that starts a server on 127.0.0.1:port."""
    return [python, "-m", *_STARTERS[name](app, str(port), options)]


def _smoothserve(app: str, port: str, options: Options) -> list[str]:
    return [
        *("smoothserve", app, "--port", port, "--workers", str(options.workers)),
        *(("--threads", str(options.threads)) if options.interface == "wsgi" else ()),
        *(("--access-log", "--access-logfile", os.devnull) if options.access_log else ()),
        *options.extra,
    ]


def _uvicorn(app: str, port: str, options: Options) -> list[str]:
    log = ("--access-log",) if options.access_log else ("--no-access-log", "--log-level", "warning")
    return ["uvicorn", app, "--port", port, "--workers", str(options.workers), *log, *options.extra]


def _uvicorn_sansio(app: str, port: str, options: Options) -> list[str]:
    return [*_uvicorn(app, port, options), "--ws", "websockets-sansio"]


def _granian(app: str, port: str, options: Options) -> list[str]:
    return [
        *("granian", "--interface", options.interface, app, "--port", port, "--workers", str(options.workers)),
        *(("--blocking-threads", str(options.threads)) if options.interface == "wsgi" else ()),
        *(("--access-log",) if options.access_log else ("--log-level", "warning")),
        # It accepts no more connections than that, and 1,024 by default: too few for those that are only idle.
        *("--backpressure", "4096"),
        *options.extra,
    ]


def _gunicorn(kind: str, app: str, port: str, options: Options) -> list[str]:
    return [
        *("gunicorn", "-k", kind, "-w", str(options.workers), "-b", f"127.0.0.1:{port}", "--log-level", "warning"),
        *(("--threads", str(options.threads)) if kind == "gthread" else ()),
        *(("--access-logfile", os.devnull) if options.access_log else ()),
        *options.extra,
        app,
    ]


def _hypercorn(app: str, port: str, options: Options) -> list[str]:
    return [
        *("hypercorn", "-w", str(options.workers), "-b", f"127.0.0.1:{port}", "--log-level", "WARNING", "-k", "uvloop"),
        *(("--access-logfile", os.devnull) if options.access_log else ()),
        *options.extra,
        app,
    ]


def _waitress(app: str, port: str, options: Options) -> list[str]:
    return ["waitress", "--threads", str(options.threads), "--listen", f"127.0.0.1:{port}", *options.extra, app]


def _other(name: str, app: str, port: str, options: Options) -> list[str]:
    return ["tests.benchmarks.compare.others", name, app, port, str(options.threads)]


_STARTERS = {
    OURS: _smoothserve,
    "uvicorn": _uvicorn,
    "uvicorn-sansio": _uvicorn_sansio,
    "granian": _granian,
    "gunicorn-asgi": lambda *given: _gunicorn("asgi", *given),
    "gunicorn-gthread": lambda *given: _gunicorn("gthread", *given),
    "gunicorn-sync": lambda *given: _gunicorn("sync", *given),
    "hypercorn": _hypercorn,
    "waitress": _waitress,
    "uwsgi": lambda *given: _other("uwsgi", *given),
    "bjoern": lambda *given: _other("bjoern", *given),
}
