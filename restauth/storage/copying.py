"""Copy all rows of one database to another one, of whatever engine.

Rule: the source is only read, in one state of it. All rows are written in one transaction, which
ends only when the target gives back what the source gave. The target has to be empty: no row is
replaced. Memory is bounded.
"""

from collections.abc import Iterator, Sequence
from hashlib import sha256

from restauth.errors import UnusableStore
from restauth.storage.engine import Engine, Execute, Progress, Row
from restauth.storage.schema import TABLES

PAGE = 1000  # rows that are read at once


def copy(source: Engine, target: Engine, progress: Progress) -> dict[str, int]:
    """The number of rows that were copied of each table.

    `progress` is called with the number of rows written so far. Raises UnusableStore when the
    target is not empty or gives back other rows, and StoreUnavailable; then it is as it was.
    """

    def read(execute: Execute) -> dict[str, int]:
        return target.transaction(lambda write: _copy(execute, write, source, target, progress))

    return source.snapshot(read)


def _copy(
    read: Execute, write: Execute, source: Engine, target: Engine, progress: Progress
) -> dict[str, int]:
    if any(next(_pages(write, table), ()) for table in TABLES) or target.last_id(write):
        raise UnusableStore("The target is not empty: a copy replaces no rows.")
    last_id = source.last_id(read)
    if last_id:  # its user may have been deleted
        target.set_last_id(write, last_id)
    counts: dict[str, int] = {}
    written = 0
    for table, (_, columns) in TABLES.items():
        given, kept = sha256(), sha256()
        counts[table] = 0
        insert = _insert(table, columns)
        for page in _pages(read, table):
            for row in page:
                write(insert, dict(zip(columns, row, strict=True)))
                given.update(repr(row).encode())
            counts[table] += len(page)
            written += len(page)
            progress(written)
        for page in _pages(write, table):
            kept.update("".join(map(repr, page)).encode())
        if kept.digest() != given.digest():
            raise UnusableStore(f"The target does not keep the rows of {table} as they are.")
    return counts


def _insert(table: str, columns: tuple[str, ...]) -> str:
    values = ", ".join(f":{column}" for column in columns)
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})"  # noqa: S608 - constants


def _pages(read: Execute, table: str) -> Iterator[Sequence[Row]]:
    """All rows in the order of their keys, a page after the other."""
    keys, columns = TABLES[table]
    key = ", ".join(columns[:keys])
    names = ("last", "last_too")[:keys]
    after = f"WHERE ({key}) > ({', '.join(f':{name}' for name in names)})"
    select = f"SELECT {', '.join(columns)} FROM {table}"  # noqa: S608 - constants
    last: dict[str, object] = {}
    while True:
        page = read(f"{select} {after if last else ''} ORDER BY {key} LIMIT {PAGE}", last)
        if page:
            yield page
        if len(page) < PAGE:
            return
        last = dict(zip(names, page[-1], strict=False))
