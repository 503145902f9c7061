"""Flags, environment and file: each value is checked where its origin is known, so that the message names it."""

import os
from pathlib import Path

import pytest

from smoothserve.errors import ExitCode, SettingsError
from smoothserve.settings.sources import find_file, read_environment, read_file, read_flags, unknown_variables


def values(source: object) -> dict[str, object]:
    assert isinstance(source, dict)
    return {name: given.value for name, given in source.items()}


def write(path: Path, text: str) -> str:
    path.write_text(text, "utf-8")
    return str(path)


def refusal(path: str) -> str:
    with pytest.raises(SettingsError) as caught:
        read_file(path)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code is ExitCode.USAGE
    return str(caught.value)


def test_variables_that_look_like_ours_and_are_none_are_named_with_the_nearest() -> None:
    environ = {"SMOOTHSERVE_WOKERS": "3", "SMOOTHSERVE_WORKERS": "2", "SMOOTHSERVE_XYZZY": "", "OTHER_WOKERS": "1"}
    misspelt, strange = unknown_variables(environ)
    assert misspelt.startswith("environment variable SMOOTHSERVE_WOKERS is ignored: there is no such setting")
    assert misspelt.endswith(", did you mean SMOOTHSERVE_WORKERS?")
    assert strange.startswith("environment variable SMOOTHSERVE_XYZZY is ignored: there is no such setting")


def test_flags_are_read_as_text_or_as_values() -> None:
    flags = {"workers": "3", "threads": 2, "bind": [":1", ":2"], "factory": True, "host": "::1"}
    assert values(read_flags(flags)) == {
        "workers": 3,
        "threads": 2,
        "bind": ["0.0.0.0:1", "0.0.0.0:2"],
        "factory": True,
        "host": "[::1]",
    }


def test_a_bad_flag_is_named_with_its_value_and_what_is_allowed() -> None:
    with pytest.raises(SettingsError, match=r'\Aflag --workers: "0" is not a whole number from 1 to 256\Z'):
        read_flags({"workers": "0"})
    with pytest.raises(SettingsError, match=r'\Aargument APP: "app.py" names a file'):
        read_flags({"app": "app.py"})
    with pytest.raises(SettingsError, match=r'\Aflag --header: "x" is not a header'):
        read_flags({"header": ["x"]})


def test_a_flag_of_another_version_is_refused_with_the_nearest() -> None:
    with pytest.raises(SettingsError, match="did you mean workers"):
        read_flags({"workerz": 1})


def test_the_environment_is_read_by_name() -> None:
    environ = {
        "SMOOTHSERVE_WORKERS": "3",
        "SMOOTHSERVE_BIND": "a:1, unix:/x",
        "SMOOTHSERVE_HEADER": "A: b, c\nD: e",
        "SMOOTHSERVE_ENV": "A=1\nB=2,3",
        "SMOOTHSERVE_ACCESS_LOG": "on",
        "SMOOTHSERVE_THREADS": "",
        "SMOOTHSERVE_PORT": "tcp://10.0.0.1:80",
        "WORKERS": "9",
    }
    assert values(read_environment(environ)) == {
        "workers": 3,
        "bind": ["a:1", "unix:/x"],
        "header": ["A: b, c", "D: e"],
        "env": ["A=1", "B=2,3"],
        "access_log": True,
    }


def test_a_bad_variable_is_named_with_its_value_and_what_is_allowed() -> None:
    with pytest.raises(
        SettingsError, match=r"\Aenvironment variable SMOOTHSERVE_LOOP: \"x\" is not one of auto, uvloop"
    ):
        read_environment({"SMOOTHSERVE_LOOP": "x"})


def test_a_file_has_its_keys_at_the_top(tmp_path: Path) -> None:
    text = 'app = "a:b"\nworkers = 2\nkeep-alive-timeout = 5\nbind = "a:1"\nheader = ["A: b"]\naccess_log = true\n'
    assert values(read_file(write(tmp_path / "serve.toml", text))) == {
        "app": "a:b",
        "workers": 2,
        "keep_alive_timeout": 5.0,
        "bind": ["a:1"],
        "header": ["A: b"],
        "access_log": True,
    }


