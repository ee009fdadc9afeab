"""Every SQL statement of the service, once.

Rule: all questions to our tables are here and nowhere else, as literal text with named parameters,
in the SQL that SQLite and PostgreSQL share. A method is one transaction: what it checks and what it
writes cannot come apart. The store decides nothing; it says what it found. Times are epoch seconds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import asdict
from typing import TypeVar

from restauth.errors import StoreUnavailable
from restauth.records import (
    Account,
    ApiKey,
    FailureCount,
    ImportedUser,
    Invitation,
    LiveSession,
    Session,
)
from restauth.storage.engine import CheckedWriter, Engine, Execute, Row
from restauth.storage.schema import MIGRATIONS

MAX_API_KEYS = 100  # of a user, without the expired ones
MAX_SESSIONS = 100  # live sessions of a user; the one used longest ago ends first
# The use of a token is noted only when so many other sessions of the user were used since: a
# session that is in use is then never the first to go, and hardly any request writes.
UNNOTED_SESSIONS = MAX_SESSIONS // 2
PRUNED_AT_ONCE = 25  # expired sessions that one login removes: bounds the time of its write lock
LISTED_AT_ONCE = 1000
# About 2 MB, beside one row for each account. The oldest rows go first, blocking ones last.
MAX_FAILURES_ROWS = 10_000
_AFTER_ALL_NAMES = "\U0010ffff" * 255  # the last code point, as often as a name may have it

FailureCounts = Mapping[tuple[str, str], FailureCount]
Changed = TypeVar("Changed", bound=Mapping[tuple[str, str], FailureCount | None])

# Texts that several statements share; literal, like all SQL here.
_SELECT_ACCOUNT = """
    SELECT id, username, password_hash, created_at, locked_at, password_version, roles FROM users
"""
_SELECT_SESSION = """
    SELECT
        sessions.id, user_id, username, roles, expires_at, renewable_until, sessions.created_at,
        last_used_at, refresh_counter, rotated_at, peer, user_agent
    FROM sessions JOIN users ON users.id = user_id
"""
_ADD_USER = """
    INSERT INTO users (username, canonical_username, password_hash, created_at, roles)
    VALUES (:username, :canonical_username, :password_hash, :now, :roles)
    ON CONFLICT (canonical_username) DO NOTHING
    RETURNING id, username, password_hash, created_at, locked_at, password_version, roles
"""
_FIND_INVITATION = """
    SELECT secret_digest, roles FROM invitations
    WHERE selector = :selector AND expires_at > :now
"""
_FIND_USER = _SELECT_ACCOUNT + "WHERE id = :user_id"
_FIND_UNCHANGED = _FIND_USER + " AND password_version = :version AND locked_at IS NULL"
_FIND_USER_BY_NAME = _SELECT_ACCOUNT + "WHERE canonical_username = :canonical_username"
_LIST_USERS = (
    _SELECT_ACCOUNT
    + "WHERE id > :after AND (locked_at IS NULL OR :with_locked = 1) ORDER BY id LIMIT :limit"
)
_LIST_LOCKED_USERS = (
    _SELECT_ACCOUNT + "WHERE id > :after AND locked_at IS NOT NULL ORDER BY id LIMIT :limit"
)
# The plus: few names have the prefix, so the index of names is to be used and not that of ids.
_LIST_USERS_BY_PREFIX = (
    _SELECT_ACCOUNT
    + """
    WHERE canonical_username BETWEEN :prefix AND :last AND +id > :after
        AND ((locked_at IS NULL AND :with_unlocked = 1)
            OR (locked_at IS NOT NULL AND :with_locked = 1))
    ORDER BY +id LIMIT :limit
    """
)
_FIND_SESSION = (
    _SELECT_SESSION + "WHERE sessions.id = :session_id AND expires_at > :now AND locked_at IS NULL"
)
# Each token request runs it: no column that it does not need.
_USE_SESSION = """
    SELECT
        user_id, username, roles, expires_at, renewable_until,
        last_used_at < :now AND last_used_at <= (
            SELECT others.last_used_at FROM sessions AS others
            WHERE others.user_id = sessions.user_id
            ORDER BY others.last_used_at DESC LIMIT 1 OFFSET :unnoted
        )
    FROM sessions JOIN users ON users.id = user_id
    WHERE sessions.id = :session_id AND expires_at > :now AND locked_at IS NULL
    """
_LIST_SESSIONS = (
    _SELECT_SESSION
    + "WHERE user_id = :user_id AND expires_at > :now ORDER BY last_used_at DESC, sessions.id"
)
# The counters between a replaced one and the current one were replaced at the same time or later.
_FIND_ROTATION = """
    SELECT 1 FROM rotations JOIN sessions ON sessions.id = session_id
    WHERE session_id = :session_id AND counter <= :counter AND :counter < refresh_counter
        AND abs(rotations.rotated_at - :now) <= :grace
