"""The migrations: what the tables themselves refuse."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from hashlib import sha256

import pytest

from restauth.storage.schema import APPLICATION_ID, MIGRATIONS

# A start compares the tables with these very texts: one blank more locks every old file out.
SHIPPED = ["a0a927c11792aa7b", "211b33f84f7c08c0", "4326d906921076a2", "94dc5c8851cd89c1"]

USER = "INSERT INTO users (username, canonical_username, password_hash, created_at) VALUES "
SESSION = "INSERT INTO sessions (id, user_id, created_at, last_used_at, expires_at) VALUES "
CODE = "INSERT INTO reset_codes (user_id, selector, secret_digest, expires_at) VALUES "
FAILURES = "INSERT INTO failures (name, peer, count, counted_from, blocked_until, is_kept) VALUES "
ROTATION = "INSERT INTO rotations (session_id, rotated_at, counter) VALUES "
INVITATION = (
    "INSERT INTO invitations (selector, secret_digest, roles, created_at, expires_at) VALUES "
)
KEY = "INSERT INTO api_keys (id, user_id, name, secret_digest, created_at) VALUES "
OLD_HASH = "INSERT INTO old_hashes (kind, work, sample) VALUES "


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """All migrations, two users, and one session, API key, reset code and count of failures."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        run(connection, *(statement for migration in MIGRATIONS for statement in migration))
        run(connection, USER + "('Miguel', 'miguel', 'hash', 0), ('Susan', 'susan', 'hash', 0)")
        run(connection, SESSION + "('sid', 1, 0, 0, 1)", CODE + "(1, 'selector', 'digest', 1)")
        run(connection, ROTATION + "('sid', 0, 0)", KEY + "('kid', 1, 'ci', 'digest', 0)")
        run(connection, INVITATION + "('one', 'digest', '', 0, 1)")
        run(connection, FAILURES + "('miguel', '', 1, 0, 0, 0)", OLD_HASH + "('kind', 1, 's')")
        yield connection


def run(connection: sqlite3.Connection, *statements: str) -> None:
    for statement in statements:
        connection.execute(statement)


def rows(connection: sqlite3.Connection, table: str) -> list[tuple[object, ...]]:
    return connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()


def test_a_shipped_migration_never_changes() -> None:
    digests = [sha256("\0".join(migration).encode()).hexdigest()[:16] for migration in MIGRATIONS]
    assert digests[: len(SHIPPED)] == SHIPPED
    assert APPLICATION_ID.to_bytes(4, "big") == b"rest"


def test_users_keep_the_column_names_of_rest_auth(connection: sqlite3.Connection) -> None:
    names = [column[1] for column in connection.execute("PRAGMA table_info(users)")]
    assert {"id", "username", "password_hash"} <= set(names)


