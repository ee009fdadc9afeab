"""Every SQL statement of the service, once.

Rule: what is asked of our tables stands here and nowhere else, as literal text with named
parameters, in the subset that SQLite and PostgreSQL share. A method is one transaction: what it
checks and what it writes cannot come apart. The store does not judge; it says what it found. Times
are epoch seconds.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict

from restauth.records import Account, FailureCount, ImportedUser, Session
from restauth.storage.sqlite import Execute, Row, SQLite

MAX_SESSIONS = 100  # live ones a user; the longest idle ends first
PRUNED_AT_ONCE = 100  # bounds how long one login holds the write lock for others' old sessions
LISTED_AT_ONCE = 1000
# Some 2 MB, and a row for each account. The oldest go first, and those that still block last.
MAX_FAILURES_ROWS = 10_000

FailureCounts = Mapping[tuple[str, str], FailureCount]


class Store:
    """Users, sessions, reset codes, failures. Every method may raise StoreUnavailable."""

    def __init__(self, engine: SQLite) -> None:
        self._read = engine.read
        self._write = engine.write
        self._transaction = engine.transaction
        self.ping()

    def ping(self) -> None:
        """Return if the store answers."""
        self._read("SELECT id FROM users LIMIT 1", {})

    # Users

    def add_user(
        self, username: str, canonical_username: str, password_hash: str, now: int
    ) -> int | None:
        """The new user's id; None when the name is taken."""
        rows = self._write(
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
        rows = self._read(
            """
            SELECT id, username, password_hash, created_at, locked_at, password_version, roles
            FROM users WHERE id = :user_id
            """,
            {"user_id": user_id},
        )
        return _account(rows[0]) if rows else None

    def find_user_by_name(self, canonical_username: str) -> Account | None:
        rows = self._read(
            """
            SELECT id, username, password_hash, created_at, locked_at, password_version, roles
            FROM users WHERE canonical_username = :canonical_username
            """,
            {"canonical_username": canonical_username},
        )
        return _account(rows[0]) if rows else None

    def list_users(self) -> Iterator[Account]:
        """All users in the order of their ids, read a page at a time: memory does not grow."""
        last_id = 0
        while True:
            rows = self._read(
                """
                SELECT id, username, password_hash, created_at, locked_at, password_version, roles
                FROM users WHERE id > :last_id ORDER BY id LIMIT :limit
                """,
                {"last_id": last_id, "limit": LISTED_AT_ONCE},
            )
            yield from map(_account, rows)
            if len(rows) < LISTED_AT_ONCE:
                return
            last_id = rows[-1][0]

    def renew_password_hash(self, user_id: int, old_hash: str, new_hash: str) -> bool:
        """Another hash of the same password; False when the row has changed meanwhile."""
        rows = self._write(
            """
            UPDATE users SET password_hash = :new_hash
            WHERE id = :user_id AND password_hash = :old_hash
            RETURNING id
            """,
            {"user_id": user_id, "old_hash": old_hash, "new_hash": new_hash},
        )
        return bool(rows)

    def set_password_hash(self, user_id: int, new_hash: str, version: int | None = None) -> bool:
        """A new password: with it all sessions and reset codes of the user end.

        `version` is the owner's proof: then it is False also when the password has since changed
        or the account was locked. False without such a user.
        """
        with self._transaction() as execute:
            rows = execute(
                """
                UPDATE users
                SET password_hash = :new_hash, password_version = password_version + 1
                WHERE id = :user_id AND password_version = coalesce(:version, password_version)
                    AND (locked_at IS NULL OR CAST(:version AS INTEGER) IS NULL)
                RETURNING id
                """,
                {"user_id": user_id, "new_hash": new_hash, "version": version},
            )
            if rows:
                execute("DELETE FROM sessions WHERE user_id = :user_id", {"user_id": user_id})
                execute("DELETE FROM reset_codes WHERE user_id = :user_id", {"user_id": user_id})
        return bool(rows)

    def change_roles(
        self, user_id: int, change: Callable[[tuple[str, ...]], tuple[str, ...]]
    ) -> tuple[str, ...] | None:
        """Write what `change` makes of the roles; the new ones, or None without such a user."""
        with self._transaction() as execute:
            rows = execute("SELECT roles FROM users WHERE id = :user_id", {"user_id": user_id})
            if not rows:
                return None
            roles = change(_roles(rows[0][0]))
            execute(
                "UPDATE users SET roles = :roles WHERE id = :user_id",
                {"user_id": user_id, "roles": ",".join(roles)},
            )
        return roles

    def lock_user(self, user_id: int, now: int) -> bool:
        """Lock the account; its sessions and reset codes end. False without such a user."""
        with self._transaction() as execute:
            rows = execute(
                """
                UPDATE users SET locked_at = coalesce(locked_at, :now)
                WHERE id = :user_id RETURNING id
                """,
                {"user_id": user_id, "now": now},
            )
            execute("DELETE FROM sessions WHERE user_id = :user_id", {"user_id": user_id})
            execute("DELETE FROM reset_codes WHERE user_id = :user_id", {"user_id": user_id})
        return bool(rows)

    def unlock_user(self, user_id: int) -> bool:
        """False without such a user."""
        rows = self._write(
            "UPDATE users SET locked_at = NULL WHERE id = :user_id RETURNING id",
            {"user_id": user_id},
        )
        return bool(rows)

    def delete_user(self, user_id: int, version: int | None = None) -> bool:
        """The user and, by the foreign keys, all that is theirs are gone. False as for
        `set_password_hash`."""
        rows = self._write(
            """
            DELETE FROM users
            WHERE id = :user_id AND password_version = coalesce(:version, password_version)
                AND (locked_at IS NULL OR CAST(:version AS INTEGER) IS NULL)
            RETURNING id
            """,
            {"user_id": user_id, "version": version},
        )
        return bool(rows)

    # Moving in

    @contextmanager
    def importing(self, *, keep: bool) -> Iterator["Importing"]:
        """One transaction for a whole import; without `keep` it is taken back at its end."""
        with suppress(_TakenBack), self._transaction() as execute:
            yield Importing(execute)
            if not keep:
                raise _TakenBack

    def sample_old_hashes(self) -> list[str]:
        """The dearest hash of each older form, while any user still has one of them."""
        rows = self._read(
            """
            SELECT sample FROM old_hashes WHERE EXISTS (
                SELECT 1 FROM users
                WHERE substr(password_hash, 1, 19) <> '$bcrypt-sha256$v=2,'
                    AND password_hash <> '!'
            )
            """,
            {},
        )
        return [row[0] for row in rows]

    # Sessions

    def add_session(self, session: Session, password_version: int) -> bool:
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
                {"now": session.created_at, "limit": PRUNED_AT_ONCE},
            )
            rows = execute(
                """
                INSERT INTO sessions (
                    id, user_id, created_at, last_used_at, expires_at, renewable_until,
                    refresh_counter, rotated_at, peer, user_agent
                )
                SELECT
                    :id, id, :created_at, :last_used_at, :expires_at, :renewable_until,
                    :refresh_counter, :rotated_at, :peer, :user_agent
                FROM users
                WHERE id = :user_id AND password_version = :version AND locked_at IS NULL
                RETURNING id
                """,
                {**asdict(session), "version": password_version},
            )
            if rows:
                execute(
                    """
                    DELETE FROM sessions WHERE id IN (
                        SELECT id FROM sessions WHERE user_id = :user_id AND id <> :session_id
                        ORDER BY last_used_at DESC, id LIMIT :limit OFFSET :kept
                    )
                    """,
                    {
                        "user_id": session.user_id,
                        "session_id": session.id,
                        "limit": MAX_SESSIONS,
                        "kept": MAX_SESSIONS - 1,
                    },
                )
        return bool(rows)

    def find_session(self, session_id: str, now: int) -> Session | None:
        """The session, if it lives and its user is there and not locked."""
        rows = self._read(_FIND_SESSION, {"session_id": session_id, "now": now})
        return _session(rows[0]) if rows else None

    def list_sessions(self, user_id: int, now: int) -> list[Session]:
        """The user's live sessions, the one used last first."""
        rows = self._read(
            """
            SELECT
                sessions.id, user_id, username, roles, sessions.created_at, last_used_at,
                expires_at, renewable_until, refresh_counter, rotated_at, peer, user_agent
            FROM sessions JOIN users ON users.id = user_id
            WHERE user_id = :user_id AND expires_at > :now
            ORDER BY last_used_at DESC, sessions.id
            """,
            {"user_id": user_id, "now": now},
        )
        return [_session(row) for row in rows]

    def touch_session(self, session_id: str, now: int) -> bool:
        """Note that a token renewed another. False when the session has ended or may not."""
        rows = self._write(
            """
            UPDATE sessions SET last_used_at = :now
            WHERE id = :session_id AND expires_at > :now AND renewable_until > :now RETURNING id
            """,
            {"session_id": session_id, "now": now},
        )
        return bool(rows)

    def rotate_session(
        self, session_id: str, counter: int, now: int, renewable_until: int
    ) -> tuple[bool, Session | None]:
        """Give the session's turn on: of those who hold this counter, exactly one gets True. And
        the session as it is then, if it lives."""
        with self._transaction() as execute:
            rows = execute(
                """
                UPDATE sessions SET
                    refresh_counter = refresh_counter + 1,
                    rotated_at = :now,
                    last_used_at = :now,
                    renewable_until = CASE
                        WHEN expires_at < :renewable_until THEN expires_at ELSE :renewable_until
                    END
                WHERE id = :session_id AND refresh_counter = :counter AND expires_at > :now
                RETURNING id
                """,
                {
                    "session_id": session_id,
                    "counter": counter,
                    "now": now,
                    "renewable_until": renewable_until,
                },
            )
            found = execute(_FIND_SESSION, {"session_id": session_id, "now": now})
        return bool(rows), _session(found[0]) if found else None

    def end_session(self, session_id: str, user_id: int) -> bool:
        """False when the user has no such session."""
        rows = self._write(
            """
            DELETE FROM sessions WHERE id = :session_id AND user_id = :user_id RETURNING id
            """,
            {"session_id": session_id, "user_id": user_id},
        )
        return bool(rows)

    def end_sessions(self, user_id: int) -> int:
        """End all the user's sessions; how many there were."""
        rows = self._write(
            "DELETE FROM sessions WHERE user_id = :user_id RETURNING id", {"user_id": user_id}
        )
        return len(rows)

    # Reset codes

    def set_reset_code(
        self, user_id: int, selector: str, secret_digest: str, expires_at: int
    ) -> bool:
        """The user's one code; an earlier one is void. False without such a user, or locked."""
        rows = self._write(
            """
            INSERT INTO reset_codes (user_id, selector, secret_digest, expires_at)
            SELECT id, :selector, :secret_digest, :expires_at FROM users
            WHERE id = :user_id AND locked_at IS NULL
            ON CONFLICT (user_id) DO UPDATE SET
                selector = excluded.selector,
                secret_digest = excluded.secret_digest,
                expires_at = excluded.expires_at
            RETURNING user_id
            """,
            {
                "user_id": user_id,
                "selector": selector,
                "secret_digest": secret_digest,
                "expires_at": expires_at,
            },
        )
        return bool(rows)

    def find_reset_code(self, selector: str, now: int) -> tuple[int, str] | None:
        """The user's id and the digest of the secret, while the code lives."""
        rows = self._read(
            """
            SELECT user_id, secret_digest FROM reset_codes
            WHERE selector = :selector AND expires_at > :now
            """,
            {"selector": selector, "now": now},
        )
        return (rows[0][0], rows[0][1]) if rows else None

    def use_reset_code(self, selector: str, new_hash: str, now: int) -> bool:
        """Set the password of the code's user and end all sessions; of those who use one code at
        once, exactly one gets True."""
        with self._transaction() as execute:
            rows = execute(
                """
                DELETE FROM reset_codes WHERE selector = :selector AND expires_at > :now
                RETURNING user_id
                """,
                {"selector": selector, "now": now},
            )
            if rows:
                user_id = rows[0][0]
                execute(
                    """
                    UPDATE users
                    SET password_hash = :new_hash, password_version = password_version + 1
                    WHERE id = :user_id
                    """,
                    {"user_id": user_id, "new_hash": new_hash},
                )
                execute("DELETE FROM sessions WHERE user_id = :user_id", {"user_id": user_id})
        return bool(rows)

    # Failures

    def find_failures(self, name: str, network: str) -> dict[tuple[str, str], FailureCount]:
        """The counts of the name, of the network, and of the name from the network."""
        return _failures(self._read(_FIND_FAILURES, {"name": name, "network": network}))

    def change_failures(
        self,
        name: str,
        network: str,
        change: Callable[[FailureCounts], Mapping[tuple[str, str], FailureCount | None]],
        now: int,
        *,
        is_account: bool = False,
    ) -> None:
        """Read the same counts and write what `change` makes of them, None for no row, with
        nobody between. What `change` raises leaves everything as it was.

        `is_account` says that somebody has the name: then its count is never pushed out.
        """
        with self._transaction() as execute:
            found = _failures(execute(_FIND_FAILURES, {"name": name, "network": network}))
            for (row_name, row_peer), failures in change(found).items():
                if failures is None:
                    execute(
                        "DELETE FROM failures WHERE name = :name AND peer = :peer",
                        {"name": row_name, "peer": row_peer},
                    )
                    continue
                execute(
                    """
                    INSERT INTO failures (
                        name, peer, count, counted_from, blocked_until, is_kept
                    )
                    VALUES (:name, :peer, :count, :counted_from, :blocked_until, :is_kept)
                    ON CONFLICT (name, peer) DO UPDATE SET
                        count = excluded.count,
                        counted_from = excluded.counted_from,
                        blocked_until = excluded.blocked_until,
                        is_kept = CASE
                            WHEN excluded.is_kept > failures.is_kept THEN excluded.is_kept
                            ELSE failures.is_kept
                        END
                    """,
                    {
                        "name": row_name,
                        "peer": row_peer,
                        "is_kept": int(is_account and not row_peer),
                        **asdict(failures),
                    },
                )
            rows = execute("SELECT count(*) FROM failures WHERE is_kept = 0", {})
            excess = rows[0][0] - MAX_FAILURES_ROWS
            if excess > 0:
                execute(
                    """
                    DELETE FROM failures WHERE (name, peer) IN (
                        SELECT name, peer FROM failures WHERE is_kept = 0
                        ORDER BY blocked_until > :now, counted_from LIMIT :excess
                    )
                    """,
                    {"excess": excess, "now": now},
                )

    def forget_failures(self, name: str) -> None:
        self._write("DELETE FROM failures WHERE name = :name", {"name": name})


