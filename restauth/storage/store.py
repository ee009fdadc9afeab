"""Every SQL statement, once.

Rule: SQL stands here and nowhere else, as literal text with named parameters, in the subset that
SQLite and PostgreSQL share. A method is one transaction: what it checks and what it writes cannot
come apart. The store does not judge; it says what it found. Times are epoch seconds.
"""

from collections.abc import Iterator

from restauth.records import Account, Session
from restauth.storage.sqlite import SQLite

MAX_SESSIONS = 100  # live ones a user; the longest idle ends first
PRUNED_AT_ONCE = 100  # bounds how long one login holds the write lock for others' old sessions
LISTED_AT_ONCE = 1000


class Store:
    """Users and sessions. Every method may raise StoreUnavailable."""

    def __init__(self, engine: SQLite) -> None:
        self._execute = engine.execute
        self._transaction = engine.transaction
        self.ping()

    def ping(self) -> None:
        """Return if the store answers."""
        self._execute("SELECT id FROM users LIMIT 1", {})

    # Users

    def add_user(
        self, username: str, canonical_username: str, password_hash: str, now: int
    ) -> int | None:
        """The new user's id; None when the name is taken."""
        rows = self._execute(
            """
            INSERT INTO users (username, canonical_username, password_hash, created_at)
            VALUES (:username, :canonical_username, :password_hash, :now)
            ON CONFLICT (canonical_username) DO NOTHING
            RETURNING id
            """,
            {
                "username": username,
                "canonical_username": canonical_username,
                "password_hash": password_hash,
                "now": now,
            },
        )
        return rows[0][0] if rows else None

    def find_user(self, user_id: int) -> Account | None:
        rows = self._execute(
            """
            SELECT id, username, password_hash, created_at, locked_at
            FROM users WHERE id = :user_id
            """,
            {"user_id": user_id},
        )
        return Account(*rows[0]) if rows else None

    def find_user_by_name(self, canonical_username: str) -> Account | None:
        rows = self._execute(
            """
            SELECT id, username, password_hash, created_at, locked_at
            FROM users WHERE canonical_username = :canonical_username
            """,
            {"canonical_username": canonical_username},
        )
        return Account(*rows[0]) if rows else None

    def list_users(self) -> Iterator[Account]:
        """All users in the order of their ids, read a page at a time: memory does not grow."""
        last_id = 0
        while True:
            rows = self._execute(
                """
                SELECT id, username, password_hash, created_at, locked_at
                FROM users WHERE id > :last_id ORDER BY id LIMIT :limit
                """,
                {"last_id": last_id, "limit": LISTED_AT_ONCE},
            )
            yield from (Account(*row) for row in rows)
            if len(rows) < LISTED_AT_ONCE:
                return
            last_id = rows[-1][0]

    def replace_password_hash(self, user_id: int, old_hash: str, new_hash: str) -> bool:
        """Renew the hash of an unchanged password; False when the row has changed meanwhile."""
        rows = self._execute(
            """
            UPDATE users SET password_hash = :new_hash
            WHERE id = :user_id AND password_hash = :old_hash
            RETURNING id
            """,
            {"user_id": user_id, "old_hash": old_hash, "new_hash": new_hash},
        )
        return bool(rows)

    def set_password_hash(self, user_id: int, password_hash: str) -> bool:
        """A new password: with it all the user's sessions end. False without such a user."""
        with self._transaction() as execute:
            rows = execute(
                "UPDATE users SET password_hash = :password_hash WHERE id = :user_id RETURNING id",
                {"user_id": user_id, "password_hash": password_hash},
            )
            execute("DELETE FROM sessions WHERE user_id = :user_id", {"user_id": user_id})
        return bool(rows)

    def lock_user(self, user_id: int, now: int) -> bool:
        """Lock the account and end its sessions. False without such a user."""
        with self._transaction() as execute:
            rows = execute(
                """
                UPDATE users SET locked_at = coalesce(locked_at, :now)
                WHERE id = :user_id RETURNING id
                """,
                {"user_id": user_id, "now": now},
            )
            execute("DELETE FROM sessions WHERE user_id = :user_id", {"user_id": user_id})
        return bool(rows)

    def unlock_user(self, user_id: int) -> bool:
        """False without such a user."""
        rows = self._execute(
            "UPDATE users SET locked_at = NULL WHERE id = :user_id RETURNING id",
            {"user_id": user_id},
        )
        return bool(rows)

    def delete_user(self, user_id: int) -> bool:
        """The user and, by the foreign key, all sessions are gone. False without such a user."""
        rows = self._execute(
            "DELETE FROM users WHERE id = :user_id RETURNING id", {"user_id": user_id}
        )
        return bool(rows)

    # Sessions

    def add_session(self, session_id: str, account: Account, now: int, expires_at: int) -> bool:
        """Begin a session for an account *as it was read when its password was verified*.

        False when the account has since been deleted, locked, or given another password: a login
        that was under way must not outlive what ended all the others.
        """
        with self._transaction() as execute:
            execute(
                """
                DELETE FROM sessions WHERE id IN (
                    SELECT id FROM sessions WHERE expires_at <= :now
                    ORDER BY expires_at LIMIT :limit
                )
                """,
                {"now": now, "limit": PRUNED_AT_ONCE},
            )
            rows = execute(
                """
                INSERT INTO sessions (id, user_id, created_at, last_used_at, expires_at)
                SELECT :session_id, id, :now, :now, :expires_at FROM users
                WHERE id = :user_id AND password_hash = :password_hash AND locked_at IS NULL
                RETURNING id
                """,
                {
                    "session_id": session_id,
                    "user_id": account.id,
                    "password_hash": account.password_hash,
                    "now": now,
                    "expires_at": expires_at,
                },
            )
            execute(
                """
                DELETE FROM sessions WHERE id IN (
                    SELECT id FROM sessions WHERE user_id = :user_id AND id <> :session_id
                    ORDER BY last_used_at DESC, id LIMIT :limit OFFSET :kept
                )
                """,
                {
                    "user_id": account.id,
                    "session_id": session_id,
                    "limit": MAX_SESSIONS,
                    "kept": MAX_SESSIONS - 1,
                },
            )
        return bool(rows)

    def find_session(self, session_id: str, user_id: int, now: int) -> Session | None:
        """The session, if it lives and is that user's, and the user is there and not locked."""
        rows = self._execute(
            """
            SELECT sessions.id, user_id, username, sessions.created_at, last_used_at, expires_at
            FROM sessions JOIN users ON users.id = user_id
            WHERE sessions.id = :session_id AND user_id = :user_id
                AND expires_at > :now AND locked_at IS NULL
            """,
            {"session_id": session_id, "user_id": user_id, "now": now},
        )
        return Session(*rows[0]) if rows else None

    def touch_session(self, session_id: str, now: int) -> bool:
        """Note that a token was issued for it. False when it has ended."""
        rows = self._execute(
            """
            UPDATE sessions SET last_used_at = :now
            WHERE id = :session_id AND expires_at > :now RETURNING id
            """,
            {"session_id": session_id, "now": now},
        )
        return bool(rows)

    def end_session(self, session_id: str, user_id: int) -> bool:
        """False when the user has no such session."""
        rows = self._execute(
            """
            DELETE FROM sessions WHERE id = :session_id AND user_id = :user_id RETURNING id
            """,
            {"session_id": session_id, "user_id": user_id},
        )
        return bool(rows)

    def end_sessions(self, user_id: int) -> int:
        """End all the user's sessions; how many there were."""
        rows = self._execute(
            "DELETE FROM sessions WHERE user_id = :user_id RETURNING id", {"user_id": user_id}
        )
        return len(rows)
