"""The look at an open database: the name, the header on the disk, the WAL."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from restauth.errors import StoreUnavailable
from restauth.storage.sqlite import SQLite
from restauth.storage.sqlite_file import identity_of
from restauth.storage.sqlite_watch import Header, Watch
from tests.storage.system import OpenSQLite, add, calls_of, in_processes, names


@pytest.fixture
def watch(path: Path, open_sqlite: OpenSQLite) -> Watch:
    """Of a database that a connection has open."""
    engine = open_sqlite()
    names(engine.read)
    return Watch(path, identity_of(path)[1:])


def overwrite(path: Path, offset: int, junk: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(junk)


def counter_of(path: Path) -> int:
    return int.from_bytes(path.read_bytes()[24:28], "big")


def put_counter(path: Path, counter: int, *offsets: int) -> None:
    for offset in offsets:
        overwrite(path, offset, counter.to_bytes(4, "big"))


def test_a_look_finds_nothing_while_nothing_is_changed(watch: Watch, path: Path) -> None:
    opened = watch.open(watch.open_header())
    watch.look(opened)
    put_counter(path, counter_of(path) + 1, 24, 92)  # what a checkpoint may do
    watch.look(opened)
    assert watch.open(watch.open_header()) == opened


@pytest.mark.parametrize("offset", [0, 18, 19])
def test_a_header_of_another_kind_is_found(watch: Watch, path: Path, offset: int) -> None:
    opened = watch.open(watch.open_header())
    overwrite(path, offset, b"\1")
    for look in (lambda: watch.look(opened), lambda: watch.open(opened.header)):
        with pytest.raises(StoreUnavailable) as caught:
            look()
        assert caught.value.cause == f"the database {path} was emptied or overwritten: restart"


def test_a_counter_that_goes_back_is_found_and_half_of_a_write_is_none(
    watch: Watch, path: Path
) -> None:
    opened, counter = watch.open(watch.open_header()), counter_of(path)
    put_counter(path, counter + 1000, 24)  # the other place is still as it was
    watch.look(opened)
    put_counter(path, 0, 24)
    watch.look(opened)
    put_counter(path, counter, 24, 92)
    watch.look(opened)
    put_counter(path, counter - 1, 24, 92)
    with pytest.raises(StoreUnavailable):
        watch.look(opened)


def test_a_wal_that_is_not_there_is_found_at_once(watch: Watch, path: Path) -> None:
    wal = path.with_name("restauth.db-wal")
    wal.unlink()
    with pytest.raises(StoreUnavailable) as caught:
        watch.open(watch.open_header())
    assert caught.value.cause == f"the WAL {wal} was removed or replaced: restart"


def test_the_wal_of_a_link_stands_beside_the_file(watch: Watch, path: Path) -> None:
    (path.parent / "apart").mkdir()
    link = path.parent / "apart" / "link.db"
    link.symlink_to(path)
    linked = Watch(link, identity_of(path)[1:])
    linked.look(linked.open(linked.open_header()))
    link.unlink()
    shutil.copy(path, link)
    with pytest.raises(StoreUnavailable, match="The store does not answer"):
        linked.look_at_name()


def test_a_header_that_cannot_be_opened_is_no_bug(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> Header:
        raise PermissionError(13, "Permission denied")

    path.touch()
    monkeypatch.setattr("restauth.storage.sqlite_watch.Header", refuse)
    with pytest.raises(StoreUnavailable) as caught:
        Watch(path, identity_of(path)[1:]).open_header()
    assert caught.value.cause == f"the database {path} cannot be read: Permission denied"


def test_a_connection_under_way_keeps_the_header_open(
    path: Path, open_sqlite: OpenSQLite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its locks went when the last of the others was closed meanwhile."""
    closed = calls_of(monkeypatch, os, "close")
    engine = open_sqlite()
    names(engine.read)
    closed.clear()
    connect = engine._connect

    def connect_and_lose_the_others(busy_timeout: int) -> sqlite3.Connection:
        connection = connect(busy_timeout)
        connection.execute("PRAGMA schema_version").fetchall()
        engine.close()
        return connection

    monkeypatch.setattr(engine, "_connect", connect_and_lose_the_others)
    add(engine.write, "miguel")
    assert closed == []


def test_the_files_are_opened_once_and_closed_after_the_last_connection(
    path: Path, open_sqlite: OpenSQLite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A descriptor costs the process its locks on the file when it is closed."""
    opened = calls_of(monkeypatch, os, "open")
    closed = calls_of(monkeypatch, os, "close")
    first, second = open_sqlite(), open_sqlite()
    opened.clear()
    closed.clear()
    for engine in (first, second):
        add(engine.write, f"user{id(engine)}")
        names(engine.read)
    first.close()
    assert [name for name, *_ in opened] == [str(path), f"{path}-shm"]
    assert closed == []
    in_processes(1, write_and_close, path)
    assert path.with_name("restauth.db-wal").exists()  # ours is not the only use of it
    add(second.write, "late")
    second.close()
    assert not path.with_name("restauth.db-wal").exists()
    descriptor_links = [
        os.readlink(each) for each in Path("/proc/self/fd").glob("*") if each.exists()
    ]
    assert str(path) not in descriptor_links


def write_and_close(path: Path) -> None:
    with closing(SQLite(path, create=False)) as engine:
        add(engine.write, "other")


def test_what_sqlite_itself_does_to_a_file_never_sets_its_counter_back(
    watch: Watch, path: Path
) -> None:
    opened = watch.open(watch.open_header())
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        for number in range(3):
            other.execute(
                "INSERT INTO old_hashes VALUES (?, 1, hex(zeroblob(50000)))", [str(number)]
            )
            other.execute("DELETE FROM old_hashes")
            for statement in ("PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM", "ANALYZE"):
                other.execute(statement)
                watch.look(opened)
