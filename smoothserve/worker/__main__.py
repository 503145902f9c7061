"""The root of a worker process: `python -P -m smoothserve.worker FD`, started by the master.

Puts the parts together from the settings, loads the application before the event loop runs, and exits: 0 after a
drain, 3 if the application did not boot.
"""

import asyncio
import contextlib
import gc
import importlib.util
import logging
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, NoReturn, cast

from smoothserve import __version__
from smoothserve.connection.acceptor import Acceptor
from smoothserve.connection.balance import Balance
from smoothserve.connection.drain import Drain
from smoothserve.connection.health import Health
from smoothserve.connection.overdue import Overdue
from smoothserve.connection.overload import Overload
from smoothserve.connection.relief import Relief
from smoothserve.connection.room import Room
from smoothserve.connection.service import ProxyProtocol, Service, Timeouts
from smoothserve.control.channel import HAS_SEQPACKET, Channel
from smoothserve.control.environment import forget_allocator
from smoothserve.control.launch import WorkerLaunch, read_launch
from smoothserve.control.messages import Failed, Ready, shorten
from smoothserve.control.places import OFF
from smoothserve.control.regions import Regions
from smoothserve.control.scoreboard import Counter, Scoreboard
from smoothserve.errors import BootError, ExitCode, SmoothserveError
from smoothserve.logs.files import STDERR, LogFile
from smoothserve.logs.formats import Process
from smoothserve.logs.lines import render_line
from smoothserve.logs.standard import flush_standard_streams, write_lines_at_once
from smoothserve.logs.worker import LAST_LINES_TIMEOUT, WorkerLogs, open_error_log
from smoothserve.protocol.codecs import codec_factory
from smoothserve.protocol.events import Codec, Limits
from smoothserve.protocol.exchange import Application
from smoothserve.protocol.forwarded import Forwarding, TrustedProxies
from smoothserve.protocol.response import DefaultHeaders
from smoothserve.settings import Settings
from smoothserve.worker.connections import ConnectionLister
from smoothserve.worker.dumps import arm, dump_tasks
from smoothserve.worker.forks import ForkGuard
from smoothserve.worker.host import (
    identify,
    inherited_descriptors,
    keeping_standard_streams,
    leave,
    own_descriptors,
    release_signals,
    retake_signals,
    set_title,
    shared_descriptors,
    take_signals,
)
from smoothserve.worker.loader import find_interface, load_application
from smoothserve.worker.process import Lifecycle, Worker
from smoothserve.worker.recycling import lifetime_limit, memory_limit, request_limit, timeout_limit

if TYPE_CHECKING:
    from smoothserve.connection.websocket_options import WebSocketOptions
    from smoothserve.net.tls import ServerTLS
    from smoothserve.wsgi.pool import ThreadPool


def main(argv: list[str]) -> int:
    """Run the worker that the launch message behind descriptor `argv[1]` describes; return the exit code."""
    launch = read_launch(WorkerLaunch, int(argv[1]))
    forget_allocator(os.environ)
    settings = Settings.from_dict(launch.settings)
    guard = own_descriptors(launch)
    channel = Channel(socket.socket(fileno=launch.control_fd))
    take_signals()
    arm(launch.dump_fd)
    # What an application that reads its arguments at import would take for its own.
    argv[1:] = []
    try:
        set_title(f"smoothserve: worker {launch.worker} [{settings.app}] generation {launch.generation}")
        _run(launch, settings, channel, guard)
    except SmoothserveError as error:
        trace = getattr(error, "traceback", "")
        channel.send(Failed(reason=str(error), traceback=shorten(trace)).encode())
        return ExitCode.BOOT_FAILED
    except Exception as error:  # noqa: BLE001 - a defect of ours: the master logs it with its traceback
        trace = traceback.format_exc()
        channel.send(Failed(reason=f"defect in smoothserve: {error!r}", traceback=shorten(trace)).encode())
        return ExitCode.INTERNAL
    finally:
        release_signals()
        channel.close()
    return ExitCode.STOPPED


