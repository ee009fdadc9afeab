"""What a database must promise, so that the store can stand on it.

Rule: no SQL here and no database by name. `sqlite` and `postgres` implement it; the contract tests
of `tests/storage/test_engine.py` run on each. Statements are text with named parameters (`:name`).
Every failure of the database has one name, `StoreUnavailable`. A failure that passes when the
transaction is run again never reaches the caller.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

Row = tuple[Any, ...]
Execute = Callable[[str, Mapping[str, object]], Sequence[Row]]
Result = TypeVar("Result")
Progress = Callable[[int], None]  # is called with how much is done so far

# Threads of a process that may wait while another process holds the database; the next one is
# refused. While the database answers, all writers wait their turn.
MAX_WRITERS = 8


class Engine(Protocol):
    """One database, for all threads of a process."""

    @property
    def identity(self) -> Hashable:
        """A value that is equal for two engines if and only if they are on one database."""

    def read(self, sql: str, parameters: Mapping[str, object]) -> Sequence[Row]:
        """Run one statement that changes nothing. It sees every transaction that was committed
        before it began. Its rows depend on the tables and the parameters alone: the engine may know
        them without asking the database. Raises StoreUnavailable."""

    def write(self, sql: str, parameters: Mapping[str, object]) -> Sequence[Row]:
        """Run one statement as a transaction of its own. Raises StoreUnavailable."""

    def write_if_free(self, sql: str, parameters: Mapping[str, object]) -> None:
        """Run one statement like `write`, or leave it out: it never waits for another writer and
        never fails, and a power failure may undo it. For what may be lost."""

    def transaction(self, work: Callable[[Execute], Result]) -> Result:
        """Run `work`, which runs statements: all of them take effect or none does, and no other
        writer comes between. What `work` returns is returned.

        `work` may be run again, after all that it did was undone. So it must have no effect outside
        the database. What it raises undoes the transaction. Raises StoreUnavailable.
        """

    def snapshot(self, work: Callable[[Execute], Result]) -> Result:
        """Run `work`, which runs statements that change nothing: all of them see one state of the
        database, and other writers go on. Raises StoreUnavailable."""

    def last_id(self, execute: Execute) -> int:
        """The highest id that a user has or ever had, as it is for `execute`; 0 if none had one."""

    def set_last_id(self, execute: Execute, number: int) -> None:
        """Give the next user a higher id than `number`, in a database that has given none. It is
        undone with the transaction of `execute`."""

    def ping(self) -> None:
        """Return if the database is in its place and takes writes. No row changes, and no other
        writer is waited for. Raises StoreUnavailable."""

    def version(self) -> int:
        """How many migrations the tables have seen by now. Raises StoreUnavailable."""

    def backup(self, target: Path, progress: Progress | None = None) -> None:
        """Write a consistent copy to a new private file, while others read and write. `progress` is
        called with percents. Raises UnusableFile, and then leaves no file; always, where the
        database has a program for it."""

    def close(self) -> None:
        """Close the idle connections. The next statement opens a connection again."""


class CheckedWriter:
    """Writes to an engine, and calls `check` first in each transaction. What it raises undoes the
    transaction; it may be run again, as all work."""

    def __init__(self, engine: Engine, check: Callable[[Execute], object]) -> None:
        self._engine = engine
        self._check = check

    def write(self, sql: str, parameters: Mapping[str, object]) -> Sequence[Row]:
        """As the engine's."""
        return self.transaction(lambda execute: execute(sql, parameters))

    def transaction(self, work: Callable[[Execute], Result]) -> Result:
        """As the engine's."""

        def checked(execute: Execute) -> Result:
            self._check(execute)
            return work(execute)

        return self._engine.transaction(checked)
