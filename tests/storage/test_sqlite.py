"""What is SQLite's alone: connections, waiting writers, a file that fails or goes, and forks."""

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from restauth.errors import StoreUnavailable, UnusableFile
from restauth.storage import sqlite
from restauth.storage.engine import Execute
from restauth.storage.sqlite import SQLite
from restauth.storage.sqlite_file import is_up_to_date
from restauth.testing import Clock
from tests.storage.system import (
    INSERT,
    OpenSQLite,
    add,
    calls_of,
    in_processes,
    largest_file,
    names,
)

PAGE = 4096  # bytes, SQLite's default
JUNK = b"\xa5" * PAGE
WAL_INDEX = 32_768  # bytes, the least that it has

Change = Callable[[Path], object]
Trouble = Callable[[SQLite], AbstractContextManager[None]]


@pytest.fixture
def engine(open_sqlite: OpenSQLite) -> SQLite:
    """One user, `miguel`, and one connection in the pool."""
    engine = open_sqlite()
    add(engine.write, "miguel")
    return engine


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Clock:
    """The clock that says when to look at the file."""
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 1)


def unreachable(execute: Execute) -> None:
    pytest.fail("the work was begun")


def cause_of(act: Callable[[], object]) -> str:
    """Why the store is unavailable."""
    with pytest.raises(StoreUnavailable) as caught:
        act()
    return caught.value.cause


# Connections


def test_every_connection_of_the_pool_has_the_pragmas(engine: SQLite) -> None:
    expected = {
        "synchronous": 2,
        "foreign_keys": 1,
        "trusted_schema": 0,
        "journal_mode": "wal",
        "busy_timeout": sqlite.BUSY_TIMEOUT,
    }

    def pragmas(execute: Execute) -> dict[str, object]:
        return {name: execute(f"PRAGMA {name}", {})[0][0] for name in expected}

    def work(execute: Execute) -> None:  # holds the first connection
        assert pragmas(execute) == pragmas(engine.read) == expected
        engine.write_if_free("UPDATE users SET username = 'x'", {})  # in vain, on the second one
        assert pragmas(engine.read) == expected

    engine.transaction(work)
    engine.write_if_free("UPDATE users SET username = 'x'", {})
    assert pragmas(engine.read) == expected


