"""The SQLite engine: connections and transactions.

Rule: knows nothing of users. It never makes a database where one stood before, and it turns
failures of the machine (locked, full, gone, damaged) into `StoreUnavailable`. Every other error of
the driver is a bug, and is not hidden.
"""

import os
import sqlite3
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import BoundedSemaphore

from restauth.errors import StoreUnavailable, UnusableFile
from restauth.storage import sqlite_file
from restauth.storage.engine import MAX_WRITERS, Execute, Result, Row

BUSY_TIMEOUT = 1500  # ms that a request waits for another writer, before it is refused

_OPERATIONAL_CODES = {  # locking, disk and I/O errors: not bugs; https://sqlite.org/rescode.html
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_READONLY,
}


class SQLite:
    """The engine on one database file, with a pool of connections.

    A connection serves one thread at a time and then goes back to the pool, so that a server with
    a thread for each request does not open a connection for each. Raises UnusableStore when the
    file belongs to another program, is damaged, is newer than this code, or cannot be made.
    """

    def __init__(self, path: Path, *, create: bool) -> None:
        self.path = path.resolve()  # by its own name: a link may come to point elsewhere
        self._idle: deque[sqlite3.Connection] = deque()
        self._writers = BoundedSemaphore(MAX_WRITERS)
        _engines.add(self)
        self.identity = sqlite_file.prepare(self.path, self._connect, create=create)
        self._next_look = 0.0

    def read(self, sql: str, parameters: Mapping[str, object]) -> list[Row]:
        """As the contract says."""
        with self._connection() as connection:
            return connection.execute(sql, parameters).fetchall()

    def write(self, sql: str, parameters: Mapping[str, object]) -> list[Row]:
        """As the contract says."""
        with self._place_in_queue(), self._connection() as connection:
            return connection.execute(sql, parameters).fetchall()

    def write_if_free(self, sql: str, parameters: Mapping[str, object]) -> None:
        """As the contract says. A commit with `synchronous = NORMAL` does not wait for the disk."""
        with suppress(StoreUnavailable), self._connection() as connection:
            connection.execute("PRAGMA busy_timeout = 0")
            connection.execute("PRAGMA synchronous = NORMAL")
            try:
                connection.execute(sql, parameters).fetchall()
            except sqlite3.Error as error:  # the connection can still read, so it is kept
                if sqlite_file.result_code(error) not in _OPERATIONAL_CODES:
                    raise
            finally:
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")

    def transaction(self, work: Callable[[Execute], Result]) -> Result:
        """As the contract says; `work` is run once, because it holds the only write lock.

        The lock is taken at the start: a transaction that reads first and then writes fails at once
        when another writer came between (SQLITE_BUSY_SNAPSHOT), whatever the busy timeout.
        """
        with self._place_in_queue(), self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = work(
                    lambda sql, parameters: connection.execute(sql, parameters).fetchall()
                )
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # on a full disk SQLite itself has rolled back
                    connection.execute("ROLLBACK")
                raise
        return result

    def backup(self, target: Path) -> None:
        """As the contract says."""
        try:
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except OSError as error:
            raise UnusableFile(f"The backup {target} cannot be made: {error.strerror}.") from None
        try:
            with self._connection() as source, closing(sqlite3.connect(target)) as copy:
                source.backup(copy)
                # A copy in WAL mode could only be read in a directory that can be written.
                copy.execute("PRAGMA journal_mode = DELETE")
        except BaseException as error:
            target.unlink()
            if isinstance(error, StoreUnavailable):
                raise UnusableFile(f"The backup {target} cannot be made: {error.cause}.") from None
            raise

    def close(self) -> None:
        """As the contract says."""
        while self._idle:
            self._idle.pop().close()

    @contextmanager
    def _place_in_queue(self) -> Iterator[None]:
        """While another process holds the write lock, writers wait. Their number is limited, so
        that threads are left for requests that only read."""
        if not self._writers.acquire(blocking=False):
            raise StoreUnavailable("too many writers wait for the database")
        try:
            yield
        finally:
            self._writers.release()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        self._check_identity()
        try:
            connection = self._take()
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            self._idle.append(connection)
        except sqlite3.Error as error:
            if sqlite_file.result_code(error) in _OPERATIONAL_CODES:
                raise StoreUnavailable(str(error)) from None
            raise

    def _take(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return self._connect(BUSY_TIMEOUT)

    def _check_identity(self) -> None:
        """Once a second: is the open file still the file of that name?

        Writes to a file that was removed succeed, and are lost. Raises StoreUnavailable.
        """
        now = time.monotonic()
        if now < self._next_look:
            return
        try:
            is_same = sqlite_file.identity_of(self.path) == self.identity
        except OSError:
            is_same = False
        if not is_same:
            raise StoreUnavailable(f"{self.path} was removed or replaced: restart")
        self._next_look = now + 1

    def _connect(self, busy_timeout: int) -> sqlite3.Connection:
        # mode=rw never makes a file (https://sqlite.org/uri.html). The pool gives a connection to
        # one thread at a time, so check_same_thread is not needed.
        connection = sqlite3.connect(
            f"{self.path.as_uri()}?mode=rw",
            uri=True,
            timeout=busy_timeout / 1000,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            connection.execute("PRAGMA synchronous = FULL")  # a commit survives a power failure
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA trusted_schema = OFF")
        except BaseException:
            connection.close()
            raise
        return connection


_engines: "weakref.WeakSet[SQLite]" = weakref.WeakSet()


def _close_all() -> None:
    """A connection must not cross a fork: the child would believe that it holds the locks of its
    parent (https://sqlite.org/howtocorrupt.html section 2.6)."""
    for engine in list(_engines):
        engine.close()


os.register_at_fork(before=_close_all)