"""
_END_SESSIONS = "DELETE FROM sessions WHERE user_id = :user_id RETURNING id"
_SELECT_API_KEY = """
    SELECT
        api_keys.id, user_id, username, users.roles, name, api_keys.roles, secret_digest,
        api_keys.created_at, expires_at, last_used_at
    FROM api_keys JOIN users ON users.id = user_id
"""
_FIND_API_KEY = _SELECT_API_KEY + "WHERE api_keys.id = :key_id"
_FIND_LIVE_API_KEY = (
    _FIND_API_KEY + " AND (expires_at IS NULL OR expires_at > :now) AND locked_at IS NULL"
)
_LIST_API_KEYS = (
    _SELECT_API_KEY
    + """
    WHERE user_id = :user_id AND (expires_at IS NULL OR expires_at > :now)
    ORDER BY api_keys.created_at DESC, api_keys.id
    """
)
_COUNT_API_KEYS = """
    SELECT count(*) FROM api_keys
    WHERE user_id = :user_id AND (expires_at IS NULL OR expires_at > :now)
"""
_END_API_KEYS = "DELETE FROM api_keys WHERE user_id = :user_id RETURNING id"
_DROP_RESET_CODES = "DELETE FROM reset_codes WHERE user_id = :user_id"
_FIND_FAILURES = """
    SELECT name, peer, count, counted_from, blocked_until FROM failures
    WHERE (name = :name AND peer = '') OR (name = :name AND peer = :network)
        OR (name = '' AND peer = :network)