def test_a_thread_for_each_request_costs_no_connection_for_each(
    engine: SQLite, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = calls_of(monkeypatch, sqlite3, "connect")
    for _ in range(20):
        with ThreadPoolExecutor(1) as thread:
            assert thread.submit(names, engine.read).result() == ["miguel"]
    assert made == []


def test_close_leaves_one_whole_file(engine: SQLite, path: Path) -> None:
    engine.close()
    assert os.listdir(path.parent) == ["restauth.db"]
    assert is_up_to_date(path)


def test_the_identity_is_that_of_the_file_and_not_of_its_name(
    engine: SQLite, open_sqlite: OpenSQLite, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.with_name("link.db").symlink_to(path.name)
    shutil.copy(path, path.with_name("copy.db"))
    monkeypatch.chdir(path.parent)
    with closing(SQLite(Path(path.name), create=False)) as relative:
        monkeypatch.chdir("/")
        relative.close()
        assert names(relative.read) == ["miguel"]
        assert relative.identity == engine.identity == open_sqlite("link.db").identity
    assert engine.identity != open_sqlite("copy.db").identity


# Waiting writers


@pytest.mark.parametrize("begin", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_while_another_process_writes_we_read_and_write_later(
    engine: SQLite, path: Path, impatient: None, begin: str
) -> None:
    engine.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(begin)
        assert cause_of(lambda: add(engine.write, "later")) == "database is locked"
        # The lock is taken before the first statement.
        assert cause_of(lambda: engine.transaction(unreachable)) == "database is locked"
        assert names(engine.read) == ["miguel"]
    add(engine.write, "later")
    assert names(engine.read) == ["miguel", "later"]


def test_a_writer_without_a_place_to_wait_is_refused_and_a_reader_is_not(
    open_sqlite: OpenSQLite, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    """A writer that waits holds a thread: with all of them waiting, no request would be served.
    The first place is for the one who writes."""
    monkeypatch.setattr(sqlite, "MAX_WRITERS", 2)
    engine = open_sqlite()

    def work(execute: Execute) -> None:
        add(execute, "first")
        assert cause_of(lambda: add(engine.write, "second")) == "database is locked"
        with engine._place_in_queue():
            for write in (
                lambda: add(engine.write, "third"),
                lambda: engine.transaction(unreachable),
            ):
                assert cause_of(write) == "too many writers wait for the database"
            assert names(engine.read) == []

    for _ in range(3):  # whatever happened, the places were given back
        with pytest.raises(sqlite3.IntegrityError):
            engine.write(INSERT, {"name": ""})
        with pytest.raises(AttributeError):
            engine.transaction(lambda execute: execute.nothing)  # type: ignore[attr-defined]
    engine.transaction(work)
    assert names(engine.read) == ["first"]


# What the machine does to us


@contextmanager
def no_more_pages(engine: SQLite) -> Iterator[None]:
    """SQLITE_FULL, as on a device without space."""
    connect = SQLite._connect

    def connect_limited(engine: SQLite, busy_timeout: int) -> sqlite3.Connection:
        connection = connect(engine, busy_timeout)
        connection.execute("PRAGMA max_page_count = 1")  # in fact, no more than there are now
        return connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SQLite, "_connect", connect_limited)
        engine.close()
        yield
        engine.close()


def no_more_bytes(engine: SQLite) -> AbstractContextManager[None]:
    """EFBIG from the system; but readers need the WAL index."""
    return largest_file(WAL_INDEX)


@pytest.mark.parametrize("full_disk", ["no_more_pages", "no_more_bytes"])
def test_a_write_that_may_be_lost_is_lost_on_a_full_disk_and_keeps_its_connection(
    engine: SQLite, monkeypatch: pytest.MonkeyPatch, full_disk: str
) -> None:
    with {"no_more_pages": no_more_pages, "no_more_bytes": no_more_bytes}[full_disk](engine):
        assert names(engine.read) == ["miguel"]
        made = calls_of(monkeypatch, sqlite3, "connect")
        for _ in range(9):
            engine.write_if_free(
                "UPDATE users SET password_hash = :large", {"large": "x" * 10 * PAGE}
            )
        assert names(engine.read) == ["miguel"]
        assert made == []


def test_a_write_that_may_be_lost_is_lost_with_the_file(engine: SQLite, path: Path) -> None:
    engine._next_look = 0
    path.unlink()
    engine.write_if_free("UPDATE users SET username = 'x'", {})


@pytest.mark.parametrize(
    ("full_disk", "cause"), [(no_more_pages, "database or disk is full"), (no_more_bytes, "I/O")]
)
def test_a_full_disk_costs_the_write_and_nothing_else(
    engine: SQLite, full_disk: Trouble, cause: str
) -> None:
    large = "x" * 10 * PAGE

    def change_all_and_add(execute: Execute) -> None:
        execute("UPDATE users SET password_hash = 'lost'", {})
        add(execute, large)

    with full_disk(engine):
        assert cause in cause_of(lambda: add(engine.write, large))
        assert cause in cause_of(lambda: engine.transaction(change_all_and_add))
        assert names(engine.read) == ["miguel"]
    assert engine.read("SELECT password_hash FROM users", {}) == [("hash",)]
    add(engine.write, large)
    assert names(engine.read) == ["miguel", large]
    assert is_up_to_date(engine.path)


def overwrite(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(JUNK)


def remove(path: Path) -> None:
    path.rename(path.with_name("aside"))


def replace(path: Path) -> None:
    shutil.copy(path, path.with_name("copy"))
    remove(path)
    path.with_name("copy").rename(path)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        pytest.param(lambda path: overwrite(path, PAGE), "malformed", id="a page"),
        pytest.param(lambda path: overwrite(path, 0), "not a database", id="the header"),
        pytest.param(remove, "unable to open", id="no file"),
        pytest.param(
            lambda path: path.parent.rename(path.parent.with_name("elsewhere")),
            "unable to open",
            id="no directory",
        ),
    ],
)
def test_what_is_damaged_while_we_run_makes_the_store_unavailable(
    engine: SQLite, ticking: Clock, change: Change, cause: str
) -> None:
    names(engine.read)  # has just looked
    engine.close()  # and needs a new connection
    change(engine.path)
    assert cause in cause_of(lambda: names(engine.read))
    assert change != remove or not engine.path.exists()  # no file was made in its place


@pytest.mark.parametrize("change", [remove, replace])
def test_a_file_removed_or_replaced_under_us_is_noticed_within_a_second(
    engine: SQLite, path: Path, ticking: Clock, change: Change
) -> None:
    assert names(engine.read) == ["miguel"]
    change(path)
    ticking.advance(1)
    for act in (lambda: add(engine.write, "lost"), lambda: engine.transaction(unreachable)):
        assert cause_of(act) == f"{path} was removed or replaced: restart"
    path.with_name("aside").rename(path)
    assert names(engine.read) == ["miguel"]


def test_the_look_at_the_file_is_one_a_second(
    engine: SQLite, ticking: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = calls_of(monkeypatch, os, "stat")
    for _ in range(3):
        ticking.advance(1)
        for _ in range(100):
            names(engine.read)
    assert len(looks) == 3


# Several engines, processes and forks


def add_and_close(path: Path, name: str) -> None:
    with closing(SQLite(path, create=False)) as engine:
        add(engine.write, name)


def test_a_second_engine_of_a_process_costs_the_first_one_no_lock(
    engine: SQLite, open_sqlite: OpenSQLite, path: Path
) -> None:
    """POSIX locks go when the process closes the file, whichever part of it opened it. Then the
    last other process would remove the WAL, and what we write to it would be lost."""
    open_sqlite()
    is_up_to_date(path)
    in_processes(1, add_and_close, path, "other")
    add(engine.write, "late")
    in_processes(1, add_and_close, path, "last")
    assert names(engine.read) == ["miguel", "other", "late", "last"]


def write_from_both_sides_of_a_fork(path: Path) -> None:
    engine = SQLite(path, create=False)
    add(engine.write, "before")
    parents = set(engine._idle)
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert names(engine.read) == ["miguel", "before", "child"]
        add(engine.write, "parent")
    else:
        add(engine.write, "child")
        own = set(engine._idle)
        assert own.isdisjoint(parents)
        names(engine.read)
        assert own == set(engine._idle)


def go_on_after_the_parent_has_closed(path: Path) -> None:
    engine = SQLite(path, create=False)
    add(engine.write, "before")
    from_child, to_parent = os.pipe()
    from_parent, to_child = os.pipe()
    child = os.fork()
    if child:
        os.read(from_child, 1)
        engine.close()
        os.write(to_child, b"x")
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
    else:
        add(engine.write, "child")
        os.write(to_parent, b"x")
        os.read(from_parent, 1)
        add(engine.write, "parent")
        os._exit(0)  # as a server ends its workers: nothing is closed


@pytest.mark.parametrize(
    "fork", [write_from_both_sides_of_a_fork, go_on_after_the_parent_has_closed]
)
def test_a_forked_child_has_connections_of_its_own_and_loses_no_write(
    engine: SQLite, fork: Callable[[Path], None]
) -> None:
    engine.close()
    in_processes(1, fork, engine.path)
    assert names(engine.read) == ["miguel", "before", "child", "parent"]
    assert is_up_to_date(engine.path)


# Backup


def test_a_backup_is_one_file_even_while_it_is_read_and_is_served_in_wal_mode(
    engine: SQLite, open_sqlite: OpenSQLite, path: Path
) -> None:
    target = path.with_name("apart") / "copy.db"
    target.parent.mkdir()
    engine.backup(target)
    with closing(sqlite3.connect(target, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT username FROM users").fetchall() == [("miguel",)]
        assert os.listdir(target.parent) == ["copy.db"]
    engine.close()
    target.rename(path)
    assert open_sqlite().read("PRAGMA journal_mode", {}) == [("wal",)]


@contextmanager
def without_source(engine: SQLite) -> Iterator[None]:
    remove(engine.path)
    engine._next_look = 0
    yield


@contextmanager
def interrupted(engine: SQLite) -> Iterator[None]:
    def connect(*arguments: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", connect)
        yield


@pytest.mark.parametrize(
    ("trouble", "error", "reason"),
    [
        (no_more_bytes, UnusableFile, "disk I/O error"),
        (without_source, UnusableFile, "was removed or replaced"),
        (interrupted, KeyboardInterrupt, "^$"),
    ],
)
def test_a_backup_that_fails_leaves_nothing_behind(
    engine: SQLite, path: Path, trouble: Trouble, error: type[BaseException], reason: str
) -> None:
    target = path.with_name("apart") / "copy.db"
    target.parent.mkdir()
    add(engine.write, "x" * WAL_INDEX)
    with trouble(engine), pytest.raises(error, match=reason):
        engine.backup(target)
    assert os.listdir(target.parent) == []
