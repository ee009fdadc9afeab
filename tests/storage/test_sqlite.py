"""The SQLite engine against real files: foreign, damaged, locked, full, gone, and forked away."""

import os
import resource
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from threading import Event, Semaphore
from types import ModuleType
from typing import Any

import pytest

from restauth.errors import StoreUnavailable, UnusableFile, UnusableStore
from restauth.storage import sqlite
from restauth.storage.schema import APPLICATION_ID, MIGRATIONS
from restauth.storage.sqlite import Execute, SQLite, inspect
from tests.conftest import Clock

INSERT = """
    INSERT INTO users (username, canonical_username, password_hash, created_at)
    VALUES (:name, :name, 'hash', 0)
"""
PAGE = 4096  # bytes, SQLite's default
JUNK = b"\xa5" * PAGE
WAL_INDEX = 32_768  # bytes, the least that it has
SPAWN = get_context("spawn")

Open = Callable[..., SQLite]
Change = Callable[[Path], object]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "restauth.db"


@pytest.fixture
def open_engine(path: Path) -> Iterator[Open]:
    """Engines on `path`; they are closed at the end."""
    engines = []

    def open(*, create: bool = True) -> SQLite:
        engines.append(SQLite(path, create=create))
        return engines[-1]

    yield open
    for engine in engines:
        engine.close()


@pytest.fixture
def engine(open_engine: Open) -> SQLite:
    """One user, `miguel`, and one connection in the pool."""
    engine = open_engine()
    add(engine, "miguel")
    return engine


@pytest.fixture
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def find_fault(path: Path) -> str | None:
    """What `inspect` says of a file that is not ours or damaged."""
    try:
        inspect(path)
    except UnusableStore as error:
        return str(error)
    return None


def add(engine: SQLite, name: str) -> None:
    engine.write(INSERT, {"name": name})


def names(engine: SQLite) -> list[str]:
    return [name for (name,) in engine.read("SELECT username FROM users ORDER BY id", {})]


def listing(path: Path) -> dict[str, bytes]:
    """Every file beside `path`, with its bytes; but the WAL index, which is only locks to us."""
    return {
        entry.name: entry.read_bytes()
        for entry in path.parent.iterdir()
        if not entry.name.endswith("-shm")
    }


def modes(path: Path) -> dict[str, int]:
    return {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()}


def calls_of(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str) -> list[Any]:
    """The arguments of each call from now on."""
    calls = []
    function = getattr(module, name)

    def counted(*arguments: Any, **keywords: Any) -> Any:
        calls.append(arguments)
        return function(*arguments, **keywords)

    monkeypatch.setattr(module, name, counted)
    return calls


