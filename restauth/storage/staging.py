"""Users that are about to be imported: a private database that goes when it is closed.

Rule: what was read from a file of another program waits here until all of it is checked, so that
our own database is locked only while the users are written. SQLite keeps what does not fit into its
cache in a temporary file that has no name.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import astuple

from restauth.errors import UnusableFile
from restauth.records import ImportedUser


class Staging:
    """Each method may raise UnusableFile, by `open_staging`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute(
            """
            CREATE TABLE users (
                id INTEGER PRIMARY KEY,
                username TEXT NOT NULL,
                canonical_username TEXT NOT NULL UNIQUE,
                password_hash TEXT NOT NULL,
                is_locked INTEGER NOT NULL,
                is_new INTEGER NOT NULL
            ) STRICT
            """
        )
        connection.execute("BEGIN")

    def find_name(self, user_id: int) -> str | None:
        """The canonical name of the user with that id."""
        row = self._connection.execute(
            "SELECT canonical_username FROM users WHERE id = :id", {"id": user_id}
        ).fetchone()
        return row[0] if row else None

    def find_owner(self, canonical_username: str) -> tuple[int, str] | None:
        """The id of the user with that name, and the name as it is shown."""
        row: tuple[int, str] | None = self._connection.execute(
            "SELECT id, username FROM users WHERE canonical_username = :name",
            {"name": canonical_username},
        ).fetchone()
        return row

    def add(self, user: ImportedUser, *, is_new: bool) -> None:
        """Add the user. `is_new` says that it is not in our database yet."""
        self._connection.execute(
            "INSERT INTO users VALUES (?, ?, ?, ?, ?, ?)", (*astuple(user), is_new)
        )

    def new_users(self) -> Iterator[ImportedUser]:
        """Those that are to be written, in the order of their ids."""
        for user_id, username, canonical, password_hash, is_locked in self._connection.execute(
            """
            SELECT id, username, canonical_username, password_hash, is_locked FROM users
            WHERE is_new ORDER BY id
            """
        ):
            yield ImportedUser(
                user_id, username, canonical, password_hash, is_locked=bool(is_locked)
            )


@contextmanager
def open_staging() -> Iterator[Staging]:
    """Raises UnusableFile when there is no space for it."""
    with closing(sqlite3.connect("", isolation_level=None)) as connection:
        try:
            yield Staging(connection)
        except (sqlite3.Error, MemoryError) as error:
            reason = str(error) or "no memory"
            raise UnusableFile(
                f"The users cannot be kept while they are checked: {reason}."
            ) from None
