"""The PostgreSQL database: the start on it, what it refuses, and `restauth check`."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from restauth.errors import UnusableStore
from restauth.records import Finding
from restauth.storage import engines, postgres_database
from restauth.storage.postgres import PostgreSQL
from restauth.storage.schema import MIGRATIONS
from restauth.storage.store import Store
from tests.documents import sql_statements
from tests.postgres import PostgresServer, Relay
from tests.storage.system import add, names
from tests.storage.test_store import TRANSACTIONS, begin
from tests.storage.test_store import add as add_user

COLUMNS = """
    SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns
    WHERE table_schema = current_schema() ORDER BY 1, 2
"""


@pytest.fixture
def schema(postgres: PostgresServer) -> str:
    """An empty one."""
    return postgres.new_schema()


@pytest.fixture
def url(postgres: PostgresServer, schema: str) -> str:
    return postgres.url(schema)


def start(url: str) -> None:
    with closing(PostgreSQL(url, create=True)):
        pass


def refusal(url: str, *, create: bool = True) -> str:
    with pytest.raises(UnusableStore) as caught:
        PostgreSQL(url, create=create)
    return str(caught.value)


def test_all_who_start_at_once_start_and_one_makes_the_tables(url: str) -> None:
    def start_and_add(number: int) -> None:
        with closing(PostgreSQL(url, create=True)) as engine:
            add(engine.write, f"user{number}")

    with ThreadPoolExecutor(10) as threads:
        list(threads.map(start_and_add, range(10)))
    with closing(PostgreSQL(url, create=False)) as engine:
        assert sorted(names(engine.read)) == [f"user{number}" for number in range(10)]


@pytest.mark.parametrize("seen", range(1, len(MIGRATIONS)))
def test_tables_of_each_earlier_version_are_brought_up_to_date(
    postgres: PostgresServer, url: str, seen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(postgres_database, "MIGRATIONS", MIGRATIONS[:seen])
        with closing(PostgreSQL(url, create=True)) as engine:
            add(engine.write, "ada")
    assert engines.exists(url)
    assert not engines.is_up_to_date(url)
    assert "The next start brings the tables" in texts(engines.check(url), "warning")
    other = postgres.url(postgres.new_schema())
    start(other)
    with (
        closing(PostgreSQL(url, create=False)) as engine,
        closing(PostgreSQL(other, create=False)) as new,
    ):
        assert names(engine.read) == ["ada"]
        assert engine.read(COLUMNS, {}) == new.read(COLUMNS, {})
    assert engines.is_up_to_date(url)
    assert engines.has_users(url)  # perhaps of another machine


def test_tables_are_made_when_asked_alone(url: str) -> None:
    assert not engines.exists(url)
    assert not engines.has_users(url)
    assert "RESTAUTH_DATABASE" in refusal(url, create=False)
    with pytest.raises(UnusableStore, match="RESTAUTH_DATABASE"):
        engines.open_engine(url, create=False)
    assert not engines.exists(url)
    assert "the first start makes them" in texts(engines.check(url), "warning")


def test_tables_of_another_program_and_of_a_newer_version_are_left_alone(
    postgres: PostgresServer, url: str, schema: str
) -> None:
    postgres.execute("CREATE TABLE users (id INTEGER)", schema)
    assert "another program" in refusal(url)
    postgres.execute("DROP TABLE users", schema)
    start(url)
    postgres.execute("UPDATE restauth_schema SET version = 99", schema)
    assert "newer" in refusal(url)
    assert "newer" in texts(engines.check(url), "error")
    assert "search_path" in refusal(postgres.url("nowhere"))


@pytest.mark.parametrize(
    "broken",
    [
        "postgresql://ada:hunter%2@127.0.0.1/users",
        "postgresql://ada:hunter2@127.0.0.1:1/users",
        "postgresql://ada:hunter2@127.0.0.1:1,127.0.0.1:2/users?sslmode=nonsense",
        "postgresql://ada@127.0.0.1:1/users?password=hunter2",
        "postgresql://ada@127.0.0.1:1/users?no_such_option=hunter2",
        # What is no UTF-8, and what no text can hold.
        "postgresql://ada:hunter2@127.0.0.1:1/%ff",
        "postgresql://%ff:hunter2@127.0.0.1:1/users",
        "postgresql://ada:hunter2@127.0.0.1:1/users?host=%ff",
        "postgresql://ada:hunter2@\udcff/users",
    ],
)
def test_no_message_shows_a_secret(broken: str) -> None:
    assert "hunter2" not in refusal(broken)
    assert "hunter2" not in texts(engines.check(broken), "error")
    assert not engines.has_users(broken)


def test_a_database_of_another_encoding_or_an_old_server_is_refused(
    postgres: PostgresServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.execute("CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII'")
    assert "SQL_ASCII, not UTF8" in refusal(url.replace("/postgres?", "/ascii?"))
    monkeypatch.setattr(postgres_database, "OLDEST", 99)
    assert "older than PostgreSQL 99" in refusal(url)


def test_the_roles_of_all_users_are_found_without_a_change(url: str) -> None:
    assert engines.find_roles(url) is None  # there are no tables
    with closing(PostgreSQL(url, create=True)) as engine:
        store = Store(engine)
        assert engines.find_roles(url) == set()
        for name, roles in (("ann", ("admin", "editor")), ("bob", ("editor",)), ("carl", ())):
            store.add_user(name, name, "-", 0, roles)
    assert engines.find_roles(url) == {"admin", "editor"}


def test_the_rights_that_the_guide_gives_are_enough(
    postgres: PostgresServer, url: str, schema: str
) -> None:
    *roles, _ = sql_statements("scaling", "CREATE DATABASE")
    for statement in [*roles, *sql_statements("scaling", "GRANT")]:
        # Roles belong to all databases of a server, and other tests make some too.
        postgres.execute(statement.replace("public", schema).replace("restauth", schema))
    url = postgres.url(schema, user=schema)
    assert "permission denied" in refusal(url)
    start(postgres.url(schema, user=f"{schema}_owner"))
    with closing(PostgreSQL(url, create=False)) as engine:
        store = Store(engine)
        begin(store, add_user(store, "Miguel"), "sid")
        for act in TRANSACTIONS.values():
            act(store)
    assert [finding for finding in engines.check(url) if finding.level != "ok"] == []
    postgres.execute(f"REVOKE UPDATE ON sessions FROM {schema}", schema)
    assert "may not read and write the table sessions" in texts(engines.check(url), "error")


def test_what_loses_or_shows_data_is_an_error(
    postgres: PostgresServer, url: str, schema: str, relay: Relay
) -> None:
    start(url)
    assert [finding.level for finding in engines.check(url)] == ["warning", "ok"]  # a superuser
    far = postgres.url(
        schema,
        host="db.example.org",
        hostaddr="127.0.0.1",
        port=str(relay.port),
        sslmode="disable",
    )
    assert "is not encrypted" in texts(engines.check(far), "error")
    lax = postgres.url(schema, options=f"-csearch_path={schema} -csynchronous_commit=off")
    assert "synchronous_commit is off" in texts(engines.check(lax), "error")


def texts(findings: Iterable[Finding], level: str) -> str:
    return " ".join(each.text for each in findings if each.level == level)
