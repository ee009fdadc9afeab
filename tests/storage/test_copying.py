"""Copies between engines: all rows, the ids that go on, and a target that is left as it was."""

import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from restauth.errors import UnusableStore
from restauth.storage import copying, engines
from restauth.storage.copying import copy
from restauth.storage.engine import Engine
from restauth.storage.schema import TABLES
from restauth.storage.store import Store
from tests.postgres import PostgresServer
from tests.storage.system import OpenPostgres, OpenSQLite, mode, names
from tests.storage.system import add as insert
from tests.storage.test_store import (
    NOW,
    REFRESHABLE,
    add,
    begin,
    everything,
    fail,
    give_code,
    invite,
    key_of,
    rotate,
)  # fmt: skip

Open = Callable[[str], Engine]


@pytest.fixture
def source(open_sqlite: OpenSQLite) -> Engine:
    """A row in every table, and a user with the highest id who has gone."""
    engine = open_sqlite("source")
    store = Store(engine)
    miguel = add(store, "Miguel")
    susan = add(store, "Süsan 日本")
    gone = add(store, "Gone")
    begin(store, susan, "s1", "s2", "s3")
    store.add_session(REFRESHABLE, 1)
    rotate(store, 0)
    rotate(store, 1, NOW + 1)
    give_code(store, miguel)
    invite(store)
    store.add_api_key(replace(key_of(miguel, "key"), roles=("editor",)), 1)
    store.add_api_key(key_of(miguel, "other", end=NOW + 1), 1)
    fail(store, "miguel", "192.0.2.7")
    fail(store, "", "192.0.2.7")
    fail(store, "miguel", "")
    store.lock_user(susan.id, NOW)
    begin(store, miguel, "m1")
    store.import_users(lambda target: target.note_old_hash("werkzeug", 5, "sample"))
    store.delete_user(gone.id)
    assert all(everything(engine))
    return engine


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def open_target(
    request: pytest.FixtureRequest, open_sqlite: OpenSQLite, open_postgres: OpenPostgres
) -> Open:
    return open_sqlite if request.param == "SQLite" else open_postgres


@pytest.mark.parametrize("page", [1, 2, 1000])
def test_a_copy_has_every_row_and_gives_no_id_twice(
    source: Engine, open_target: Open, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "PAGE", page)
    target, back = open_target("target"), open_target("back")
    seen: list[int] = []
    rows = {table: len(source.read(f"SELECT * FROM {table}", {})) for table in TABLES}
    assert copy(source, target, seen.append) == rows
    assert seen == sorted(seen)
    assert seen[-1] == sum(rows.values())
    assert copy(target, back, seen.append) == rows
    assert everything(source) == everything(target) == everything(back)
    for engine in (target, back):
        assert engine.last_id(engine.read) == 3
        assert add(Store(engine), "Ada").id == 4


def test_every_column_of_every_table_is_copied(source: Engine) -> None:
    tables = source.read(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'", {}
    )
    assert {table for (table,) in tables} == set(TABLES)
    for table, (keys, columns) in TABLES.items():
        found = source.read(f"SELECT name, pk FROM pragma_table_info('{table}')", {})
        assert {name for name, _ in found} == set(columns), table
        assert [name for name, key in sorted(found, key=lambda row: row[1]) if key] == list(
            columns[:keys]
        )


def test_what_is_written_meanwhile_is_not_in_the_copy(source: Engine, open_target: Open) -> None:
    before, target = names(source.read), open_target("target")
    copy(source, target, lambda written: insert(source.write, f"new{written}"))
    assert names(target.read) == before
    assert len(names(source.read)) > len(before)


@pytest.mark.parametrize("rest", ["a user", "the id of one"])
def test_a_target_that_is_not_empty_is_left_alone(
    source: Engine, open_target: Open, rest: str
) -> None:
    target = open_target("target")
    insert(target.write, "ada")
    if rest != "a user":
        target.write("DELETE FROM users", {})
    before = everything(target)
    with pytest.raises(UnusableStore, match="not empty"):
        copy(source, target, lambda _: None)
    assert everything(target) == before


def test_a_copy_that_is_interrupted_leaves_nothing_and_is_repeated(
    source: Engine, open_target: Open
) -> None:
    def interrupt(written: int) -> None:
        if written > 5:
            raise KeyboardInterrupt

    target = open_target("target")
    with pytest.raises(KeyboardInterrupt):
        copy(source, target, interrupt)
    assert not any(everything(target))
    assert target.last_id(target.read) == 0
    copy(source, target, lambda _: None)
    assert everything(target) == everything(source)


def test_rows_that_are_not_kept_as_they_are_undo_the_copy(
    source: Engine, open_sqlite: OpenSQLite
) -> None:
    target = open_sqlite("target")
    target.write(
        "CREATE TRIGGER shorten AFTER INSERT ON sessions BEGIN "
        "UPDATE sessions SET user_agent = '' WHERE id = NEW.id; END",
        {},
    )
    with pytest.raises(UnusableStore, match="rows of sessions"):
        copy(source, target, lambda _: None)
    assert not any(everything(target))


def test_by_name_a_new_file_or_an_empty_database_is_filled(
    source: Engine, path: Path, postgres: PostgresServer
) -> None:
    url, back = postgres.url(postgres.new_schema()), path.with_name("back")
    counts = engines.copy(source, url, print)
    with closing(engines.open_engine(url, create=False)) as engine:
        assert engines.copy(engine, str(back), print) == counts
    with closing(engines.open_engine(str(back), create=False)) as engine:
        assert everything(engine) == everything(source)
        assert engine.last_id(engine.read) == source.last_id(source.read)
    assert mode(back) == 0o600
    path.with_name("begun.part").touch()
    path.with_name("gone-wal").touch()
    kept = sorted(path.parent.iterdir())
    for target in ("back", "begun", "gone", "nowhere/target"):
        with pytest.raises(UnusableStore):
            engines.copy(source, str(path.parent / target), print)
    with pytest.raises(UnusableStore, match="not empty"):
        engines.copy(source, url, print)
    assert sorted(path.parent.iterdir()) == kept


def test_a_file_that_appears_meanwhile_is_not_replaced(source: Engine, path: Path) -> None:
    def appear(_: int) -> None:
        path.write_text("precious")

    with pytest.raises(UnusableStore, match="File exists"):
        engines.copy(source, str(path), appear)
    assert path.read_text() == "precious"
    assert list(path.parent.glob("*.part*")) == []


def test_a_file_that_does_not_hold_all_rows_is_not_kept(source: Engine, path: Path) -> None:
    """While another program has the file open, the rows stay in the WAL; so they do on a full
    disk."""
    with ExitStack() as stack:

        def look(_: int) -> None:
            reader = stack.enter_context(closing(sqlite3.connect(f"{path}.part")))
            reader.execute("SELECT count(*) FROM users").fetchall()

        with pytest.raises(UnusableStore, match="a program reads"):
            engines.copy(source, str(path), look)
    assert list(path.parent.glob(f"{path.name}*")) == []


def test_a_target_of_an_older_version_is_not_changed(
    source: Engine, postgres: PostgresServer
) -> None:
    schema = postgres.new_schema()
    url = postgres.url(schema)
    engines.open_engine(url, create=True).close()
    postgres.execute("UPDATE restauth_schema SET version = 1", schema)
    with pytest.raises(UnusableStore, match="start restauth first"):
        engines.copy(source, url, print)
    assert postgres.execute("SELECT version FROM restauth_schema", schema) == [(1,)]
