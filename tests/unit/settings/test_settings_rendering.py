"""--print-config: valid TOML that reads back as the same settings, with the origin of each value."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from smoothserve.settings import TABLE
from smoothserve.settings.rendering import render_toml
from smoothserve.settings.resolve import resolve_settings

AWKWARD: dict[str, Any] = {
    "app": "a:b",
    "env": ['A="quoted" \\ back', "B=tab\there", "C=\x7f\x01 \u20ac"],
    "header": ["X: y"],
    "chdir": "sub dir",
    "soak_interval": "0.25",
    "access_log": True,
}


def test_what_is_printed_reads_back_as_the_same_settings(tmp_path: Path) -> None:
    resolved = resolve_settings(AWKWARD, {"PORT": "80"}, None, str(tmp_path))
    printed = tmp_path / "printed.toml"
    printed.write_text(render_toml(resolved), "utf-8")
    assert resolve_settings({}, {}, "printed.toml", str(tmp_path)).settings == resolved.settings


def test_every_setting_is_printed_with_its_origin() -> None:
    text = render_toml(resolve_settings({"workers": "3"}, {"PORT": "80"}, None, "/"))
    assert all(f"{setting.name} = " in text or f"# {setting.name} is not set" in text for setting in TABLE)
    lines = {line.partition(" = ")[0]: line for line in text.splitlines()}
    assert lines["workers"].endswith("# flag --workers")
    assert lines["bind"].endswith("# environment variable PORT")
    assert lines["threads"].endswith("# default")


@pytest.mark.parametrize("name", ["new\nline", "byte\udcff"])
def test_a_strange_file_name_cannot_break_the_output(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "pyproject.toml").write_text("[tool.smoothserve]\npid_file = 'x'\n")
    text = render_toml(resolve_settings({}, {}, None, str(tmp_path / name)))
    assert tomllib.loads(text)["workers"] == 1
    text.encode()


def test_a_secret_is_not_printed(tmp_path: Path) -> None:
    given = {"certfile": "c", "keyfile_password": "hunter2"}
    text = render_toml(resolve_settings(given, {}, None, str(tmp_path)))
    assert "hunter2" not in text
    assert "# keyfile_password is set, and not shown" in text
    assert resolve_settings(given, {}, None, "/").settings.keyfile_password == "hunter2"
