"""SQLite files for the tests of the storage."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from restauth.storage.postgres import PostgreSQL
from restauth.storage.sqlite import SQLite
from tests.postgres import PostgresServer, Relay
from tests.storage.system import OpenPostgres, OpenSQLite


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "restauth.db"


@pytest.fixture
def open_sqlite(path: Path) -> Iterator[OpenSQLite]:
    """Each call opens an engine of its own, as a process does."""
    with ExitStack() as stack:

        def open(name: str = path.name, *, create: bool = True) -> SQLite:
            engine = SQLite(path.parent / name, create=create)
            return stack.enter_context(closing(engine))

        yield open


@pytest.fixture
def open_postgres(postgres: PostgresServer) -> Iterator[OpenPostgres]:
    """Each call opens an engine of its own on the database of a name, as a process does."""
    schemas: dict[str, str] = {}
    with ExitStack() as stack:

        def open(name: str = "restauth", *, create: bool = True, **options: str) -> PostgreSQL:
            if name not in schemas:
                schemas[name] = postgres.new_schema()
            engine = PostgreSQL(postgres.url(schemas[name], **options), create=create)
            return stack.enter_context(closing(engine))

        yield open


@pytest.fixture
def relay(postgres: PostgresServer) -> Iterator[Relay]:
    """Give its port to `open_postgres`."""
    with closing(Relay(postgres)) as relay:
        yield relay


@pytest.fixture
def no_umask() -> Iterator[None]:
    """What is private must be so by itself."""
    before = os.umask(0)
    yield
    os.umask(before)
