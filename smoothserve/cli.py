"""The command line, derived from the table of settings: `smoothserve MODULE:ATTR [options]`, `smoothserve VERB ...`.

Only text is taken apart here; what it means and whether it is allowed is decided where the settings are loaded. A
mistake of the user's is one line on standard error and an exit code of the table, never a traceback.
"""

import difflib
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click
from click.core import ParameterSource

from smoothserve import __version__
from smoothserve.errors import ExitCode, FileError, SettingsError, SmoothserveError, VerbCode
from smoothserve.logs.standard import open_standard_streams
from smoothserve.serve import prepare, serve, start_directory
from smoothserve.settings.foreign import advice, translate
from smoothserve.settings.kinds import Several, Switch, printable
from smoothserve.settings.rendering import default_text, render_toml
from smoothserve.settings.resolve import resolve_settings
from smoothserve.settings.setting import Setting
from smoothserve.settings.table import BIND_PARTS, GROUPS, TABLE
from smoothserve.verbs.output import say

PROGRAM = "smoothserve"
COMMAND_GROUP = "Command"
EXAMPLE = "smoothserve myapp:app --workers 2"

#: Reserved words that speak to a running server, start one, or try an application.
VERBS = {
    "start": "serve; with -d in the background, returning once the workers are ready",
    "stop": "stop a running server",
    "restart": "stop a running server and start it again in the same process",
    "reload": "new workers with new code take over, dropping nothing",
    "status": "show the workers and the last reload",
    "connections": "show what each connection is and does",
    "workers": "have more workers or fewer",
    "dump": "print the stacks of all threads and tasks of a live worker",
    "check": "would this code boot? without touching any server",
}
#: Reserved words, each with what does the same until the verb is there.
LATER_VERBS = {
    "upgrade": "kill -HUP gives the workers a new smoothserve; smoothserve restart the master too",
    "events": "the error log says what happens",
    "migrate": "many flags of gunicorn's and uvicorn's work as they are, see --help",
}


