"""The cases of the comparison, and how far ahead smoothserve is to be in each (one worker, medians of pairs)."""

import json
from dataclasses import dataclass, field

from tests.benchmarks.compare import apps
from tests.benchmarks.compare.generators import BROWSER_HEADERS, Load
from tests.benchmarks.compare.peers import OURS, Options, asgi_peers, wsgi_peers

MODULE = "tests.benchmarks.compare.apps"
FRAMEWORKS = "tests.benchmarks.compare.frameworks"
WEBSOCKET_PEERS = (OURS, "granian", "uvicorn", "uvicorn-sansio", "gunicorn-asgi", "hypercorn")

BEST = "the best peer"


@dataclass(frozen=True, slots=True)
class Case:
    """One measurement, made with each server in turn."""

    key: str
    title: str
    app: str
    load: Load
    servers: tuple[str, ...]
    options: Options = field(default_factory=Options)
    targets: dict[str, float] = field(default_factory=dict)
    """The least ratio of ours to a server's, by its name."""
    ideal: float = 0.0
    """Requests per second that cannot be exceeded; 0 if there is no such number."""
    kind: str = "throughput"
    in_table: tuple[str, ...] = ()
    """The servers that are measured by `--table`: what is promised is promised in relation to them."""
    older: bool = False
    """Whether it is for the older interpreter (`--older-python`)."""
    proxied: bool = False
    """Whether nginx is in front."""


_JSON = json.dumps({"first": "smooth", **{f"field{n}": "x" * 20 for n in range(31)}}).encode()
_WSGI = Options(interface="wsgi")


_FASTEST = (OURS, "uvicorn", "granian")
_WSGI_TABLE = (OURS, "granian", "gunicorn-gthread")


def _asgi(key: str, title: str, load: Load, **targets: float) -> Case:
    return Case(key, title, f"{MODULE}:asgi", load, asgi_peers(), targets=_names(targets), in_table=_FASTEST)


def _wsgi(key: str, title: str, load: Load, threads: int, ideal: float = 0.0, **targets: float) -> Case:
    options = Options(interface="wsgi", threads=threads)
    promised = _WSGI_TABLE if "granian" in targets or ideal else ()
    return Case(key, title, f"{MODULE}:wsgi", load, wsgi_peers(), options, _names(targets), ideal, in_table=promised)


def _names(targets: dict[str, float]) -> dict[str, float]:
    return {BEST if name == "best" else name.replace("_", "-"): ratio for name, ratio in targets.items()}


SMALL = Load(expected=apps.SMALL)
CLOSING = Load(headers=("Connection: close",), expected=apps.SMALL)
POST = Load("/json", "POST", ("Content-Type: application/json",), _JSON, expected=b'{"items": 32, "first": "smooth"}')
BIG = Load("/big", expected=apps.BIG)
UPLOAD = Load("/upload", "POST", body=bytes(1024 * 1024), connections=8, expected=b"%d" % (1024 * 1024))
STREAM = Load("/stream", expected=apps.CHUNK * 100, connections=16)
SLEEP = Load("/sleep", expected=apps.SMALL)

