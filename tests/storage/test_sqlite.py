"""What is SQLite's alone: connections, waiting writers, a file that fails or goes, and forks."""

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, closing, contextmanager
from itertools import islice
from pathlib import Path
from threading import Barrier

import pytest

from restauth.errors import StoreUnavailable, UnusableFile
from restauth.gate import WouldWait, gate
from restauth.storage import sqlite, sqlite_file
from restauth.storage.engine import MAX_WRITERS, Execute
from restauth.storage.sqlite import SQLite
from restauth.storage.sqlite_file import is_up_to_date
from tests.storage.system import (
    INSERT,
    OpenSQLite,
    Ticking,
    add,
    calls_of,
    in_processes,
    largest_file,
    names,
)

PAGE = 4096  # bytes, SQLite's default
JUNK = b"\xa5" * PAGE
WAL_INDEX = 32_768  # bytes, the least that it has

# Another process that rebuilds the index of the WAL: it holds the locks for writing and recovery
# (https://sqlite.org/walformat.html section 2.3.1), and the index has no valid header.
RECOVERING = """
import fcntl, sys
index = open(sys.argv[1], "r+b", buffering=0)
for lock in (120, 122):
    fcntl.lockf(index, fcntl.LOCK_EX, 1, lock)
index.write(bytes(96))
print("recovering", flush=True)
sys.stdin.read()
"""

Change = Callable[[Path], object]
Trouble = Callable[[SQLite], AbstractContextManager[None]]


@pytest.fixture
def engine(open_sqlite: OpenSQLite) -> SQLite:
    """One user, `miguel`, and one connection in the pool."""
    engine = open_sqlite()
    add(engine.write, "miguel")
    return engine


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> Ticking:
    """The clock that says when to look at the file."""
    ticking = Ticking()
    monkeypatch.setattr(time, "monotonic", ticking)
    return ticking


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
        "journal_size_limit": sqlite_file.USUAL_WAL,
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
    assert engine.read("PRAGMA busy_timeout", {}) == [(0,)]


