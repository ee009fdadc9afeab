"""The migrations: what the tables refuse, whoever asks."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256

import pytest

from restauth.storage.schema import APPLICATION_ID, MIGRATIONS

# A start compares the tables with these very texts: one blank more locks every old file out.
SHIPPED = ["a0a927c11792aa7b"]

USER = "INSERT INTO users (username, canonical_username, password_hash, created_at) VALUES "
SESSION = "INSERT INTO sessions (id, user_id, created_at, last_used_at, expires_at) VALUES "


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """All migrations, one user and one session."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        for statement in (statement for migration in MIGRATIONS for statement in migration):
            connection.execute(statement)
        connection.execute(USER + "('Miguel', 'miguel', 'hash', 0)")
        connection.execute(SESSION + "('sid', 1, 0, 0, 1)")
        yield connection


def test_a_shipped_migration_never_changes() -> None:
    digests = [sha256("\0".join(migration).encode()).hexdigest()[:16] for migration in MIGRATIONS]
    assert digests[: len(SHIPPED)] == SHIPPED


def test_the_application_id_spells_rest() -> None:
    assert APPLICATION_ID.to_bytes(4, "big") == b"rest"


def test_users_keep_the_column_names_of_rest_auth(connection: sqlite3.Connection) -> None:
    names = [column[1] for column in connection.execute("PRAGMA table_info(users)")]
    assert {"id", "username", "password_hash"} <= set(names)


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param(USER + "('', '', 'hash', 0)", id="an empty name"),
        pytest.param(USER + "(NULL, 'n', 'hash', 0)", id="no name"),
        pytest.param(USER + "('N', NULL, 'hash', 0)", id="no canonical name"),
        pytest.param(USER + "('MIGUEL', 'miguel', 'hash', 0)", id="a canonical name twice"),
        pytest.param(USER + "('N', 'n', NULL, 0)", id="no hash"),
        pytest.param(USER + "('N', 'n', x'00', 0)", id="bytes for a text"),
        pytest.param(USER + "('N', 'n', 'hash', 'now')", id="a text for a time"),
        pytest.param("UPDATE users SET locked_at = 0.5", id="half a second"),
        pytest.param("UPDATE users SET id = 'one'", id="a text for an id"),
        pytest.param(SESSION + "('sid', 1, 0, 0, 1)", id="a session id twice"),
        pytest.param(SESSION + "('s', 2, 0, 0, 1)", id="a session of nobody"),
        pytest.param(SESSION + "('s', 1, 0, 0, NULL)", id="a session without an end"),
    ],
)
def test_the_tables_refuse(connection: sqlite3.Connection, statement: str) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute(statement)
