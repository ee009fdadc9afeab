"""The contract of an engine: what the store relies on, whatever the database."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event, Semaphore

import psycopg
import pytest

from restauth.errors import UnusableFile
from restauth.storage import sqlite
from restauth.storage.engine import MAX_WRITERS, Engine, Execute
from restauth.storage.schema import MIGRATIONS
from restauth.storage.sqlite import SQLite
from tests.storage.system import INSERT, OpenPostgres, OpenSQLite, add, mode, names

OpenEngine = Callable[..., Engine]


class EngineContract:
    """A subclass has the fixture `open_engine`: a call opens an engine on the database of a name,
    with our tables, whose writers wait for each other as long as they must."""

    driver_error: type[Exception]  # what a wrong statement raises: a bug, not a failed machine

    @pytest.fixture
    def engine(self, open_engine: OpenEngine) -> Engine:
        return open_engine()

    @pytest.fixture
    def other(self, engine: Engine, open_engine: OpenEngine) -> Engine:
        """Of another process, on the same database."""
        return open_engine()

    def test_a_read_sees_what_others_have_committed_and_nothing_else(
        self, engine: Engine, other: Engine
    ) -> None:
        def work(execute: Execute) -> None:
            add(execute, "ada")
            assert names(execute) == ["ada"]
            assert names(other.read) == names(engine.read) == []

        engine.transaction(work)
        assert names(other.read) == ["ada"]
        add(other.write, "susan")
        assert names(engine.read) == ["ada", "susan"]

    def test_values_come_back_as_they_were_given(self, engine: Engine) -> None:
        given = {"name": "x'); -- :name %\n日本", "time": 2**62, "locked": None}
        sql = """
            INSERT INTO users (username, canonical_username, password_hash, created_at, locked_at)
            VALUES (:name, :name, '', :time, :locked) RETURNING username, created_at, locked_at
        """
        assert engine.write(sql, given) == [tuple(given.values())]
        sql = "SELECT created_at FROM users WHERE username = :name"
        assert engine.read(sql, given) == [(2**62,)]
        assert engine.read(sql, {"name": ""}) == []

    def test_a_write_takes_effect_whole_or_not_at_all(self, engine: Engine) -> None:
        second = {"name": "ada", "other": ""}  # which the table refuses
        with pytest.raises(self.driver_error):
            engine.write(INSERT + ", (:other, :other, 'hash', 0)", second)
        assert names(engine.read) == []
        engine.write(INSERT + ", (:other, :other, 'hash', 0)", {**second, "other": "susan"})
        assert names(engine.read) == ["ada", "susan"]

    def test_a_transaction_takes_effect_whole_and_returns_the_result_of_its_work(
        self, engine: Engine
    ) -> None:
        def work(execute: Execute) -> list[str]:
            add(execute, "ada")
            add(execute, "susan")
            return names(execute)

        assert engine.transaction(work) == names(engine.read) == ["ada", "susan"]

    @pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()], ids=repr)
    def test_what_the_work_raises_undoes_it(
        self, engine: Engine, other: Engine, error: BaseException
    ) -> None:
        def work(execute: Execute) -> None:
            add(execute, "ada")
            raise error

        for _ in range(MAX_WRITERS + 1):  # and gives back what it held
            with pytest.raises(type(error)) as caught:
                engine.transaction(work)
            assert caught.value is error
        assert names(engine.read) == names(other.read) == []
        add(other.write, "susan")
        assert names(engine.read) == ["susan"]

    @pytest.mark.parametrize(
        "sql",
        [
            "SELECT nothing FROM users",
            "UPDATE users SET username = :forgotten",
            "UPDATE users SET username = NULL",
        ],
    )
    def test_a_bug_undoes_the_transaction_and_is_not_disguised(
        self, engine: Engine, sql: str
    ) -> None:
        def work(execute: Execute) -> None:
            add(execute, "susan")
            execute(sql, {})

        add(engine.write, "ada")
        for _ in range(MAX_WRITERS + 1):
            with pytest.raises(self.driver_error):
                engine.transaction(work)
            with pytest.raises(self.driver_error):
                engine.write(sql, {})
        assert names(engine.read) == ["ada"]

    def test_no_other_writer_comes_between(self, engine: Engine, other: Engine) -> None:
        """Each transaction reads a number and writes the next one."""

        def count(execute: Execute) -> None:
            ((number,),) = execute("SELECT created_at FROM users", {})
            execute("UPDATE users SET created_at = :next", {"next": number + 1})

        def write(engine: Engine) -> None:
            for _ in range(5):
                engine.transaction(count)
                engine.write("UPDATE users SET created_at = created_at + 100", {})

        add(engine.write, "ada")
        with ThreadPoolExecutor(MAX_WRITERS) as threads:
            list(threads.map(write, [engine, other] * (MAX_WRITERS // 2)))
        ((number,),) = engine.read("SELECT created_at FROM users", {})
        assert number == 101 * 5 * MAX_WRITERS

    def test_a_write_that_may_be_lost_waits_for_no_one_and_fails_never(
        self, engine: Engine, other: Engine
    ) -> None:
        sql = "UPDATE users SET created_at = created_at + 1"

        def work(execute: Execute) -> None:
            add(execute, "ada")
            engine.write_if_free(sql, {})  # else this would wait for itself

        for _ in range(MAX_WRITERS + 1):
            with pytest.raises(self.driver_error):
                engine.write_if_free("UPDATE users SET nothing = 1", {})
        other.transaction(work)
        assert engine.read("SELECT created_at FROM users", {}) == [(0,)]
        engine.write_if_free(sql, {})
        assert other.read("SELECT created_at FROM users", {}) == [(1,)]
        add(engine.write, "susan")

    def test_a_snapshot_is_one_state_and_keeps_no_writer_waiting(
        self, engine: Engine, other: Engine
    ) -> None:
        def look(execute: Execute) -> list[list[str]]:
            before = names(execute)
            add(other.write, "susan")
            return [before, names(execute)]

        add(engine.write, "ada")
        assert engine.snapshot(look) == [["ada"], ["ada"]]
        assert names(engine.read) == ["ada", "susan"]

        def fail(execute: Execute) -> None:
            names(execute)
            raise ValueError("no")

        for _ in range(MAX_WRITERS + 1):
            with pytest.raises(ValueError, match="no"):
                engine.snapshot(fail)

    def test_the_last_id_is_the_highest_that_was_ever_given(self, engine: Engine) -> None:
        assert engine.last_id(engine.read) == 0
        add(engine.write, "ada")
        add(engine.write, "susan")
        engine.write("DELETE FROM users WHERE username = 'susan'", {})
        assert engine.last_id(engine.read) == 2

    def test_the_last_id_is_set_and_undone_with_its_transaction(self, engine: Engine) -> None:
        def fail(execute: Execute) -> None:
            engine.set_last_id(execute, 7)
            add(execute, "ada")
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            engine.transaction(fail)
        assert engine.last_id(engine.read) == 0
        engine.transaction(lambda execute: engine.set_last_id(execute, 7))
        assert engine.last_id(engine.read) == 7
        add(engine.write, "ada")
        assert engine.read("SELECT id FROM users", {}) == [(8,)]

    def test_the_version_is_the_number_of_the_migrations(self, engine: Engine) -> None:
        assert engine.version() == len(MIGRATIONS)

    def test_the_identity_is_that_of_the_database(
        self, engine: Engine, other: Engine, open_engine: OpenEngine
    ) -> None:
        assert hash(engine.identity) == hash(other.identity)
        assert engine.identity == other.identity != open_engine("another").identity

    def test_a_closed_engine_opens_again_and_what_is_under_way_goes_on(
        self, engine: Engine
    ) -> None:
        def work(execute: Execute) -> None:
            add(execute, "ada")
            engine.close()
            add(execute, "susan")

        engine.transaction(work)
        engine.close()
        engine.close()
        assert names(engine.read) == ["ada", "susan"]


class TestSQLite(EngineContract):
    driver_error = sqlite3.Error

    @pytest.fixture
    def open_engine(self, open_sqlite: OpenSQLite, monkeypatch: pytest.MonkeyPatch) -> OpenEngine:
        monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 60_000)  # a slow disk must not decide
        return open_sqlite

    def test_a_backup_while_others_write_is_consistent_and_private(
        self, engine: Engine, other: Engine, tmp_path: Path, no_umask: None
    ) -> None:
        targets = [tmp_path / f"backup{number}" for number in range(5)]
        stop, wrote = Event(), Semaphore(0)

        def write_pairs() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                other.transaction(lambda execute: write_pair(execute, str(number)))  # noqa: B023
                wrote.release()

        def write_pair(execute: Execute, name: str) -> None:
            add(execute, f"left{name}")
            add(execute, f"right{name}")

        with ThreadPoolExecutor(1) as thread:
            writer = thread.submit(write_pairs)
            for target in targets:
                wrote.acquire()
                engine.backup(target)
            stop.set()
            writer.result()

        written = names(engine.read)
        for number, target in enumerate(targets, start=1):
            with closing(SQLite(target, create=False)) as copy:
                copied = names(copy.read)
            assert copied == written[: len(copied)]
            assert len(copied) >= 2 * number
            assert len(copied) % 2 == 0
            assert mode(target) == 0o600

    def test_a_backup_that_cannot_be_made_changes_no_file(
        self, engine: Engine, tmp_path: Path
    ) -> None:
        target = tmp_path / "holiday.jpg"
        target.write_bytes(b"a photograph")
        for path, reason in ((target, "exists"), (tmp_path / "nowhere" / "copy", "No such file")):
            with pytest.raises(UnusableFile, match=reason):
                engine.backup(path)
        assert target.read_bytes() == b"a photograph"
        assert not (tmp_path / "nowhere").exists()


class TestPostgreSQL(EngineContract):
    driver_error = psycopg.Error

    @pytest.fixture
    def open_engine(self, open_postgres: OpenPostgres) -> OpenEngine:
        return open_postgres

    def test_a_backup_is_made_by_another_program(self, engine: Engine, tmp_path: Path) -> None:
        with pytest.raises(UnusableFile, match="pg_dump"):
            engine.backup(tmp_path / "copy")
        assert list(tmp_path.iterdir()) == []