def end(code: int) -> NoReturn:
    """End the process, also where the reader of what the application has printed is stuck."""
    if not flush_standard_streams(LAST_LINES_TIMEOUT):
        os._exit(code)
    sys.exit(code)


def _end_without_descriptors(settings: Settings, channel: Channel, *, usable: bool) -> NoReturn:
    """End the process at once: the event loop's descriptors may be gone, too, and closing it would crash."""
    reason = (
        f"{settings.app} has closed descriptors of the server's when it was imported: an application may only close "
        "what it has opened (no os.closerange, no library that makes a daemon of its process)"
    )
    if usable:
        channel.send(Failed(reason=reason, traceback="").encode())
    else:  # the number may be a file of the application's by now
        with contextlib.suppress(SmoothserveError):
            log = LogFile(settings.error_logfile, STDERR)
            log.write(render_line("ERROR", reason, at=time.time(), pid=os.getpid()))
            log.drain(LAST_LINES_TIMEOUT)
    os._exit(ExitCode.BOOT_FAILED)


def _run(launch: WorkerLaunch, settings: Settings, channel: Channel, guard: ForkGuard) -> None:
    if settings.umask is not None:
        os.umask(int(settings.umask, 8))
    # Before the application: what is wrong here is said at once.
    tls = _tls(settings)
    write_lines_at_once()
    errors = open_error_log(settings.error_logfile, settings.log_level)
    with contextlib.ExitStack() as stack:
        loop = _new_loop(settings.loop)
        stack.callback(_close, loop)
        # Application code that asks for a loop at import gets the one it will run on; it does not run yet, so that code
        # which runs a loop of its own at import works, too.
        asyncio.set_event_loop(loop)
        before = identify(inherited_descriptors(launch))
        with guard.holding_children(), keeping_standard_streams():
            app = load_application(
                settings.app, app_dir=os.path.realpath(settings.app_dir or launch.directory), factory=settings.factory
            )
        now = identify(before)
        if now != before:
            control = launch.control_fd
            _end_without_descriptors(settings, channel, usable=now[control] == before[control])
        retake_signals()
        if loop.is_closed():  # the application has run and closed it at import
            loop = _new_loop(settings.loop)
            stack.callback(_close, loop)
        with contextlib.suppress(Exception):  # the application's policy: it may have its own idea, we need none
            asyncio.set_event_loop(loop)
        interface = find_interface(app, settings.app, settings.interface)
        logs = WorkerLogs(
            errors=errors,
            level=settings.log_level,
            access_file=settings.access_logfile if settings.access_log else None,
            access_format=settings.access_log_format,
            process=Process(os.getpid(), launch.slot, launch.worker, launch.generation),
            config=settings.log_config,
            shared=_shared_lines(launch),
            schedule=loop.call_soon,
        )
        stack.callback(logs.drain)
        worker = _assemble(launch, settings, channel, guard, app, interface, loop, logs, tls)
        guard.loop = loop
        # What has been loaded lives as long as the worker: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        with guard.holding_children():
            loop.run_until_complete(worker.run())
        leave(loop, settings.kill_timeout, logs.drain)


def _shared_lines(launch: WorkerLaunch) -> memoryview | None:
    if launch.lines_fd < 0:
        return None
    return Regions(launch.lines_fd, launch.lines_bytes).open(launch.scoreboard_row)


def _close(loop: asyncio.AbstractEventLoop) -> None:
    with contextlib.suppress(RuntimeError):  # what has kept it from running matters, not that it cannot be closed
        loop.close()