CASES = (
    _asgi("asgi-small", "small ASGI answer", SMALL, uvicorn=1.9, granian=1.1),
    _asgi("asgi-browser", "12 request headers", Load(headers=BROWSER_HEADERS), uvicorn=1.7, granian=1.0),
    _asgi("asgi-unique", "12 request headers, one of them new", Load(headers=BROWSER_HEADERS, unique=True)),
    _asgi("asgi-json", "JSON POST of 1 KiB", POST, uvicorn=1.7, granian=1.0),
    _asgi("asgi-big", "answer of 100 KiB", BIG, best=1.0),
    _asgi("asgi-upload", "upload of 1 MiB", UPLOAD, best=1.0),
    _asgi("asgi-stream", "100 streamed chunks", STREAM, best=1.0),
    Case(
        "asgi-close",
        "new connection per request",
        f"{MODULE}:asgi",
        CLOSING,
        asgi_peers(),
        # Of the servers that are written in Python; granian, which is not, is beside them.
        targets={"uvicorn": 1.2, "gunicorn-asgi": 1.0},
        in_table=(*_FASTEST, "gunicorn-asgi"),
    ),
    Case("asgi-nginx", "behind nginx", f"{MODULE}:asgi", SMALL, asgi_peers(), in_table=_FASTEST, proxied=True),
    Case("wsgi-nginx", "WSGI, behind nginx", f"{MODULE}:wsgi", SMALL, wsgi_peers(), _WSGI, proxied=True),
    Case(
        "asgi-small-older",
        "small ASGI answer, CPython 3.11",
        f"{MODULE}:asgi",
        SMALL,
        asgi_peers(),
        targets={"uvicorn": 1.7, "granian": 1.0},
        in_table=_FASTEST,
        older=True,
    ),
    Case(
        "asgi-log",
        "small ASGI answer, access log on",
        f"{MODULE}:asgi",
        SMALL,
        asgi_peers(),
        Options(access_log=True),
    ),
    _wsgi("wsgi-small-1", "small WSGI answer, 1 thread", SMALL, 1, granian=1.0, gunicorn_gthread=6.0),
    _wsgi("wsgi-small-4", "small WSGI answer, 4 threads", SMALL, 4, granian=0.9, gunicorn_gthread=6.0),
    _wsgi("wsgi-sleep-8", "WSGI, 8 threads, 5 ms of sleep", SLEEP, 8, 1600.0, gunicorn_gthread=1.0),
    _wsgi("wsgi-json", "WSGI, JSON POST of 1 KiB", POST, 1),
    _wsgi("wsgi-big", "WSGI, answer of 100 KiB", BIG, 1, best=1.0),
    _wsgi("wsgi-upload", "WSGI, upload of 1 MiB", UPLOAD, 1, best=1.0),
    _wsgi("wsgi-stream", "WSGI, 100 streamed chunks", STREAM, 1, best=1.0),
    Case("fastapi", "FastAPI", f"{FRAMEWORKS}:fastapi_app", Load(), asgi_peers()),
    Case("django-asgi", "Django, ASGI", f"{FRAMEWORKS}:django_asgi_app", Load(), asgi_peers()),
    Case("django-wsgi", "Django, WSGI", f"{FRAMEWORKS}:django_wsgi_app", Load(), wsgi_peers(), _WSGI),
    Case("flask", "Flask", f"{FRAMEWORKS}:flask_app", Load(), wsgi_peers(), _WSGI),
    *(
        Case(
            f"websocket-{size}",
            f"WebSocket echo, {size} B",
            f"{MODULE}:asgi",
            Load("/", connections=32, tool="echo", parameters={"size": size}),
            WEBSOCKET_PEERS,
            targets={BEST: 1.3},
            in_table=(OURS, "granian", "uvicorn-sansio", "gunicorn-asgi"),
        )
        for size in (64, 4096)
    ),
    *(
        Case(
            f"latency-{interface}-{percent}",
            f"p99 at {percent} % of the slowest peer's rate, {interface.upper()}",
            f"{MODULE}:{interface}",
            Load(tool="paced", connections=32, parameters={"share": percent / 100}),
            asgi_peers() if interface == "asgi" else wsgi_peers(),
            Options(interface=interface),
            kind="latency",
            in_table=_FASTEST if interface == "asgi" else (),
        )
        for interface in ("asgi", "wsgi")
        for percent in (50, 80)
    ),
    Case(
        "latency-reload",
        "p99 with a reload every 2 s, 2 workers, both cores, 30 % load",
        f"{MODULE}:asgi",
        Load(tool="paced", connections=32, parameters={"share": 0.3, "tolerant": 1}),
        asgi_peers(),
        Options(workers=2),
        kind="reload",
        in_table=(OURS, "uvicorn", "granian", "gunicorn-asgi"),
    ),
    Case(
        "idle-http",
        "an idle keep-alive connection",
        f"{MODULE}:asgi",
        Load(),
        asgi_peers(),
        kind="idle",
        in_table=_FASTEST,
    ),
    Case(
        "idle-websocket",
        "an idle WebSocket",
        f"{MODULE}:asgi",
        Load(),
        WEBSOCKET_PEERS,
        kind="idle-websocket",
        in_table=_FASTEST,
    ),
    Case(
        "boot",
        "start-up and memory, one worker",
        f"{MODULE}:asgi",
        Load(),
        asgi_peers(),
        kind="boot",
        in_table=_FASTEST,
    ),
)
