"""The migrations: what the tables refuse, whoever asks."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256

import pytest

from restauth.storage.schema import APPLICATION_ID, MIGRATIONS

# A start compares the tables with these very texts: one blank more locks every old file out.
SHIPPED = ["a0a927c11792aa7b", "211b33f84f7c08c0"]

USER = "INSERT INTO users (username, canonical_username, password_hash, created_at) VALUES "
SESSION = "INSERT INTO sessions (id, user_id, created_at, last_used_at, expires_at) VALUES "
CODE = "INSERT INTO reset_codes (user_id, selector, secret_digest, expires_at) VALUES "
FAILURES = "INSERT INTO failures (name, peer, count, counted_from, blocked_until, is_kept) VALUES "


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """All migrations, two users, and one session, reset code and count of failures."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        run(connection, *(statement for migration in MIGRATIONS for statement in migration))
        run(connection, USER + "('Miguel', 'miguel', 'hash', 0), ('Susan', 'susan', 'hash', 0)")
        run(connection, SESSION + "('sid', 1, 0, 0, 1)", CODE + "(1, 'selector', 'digest', 1)")
        run(connection, FAILURES + "('miguel', '', 1, 0, 0, 0)")
        yield connection


def run(connection: sqlite3.Connection, *statements: str) -> None:
    for statement in statements:
        connection.execute(statement)


def rows(connection: sqlite3.Connection, table: str) -> list[tuple[object, ...]]:
    return connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()


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
        pytest.param(SESSION + "('s', 3, 0, 0, 1)", id="a session of nobody"),
        pytest.param(SESSION + "('s', 1, 0, 0, NULL)", id="a session without an end"),
        pytest.param("UPDATE users SET roles = NULL", id="no text of roles"),
        pytest.param("UPDATE users SET password_version = NULL", id="no version"),
        pytest.param("UPDATE sessions SET refresh_counter = 'x'", id="a text for a counter"),
        pytest.param("UPDATE sessions SET renewable_until = NULL", id="renewal without an end"),
        pytest.param("UPDATE sessions SET peer = NULL", id="no peer"),
        pytest.param("UPDATE sessions SET user_agent = NULL", id="no user agent"),
        pytest.param(CODE + "(3, 's', 'digest', 1)", id="a code of nobody"),
        pytest.param(CODE + "(1, 's', 'digest', 1)", id="two codes of one user"),
        pytest.param(CODE + "(2, 'selector', 'digest', 1)", id="a selector twice"),
        pytest.param(CODE + "(2, 's', NULL, 1)", id="a code without a digest"),
        pytest.param(CODE + "(2, 's', 'digest', NULL)", id="a code without an end"),
        pytest.param(FAILURES + "('miguel', '', 2, 0, 0, 0)", id="a count twice"),
        pytest.param(FAILURES + "(NULL, 'p', 1, 0, 0, 0)", id="failures of no text of a name"),
        pytest.param(FAILURES + "('n', NULL, 1, 0, 0, 0)", id="failures of no text of a peer"),
        pytest.param(FAILURES + "('n', 'p', 'x', 0, 0, 0)", id="a text for a count"),
        pytest.param(FAILURES + "('n', 'p', 1, 0, 0, NULL)", id="a row neither kept nor not"),
    ],
)
def test_the_tables_refuse(connection: sqlite3.Connection, statement: str) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute(statement)


def test_what_is_a_users_goes_with_the_user(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM users")
    assert rows(connection, "sessions") == rows(connection, "reset_codes") == []


def test_the_second_migration_keeps_all_rows_and_gives_them_a_meaning() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        run(connection, *MIGRATIONS[0])
        run(connection, USER + "('Miguel', 'miguel', 'hash', 5), ('Susan', 'susan', 'other', 6)")
        run(connection, "UPDATE users SET locked_at = 9 WHERE id = 2")
        run(connection, SESSION + "('s1', 1, 7, 8, 1000), ('s2', 2, 7, 8, 2000)")
        run(connection, *MIGRATIONS[1])
        assert rows(connection, "users") == [
            (1, "Miguel", "miguel", "hash", 5, None, "", 1),
            (2, "Susan", "susan", "other", 6, 9, "", 1),
        ]
        # As before, they are renewed up to their end, and they have no refresh token.
        assert rows(connection, "sessions") == [
            ("s1", 1, 7, 8, 1000, None, None, 1000, "", ""),
            ("s2", 2, 7, 8, 2000, None, None, 2000, "", ""),
        ]
        assert rows(connection, "reset_codes") == rows(connection, "failures") == []
