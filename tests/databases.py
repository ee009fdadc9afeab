"""What happens to the database of a test's services: it is away, held by others, or spoiled.

Rule: the same on each engine, so that a test needs no word about which one it has.
"""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from sqlite3 import connect

import psycopg

from restauth.services import Services
from restauth.settings import is_postgres
from restauth.storage.sqlite import SQLite

# What an engine says of a store that was broken.
LOST_COLUMN = re.compile("no such column|column .* does not exist")


def look_now(services: Services) -> Path:
    """Let the engine look at its file at the next use, and not only once a second."""
    engine = services._resources.engine
    assert isinstance(engine, SQLite)
    engine._next_look = 0
    return engine.path


@contextmanager
def without_database(services: Services) -> Iterator[None]:
    """It is away, and the engine notices at once."""
    database = services.settings.database
    if is_postgres(database):
        with closing(psycopg.connect(database, autocommit=True)) as other:
            ((schema,),) = other.execute("SELECT current_schema()").fetchall()
            _rename(other, schema, "away")
            try:
                yield
            finally:
                _rename(other, "away", schema)
        return
    path = look_now(services)
    away = path.rename(path.with_suffix(".away"))
    try:
        yield
    finally:
        away.rename(path)


def take_the_store_away(services: Services) -> None:
    """It is gone. A directory stands where the file was."""
    engine, database = services._resources.engine, services.settings.database
    if is_postgres(database):
        ((schema,),) = engine.read("SELECT current_schema()", {})
        engine.write(f"DROP SCHEMA {schema} CASCADE", {})
        return
    engine.close()
    Path(database).unlink()
    Path(database).mkdir()


@contextmanager
def nobody_can_write(services: Services) -> Iterator[None]:
    """Another process has begun to write, and does not end."""
    database = services.settings.database
    if is_postgres(database):
        with closing(psycopg.connect(database)) as writer:
            writer.execute("LOCK TABLE users, sessions, api_keys, failures IN EXCLUSIVE MODE")
            yield
        return
    with closing(connect(database)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        yield


def break_the_store(services: Services) -> None:
    """Two columns have other names, which only a bug of ours could do."""
    for table, column in (("sessions", "user_id"), ("users", "canonical_username")):
        services._resources.engine.write(f"ALTER TABLE {table} RENAME COLUMN {column} TO lost", {})


def _rename(connection: "psycopg.Connection[tuple[str, ...]]", before: str, after: str) -> None:
    connection.execute(f"ALTER SCHEMA {before} RENAME TO {after}".encode())
