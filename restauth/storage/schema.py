"""The tables, as numbered migrations, the oldest first.

Rule: a released migration never changes; a new one is added at the end. Each is a tuple of
statements that run in one transaction (`executescript` would commit first). The table of users
keeps the column names of REST-auth.
"""

from collections.abc import Mapping

APPLICATION_ID = 0x72657374  # "rest": written into the header of every SQLite file of ours

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # AUTOINCREMENT: no id is used twice, not even after the row with the highest is deleted.
        """
        CREATE TABLE users (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            username TEXT NOT NULL CHECK (username <> ''),
            canonical_username TEXT NOT NULL UNIQUE,
            password_hash TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            locked_at INTEGER
        ) STRICT
        """,
        """
        CREATE TABLE sessions (
            id TEXT PRIMARY KEY,
            user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
            created_at INTEGER NOT NULL,
            last_used_at INTEGER NOT NULL,
            expires_at INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX sessions_by_user ON sessions (user_id, last_used_at)",
        "CREATE INDEX sessions_by_expiry ON sessions (expires_at)",
    ),
    (
        "ALTER TABLE users ADD COLUMN roles TEXT NOT NULL DEFAULT ''",
        # Counts the passwords of the account: a new hash of the same password does not count.
        "ALTER TABLE users ADD COLUMN password_version INTEGER NOT NULL DEFAULT 1",
        # The number of the current refresh token; NULL for a session without refresh tokens.
        "ALTER TABLE sessions ADD COLUMN refresh_counter INTEGER",
        "ALTER TABLE sessions ADD COLUMN rotated_at INTEGER",
        "ALTER TABLE sessions ADD COLUMN renewable_until INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE sessions ADD COLUMN peer TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE sessions ADD COLUMN user_agent TEXT NOT NULL DEFAULT ''",
        "UPDATE sessions SET renewable_until = expires_at",
        """
        CREATE TABLE reset_codes (
            user_id INTEGER PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
            selector TEXT NOT NULL UNIQUE,
            secret_digest TEXT NOT NULL,
            expires_at INTEGER NOT NULL
        ) STRICT
        """,
        # A row counts the failures of a name, of a peer (then the name is empty), or of both.
        # `is_kept` is 1 for the name of an account: invented names cannot push that row out.
        """
        CREATE TABLE failures (
            name TEXT NOT NULL,
            peer TEXT NOT NULL,
            count INTEGER NOT NULL,
            counted_from INTEGER NOT NULL,
            blocked_until INTEGER NOT NULL,
            is_kept INTEGER NOT NULL,
            PRIMARY KEY (name, peer)
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX failures_by_age ON failures (is_kept, counted_from)",
    ),
    (
        # The slowest imported hash of each older form: every login is padded to its time.
        """
        CREATE TABLE old_hashes (
            kind TEXT PRIMARY KEY,
            work INTEGER NOT NULL,
            sample TEXT NOT NULL
        ) STRICT, WITHOUT ROWID
        """,
        """
        CREATE INDEX users_with_old_hashes ON users (id)
        WHERE substr(password_hash, 1, 19) <> '$bcrypt-sha256$v=2,' AND password_hash <> '!'
        """,
    ),
    (
        # When refresh tokens were replaced: for each second, the first counter that was. Rows that
        # are older than the grace go at the next rotation of their session.
        """
        CREATE TABLE rotations (
            session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
            rotated_at INTEGER NOT NULL,
            counter INTEGER NOT NULL,
            PRIMARY KEY (session_id, rotated_at)
        ) STRICT, WITHOUT ROWID
        """,
        """
        INSERT INTO rotations (session_id, rotated_at, counter)
        SELECT id, rotated_at, refresh_counter - 1 FROM sessions WHERE refresh_counter > 0
        """,
    ),
    (
        # When a session of the user last began: it may have ended since.
        "ALTER TABLE users ADD COLUMN last_login_at INTEGER",
        """
        UPDATE users SET last_login_at = (
            SELECT max(sessions.created_at) FROM sessions WHERE user_id = users.id
        )
        WHERE id IN (SELECT user_id FROM sessions)
        """,
        "CREATE INDEX locked_users ON users (id) WHERE locked_at IS NOT NULL",
    ),
    (
        # Each registers one user, with these roles; then the row goes.
        """
        CREATE TABLE invitations (
            selector TEXT PRIMARY KEY,
            secret_digest TEXT NOT NULL,
            roles TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            expires_at INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX invitations_by_expiry ON invitations (expires_at)",
    ),
    (
        # `roles` is NULL for all roles of the user, `expires_at` for never.
        """
        CREATE TABLE api_keys (
            id TEXT PRIMARY KEY,
            user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
            name TEXT NOT NULL,
            roles TEXT,
            secret_digest TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            expires_at INTEGER,
            last_used_at INTEGER
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX api_keys_by_user ON api_keys (user_id, created_at)",
    ),
)

# For a look at a database that is not opened as a store.
ROLES_OF_ALL = "SELECT roles FROM users WHERE roles <> ''"

# Each table with its columns, of which so many are the key. A row comes after those it refers to.
TABLES: Mapping[str, tuple[int, tuple[str, ...]]] = {
    "users": (
        1,
        (
            *("id", "username", "canonical_username", "password_hash", "created_at", "locked_at"),
            *("roles", "password_version", "last_login_at"),
        ),
    ),
    "sessions": (
        1,
        (
            *("id", "user_id", "created_at", "last_used_at", "expires_at", "refresh_counter"),
            *("rotated_at", "renewable_until", "peer", "user_agent"),
        ),
    ),
    "reset_codes": (1, ("user_id", "selector", "secret_digest", "expires_at")),
    "failures": (2, ("name", "peer", "count", "counted_from", "blocked_until", "is_kept")),
    "old_hashes": (1, ("kind", "work", "sample")),
    "rotations": (2, ("session_id", "rotated_at", "counter")),
    "invitations": (1, ("selector", "secret_digest", "roles", "created_at", "expires_at")),
    "api_keys": (
        1,
        (
            *("id", "user_id", "name", "roles", "secret_digest"),
            *("created_at", "expires_at", "last_used_at"),
        ),
    ),
}
