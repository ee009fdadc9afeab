"""The database file of REST-auth, read only.

Rule: gives the rows as they are, and decides nothing about them. The file is opened so that SQLite
itself refuses to write. REST-auth's table is `users (id, username, password_hash)`, made by
SQLAlchemy; the declared lengths of its columns changed over time, and SQLite does not enforce them.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restauth.errors import UnusableFile

BUSY_TIMEOUT = 5  # seconds to wait while another program holds the file
COLUMNS = ("id", "username", "password_hash")

# A text comes as bytes, because it may not be UTF-8; a blob comes as a memoryview.
Value = bytes | memoryview | int | float | None


@dataclass(frozen=True, slots=True)
class RestAuthRow:
    """One row, unchecked."""

    id: Value
    username: Value
    password_hash: Value


class RestAuthFile:
    """An open file. `other_columns` are those that REST-auth itself never had."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        columns = [
            bytes(row[1]).decode("utf-8", "replace")
            for row in connection.execute("PRAGMA table_info(users)")
        ]
        if not columns:
            raise UnusableFile(f"{path} has no table users: it is not a file of REST-auth.")
        missing = [name for name in COLUMNS if name not in columns]
        if missing:
            raise UnusableFile(f"The table users in {path} has no {' and no '.join(missing)}.")
        self.other_columns = tuple(name for name in columns if name not in COLUMNS)

    def rows(self) -> Iterator[RestAuthRow]:
        """All rows in the order of their ids."""
        for user_id, id_type, name, name_type, password_hash, hash_type in self._connection.execute(
            """
            SELECT id, typeof(id), username, typeof(username), password_hash, typeof(password_hash)
            FROM users ORDER BY id
            """
        ):
            yield RestAuthRow(
                _value(user_id, id_type), _value(name, name_type), _value(password_hash, hash_type)
            )

    def find_name(self, user_id: int) -> str | None:
        """The name of the user with that id, if it is a text."""
        row = self._connection.execute(
            "SELECT username FROM users WHERE id = :id AND typeof(username) = 'text'",
            {"id": user_id},
        ).fetchone()
        return str(row[0], "utf-8", "replace") if row else None


def _value(value: Any, sqlite_type: bytes) -> Value:
    return memoryview(value) if sqlite_type == b"blob" else value


@contextmanager
def open_rest_auth_file(path: Path) -> Iterator[RestAuthFile]:
    """Raises UnusableFile when it cannot be read, or is not a database of REST-auth."""
    if not path.is_file():
        raise UnusableFile(f"There is no file {path}.")
    try:
        # mode=ro: SQLite refuses every write; a WAL beside the file is read too.
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT
        )
    except sqlite3.Error as error:
        raise _unusable(path, error) from None
    try:
        connection.text_factory = bytes
        yield RestAuthFile(connection, path)
    except sqlite3.Error as error:
        raise _unusable(path, error) from None
    finally:
        connection.close()


def _unusable(path: Path, error: sqlite3.Error) -> UnusableFile:
    return UnusableFile(f"{path} cannot be read: {error}.")