class ServeCommand(click.Command):
    """The command, its help grouped by subject."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Look for a verb first: its options are not ours."""
        if args and args[0] in LATER_VERBS:
            raise SettingsError(_verb_message(args[0]))
        return super().parse_args(ctx, translate(args))

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help, a section for each subject."""
        name = self.name or PROGRAM
        formatter.write_usage(name, "MODULE:ATTR [options]" + ("  or  VERB [options]" if name == PROGRAM else ""))
        formatter.write_paragraph()
        formatter.write_text(self.help or "")
        if name == PROGRAM:
            formatter.write_paragraph()
            formatter.write_text(f"Example: {EXAMPLE} --bind 0.0.0.0:8000")
            with formatter.section("Verbs (each has --help)"):
                formatter.write_dl(list(VERBS.items()), col_max=30)
        sections: dict[str, list[tuple[str, str]]] = {group: [] for group in (*GROUPS, COMMAND_GROUP)}
        settings = {setting.name: setting for setting in (*TABLE, *BIND_PARTS)}
        for one in self.get_params(ctx):
            setting = settings.get(one.name or "")
            if setting is not None and setting.positional:  # click has no help for an argument
                sections[setting.group].append(("MODULE:ATTR", setting.help))
            elif record := one.get_help_record(ctx):
                sections[setting.group if setting else COMMAND_GROUP].append(record)
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows, col_max=30)
        formatter.write_paragraph()
        formatter.write_text(
            "Each setting is also an environment variable (--keep-alive-timeout: SMOOTHSERVE_KEEP_ALIVE_TIMEOUT) and a "
            "key of the file (keep_alive_timeout). A flag comes before the environment, that before the file."
        )


def _options() -> Iterable[click.Parameter]:
    yield click.Argument(["app"], required=False, metavar="MODULE:ATTR")
    for setting in (*TABLE, *BIND_PARTS):
        if not setting.positional:
            yield _option(setting)
    yield click.Option(
        ["-c", "--config"],
        metavar="FILE",
        multiple=True,
        callback=_one_config,
        help="Read settings from this TOML file. [default: [tool.smoothserve] "
        "of pyproject.toml in the working directory, if it is there]",
    )
    yield click.Option(["--check-config"], is_flag=True, help="Check the settings, say ok or what is wrong, and exit.")
    yield click.Option(
        ["--print-config"],
        is_flag=True,
        help="Print the settings in effect as TOML, with the origin of each, and exit.",
    )
    yield click.Option(
        ["-v", "--version"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_print_version,
        help="Print the version and exit.",
    )


def _option(setting: Setting) -> click.Option:
    text = f"{setting.help} [default: {default_text(setting)}]"
    if isinstance(setting.kind, Switch):
        pairs = [f"{flag}/--no-{flag.removeprefix('--')}" for flag in setting.flags]
        return click.Option([*pairs, setting.name], help=text, default=None)
    return click.Option(
        [*setting.flags, setting.name],
        help=text,
        metavar=setting.kind.metavar,
        multiple=isinstance(setting.kind, Several),
    )


def _one_config(ctx: click.Context, option: click.Parameter, values: tuple[str, ...]) -> str | None:
    del ctx, option
    if len(values) > 1:
        raise SettingsError(f"flag --config: one file is read, not {len(values)}: put the settings into one")
    return values[0] if values else None


def _print_version(ctx: click.Context, option: click.Parameter, value: bool) -> None:
    del option
    if value:
        click.echo(f"{PROGRAM} {__version__}")
        ctx.exit()


def given_flags(ctx: click.Context) -> dict[str, Any]:
    """Collect what was typed, by setting name, as text; `serve` and the master read it."""
    return {
        setting.name: list(value) if isinstance(value := ctx.params[setting.name], tuple) else value
        for setting in (*TABLE, *BIND_PARTS)
        if ctx.get_parameter_source(setting.name) is ParameterSource.COMMANDLINE
    }


def _run(ctx: click.Context, serve: Callable[[dict[str, Any], str | None], None]) -> None:
    """Do what the flags ask for; serving does not return."""
    flags, config = given_flags(ctx), ctx.params["config"]
    if flags.get("app") in {**VERBS, **LATER_VERBS}:
        raise SettingsError(_verb_message(flags["app"]))
    if ctx.params["print_config"]:
        _print(render_toml(resolve_settings(flags, os.environ, config, start_directory())))
    elif ctx.params["check_config"]:
        for warning in prepare(flags, config).warnings:
            click.echo(f"{PROGRAM}: warning: {printable(warning)}", err=True)
        _print("ok\n")
    else:
        serve(flags, config)


def _print(text: str) -> None:
    try:
        click.echo(text, nl=False)
    except BrokenPipeError:
        raise  # nobody wants to read on: click ends the program
    except OSError as error:
        raise FileError(f"standard output cannot be written to: {error.strerror or error}") from None


def make_command(serve: Callable[[dict[str, Any], str | None], None] = serve) -> ServeCommand:
    """Make the command; `serve` takes the flags and the configuration file as typed."""
    return _serving(PROGRAM, lambda ctx: _run(ctx, serve), "Serve a WSGI or ASGI application. A reload drops nothing.")


def _serving(name: str, run: Callable[[click.Context], object], text: str, *more: click.Option) -> ServeCommand:
    """Make a command that takes all settings."""
    return ServeCommand(
        name,
        params=[*_options(), *more],
        callback=click.pass_context(lambda ctx, **_: run(ctx)),
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
        help=text,
    )


def verb_commands() -> dict[str, click.Command]:
    """Return the commands of all verbs, by name."""
    from smoothserve.verbs.check import check_application
    from smoothserve.verbs.commands import COMMANDS
    from smoothserve.verbs.start import start_in_background

    def start(ctx: click.Context) -> int | None:
        if not ctx.params["daemon"]:
            _run(ctx, serve)
            return None
        return start_in_background(given_flags(ctx), ctx.params["config"], as_json=ctx.params["as_json"])

    as_json = click.Option(["--json", "as_json"], is_flag=True, help="Print JSON.")
    daemon = click.Option(
        ["-d", "--daemon", "-D", "daemon"],
        is_flag=True,
        help="Run in the background; return once the workers are ready, or with the reason why not. "
        "Log to smoothserve.log and write smoothserve.pid in the working directory where nothing else is set.",
    )
    return {
        **COMMANDS,
        "start": _serving(f"{PROGRAM} start", start, "Serve a WSGI or ASGI application.", daemon, as_json),
        "check": _serving(
            f"{PROGRAM} check",
            lambda ctx: check_application(given_flags(ctx), ctx.params["config"], as_json=ctx.params["as_json"]),
            "Boot the application once, in a process of its own that serves nobody, and say how that went. "
            "Exit codes: 0 it boots; 1 it does not, the reason was printed.",
            as_json,
        ),
    }


def main(arguments: Sequence[str] | None = None, command: click.Command | None = None) -> int:
    """Run the command line; return the exit code. Serving does not return."""
    open_standard_streams()
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    command, program = command or make_command(), PROGRAM
    defect: ExitCode | VerbCode = ExitCode.INTERNAL
    hint = _verb_hint(arguments)
    if arguments and arguments[0] in VERBS:
        defect = VerbCode.DEFECT  # what a script would take for a refused reload is none
        command, program = verb_commands()[arguments[0]], f"{PROGRAM} {arguments[0]}"
        arguments = arguments[1:]
    try:
        code = command.main(arguments, prog_name=program, standalone_mode=False)
    except SmoothserveError as error:
        return _fail(str(error) + (hint if error.exit_code == ExitCode.USAGE else ""), error.exit_code)
    except click.NoSuchOption as error:
        return _fail(_no_such_option(error.option_name, command) + hint, ExitCode.USAGE)
    except click.ClickException as error:
        return _fail(_one_line(error.format_message()) + hint, ExitCode.USAGE)
    except click.Abort:
        return ExitCode.INTERRUPTED
    except Exception:  # noqa: BLE001 - whatever it is, it is ours
        say(f"{PROGRAM}: defect in smoothserve, please report it:\n{traceback.format_exc()}", err=True)
        return defect
    return int(code) if isinstance(code, int) else ExitCode.STOPPED


def _fail(message: str, code: ExitCode | VerbCode) -> int:
    say(f"{PROGRAM}: error: {printable(message)}", err=True)
    return code


def _one_line(text: str) -> str:
    text = " ".join(text.split()).rstrip(".")
    return text[:1].lower() + text[1:]


def _no_such_option(name: str, command: click.Command) -> str:
    if (said := advice(name)) is not None:
        return f"no option {name}: {said}"
    known = [flag for one in command.params for flag in (*one.opts, *one.secondary_opts) if flag.startswith("--")]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    return f"no option {name}: " + (f"did you mean {near[0]}?" if near else "smoothserve --help lists them all")


def _verb_hint(arguments: Sequence[str]) -> str:
    """Return what to add to a mistake where the first word may be a verb that is mistyped."""
    word = arguments[0] if arguments else ""
    near = [] if ":" in word or word in VERBS else difflib.get_close_matches(word, VERBS, n=1, cutoff=0.7)
    return f'; did you mean the verb "{near[0]}"?' if near else ""


def _verb_message(verb: str) -> str:
    if verb in VERBS:
        return f"write the verb first: {PROGRAM} {verb} [options]"
    return f"the verb {verb} is not available yet in this version: {LATER_VERBS[verb]}"