"""
_COUNT_FAILURES = "SELECT count(*) FROM failures WHERE is_kept = 0"


class Store:
    """Users, sessions, API keys, reset codes, invitations and failures. Every method may raise
    StoreUnavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._read = engine.read
        self._write = engine.write
        self._write_if_free = engine.write_if_free
        self._transaction = engine.transaction
        self._ping = engine.ping
        self._read_version = engine.version
        self.ping()

    def ping(self) -> None:
        """Return if the store answers, and can be written; else raise StoreUnavailable."""
        self._ping()
        self._read("SELECT id FROM users LIMIT 1", {})

    def is_up_to_date(self) -> bool:
        """Whether the tables are as this code needs them. They are not when an older copy was
        restored meanwhile. Newer ones are as in an upgrade, in which old processes go on."""
        return self._read_version() >= len(MIGRATIONS)

    def on_behalf_of(self, user_id: int, check: Callable[[Account | None], object]) -> "Store":
        """The same store, for what that user does: each of its transactions first calls `check`
        with the user's account as it is in that transaction, None when there is none. What `check`
        raises undoes the transaction. `check` may be called again."""

        def check_now(execute: Execute) -> None:
            rows = execute(_FIND_USER, {"user_id": user_id})
            check(_account(rows[0]) if rows else None)

        writer = CheckedWriter(self._engine, check_now)
        store = copy(self)
        store._write, store._transaction = writer.write, writer.transaction  # noqa: SLF001
        return store

    # Users

    def add_user(
        self,
        username: str,
        canonical_username: str,
        password_hash: str,
        now: int,
        roles: tuple[str, ...] = (),
    ) -> Account | None:
        """The new account; None when the name is taken."""
        rows = self._write(
            _ADD_USER,
            {
                "username": username,
                "canonical_username": canonical_username,
                "password_hash": password_hash,
                "now": now,
                "roles": ",".join(roles),
            },
        )
        return _account(rows[0]) if rows else None

    def add_invited_user(
        self,
        selector: str,
        username: str,
        canonical_username: str,
        password_hash: str,
        now: int,
    ) -> tuple[bool, Account | None]:
        """Use an invitation: add a user with its roles. Of all that use one at once, exactly one
        adds a user.

        Whether the invitation is there, and the new account; None when the name is taken, and then
        the invitation stays.
        """

        def work(execute: Execute) -> tuple[bool, Account | None]:
            found = execute(_FIND_INVITATION, {"selector": selector, "now": now})
            if not found:
                return False, None
            ((_, roles),) = found
            rows = execute(
                _ADD_USER,
                {
                    "username": username,
                    "canonical_username": canonical_username,
                    "password_hash": password_hash,
                    "now": now,
                    "roles": roles,
                },
            )
            if not rows:
                return True, None
            execute("DELETE FROM invitations WHERE selector = :selector", {"selector": selector})
            return True, _account(rows[0])

        return self._transaction(work)

    def find_user(self, user_id: int) -> Account | None:
        """The account with that id."""
        rows = self._read(_FIND_USER, {"user_id": user_id})
        return _account(rows[0]) if rows else None

    def find_user_by_name(self, canonical_username: str) -> Account | None:
        """The account with that name."""
        rows = self._read(_FIND_USER_BY_NAME, {"canonical_username": canonical_username})
        return _account(rows[0]) if rows else None

    def find_unchanged(self, account: Account) -> Account | None:
        """The account as it is now; None when it has been deleted, locked, or given another
        password since it was read. Another hash of the same password is no change."""
        rows = self._read(
            _FIND_UNCHANGED,
            {"user_id": account.id, "version": account.password_version},
        )
        return _account(rows[0]) if rows else None

    def list_users(self, prefix: str = "", *, is_locked: bool | None = None) -> Iterator[Account]:
        """All such users in the order of their ids, read in pages, so that memory stays bounded."""
        after = 0
        while True:
            page = self.page_users(after, LISTED_AT_ONCE, prefix, is_locked=is_locked)
            yield from page
            if len(page) < LISTED_AT_ONCE:
                return
            after = page[-1].id

    def page_users(
        self, after: int, limit: int, prefix: str = "", *, is_locked: bool | None = None
    ) -> list[Account]:
        """The first users after that id, in the order of their ids: those whose canonical name
        begins with `prefix`, and who are locked or are not, if that is asked for."""
        which = {
            "after": after,
            "limit": limit,
            "prefix": prefix,
            "last": prefix + _AFTER_ALL_NAMES,
            "with_locked": int(is_locked is not False),
            "with_unlocked": int(is_locked is not True),
        }
        if prefix:
            rows = self._read(_LIST_USERS_BY_PREFIX, which)
        elif is_locked:
            rows = self._read(_LIST_LOCKED_USERS, which)
        else:
            rows = self._read(_LIST_USERS, which)
        return list(map(_account, rows))

    def find_activity(self, user_id: int, now: int) -> tuple[int | None, int, int] | None:
        """When a session of the user last began, and how many sessions and API keys are live. None
        without such a user."""
        rows = self._read(
            """
            SELECT last_login_at, (
                SELECT count(*) FROM sessions WHERE user_id = :user_id AND expires_at > :now
            ), (
                SELECT count(*) FROM api_keys
                WHERE user_id = :user_id AND (expires_at IS NULL OR expires_at > :now)
            )
            FROM users WHERE id = :user_id
            """,
            {"user_id": user_id, "now": now},
        )
        return (rows[0][0], rows[0][1], rows[0][2]) if rows else None

    def renew_password_hash(self, user_id: int, old_hash: str, new_hash: str) -> bool:
        """Replace a hash by another one of the same password. False when the row has changed."""
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
        """Set a new password, and end all sessions and reset codes of the user.

        `version` is the password version that the user has proved. With it, the result is False
        when the password has changed since, or the account was locked. False without such a user.
        """

        def work(execute: Execute) -> bool:
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
                _end_access(execute, user_id)
            return bool(rows)

        return self._transaction(work)

    def change_roles(
        self, user_id: int, change: Callable[[tuple[str, ...]], tuple[str, ...]]
    ) -> tuple[str, ...] | None:
        """Write what `change` makes of the roles. The new roles; None without such a user."""

        def work(execute: Execute) -> tuple[str, ...] | None:
            rows = execute("SELECT roles FROM users WHERE id = :user_id", {"user_id": user_id})
            if not rows:
                return None
            roles = change(_roles(rows[0][0]))
            execute(
                "UPDATE users SET roles = :roles WHERE id = :user_id",
                {"user_id": user_id, "roles": ",".join(roles)},
            )
            return roles

        return self._transaction(work)

    def rename_user(self, user_id: int, username: str, canonical_username: str) -> bool | None:
        """False without such a user; None when the name belongs to another user."""

        def work(execute: Execute) -> bool | None:
            name = {"user_id": user_id, "canonical_username": canonical_username}
            if execute(
                """
                SELECT id FROM users
                WHERE canonical_username = :canonical_username AND id <> :user_id
                """,
                name,
            ):
                return None
            rows = execute(
                """
                UPDATE users SET username = :username, canonical_username = :canonical_username
                WHERE id = :user_id RETURNING id
                """,
                {**name, "username": username},
            )
            return bool(rows)

        return self._transaction(work)

    def lock_user(self, user_id: int, now: int) -> bool:
        """Lock the account, and end its sessions, reset codes and API keys. False without such a
        user."""

        def work(execute: Execute) -> bool:
            rows = execute(
                """
                UPDATE users SET locked_at = coalesce(locked_at, :now)
                WHERE id = :user_id RETURNING id
                """,
                {"user_id": user_id, "now": now},
            )
            _end_access(execute, user_id)
            execute(_END_API_KEYS, {"user_id": user_id})
            return bool(rows)

        return self._transaction(work)

    def unlock_user(self, user_id: int) -> bool:
        """False without such a user."""
        rows = self._write(
            "UPDATE users SET locked_at = NULL WHERE id = :user_id RETURNING id",
            {"user_id": user_id},
        )
        return bool(rows)

    def delete_user(self, user_id: int, version: int | None = None) -> bool:
        """Delete the user and, by the foreign keys, all rows that belong to the user. False as for
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

    # Import

    def find_rivals(self, user_id: int, canonical_username: str) -> dict[int, str]:
        """The accounts with that id or that name: their ids and canonical names."""
        return _find_rivals(self._read, user_id, canonical_username)

    def import_users(self, work: Callable[["Importing"], object]) -> None:
        """Write all users of an import in one transaction. `work` may be run again, as the engine's
        contract says."""
        self._transaction(lambda execute: work(Importing(execute)))

    def sample_old_hashes(self) -> list[str]:
        """The slowest hash of each older form, while a user still has such a hash."""
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
        that is under way must not outlive what ended all other sessions. Else expired sessions go,
        and those that are too many for the user.
        """
        parameters = {
            **asdict(session),
            "version": password_version,
            "pruned": PRUNED_AT_ONCE,
            "kept": MAX_SESSIONS - 1,
            "limit": MAX_SESSIONS,
        }

        def work(execute: Execute) -> bool:
            rows = execute(
                """
                UPDATE users SET last_login_at = :created_at
                WHERE id = :user_id AND password_version = :version AND locked_at IS NULL
                RETURNING id
                """,
                parameters,
            )
            if rows:
                execute(
                    """
                    DELETE FROM sessions WHERE id IN (
                        SELECT id FROM (
                            SELECT id FROM sessions WHERE expires_at <= :created_at
                            ORDER BY expires_at LIMIT :pruned
                        ) AS expired
                        UNION ALL
                        SELECT id FROM (
                            SELECT id FROM sessions
                            WHERE user_id = :user_id AND expires_at > :created_at
                            ORDER BY last_used_at DESC, id LIMIT :limit OFFSET :kept
                        ) AS excess
                    )
                    """,
                    parameters,
                )
                execute(
                    """
                    INSERT INTO sessions (
                        id, user_id, created_at, last_used_at, expires_at, renewable_until,
                        refresh_counter, rotated_at, peer, user_agent
                    )
                    VALUES (
                        :id, :user_id, :created_at, :last_used_at, :expires_at, :renewable_until,
                        :refresh_counter, :rotated_at, :peer, :user_agent
                    )
                    """,
                    parameters,
                )
            return bool(rows)

        return self._transaction(work)

    def find_session(self, session_id: str, now: int) -> LiveSession | None:
        """The session whose token is used now, if it has not ended, and its user exists and is not
        locked."""
        use = {"session_id": session_id, "now": now, "unnoted": UNNOTED_SESSIONS}
        rows = self._read(_USE_SESSION, use)
        if not rows:
            return None
        user_id, username, roles, expires_at, renewable_until, is_to_be_noted = rows[0]
        if is_to_be_noted:
            self._write_if_free(
                """
                UPDATE sessions SET last_used_at = :now
                WHERE id = :session_id AND last_used_at < :now
                """,
                {"session_id": session_id, "now": now},
            )
        return LiveSession(
            session_id, user_id, username, _roles(roles), expires_at, renewable_until
        )

    def list_sessions(self, user_id: int, now: int) -> list[Session]:
        """The live sessions of the user, the one used last first."""
        rows = self._read(_LIST_SESSIONS, {"user_id": user_id, "now": now})
        return [_session(row) for row in rows]

    def count_sessions(self, now: int) -> int:
        """The live sessions of all users. It reads an index as a whole."""
        ((number,),) = self._read(
            "SELECT count(*) FROM sessions WHERE expires_at > :now", {"now": now}
        )
        return int(number)

    def touch_session(self, session_id: str, now: int) -> bool:
        """Note that an access token was renewed. False when the session has ended, or allows no
        more renewals.

        Only the first renewal within a second writes: a client that renews without a pause must not
        keep the other writers waiting.
        """
        parameters = {"session_id": session_id, "now": now}
        noted = self._read(
            """
            SELECT id FROM sessions
            WHERE id = :session_id AND expires_at > :now AND renewable_until > :now
                AND last_used_at = :now
            """,
            parameters,
        )
        return bool(noted) or bool(
            self._write(
                """
                UPDATE sessions SET last_used_at = :now
                WHERE id = :session_id AND expires_at > :now AND renewable_until > :now RETURNING id
                """,
                parameters,
            )
        )

    def rotate_session(
        self, session_id: str, counter: int, now: int, renewable_until: int, grace: int
    ) -> tuple[bool, Session | None]:
        """Move the session on to its next refresh token, if the counter is the current one: of all
        that hold it, exactly one does that.

        Whether the counter was the current one at some time in the last `grace` seconds; and the
        session as it is then, if it is live.
        """
        parameters = {
            "session_id": session_id,
            "counter": counter,
            "now": now,
            "renewable_until": renewable_until,
            "grace": grace,
        }

        def work(execute: Execute) -> tuple[bool, Session | None]:
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
                parameters,
            )
            if rows:
                _note_rotation(execute, parameters)
            found = execute(_FIND_SESSION, parameters)
            was_current = bool(execute(_FIND_ROTATION, parameters))
            return was_current, _session(found[0]) if found else None

        return self._transaction(work)

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
        """End all sessions of the user. The number of them."""
        return len(self._write(_END_SESSIONS, {"user_id": user_id}))

    # API keys

    def add_api_key(self, key: ApiKey, password_version: int) -> bool | None:
        """Add a key for an account *as it was read when its password was verified*, and remove the
        user's expired keys.

        False when the account has since been deleted, locked, or given another password; None when
        the user has MAX_API_KEYS already.
        """

        def work(execute: Execute) -> bool | None:
            owner = {"user_id": key.user_id, "now": key.created_at}
            execute("DELETE FROM api_keys WHERE user_id = :user_id AND expires_at <= :now", owner)
            if execute(_COUNT_API_KEYS, owner)[0][0] >= MAX_API_KEYS:
                return None
            rows = execute(
                """
                INSERT INTO api_keys (
                    id, user_id, name, roles, secret_digest, created_at, expires_at
                )
                SELECT :id, id, :name, :roles, :secret_digest, :created_at, :expires_at
                FROM users
                WHERE id = :user_id AND password_version = :version AND locked_at IS NULL
                RETURNING id
                """,
                {
                    "id": key.id,
                    "user_id": key.user_id,
                    "name": key.name,
                    "roles": None if key.roles is None else ",".join(key.roles),
                    "secret_digest": key.secret_digest,
                    "created_at": key.created_at,
                    "expires_at": key.expires_at,
                    "version": password_version,
                },
            )
            return bool(rows)

        return self._transaction(work)

    def find_live_api_key(self, key_id: str, now: int) -> ApiKey | None:
        """The key, if it has neither ended nor expired, and its user is not locked."""
        rows = self._read(_FIND_LIVE_API_KEY, {"key_id": key_id, "now": now})
        return _api_key(rows[0]) if rows else None

    def find_api_key(self, key_id: str) -> ApiKey | None:
        """The key, even if it cannot be used."""
        rows = self._read(_FIND_API_KEY, {"key_id": key_id})
        return _api_key(rows[0]) if rows else None

    def note_api_key_use(self, key: ApiKey, now: int) -> None:
        """Note the hour of a use, unless it was noted when the key was read, or the database is
        busy: then a later use in the same hour notes it."""
        hour = now - now % 3600
        if key.last_used_at is None or key.last_used_at < hour:
            self._write_if_free(
                """
                UPDATE api_keys SET last_used_at = :hour
                WHERE id = :key_id AND (last_used_at IS NULL OR last_used_at < :hour)
                """,
                {"key_id": key.id, "hour": hour},
            )

    def list_api_keys(self, user_id: int, now: int) -> list[ApiKey]:
        """The keys of the user that have not expired, the newest first."""
        rows = self._read(_LIST_API_KEYS, {"user_id": user_id, "now": now})
        return [_api_key(row) for row in rows]

    def count_api_keys(self, user_id: int, now: int) -> int:
        """The number of those that `list_api_keys` lists."""
        rows = self._read(_COUNT_API_KEYS, {"user_id": user_id, "now": now})
        return int(rows[0][0])

    def end_api_key(self, key_id: str, user_id: int) -> bool:
        """False when the user has no such key."""
        rows = self._write(
            "DELETE FROM api_keys WHERE id = :key_id AND user_id = :user_id RETURNING id",
            {"key_id": key_id, "user_id": user_id},
        )
        return bool(rows)

    def end_api_keys(self, user_id: int) -> int:
        """End all keys of the user. The number of them."""
        return len(self._write(_END_API_KEYS, {"user_id": user_id}))

    # Reset codes

    def set_reset_code(
        self, user_id: int, selector: str, secret_digest: str, expires_at: int
    ) -> bool:
        """Set the one code of the user, in place of an earlier one. False when there is no such
        user, or the account is locked."""
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
        """The id of the user and the digest of the secret, until the code expires."""
        rows = self._read(
            """
            SELECT user_id, secret_digest FROM reset_codes
            WHERE selector = :selector AND expires_at > :now
            """,
            {"selector": selector, "now": now},
        )
        return (rows[0][0], rows[0][1]) if rows else None

    def use_reset_code(self, selector: str, new_hash: str, now: int) -> bool:
        """Set the password of the code's user, and end all sessions. Of all that use one code at
        once, exactly one gets True."""

        def work(execute: Execute) -> bool:
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
                _end_access(execute, user_id)
            return bool(rows)

        return self._transaction(work)

    # Invitations

    def add_invitation(self, invitation: Invitation, secret_digest: str) -> None:
        """Add one, and remove those that have expired."""

        def work(execute: Execute) -> None:
            execute(
                "DELETE FROM invitations WHERE expires_at <= :now", {"now": invitation.created_at}
            )
            execute(
                """
                INSERT INTO invitations (selector, secret_digest, roles, created_at, expires_at)
                VALUES (:selector, :secret_digest, :roles, :created_at, :expires_at)
                """,
                {
                    "selector": invitation.id,
                    "secret_digest": secret_digest,
                    "roles": ",".join(invitation.roles),
                    "created_at": invitation.created_at,
                    "expires_at": invitation.expires_at,
                },
            )

        self._transaction(work)

    def find_invitation(self, selector: str, now: int) -> str | None:
        """The digest of the secret, until the invitation is used or expires."""
        rows = self._read(_FIND_INVITATION, {"selector": selector, "now": now})
        return rows[0][0] if rows else None

    def list_invitations(self, now: int) -> list[Invitation]:
        """Those that can be used, in the order in which they expire."""
        rows = self._read(
            """
            SELECT selector, roles, created_at, expires_at FROM invitations
            WHERE expires_at > :now ORDER BY expires_at, selector
            """,
            {"now": now},
        )
        return [Invitation(selector, _roles(roles), *times) for selector, roles, *times in rows]

    def delete_invitation(self, selector: str, now: int) -> bool:
        """False when there is none that can be used."""
        rows = self._write(
            """
            DELETE FROM invitations WHERE selector = :selector AND expires_at > :now
            RETURNING selector
            """,
            {"selector": selector, "now": now},
        )
        return bool(rows)

    # Failures

    def find_failures(self, name: str, network: str) -> FailureCounts:
        """The counts of the name, of the network, and of the name from the network."""
        return _failures(self._read(_FIND_FAILURES, {"name": name, "network": network}))

    def change_failures(
        self,
        name: str,
        network: str,
        change: Callable[[FailureCounts], Changed],
        now: int,
        *,
        is_account: bool = False,
    ) -> Changed:
        """Read these counts and write what `change` makes of them, None for no row, as one
        transaction. What it made of them. If `change` raises, nothing changes.

        `is_account` says that an account has the name: then its count is never pushed out.
        """

        def work(execute: Execute) -> tuple[Changed, bool]:
            found = _failures(execute(_FIND_FAILURES, {"name": name, "network": network}))
            changed = change(found)
            for (row_name, row_peer), count in changed.items():
                is_kept = is_account and not row_peer
                _put_failures(execute, row_name, row_peer, count, is_kept=is_kept)
            return changed, any(count and key not in found for key, count in changed.items())

        changed, has_grown = self._transaction(work)
        if has_grown:
            self._bound_failures(now)
        return changed

    def _bound_failures(self, now: int) -> None:
        """Keep the table bounded: invented names and peers must not fill the disk.

        In a transaction of its own: one that counts all rows conflicts with each one that adds a
        row. What was counted stays counted if the store does not answer now.
        """
        with suppress(StoreUnavailable):
            ((rows,),) = self._read(_COUNT_FAILURES, {})
            if rows > MAX_FAILURES_ROWS:
                self._transaction(lambda execute: _evict_failures(execute, now))

    def reset_failures(self, name: str) -> None:
        """Remove the counts of the name, from everywhere."""
        self._write("DELETE FROM failures WHERE name = :name", {"name": name})