def _assemble(
    launch: WorkerLaunch,
    settings: Settings,
    channel: Channel,
    guard: ForkGuard,
    app: Any,
    interface: str,
    loop: asyncio.AbstractEventLoop,
    logs: WorkerLogs,
    tls: "ServerTLS | None",
) -> Worker:
    error_log = logs.error
    defaults = DefaultHeaders(
        server=b"smoothserve" if settings.server_header else None,
        extra=[_header(line) for line in settings.header],
    )
    drain = Drain()
    application: Application
    lifecycle: Lifecycle
    acceptor: Acceptor

    def follow_saturation() -> None:
        if application.saturated:
            acceptor.pause()
        else:
            acceptor.resume()
        if service.relief is not None:
            service.relief.note_saturation(application.saturated)

    def tick() -> None:
        defaults.render()
        if pool is not None:
            service.counters[Counter.THREADS_BUSY] = pool.busy
            service.counters[Counter.THREADS_STUCK] = int(pool.stuck_since * 1000)
        logs.flush()

    timed_out: Callable[[], int] = int
    websockets: WebSocketOptions | None = None
    pool: ThreadPool | None = None
    # Only what this one needs is loaded: the rest would be time and memory of every start.
    if interface == "wsgi":
        from smoothserve.worker import speaking_wsgi

        wsgi = speaking_wsgi.make_application(app, settings, loop, defaults, error_log, drain, follow_saturation)
        application = lifecycle = wsgi
        pool = wsgi.pool
        timed_out = lambda: wsgi.timed_out  # noqa: E731 - a function of one line, here as an argument
        guard.disarm = speaking_wsgi.disarm
    else:
        from smoothserve.worker import speaking_asgi

        asgi, lifecycle = speaking_asgi.make_application(app, settings, loop, defaults, error_log, drain, launch.slot)
        application = asgi
        websockets = speaking_asgi.make_websockets(settings, asgi)
        guard.disarm = speaking_asgi.disarm
    scoreboard = Scoreboard(launch.scoreboard_fd, launch.scoreboard_rows, launch.measure_words)
    limits = Limits(
        settings.max_request_line_bytes,
        settings.max_header_fields,
        settings.max_head_bytes,
        settings.max_body_bytes or inf,
    )
    service = Service(
        loop=loop,
        application=application,
        make_codec=partial(_codec(settings.http), limits),
        defaults=defaults,
        counters=scoreboard.row(launch.scoreboard_row),
        error_log=error_log,
        timeouts=Timeouts(
            keep_alive=settings.keep_alive_timeout,
            head=settings.head_timeout,
            body=settings.body_timeout,
            write=settings.write_timeout,
        ),
        access_log=logs.access,
        websockets=websockets,
        drain=drain,
        max_requests=settings.max_connection_requests,
        min_body_rate=settings.min_body_rate,
        forwarding=_forwarding(settings, error_log),
        # Whom nobody can ask need not measure.
        measures=scoreboard.measures(launch.scoreboard_row) if settings.control_socket != OFF else None,
        proxy=None
        if settings.proxy_protocol == "off"
        else ProxyProtocol(settings.proxy_protocol, TrustedProxies(settings.proxy_allow_from)),
        tls=tls,
    )
    for warning in tls.warnings if tls is not None and launch.slot == 0 else ():
        error_log.warning("%s", warning)
    _bound(service, settings, pool)
    if settings.request_timeout:
        service.overdue = Overdue(settings.request_timeout, service.calls)
    service.balance = Balance(scoreboard, launch.scoreboard_row)
    service.room = room = Room(pool) if pool is not None else None
    if room is not None and HAS_SEQPACKET:
        service.relief = Relief(
            loop,
            service,
            room=room,
            threads=settings.threads,
            scoreboard=scoreboard,
            siblings=service.balance,
            on_handed_over=service.note_relieved,
        )
    listeners = [socket.socket(fileno=one["fd"]) for one in launch.listeners]
    acceptor = Acceptor(
        service,
        listeners,
        service.balance,
        settings.max_connections,
        room,
        answers_checks=bool(service.checks),
    )
    ours = [channel.fileno(), *shared_descriptors(launch)]
    guard.descriptors = lambda: [*ours, *acceptor.filenos(), *service.filenos()]
    return Worker(
        channel=channel,
        service=service,
        acceptor=acceptor,
        lifecycle=lifecycle,
        error_log=error_log,
        ready=Ready(interface=interface, version=__version__),
        drain_timeout=settings.drain_timeout,
        graceful_timeout=settings.graceful_timeout,
        kill_timeout=settings.kill_timeout,
        linger_timeout=settings.linger_timeout,
        reopen_logs=logs.reopen,
        dump_tasks=lambda: dump_tasks(launch.dump_fd, loop),
        list_connections=ConnectionLister(
            service, {"worker": launch.worker, "slot": launch.slot, "pid": os.getpid(), "generation": launch.generation}
        ).write,
        tick=tick,
        recycle_causes=[
            request_limit(settings.max_requests, settings.max_requests_jitter, lambda: service.requests),
            lifetime_limit(settings.max_worker_lifetime),
            memory_limit(settings.max_memory),
            timeout_limit(timed_out),
        ],
    )


