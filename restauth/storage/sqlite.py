"""The SQLite dialect: connections, transactions, and which file is ours.

Rule: the one place that knows `sqlite3`. It never makes a file anew where one stood, never changes
one that is not ours, and turns what the machine does to us (busy, full, gone, damaged) into
`StoreUnavailable`; every other error of the driver is a bug and stays one.
"""

import os
import sqlite3
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any

from restauth.errors import StoreUnavailable, UnusableFile, UnusableStore
from restauth.storage.schema import APPLICATION_ID, MIGRATIONS

Row = tuple[Any, ...]
Execute = Callable[[str, Mapping[str, object]], list[Row]]

BUSY_TIMEOUT = 1500  # ms that a request waits for another writer before it is told to come back
OPENING_TIMEOUT = 30_000  # ms that a start waits: another process may be migrating
MAX_WRITERS = 8  # at work or waiting, a process; keep the server's threads above it
MAX_PAGES_CHECKED = 16_384  # 64 MiB are checked at every start; `restauth check` reads all of it

_OPERATIONAL_CODES = {  # result codes that tell of the machine, https://sqlite.org/rescode.html
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
    """One database file and its pool of connections, for all threads of a process.

    A connection serves one thread at a time and goes back to the pool: a server that makes a
    thread for each request costs no connection for each. Raises UnusableStore when the file is
    foreign, damaged or newer than this code, or cannot be made.
    """

    def __init__(self, path: Path, *, create: bool) -> None:
        self.path = path.absolute()
        self._idle: deque[sqlite3.Connection] = deque()
        self._writers = BoundedSemaphore(MAX_WRITERS)
        _engines.add(self)
        try:
            if create:
                _create_private(self.path)
            self._file = _identity(self.path)
            self._next_look = 0.0
            _refuse_foreign(self.path)
            with closing(self._connect(OPENING_TIMEOUT)) as connection:
                _migrate(connection, self.path)
        except (OSError, sqlite3.Error) as error:
            raise _unusable(self.path, error) from None

    def read(self, sql: str, parameters: Mapping[str, object]) -> list[Row]:
        """Run one statement that changes nothing. Raises StoreUnavailable."""
        with self._connection() as connection:
            return connection.execute(sql, parameters).fetchall()

    def write(self, sql: str, parameters: Mapping[str, object]) -> list[Row]:
        """Run one statement in a transaction of its own. Raises StoreUnavailable."""
        with self._place_in_queue(), self._connection() as connection:
            return connection.execute(sql, parameters).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[Execute]:
        """Run several statements, all or none. Raises StoreUnavailable.

        It takes the write lock at once: a transaction that reads first and then writes fails,
        whatever the busy timeout, when another writer came between (SQLITE_BUSY_SNAPSHOT).
        """
        with self._place_in_queue(), self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield lambda sql, parameters: connection.execute(sql, parameters).fetchall()
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # SQLite itself rolls back on a full disk
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _place_in_queue(self) -> Iterator[None]:
        """While somebody else holds the file, writers wait for it; no more of them than leave
        threads for those who only read."""
        if not self._writers.acquire(blocking=False):
            raise StoreUnavailable("too many writers wait for the database")
        try:
            yield
        finally:
            self._writers.release()

    def backup(self, target: Path) -> None:
        """Write a consistent copy to a new private file while others read and write.

        Raises UnusableFile, and then leaves nothing behind.
        """
        try:
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except OSError as error:
            raise UnusableFile(f"The backup {target} cannot be made: {error.strerror}.") from None
        try:
            with self._connection() as source, closing(sqlite3.connect(target)) as copy:
                source.backup(copy)
                # A copy in WAL mode would need its directory to be writable even to be read.
                copy.execute("PRAGMA journal_mode = DELETE")
        except BaseException as error:
            target.unlink()
            if isinstance(error, StoreUnavailable):
                raise UnusableFile(f"The backup {target} cannot be made: {error.cause}.") from None
            raise

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        self._look()
        try:
            connection = self._take()
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            self._idle.append(connection)
        except sqlite3.Error as error:
            if _result_code(error) in _OPERATIONAL_CODES:
                raise StoreUnavailable(str(error)) from None
            raise

    def _take(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return self._connect(BUSY_TIMEOUT)

    def _look(self) -> None:
        """Once a second: is the file that we hold open still the one of that name?

        Writes to an unlinked file succeed, and are lost. Raises StoreUnavailable.
        """
        now = time.monotonic()
        if now < self._next_look:
            return
        try:
            is_same = _identity(self.path) == self._file
        except OSError:
            is_same = False
        if not is_same:
            raise StoreUnavailable(f"{self.path} was removed or replaced: restart")
        self._next_look = now + 1

    def _connect(self, busy_timeout: int) -> sqlite3.Connection:
        # mode=rw never makes a file, https://sqlite.org/uri.html. The pool hands a connection to
        # one thread at a time, hence check_same_thread=False.
        connection = sqlite3.connect(
            f"{self.path.as_uri()}?mode=rw",
            uri=True,
            timeout=busy_timeout / 1000,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            connection.execute("PRAGMA synchronous = FULL")  # an answered write survives power loss
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA trusted_schema = OFF")
        except BaseException:
            connection.close()
            raise
        return connection


_engines: "weakref.WeakSet[SQLite]" = weakref.WeakSet()


def _close_all() -> None:
    """A connection must not cross a fork: the child would inherit SQLite's belief in locks that it
    does not hold (https://sqlite.org/howtocorrupt.html section 2.6)."""
    for engine in list(_engines):
        engine.close()


os.register_at_fork(before=_close_all)


def inspect(path: Path) -> bool:
    """Whether a database file, read whole and not changed, has the newest schema.

    Raises UnusableStore when it is not ours, damaged or newer than this code.
    """
    try:
        with closing(_open_read_only(path)) as connection:
            _refuse_damaged(connection, path, max_pages=None)
            return _version(connection, path) == len(MIGRATIONS)
    except sqlite3.Error as error:
        raise _unusable(path, error) from None


def _unusable(path: Path, error: Exception) -> UnusableStore:
    reason = error.strerror if isinstance(error, OSError) else error
    return UnusableStore(f"The database {path} cannot be used: {reason}.")


def _create_private(path: Path) -> None:
    """Make the file, if there is none, for our eyes only; SQLite gives its WAL the same mode."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _result_code(error: sqlite3.Error) -> int:
    """The primary result code: extended codes keep it in their low byte."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _refuse_foreign(path: Path) -> None:
    """Opening for writing would already mend what another program left behind in a crash."""
    with path.open("rb") as file:
        header = file.read(100)
    if not header or header[68:72] == APPLICATION_ID.to_bytes(4, "big"):
        return
    if len(header) == 1:
        raise UnusableStore(f"The database {path} belongs to another program.")
    with closing(_open_read_only(path)) as connection:
        _version(connection, path)


def _open_read_only(path: Path) -> sqlite3.Connection:
    # mode=ro never makes a database, but a WAL: immutable, when nobody has it open, spares it.
    is_idle = not path.with_name(path.name + "-wal").exists()
    options = "mode=ro&immutable=1" if is_idle else "mode=ro"
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?{options}", uri=True, timeout=OPENING_TIMEOUT / 1000
    )


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the schema up to date, each migration in one transaction, whoever else starts too."""
    version = _version(connection, path)
    if version:
        _refuse_damaged(connection, path)
    _switch_to_wal(connection)
    while version < len(MIGRATIONS):
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = _version(connection, path)  # again, now that nobody else can be at it
            if version < len(MIGRATIONS):
                for statement in MIGRATIONS[version]:
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {version + 1}")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """The number of migrations that the file has seen. Raises UnusableStore if it is not ours."""
    # One statement, one state of the file: another process may be at its first migration.
    application_id, version, objects = connection.execute(
        """
        SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema)
        FROM pragma_application_id, pragma_user_version
        """
    ).fetchone()
    if application_id == APPLICATION_ID and 0 < version <= len(MIGRATIONS):
        return int(version)
    if application_id == APPLICATION_ID:
        raise UnusableStore(f"The database {path} was written by a newer restauth.")
    if application_id or version or objects:
        raise UnusableStore(f"The database {path} belongs to another program.")
    return 0


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Writers no longer block readers. The mode stays with the file.

    The switch needs the file alone and does not honour the busy timeout when two starts race for
    it: whoever loses tries again.
    """
    deadline = time.monotonic() + OPENING_TIMEOUT / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if _result_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _refuse_damaged(
    connection: sqlite3.Connection, path: Path, max_pages: int | None = MAX_PAGES_CHECKED
) -> None:
    """Raises UnusableStore. Larger files than `max_pages` are not read whole."""
    with closing(sqlite3.connect(":memory:")) as pattern:
        connection.execute("BEGIN")  # one state of the file: another process may be migrating it
        for migration in MIGRATIONS[: _version(connection, path)]:
            for statement in migration:
                pattern.execute(statement)
        found = _schema(connection)
        connection.execute("ROLLBACK")
        if found != _schema(pattern):
            raise UnusableStore(f"The tables of the database {path} are not as we made them.")
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    if max_pages is None or pages <= max_pages:
        (finding,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if finding != "ok":
            raise UnusableStore(f"The database {path} is damaged: {' '.join(finding.split())}.")


def _schema(connection: sqlite3.Connection) -> Sequence[Row]:
    return connection.execute(
        "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%' ORDER BY name"
    ).fetchall()