def test_a_project_file_has_its_own_table(tmp_path: Path) -> None:
    path = write(tmp_path / "pyproject.toml", '[project]\nname = "x"\n[tool.smoothserve]\nworkers = 2\n')
    assert values(read_file(path)) == {"workers": 2}


def test_a_project_file_that_is_named_must_have_the_table(tmp_path: Path) -> None:
    assert "[tool.smoothserve]" in refusal(write(tmp_path / "pyproject.toml", "[tool.other]\n"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("workers = 0", 'key "workers" in {}: 0 is not a whole number from 1 to 256'),
        ('workers = "2"', 'key "workers" in {}: "2" is not a whole number from 1 to 256'),
        ("workrs = 2", 'key "workrs" in {}: there is no such setting, did you mean workers?'),
        ("zzz = 2", 'key "zzz" in {}: there is no such setting: docs/reference/settings.md lists them all'),
        ("timeout_keep_alive = 2", 'key "timeout_keep_alive" in {}: this setting is called keep_alive_timeout'),
        ("pid = 2", 'key "pid" in {}: this setting is called pid_file'),
        ("port = 2", 'key "port" in {}: the address is written as bind = ["host:port"]'),
        ("[smoothserve]\nworkers = 2", 'key "smoothserve" in {}: in a file other than pyproject.toml'),
        ("[tool.smoothserve]\nworkers = 2", 'key "tool" in {}: in a file other than pyproject.toml'),
        ("log_level = 1\nlog-level = 1", 'key "log_level" in {}: 1 is not'),
        ('log_level = "info"\nlog-level = "info"', 'key "log-level" in {}: it is there twice'),
        ("bind = []", 'key "bind" in {}: [] is empty'),
        ('bind = ["a:1", "b"]', 'key "bind" in {}: ["a:1", "b"] has a bad item: "b" has no port'),
        ("workers = ", "configuration file {} is not TOML: Invalid value"),
        ("a = " + "[" * 5000, "configuration file {} is not TOML"),
    ],
)
def test_a_mistake_in_a_file_is_one_line_with_the_key_and_the_file(tmp_path: Path, text: str, says: str) -> None:
    path = write(tmp_path / "serve.toml", text)
    assert refusal(path).startswith(says.format(path))


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    assert "does not exist" in refusal(str(tmp_path / "missing.toml"))
    assert "cannot be read" in refusal(str(tmp_path))
    (tmp_path / "latin.toml").write_bytes(b'app = "\xe9"')
    assert "UTF-8" in refusal(str(tmp_path / "latin.toml"))


@pytest.mark.timeout(20)
def test_a_pipe_is_refused_at_once_and_the_null_device_is_empty(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.toml")
    reading, writing = os.pipe()
    try:
        os.write(writing, b"threads = 3\n")
        for path in (str(tmp_path / "fifo.toml"), f"/dev/fd/{reading}"):
            assert "it is read again for each worker: name a regular file" in refusal(path)
    finally:
        os.close(reading)
        os.close(writing)
    assert read_file(os.devnull) == {}


def test_the_python_file_of_another_server_is_told_what_is_wanted(tmp_path: Path) -> None:
    said = refusal(write(tmp_path / "gunicorn.conf.py", "import os\nworkers = os.cpu_count()\n"))
    assert "docs/how-to/move-from-gunicorn-or-uvicorn.md" in said
    assert "TOML" in said


def test_the_file_is_found(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    directory = str(tmp_path)
    assert find_file(None, directory, str(project)) is None
    write(project / "pyproject.toml", "[tool.other]\n")
    assert find_file(None, directory, str(project)) is None
    write(project / "pyproject.toml", "[tool.smoothserve]\n")
    assert find_file(None, directory, str(project)) == str(project / "pyproject.toml")
    assert find_file("x.toml", directory, str(project)) == os.path.join(directory, "x.toml")


def test_a_project_file_that_is_not_toml_is_told_and_not_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "pyproject.toml", "[tool.smoothserve\n")
    with pytest.raises(SettingsError, match="not TOML"):
        find_file(None, str(tmp_path), str(tmp_path))