class Importing:
    """What an import may ask and do within its transaction."""

    def __init__(self, execute: Execute) -> None:
        self._execute = execute

    def find_rivals(self, user_id: int, canonical_username: str) -> dict[int, str]:
        """As the method of `Store`."""
        return _find_rivals(self._execute, user_id, canonical_username)

    def add(self, user: ImportedUser, now: int) -> bool:
        """Add the user under its own id. New ids go on from the highest that was ever used. False
        when the id or the name is taken."""
        rows = self._execute(
            """
            INSERT INTO users (
                id, username, canonical_username, password_hash, created_at, locked_at
            )
            VALUES (
                :id, :username, :canonical_username, :password_hash, :now,
                CASE WHEN :is_locked THEN :now END
            )
            ON CONFLICT DO NOTHING
            RETURNING id
            """,
            {
                "id": user.id,
                "username": user.username,
                "canonical_username": user.canonical_username,
                "password_hash": user.password_hash,
                "is_locked": user.is_locked,
                "now": now,
            },
        )
        return bool(rows)

    def note_old_hash(self, kind: str, work: int, sample: str) -> None:
        """Keep the slowest hash of the kind."""
        self._execute(
            """
            INSERT INTO old_hashes (kind, work, sample) VALUES (:kind, :work, :sample)
            ON CONFLICT (kind) DO UPDATE SET work = excluded.work, sample = excluded.sample
            WHERE excluded.work > old_hashes.work
            """,
            {"kind": kind, "work": work, "sample": sample},
        )


