"""The numbered migrations, oldest first.

Rule: a migration that has shipped never changes; a new one is appended. Each is a tuple of
statements, run in one transaction (`executescript` would commit first). The users table keeps the
column names of REST-auth.
"""

APPLICATION_ID = 0x72657374  # "rest", in the header of every SQLite file that is ours

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # AUTOINCREMENT: an id is never given twice, not even after the highest row is deleted.
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
        # Counts the passwords that the account has had: a renewed hash is not a new password.
        "ALTER TABLE users ADD COLUMN password_version INTEGER NOT NULL DEFAULT 1",
        # Without a refresh token `refresh_counter` is null; with one, it says which is the current.
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
        # `is_kept` is 1 for the name of an account: no flood of invented names pushes it out.
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
        # The dearest hash of each older form that was ever imported, to know a login's work by.
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
)