class Importing:
    """What an import may ask and do within its transaction."""

    def __init__(self, execute: Execute) -> None:
        self._execute = execute

    def find_name(self, user_id: int) -> str | None:
        """The canonical name of the account with that id."""
        rows = self._execute(
            "SELECT canonical_username FROM users WHERE id = :user_id", {"user_id": user_id}
        )
        return rows[0][0] if rows else None

    def find_owner(self, canonical_username: str) -> int | None:
        """The id of the account of that name."""
        rows = self._execute(
            "SELECT id FROM users WHERE canonical_username = :canonical_username",
            {"canonical_username": canonical_username},
        )
        return rows[0][0] if rows else None

    def add(self, user: ImportedUser, now: int) -> None:
        """AUTOINCREMENT counts on from the highest id that was ever given, an imported one too."""
        self._execute(
            """
            INSERT INTO users (
                id, username, canonical_username, password_hash, created_at, locked_at
            )
            VALUES (
                :id, :username, :canonical_username, :password_hash, :now,
                CASE WHEN :is_locked THEN :now END
            )
            """,
            {**asdict(user), "now": now},
        )

    def note_old_hash(self, kind: str, work: int, sample: str) -> None:
        """Keep the dearest hash of the kind."""
        self._execute(
            """
            INSERT INTO old_hashes (kind, work, sample) VALUES (:kind, :work, :sample)
            ON CONFLICT (kind) DO UPDATE SET work = excluded.work, sample = excluded.sample
            WHERE excluded.work > old_hashes.work
            """,
            {"kind": kind, "work": work, "sample": sample},
        )


class _TakenBack(Exception):
    """Ends a transaction without a trace."""


_FIND_SESSION = """
    SELECT
        sessions.id, user_id, username, roles, sessions.created_at, last_used_at, expires_at,
        renewable_until, refresh_counter, rotated_at, peer, user_agent
    FROM sessions JOIN users ON users.id = user_id
    WHERE sessions.id = :session_id AND expires_at > :now AND locked_at IS NULL
"""

_FIND_FAILURES = """
    SELECT name, peer, count, counted_from, blocked_until FROM failures
    WHERE (name = :name AND peer = '') OR (name = :name AND peer = :network)
        OR (name = '' AND peer = :network)
"""


def _account(row: Row) -> Account:
    user_id, username, password_hash, created_at, locked_at, version, roles = row
    return Account(user_id, username, password_hash, created_at, locked_at, version, _roles(roles))


def _session(row: Row) -> Session:
    session_id, user_id, username, roles, *columns = row
    return Session(session_id, user_id, username, _roles(roles), *columns)


def _roles(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


def _failures(rows: list[Row]) -> dict[tuple[str, str], FailureCount]:
    return {(name, peer): FailureCount(*counts) for name, peer, *counts in rows}
