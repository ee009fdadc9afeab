"""Which engine the setting `database` names.

Rule: the one file that knows the engines by name. All other code knows the contract of
`storage.engine`. The setting is the name of an SQLite file.
"""

from collections.abc import Iterator
from pathlib import Path

from restauth.records import Finding
from restauth.storage import sqlite_file
from restauth.storage.engine import Engine
from restauth.storage.sqlite import SQLite


def open_engine(database: str, *, create: bool) -> Engine:
    """The database, brought up to date; `create` makes it when there is none.

    Raises UnusableStore.
    """
    return SQLite(Path(database), create=create)


def exists(database: str) -> bool:
    """Whether there is such a database."""
    return Path(database).exists()


def is_up_to_date(database: str) -> bool:
    """Whether an existing database has the newest schema; it is not changed. Raises
    UnusableStore."""
    return sqlite_file.is_up_to_date(Path(database))


def check(database: str) -> Iterator[Finding]:
    """What the operator should know of the database; it is not changed."""
    return sqlite_file.check(Path(database))
