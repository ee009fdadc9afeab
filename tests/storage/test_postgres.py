"""The PostgreSQL engine: round trips, lost connections, conflicts, servers that give no answer."""

import os
import time
from collections.abc import Callable

import psycopg
import pytest

from restauth.errors import StoreUnavailable
from restauth.storage import postgres as engine_module
from restauth.storage.engine import Execute
from restauth.storage.postgres import PostgreSQL
from restauth.storage.store import Store
from tests.postgres import PostgresServer, Relay
from tests.storage.system import OpenPostgres, add, names
from tests.storage.test_store import MIGUEL, NOW, session_of

BUMP = "UPDATE users SET created_at = created_at + 1"


@pytest.fixture
def engine(open_postgres: OpenPostgres) -> PostgreSQL:
    return open_postgres()


@pytest.fixture
def relayed(open_postgres: OpenPostgres, relay: Relay) -> PostgreSQL:
    """An engine whose line to the server is the relay."""
    return open_postgres(host="127.0.0.1", port=str(relay.port), sslmode="disable")


def cut_all(postgres: PostgresServer) -> None:
    """End every session but this one, as a restart of the server does."""
    postgres.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )


def test_a_token_costs_one_round_trip_and_a_transaction_one_more_than_it_has_statements(
    relayed: PostgreSQL, relay: Relay
) -> None:
    def two(execute: Execute) -> None:
        add(execute, "ada")
        names(execute)

    store = Store(relayed)
    store.add_user("Miguel", "miguel", "hash", NOW)
    store.add_session(session_of(MIGUEL, "sid"), 1)
    costs: list[tuple[Callable[[], object], int]] = [
        (lambda: store.find_session("sid", NOW), 1),
        (lambda: store.find_user(1), 1),
        (lambda: relayed.write_if_free(BUMP, {}), 1),
        (lambda: relayed.write(BUMP, {}), 2),
        (lambda: relayed.transaction(two), 3),
    ]
    for act, cost in costs:
        before = relay.round_trips
        act()
        assert relay.round_trips - before == cost


def test_connections_that_were_lost_are_replaced_without_a_word(
    engine: PostgreSQL, postgres: PostgresServer
) -> None:
    add(engine.write, "ada")
    assert names(engine.read) == ["ada"]
    cut_all(postgres)
    assert names(engine.read) == ["ada"]
    cut_all(postgres)
    add(engine.write, "susan")
    cut_all(postgres)
    engine.write_if_free(BUMP, {})  # may be lost
    assert names(engine.read) == ["ada", "susan"]


def test_a_transaction_that_is_cut_is_run_again_and_takes_effect_once(
    engine: PostgreSQL, postgres: PostgresServer
) -> None:
    cuts = iter([True, True, False])

    def work(execute: Execute) -> None:
        add(execute, "ada")
        if next(cuts):
            cut_all(postgres)
        add(execute, "susan")

    engine.transaction(work)
    assert names(engine.read) == ["ada", "susan"]


def test_a_commit_without_an_answer_is_not_run_again(relayed: PostgreSQL, relay: Relay) -> None:
    """It has perhaps taken effect: here it has."""
    runs = []

    def work(execute: Execute) -> None:
        runs.append(1)
        add(execute, "ada")

    relay.refuses = lambda data: b"COMMIT" in data
    with pytest.raises(StoreUnavailable) as caught:
        relayed.transaction(work)
    assert "commit" in caught.value.cause
    assert names(relayed.read) == ["ada"]
    assert runs == [1]