REFUSED = [
    USER + "('', '', 'hash', 0)",
    USER + "(NULL, 'n', 'hash', 0)",
    USER + "('N', NULL, 'hash', 0)",
    USER + "('MIGUEL', 'miguel', 'hash', 0)",  # a canonical name twice
    USER + "('N', 'n', NULL, 0)",
    USER + "('N', 'n', x'00', 0)",  # bytes for a text
    USER + "('N', 'n', 'hash', 'now')",  # a text for a time
    "UPDATE users SET locked_at = 0.5",
    "UPDATE users SET id = 'one'",
    "UPDATE users SET roles = NULL",
    "UPDATE users SET password_version = NULL",
    "UPDATE users SET last_login_at = 'now'",
    SESSION + "('sid', 1, 0, 0, 1)",  # a session id twice
    SESSION + "('s', 3, 0, 0, 1)",  # a session without a user
    SESSION + "('s', 1, 0, 0, NULL)",
    "UPDATE sessions SET refresh_counter = 'x'",
    "UPDATE sessions SET renewable_until = NULL",
    "UPDATE sessions SET peer = NULL",
    "UPDATE sessions SET user_agent = NULL",
    ROTATION + "('sid', 0, 1)",  # a second twice
    ROTATION + "('s', 0, 0)",  # of no session
    ROTATION + "('sid', 'now', 0)",
    ROTATION + "('sid', 1, NULL)",
    INVITATION + "('one', 'digest', '', 0, 1)",  # a selector twice
    INVITATION + "('two', NULL, '', 0, 1)",
    INVITATION + "('two', 'digest', NULL, 0, 1)",
    INVITATION + "('two', 'digest', '', 0, 'now')",
    CODE + "(3, 's', 'digest', 1)",  # a code without a user
    CODE + "(1, 's', 'digest', 1)",  # two codes of one user
    CODE + "(2, 'selector', 'digest', 1)",  # a selector twice
    CODE + "(2, 's', NULL, 1)",
    CODE + "(2, 's', 'digest', NULL)",
    FAILURES + "('miguel', '', 2, 0, 0, 0)",  # a count twice
    FAILURES + "(NULL, 'p', 1, 0, 0, 0)",
    FAILURES + "('n', NULL, 1, 0, 0, 0)",
    FAILURES + "('n', 'p', 'x', 0, 0, 0)",
    FAILURES + "('n', 'p', 1, 0, 0, NULL)",
    KEY + "('kid', 1, 'ci', 'digest', 0)",  # a key id twice
    KEY + "('k', 3, 'ci', 'digest', 0)",  # a key without a user
    KEY + "('k', 1, NULL, 'digest', 0)",
    KEY + "('k', 1, 'ci', NULL, 0)",
    KEY + "('k', 1, 'ci', 'digest', NULL)",
    "UPDATE api_keys SET expires_at = 'x'",
    "UPDATE api_keys SET last_used_at = 'x'",
    OLD_HASH + "('kind', 2, 's')",  # a kind twice
    OLD_HASH + "('k', 'x', 's')",
    OLD_HASH + "('k', 1, NULL)",
]


def test_the_tables_refuse_what_cannot_be(connection: sqlite3.Connection) -> None:
    accepted = []
    for statement in REFUSED:
        with suppress(sqlite3.IntegrityError):
            connection.execute(statement)
            accepted.append(statement)
    assert accepted == []


def test_what_is_a_users_goes_with_the_user(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM users")
    for table in ("sessions", "rotations", "reset_codes", "api_keys"):
        assert rows(connection, table) == [], table


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


def test_the_fourth_migration_knows_the_last_rotation_of_every_session() -> None:
    """A tab that shows the token before, while the service is updated, logs nobody out."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        run(connection, *(statement for migration in MIGRATIONS[:3] for statement in migration))
        run(connection, USER + "('Miguel', 'miguel', 'hash', 5)")
        run(connection, SESSION + "('s1', 1, 7, 8, 1000), ('s2', 1, 7, 8, 9), ('s3', 1, 7, 8, 9)")
        run(connection, "UPDATE sessions SET refresh_counter = 3, rotated_at = 8 WHERE id = 's1'")
        run(connection, "UPDATE sessions SET refresh_counter = 0, rotated_at = 8 WHERE id = 's2'")
        run(connection, *MIGRATIONS[3])
        assert rows(connection, "rotations") == [("s1", 8, 2)]


def test_the_migration_of_the_last_login_takes_it_from_the_sessions_that_are_there() -> None:
    (number,) = [
        number for number, migration in enumerate(MIGRATIONS) if "last_login_at" in str(migration)
    ]
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for migration in MIGRATIONS[:number]:
            run(connection, *migration)
        run(connection, USER + "('Miguel', 'miguel', 'hash', 5), ('Susan', 'susan', 'hash', 5)")
        run(connection, SESSION + "('s1', 1, 7, 90, 1000), ('s2', 1, 8, 80, 1000)")
        run(connection, *MIGRATIONS[number])
        logins = connection.execute("SELECT id, last_login_at FROM users ORDER BY id").fetchall()
        assert logins == [(1, 8), (2, None)]