def _find_rivals(execute: Execute, user_id: int, canonical_username: str) -> dict[int, str]:
    rows = execute(
        """
        SELECT id, canonical_username FROM users
        WHERE id = :user_id OR canonical_username = :canonical_username
        """,
        {"user_id": user_id, "canonical_username": canonical_username},
    )
    return dict(rows)


def _end_access(execute: Execute, user_id: int) -> None:
    execute(_END_SESSIONS, {"user_id": user_id})
    execute(_DROP_RESET_CODES, {"user_id": user_id})


def _note_rotation(execute: Execute, parameters: Mapping[str, object]) -> None:
    """Note when the counter was replaced. One row a second is enough, so a client that refreshes
    all the time makes no more than a few rows."""
    execute(
        """
        DELETE FROM rotations
        WHERE session_id = :session_id AND abs(rotated_at - :now) > :grace
        """,
        parameters,
    )
    execute(
        """
        INSERT INTO rotations (session_id, rotated_at, counter)
        VALUES (:session_id, :now, :counter) ON CONFLICT (session_id, rotated_at) DO NOTHING
        """,
        parameters,
    )


def _put_failures(
    execute: Execute, name: str, peer: str, count: FailureCount | None, *, is_kept: bool
) -> None:
    """Write one count; None removes its row."""
    if count is None:
        execute(
            "DELETE FROM failures WHERE name = :name AND peer = :peer", {"name": name, "peer": peer}
        )
        return
    execute(
        """
        INSERT INTO failures (name, peer, count, counted_from, blocked_until, is_kept)
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
        {"name": name, "peer": peer, "is_kept": int(is_kept), **asdict(count)},
    )


def _evict_failures(execute: Execute, now: int) -> None:
    """Remove what is too much, and room for a while. The oldest rows are found by the index; to
    sort all of them would stop the other writers."""
    ((rows,),) = execute(_COUNT_FAILURES, {})
    # Another process may have been quicker.
    excess = max(0, rows - MAX_FAILURES_ROWS + MAX_FAILURES_ROWS // 100)
    evicted = execute(
        """
        DELETE FROM failures WHERE (name, peer) IN (
            SELECT name, peer FROM failures WHERE is_kept = 0 AND blocked_until <= :now
            ORDER BY counted_from LIMIT :excess
        )
        RETURNING name
        """,
        {"excess": excess, "now": now},
    )
    if len(evicted) < excess:  # all that are left still block
        execute(
            """
            DELETE FROM failures WHERE (name, peer) IN (
                SELECT name, peer FROM failures WHERE is_kept = 0
                ORDER BY counted_from LIMIT :excess
            )
            """,
            {"excess": excess - len(evicted)},
        )


def _account(row: Row) -> Account:
    user_id, username, password_hash, created_at, locked_at, version, roles = row
    return Account(user_id, username, password_hash, created_at, locked_at, version, _roles(roles))


def _session(row: Row) -> Session:
    session_id, user_id, username, roles, *columns = row
    return Session(session_id, user_id, username, _roles(roles), *columns)


def _api_key(row: Row) -> ApiKey:
    key_id, user_id, username, user_roles, name, roles, *columns = row
    key_roles = None if roles is None else _roles(roles)
    return ApiKey(key_id, user_id, username, _roles(user_roles), name, key_roles, *columns)


def _roles(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


def _failures(rows: Sequence[Row]) -> dict[tuple[str, str], FailureCount]:
    return {(name, peer): FailureCount(*counts) for name, peer, *counts in rows}