def test_a_conflict_is_run_again_until_the_patience_ends(
    engine: PostgreSQL, open_postgres: OpenPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, runs = open_postgres(), []

    def work(execute: Execute) -> None:
        runs.append(1)
        execute("SELECT created_at FROM users", {})
        if len(runs) == 1:
            other.write(BUMP, {})
        execute(BUMP, {})

    add(engine.write, "ada")
    engine.transaction(work)
    assert len(runs) == 2
    assert engine.read("SELECT created_at FROM users", {}) == [(2,)]
    runs.clear()
    monkeypatch.setattr(engine_module, "PATIENCE", 0)
    with pytest.raises(StoreUnavailable):
        engine.transaction(work)
    assert engine.read("SELECT created_at FROM users", {}) == [(3,)]


def test_a_commit_may_meet_the_conflict(engine: PostgreSQL, open_postgres: OpenPostgres) -> None:
    """Each reads what the other writes (https://wiki.postgresql.org/wiki/SSI, "write skew")."""
    other, runs = open_postgres(), []
    add(engine.write, "ada")
    add(engine.write, "susan")

    def skew(execute: Execute, name: str) -> None:
        ((total,),) = execute("SELECT CAST(sum(created_at) AS INTEGER) FROM users", {})
        execute(
            "UPDATE users SET created_at = :next WHERE username = :name",
            {"next": total + 1, "name": name},
        )

    def work(execute: Execute) -> None:
        runs.append(1)
        skew(execute, "ada")
        if len(runs) == 1:
            other.transaction(lambda execute: skew(execute, "susan"))

    engine.transaction(work)
    assert sorted(engine.read("SELECT created_at FROM users", {})) == [(1,), (2,)]
    assert len(runs) == 2


def test_a_server_without_an_answer_is_given_up(
    relayed: PostgreSQL, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    for act in (relayed.read, relayed.write):
        assert act("SELECT 1", {}) == [(1,)]
        relay.is_silent = True
        with monkeypatch.context() as patch:
            patch.setattr(engine_module._Connection, "patience", 0.05)
            patch.setattr(engine_module, "PATIENCE", 0.05)
            with pytest.raises(StoreUnavailable) as caught:
                act("SELECT 1", {})
        assert "in time" in caught.value.cause
        relay.is_silent = False
        assert act("SELECT 1", {}) == [(1,)]


def test_who_finds_no_connection_free_is_refused(
    open_postgres: OpenPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "MAX_WRITERS", 1)
    engine = open_postgres()
    monkeypatch.setattr(engine_module, "PATIENCE", 0.01)

    def work(execute: Execute) -> None:
        names(engine.read)  # reads have connections of their own
        with pytest.raises(StoreUnavailable) as caught:
            engine.write(BUMP, {})
        assert caught.value.cause == "all connections to the database are in use"
        engine.write_if_free(BUMP, {})

    engine.transaction(work)
    engine.write(BUMP, {})


def test_a_server_that_takes_no_writes_is_left_and_found_again(
    engine: PostgreSQL, open_postgres: OpenPostgres, postgres: PostgresServer
) -> None:
    """As after a switch to another primary: what it answers may be old."""
    careless = open_postgres(target_session_attrs="any")
    add(engine.write, "ada")
    names(engine.read)
    try:
        set_read_only(postgres, "on")
        with pytest.raises(StoreUnavailable):
            add(engine.write, "susan")
        for ask in (lambda: names(engine.read), engine.ping):
            with pytest.raises(StoreUnavailable):
                ask()
        careless.close()
        with pytest.raises(StoreUnavailable) as caught:
            names(careless.read)
        assert "standby" in caught.value.cause
    finally:
        set_read_only(postgres, "off")
    time.sleep(engine_module.PAUSE)
    add(engine.write, "susan")
    engine.ping()
    assert names(engine.read) == ["ada", "susan"]


def set_read_only(postgres: PostgresServer, value: str) -> None:
    postgres.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
    postgres.execute("SELECT pg_reload_conf()")
    while postgres.execute("SHOW default_transaction_read_only") != [(value,)]:
        time.sleep(0.01)


def test_a_server_that_is_away_is_asked_by_few(
    engine: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = []

    def refuse(**_: object) -> None:
        attempts.append(1)
        raise psycopg.OperationalError("connection refused")

    names(engine.read)
    engine.close()
    with monkeypatch.context() as patch:
        patch.setattr(engine_module, "PAUSE", 60)
        patch.setattr(engine_module._Connection, "connect", refuse)
        for _ in range(5):
            with pytest.raises(StoreUnavailable):
                names(engine.read)
    assert len(attempts) == 1
    engine._failed_at = 0
    assert names(engine.read) == []


def test_no_connection_crosses_a_fork(engine: PostgreSQL) -> None:
    add(engine.write, "ada")
    assert names(engine.read) == ["ada"]
    child = os.fork()
    if not child:
        add(engine.write, "susan")
        os._exit(names(engine.read) != ["ada", "susan"])
    assert os.waitpid(child, 0)[1] == 0
    assert names(engine.read) == ["ada", "susan"]
