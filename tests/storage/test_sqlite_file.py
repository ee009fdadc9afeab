"""The file at a start and in a check: foreign, damaged, older, newer, or being made by another."""

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from restauth.errors import UnusableStore
from restauth.storage import sqlite_file
from restauth.storage.schema import APPLICATION_ID, MIGRATIONS
from restauth.storage.sqlite import SQLite
from restauth.storage.sqlite_file import check, is_up_to_date
from tests.storage.system import INSERT, SPAWN, OpenSQLite, add, in_processes, mode, names

PAGE = 4096  # bytes, SQLite's default
JUNK = b"\xa5" * PAGE

Change = Callable[[Path], object]


@pytest.fixture
def made(path: Path, open_sqlite: OpenSQLite) -> Path:
    """A file with one user, and no process that has it open."""
    engine = open_sqlite()
    add(engine.write, "miguel")
    engine.close()
    return path


def listing(path: Path) -> dict[str, bytes]:
    """Every file beside `path`, with its bytes; but the WAL index, which is only locks to us."""
    return {
        entry.name: entry.read_bytes()
        for entry in path.parent.iterdir()
        if not entry.name.endswith("-shm")
    }


def levels(path: Path) -> list[str]:
    """The findings of a check that changes nothing."""
    before = listing(path)
    found = list(check(path))
    assert listing(path) == before
    assert [each.text for each in found if "\n" in each.text] == []
    return [each.level for each in found]


def changed(*statements: str) -> Change:
    """What the SQL of another program does to a file of ours."""

    def change(path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement)

    return change


def foreign(*statements: str) -> Change:
    """A database of another program."""

    def change(path: Path) -> None:
        path.write_bytes(b"")
        changed(*statements)(path)

    return change


