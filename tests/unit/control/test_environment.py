import os
from pathlib import Path

import pytest

from smoothserve.control.environment import (
    ALLOCATOR,
    forget_allocator,
    parse_env_line,
    read_env_file,
    with_allocator,
    worker_environment,
)
from smoothserve.errors import FileError


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("", None),
        ("   ", None),
        ("# NAME=value", None),
        ("NAME=value", ("NAME", "value")),
        ("  NAME = value  ", ("NAME", "value")),
        ("export NAME=value", ("NAME", "value")),
        ("export\tNAME=value", ("NAME", "value")),
        ("exported=1", ("exported", "1")),
        ("NAME=", ("NAME", "")),
        ("NAME=# nothing", ("NAME", "")),
        ("NAME=a b", ("NAME", "a b")),
        ("NAME=a=b", ("NAME", "a=b")),
        ("NAME=a # comment", ("NAME", "a")),
        ("NAME=a#b", ("NAME", "a#b")),
        ("NAME='a # \"b\" \\n'", ("NAME", 'a # "b" \\n')),
        ("NAME='' # comment", ("NAME", "")),
        ('NAME="a # b" # comment', ("NAME", "a # b")),
        (r'NAME="a\n\t\"\\\$\x"', ("NAME", 'a\n\t"\\$\\x')),
        ("DATABASE_URL=postgres://u:p@host/db?a=1&b=2", ("DATABASE_URL", "postgres://u:p@host/db?a=1&b=2")),
    ],
)
def test_a_line_means_what_a_shell_would_make_of_it(line: str, found: tuple[str, str] | None) -> None:
    assert parse_env_line(line) == found


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("NAME", "not NAME=VALUE"),
        ("=value", "not NAME=VALUE"),
        ("export", "not NAME=VALUE"),
        ("MY NAME=value", "not NAME=VALUE"),
        ("NAME='value", "the closing ' is missing"),
        ('NAME="value\\"', 'the closing " is missing'),
        ("NAME='a' b", "after the closing quote"),
        ("NAME=a\0b", "NUL"),
    ],
)
def test_a_line_that_means_nothing_is_named_with_its_number(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "env"
    path.write_text(f"FINE=1\n{line}\n")
    with pytest.raises(FileError, match="line 2: ") as caught:
        read_env_file(str(path))
    assert says in str(caught.value)


def test_a_file_that_is_not_there_gets_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"--env-file .*none cannot be read: No such file"):
        read_env_file(str(tmp_path / "none"))


@pytest.mark.timeout(20)
def test_a_pipe_is_refused_at_once_and_the_null_device_is_empty(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    reading, writing = os.pipe()
    try:
        os.write(writing, b"SECRET=x\n")
        for path in (str(tmp_path / "fifo"), f"/dev/fd/{reading}"):
            with pytest.raises(FileError, match=r"it is read again for each worker: name a regular file"):
                read_env_file(path)
    finally:
        os.close(reading)
        os.close(writing)
    assert read_env_file(os.devnull) == {}


def test_bytes_that_are_not_utf_8_arrive_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_bytes(b"\xef\xbb\xbfNAME=\xff\r\n")
    assert os.fsencode(read_env_file(str(path))["NAME"]) == b"\xff"


def test_env_wins_over_the_file_and_the_file_over_the_masters_environment(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_text("A=file\nB=file\n")
    base = {"A": "base", "B": "base", "C": "base", "PWD": "/somewhere"}
    assert worker_environment(base, str(path), ["A=flag=1"], "/srv/releases/2") == {
        "A": "flag=1",
        "B": "file",
        "C": "base",
        "PWD": "/srv/releases/2",
    }


def test_malloc_is_told_to_keep_what_uploads_need_and_the_application_does_not_see_it() -> None:
    environ = dict(with_allocator({"A": "1"}))
    assert environ == {"A": "1", **ALLOCATOR}
    forget_allocator(environ)
    assert environ == {"A": "1"}


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_who_says_something_about_malloc_is_obeyed(name: str) -> None:
    environ = {name: "65536"}
    assert with_allocator(environ) == {name: "65536"}
    forget_allocator(environ)
    assert environ == {name: "65536"}
