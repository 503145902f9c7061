"""The table of settings: the one place where a setting is written.

Flags, aliases, environment variables, file keys, validation and the reference page are derived from it. Each
module below the composition roots takes the few plain values that it needs, never a `Settings`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from smoothserve.settings.checks import (
    BIND_FORMS,
    FORWARDED_HEADERS,
    check_account,
    check_app,
    check_bind,
    check_cert_reqs,
    check_ciphers,
    check_env,
    check_forwarded_header,
    check_header,
    check_host,
    check_log_format,
    check_mode,
    check_path,
    check_proxy,
    check_root_path,
    check_sni,
    check_url_path,
    check_websocket_handover,
)
from smoothserve.settings.kinds import Choice, Seconds, Several, Switch, Text, Whole
from smoothserve.settings.setting import METADATA_KEY, Fallback, Setting, declare

APPLICATION = "Application"
LISTENING = "Listening"
PROCESSES = "Processes"
RELOAD = "Reload and stop"
TLS = "TLS"
HTTP = "HTTP"
WEBSOCKET = "WebSocket"
PROXIES = "Proxies in front"
LIMITS = "Limits of what clients may do"
LOGS = "Logs"
GROUPS = (APPLICATION, LISTENING, PROCESSES, RELOAD, TLS, HTTP, WEBSOCKET, PROXIES, LIMITS, LOGS)

_APP = Text("MODULE:ATTR", "MODULE:ATTR, such as myapp:app or pkg.module:factory.app", check_app)
_DIRECTORY = Text("DIR", "a directory", check_path)
_ASGI2 = "ASGI 2 is not served: wrap the application with asgiref.compatibility.guarantee_single_callable"
_BOUNDED = " (there is always a bound)"
_FILE = Text("FILE", "a file", check_path)
_LOG_FILE = Text("FILE", "a file, or - for the standard stream", check_path)
_USER = Text("USER", "the name or number of a user", check_account)
_GROUP = Text("GROUP", "the name or number of a group", check_account)
#: Port 0 is another one each time.
_ADDRESSES = Several(Text("ADDRESS", BIND_FORMS, check_bind), ",", is_set=True, twice_if_ends=":0")
_PROXIES = Several(
    Text("ADDRESS", "an address, a network such as 10.0.0.0/8, unix: or *", check_proxy), ",", splits=True
)
_FORWARDED_HEADERS = Several(
    Text("NAME", f"one of {', '.join(FORWARDED_HEADERS)}", check_forwarded_header), ",", splits=True
)
_SNI = Several(Text("HOST=CERT:KEY", "HOST=CERTFILE:KEYFILE, or HOST=CERTFILE with the key in it", check_sni), "\n")
_DIRECTORIES = Several(_DIRECTORY, ",")
_PATTERNS = Several(Text("PATTERN", "a pattern such as *.html or tests/*", check_path), ",")
_VARIABLES = Several(Text("NAME=VALUE", "NAME=VALUE", check_env), "\n")
_HEADERS = Several(Text("HEADER", '"Name: value"', check_header), "\n")


@dataclass(frozen=True)
class Settings:
    """All settings, validated. Paths are as typed, except where the help says otherwise; durations in seconds."""

    app: str = declare(
        "",
        _APP,
        APPLICATION,
        "The module and, in it, the application (or with --factory what makes it).",
        positional=True,
        default_text="none: it must be named",
    )
    interface: str = declare(
        "auto",
        Choice(("auto", "asgi", "wsgi"), synonyms=(("asgi3", "asgi"),), advice=(("asgi2", _ASGI2),)),
        APPLICATION,
        "What the application speaks; auto looks at it.",
    )
    factory: bool = declare(
        False,
        Switch(),
        APPLICATION,
        "ATTR is a callable without arguments that makes the application.",
    )
    app_dir: str | None = declare(
        None,
        _DIRECTORY,
        APPLICATION,
        "Where the module is looked for first.",
        default_text="the working directory",
    )
    chdir: str | None = declare(
        None,
        _DIRECTORY,
        APPLICATION,
        "The working directory, resolved again for each new worker, so that a swapped link is followed.",
        default_text="where the command was started",
    )
    env: list[str] = declare(  # noqa: RUF009 - it copies the list for each instance
        [],
        _VARIABLES,
        APPLICATION,
        "Set an environment variable for the workers. Repeatable.",
        aliases=("-e",),
    )
    env_file: str | None = declare(
        None,
        _FILE,
        APPLICATION,
        "A file of NAME=VALUE lines for the workers' environment, read again for each new worker; --env wins.",
        default_text="none",
    )
    root_path: str = declare(
        "",
        Text("PATH", "a path that begins with a slash, or nothing", check_root_path),
        APPLICATION,
        "The path under which a proxy publishes the application (root_path, SCRIPT_NAME).",
        default_text="none",
    )
    lifespan: str = declare(
        "auto",
        Choice(("auto", "on", "off")),
        APPLICATION,
        "ASGI lifespan; auto takes an exception before the start-up is complete for no support.",
    )
    asgi_spec_version: str = declare(
        "2.3",
        Choice(("2.3", "2.4", "2.5")),
        APPLICATION,
        "The version of ASGI's HTTP specification that is announced; from 2.4 on send() raises OSError "
        "when the client is gone.",
    )

    bind: list[str] = declare(  # noqa: RUF009 - it copies the list for each instance
        ["127.0.0.1:8000"],
        _ADDRESSES,
        LISTENING,
        f"An address to listen on: {BIND_FORMS}. Repeatable. Without one, the sockets that systemd passes are used.",
        aliases=("-b",),
        reloadable=False,
        fallback=Fallback("PORT", "0.0.0.0:{}", allowed="a port from 0 to 65535"),
        default_text="the sockets of systemd's socket activation, else 127.0.0.1:8000, or 0.0.0.0:$PORT if PORT is set",
    )
    uds_mode: str = declare(
        "666",
        Text("MODE", "permissions in octal digits, such as 660", check_mode),
        LISTENING,
        "The permissions of unix sockets; who may write may connect.",
        reloadable=False,
    )
    uds_owner: str | None = declare(
        None,
        _USER,
        LISTENING,
        "The user that unix sockets belong to. Needs root.",
        reloadable=False,
        default_text="--user, else that of the process",
    )
    uds_group: str | None = declare(
        None,
        _GROUP,
        LISTENING,
        "The group of unix sockets: with --uds-mode 660 its members may connect, and nobody else.",
        reloadable=False,
        default_text="--group or the group of --user, else that of the process",
    )
    backlog: int = declare(
        2048,
        Whole(1, 1_000_000),
        LISTENING,
        "Connections that the system may hold until a worker accepts them; it has a bound of its own (somaxconn).",
        reloadable=False,
    )

    workers: int = declare(
        1,
        Whole(1, 256),
        PROCESSES,
        "Worker processes.",
        aliases=("-w",),
        fallback=Fallback("WEB_CONCURRENCY"),
        default_text="$WEB_CONCURRENCY, else 1",
    )
    threads: int = declare(1, Whole(1, 1000), PROCESSES, "Threads of each worker that call a WSGI application.")
    max_requests: int = declare(
        0,
        Whole(0, 1_000_000_000),
        PROCESSES,
        "Replace a worker, its successor first, when it has served this many requests; its connections move. "
        "Looked at twice a second.",
        aliases=("--limit-max-requests",),
        default_text="0: never",
    )
    max_requests_jitter: int = declare(
        0,
        Whole(0, 1_000_000_000),
        PROCESSES,
        "Up to this many requests more, drawn for each worker, so that not all reach their number at once.",
        aliases=("--limit-max-requests-jitter",),
    )
    loop: str = declare(
        "auto",
        Choice(("auto", "uvloop", "asyncio")),
        PROCESSES,
        "The event loop; auto takes uvloop where it is installed.",
    )
    python: str | None = declare(
        None,
        Text("PATH", "the path of an interpreter, or a name in PATH", check_path),
        PROCESSES,
        "The interpreter of master and workers, resolved again for each new worker.",
        default_text="python beside the smoothserve script in its environment, else the running one",
    )
    user: str | None = declare(
        None,
        _USER,
        PROCESSES,
        "The user that the workers run as, with all its groups; the master stays root. Needs root.",
        aliases=("-u",),
        reloadable=False,
        default_text="that of the command",
    )
    group: str | None = declare(
        None,
        _GROUP,
        PROCESSES,
        "The group that the workers run as.",
        aliases=("-g",),
        reloadable=False,
        default_text="that of --user, else that of the command",
    )
    umask: str | None = declare(
        None,
        Text("MODE", "permissions in octal digits, such as 027", check_mode),
        PROCESSES,
        "The permissions that files which the application makes do not get (umask).",
        aliases=("-m",),
        default_text="that of the command",
    )
    pid_file: str | None = declare(
        None,
        _FILE,
        PROCESSES,
        "Write the master's process number to this file.",
        aliases=("-p", "--pid"),
        reloadable=False,
        default_text="none",
    )
    control_socket: str | None = declare(
        None,
        Text("PATH", "a path for a unix socket, or off", check_path),
        PROCESSES,
        "Where smoothserve reload, status and the other verbs reach the master; only its user may connect; "
        "off: nowhere.",
        reloadable=False,
        default_text="smoothserve-PID.sock in $RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR or /tmp/smoothserve-UID",
    )
    metrics_bind: str | None = declare(
        None,
        Text("ADDRESS", BIND_FORMS, check_bind),
        PROCESSES,
        "Answer Prometheus at this address, /metrics, from a process beside the master. Needs the control socket.",
        reloadable=False,
        default_text="none",
    )

    graceful_timeout: float = declare(
        30.0,
        Seconds(),
        RELOAD,
        "How long requests in hand may take to finish after TERM; what is left is cut.",
        aliases=("--timeout-graceful-shutdown",),
    )
    max_worker_lifetime: float = declare(
        0.0,
        Seconds(),
        PROCESSES,
        "Replace a worker, its successor first, when it is this old; up to a tenth more is drawn for each worker.",
        default_text="0: never",
    )
    max_memory: int = declare(
        0,
        Whole(0, 1_048_576, "MIB"),
        PROCESSES,
        "Replace a worker, its successor first, when it has this many MiB resident; up to a tenth less is drawn for "
        "each worker. Looked at every 5 s.",
        default_text="0: never",
    )
    timeout: float = declare(
        30.0,
        Seconds(),
        PROCESSES,
        "A worker whose event loop does not turn, or whose every WSGI thread is in one call, for so long "
        "has its stacks logged and is replaced, its successor first; 0: never.",
        aliases=("-t",),
    )
    request_timeout: float = declare(
        0.0,
        Seconds(),
        PROCESSES,
        "How long an application may take to begin its answer, once it has the request; then the client gets 504. "
        "ASGI: the call is cancelled; WSGI: its worker is replaced. Not for WebSockets. Looked at twice a second.",
        default_text="0: any time",
    )
    shutdown_delay: float = declare(
        0.0,
        Seconds(0.0, 3600.0),
        RELOAD,
        "How long after TERM everything is served on, while --health-path answers 503, for balancers that lag.",
    )
    drain_timeout: float = declare(
        300.0,
        Seconds(),
        RELOAD,
        "How long a replaced worker may take to finish what it has in hand; what is left is cut and counted.",
    )
    linger_timeout: float = declare(
        10.0,
        Seconds(),
        RELOAD,
        "How long an idle connection of a leaving worker that cannot be handed over may still bring a request.",
    )
    boot_timeout: float = declare(
        60.0,
        Seconds(above_minimum=True),
        RELOAD,
        "How long a new worker may take until it is ready; after that it is killed and the reload given up.",
    )
    soak_interval: float = declare(
        0.5,
        Seconds(0.0, 1.0),
        RELOAD,
        "How long the first new worker of a reload is watched before it may accept anything.",
    )
    kill_timeout: float = declare(
        5.0,
        Seconds(),
        RELOAD,
        "How long a worker whose time is up may take to leave before it is killed.",
    )
    max_draining: int = declare(
        2,
        Whole(1, 64),
        RELOAD,
        "Replaced workers of a slot that may finish what they have in hand; "
        "a further reload waits for the oldest, up to the graceful timeout.",
    )
    reload_strategy: str = declare(
        "rolling",
        Choice(("rolling", "all")),
        RELOAD,
        "rolling swaps worker after worker; all starts every new worker before any old one stops.",
    )
    reload: bool = declare(
        False,
        Switch(),
        RELOAD,
        "For development: reload when a file changes; replaced workers have 5 s at most for what is open. "
        "Needs the package watchfiles: pip install 'smoothserve[reload]'.",
        reloadable=False,
    )
    reload_dir: list[str] = declare(  # noqa: RUF009 - it copies the list for each instance
        [],
        _DIRECTORIES,
        RELOAD,
        "With --reload: a directory to watch, with all below it. Repeatable.",
        reloadable=False,
        default_text="the working directory and --app-dir",
    )
    reload_include: list[str] = declare(  # noqa: RUF009 - it copies the list for each instance
        [],
        _PATTERNS,
        RELOAD,
        "With --reload: files that count beside *.py, a pattern such as *.html. Repeatable.",
        reloadable=False,
        default_text="*.py",
    )
    reload_exclude: list[str] = declare(  # noqa: RUF009 - it copies the list for each instance
        [],
        _PATTERNS,
        RELOAD,
        "With --reload: files and directories that do not count, a pattern such as tests/*. Repeatable.",
        reloadable=False,
        default_text="hidden ones, __pycache__, node_modules",
    )

    certfile: str | None = declare(
        None,
        _FILE,
        TLS,
        "Speak TLS on every --bind, with the certificate in this PEM file, its chain behind it. Like all files of TLS "
        "it is read by each new worker: a reload takes a renewed one, and is refused over one that cannot be used.",
        aliases=("--ssl-certfile",),
        default_text="none: no TLS",
    )
    keyfile: str | None = declare(
        None,
        _FILE,
        TLS,
        "The PEM file with the certificate's private key.",
        aliases=("--ssl-keyfile",),
        default_text="the file of --certfile",
    )
    keyfile_password: str | None = declare(
        None,
        Text("TEXT", "a text", str),
        TLS,
        "What the private keys are encrypted with. Better given in the environment: a shell remembers its flags.",
        aliases=("--ssl-keyfile-password",),
        default_text="none",
        secret=True,
    )
    sni: list[str] = declare(  # noqa: RUF009 - it copies the list for each instance
        [],
        _SNI,
        TLS,
        "A further certificate, for clients that ask for this host; *.example.org is any one label in front of it. "
        "Others get that of --certfile. Repeatable.",
    )
    ca_certs: str | None = declare(
        None,
        _FILE,
        TLS,
        "The PEM file with the authorities that clients' certificates must come from.",
        aliases=("--ssl-ca-certs",),
        default_text="none",
    )
    cert_reqs: str = declare(
        "none",
        Text("none|optional|required", "one of none, optional, required (0, 1, 2)", check_cert_reqs),
        TLS,
        "Whether a client needs a certificate; one that is sent must be good. The application sees it.",
        aliases=("--ssl-cert-reqs",),
    )
    ciphers: str | None = declare(
        None,
        Text("LIST", "a cipher list as OpenSSL has it", check_ciphers),
        TLS,
        "The ciphers of TLS 1.2; those of 1.3 are OpenSSL's.",
        aliases=("--ssl-ciphers",),
        default_text="Python's choice",
    )
    min_tls_version: str = declare(
        "1.2",
        Choice(("1.2", "1.3")),
        TLS,
        "The oldest version of TLS that is spoken.",
    )

    http: str = declare("auto", Choice(("auto", "httptools", "h11")), HTTP, "The HTTP parser; auto takes httptools.")
    keep_alive_timeout: float = declare(
        75.0,
        Seconds(),
        HTTP,
        "How long an idle connection is kept; a proxy in front must be the first to close.",
        aliases=("--keep-alive", "--timeout-keep-alive"),
    )
    server_header: bool = declare(True, Switch(), HTTP, "Send the header Server.")
    header: list[str] = declare(  # noqa: RUF009 - it copies the list for each instance
        [],
        _HEADERS,
        HTTP,
        'Add a header to every response, "Name: value". Repeatable.',
    )

    websocket: str = declare(
        "auto",
        Choice(("auto", "fast", "wsproto", "none"), synonyms=(("websockets", "fast"), ("websockets-sansio", "fast"))),
        WEBSOCKET,
        "How WebSocket is spoken; auto takes fast, which needs no library; "
        "with none a request for one is served as one of HTTP.",
        aliases=("--ws",),
    )
    websocket_max_message_bytes: int = declare(
        16 * 1024 * 1024,
        Whole(1, 2**31 - 1),
        WEBSOCKET,
        "A larger message, inflated, ends its WebSocket with 1009.",
        aliases=("--ws-max-size",),
    )
    websocket_max_queue: int = declare(
        32,
        Whole(1, 100_000),
        WEBSOCKET,
        "Messages that may wait for the application; beyond them the client is not read from.",
        aliases=("--ws-max-queue",),
    )
    websocket_ping_interval: float = declare(
        20.0,
        Seconds(),
        WEBSOCKET,
        "How often an open WebSocket is pinged; 0: never.",
        aliases=("--ws-ping-interval",),
    )
    websocket_ping_timeout: float = declare(
        20.0,
        Seconds(),
        WEBSOCKET,
        "How long a pong may take before the WebSocket is given up; 0: for ever.",
        aliases=("--ws-ping-timeout",),
    )
    websocket_compression: bool = declare(
        True,
        Switch(),
        WEBSOCKET,
        "Compress messages where the client offers permessage-deflate.",
        aliases=("--ws-per-message-deflate",),
    )
    websocket_drain_timeout: float = declare(
        30.0,
        Seconds(),
        WEBSOCKET,
        "How long a replaced worker keeps WebSockets that cannot be handed over; then they are closed with 1012.",
    )
    websocket_close_spread: float = declare(
        10.0,
        Seconds(),
        WEBSOCKET,
        "Over how long those closes are spread, so that the clients do not all return at once.",
    )
    websocket_handover: str = declare(
        "attached",
        Text("MODE", "off, attached, reenter or reenter:PATH-GLOB", check_websocket_handover),
        WEBSOCKET,
        "Which WebSockets go on in the new worker: those whose application opts in (attached), "
        "all (reenter), those of some paths (reenter:/chat/*), none (off).",
    )
    websocket_handover_quiet: float = declare(
        0.05,
        Seconds(0.0, 1.0),
        WEBSOCKET,
        "For how long no message must have gone either way before a WebSocket is handed over; "
        "after 1 s it is behind the next answer, after 2 s without one anyway.",
    )
    websocket_handover_timeout: float = declare(
        5.0,
        Seconds(above_minimum=True),
        WEBSOCKET,
        "How long a call may take to return after its disconnect before its WebSocket is handed over.",
    )

    health_path: str | None = declare(
        None,
        Text("PATH", "a path that begins with a slash", check_url_path),
        HTTP,
        "Answer this path without the application: 200 while the server serves, reloads included, 503 from TERM on.",
        default_text="none",
    )
    live_path: str | None = declare(
        None,
        Text("PATH", "a path that begins with a slash", check_url_path),
        HTTP,
        "Answer this path without the application: 200 until the worker has left.",
        default_text="none",
    )

    proxy_headers: bool = declare(
        True,
        Switch(),
        PROXIES,
        "Take a request's client and scheme from the headers of a trusted proxy.",
    )
    forwarded_headers: list[str] = declare(  # noqa: RUF009 - it copies the list for each instance
        ["x-forwarded-for", "x-forwarded-proto"],
        _FORWARDED_HEADERS,
        PROXIES,
        "The headers that are read. Name only those that your proxy sets or removes: others come from the client.",
    )
    forwarded_allow_ips: list[str] = declare(  # noqa: RUF009 - it copies the list for each instance
        ["127.0.0.1", "::1", "unix:"],
        _PROXIES,
        PROXIES,
        "The proxies whose headers are read: addresses, networks, unix: for unix sockets, * for anybody.",
        fallback=Fallback("FORWARDED_ALLOW_IPS"),
        default_text="$FORWARDED_ALLOW_IPS, else 127.0.0.1,::1,unix:",
    )
    proxy_protocol: str = declare(
        "off",
        Choice(("off", "v1", "v2", "auto")),
        PROXIES,
        "Each connection begins with a header of the PROXY protocol; one without it is refused. auto takes v1 and v2.",
    )
    proxy_allow_from: list[str] = declare(  # noqa: RUF009 - it copies the list for each instance
        ["127.0.0.1", "::1", "unix:"],
        _PROXIES,
        PROXIES,
        "Who may send a PROXY header, written as for --forwarded-allow-ips; connections of others are refused.",
        default_text="127.0.0.1,::1,unix:",
    )

    max_request_line_bytes: int = declare(
        8190,
        Whole(64, 1_048_576, remark=_BOUNDED),
        LIMITS,
        "A longer request line is answered with 414.",
        aliases=("--limit-request-line",),
    )
    max_header_fields: int = declare(
        100,
        Whole(1, 32_768, remark=_BOUNDED),
        LIMITS,
        "A request with more header fields is answered with 431.",
        aliases=("--limit-request-fields",),
    )
    max_head_bytes: int = declare(
        65_536,
        Whole(1024, 16_777_216),
        LIMITS,
        "A longer head (request line and header fields) is answered with 431.",
        aliases=("--h11-max-incomplete-event-size",),
    )
    max_body_bytes: int = declare(
        0,
        Whole(0, 999_999_999_999_999_999),
        LIMITS,
        "A longer body of a request is answered with 413; 0 is without limit.",
        default_text="0",
    )
    head_timeout: float = declare(
        60.0,
        Seconds(above_minimum=True),
        LIMITS,
        "How long the head of a request may take to arrive; after that 408. As long for a TLS handshake.",
    )
    body_timeout: float = declare(
        60.0,
        Seconds(above_minimum=True),
        LIMITS,
        "How long the body of a request may make no progress; after that 408. In all it may take any time.",
    )
    min_body_rate: int = declare(
        0,
        Whole(0, 1_000_000_000),
        LIMITS,
        "Bytes a second of a body that count as progress, on average over the body timeout; with 0 any byte does.",
        default_text="0",
    )
    write_timeout: float = declare(
        60.0,
        Seconds(above_minimum=True),
        LIMITS,
        "How long a client may take nothing of its answer; after that it is cut off. In all it may take any time.",
    )
    max_connection_requests: int = declare(
        0,
        Whole(0, 1_000_000_000),
        LIMITS,
        "Requests of one connection; the last answer says Connection: close. 0 is without limit.",
        default_text="0",
    )
    max_connections: int = declare(
        0,
        Whole(0, 1_000_000),
        LIMITS,
        "Connections of each worker; further ones wait in the system's queue (--backlog). 0 is without limit.",
        aliases=("--worker-connections",),
        default_text="0",
    )
    max_concurrent_requests: int = declare(
        0,
        Whole(0, 1_000_000),
        LIMITS,
        "Requests that each worker has in hand; further ones are answered with 503 and Retry-After. "
        "0 is without limit.",
        aliases=("--limit-concurrency",),
        default_text="0",
    )
    max_queued_requests: int = declare(
        -1,
        Whole(-1, 1_000_000),
        LIMITS,
        "WSGI: requests of each worker that wait for a thread; further ones are answered with 503 and Retry-After. "
        "-1 is without limit.",
        default_text="-1",
    )

    log_level: str = declare(
        "info",
        Choice(("debug", "info", "warning", "error", "critical"), synonyms=(("trace", "debug"),)),
        LOGS,
        "What the error log holds at least.",
    )
    error_logfile: str = declare(
        "-",
        _LOG_FILE,
        LOGS,
        "Where the server's own lines and tracebacks go; - is standard error.",
        aliases=("--log-file",),
        reloadable=False,
    )
    access_log: bool = declare(
        False,
        Switch(),
        LOGS,
        "Write a line for each answer. On as well where --access-logfile is given.",
    )
    access_logfile: str = declare(
        "-",
        _LOG_FILE,
        LOGS,
        "Where the access log goes; - is standard output.",
    )
    access_log_format: str = declare(
        "combined",
        Text("FORMAT", "common, combined, json, or a line with gunicorn's atoms", check_log_format),
        LOGS,
        'How its lines look: a name, or a line with gunicorn\'s atoms, such as %(h)s "%(r)s" %(s)s %(L)s %(worker)s.',
        aliases=("--access-logformat",),
    )
    log_config: str | None = declare(
        None,
        _FILE,
        LOGS,
        "A TOML or JSON file for logging.config.dictConfig, or an .ini for fileConfig: the loggers smoothserve.access "
        "and smoothserve.error, if it configures them, take the place of the files above. The master uses it, too, if "
        "it names nothing but the standard library, and handlers for files and the standard streams.",
        default_text="none",
    )

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as values that JSON holds."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make settings of `to_dict`'s values, perhaps those of another version.

        Unknown ones are ignored, missing ones have their default. They were validated when they were loaded.
        """
        return cls(**{setting.name: values[setting.name] for setting in TABLE if setting.name in values})


