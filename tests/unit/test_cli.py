"""The command line: what is typed reaches the settings, mistakes are one line and an exit code, help is complete."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from smoothserve import __version__
from smoothserve.cli import LATER_VERBS, VERBS, main, make_command, verb_commands
from smoothserve.settings.table import BIND_PARTS, GROUPS, TABLE


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("SMOOTHSERVE_") or name in {"PORT", "WEB_CONCURRENCY"}:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def served(*arguments: str) -> tuple[dict[str, Any], str | None]:
    """Return what the command would serve with these arguments."""
    calls: list[tuple[dict[str, Any], str | None]] = []
    assert main(arguments, make_command(lambda flags, config: calls.append((flags, config)))) == 0
    (call,) = calls
    return call


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the message with which the command refuses these arguments."""
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("smoothserve: error: ")
    assert output.err.count("\n") == 1
    return output.err.removeprefix("smoothserve: error: ").rstrip("\n")


def test_what_is_not_typed_is_not_a_flag() -> None:
    assert served("a:b") == ({"app": "a:b"}, None)
    assert served() == ({}, None)


def test_what_is_typed_reaches_the_settings_as_text() -> None:
    flags, config = served(
        "-w4", "-b", ":1", "--bind=:2", "a:b", "-e", "A=1", "--no-access-log", "--factory", "--timeout-keep-alive", "5",
        "--pid", "x", "-c", "x.toml", "--header", "A: b", "--port", "0", "--no-server-header",
    )  # fmt: skip
    assert flags == {
        "app": "a:b",
        "workers": "4",
        "bind": [":1", ":2"],
        "env": ["A=1"],
        "access_log": False,
        "factory": True,
        "keep_alive_timeout": "5",
        "pid_file": "x",
        "header": ["A: b"],
        "port": "0",
        "server_header": False,
    }
    assert config == "x.toml"


def test_click_does_not_read_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMOOTHSERVE_WORKERS", "3")
    assert served("a:b") == ({"app": "a:b"}, None)


def test_help_has_every_flag_under_its_subject(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for setting in (*TABLE, *BIND_PARTS):
        assert all(f" {flag}" in text for flag in (*setting.flags, *setting.off_flags))
    places = [text.index(f"\n{title}:\n") for title in (*GROUPS, "Command")]
    assert places == sorted(places)
    assert (
        text.index("\nListening:") < text.index("-b, --bind") < text.index("\nProcesses:") < text.index("-w, --workers")
    )
    assert max(map(len, text.splitlines())) <= 110


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"smoothserve {__version__}\n"


def test_without_an_application_an_example_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys)
    assert message.startswith("no application is named")
    assert "smoothserve myapp:app" in message


@pytest.mark.parametrize("verb", LATER_VERBS)
def test_a_verb_to_come_is_reserved_and_says_what_to_do_meanwhile(
    capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    message = refused(capsys, verb, "--some-option", "of the verb's")
    assert message == f"the verb {verb} is not available yet in this version: {LATER_VERBS[verb]}"
    assert refused(capsys, "-w", "2", verb) == message


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_comes_first(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    assert refused(capsys, "-w", "2", verb) == f"write the verb first: smoothserve {verb} [options]"


@pytest.mark.parametrize(
    ("typed", "verb"),
    [
        (["relaod"], "reload"),
        (["relaod", "--pid", "5"], "reload"),
        (["worker", "+1"], "workers"),
        (["stats"], "status"),
        (["nothing"], None),
        (["app"], None),
        (["reload:app", "--threads", "x"], None),
        (["status", "--pid", "x"], None),
    ],
)
def test_a_mistyped_verb_is_named_beside_the_mistake(
    capsys: pytest.CaptureFixture[str], typed: list[str], verb: str | None
) -> None:
    message = refused(capsys, *typed)
    assert message.endswith(f'; did you mean the verb "{verb}"?') if verb else "the verb" not in message


def test_every_verb_has_a_command_and_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(verb_commands()) == set(VERBS)
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {verb} " in text for verb in VERBS)


def test_a_verbs_mistakes_are_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert refused(capsys, "reload", "--drained").startswith("no option --drained")
    assert refused(capsys, "stop", "--pid", "x").startswith("invalid value for '--pid'")
    assert "in one way" in refused(capsys, "stop", "--pid", "1", "--pid-file", "x")
    assert main(["status", "--pid-file", str(tmp_path / "none")]) == 5


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["status", "--pid", "x"], 2), (["status", "--pid-file", "none"], 5), (["reload", "--control-socket", "none"], 5)],
)
def test_an_error_of_a_verb_is_one_line_on_standard_error_with_json_too(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int
) -> None:
    assert main([*arguments, "--json"]) == code
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("smoothserve: error: ")
    assert output.err.count("\n") == 1


