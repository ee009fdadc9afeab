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
)
