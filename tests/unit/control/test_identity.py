"""Whom workers run as: names and numbers, what is refused, and files that are given to nobody by a trick."""

import os
import pwd
import stat
from pathlib import Path

import pytest

from smoothserve.control.identity import Identity, find_group, find_identity, find_user, give_log_files
from smoothserve.errors import SettingsError

ROOT = pwd.getpwuid(0).pw_name


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def test_nobody_named_means_as_the_master() -> None:
    assert find_identity(None, None) is None


@pytest.mark.usefixtures("as_root")
def test_a_user_has_the_group_and_the_groups_that_the_system_lists() -> None:
    entry = pwd.getpwuid(0)
    for user in (ROOT, "0"):
        found = find_identity(user, None)
        assert found is not None
        assert (found.uid, found.gid) == (0, entry.pw_gid)
        assert set(found.groups) == set(os.getgrouplist(ROOT, entry.pw_gid))
        assert found.name == f"{ROOT} (user 0, group {entry.pw_gid})"


@pytest.mark.usefixtures("as_root")
def test_a_group_that_is_named_is_the_group_and_one_of_the_groups() -> None:
    found = find_identity(ROOT, "54321")
    assert found is not None
    assert found.gid == 54321
    assert 54321 in found.groups


@pytest.mark.usefixtures("as_root")
def test_a_number_that_is_not_listed_has_its_one_group() -> None:
    assert find_identity("54321", "54322") == Identity(54321, 54322, (54322,), "54321 (user 54321, group 54322)")
    with pytest.raises(SettingsError, match="lists no such user, so its group is not known: add --group"):
        find_identity("54321", None)


@pytest.mark.usefixtures("as_root")
def test_a_group_alone_leaves_the_user_and_none_of_its_other_groups() -> None:
    assert find_identity(None, "54322") == Identity(0, 54322, (54322,), "0 (user 0, group 54322)")


def test_unknown_names_are_refused_by_their_flag() -> None:
    with pytest.raises(SettingsError, match="--uds-owner no-such: there is no such user"):
        find_user("no-such", "--uds-owner")
    with pytest.raises(SettingsError, match="--uds-group no-such: there is no such group"):
        find_group("no-such", "--uds-group")


def test_only_root_changes_whom_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    monkeypatch.setattr(os, "getegid", lambda: 54322)
    with pytest.raises(SettingsError, match=f"--user {ROOT}: only root can change its user"):
        find_identity(ROOT, None)
    with pytest.raises(SettingsError, match="--user 54321 --group 0: only root"):
        find_identity("54321", "0")
    assert find_identity("54321", "54322") is None, "it is that already"
    assert find_identity(None, "54322") is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_log_files_are_made_and_given_but_never_through_a_link(tmp_path: Path) -> None:
    identity = Identity(54321, 54322, (54322,), "somebody")
    precious, twice = tmp_path / "precious", tmp_path / "twice"
    precious.write_text("root's")
    twice.write_text("root's, too")
    (tmp_path / "link.log").symlink_to(precious)
    (tmp_path / "hard.log").hardlink_to(twice)
    os.mkfifo(tmp_path / "pipe.log")
    (tmp_path / "old.log").write_text("old\n")
    names = ("link.log", "hard.log", "pipe.log", "old.log", "new.log", "none/x.log")
    give_log_files([str(tmp_path / name) for name in names], identity)
    owners = {path.name: path.lstat().st_uid for path in tmp_path.iterdir()}
    assert owners == {
        "precious": 0,
        "twice": 0,
        "link.log": 0,
        "hard.log": 0,
        "pipe.log": 0,
        "old.log": 54321,
        "new.log": 54321,
    }
    assert (tmp_path / "old.log").read_text() == "old\n"
    assert not stat.S_IMODE((tmp_path / "new.log").stat().st_mode) & 0o022
