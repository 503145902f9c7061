"""The reference pages that are rendered from tables: settings and exit codes.

`python -m smoothserve.settings.reference` writes them below `docs/reference`; with `--check` it exits 1, naming them,
if any is stale.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from smoothserve.errors import EXIT_CODES
from smoothserve.settings.rendering import default_text
from smoothserve.settings.setting import Setting
from smoothserve.settings.table import BIND_PARTS, GROUPS, TABLE

FOLDER = Path("docs") / "reference"
_NOTICE = "<!-- Rendered by `python -m smoothserve.settings.reference` from the tables in the code: do not edit. -->"

_SETTINGS_HEAD = """\
# Settings

Each setting can be given in several places; the first of these that has it counts:

1. a flag of `smoothserve MODULE:ATTR [options]`;
2. an environment variable `SMOOTHSERVE_...` (an empty one counts as not set);
3. a file: the one named by `--config FILE.toml`, its keys at the top; without `--config` the table
   `[tool.smoothserve]` of a `pyproject.toml` in the working directory (or in the directory that a flag or
   variable `chdir` names), if there is one;
4. the default. `PORT` and `WEB_CONCURRENCY` of the environment change two of them.

A list given in one place takes the place of a list given further down; the two are not joined. In an environment
variable the parts of `bind` are separated by commas, those of `env` and `header` by line ends. Durations are
seconds, with a fraction if you like. Keys of a file may be written with `-` in place of `_`.

`smoothserve --check-config` says whether all of it is right; `--print-config` prints what is in effect and where
each value comes from, as a file that `--config` reads. A reload (HUP) reads file and environment files
again; a mistake in them refuses the reload, and the workers serve on. What a reload cannot change is kept and logged.

Relative paths count from the working directory, after `chdir`; `chdir` and `--config` count from where the command
was started.
"""

_EXIT_CODES_HEAD = """\
# Exit codes

What the `smoothserve` process exits with. With each code but 0 the reason is on standard error or in the error
log: one line for a mistake that the user can mend, the traceback for an error of the application's or of ours.

| code | meaning |
|---|---|
"""


def render_settings_page() -> str:
    """Render `docs/reference/settings.md`."""
    parts = [_NOTICE, _SETTINGS_HEAD]
    for group in GROUPS:
        parts.append(f"## {group}\n")
        parts += [_setting_section(setting) for setting in (*TABLE, *BIND_PARTS) if setting.group == group]
    return "\n".join(parts)


def render_exit_codes_page() -> str:
    """Render `docs/reference/exit-codes.md`."""
    rows = [f"| {code.value} | {meaning} |\n" for code, meaning in EXIT_CODES.items()]
    return f"{_NOTICE}\n{_EXIT_CODES_HEAD}{''.join(rows)}"


PAGES = {"settings.md": render_settings_page, "exit-codes.md": render_exit_codes_page}


def _setting_section(setting: Setting) -> str:
    flags = setting.flags + setting.off_flags
    rows = [
        ("flag", ", ".join(f"`{flag}`" for flag in flags) if flags else "the argument, `MODULE:ATTR`"),
        ("environment", f"`{setting.env}`" if setting.env else "none: it becomes part of `bind`"),
        ("allowed", setting.kind.allowed),
        ("default", default_text(setting)),
        ("changed by a reload", "yes" if setting.reloadable else "no, it needs a restart"),
    ]
    if setting.flag_only:
        rows = [row for row in rows if row[0] != "changed by a reload"]
    table = "".join(f"| {name} | {_cell(text)} |\n" for name, text in rows)
    return f"### {setting.name}\n\n{setting.help}\n\n| | |\n|---|---|\n{table}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def stale_pages(folder: Path) -> list[Path]:
    """Return the pages in `folder` that are missing or not what the tables say."""
    return [
        folder / name
        for name, render in PAGES.items()
        if not (folder / name).is_file() or (folder / name).read_text("utf-8") != render()
    ]


def write_pages(folder: Path) -> None:
    """Write all pages into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, render in PAGES.items():
        (folder / name).write_text(render(), "utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the pages; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m smoothserve.settings.reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if a page is stale")
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER, help=f"default: {FOLDER}")
    asked = parser.parse_args(arguments)
    if not asked.check:
        write_pages(asked.folder)
        return 0
    stale = stale_pages(asked.folder)
    for page in stale:
        sys.stderr.write(f"{page} is stale: run python -m smoothserve.settings.reference\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
