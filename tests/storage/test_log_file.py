"""The file of the audit log: private, whole lines, and never in the way."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from restauth.storage.log_file import LogFile


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "restauth.db"
    path.touch(0o600)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


@pytest.fixture
def file(path: Path, database: Path) -> LogFile:
    return LogFile(path, database)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_is_private_at_the_start_and_after_each_rotation(
    file: LogFile, path: Path
) -> None:
    old = os.umask(0)
    try:
        for number in range(3):
            file.write(f"line {number}")
            assert mode_of(path) == 0o600
            path.rename(path.with_suffix(f".{number}"))
    finally:
        os.umask(old)
    assert [path.with_suffix(f".{n}").read_text() for n in range(3)] == [
        "line 0\n", "line 1\n", "line 2\n",
    ]  # fmt: skip
    file.close()


def test_the_mode_and_the_owner_of_a_file_that_is_there_are_its_makers(
    file: LogFile, path: Path
) -> None:
    path.touch()
    path.chmod(0o640)  # as logrotate's `create 0640` makes it
    file.write("line")
    assert mode_of(path) == 0o640
    file.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_roots_command_makes_belongs_to_the_owner_of_the_database(
    file: LogFile, path: Path, database: Path
) -> None:
    os.chown(database, 1234, 2345)
    file.write("line")
    file.close()
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 2345)
    path.unlink()
    database.unlink()
    file.write("line")  # and without one, to who made it
    file.close()
    assert path.stat().st_uid == os.geteuid()


def test_no_file_is_made_through_a_link(file: LogFile, path: Path, tmp_path: Path) -> None:
    """Where root's command would give it away."""
    target = tmp_path / "elsewhere"
    path.symlink_to(target)
    with pytest.raises(FileNotFoundError):
        file.write("line")
    assert not target.exists()


def test_of_two_that_make_it_at_once_both_write_to_it(
    file: LogFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_file = os.open

    def open_slowly(name: Path, flags: int, *mode: int) -> int:
        if flags & os.O_CREAT:
            path.write_text("the other\n")
        return open_file(name, flags, *mode)

    monkeypatch.setattr(os, "open", open_slowly)
    file.write("this one")
    file.close()
    assert path.read_text() == "the other\nthis one\n"


def tear(file: LogFile, *, then: Callable[[], object] = lambda: None) -> None:
    """Write a line on a disk that has three bytes left; another process may write after it."""
    write = os.write

    def write_in_part(descriptor: int, data: bytes) -> int:
        written = write(descriptor, data[:3])
        then()
        return written

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "write", write_in_part)
        with pytest.raises(OSError, match="No space left"):
            file.write("torn")


def test_of_a_line_that_finds_no_space_no_part_stays(file: LogFile, path: Path) -> None:
    for _ in range(2):
        tear(file)
    assert path.read_text() == ""
    file.write("whole")
    tear(file)
    file.close()
    assert path.read_text() == "whole\n"


def test_a_line_that_was_torn_spoils_no_other_line_of_ours(file: LogFile, path: Path) -> None:
    """It stays if another process has written after it: its line is not to be lost."""

    def write_beside() -> None:
        with path.open("a") as other:
            other.write("other\n")

    tear(file, then=write_beside)
    tear(file)
    file.write("whole")
    file.write("whole")
    file.close()
    assert path.read_text() == "torother\n\nwhole\nwhole\n"


def test_what_a_pipe_has_taken_stays(file: LogFile, path: Path) -> None:
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    tear(file)
    file.write("whole")
    assert os.read(reader, 99) == b"tor\nwhole\n"
    os.close(reader)


def test_a_pipe_without_a_reader_is_an_error_and_no_wait(file: LogFile, path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(OSError, match="No such device"):
        file.write("line")
    with pytest.raises(OSError, match="No such device"):
        file.check()


def test_a_closed_file_opens_at_the_next_line(file: LogFile, path: Path) -> None:
    file.close()
    for _ in range(2):
        file.write("line")
        file.close()
    assert path.read_text() == "line\n" * 2


def test_a_file_that_is_left_open_is_closed_with_its_object(path: Path, database: Path) -> None:
    file = LogFile(path, database)
    descriptor = file.follow()
    os.fstat(descriptor)
    del file
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_check_makes_nothing(file: LogFile, path: Path) -> None:
    file.check()
    assert not path.exists()
    path.touch()
    file.check()
    assert path.read_text() == ""


@pytest.mark.parametrize("name", ["missing/audit.log", "restauth.db/audit.log", "."])
def test_a_check_finds_what_a_line_would_meet(name: str, tmp_path: Path, database: Path) -> None:
    file = LogFile(tmp_path / name, database)
    for use in (file.check, lambda: file.write("line")):
        with pytest.raises(OSError):
            use()


def test_a_check_finds_a_directory_that_we_may_not_write(
    file: LogFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK | os.X_OK)  # root may
    with pytest.raises(PermissionError, match="Permission denied"):
        file.check()
