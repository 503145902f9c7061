"""The environment that a worker is started with: the master's, then `--env-file`, then `--env`.

The file is read again for each new worker. It holds NAME=VALUE lines, as shells and systemd read them: comments,
empty lines, `export` before a name, single quotes (as they stand) and double quotes (with backslash escapes).
"""

from collections.abc import Mapping, MutableMapping, Sequence

from smoothserve.errors import FileError
from smoothserve.rereading import read_again

#: sd_notify(3) and sd_listen_fds(3).
MANAGERS = frozenset(
    {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"}
)
#: What glibc's malloc is told, in bytes: blocks up to the first come from the heap, whose free end is given back to the
#: system beyond the second. As it comes, it gives megabytes back and takes them anew for each upload, and each page
#: of them costs a fault (decision 022). Nothing to other C libraries.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(4 * 1024 * 1024), "MALLOC_TRIM_THRESHOLD_": str(16 * 1024 * 1024)}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "$": "$", "`": "`"}


def worker_environment(
    base: Mapping[str, str], env_file: str | None, env: Sequence[str], directory: str
) -> dict[str, str]:
    """Return the environment of a new worker. Raise `FileError`, one line, for a file that cannot be used."""
    # What a service manager has for the master alone.
    environ = {name: value for name, value in base.items() if name not in MANAGERS}
    environ["PWD"] = directory
    if env_file is not None:
        environ.update(read_env_file(env_file))
    environ.update(_split(one) for one in env)
    return environ


def with_allocator(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the environment with `ALLOCATOR` in it, unless it says anything about malloc itself."""
    if any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in environ):
        return environ
    return {**environ, **ALLOCATOR}


def forget_allocator(environ: MutableMapping[str, str]) -> None:
    """Take `ALLOCATOR` out again: malloc has read it, and what the application starts is its own business."""
    if all(environ.get(name) == value for name, value in ALLOCATOR.items()):
        for name in ALLOCATOR:
            del environ[name]


def read_env_file(path: str) -> dict[str, str]:
    """Read a file of NAME=VALUE lines. Raise `FileError` that names the line which cannot be understood."""
    try:
        text = read_again(path).decode("utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise FileError(f"--env-file {path} cannot be read: {error.strerror or error}") from None
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        try:
            found = parse_env_line(line)
        except ValueError as error:
            raise FileError(f"--env-file {path}, line {number}: {error}") from None
        if found is not None:
            values[found[0]] = found[1]
    return values


def parse_env_line(line: str) -> tuple[str, str] | None:
    """Parse one line; None for an empty one or a comment. Raise `ValueError` for what is neither."""
    line = line.strip()
    if not line or line.startswith("#"):
        return None
    if line.startswith(("export ", "export\t")):
        line = line[len("export") :].lstrip()
    name, equals, value = line.partition("=")
    name = name.rstrip()
    if not equals or not name or any(character.isspace() for character in name):
        raise ValueError("this is not NAME=VALUE")
    value = value.lstrip()
    if "\0" in line:
        raise ValueError("it has a NUL character")
    if value[:1] == "'":
        return name, _single_quoted(value)
    if value[:1] == '"':
        return name, _double_quoted(value)
    comment = next((i for i in range(1, len(value)) if value[i] == "#" and value[i - 1].isspace()), len(value))
    return name, "" if value.startswith("#") else value[:comment].rstrip()


def _single_quoted(value: str) -> str:
    inside, quote, rest = value[1:].partition("'")
    if not quote:
        raise ValueError("the closing ' is missing")
    _check_rest(rest)
    return inside


def _double_quoted(value: str) -> str:
    parts: list[str] = []
    position = 1
    while position < len(value):
        character = value[position]
        if character == '"':
            _check_rest(value[position + 1 :])
            return "".join(parts)
        if character == "\\" and position + 1 < len(value):
            position += 1
            following = value[position]
            character = _ESCAPES.get(following, "\\" + following)
        parts.append(character)
        position += 1
    raise ValueError('the closing " is missing')


def _check_rest(rest: str) -> None:
    rest = rest.strip()
    if rest and not rest.startswith("#"):
        raise ValueError(f"there is something after the closing quote: {rest}")


def _split(assignment: str) -> tuple[str, str]:
    name, _, value = assignment.partition("=")
    return name, value
