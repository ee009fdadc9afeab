"""The SQLite engine: connections and transactions.

Rule: knows nothing of users. It never makes a database where one stood before, and it acknowledges
no write to a file that was removed or overwritten. Failures of the machine (locked, full, gone,
damaged) become `StoreUnavailable`. Every other error of the driver is a bug, and is not hidden.
"""

import math
import os
import sqlite3
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path

from restauth.errors import StoreUnavailable, UnusableFile
from restauth.gate import gate
from restauth.storage import sqlite_file
from restauth.storage.engine import MAX_WRITERS, Execute, Progress, Result, Row
from restauth.storage.sqlite_memory import MAX_ROWS, Answers
from restauth.storage.sqlite_watch import Opened, Watch
from restauth.storage.writer_queue import WriterQueue

BUSY_TIMEOUT = 1500  # ms that a request waits for other writers, before it is refused
MOMENT = 0.25  # seconds that another process may write, before threads are kept for readers
POLL_INTERVAL = 0.005  # seconds

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

_PASSING_CODES = {  # after them the connection is as useful as a new one
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
}

_NEXT_STEPS = {
    sqlite3.SQLITE_BUSY: "another process writes to it",
    sqlite3.SQLITE_CORRUPT: "stop the server and restore a copy (restauth restore)",
    sqlite3.SQLITE_FULL: "make space on its disk",
    sqlite3.SQLITE_IOERR: "look for a quota, a limit on the size of files, or a broken disk",
    sqlite3.SQLITE_NOTADB: "stop the server and restore a copy (restauth restore)",
}


class _Connection(sqlite3.Connection):
    """A connection of the pool, and what it has opened."""

    opened: Opened