def in_processes(count: int, work: Callable[..., None], *arguments: object) -> None:
    """Run `work(*arguments)` in fresh processes; all of them must succeed."""
    processes = [SPAWN.Process(target=work, args=arguments) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * count


# Opening


def test_the_files_are_private_under_the_usual_umask(
    usual_umask: None, engine: SQLite, path: Path
) -> None:
    assert modes(path) == {
        "restauth.db": 0o600,
        "restauth.db-wal": 0o600,
        "restauth.db-shm": 0o600,
    }


def test_every_connection_of_the_pool_has_the_pragmas(engine: SQLite) -> None:
    def pragmas(execute: Execute) -> dict[str, object]:
        return {name: execute(f"PRAGMA {name}", {})[0][0] for name in expected}

    expected = {
        "synchronous": 2,
        "foreign_keys": 1,
        "trusted_schema": 0,
        "journal_mode": "wal",
        "busy_timeout": sqlite.BUSY_TIMEOUT,
    }
    with engine.transaction() as execute:  # holds the first connection
        assert pragmas(execute) == expected
        assert pragmas(engine.read) == expected


def test_what_was_written_is_there_at_the_next_start(engine: SQLite, open_engine: Open) -> None:
    engine.close()
    assert names(open_engine()) == ["miguel"]
    assert names(open_engine(create=False)) == ["miguel"]


@pytest.mark.parametrize("create", [True, False])
def test_an_empty_file_is_taken_for_a_new_one(path: Path, open_engine: Open, create: bool) -> None:
    path.touch()
    assert names(open_engine(create=create)) == []


def test_without_create_no_file_is_made(path: Path, open_engine: Open) -> None:
    with pytest.raises(UnusableStore, match="No such file or directory"):
        open_engine(create=False)
    assert listing(path) == {}


def test_a_file_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "restauth.db"
    with pytest.raises(UnusableStore, match=f"{path} cannot be used: No such file or directory"):
        SQLite(path, create=True)


def test_a_directory_is_no_database(path: Path, open_engine: Open) -> None:
    path.mkdir()
    with pytest.raises(UnusableStore, match="cannot be used"):
        open_engine()
    assert list(path.iterdir()) == []


def changed(*statements: str) -> Change:
    """What somebody else's SQL does to a file of ours."""

    def change(path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement)

    return change


def foreign(*statements: str) -> Change:
    """A database that somebody else made."""

    def change(path: Path) -> None:
        path.unlink()
        changed(*statements)(path)

    return change


def overwrite(path: Path, offset: int, junk: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(junk)


SPOILED = [
    pytest.param(lambda path: path.write_bytes(2 * JUNK), "not a database", id="junk"),
    pytest.param(lambda path: path.write_text("a list\n"), "not a database", id="a text file"),
    pytest.param(foreign("CREATE TABLE t (x)"), "another program", id="foreign tables"),
    pytest.param(foreign("PRAGMA application_id = 7"), "another program", id="foreign id"),
    pytest.param(foreign("PRAGMA user_version = 1"), "another program", id="foreign version"),
    pytest.param(changed("PRAGMA user_version = 99"), "newer restauth", id="newer"),
    pytest.param(lambda path: os.truncate(path, 50), "malformed", id="cut in the header"),
    pytest.param(lambda path: os.truncate(path, 3 * PAGE), "malformed", id="cut between pages"),
    pytest.param(lambda path: overwrite(path, 2 * PAGE, JUNK), "damaged", id="a page"),
    pytest.param(changed("DROP TABLE sessions"), "not as we made", id="a table less"),
    pytest.param(changed("DROP INDEX sessions_by_user"), "not as we made", id="an index less"),
    pytest.param(
        changed("ALTER TABLE users ADD COLUMN is_admin INTEGER"), "not as we made", id="a column"
    ),
    pytest.param(
        changed("CREATE TRIGGER t AFTER INSERT ON users BEGIN DELETE FROM users; END"),
        "not as we made",
        id="a planted trigger",
    ),
]


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize(("spoil", "reason"), SPOILED)
def test_a_file_that_is_not_ours_and_whole_is_refused_and_left_alone(
    engine: SQLite, open_engine: Open, spoil: Change, reason: str, create: bool
) -> None:
    engine.close()
    spoil(engine.path)
    before = engine.path.read_bytes()
    with pytest.raises(UnusableStore, match=reason):
        open_engine(create=create)
    assert engine.path.read_bytes() == before


def test_what_a_crash_left_of_a_foreign_database_is_left_alone(
    path: Path, open_engine: Open
) -> None:
    origin = path.with_name("origin.db")
    with closing(sqlite3.connect(origin, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (x)")
        for suffix in ("", "-wal"):
            shutil.copy(f"{origin}{suffix}", f"{path}{suffix}")
    before = listing(path)
    with pytest.raises(UnusableStore, match="another program"):
        open_engine()
    assert listing(path) == before


def test_a_file_of_one_byte_is_not_empty(path: Path, open_engine: Open) -> None:
    path.write_bytes(b"\n")
    with pytest.raises(UnusableStore):
        open_engine()
    assert path.read_bytes() == b"\n"


# Migrations


MIGRATED = (*MIGRATIONS, ("ALTER TABLE users ADD COLUMN email TEXT",))
BROKEN = (*MIGRATIONS, (*MIGRATED[-1], "CREATE TABLE again (x)", "CREATE TABLE again (x)"))


def test_a_new_migration_is_applied_at_the_next_start(
    engine: SQLite, open_engine: Open, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.close()
    monkeypatch.setattr(sqlite, "MIGRATIONS", MIGRATED)
    assert not inspect(path)
    assert open_engine().read("SELECT username, email FROM users", {}) == [("miguel", None)]
    assert find_fault(path) is None


def by_the_first_migration_alone(path: Path) -> None:
    """A file as the first version left it: a user and a session."""
    changed(
        "PRAGMA journal_mode = WAL",
        *MIGRATIONS[0],
        f"PRAGMA application_id = {APPLICATION_ID}",
        "PRAGMA user_version = 1",
        INSERT.replace(":name", "'miguel'"),
        "INSERT INTO sessions VALUES ('sid', 1, 0, 0, 1000)",
    )(path)


def test_a_file_of_the_first_version_is_migrated_and_keeps_its_rows(
    path: Path, open_engine: Open
) -> None:
    by_the_first_migration_alone(path)
    assert not inspect(path)
    for _ in range(2):  # once and for all
        engine = open_engine(create=False)
        assert engine.read("SELECT username, roles, password_version FROM users", {}) == [
            ("miguel", "", 1)
        ]
        assert engine.read("SELECT id, renewable_until, expires_at FROM sessions", {}) == [
            ("sid", 1000, 1000)
        ]
        assert find_fault(path) is None
        engine.close()


def test_an_older_file_is_told_from_a_bad_one_and_not_changed(path: Path) -> None:
    by_the_first_migration_alone(path)
    before = listing(path)
    assert inspect(path) is False
    assert listing(path) == before


@pytest.mark.parametrize("spoil", [changed("DROP INDEX sessions_by_user"), changed(*MIGRATIONS[1])])
def test_an_older_file_that_is_not_as_we_made_it_is_refused(path: Path, spoil: Change) -> None:
    by_the_first_migration_alone(path)
    spoil(path)
    before = listing(path)
    with pytest.raises(UnusableStore, match="not as we made"):
        inspect(path)
    assert listing(path) == before


def test_the_newest_file_is_said_to_be_so(engine: SQLite, path: Path) -> None:
    assert inspect(path) is True
    engine.close()
    assert inspect(path) is True


def test_a_second_migration_that_fails_at_its_end_leaves_the_first_version(
    path: Path, open_engine: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_the_first_migration_alone(path)
    before = listing(path)
    broken = (*MIGRATIONS[1], "SELECT 1 FROM nowhere")
    with monkeypatch.context() as patch:
        patch.setattr(sqlite, "MIGRATIONS", (MIGRATIONS[0], broken))
        with pytest.raises(UnusableStore, match="no such table"):
            open_engine()
    assert listing(path) == before
    assert names(open_engine()) == ["miguel"]


def test_a_broken_migration_is_rolled_back_whole(
    engine: SQLite, open_engine: Open, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.close()
    before = listing(path)
    with monkeypatch.context() as patch:
        patch.setattr(sqlite, "MIGRATIONS", BROKEN)
        with pytest.raises(UnusableStore, match="table again already exists"):
            open_engine()
    assert listing(path) == before
    assert names(open_engine()) == ["miguel"]


def test_a_start_that_loses_the_race_finds_the_tables_ready(
    path: Path, open_engine: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody holds the write lock of the new file; when we look again, all is done."""
    path.touch()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        def be_quicker(seconds: float) -> None:
            other.execute("ROLLBACK")
            add(open_engine(), "quicker")

        monkeypatch.setattr(time, "sleep", be_quicker)
        assert names(open_engine()) == ["quicker"]


def test_a_start_on_a_ready_file_waits_for_no_writer(
    engine: SQLite, open_engine: Open, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "OPENING_TIMEOUT", 0)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert names(open_engine()) == ["miguel"]


def test_a_start_does_not_wait_for_ever(
    path: Path, open_engine: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.touch()
    monkeypatch.setattr(sqlite, "OPENING_TIMEOUT", 0)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnusableStore, match="locked"):
            open_engine()


@pytest.mark.parametrize(
    "spoil",
    [
        changed("DROP INDEX sessions_by_user"),
        lambda path: overwrite(path, 2 * PAGE, b"\xa5" * PAGE),
    ],
)
def test_a_spoiled_older_file_is_refused_before_it_is_migrated(
    engine: SQLite,
    open_engine: Open,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Path], object],
) -> None:
    engine.close()
    spoil(path)
    before = path.read_bytes()
    monkeypatch.setattr(sqlite, "MIGRATIONS", MIGRATED)
    with pytest.raises(UnusableStore):
        open_engine()
    assert path.read_bytes() == before


@pytest.mark.parametrize("moment", range(1, 16))
def test_a_start_overtaken_by_another_one_comes_up(
    path: Path, open_engine: Open, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """Before one of its statements another process makes all the tables, if the locks let it."""
    connect = sqlite3.connect
    statements = []

    def connect_traced(*arguments: Any, **keywords: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **keywords)
        connection.set_trace_callback(overtake)
        return connection

    def overtake(statement: str) -> None:
        statements.append(statement)
        if len(statements) == moment:
            with suppress(UnusableStore):
                open_engine()

    monkeypatch.setattr(sqlite, "OPENING_TIMEOUT", 1)
    monkeypatch.setattr(sqlite3, "connect", connect_traced)
    assert names(open_engine()) == []


def start_on_each(directory: Path, start: Barrier) -> None:
    for number in range(5):
        start.wait()
        SQLite(directory / f"{number}.db", create=True).close()


def test_processes_that_start_at_once_on_a_new_file_all_come_up(tmp_path: Path) -> None:
    in_processes(4, start_on_each, tmp_path, SPAWN.Barrier(4, timeout=60))
    assert [find_fault(tmp_path / f"{number}.db") for number in range(5)] == [None] * 5


# Statements and transactions


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_transaction_is_all_or_nothing(engine: SQLite, error: type[BaseException]) -> None:
    def interrupted() -> None:
        with engine.transaction() as execute:
            execute(INSERT, {"name": "one"})
            raise error

    with pytest.raises(error):
        interrupted()
    assert names(engine) == ["miguel"]
    with engine.transaction() as execute:
        execute(INSERT, {"name": "one"})
        execute(INSERT, {"name": "two"})
    assert names(engine) == ["miguel", "one", "two"]


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("SELECT nothing FROM users", sqlite3.OperationalError),
        ("SELECT :forgotten", sqlite3.ProgrammingError),
        ("UPDATE users SET username = NULL", sqlite3.IntegrityError),
    ],
)
def test_a_bug_is_not_disguised_as_a_failure_of_the_machine(
    engine: SQLite, sql: str, error: type[sqlite3.Error]
) -> None:
    for run in (engine.read, engine.write):
        with pytest.raises(error):
            run(sql, {})
    assert names(engine) == ["miguel"]


def test_a_thread_for_each_request_costs_no_connection_for_each(
    engine: SQLite, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = calls_of(monkeypatch, sqlite3, "connect")
    for _ in range(20):
        with ThreadPoolExecutor(1) as thread:
            assert thread.submit(names, engine).result() == ["miguel"]
    assert made == []


def test_threads_share_an_engine_and_lose_no_write(
    open_engine: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 60_000)  # a slow disk must not decide
    engine = open_engine()
    with ThreadPoolExecutor(sqlite.MAX_WRITERS) as threads:
        list(threads.map(lambda number: add(engine, f"user{number}"), range(100)))
    assert len(names(engine)) == 100


def test_close_leaves_one_whole_file(engine: SQLite, path: Path) -> None:
    engine.close()
    assert os.listdir(path.parent) == ["restauth.db"]
    assert find_fault(path) is None


# What the machine does to us


@pytest.mark.parametrize("begin", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_while_somebody_else_writes_we_read_and_are_told_to_come_back(
    engine: SQLite, open_engine: Open, path: Path, monkeypatch: pytest.MonkeyPatch, begin: str
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 1)
    impatient = open_engine()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(begin)
        with pytest.raises(StoreUnavailable) as caught:
            add(impatient, "later")
        assert caught.value.cause == "database is locked"
        with pytest.raises(StoreUnavailable), impatient.transaction():
            pytest.fail("the write lock is taken before the first statement")
        assert names(impatient) == ["miguel"]
    add(impatient, "later")
    assert names(engine) == ["miguel", "later"]


def test_a_writer_without_a_place_to_wait_is_told_to_come_back_and_who_reads_is_not(
    open_engine: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer who waits holds a thread: with all of them waiting, nobody would be served."""
    monkeypatch.setattr(sqlite, "MAX_WRITERS", 1)
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 1)
    engine = open_engine()
    with engine.transaction() as execute:
        execute(INSERT, {"name": "first"})
        with pytest.raises(StoreUnavailable) as caught:
            add(engine, "second")
        assert caught.value.cause == "too many writers wait for the database"
        with pytest.raises(StoreUnavailable), engine.transaction():
            pytest.fail("there was no place")
        for _ in range(3):
            assert names(engine) == []
    assert names(engine) == ["first"]


def test_a_place_among_the_writers_is_given_back_whatever_happens(
    open_engine: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "MAX_WRITERS", 2)
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 1)
    engine = open_engine()
    with engine.transaction():
        for _ in range(3):  # the second place: to wait in, and in vain
            with pytest.raises(StoreUnavailable) as caught:
                add(engine, "early")
            assert caught.value.cause == "database is locked"
    for _ in range(3):
        with pytest.raises(sqlite3.IntegrityError):
            engine.write(INSERT, {"name": ""})
        with pytest.raises(ZeroDivisionError), engine.transaction():
            raise ZeroDivisionError
    add(engine, "late")
    assert names(engine) == ["late"]


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


@contextmanager
def no_more_bytes(engine: SQLite) -> Iterator[None]:
    """EFBIG from the system: no file grows beyond the WAL index, which readers need as well."""
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (WAL_INDEX, unlimited[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)


def change_all_and_add(engine: SQLite, name: str) -> None:
    with engine.transaction() as execute:
        execute("UPDATE users SET password_hash = 'lost'", {})
        execute(INSERT, {"name": name})


@pytest.mark.parametrize(
    ("full_disk", "cause"), [(no_more_pages, "database or disk is full"), (no_more_bytes, "I/O")]
)
def test_a_full_disk_costs_the_write_and_nothing_else(
    engine: SQLite, full_disk: Callable[[SQLite], AbstractContextManager[None]], cause: str
) -> None:
    large = "x" * 10 * PAGE
    with full_disk(engine):
        with pytest.raises(StoreUnavailable, match="does not answer") as caught:
            add(engine, large)
        assert cause in caught.value.cause
        with pytest.raises(StoreUnavailable) as caught:
            change_all_and_add(engine, large)
        assert cause in caught.value.cause
        assert names(engine) == ["miguel"]
    assert engine.read("SELECT password_hash FROM users", {}) == [("hash",)]
    add(engine, large)
    assert names(engine) == ["miguel", large]
    assert find_fault(engine.path) is None


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        pytest.param(lambda path: overwrite(path, PAGE, JUNK), "malformed", id="a page"),
        pytest.param(lambda path: overwrite(path, 0, JUNK), "not a database", id="the header"),
        pytest.param(
            lambda path: path.parent.rename(path.parent.with_name("elsewhere")),
            "unable to open",
            id="no directory",
        ),
    ],
)
def test_what_is_damaged_while_we_run_makes_the_store_unavailable(
    engine: SQLite, clock: Clock, monkeypatch: pytest.MonkeyPatch, change: Change, cause: str
) -> None:
    monkeypatch.setattr(time, "monotonic", clock)
    names(engine)  # has just looked
    engine.close()  # and needs a new connection
    change(engine.path)
    with pytest.raises(StoreUnavailable) as caught:
        names(engine)
    assert cause in caught.value.cause


def remove(path: Path) -> None:
    path.rename(path.with_name("aside"))


def replace(path: Path) -> None:
    shutil.copy(path, path.with_name("copy"))
    remove(path)
    path.with_name("copy").rename(path)


@pytest.mark.parametrize("change", [remove, replace])
def test_a_file_removed_or_replaced_under_us_is_noticed_within_a_second(
    engine: SQLite, path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, change: Change
) -> None:
    monkeypatch.setattr(time, "monotonic", clock)
    assert names(engine) == ["miguel"]
    change(path)
    clock.advance(1)
    with pytest.raises(StoreUnavailable) as caught:
        add(engine, "lost")
    assert caught.value.cause == f"{path} was removed or replaced: restart"
    with pytest.raises(StoreUnavailable), engine.transaction():
        pytest.fail("the look comes first")
    path.with_name("aside").rename(path)
    assert names(engine) == ["miguel"]


def test_the_look_at_the_file_is_one_a_second(
    engine: SQLite, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "monotonic", clock)
    looks = calls_of(monkeypatch, os, "stat")
    for _ in range(3):
        clock.advance(1)
        for _ in range(100):
            names(engine)
    assert len(looks) == 3


def test_a_new_connection_makes_no_file_in_the_place_of_a_removed_one(
    engine: SQLite, path: Path
) -> None:
    names(engine)  # has just looked
    engine.close()  # the next statement needs a new connection
    remove(path)
    with pytest.raises(StoreUnavailable):
        names(engine)
    assert not path.exists()


def write_from_both_sides_of_a_fork(path: Path) -> None:
    engine = SQLite(path, create=False)
    add(engine, "before")
    parents = set(engine._idle)
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert names(engine) == ["miguel", "before", "child"]
        add(engine, "parent")
    else:
        add(engine, "child")
        own = set(engine._idle)
        assert own.isdisjoint(parents)
        names(engine)
        assert own == set(engine._idle)


def test_a_forked_child_has_connections_of_its_own(engine: SQLite, path: Path) -> None:
    in_processes(1, write_from_both_sides_of_a_fork, path)
    assert names(engine) == ["miguel", "before", "child", "parent"]
    assert find_fault(path) is None


def go_on_after_the_parent_has_closed(path: Path) -> None:
    engine = SQLite(path, create=False)
    add(engine, "before")
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
        add(engine, "child")
        os.write(to_parent, b"x")
        os.read(from_parent, 1)
        add(engine, "child again")
        os._exit(0)  # as a server ends its workers: nothing is closed


def test_a_childs_writes_survive_the_parents_close(
    engine: SQLite, open_engine: Open, path: Path
) -> None:
    engine.close()
    in_processes(1, go_on_after_the_parent_has_closed, path)
    assert names(open_engine()) == ["miguel", "before", "child", "child again"]


# Backup


def test_a_backup_while_others_write_is_consistent_and_private(
    usual_umask: None, engine: SQLite, tmp_path: Path
) -> None:
    targets = [tmp_path / f"{number}.db" for number in range(5)]
    stop, wrote = Event(), Semaphore(0)

    def write_pairs() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            with engine.transaction() as execute:
                execute(INSERT, {"name": f"left{number}"})
                execute(INSERT, {"name": f"right{number}"})
            wrote.release()

    with ThreadPoolExecutor(1) as thread:
        writer = thread.submit(write_pairs)
        for target in targets:
            wrote.acquire()
            engine.backup(target)
        stop.set()
        writer.result()

    for target in targets:
        assert find_fault(target) is None
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
        with closing(SQLite(target, create=False)) as copy:
            copied = names(copy)
        assert len(copied) >= 3
        assert copied == names(engine)[: len(copied)]
        assert len(copied) % 2 == 1  # miguel and whole pairs


def test_a_backup_is_one_file_even_while_it_is_read(engine: SQLite, tmp_path: Path) -> None:
    target = tmp_path / "apart" / "copy.db"
    target.parent.mkdir()
    engine.backup(target)
    with closing(sqlite3.connect(target, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT username FROM users").fetchall() == [("miguel",)]
        assert os.listdir(target.parent) == ["copy.db"]


def test_a_backup_never_overwrites(engine: SQLite, tmp_path: Path) -> None:
    target = tmp_path / "holiday.jpg"
    target.write_bytes(b"a photograph")
    with pytest.raises(UnusableFile, match="File exists"):
        engine.backup(target)
    assert target.read_bytes() == b"a photograph"


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
    engine: SQLite,
    tmp_path: Path,
    trouble: Callable[[SQLite], AbstractContextManager[None]],
    error: type[BaseException],
    reason: str,
) -> None:
    target = tmp_path / "apart" / "copy.db"
    target.parent.mkdir()
    add(engine, "x" * WAL_INDEX)
    with trouble(engine), pytest.raises(error, match=reason):
        engine.backup(target)
    assert os.listdir(target.parent) == []


def test_a_restored_backup_is_served_in_wal_mode(
    engine: SQLite, open_engine: Open, path: Path
) -> None:
    engine.backup(path.with_name("copy.db"))
    engine.close()
    path.with_name("copy.db").rename(path)
    assert open_engine().read("PRAGMA journal_mode", {}) == [("wal",)]


# find_fault


def test_find_fault_finds_none_while_we_run_and_changes_nothing(engine: SQLite, path: Path) -> None:
    before = listing(path)
    assert find_fault(path) is None
    assert listing(path) == before


@pytest.mark.parametrize(("spoil", "reason"), SPOILED)
def test_find_fault_names_the_fault_and_mends_nothing(
    engine: SQLite, path: Path, spoil: Change, reason: str
) -> None:
    engine.close()
    spoil(path)
    before = path.read_bytes()
    fault = find_fault(path)
    assert fault is not None
    assert reason in fault
    assert path.read_bytes() == before


def test_find_fault_makes_no_file(path: Path) -> None:
    assert find_fault(path) == f"The database {path} cannot be used: unable to open database file."
    assert listing(path) == {}


def test_find_fault_takes_any_name_for_a_name(engine: SQLite, path: Path) -> None:
    """In a URI `%41` is an A, and what follows a `?` or a `#` is no name."""
    odd = path.with_name("%41?mode=rwc#.db")
    engine.close()
    shutil.copy(path, odd)
    assert find_fault(odd) is None
    odd.unlink()
    assert find_fault(odd) is not None
    assert not odd.exists()


def test_find_fault_alone_reads_a_large_file_whole(
    engine: SQLite, open_engine: Open, path: Path
) -> None:
    engine.close()
    changed(
        "PRAGMA journal_mode = DELETE",
        "PRAGMA page_size = 512",
        "VACUUM",
        "CREATE TABLE t (x)",
        f"INSERT INTO t VALUES (zeroblob({512 * sqlite.MAX_PAGES_CHECKED}))",
        "DROP TABLE t",
    )(path)
    with closing(sqlite3.connect(path)) as connection:
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'sessions_by_expiry'"
        ).fetchone()
    overwrite(path, 512 * (page - 1), JUNK[:512])
    assert names(open_engine()) == ["miguel"]
    fault = find_fault(path)
    assert fault is not None
    assert "damaged" in fault


def test_find_fault_makes_no_file_beside_one_at_rest(engine: SQLite, path: Path) -> None:
    engine.close()
    assert find_fault(path) is None
    assert os.listdir(path.parent) == [path.name]


def test_a_fault_is_one_line(engine: SQLite, path: Path) -> None:
    engine.close()
    overwrite(path, 2 * PAGE, b"\xa5" * PAGE)
    fault = find_fault(path)
    assert fault is not None
    assert "\n" not in fault
