"""Where settings come from: flags, environment, file. Each becomes a mapping from setting to value and origin.

Values are checked here, where their origin is known, so that a message can name it.
"""

import difflib
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from smoothserve.errors import SettingsError
from smoothserve.rereading import read_again
from smoothserve.settings.kinds import NotAllowedError, printable, show
from smoothserve.settings.setting import ENVIRONMENT_PREFIX, Setting
from smoothserve.settings.table import BIND_PARTS, TABLE

PROJECT_FILE = "pyproject.toml"
#: The table of `pyproject.toml` that holds our settings; in any other file they stand at the top.
PROJECT_TABLE = ("tool", "smoothserve")
_PYTHON_FILE = "gunicorn's Python files are not read: docs/how-to/move-from-gunicorn-or-uvicorn.md says what to write"


@dataclass(frozen=True, slots=True)
class Given:
    """A value in its normal form, and where it was given."""

    value: Any
    origin: str


Source = dict[str, Given]


def refusal(text: str) -> SettingsError:
    """Make the error for a mistake: one line, whatever the user's values and file names have in them."""
    return SettingsError(printable(text))


def checked(setting: Setting, value: Any, origin: str, *, parse: bool) -> Given:
    """Bring a value into its normal form. Raise `SettingsError`, which names the origin, if it is not allowed."""
    read: Callable[[Any], Any] = setting.kind.parse if parse else setting.kind.check
    try:
        return Given(read(value), origin)
    except NotAllowedError as error:
        shown = value[0] if isinstance(value, list) and len(value) == 1 else value
        raise refusal(f"{origin}: {show(shown)} {error}") from None


#: The first descriptor that is passed by socket activation (sd_listen_fds(3)).
_FIRST_PASSED_FD = 3


def read_activation(environ: Mapping[str, str]) -> list[str]:
    """Return the addresses of the sockets that systemd passes to this very process."""
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(os.getpid()) or not count.isdecimal() or len(count) > 4:
        return []
    return [f"fd://{_FIRST_PASSED_FD + index}" for index in range(int(count))]


def read_flags(flags: Mapping[str, Any]) -> Source:
    """Read flags by the names of their settings: text as typed, or values that are parsed already."""
    known = {setting.name: setting for setting in (*TABLE, *BIND_PARTS)}
    source: Source = {}
    for name, value in flags.items():
        if name not in known:
            raise refusal(f"flag --{name.replace('_', '-')}: there is no such setting{_nearest(name, known)}")
        setting = known[name]
        source[name] = checked(setting, value, flag_origin(setting), parse=isinstance(value, str))
    return source


def flag_origin(setting: Setting) -> str:
    """Say how a setting is given on the command line."""
    return f"argument {setting.flag}" if setting.positional else f"flag {setting.flag}"


def read_environment(environ: Mapping[str, str]) -> Source:
    """Read the SMOOTHSERVE_* variables. An empty one counts as not set."""
    return {
        setting.name: checked(setting, environ[setting.env], f"environment variable {setting.env}", parse=True)
        for setting in TABLE
        if environ.get(setting.env)
    }


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return a warning for each variable that looks like one of ours and is none: most likely it is misspelt."""
    known = {setting.env for setting in TABLE}
    return [
        f"environment variable {printable(name)} is ignored: there is no such setting{_nearest(name, known)}"
        for name in sorted(environ)
        if name.startswith(ENVIRONMENT_PREFIX) and name not in known
    ]


def read_fallback(setting: Setting, environ: Mapping[str, str]) -> Given | None:
    """Read the variable of others that stands for a setting's default (PORT, WEB_CONCURRENCY), if it is set."""
    fallback = setting.fallback
    if fallback is None or not environ.get(fallback.variable):
        return None
    typed, origin = environ[fallback.variable], f"environment variable {fallback.variable}"
    try:
        return checked(setting, fallback.template.format(typed), origin, parse=True)
    except SettingsError:
        if not fallback.allowed:
            raise
        raise refusal(f"{origin}: {show(typed)} is not {fallback.allowed}") from None


def find_file(config: str | None, directory: str, project_directory: str) -> str | None:
    """Return the path of the file to read: `config`, else a `pyproject.toml` with our table, else None."""
    if config is not None:
        return os.path.join(directory, config)
    path = os.path.join(project_directory, PROJECT_FILE)
    return path if os.path.exists(path) and _project_table(load_toml(path)) is not None else None


def read_file(path: str) -> Source:
    """Read a configuration file. Raise `SettingsError` for what cannot be read, an unknown key, a bad value."""
    values = load_toml(path)
    if os.path.basename(path) == PROJECT_FILE:
        table = _project_table(values)
        if table is None:
            raise refusal(f"{path} has no table [{'.'.join(PROJECT_TABLE)}]: put the settings there")
        values = table
    known = {setting.name: setting for setting in TABLE}
    source: Source = {}
    for key, value in values.items():
        setting = known.get(key.replace("-", "_"))
        if setting is None:
            raise refusal(f"key {show(key)} in {path}: {_unknown(key, known)}")
        if setting.name in source:
            raise refusal(f"key {show(key)} in {path}: it is there twice, with _ and with -")
        source[setting.name] = checked(setting, value, f"key {show(key)} in {path}", parse=False)
    return source


def load_toml(path: str) -> dict[str, Any]:
    """Load a TOML file. Raise `SettingsError` if there is none, or it cannot be read or parsed."""
    try:
        return tomllib.loads(read_again(path).decode())
    except FileNotFoundError:
        raise refusal(f"configuration file {path} does not exist: correct --config") from None
    except OSError as error:
        raise refusal(f"configuration file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise refusal(f"configuration file {path} is not UTF-8, so it is not TOML") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        hint = f" ({_PYTHON_FILE})" if path.endswith(".py") else ""
        raise refusal(f"configuration file {path} is not TOML{hint}: {' '.join(str(error).split())}") from None


def _project_table(values: dict[str, Any]) -> dict[str, Any] | None:
    table: Any = values
    for name in PROJECT_TABLE:
        table = table.get(name) if isinstance(table, dict) else None
    return table if isinstance(table, dict) else None


def _unknown(key: str, known: Iterable[str]) -> str:
    """Say what an unknown key is called here, if that can be guessed."""
    name = key.replace("-", "_")
    if name in {setting.name for setting in BIND_PARTS}:
        return 'the address is written as bind = ["host:port"], "unix:/path" or "fd://N"'
    if name in {"smoothserve", "tool"}:
        return f"in a file other than {PROJECT_FILE} the settings stand at the top, without a table"
    for setting in TABLE:
        if "--" + name.replace("_", "-") in setting.aliases:
            return f"this setting is called {setting.name}"
    return f"there is no such setting{_nearest(name, known)}"


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {near[0]}?" if near else ": docs/reference/settings.md lists them all"
