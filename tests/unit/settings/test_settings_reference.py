"""The reference pages are what the tables say."""

from pathlib import Path

import pytest

from smoothserve.errors import EXIT_CODES, ExitCode
from smoothserve.settings import TABLE
from smoothserve.settings.reference import (
    FOLDER,
    PAGES,
    main,
    render_exit_codes_page,
    render_settings_page,
    stale_pages,
)

ROOT = Path(__file__).parents[3]


def test_the_reference_pages_are_not_stale() -> None:
    assert stale_pages(ROOT / FOLDER) == [], "run python -m smoothserve.settings.reference"


def test_every_setting_with_all_its_names_is_in_the_reference() -> None:
    page = render_settings_page()
    for setting in TABLE:
        assert f"### {setting.name}\n" in page
        assert all(f"`{name}`" in page for name in (*setting.flags, *setting.off_flags, setting.env))


def test_every_exit_code_is_in_the_reference() -> None:
    assert set(EXIT_CODES) == set(ExitCode)
    page = render_exit_codes_page()
    assert all(f"| {code.value} | {meaning} |" in page for code, meaning in EXIT_CODES.items())


def test_a_stale_page_is_found_and_named_and_mended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path / "reference")
    assert main(["--check", folder]) == 1
    assert capsys.readouterr().err.count("is stale") == len(PAGES)
    assert main([folder]) == 0
    assert main(["--check", folder]) == 0
    (tmp_path / "reference" / "settings.md").write_text("edited by hand")
    assert main(["--check", folder]) == 1
    assert "settings.md is stale" in capsys.readouterr().err
