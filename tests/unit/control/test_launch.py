import json
import os

import pytest

from smoothserve.control.launch import LaunchError, MasterLaunch, WorkerLaunch, read_launch, write_launch
from smoothserve.control.scoreboard import anonymous_file


def written(values: object) -> int:
    fd = anonymous_file("test")
    os.write(fd, json.dumps(values).encode())
    return fd


def test_a_message_survives_its_way() -> None:
    message = MasterLaunch({"workers": 2}, None, "bin/smoothserve", "/usr/bin/python3", "/srv/current")
    fd = write_launch(message)
    assert not os.get_inheritable(fd)
    assert read_launch(MasterLaunch, fd) == message
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_unknown_fields_are_ignored_and_missing_ones_have_their_default() -> None:
    assert read_launch(WorkerLaunch, written({"version": 1, "worker": 3, "since": "2.0"})) == WorkerLaunch(worker=3)


def test_another_version_says_to_upgrade_the_master() -> None:
    with pytest.raises(LaunchError, match="upgrade the master"):
        read_launch(WorkerLaunch, written({"version": 2}))
