"""A copy in the place of the database: whole, atomic, and never under a running server."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from restauth.errors import UnusableFile, UnusableStore
from restauth.storage import sqlite_file, sqlite_restore
from restauth.storage.schema import APPLICATION_ID, MIGRATIONS
from restauth.storage.sqlite import SQLite
from restauth.storage.sqlite_restore import restore
from tests.storage.system import (
    OpenSQLite,
    add,
    in_processes,
    killed_at_each_step,
    largest_file,
    mode,
    names,
)

PAGE = 4096  # bytes, SQLite's default


def users(path: Path) -> list[str]:
    with closing(SQLite(path, create=False)) as engine:
        return names(engine.read)


def unreachable() -> None:
    pytest.fail("the old keys would be gone, and nothing restored")


def nothing() -> None:
    """No key ring."""


def make(directory: Path) -> Path:
    """A database with two users, the second one in its WAL alone, as a crash leaves it; and a copy
    with the first one. Returns the copy."""
    with closing(SQLite(directory / "origin.db", create=True)) as engine:
        add(engine.write, "miguel")
        engine.backup(directory / "copy.db")
        add(engine.write, "susan")
        for suffix in ("", "-wal"):
            shutil.copy(directory / f"origin.db{suffix}", directory / f"restauth.db{suffix}")
    (directory / "origin.db").unlink()
    return directory / "copy.db"


@pytest.fixture
def copy(path: Path) -> Path:
    return make(path.parent)


def test_the_copy_is_in_the_place_and_nothing_is_left_of_the_database_before(
    path: Path, copy: Path, no_umask: None
) -> None:
    before = copy.read_bytes()
    calls = []
    restore(path, copy, lambda: calls.append(sorted(os.listdir(path.parent))))
    (found,) = calls  # when all but the replacement is done
    assert [name for name in found if not name.startswith(".restore.")] == ["copy.db", path.name]
    assert sorted(os.listdir(path.parent)) == ["copy.db", "restauth.db"]
    assert mode(path) == 0o600
    assert users(path) == ["miguel"]
    assert copy.read_bytes() == before


def test_what_stands_in_the_wal_of_a_copy_is_restored_too(path: Path, copy: Path) -> None:
    for suffix in ("", "-wal"):
        path.with_name(f"restauth.db{suffix}").rename(copy.with_name(f"copy.db{suffix}"))
    restore(path, copy, nothing)
    assert users(path) == ["miguel", "susan"]


@pytest.mark.parametrize("name", ["restauth.db", "restauth.db-wal"])
def test_a_database_that_has_gone_or_a_part_of_it_can_be_restored(
    path: Path, copy: Path, name: str
) -> None:
    path.with_name(name).unlink()
    restore(path, copy, nothing)
    assert sorted(os.listdir(path.parent)) == ["copy.db", "restauth.db"]
    assert users(path) == ["miguel"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\xa5" * 3 * PAGE),
        lambda path: os.truncate(path, 2 * PAGE),
    ],
    ids=["empty", "junk", "cut"],
)
def test_a_damaged_database_can_be_restored(
    path: Path, copy: Path, spoil: Callable[[Path], object]
) -> None:
    spoil(path)
    restore(path, copy, nothing)
    assert not path.with_name("restauth.db-wal").exists()
    assert users(path) == ["miguel"]


def test_a_link_stays_a_link(path: Path, copy: Path) -> None:
    link = path.with_name("link.db")
    link.symlink_to(path.name)
    restore(link, copy, nothing)
    assert link.is_symlink()
    assert users(link) == users(path) == ["miguel"]


def test_a_copy_of_an_older_version_is_restored_as_it_is(path: Path, copy: Path) -> None:
    copy.unlink()
    with closing(sqlite3.connect(copy)) as connection:
        for statement in MIGRATIONS[0]:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
    restore(path, copy, nothing)
    assert users(path) == []


# What is refused


def hold(path: Path) -> SQLite:
    engine = SQLite(path, create=False)
    names(engine.read)
    return engine


def test_a_database_in_use_is_not_replaced(path: Path, copy: Path, open_sqlite: OpenSQLite) -> None:
    engine = open_sqlite()
    names(engine.read)  # a connection that waits for the next request is a use
    for _ in range(2):
        with pytest.raises(UnusableStore, match="is in use: stop the server first"):
            restore(path, copy, unreachable)
        assert names(engine.read) == ["miguel", "susan"]
        add(engine.write, f"user{len(names(engine.read))}" * PAGE)
        engine.write("DELETE FROM users WHERE id > 2", {})
    engine.close()
    restore(path, copy, nothing)
    assert users(path) == ["miguel"]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda copy: copy.unlink(), "No such file"),
        (lambda copy: copy.write_bytes(b"\xa5" * PAGE), "not a database"),
        (lambda copy: os.truncate(copy, 3 * PAGE), "malformed"),
        (lambda copy: execute(copy, "PRAGMA user_version = 99"), "newer"),
        (lambda copy: execute(copy, "PRAGMA application_id = 7"), "another program"),
        (lambda copy: execute(copy, "DROP TABLE sessions"), "changed"),
    ],
)
def test_a_copy_that_is_not_ours_and_whole_is_refused(
    path: Path, copy: Path, spoil: Callable[[Path], object], reason: str
) -> None:
    spoil(copy)
    with pytest.raises(UnusableStore, match=reason):
        restore(path, copy, unreachable)
    assert users(path) == ["miguel", "susan"]


def execute(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)


def test_an_empty_file_is_no_copy(path: Path, copy: Path) -> None:
    copy.write_bytes(b"")
    with pytest.raises(UnusableStore, match="is empty"):
        restore(path, copy, unreachable)
    assert users(path) == ["miguel", "susan"]


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_the_database_is_no_copy_of_itself(
    path: Path, copy: Path, link: Callable[[Path, Path], None]
) -> None:
    link(path, path.with_name("other.db"))
    for each in (path, path.with_name("other.db")):
        with pytest.raises(UnusableFile, match="is the database itself"):
            restore(path, each, unreachable)
    path.with_name("other.db").unlink()  # a start refuses a second name
    assert users(path) == ["miguel", "susan"]


def test_a_database_of_another_program_is_left_alone(path: Path, copy: Path) -> None:
    execute(path, "PRAGMA application_id = 7")
    before = path.read_bytes()
    with pytest.raises(UnusableStore, match="another program"):
        restore(path, copy, unreachable)
    assert path.read_bytes() == before


def test_a_file_that_the_server_could_not_open_is_not_made(
    path: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(UnusableFile, match=r"restauth\.db belongs to another user"):
        restore(path, copy, unreachable)
    path.unlink()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(Path, "stat", lambda self: Owned(os.stat(self)))
    with pytest.raises(UnusableFile, match=r"restauth\.db belongs to another user"):
        restore(path, copy, unreachable)


class Owned:
    """The status of a file of another user."""

    def __init__(self, status: os.stat_result) -> None:
        self.st_uid = status.st_uid + 1
        self.st_mode, self.st_size = status.st_mode, status.st_size


def test_without_a_directory_nothing_is_restored(path: Path, copy: Path) -> None:
    with pytest.raises(UnusableFile, match=r"cannot be restored.*No such file"):
        restore(path.parent / "nowhere" / "restauth.db", copy, unreachable)


# What fails on the way


def test_on_a_full_disk_nothing_is_changed(path: Path, copy: Path) -> None:
    with largest_file(2 * PAGE), pytest.raises(UnusableFile, match="cannot be restored"):
        restore(path, copy, unreachable)
    assert [each for each in os.listdir(path.parent) if each.startswith(".")] == []
    assert path.with_name("restauth.db-wal").stat().st_size > 0
    assert users(path) == ["miguel", "susan"]


def test_a_server_that_starts_in_between_is_noticed(
    path: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers: list[SQLite] = []
    connect = sqlite3.connect

    def connect_traced(*arguments: Any, **keywords: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **keywords)
        connection.set_trace_callback(start)
        return connection

    def start(statement: str) -> None:
        if statement == "BEGIN EXCLUSIVE" and not servers:
            servers.append(hold(path))

    monkeypatch.setattr(sqlite3, "connect", connect_traced)
    with pytest.raises(UnusableStore, match="in use"):
        restore(path, copy, unreachable)
    (server,) = servers
    with closing(server):
        assert names(server.read) == ["miguel", "susan"]


def test_a_wal_that_cannot_be_merged_is_kept(path: Path, copy: Path) -> None:
    with (
        largest_file(PAGE // 2),
        pytest.raises(sqlite3.OperationalError, match="I/O"),
        sqlite_restore._unused(path),
    ):
        unreachable()
    assert users(path) == ["miguel", "susan"]


def test_what_comes_before_may_fail(path: Path, copy: Path) -> None:
    def fail() -> None:
        raise UnusableStore

    with pytest.raises(UnusableStore):
        restore(path, copy, fail)
    assert sorted(os.listdir(path.parent)) == ["copy.db", "restauth.db"]
    assert users(path) == ["miguel", "susan"]


def test_a_restore_says_how_far_it_is(
    path: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "COPIED_AT_ONCE", 4)
    percents: list[int] = []
    restore(path, copy, nothing, percents.append)
    assert percents == sorted(set(percents))
    assert percents[-1] == 100


def restore_and_note(directory: Path) -> None:
    restore(
        directory / "restauth.db", directory / "copy.db", (directory / "keys are revoked").touch
    )


def is_one_or_the_other(directory: Path) -> None:
    found = users(directory / "restauth.db")
    if found == ["miguel"]:
        assert (directory / "keys are revoked").exists()
    else:
        assert found == ["miguel", "susan"]
    restore_and_note(directory)
    assert users(directory / "restauth.db") == ["miguel"]


def test_a_kill_at_any_moment_leaves_one_whole_database(tmp_path: Path) -> None:
    in_processes(1, killed_at_each_step, tmp_path, make, restore_and_note, is_one_or_the_other)


def test_the_copy_is_on_the_disk_before_it_takes_the_place(
    path: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    sync, rename = sqlite_restore._sync, Path.rename

    def noted_sync(each: Path) -> None:
        order.append(f"sync {each.name}")
        sync(each)

    def noted(self: Path, target: Path) -> Path:
        order.append("rename")
        return rename(self, target)

    monkeypatch.setattr(sqlite_restore, "_sync", noted_sync)
    monkeypatch.setattr(Path, "rename", noted)
    restore(path, copy, nothing)
    duplicate, *rest = order
    assert duplicate.startswith("sync .restore.")
    assert rest == ["rename", f"sync {path.parent.name}"]