def overwrite(path: Path, offset: int, junk: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(junk)


# Making it


def test_the_files_are_private_under_any_umask(
    path: Path, open_sqlite: OpenSQLite, no_umask: None
) -> None:
    add(open_sqlite().write, "miguel")
    assert {entry.name: mode(entry) for entry in path.parent.iterdir()} == {
        "restauth.db": 0o600,
        "restauth.db-wal": 0o600,
        "restauth.db-shm": 0o600,
    }


@pytest.mark.parametrize("create", [True, False])
def test_an_empty_file_is_taken_for_a_new_one(
    path: Path, open_sqlite: OpenSQLite, create: bool
) -> None:
    path.touch(0o600)
    assert not is_up_to_date(path)
    assert levels(path) == ["ok", "warning"]
    assert names(open_sqlite(create=create).read) == []
    assert levels(path) == ["ok"]


@pytest.mark.parametrize("create", [True, False])
def test_what_was_written_is_there_at_the_next_start(
    made: Path, open_sqlite: OpenSQLite, create: bool
) -> None:
    assert names(open_sqlite(create=create).read) == ["miguel"]


@pytest.mark.parametrize(
    ("name", "create", "level"),
    [("restauth.db", False, "warning"), ("nowhere/restauth.db", True, "error")],
)
def test_without_a_file_or_a_directory_none_is_made(
    path: Path, open_sqlite: OpenSQLite, name: str, create: bool, level: str
) -> None:
    missing = path.parent / name
    with pytest.raises(UnusableStore, match=f"{missing} cannot be used: No such file or directory"):
        open_sqlite(name, create=create)
    with pytest.raises(UnusableStore, match="No such file"):
        is_up_to_date(missing)
    assert [found.level for found in check(missing)] == [level]
    assert listing(path) == {}


def test_a_link_to_nowhere_is_not_a_missing_file(path: Path) -> None:
    path.symlink_to("nowhere")
    assert [found.level for found in check(path)] == ["error"]


def test_a_directory_is_no_database(path: Path, open_sqlite: OpenSQLite) -> None:
    path.mkdir()
    with pytest.raises(UnusableStore, match="cannot be used"):
        open_sqlite()
    assert list(path.iterdir()) == []


def test_a_database_with_a_second_name_is_refused(made: Path, open_sqlite: OpenSQLite) -> None:
    """Each name would have a write-ahead log of its own, and lose the writes of the other."""
    os.link(made, made.with_name("second.db"))
    with pytest.raises(UnusableStore, match="hard link") as caught:
        open_sqlite()
    assert [found.text for found in check(made) if found.level == "error"] == [str(caught.value)]


def test_a_named_pipe_is_no_database_and_nobody_waits_for_its_other_end(
    path: Path, open_sqlite: OpenSQLite
) -> None:
    os.mkfifo(path, 0o600)
    for use in (open_sqlite, lambda: open_sqlite(create=False), lambda: is_up_to_date(path)):
        with pytest.raises(UnusableStore, match="not a regular file"):
            use()
    assert [found.level for found in check(path)] == ["error"]


@pytest.mark.parametrize("name", ["restauth.db", "."])
def test_what_cannot_be_written_is_refused_at_the_start_and_found_by_a_check(
    made: Path, open_sqlite: OpenSQLite, unprivileged: None, name: str
) -> None:
    changed = made.parent / name
    before = changed.stat().st_mode
    changed.chmod(before & 0o555)
    text = f"The database {made} cannot be used: {changed} is read-only for this user."
    for create in (True, False):
        with pytest.raises(UnusableStore) as caught:
            open_sqlite(create=create)
        assert str(caught.value) == text
    assert [found.text for found in check(made) if found.level == "error"] == [text]
    changed.chmod(before)
    assert names(open_sqlite().read) == ["miguel"]
    assert levels(made) == ["ok"]


def test_what_cannot_be_read_is_told_with_the_next_step(
    made: Path, open_sqlite: OpenSQLite, unprivileged: None
) -> None:
    made.chmod(0)
    text = f"The database {made} cannot be used: Permission denied. Run restauth as its user."
    with pytest.raises(UnusableStore) as caught:
        open_sqlite()
    assert str(caught.value) == text
    assert [found.text for found in check(made) if found.level == "error"] == [text]


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
@pytest.mark.parametrize("is_new", [False, True], ids=["goes", "comes"])
def test_a_file_that_goes_or_comes_while_it_is_looked_at_is_no_fault(
    made: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, is_new: bool
) -> None:
    """When another process closes its last connection, or opens its first one."""
    beside = made.with_name(made.name + suffix)
    if not is_new:
        beside.touch()
    access = os.access

    def access_meanwhile(path: Path, mode: int, **keywords: bool) -> bool:
        if path != beside:
            return access(path, mode, **keywords)
        if not is_new:
            beside.unlink()
        is_writable = access(path, mode, **keywords)
        if is_new:
            beside.touch()
        return is_writable

    monkeypatch.setattr(os, "access", access_meanwhile)
    monkeypatch.setattr(os, "supports_effective_ids", {access_meanwhile})
    assert sqlite_file.find_write_fault(made) is None
    assert beside.exists() is is_new


@pytest.mark.parametrize("create", [True, False])
def test_a_link_is_followed_to_a_directory_that_cannot_be_written(
    made: Path, open_sqlite: OpenSQLite, unprivileged: None, create: bool
) -> None:
    """The WAL stands beside the file and not beside the link."""
    apart = made.parent / "apart"
    apart.mkdir()
    made.rename(apart / "restauth.db")
    made.symlink_to(apart / "restauth.db")
    apart.chmod(0o500)
    with pytest.raises(UnusableStore, match=f"{apart} is read-only"):
        open_sqlite(create=create)


def test_a_file_is_lost_when_what_is_made_after_it_is_there(path: Path, made: Path) -> None:
    ring, elsewhere = path.with_name("ring"), path.parent / "elsewhere" / "ring"
    elsewhere.parent.mkdir()
    assert not sqlite_file.is_lost(path, ring)
    ring.touch()
    elsewhere.touch()
    assert not sqlite_file.is_lost(path, ring)
    path.write_bytes(b"")
    assert sqlite_file.is_lost(path, ring)
    assert sqlite_file.is_lost(path, elsewhere)
    path.unlink()
    assert sqlite_file.is_lost(path, ring)
    assert not sqlite_file.is_lost(path, elsewhere)  # it may have been put there before
    path.mkdir()
    assert not sqlite_file.is_lost(path, ring)  # another fault, which has another name


def test_any_name_is_a_name(made: Path, open_sqlite: OpenSQLite) -> None:
    """In a URI `%41` is an A, and what follows a `?` or a `#` is no name."""
    odd = made.with_name("%41?mode=rwc#.db")
    shutil.copy(made, odd)
    assert is_up_to_date(odd)
    assert names(open_sqlite(odd.name, create=False).read) == ["miguel"]
    odd.unlink()
    with pytest.raises(UnusableStore):
        is_up_to_date(odd)
    assert not odd.exists()


# What is refused


SPOILED = [
    pytest.param(lambda path: path.write_bytes(2 * JUNK), "not a database", id="junk"),
    pytest.param(lambda path: path.write_text("a list\n"), "not a database", id="a text file"),
    pytest.param(lambda path: path.write_text("\n"), "another program", id="one byte"),
    pytest.param(foreign("CREATE TABLE t (x)"), "another program", id="foreign tables"),
    pytest.param(foreign("PRAGMA application_id = 7"), "another program", id="foreign id"),
    pytest.param(foreign("PRAGMA user_version = 1"), "another program", id="foreign version"),
    pytest.param(changed("PRAGMA user_version = 99"), "newer", id="newer"),
    pytest.param(changed("PRAGMA user_version = 0"), "newer", id="no version"),
    pytest.param(lambda path: os.truncate(path, 50), "malformed", id="cut in the header"),
    pytest.param(lambda path: os.truncate(path, 3 * PAGE), "malformed", id="cut between pages"),
    pytest.param(lambda path: overwrite(path, 2 * PAGE, JUNK), "damaged", id="a page"),
    pytest.param(changed("DROP TABLE sessions"), "changed", id="a table less"),
    pytest.param(changed("DROP INDEX sessions_by_user"), "changed", id="an index less"),
    pytest.param(changed("ALTER TABLE users ADD COLUMN x INTEGER"), "changed", id="a column"),
    pytest.param(
        changed("CREATE TRIGGER t AFTER INSERT ON users BEGIN DELETE FROM users; END"),
        "changed",
        id="a planted trigger",
    ),
]


@pytest.mark.parametrize(("spoil", "reason"), SPOILED)
def test_a_file_that_is_not_ours_and_whole_is_refused_and_left_alone(
    made: Path, open_sqlite: OpenSQLite, spoil: Change, reason: str
) -> None:
    spoil(made)
    before = made.read_bytes()
    for refusing in (
        lambda: open_sqlite(create=True),
        lambda: open_sqlite(create=False),
        lambda: is_up_to_date(made),
    ):
        with pytest.raises(UnusableStore, match=reason):
            refusing()
    assert levels(made) == ["error"]
    assert made.read_bytes() == before


def test_what_a_crash_left_of_a_foreign_database_is_left_alone(
    path: Path, open_sqlite: OpenSQLite
) -> None:
    origin = path.with_name("origin.db")
    with closing(sqlite3.connect(origin, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (x)")
        for suffix in ("", "-wal"):
            shutil.copy(f"{origin}{suffix}", f"{path}{suffix}")
    before = listing(path)
    with pytest.raises(UnusableStore, match="another program"):
        open_sqlite()
    assert listing(path) == before


def test_what_the_planner_has_noted_is_no_change(made: Path, open_sqlite: OpenSQLite) -> None:
    """An operator may run ANALYZE: it makes tables of SQLite's own."""
    changed("ANALYZE")(made)
    assert is_up_to_date(made)
    assert names(open_sqlite().read) == ["miguel"]


# The check


def test_a_check_changes_nothing_while_we_run(path: Path, open_sqlite: OpenSQLite) -> None:
    add(open_sqlite().write, "miguel")
    assert levels(path) == ["ok"]
    assert path.with_name("restauth.db-wal").exists()


@pytest.mark.parametrize("name", ["restauth.db", "restauth.db-wal"])
def test_a_check_finds_a_file_that_others_can_read(
    path: Path, open_sqlite: OpenSQLite, name: str
) -> None:
    add(open_sqlite().write, "miguel")
    path.with_name(name).chmod(0o604)
    assert levels(path) == ["ok", "error"]


def test_a_check_finds_a_directory_that_others_can_write(made: Path) -> None:
    made.parent.chmod(0o777)
    assert levels(made) == ["ok", "error"]


def test_a_check_finds_a_full_disk(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = os.statvfs_result((4096, 4096, 100, 15, 15, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    assert [(found.level, found.text) for found in check(made)][1:] == [
        ("error", f"The disk of the database {made} is full.")
    ]


def test_a_check_names_a_large_wal(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wal = made.with_name("restauth.db-wal")
    wal.touch(0o600)
    os.truncate(wal, sqlite_file.LARGE_WAL)
    assert levels(made) == ["ok"]
    os.truncate(wal, sqlite_file.LARGE_WAL + 2**20)
    assert [found.text for found in check(made) if found.level == "warning"] == [
        f"{wal} has 65 MiB: another program has read the database for a long time without an end."
    ]


def test_a_check_alone_reads_a_large_file_whole(made: Path, open_sqlite: OpenSQLite) -> None:
    changed(
        "PRAGMA journal_mode = DELETE",
        "PRAGMA page_size = 512",
        "VACUUM",
        "CREATE TABLE t (x)",
        f"INSERT INTO t VALUES (zeroblob({512 * sqlite_file.MAX_PAGES_CHECKED}))",
        "DROP TABLE t",
    )(made)
    with closing(sqlite3.connect(made)) as connection:
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'sessions_by_expiry'"
        ).fetchone()
    overwrite(made, 512 * (page - 1), JUNK[:512])
    assert names(open_sqlite().read) == ["miguel"]
    assert levels(made) == ["error"]


# Migrations


MIGRATED = (*MIGRATIONS, ("ALTER TABLE users ADD COLUMN email TEXT",))


@pytest.fixture
def first_version(path: Path) -> Path:
    """A file as the first version left it: a user and a session."""
    changed(
        "PRAGMA journal_mode = WAL",
        *MIGRATIONS[0],
        f"PRAGMA application_id = {APPLICATION_ID}",
        "PRAGMA user_version = 1",
        INSERT.replace(":name", "'miguel'"),
        "INSERT INTO sessions VALUES ('sid', 1, 0, 0, 1000)",
    )(path)
    path.chmod(0o600)
    return path


def test_a_file_of_the_first_version_is_migrated_and_keeps_its_rows(
    first_version: Path, open_sqlite: OpenSQLite
) -> None:
    assert not is_up_to_date(first_version)
    assert levels(first_version) == ["ok", "warning"]
    for _ in range(2):  # once and for all
        engine = open_sqlite(create=False)
        assert engine.read("SELECT username, roles, password_version FROM users", {}) == [
            ("miguel", "", 1)
        ]
        assert engine.read("SELECT id, renewable_until, expires_at FROM sessions", {}) == [
            ("sid", 1000, 1000)
        ]
        engine.close()
        assert is_up_to_date(first_version)


@pytest.mark.parametrize(
    "spoil", [changed("DROP INDEX sessions_by_user"), changed(*MIGRATIONS[1])], ids=["less", "more"]
)
def test_an_older_file_that_was_changed_is_refused_before_it_is_migrated(
    first_version: Path, open_sqlite: OpenSQLite, spoil: Change
) -> None:
    spoil(first_version)
    before = listing(first_version)
    for refusing in (open_sqlite, lambda: is_up_to_date(first_version)):
        with pytest.raises(UnusableStore, match="changed"):
            refusing()
    assert listing(first_version) == before


def test_a_damaged_older_file_is_refused_before_it_is_migrated(
    made: Path, open_sqlite: OpenSQLite, monkeypatch: pytest.MonkeyPatch
) -> None:
    overwrite(made, 2 * PAGE, JUNK)
    before = made.read_bytes()
    monkeypatch.setattr(sqlite_file, "MIGRATIONS", MIGRATED)
    with pytest.raises(UnusableStore, match="damaged"):
        open_sqlite()
    assert made.read_bytes() == before


@pytest.mark.parametrize("broken", ["CREATE TABLE users (x)", "SELECT 1 FROM nowhere"])
def test_a_migration_that_fails_at_its_end_is_rolled_back_whole(
    made: Path, open_sqlite: OpenSQLite, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    before = listing(made)
    with monkeypatch.context() as patch:
        patch.setattr(sqlite_file, "MIGRATIONS", (*MIGRATIONS, (*MIGRATED[-1], broken)))
        with pytest.raises(UnusableStore, match=r"exists|no such table"):
            open_sqlite()
    assert listing(made) == before
    assert names(open_sqlite().read) == ["miguel"]


# Starts at the same time


def test_a_start_that_loses_the_race_finds_the_tables_ready(
    path: Path, open_sqlite: OpenSQLite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process holds the write lock of the new file; when we look again, all is done."""
    path.touch()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        def be_quicker(seconds: float) -> None:
            other.execute("ROLLBACK")
            add(open_sqlite().write, "quicker")

        monkeypatch.setattr(time, "sleep", be_quicker)
        assert names(open_sqlite().read) == ["quicker"]


def test_a_start_waits_for_a_writer_only_when_it_must_and_not_for_ever(
    made: Path, open_sqlite: OpenSQLite, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = made.with_name("new.db")
    new.touch()
    monkeypatch.setattr(sqlite_file, "OPENING_TIMEOUT", 0)
    for path in (made, new):
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            if path == made:
                assert names(open_sqlite().read) == ["miguel"]
            else:
                with pytest.raises(UnusableStore, match="locked"):
                    open_sqlite(new.name)


@pytest.mark.parametrize("moment", range(1, 16))
def test_a_start_overtaken_by_another_one_comes_up(
    open_sqlite: OpenSQLite, monkeypatch: pytest.MonkeyPatch, moment: int
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
                open_sqlite()

    monkeypatch.setattr(sqlite_file, "OPENING_TIMEOUT", 1)
    monkeypatch.setattr(sqlite3, "connect", connect_traced)
    assert names(open_sqlite().read) == []


def start_on_each(directory: Path, start: Barrier) -> None:
    for number in range(5):
        start.wait()
        SQLite(directory / f"{number}.db", create=True).close()


def test_processes_that_start_at_once_on_a_new_file_all_come_up(tmp_path: Path) -> None:
    in_processes(4, start_on_each, tmp_path, SPAWN.Barrier(4, timeout=60))
    assert [is_up_to_date(tmp_path / f"{number}.db") for number in range(5)] == [True] * 5
