"""Flags of gunicorn's and uvicorn's that are not ours, and what to do instead; forms of ours that only they have."""

from collections.abc import Sequence

_NOTHING_TO_CHOOSE = "leave it out: there is nothing to choose"
_STATSD = "leave it out: --metrics-bind answers Prometheus; there is no statsd"
_SYSLOG = "--log-config names a file for logging.config, with logging.handlers.SysLogHandler for one"
_ACCEPTED = "leave it out: docs/reference/server-behaviour.md says which requests are accepted"

#: Flags without a counterpart, each with what to do instead; one that ends with * stands for all that begin so.
FOREIGN_FLAGS = {
    ("-k", "--worker-class"): "there are no worker classes: ASGI or WSGI is recognised, or said with --interface",
    ("--preload",): "leave it out: the master never loads the application, so that each reload loads all of it",
    ("--reload-delay",): "leave it out: changes that come together are one reload",
    ("--reload-engine",): "leave it out: the package watchfiles watches, or polls with WATCHFILES_FORCE_POLLING=1",
    ("--reload-extra-file",): "name the file with --reload-include",
    ("-D", "--daemon"): "smoothserve start -d MODULE:ATTR runs it in the background",
    ("--ssl-version",): "TLS 1.2 and 1.3 are spoken; --min-tls-version 1.3 for the newer one alone",
    ("--do-handshake-on-connect", "--suppress-ragged-eofs"): _NOTHING_TO_CHOOSE,
    ("--log-config-dict", "--log-config-json"): "name a TOML or JSON file with --log-config",
    ("--logger-class",): "leave it out: --log-config names a file for logging.config.dictConfig",
    ("--initgroups",): "leave it out: the workers always have all groups of --user",
    ("--pythonpath",): "name the application's directory with --app-dir",
    ("--worker-tmp-dir", "--max-interp-workers"): "leave it out: there is nothing like it",
    ("--limit-request-field_size",): "--max-head-bytes bounds the whole head",
    ("--header-map", "--forwarder-headers"): (
        "leave it out: a name with an underscore never passes for one with a dash; "
        "--forwarded-headers names what proxies set"
    ),
    ("--date-header", "--no-date-header"): "leave it out: the date is always sent",
    ("--http-protocols", "--http2-*"): "leave it out: HTTP/1.1 is spoken; HTTP/2 is left to the proxy in front",
    ("--no-control-socket",): "write --control-socket off",
    ("--control-socket-mode",): "leave it out: the control socket is its user's alone",
    ("-n", "--name"): "leave it out: titles of processes name the application",
    ("--capture-output",): "leave it out: what the application prints stays on the standard streams: redirect those",
    ("-R", "--enable-stdio-inheritance"): "leave it out: the workers always have the standard streams",
    ("--reuse-port",): "leave it out: all workers accept from one socket, so that a reload loses nothing queued on it",
    ("--sendfile", "--no-sendfile"): _NOTHING_TO_CHOOSE,
    ("--spew",): "leave it out: smoothserve dump prints the stacks of live workers",
    ("--statsd-*", "--dogstatsd-*"): _STATSD,
    ("--enable-backlog-metric",): "leave it out: --metrics-bind answers Prometheus",
    ("--log-syslog*", "--disable-redirect-access-to-syslog"): _SYSLOG,
    ("--paste", "--paster"): "name MODULE:ATTR, a module of yours that calls paste.deploy.loadapp",
    ("--http-parser",): "choose the parser with --http",
    ("--asgi-loop",): "choose the event loop with --loop",
    ("--asgi-lifespan",): "write --lifespan",
    ("--permit-*", "--casefold-http-method", "--strip-header-spaces"): _ACCEPTED,
    ("--protocol", "--uwsgi-*"): "leave it out: HTTP is spoken; let the proxy speak it, too (nginx: proxy_pass)",
    ("--dirty-*",): "leave it out: there are no such workers",
    ("--use-colors", "--no-use-colors"): "leave it out: log lines have no colours",
    ("--reset-contextvars", "--no-reset-contextvars"): "leave it out: no request sees another's context variables",
    ("--timeout-worker-healthcheck",): "--timeout says how long a worker may be stuck",
}

_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def advice(flag: str) -> str | None:
    """Return what to do instead of a foreign flag; None if it is not one of those."""
    for flags, text in FOREIGN_FLAGS.items():
        if any(flag.startswith(one[:-1]) if one.endswith("*") else flag == one for one in flags):
            return text
    return None


def translate(arguments: Sequence[str]) -> list[str]:
    """Write forms that only they have as ours: `--ws-per-message-deflate false`, `--proxy-protocol` alone."""
    found: list[str] = []
    left = list(arguments)
    while left:
        one = left.pop(0)
        if one == "--":
            return [*found, one, *left]
        name, equals, value = one.partition("=")
        if name == "--ws-per-message-deflate":
            word = value if equals else (left[0] if left else "")
            if word.lower() in _WORDS:
                if not equals:
                    left.pop(0)
                one = name if _WORDS[word.lower()] else "--no-" + name.removeprefix("--")
        elif one == "--proxy-protocol" and (not left or left[0].startswith("-") or ":" in left[0]):
            one = "--proxy-protocol=auto"
        found.append(one)
    return found