def _tls(settings: Settings) -> "ServerTLS | None":
    """Read the certificates, as they are now."""
    if settings.certfile is None:
        return None
    import smoothserve.connection.tls  # noqa: F401 - now, not at the first connection
    from smoothserve.net.tls import ServerTLS
    from smoothserve.settings.certificates import tls_options

    options = tls_options(settings)
    return None if options is None else ServerTLS(options)


def _forwarding(settings: Settings, error_log: logging.Logger) -> Forwarding | None:
    if not (settings.proxy_headers and settings.forwarded_headers and settings.forwarded_allow_ips):
        return None
    return Forwarding(settings.forwarded_headers, TrustedProxies(settings.forwarded_allow_ips), error_log.warning)


def _bound(service: Service, settings: Settings, pool: "ThreadPool | None") -> None:
    """Put bounds on what is in hand, and health checks, in front of the application, where there are any."""
    application = service.application
    bounds: list[Callable[[], bool]] = []
    if settings.max_concurrent_requests:
        bounds.append(lambda: len(service.calls) >= settings.max_concurrent_requests)
    if settings.max_queued_requests >= 0 and pool is not None:
        bounds.append(lambda: pool.in_hand >= settings.threads + settings.max_queued_requests)
    if bounds:
        service.application = Overload(
            application,
            lambda: any(is_full() for is_full in bounds),
            defaults=service.defaults,
            error_log=service.error_log,
        )
    if settings.health_path or settings.live_path:
        service.application = Health(
            service.application,
            lambda: service.stopping,
            health_path=settings.health_path,
            live_path=settings.live_path,
            defaults=service.defaults,
        )
        paths = [path for path in (settings.health_path, settings.live_path) if path]
        starts = [f"{method} {path}{end}" for method in ("GET", "HEAD") for path in paths for end in (" ", "?")]
        service.checks = tuple(start.encode() for start in starts)


def _codec(name: str) -> Callable[[Limits], Codec]:
    try:
        return codec_factory(name)
    except ImportError as error:
        raise BootError(f"--http {name}: {error.name} is not installed for this interpreter: pip install it") from None


def _header(line: str) -> tuple[bytes, bytes]:
    name, _, value = line.partition(":")
    return name.strip().encode("latin-1"), value.strip().encode("latin-1")


def _new_loop(name: str) -> asyncio.AbstractEventLoop:
    if name == "uvloop" or (name == "auto" and importlib.util.find_spec("uvloop") is not None):
        try:
            import uvloop
        except ImportError:
            raise BootError("--loop uvloop: uvloop is not installed for this interpreter: pip install uvloop") from None
        return cast("asyncio.AbstractEventLoop", uvloop.new_event_loop())
    return asyncio.new_event_loop()


if __name__ == "__main__":
    end(main(sys.argv))