def test_a_reader_waits_only_where_it_may(engine: SQLite, impatient: None) -> None:
    index = f"{engine.path}-shm"
    assert names(engine.read) == ["miguel"]  # so a connection to read is open
    with subprocess.Popen(
        [sys.executable, "-c", RECOVERING, index], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"recovering\n"
        with pytest.raises(WouldWait), gate.turn(must_not_wait=True):
            engine.read("SELECT id FROM users", {})
        with pytest.raises(StoreUnavailable), gate.turn():
            engine.read("SELECT id FROM users", {})
        other.communicate()
    assert names(engine.read) == ["miguel"]
    assert engine.read("PRAGMA busy_timeout", {}) == [(0,)]


def test_a_thread_for_each_request_costs_no_connection_for_each(
    engine: SQLite, monkeypatch: pytest.MonkeyPatch
) -> None:
    names(engine.read)  # one reads, one writes
    made = calls_of(monkeypatch, sqlite3, "connect")
    for number in range(20):
        with ThreadPoolExecutor(1) as thread:
            thread.submit(add, engine.write, f"user{number}").result()
            assert len(thread.submit(names, engine.read).result()) == number + 2
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
        locked = f"the database {path}: database is locked: another process writes to it"
        assert cause_of(lambda: add(engine.write, "later")) == locked
        # The lock is taken before the first statement.
        assert cause_of(lambda: engine.transaction(unreachable)) == locked
        assert names(engine.read) == ["miguel"]
    add(engine.write, "later")
    assert names(engine.read) == ["miguel", "later"]


@pytest.fixture
def begins(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each try to take the write lock of the file, from the next connection on."""
    tries: list[str] = []
    connect = SQLite._connect

    def connect_traced(engine: SQLite, busy_timeout: int) -> sqlite3.Connection:
        connection = connect(engine, busy_timeout)
        connection.set_trace_callback(lambda sql: tries.append(sql) if "BEGIN" in sql else None)
        return connection

    monkeypatch.setattr(SQLite, "_connect", connect_traced)
    return tries


def test_a_burst_of_writers_waits_and_none_is_refused(
    engine: SQLite, monkeypatch: pytest.MonkeyPatch, begins: list[str]
) -> None:
    """Many more than would have a place while another process holds the file."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 60_000)  # a slow disk must not decide
    engine.close()
    burst = 8 * MAX_WRITERS
    all_are_here = Barrier(burst)

    def write(number: int) -> None:
        all_are_here.wait(timeout=60)
        add(engine.write, f"user{number}")

    with ThreadPoolExecutor(burst) as threads:
        list(threads.map(write, range(burst)))
    assert len(names(engine.read)) == 1 + burst
    assert len(begins) == burst  # they wait for each other, and do not try in vain


def test_while_another_process_holds_the_file_few_threads_wait_and_readers_go_on(
    engine: SQLite, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that waits holds a thread: with all of them waiting, no request would be served."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 60_000)
    monkeypatch.setattr(sqlite, "MOMENT", 0)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        many = 3 * MAX_WRITERS
        with ThreadPoolExecutor(many) as threads:
            writes = [threads.submit(add, engine.write, f"user{i}") for i in range(many)]
            refused = list(islice(as_completed(writes), many - MAX_WRITERS))
            assert {cause_of(write.result) for write in refused} == {
                "too many writers wait for the database"
            }
            assert names(engine.read) == ["miguel"]
            other.execute("ROLLBACK")
    assert [write.exception() for write in writes].count(None) == MAX_WRITERS
    assert len(names(engine.read)) == 1 + MAX_WRITERS


def test_a_file_that_was_waited_for_in_vain_is_not_waited_for_again(
    engine: SQLite, path: Path, ticking: Ticking, begins: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else those who come one after the other would each wait as long as the first one."""
    monkeypatch.setattr(time, "sleep", ticking.advance)
    engine.close()

    def tries(name: str) -> int:
        begins.clear()
        start = ticking.now
        assert "database is locked" in cause_of(lambda: add(engine.write, name))
        assert ticking.now - start <= (sqlite.BUSY_TIMEOUT / 1000) + sqlite.POLL_INTERVAL
        return len(begins)

    for _ in range(2):
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert tries("first") > 100
            assert [tries(name) for name in ("second", "third")] == [1, 1]
            ticking.advance(60)  # nobody has tried since: it may be free most of the time
            assert tries("fourth") > 100
        add(engine.write, f"user{len(names(engine.read))}")  # it is free
    assert names(engine.read) == ["miguel", "user1", "user2"]


def test_a_place_is_given_back_whatever_happened(engine: SQLite) -> None:
    for _ in range(MAX_WRITERS + 1):
        with pytest.raises(sqlite3.IntegrityError):
            engine.write(INSERT, {"name": ""})
        with pytest.raises(AttributeError):
            engine.transaction(lambda execute: execute.nothing)  # type: ignore[attr-defined]
        with pytest.raises(sqlite3.OperationalError):
            engine.write("no statement", {})
    add(engine.write, "susan")
    assert names(engine.read) == ["miguel", "susan"]


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
        pytest.param(remove, "removed or replaced: restart", id="no file"),
        pytest.param(
            lambda path: path.parent.rename(path.parent.with_name("elsewhere")),
            "removed or replaced: restart",
            id="no directory",
        ),
    ],
)
def test_what_is_damaged_while_we_run_makes_the_store_unavailable(
    engine: SQLite, ticking: Ticking, change: Change, cause: str
) -> None:
    names(engine.read)  # has just looked
    engine.close()  # and needs a new connection
    change(engine.path)
    told = cause_of(lambda: names(engine.read))
    assert cause in told
    assert told.startswith(f"the database {engine.path}")
    assert told.endswith(("restart", "restore a copy (restauth restore)"))
    assert change != remove or not engine.path.exists()  # no file was made in its place


def empty(path: Path) -> None:
    path.write_bytes(b"")


def copy_over(name: str) -> Change:
    """What `cp` does: the file stays the same one, and has another content."""

    def change(path: Path) -> None:
        path.write_bytes(path.with_name(name).read_bytes())

    return change


def on_wal(change: Change) -> Change:
    def change_wal(path: Path) -> object:
        return change(path.with_name(path.name + "-wal"))

    return change_wal


CHANGES = [
    pytest.param(remove, "restauth.db was removed or replaced: restart", id="removed"),
    pytest.param(replace, "restauth.db was removed or replaced: restart", id="replaced"),
    pytest.param(empty, "restauth.db was emptied or overwritten: restart", id="emptied"),
    pytest.param(
        copy_over("backup.db"), "restauth.db was emptied or overwritten: restart", id="a backup"
    ),
    pytest.param(
        copy_over("older.db"), "restauth.db was emptied or overwritten: restart", id="an older file"
    ),
    pytest.param(on_wal(remove), "restauth.db-wal was removed or replaced: restart", id="no WAL"),
    pytest.param(
        on_wal(replace), "restauth.db-wal was removed or replaced: restart", id="another WAL"
    ),
]


@pytest.fixture
def with_copies(engine: SQLite, path: Path) -> SQLite:
    """There is an older copy and a backup; most of what is new stands in the WAL alone."""
    engine.close()
    shutil.copy(path, path.with_name("older.db"))
    add(engine.write, "large" * PAGE)  # the file grows
    engine.close()
    add(engine.write, "new")
    engine.backup(path.with_name("backup.db"))
    names(engine.read)
    return engine


@pytest.mark.parametrize(("change", "cause"), CHANGES)
def test_a_write_to_a_file_that_was_changed_under_us_is_not_begun(
    with_copies: SQLite, change: Change, cause: str
) -> None:
    change(with_copies.path)
    for act in (
        lambda: add(with_copies.write, "lost"),
        lambda: with_copies.transaction(unreachable),
        with_copies.ping,
    ):
        assert cause_of(act).endswith(cause)


@pytest.mark.parametrize(("change", "cause"), CHANGES)
def test_a_write_is_not_acknowledged_if_the_file_is_changed_while_it_is_made(
    with_copies: SQLite, change: Change, cause: str
) -> None:
    def work(execute: Execute) -> None:
        add(execute, "lost")
        change(with_copies.path)

    assert cause_of(lambda: with_copies.transaction(work)).endswith(cause)


@pytest.mark.parametrize(("change", "cause"), CHANGES)
def test_a_reader_notices_within_a_second(
    with_copies: SQLite, ticking: Ticking, change: Change, cause: str
) -> None:
    names(with_copies.read)
    change(with_copies.path)
    ticking.advance(1)
    assert cause_of(lambda: names(with_copies.read)).endswith(cause)


def test_a_bug_that_an_emptied_file_explains_is_none(with_copies: SQLite, ticking: Ticking) -> None:
    """Within the second, and so before a look: "no such table"."""
    names(with_copies.read)
    empty(with_copies.path)
    assert "emptied" in cause_of(lambda: with_copies.read("SELECT * FROM nothing", {}))


def test_a_new_connection_looks_at_once(with_copies: SQLite, ticking: Ticking) -> None:
    names(with_copies.read)
    with_copies.close()
    empty(with_copies.path)
    assert "emptied" in cause_of(lambda: names(with_copies.read))


def test_a_file_that_comes_back_is_used_again(engine: SQLite, path: Path) -> None:
    remove(path)
    cause_of(lambda: add(engine.write, "lost"))
    path.with_name("aside").rename(path)
    add(engine.write, "susan")
    assert names(engine.read) == ["miguel", "susan"]


def test_our_own_checkpoints_and_those_of_others_are_no_change(
    engine: SQLite, open_sqlite: OpenSQLite, path: Path
) -> None:
    other = open_sqlite()
    with closing(sqlite3.connect(path, isolation_level=None)) as stranger:
        for number in range(3):
            for each in (engine, other):
                add(each.write, f"{number}{id(each)}" * PAGE)
                each.ping()
            stranger.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            stranger.execute("VACUUM")
            stranger.execute("ANALYZE")
    assert len(names(engine.read)) == 7


def test_the_look_at_the_file_is_one_a_second_for_readers(
    engine: SQLite, ticking: Ticking, monkeypatch: pytest.MonkeyPatch
) -> None:
    names(engine.read)
    looks = calls_of(monkeypatch, os, "stat")
    for _ in range(3):
        ticking.advance(1)
        for _ in range(100):
            names(engine.read)
    assert len(looks) == 3 * 2  # the file and its WAL


# A database that cannot be written


@pytest.mark.parametrize("name", ["restauth.db", "restauth.db-wal", "restauth.db-shm", "."])
def test_a_ping_finds_what_became_read_only(
    engine: SQLite, path: Path, unprivileged: None, name: str
) -> None:
    engine.ping()
    changed = path.parent / name
    before = changed.stat().st_mode
    changed.chmod(0o500)
    assert f"{changed} is read-only" in cause_of(engine.ping)
    assert names(engine.read) == ["miguel"]
    changed.chmod(before)
    engine.ping()


def test_a_ping_finds_a_disk_that_takes_no_write_and_when_it_does_again(
    engine: SQLite, path: Path, ticking: Ticking
) -> None:
    engine.ping()
    with largest_file(path.with_name("restauth.db-wal").stat().st_size):
        engine.ping()  # within the second
        ticking.advance(1)
        for _ in range(3):
            assert "I/O" in cause_of(engine.ping)
        assert names(engine.read) == ["miguel"]
    ticking.advance(1)
    engine.ping()
    assert is_up_to_date(path)


def test_pings_write_once_a_second_and_wait_for_no_writer(
    engine: SQLite, open_sqlite: OpenSQLite, path: Path, ticking: Ticking
) -> None:
    sizes = []
    for _ in range(2):
        ticking.advance(1)
        for _ in range(10):
            engine.ping()
            sizes.append(path.with_name("restauth.db-wal").stat().st_size)
    assert len(set(sizes)) == 2
    ticking.advance(1)
    with pytest.raises(WouldWait), gate.turn(must_not_wait=True):
        engine.ping()  # and it is not taken for a trial
    open_sqlite().transaction(lambda _: engine.ping())


def test_connections_that_cannot_write_are_replaced_when_the_file_can_be_written_again(
    engine: SQLite, path: Path, unprivileged: None
) -> None:
    engine.close()
    path.chmod(0o400)
    assert names(engine.read) == ["miguel"]
    assert "readonly" in cause_of(lambda: add(engine.write, "lost"))
    for each in path.parent.iterdir():
        each.chmod(0o600)
    add(engine.write, "susan")
    assert names(engine.read) == ["miguel", "susan"]


def test_after_a_failed_write_the_connections_stay_open(
    engine: SQLite, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last one that is closed removes the WAL; then a full disk has no place for a new one, and
    nothing can be read any more."""
    names(engine.read)
    large = "x" * 10 * WAL_INDEX
    made = calls_of(monkeypatch, sqlite3, "connect")
    with largest_file(WAL_INDEX):
        for _ in range(3):
            assert "I/O" in cause_of(lambda: add(engine.write, large))
            assert names(engine.read) == ["miguel"]
    engine._writing[0].execute("PRAGMA max_page_count = 1")  # in fact, no more than there are now
    for _ in range(3):
        assert "full" in cause_of(lambda: add(engine.write, large))
        assert names(engine.read) == ["miguel"]
    engine._writing[0].execute("PRAGMA max_page_count = 1000000")
    assert made == []
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        made.clear()
        other.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 1)
        cause_of(lambda: add(engine.write, "later"))
    add(engine.write, "susan")
    assert names(engine.read) == ["miguel", "susan"]
    assert made == []


def test_what_a_long_read_let_the_wal_grow_to_is_given_back(
    engine: SQLite, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "USUAL_WAL", 100 * PAGE)
    engine.close()
    wal = path.with_name("restauth.db-wal")
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM users").fetchall()
        for number in range(4):
            add(engine.write, str(number) * 400 * PAGE)
        assert wal.stat().st_size > 1000 * PAGE
    for name in ("checkpoint", "begin anew"):
        add(engine.write, name)
    assert wal.stat().st_size <= 100 * PAGE


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
    parents = {*engine._idle, *engine._writing}
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert names(engine.read) == ["miguel", "before", "child"]
        add(engine.write, "parent")
    else:
        add(engine.write, "child")
        names(engine.read)
        own = {*engine._idle, *engine._writing}
        assert len(own) == 2
        assert own.isdisjoint(parents)


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


def test_a_backup_says_how_far_it_is_and_writes_of_others_do_not_begin_it_anew(
    engine: SQLite, open_sqlite: OpenSQLite, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "COPIED_AT_ONCE", 4)
    other = open_sqlite()
    percents: list[int] = []

    def note_and_write(percent: int) -> None:
        percents.append(percent)
        if len(percents) < 20:
            add(other.write, f"user{len(percents)}")

    target = path.with_name("copy.db")
    engine.backup(target, note_and_write)
    assert percents == sorted(set(percents))
    assert percents[-1] == 100
    with closing(sqlite3.connect(target)) as copy:
        assert copy.execute("SELECT username FROM users").fetchall() == [("miguel",)]


@contextmanager
def without_source(engine: SQLite) -> Iterator[None]:
    remove(engine.path)
    engine._next_look = 0
    yield


@contextmanager
def interrupted(engine: SQLite) -> Iterator[None]:
    def connect(*arguments: object, **keywords: object) -> None:
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