class SQLite:
    """The engine on one database file, with a pool of connections.

    A connection serves one thread at a time and then goes back to the pool, so that a server with
    a thread for each request does not open a connection for each. One connection writes, for one
    thread after the other. Raises UnusableStore when the file belongs to another program, is
    damaged, is newer than this code, or cannot be made or written.
    """

    def __init__(self, path: Path, *, create: bool) -> None:
        self.path = path.resolve()  # by its own name: a link may come to point elsewhere
        self._idle: deque[_Connection] = deque()
        self._writing: deque[_Connection] = deque()  # none or one
        self._queue = WriterQueue(MAX_WRITERS)
        self._busy_since = self._last_busy = -math.inf  # when another process was seen to write
        _engines.add(self)
        self.identity = sqlite_file.prepare(self.path, self._connect, create=create)
        self._answers = Answers()
        self._watch = Watch(self.path, self.identity[1:])
        self._next_look = self._next_trial = 0.0
        self._failure: str | None = None  # of the last trial

    def read(self, sql: str, parameters: Mapping[str, object]) -> Sequence[Row]:
        """As the contract says. It is not run when the database is as it was when it ran before."""
        answers = self._answers.at(self._state())
        question = (sql, *parameters.items())
        rows = answers.get(question)
        if rows is None:
            rows = self._run(sql, parameters)
            if len(rows) <= MAX_ROWS:
                answers[question] = rows
        return rows

    def _run(self, sql: str, parameters: Mapping[str, object]) -> list[Row]:
        """In WAL mode hardly anything keeps a reader waiting: a process that has just crashed, or
        that closes the file as the last one."""
        with self._reader() as connection:
            try:
                return connection.execute(sql, parameters).fetchall()
            except sqlite3.OperationalError as error:
                if sqlite_file.result_code(error) != sqlite3.SQLITE_BUSY:
                    raise
            gate.before_waiting()
            connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
            try:
                return connection.execute(sql, parameters).fetchall()
            finally:
                connection.execute("PRAGMA busy_timeout = 0")

    def write(self, sql: str, parameters: Mapping[str, object]) -> Sequence[Row]:
        """As the contract says."""
        return self.transaction(lambda execute: execute(sql, parameters))

    def write_if_free(self, sql: str, parameters: Mapping[str, object]) -> None:
        """As the contract says. A commit with `synchronous = NORMAL` does not wait for the disk,
        except for one of many, which moves the WAL into the file."""
        gate.before_waiting()
        with suppress(StoreUnavailable), self._reader() as connection:
            connection.execute("PRAGMA synchronous = NORMAL")
            try:
                connection.execute(sql, parameters).fetchall()
            finally:
                connection.execute("PRAGMA synchronous = FULL")

    def transaction(self, work: Callable[[Execute], Result]) -> Result:
        """As the contract says; `work` is run once, because it holds the only write lock.

        The lock is taken at the start: a transaction that reads first and then writes fails at once
        when another writer came between (SQLITE_BUSY_SNAPSHOT), whatever the busy timeout.
        """
        gate.before_waiting()
        deadline = time.monotonic() + BUSY_TIMEOUT / 1000
        with self._queue.turn(BUSY_TIMEOUT / 1000), self._writer() as connection:
            self._watch.look(connection.opened)
            self._begin(connection, deadline)
            try:
                result = work(
                    lambda sql, parameters: connection.execute(sql, parameters).fetchall()
                )
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # on a full disk SQLite itself has rolled back
                    connection.execute("ROLLBACK")
                raise
            self._watch.look(connection.opened)  # else the write would be acknowledged, and lost
        return result

    def snapshot(self, work: Callable[[Execute], Result]) -> Result:
        """As the contract says."""
        with self._reader() as connection:
            connection.execute("BEGIN")
            try:
                return work(lambda sql, parameters: connection.execute(sql, parameters).fetchall())
            finally:
                connection.execute("ROLLBACK")

    def last_id(self, execute: Execute) -> int:
        """As the contract says."""
        ((number,),) = execute(
            "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'users'", {}
        )
        return int(number)

    def set_last_id(self, execute: Execute, number: int) -> None:
        """As the contract says."""
        execute(
            "INSERT INTO sqlite_sequence (name, seq) VALUES ('users', :number)", {"number": number}
        )

    def ping(self) -> None:
        """As the contract says. Anyone may ask for it, so there is one trial a second at most."""
        self._next_look = 0
        with self._reader():
            fault = sqlite_file.find_write_fault(self.path)
        if not fault and time.monotonic() >= self._next_trial:
            gate.before_waiting()
            self._next_trial = time.monotonic() + 1
            self._failure = self._try_to_write()
        fault = fault or self._failure
        if fault:
            raise StoreUnavailable(fault)

    def version(self) -> int:
        """As the contract says."""
        ((number,),) = self.read("SELECT user_version FROM pragma_user_version", {})
        return int(number)

    def backup(self, target: Path, progress: Progress | None = None) -> None:
        """As the contract says."""
        try:
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except OSError as error:
            raise UnusableFile(f"The backup {target} cannot be made: {error.strerror}.") from None
        try:
            with self._reader() as source, closing(sqlite3.connect(target)) as copy:
                # In one state of the database: else each write of others would begin it anew.
                source.execute("BEGIN")
                try:
                    source.execute("SELECT id FROM users LIMIT 1").fetchone()
                    sqlite_file.copy_pages(source, copy, progress)
                finally:
                    source.execute("ROLLBACK")
                # A copy in WAL mode could only be read in a directory that can be written.
                copy.execute("PRAGMA journal_mode = DELETE")
        except BaseException as error:
            target.unlink()
            if isinstance(error, StoreUnavailable):
                raise UnusableFile(f"The backup {target} cannot be made: {error.cause}.") from None
            raise

    def close(self) -> None:
        """As the contract says."""
        for pool in (self._idle, self._writing):
            with suppress(IndexError):  # other threads take from it too
                while True:
                    pool.pop().close()

    def _try_to_write(self) -> str | None:
        """Why a write fails now: only a write finds a full disk, a quota or a broken disk. While
        another one is under way, none has failed."""
        try:
            with self._reader() as connection:
                try:
                    connection.execute(sqlite_file.WRITE_NOTHING)
                except sqlite3.OperationalError as error:
                    if sqlite_file.result_code(error) != sqlite3.SQLITE_BUSY:
                        raise
        except StoreUnavailable as error:
            return error.cause
        return None

    def _begin(self, connection: _Connection, deadline: float) -> None:
        """Take the write lock of the file. SQLite's own busy handler would sleep longer each time,
        and so be overtaken by the writers of other processes.

        When one request has waited for BUSY_TIMEOUT in vain, those that come next try once: else
        each of them would wait as long, after the one before.
        """
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                busy_time = self._note_busy()
                is_late = time.monotonic() >= deadline or busy_time >= BUSY_TIMEOUT / 1000
                if is_late or sqlite_file.result_code(error) != sqlite3.SQLITE_BUSY:
                    raise
                if busy_time >= MOMENT:
                    self._queue.stand_still()
                time.sleep(POLL_INTERVAL)
            else:
                self._last_busy = -math.inf
                self._queue.go_on()
                return

    def _note_busy(self) -> float:
        """The seconds for which each try has found that another process writes."""
        now = time.monotonic()
        if now - self._last_busy > BUSY_TIMEOUT / 1000:
            self._busy_since = now
        self._last_busy = now
        return now - self._busy_since

    def _state(self) -> bytes | None:
        """Of the database now, as an idle connection sees it. It is no other thread's meanwhile, so
        it stays open."""
        try:
            connection = self._idle.pop()
        except IndexError:
            return None
        try:
            self._look_once_a_second(connection)
            return connection.opened.state()
        finally:
            self._idle.append(connection)

    def _reader(self) -> AbstractContextManager[_Connection]:
        return self._borrow(self._idle)

    def _writer(self) -> AbstractContextManager[_Connection]:
        return self._borrow(self._writing)

    @contextmanager
    def _borrow(self, pool: deque[_Connection]) -> Iterator[_Connection]:
        try:
            connection = self._take(pool)
            is_sound = True
            try:
                self._look_once_a_second(connection)
                yield connection
            except sqlite3.Error as error:
                code = sqlite_file.result_code(error)
                is_sound = code in _PASSING_CODES
                if code == sqlite3.SQLITE_READONLY:
                    self.close()  # all of them were opened when the file could not be written
                if not is_sound:
                    self._watch.look(connection.opened)  # "no such table", if it was emptied
                raise
            finally:
                # The last connection that is closed removes the WAL; on a full disk no new one
                # could be made, and nothing could be read.
                if is_sound and not connection.in_transaction:
                    pool.append(connection)
                else:
                    connection.close()
        except sqlite3.Error as error:
            code = sqlite_file.result_code(error)
            if code not in _OPERATIONAL_CODES:
                raise
            step = f": {_NEXT_STEPS[code]}" if code in _NEXT_STEPS else ""
            raise StoreUnavailable(f"the database {self.path}: {error}{step}") from None

    def _take(self, pool: deque[_Connection]) -> _Connection:
        try:
            return pool.pop()
        except IndexError:
            gate.before_waiting()
        header = self._watch.open_header()
        connection = self._connect(BUSY_TIMEOUT)
        try:
            connection.execute("PRAGMA schema_version").fetchall()  # reads, and so opens the WAL
            connection.execute("PRAGMA busy_timeout = 0")
            connection.opened = self._watch.open(header)
        except BaseException:
            connection.close()
            raise
        return connection

    def _look_once_a_second(self, connection: _Connection) -> None:
        now = time.monotonic()
        if now >= self._next_look:
            self._watch.look(connection.opened)
            self._next_look = now + 1

    def _connect(self, busy_timeout: int) -> _Connection:
        # mode=rw never makes a file (https://sqlite.org/uri.html). The pool gives a connection to
        # one thread at a time, so check_same_thread is not needed.
        connection: _Connection = sqlite3.connect(
            f"{self.path.as_uri()}?mode=rw",
            uri=True,
            timeout=busy_timeout / 1000,
            isolation_level=None,
            check_same_thread=False,
            factory=_Connection,
        )
        try:
            connection.execute("PRAGMA synchronous = FULL")  # a commit survives a power failure
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA trusted_schema = OFF")
            # What a long read of another program has let the WAL grow to is given back after it.
            connection.execute(f"PRAGMA journal_size_limit = {sqlite_file.USUAL_WAL}")
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
