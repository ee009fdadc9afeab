"""The database file of REST-auth, read only.

Rule: gives the rows as they are, and decides nothing about them. The file is opened so that SQLite
itself refuses to write. REST-auth's table is `users (id, username, password_hash)`, made by
SQLAlchemy; the declared lengths of its columns changed over time, and SQLite does not enforce them.
Time, memory and disk that it costs to read a file are bounded, whatever is in it.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from restauth.errors import UnusableFile

BUSY_TIMEOUT = 5  # seconds to wait while another program holds the file
COLUMNS = ("id", "username", "password_hash")

# The file may be made by an attacker (https://sqlite.org/security.html): each of these is far above
# what a file of REST-auth needs.
MAX_ROWS = 1_000_000
MAX_VALUE_LENGTH = 1_000_000  # bytes; a longer value makes the file unreadable
MAX_TEXT_LENGTH = 4096  # bytes that are read of a name or a hash; longer ones cannot log in
STEPS = 100_000  # instructions of SQLite's virtual machine; some milliseconds
MAX_STEPS_OF_A_ROW = 5_000  # times STEPS: the first row of a table without a key comes after a sort

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
        self._steps = 0
        connection.set_progress_handler(self._is_endless, STEPS)
        kinds = connection.execute(
            "SELECT type FROM pragma_table_list WHERE schema = 'main' AND lower(name) = 'users'"
        ).fetchall()
        if kinds != [(b"table",)]:  # a view or a virtual table runs what its author wrote
            raise UnusableFile(f"{path} has no table users: it is not a file of REST-auth.")
        columns = [
            bytes(row[1]).decode("utf-8", "replace")
            for row in connection.execute("PRAGMA table_info(users)")  # no generated columns
        ]
        missing = [name for name in COLUMNS if name not in columns]
        if missing:
            raise UnusableFile(f"The table users in {path} has no {' and no '.join(missing)}.")
        self.other_columns = tuple(name for name in columns if name not in COLUMNS)

    def rows(self) -> Iterator[RestAuthRow]:
        """All rows in the order of their ids. Long texts are cut after `MAX_TEXT_LENGTH`."""
        found = self._connection.execute(
            """
            SELECT
                id, typeof(id),
                CASE WHEN typeof(username) IN ('text', 'blob')
                    THEN substr(CAST(username AS BLOB), 1, :length) ELSE username END,
                typeof(username),
                CASE WHEN typeof(password_hash) IN ('text', 'blob')
                    THEN substr(CAST(password_hash AS BLOB), 1, :length) ELSE password_hash END,
                typeof(password_hash)
            FROM users ORDER BY id LIMIT :rows
            """,
            {"length": MAX_TEXT_LENGTH, "rows": MAX_ROWS + 1},
        )
        for number, row in enumerate(found, start=1):
            if number > MAX_ROWS:
                raise UnusableFile(f"{self._path} has more than {MAX_ROWS} users.")
            user_id, id_type, name, name_type, password_hash, hash_type = row
            yield RestAuthRow(
                _value(user_id, id_type), _value(name, name_type), _value(password_hash, hash_type)
            )
            self._steps = 0

    def _is_endless(self) -> bool:
        """Whether SQLite is to give up on the next row."""
        self._steps += 1
        return self._steps > MAX_STEPS_OF_A_ROW


def _value(value: Any, sqlite_type: bytes) -> Value:
    if sqlite_type not in (b"text", b"blob"):
        return cast("Value", value)
    raw = bytes(value or b"")  # substr makes NULL of an empty value
    if sqlite_type == b"blob":
        return memoryview(raw)
    if len(raw) < MAX_TEXT_LENGTH:
        return raw
    return raw.decode("utf-8", "replace").encode("utf-8")  # its last character may be cut


@contextmanager
def open_rest_auth_file(path: Path) -> Iterator[RestAuthFile]:
    """Raises UnusableFile when it cannot be read, or is not a database of REST-auth."""
    if not path.is_file():
        fault = f"{path} is no file" if path.exists() else f"There is no file {path}"
        raise UnusableFile(f"{fault}: name the db.sqlite of REST-auth.")
    try:
        # mode=ro: SQLite refuses every write; a WAL beside the file is read too.
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT
        )
    except sqlite3.Error as error:
        raise _unusable(path, error) from None
    try:
        connection.text_factory = bytes
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_LENGTH)
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        yield RestAuthFile(connection, path)
    except (sqlite3.Error, MemoryError) as error:
        raise _unusable(path, error) from None
    finally:
        connection.close()


def _unusable(path: Path, error: Exception) -> UnusableFile:
    return UnusableFile(f"{path} cannot be read: {str(error) or 'no memory'}.")
