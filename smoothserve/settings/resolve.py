"""From the sources to the settings: flag before environment before file before default; what settings mean together."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from smoothserve.errors import SettingsError
from smoothserve.settings.sources import (
    Given,
    Source,
    checked,
    find_file,
    flag_origin,
    read_activation,
    read_environment,
    read_fallback,
    read_file,
    read_flags,
)
from smoothserve.settings.table import BIND_PARTS, TABLE, Settings

DEFAULT_ORIGIN = "default"
STANDARD_STREAM = "-"
OFF = "off"
BIND = next(setting for setting in TABLE if setting.name == "bind")


@dataclass(frozen=True, slots=True)
class Resolved:
    """Settings, and where each value came from."""

    settings: Settings
    origins: dict[str, str]
    config: str | None
    """The configuration file that was read."""


def load_settings(flags: Mapping[str, Any], environ: Mapping[str, str], config: str | None, directory: str) -> Settings:
    """Resolve the settings that a server needs. Raise `SettingsError`, one line, for a mistake; naming no app is one.

    `flags` are by setting name, as text or as parsed values. `config` is a file, relative to `directory`, the working
    directory as the user sees it; without it a `pyproject.toml` there, or in --chdir's directory, is read if
    it has a table [tool.smoothserve].
    """
    settings = resolve_settings(flags, environ, config, directory).settings
    if not settings.app:
        raise SettingsError(
            "no application is named: write smoothserve MODULE:ATTR, for example smoothserve myapp:app --workers 2"
        )
    return settings


def resolve_settings(
    flags: Mapping[str, Any], environ: Mapping[str, str], config: str | None, directory: str
) -> Resolved:
    """Resolve all settings with their origins; an application need not be named. See `load_settings`."""
    flag_source = _fold_bind(read_flags(flags), environ)
    env_source = read_environment(environ)
    given = {**env_source, **flag_source}
    # a chdir that the file itself gives comes too late to say where the file is
    project = os.path.join(directory, given["chdir"].value) if "chdir" in given else directory
    path = find_file(config, directory, project)
    sources = (flag_source, env_source, read_file(path) if path else {})
    merged: Source = {}
    for source in reversed(sources):
        merged.update(source)
    if "bind" not in merged and (passed := read_activation(environ)):
        merged["bind"] = Given(passed, "environment variable LISTEN_FDS")
    for setting in TABLE:
        if setting.name not in merged and (fallback := read_fallback(setting, environ)) is not None:
            merged[setting.name] = fallback
    _imply_access_log(merged, sources)
    settings = Settings(**{name: one.value for name, one in merged.items()})
    _check_together(settings, merged)
    origins = {
        setting.name: merged[setting.name].origin if setting.name in merged else DEFAULT_ORIGIN for setting in TABLE
    }
    return Resolved(_with_whole_paths(settings, directory), origins, path)


def _fold_bind(source: Source, environ: Mapping[str, str]) -> Source:
    """Make `bind` of --host, --port, --uds and --fd. Raise `SettingsError` for a mixture that has no one meaning."""
    parts = [setting for setting in BIND_PARTS if setting.name in source]
    if not parts:
        return source
    names = {setting.name for setting in parts}
    origin = " and ".join(flag_origin(setting) for setting in parts)
    if "bind" in source:
        raise SettingsError(f"{origin}: not together with --bind: write the address after --bind only")
    if len(names) > 1 and names != {"host", "port"}:
        raise SettingsError(f"{origin}: not together: they name different sockets; for several, repeat --bind")
    left = {name: given for name, given in source.items() if name not in names}
    return left | {"bind": checked(BIND, _bind_of_parts(source, environ), origin, parse=False)}


def _bind_of_parts(source: Source, environ: Mapping[str, str]) -> str:
    if "uds" in source:
        return f"unix:{source['uds'].value}"
    if "fd" in source:
        return f"fd://{source['fd'].value}"
    if "host" in source and "port" in source:
        return f"{source['host'].value}:{source['port'].value}"
    fallback = read_fallback(BIND, environ)
    default_host, _, default_port = (fallback.value if fallback else BIND.default)[0].rpartition(":")
    if "host" in source:
        return f"{source['host'].value}:{default_port}"
    return f"{default_host}:{source['port'].value}"


def _imply_access_log(merged: Source, sources: tuple[Source, ...]) -> None:
    """Turn the access log on where a file for it is given, unless a source at least as strong says otherwise."""
    for source in sources:
        if "access_log" in source:
            return
        if "access_logfile" in source:
            merged["access_log"] = Given(True, source["access_logfile"].origin)
            return


def _check_together(settings: Settings, merged: Source) -> None:
    line = merged.get("max_request_line_bytes")
    if line is not None and line.value > settings.max_head_bytes:
        raise SettingsError(
            f"{line.origin}: {line.value} is more than max_head_bytes ({settings.max_head_bytes}), "
            "which bounds the whole head: raise that, too"
        )
    if settings.metrics_bind and settings.control_socket == OFF:
        raise SettingsError(
            f"{merged['metrics_bind'].origin}: metrics are asked for at the control socket, which is off: "
            "leave out --control-socket off, or --metrics-bind"
        )
    _check_tls(settings, merged)


def _check_tls(settings: Settings, merged: Source) -> None:
    """See that what belongs together is there. The files themselves are read by whoever ends TLS."""
    if settings.certfile is None:
        for name in ("keyfile", "keyfile_password", "sni", "ca_certs", "cert_reqs", "ciphers"):
            if name in merged and getattr(settings, name) not in (None, [], "none"):
                raise SettingsError(f"{merged[name].origin}: there is no TLS without --certfile: name it, too")
    elif settings.cert_reqs != "none" and settings.ca_certs is None:
        raise SettingsError(
            f"{merged['cert_reqs'].origin}: without --ca-certs no client's certificate is trusted: name its authorities"
        )
    hosts = [one.partition("=")[0] for one in settings.sni]
    for host in hosts:
        if hosts.count(host) > 1:
            raise SettingsError(f"{merged['sni'].origin}: {host} has two certificates: leave one out")


def _with_whole_paths(settings: Settings, directory: str) -> Settings:
    """Make the paths whole that belong to the server's whole life, links in them unresolved.

    Those that are resolved again at each spawn (chdir, app_dir, env_file, python) stay as typed.
    """
    base = os.path.join(directory, settings.chdir or "")

    def whole(path: str) -> str:
        return path if path == STANDARD_STREAM else os.path.join(base, path)

    def whole_address(address: str) -> str:
        kind, _, path = address.partition(":")
        return f"unix:{whole(path)}" if kind == "unix" else address

    return replace(
        settings,
        bind=[whole_address(address) for address in settings.bind],
        pid_file=whole(settings.pid_file) if settings.pid_file else None,
        control_socket=whole(settings.control_socket)
        if settings.control_socket and settings.control_socket != OFF
        else settings.control_socket,
        error_logfile=whole(settings.error_logfile),
        access_logfile=whole(settings.access_logfile),
        log_config=whole(settings.log_config) if settings.log_config else None,
    )