TABLE: tuple[Setting, ...] = tuple(field.metadata[METADATA_KEY](field.name) for field in fields(Settings))

#: The parts of an address, as uvicorn's users type them: flags that become `bind`.
BIND_PARTS: tuple[Setting, ...] = (
    Setting(
        "host",
        Text("HOST", "a host name or an address", check_host),
        "The host to listen on.",
        LISTENING,
        None,
        flag_only=True,
        reloadable=False,
        default_text="127.0.0.1, or 0.0.0.0 if PORT is set",
    ),
    Setting(
        "port",
        Whole(0, 65535, "PORT"),
        "The port to listen on; 0 lets the system choose.",
        LISTENING,
        None,
        flag_only=True,
        reloadable=False,
        default_text="$PORT, else 8000",
    ),
    Setting(
        "uds",
        _FILE,
        "Listen on a unix socket with this path.",
        LISTENING,
        None,
        flag_only=True,
        reloadable=False,
        default_text="none",
    ),
    Setting(
        "fd",
        Whole(0, 999_999),
        "Listen on an inherited socket with this descriptor.",
        LISTENING,
        None,
        flag_only=True,
        reloadable=False,
        default_text="none",
    ),
)


def changed_needing_restart(old: Settings, new: Settings) -> list[str]:
    """Name the settings that differ and that a reload cannot change, in the table's order."""
    return [
        setting.name
        for setting in TABLE
        if not setting.reloadable and getattr(old, setting.name) != getattr(new, setting.name)
    ]


def keep_needing_restart(old: Settings, new: Settings) -> Settings:
    """Return the settings after a reload: `new`, except what only a restart can change, which stays as in `old`."""
    return replace(new, **{name: getattr(old, name) for name in changed_needing_restart(old, new)})