def test_a_module_with_the_name_of_a_verb_is_served_with_its_attribute() -> None:
    assert served("reload:app") == ({"app": "reload:app"}, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--worker", "3"], "no option --worker: did you mean --workers?"),
        (["--keepalive-timeout=3"], "no option --keepalive-timeout: did you mean --keep-alive-timeout?"),
        (["--zzz"], "no option --zzz: smoothserve --help lists them all"),
        (["-Z"], "no option -Z: smoothserve --help lists them all"),
        (["--preload"], "no option --preload: leave it out"),
        (["-k", "gevent"], "no option -k: there are no worker classes"),
        (["--reload-engine", "auto"], "no option --reload-engine: leave it out"),
        (["--limit-request-field_size", "0"], "no option --limit-request-field_size: --max-head-bytes"),
        (["--header-map", "drop"], "no option --header-map: leave it out"),
        (["--date-header"], "no option --date-header: leave it out: the date is always sent"),
        (["--no-date-header"], "no option --no-date-header: leave it out: the date is always sent"),
        (["--http-protocols", "h1,h2"], "no option --http-protocols: leave it out"),
        (["--no-control-socket"], "no option --no-control-socket: write --control-socket off"),
        (["-n", "site"], "no option -n: leave it out"),
        (["--name=site"], "no option --name: leave it out"),
        (["-R"], "no option -R: leave it out"),
        (["--capture-output"], "no option --capture-output: leave it out"),
        (["--reuse-port"], "no option --reuse-port: leave it out"),
        (["--no-sendfile"], "no option --no-sendfile: leave it out"),
        (["--spew"], "no option --spew: leave it out: smoothserve dump"),
        (["--statsd-host=a:1"], "no option --statsd-host: leave it out: --metrics-bind"),
        (["--statsd-prefix", "x"], "no option --statsd-prefix: leave it out: --metrics-bind"),
        (["--dogstatsd-tags", "x"], "no option --dogstatsd-tags: leave it out: --metrics-bind"),
        (["--log-syslog"], "no option --log-syslog: --log-config"),
        (["--log-syslog-to", "x"], "no option --log-syslog-to: --log-config"),
        (["--paste", "x"], "no option --paste: name MODULE:ATTR"),
        (["--http-parser", "fast"], "no option --http-parser: choose the parser with --http"),
        (["--asgi-loop", "auto"], "no option --asgi-loop: choose the event loop with --loop"),
        (["--permit-obsolete-folding"], "no option --permit-obsolete-folding: leave it out"),
        (["--casefold-http-method"], "no option --casefold-http-method: leave it out"),
        (["--strip-header-spaces"], "no option --strip-header-spaces: leave it out"),
        (["--use-colors"], "no option --use-colors: leave it out"),
        (["--reset-contextvars"], "no option --reset-contextvars: leave it out"),
        (["--timeout-worker-healthcheck", "5"], "no option --timeout-worker-healthcheck: --timeout says"),
        (["--interface", "asgi2"], 'flag --interface: "asgi2" is not one of auto, asgi, wsgi: ASGI 2 is not served'),
        (["--ws-per-message-deflate=maybe"], "option '--ws-per-message-deflate' does not take a value"),
        (["--proxy-protocol", "v3"], 'flag --proxy-protocol: "v3" is not one of off'),
        (
            ["--limit-request-line", "0"],
            'flag --max-request-line-bytes: "0" is not a whole number from 64 to 1048576 (there is always a bound)',
        ),
        (["c:d"], "got unexpected extra argument"),
        (["--workers"], "option '--workers' requires an argument"),
        (["--factory=1"], "option '--factory' does not take a value"),
        (["--workers", "0"], 'flag --workers: "0" is not a whole number from 1 to 256'),
        (["--bind", "a:1", "--port", "2"], "flag --port: not together with --bind"),
        (["--config", "missing.toml"], "configuration file "),
        (["-c", "a.toml", "--config", "b.toml"], "flag --config: one file is read, not 2"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert refused(capsys, "a:b", *arguments).startswith(message)


def test_words_of_other_servers_are_understood(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--interface", "asgi3", "--ws", "websockets-sansio", "--log-level", "trace", "-b", "tcp://127.0.0.1:1"]
    assert main(["a:b", *words, "--print-config"]) == 0
    printed = tomllib.loads(capsys.readouterr().out)
    assert (printed["interface"], printed["websocket"], printed["log_level"]) == ("asgi", "fast", "debug")
    assert printed["bind"] == ["127.0.0.1:1"]
    assert main(["a:b", "--ws", "websockets", "--print-config"]) == 0
    assert tomllib.loads(capsys.readouterr().out)["websocket"] == "fast"


@pytest.mark.parametrize(
    ("typed", "setting", "value"),
    [
        (["--ws-per-message-deflate", "false", "a:b"], "websocket_compression", False),
        (["--ws-per-message-deflate=False", "a:b"], "websocket_compression", False),
        (["--ws-per-message-deflate", "true", "a:b"], "websocket_compression", True),
        (["--ws-per-message-deflate", "a:b"], "websocket_compression", True),
        (["--proxy-protocol", "a:b"], "proxy_protocol", "auto"),
        (["a:b", "--proxy-protocol"], "proxy_protocol", "auto"),
        (["a:b", "--proxy-protocol", "--factory"], "proxy_protocol", "auto"),
        (["--proxy-protocol", "v2", "a:b"], "proxy_protocol", "v2"),
        (["--proxy-protocol=v1", "a:b"], "proxy_protocol", "v1"),
    ],
)
def test_flags_of_other_servers_with_and_without_a_value(typed: list[str], setting: str, value: Any) -> None:
    flags, _ = served(*typed)
    assert (flags["app"], flags[setting]) == ("a:b", value)


def test_a_file_for_an_application_gets_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "dir/app.py:app").endswith("did you mean dir.app:app?")


def test_check_config_says_ok_or_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.smoothserve]\napp = "a:b"\n')
    assert main(["--check-config"]) == 0
    assert capsys.readouterr().out == "ok\n"
    (tmp_path / "pyproject.toml").write_text('[tool.smoothserve]\napp = "a:b"\nworkes = 1\n')
    assert refused(capsys, "--check-config").endswith("there is no such setting, did you mean workers?")


def test_check_config_finds_a_directory_and_an_interpreter_that_do_not_exist(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["a:b", "--check-config", "--chdir", "missing"]) == 6
    assert main(["a:b", "--check-config", "--python", "./missing"]) == 6
    assert capsys.readouterr().err.count("missing does not exist") == 2


def test_print_config_prints_what_is_in_effect(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMOOTHSERVE_THREADS", "7")
    assert main(["a:b", "--workers", "3", "--print-config"]) == 0
    printed = capsys.readouterr().out
    values = tomllib.loads(printed)
    assert (values["app"], values["workers"], values["threads"]) == ("a:b", 3, 7)
    assert "# argument APP" in printed
    assert "# environment variable SMOOTHSERVE_THREADS" in printed


def test_print_config_needs_no_application(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--print-config"]) == 0
    assert "# app is not set" in capsys.readouterr().out


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "smoothserve", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("arguments", "code", "start"),
    [
        (["a:b", "--workers", "x"], 2, 'smoothserve: error: flag --workers: "x" is not'),
        (["a:b", "--wrokers", "x"], 2, "smoothserve: error: no option --wrokers: did you mean --workers?"),
        (["reload", "--pid-file", "none"], 5, "smoothserve: error: the PID file none cannot be read"),
        (["a:b", "--python", "./missing"], 6, "smoothserve: error: --python: "),
    ],
)
def test_the_module_run_as_a_program_exits_with_the_code_and_one_line(
    tmp_path: Path, arguments: list[str], code: int, start: str
) -> None:
    result = run(*arguments, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (code, "")
    assert result.stderr.startswith(start)
    assert result.stderr.count("\n") == 1


def test_the_module_run_as_a_program_is_called_smoothserve(tmp_path: Path) -> None:
    result = run("--help", cwd=tmp_path)
    assert result.returncode == 0
    assert result.stdout.startswith("Usage: smoothserve MODULE:ATTR [options]  or  VERB [options]\n")


def test_the_command_line_imports_click_and_nothing_else_of_others() -> None:
    code = (
        "import sys; before = set(sys.modules); import smoothserve.cli\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    ).stdout
    assert set(printed.split()) <= {"smoothserve", "click", "colorama"}
