"""Which engine the setting `database` names.

Rule: the one file that knows the engines by name. All other code knows the contract of
`storage.engine`. The setting is the name of an SQLite file, or the URL of a PostgreSQL database.
What PostgreSQL needs is imported for such a URL alone.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from restauth.errors import UnusableStore
from restauth.records import Finding
from restauth.settings import is_postgres, without_secret
from restauth.storage import copying, sqlite_file, sqlite_restore
from restauth.storage.engine import Engine, Progress
from restauth.storage.sqlite import SQLite


def open_engine(database: str, *, create: bool) -> Engine:
    """The database, brought up to date; `create` makes it when there is none.

    Raises UnusableStore.
    """
    if is_postgres(database):
        from restauth.storage import postgres_database  # noqa: F401, PLC0415 - says what is missing
        from restauth.storage.postgres import PostgreSQL  # noqa: PLC0415 - which needs an extra

        return PostgreSQL(database, create=create)
    if not create and not exists(database):
        raise UnusableStore(
            f"There is no database {show(database)}: set RESTAUTH_DATABASE to that of "
            "the service, or make one: restauth serve, or restauth user add --create."
        )
    return SQLite(Path(database), create=create)


def exists(database: str) -> bool:
    """Whether there is such a database, with tables of ours if it is PostgreSQL's. Raises
    UnusableStore."""
    if is_postgres(database):
        from restauth.storage import postgres_database  # noqa: PLC0415 - which needs an extra

        return postgres_database.read_version(database) > 0
    return Path(database).exists()


def has_users(database: str) -> bool:
    """Whether the database has users, as far as it can be read; it is not changed. PostgreSQL's is
    taken to have some, of the other machines."""
    if not is_postgres(database):
        return sqlite_file.has_users(Path(database))
    try:
        return exists(database)
    except UnusableStore:
        return False


def find_roles(database: str) -> set[str] | None:
    """All roles that users have; None where they cannot be read. The database is not changed."""
    try:
        if not is_postgres(database):
            return sqlite_file.find_roles(Path(database))
        from restauth.storage import postgres_database  # noqa: PLC0415 - which needs an extra

        return postgres_database.find_roles(database)
    except UnusableStore:
        return None


def is_lost(database: str, made_after: Path) -> bool:
    """Whether the database has gone or was emptied, because `made_after` exists: a start makes that
    file when the database is ready. On a PostgreSQL database, each machine has such a file, from
    its first start on."""
    return not is_postgres(database) and sqlite_file.is_lost(Path(database), made_after)


def find_place_fault(database: str) -> str | None:
    """Why what is written may be lost, although it is written."""
    return None if is_postgres(database) else sqlite_file.find_place_fault(Path(database))


def is_up_to_date(database: str) -> bool:
    """Whether an existing database has the newest schema; it is not changed. Raises
    UnusableStore."""
    if is_postgres(database):
        from restauth.storage import postgres_database  # noqa: PLC0415 - which needs an extra

        return postgres_database.is_up_to_date(database)
    return sqlite_file.is_up_to_date(Path(database))


def require_up_to_date(database: str) -> None:
    """Return if there is no such database, or opening it changes no table. Raises UnusableStore."""
    if exists(database) and not is_up_to_date(database):
        raise UnusableStore(
            f"The next start brings {show(database)} up to date: start restauth first."
        )


def restore(
    database: str, copy: Path, before: Callable[[], None], progress: Progress | None = None
) -> None:
    """Put a copy in the place of the database. `before` is called when nothing but the replacement
    is left to do. Raises UnusableStore, UnusableFile; then nothing was replaced."""
    if is_postgres(database):
        raise UnusableStore(
            f"{show(database)} is restored by pg_restore; then restauth key rotate --revoke ends "
            "the tokens that the copy would bring back."
        )
    sqlite_restore.restore(Path(database), copy, before, progress)


def copy(source: Engine, target: str, progress: Progress) -> dict[str, int]:
    """Copy all rows; the number of them by table. The target is a new file, or a PostgreSQL
    database without rows. Raises UnusableStore, StoreUnavailable; then no new file is left, and no
    row was written."""
    if is_postgres(target):
        require_up_to_date(target)
        with closing(open_engine(target, create=True)) as engine:
            return copying.copy(source, engine, progress)
    with (
        sqlite_restore.new_database(Path(target)) as part,
        closing(open_engine(str(part), create=True)) as engine,
    ):
        return copying.copy(source, engine, progress)


def check_modes(database: str) -> Iterator[Finding]:
    """Whether other users can read or write the database."""
    if not is_postgres(database):
        yield from sqlite_file.check_modes(Path(database))


def check(database: str) -> Iterator[Finding]:
    """What the operator should know of the database; it is not changed."""
    if is_postgres(database):
        try:
            from restauth.storage import postgres_database  # noqa: PLC0415 - which needs an extra

            yield from postgres_database.check(database)
        except UnusableStore as error:
            yield Finding("error", str(error))
    else:
        yield from sqlite_file.check(Path(database))


def describe_new(database: str) -> str:
    """Of a database that a start has made, what the operator should know."""
    if is_postgres(database):
        return f"There were no tables in {show(database)}: they are made, without users."
    return f"There was no database {show(database)}: a new one is made, without users."


def show(database: str) -> str:
    """The database, as messages show it: a file with its directory, a URL without its secrets."""
    return without_secret(database) if is_postgres(database) else str(Path(database).absolute())
