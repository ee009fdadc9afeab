"""Which engine the setting `database` names.

Rule: the one file that knows the engines by name. All other code knows the contract of
`storage.engine`. The setting is the name of an SQLite file.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from restauth.errors import UnusableStore
from restauth.records import Finding
from restauth.storage import sqlite_file, sqlite_restore
from restauth.storage.engine import Engine
from restauth.storage.sqlite import SQLite


def open_engine(database: str, *, create: bool) -> Engine:
    """The database, brought up to date; `create` makes it when there is none.

    Raises UnusableStore.
    """
    if not create and not exists(database):
        raise UnusableStore(
            f"There is no database {Path(database).absolute()}: set RESTAUTH_DATABASE to that of "
            "the service, or make one: restauth serve, or restauth user add --create."
        )
    return SQLite(Path(database), create=create)


def exists(database: str) -> bool:
    """Whether there is such a database."""
    return Path(database).exists()


def is_lost(database: str, made_after: Path) -> bool:
    """Whether the database has gone or was emptied, because `made_after` exists: a start makes that
    file when the database is ready."""
    return sqlite_file.is_lost(Path(database), made_after)


def find_place_fault(database: str) -> str | None:
    """Why what is written may be lost, although it is written."""
    return sqlite_file.find_place_fault(Path(database))


def is_up_to_date(database: str) -> bool:
    """Whether an existing database has the newest schema; it is not changed. Raises
    UnusableStore."""
    return sqlite_file.is_up_to_date(Path(database))


def restore(database: str, copy: Path, before: Callable[[], None]) -> None:
    """Put a copy in the place of the database. `before` is called when nothing but the replacement
    is left to do. Raises UnusableStore, UnusableFile; then nothing was replaced."""
    sqlite_restore.restore(Path(database), copy, before)


def check_modes(database: str) -> Iterator[Finding]:
    """Whether other users can read or write the database."""
    return sqlite_file.check_modes(Path(database))


def check(database: str) -> Iterator[Finding]:
    """What the operator should know of the database; it is not changed."""
    return sqlite_file.check(Path(database))
