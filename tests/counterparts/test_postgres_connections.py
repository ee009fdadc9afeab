"""Ways to a PostgreSQL server: through PgBouncer, by TLS, with the password in a file of its own.

Rule: PgBouncer is in transaction mode, where each transaction may get another session. The server
with TLS takes no connection without it, and no role without its password.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg
import pytest

from restauth.storage.postgres import PostgreSQL
from tests.counterparts.postgres_servers import (
    BY_PASSWORD_AND_TLS,
    DATABASE,
    ROLE,
    Postgres,
    pgbouncer,
)
from tests.processes import Outcome, run
from tests.storage.test_engine import EngineContract, OpenEngine
from tests.storage.test_store import StoreContract

SECRET = "correct-horse"


# Through PgBouncer


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres.running(fsync="off") as server:  # a new database takes a second else
        yield server


@pytest.fixture(scope="module")
def pooler(server: Postgres) -> Iterator[str]:
    with pgbouncer(server, server_idle_timeout="1") as url:
        yield url


@pytest.fixture
def open_behind_pooler(server: Postgres, pooler: str) -> Iterator[OpenEngine]:
    """Each call opens an engine of its own on the database of a name, as a process does."""
    names = set()
    with ExitStack() as stack:

        def open(name: str = DATABASE, *, create: bool = True) -> PostgreSQL:
            if name not in names:
                server.admin(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
                server.admin(f"CREATE DATABASE {name} OWNER {ROLE}")
                names.add(name)
            engine = PostgreSQL(pooler.replace(DATABASE, name), create=create)
            return stack.enter_context(closing(engine))

        yield open


class TestEngineBehindPgBouncer(EngineContract):
    driver_error = psycopg.Error

    @pytest.fixture
    def open_engine(self, open_behind_pooler: OpenEngine) -> OpenEngine:
        return open_behind_pooler


class TestStoreBehindPgBouncer(StoreContract):
    @pytest.fixture
    def open_engine(self, open_behind_pooler: OpenEngine) -> OpenEngine:
        return open_behind_pooler


# By TLS, with a password


@pytest.fixture(scope="module")
def private_server() -> Iterator[Postgres]:
    with Postgres.running(BY_PASSWORD_AND_TLS, ssl="on", fsync="off") as server:
        server.admin(f"ALTER ROLE {ROLE} PASSWORD '{SECRET}'")
        yield server


class Client:
    """The operator of that server, whose files are in a directory."""

    def __init__(self, directory: Path, server: Postgres) -> None:
        self.directory, self.server = directory, server
        self.tls = f"sslmode=verify-full&sslrootcert={server.data / 'server.crt'}"

    def add_user(self, url: str) -> Outcome:
        command = ("user", "add", "ada", "--create", "--password-stdin")
        done = run(self.directory, *command, stdin="pw\n", database=url)
        assert SECRET not in done.stdout + done.stderr
        return Outcome(done.returncode, done.stdout, done.stderr)

    def write(self, name: str, text: str) -> str:
        path = self.directory / name
        path.write_text(text)
        path.chmod(0o600)  # else the driver ignores a file of passwords
        return str(path)


@pytest.fixture
def client(tmp_path: Path, private_server: Postgres) -> Client:
    private_server.admin(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
    private_server.admin(f"CREATE DATABASE {DATABASE} OWNER {ROLE}")
    return Client(tmp_path, private_server)


@pytest.mark.parametrize("place", ["url", "password file", "service file"])
def test_a_verified_server_gets_the_password(
    client: Client, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = client.server.url(f"?{client.tls}")
    line = f"127.0.0.1:{client.server.port}:{DATABASE}:{ROLE}:{SECRET}\n"
    match place:
        case "url":
            url = url.replace("@", f":{SECRET}@")
        case "password file":
            monkeypatch.setenv("PGPASSFILE", client.write("passwords", line))
        case _:
            monkeypatch.setenv("PGPASSFILE", client.write("passwords", line))
            options = [
                "host=127.0.0.1", f"port={client.server.port}", f"dbname={DATABASE}",
                f"user={ROLE}", *client.tls.split("&"),
            ]  # fmt: skip
            text = "\n".join(["[login]", *options, ""])
            monkeypatch.setenv("PGSERVICEFILE", client.write("services", text))
            url = "postgresql:///?service=login"
    assert client.add_user(url).status == 0
    assert client.server.admin("SELECT username FROM users", DATABASE) == [("ada",)]


@pytest.mark.parametrize("mode", ["require", "verify-full"])
def test_check_tells_a_server_that_is_not_verified(client: Client, mode: str) -> None:
    """A server elsewhere, by its name."""
    url = client.server.url(f"?{client.tls}&hostaddr=127.0.0.1").replace("@", f":{SECRET}@")
    url = url.replace("127.0.0.1:", "db.example.org:")
    assert client.add_user(url).status == 0
    done = run(client.directory, "check", database=url.replace("verify-full", mode))
    assert SECRET not in done.stdout
    assert ("is not verified" in done.stdout) == (mode == "require")
    assert "fsync is off" in done.stdout  # as the fixture has it
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (("@127.0.0.1", "@localhost"), "does not match host name"),
        (("sslrootcert=", f"sslrootcert={os.devnull}&application_name="), "certificate"),
        (("sslmode=verify-full", "sslmode=disable"), "no encryption"),
        ((SECRET, "wrong-horse"), "password authentication failed"),
    ],
)
def test_what_is_not_as_it_should_be_stops_the_start_in_one_line(
    client: Client, change: tuple[str, str], cause: str
) -> None:
    url = client.server.url(f"?{client.tls}").replace("@", f":{SECRET}@")
    outcome = client.add_user(url.replace(*change))
    assert outcome.status != 0
    assert outcome.err.count("\n") == 1
    assert cause in outcome.err
    assert "horse" not in outcome.err
    assert client.server.admin("SELECT to_regclass('users')", DATABASE) == [(None,)]
