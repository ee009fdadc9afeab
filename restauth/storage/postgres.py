"""The PostgreSQL engine: connections, transactions, retries.

Rule: knows nothing of users. Transactions are SERIALIZABLE: their result is as if they had run one
after the other, and what the server turns down because of a conflict is run again here. Failures of
the server (away, full, read-only, too slow) become `StoreUnavailable`. Every other error of the
driver is a bug, and is not hidden. This file is imported only for a PostgreSQL database.
"""

import math
import os
import re
import secrets
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from threading import Semaphore
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.errors import DeadlockDetected, Diagnostic, SerializationFailure
from psycopg.pq import TransactionStatus

from restauth.errors import StoreUnavailable, UnusableFile, UnusableStore
from restauth.gate import gate
from restauth.storage import postgres_database
from restauth.storage.engine import MAX_WRITERS, Execute, Progress, Result, Row
from restauth.storage.postgres_database import first_line

PATIENCE = 1.5  # seconds in which a statement is answered, and after which no retry begins
MAX_READERS = 8  # connections of a process for reads, beside MAX_WRITERS for transactions
PAUSE = 0.1  # seconds after a failed connection in which no other one is tried

# SQLSTATEs, or their classes, of a server that cannot do its work now: not bugs.
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_OPERATIONAL = (
    "08",  # the connection
    "25",  # read-only, or ended because it was idle
    "28",  # the role may not connect
    "3D",  # no such database
    "40",  # conflicts, again and again
    "42501",  # a right was taken away
    "42P01",  # a table is gone
    "53",  # the disk is full, or too many connections
    "55",  # locked
    "57",  # stopped, starting, or out of time
    "58",  # input and output
    "XX",  # damaged
)
# Of these, the server ends the connection, or takes no writes any more.
_OF_A_LOST_SERVER = ("08", "25", "57P")
_CONFLICTS = (SerializationFailure, DeadlockDetected)

_BEGIN = "BEGIN ISOLATION LEVEL SERIALIZABLE"
# For one transaction alone: behind PgBouncer, others share the session. The server ends what waits
# for a lock before the client gives up, and the transaction of a client that has vanished. No
# statement timeout, not even the role's: it would end COMMIT's wait for a standby with a success.
_LIMITS = """
    SELECT set_config('lock_timeout', '1000', true), set_config('statement_timeout', '0', true),
        set_config('idle_in_transaction_session_timeout', '2000', true)
"""
_LIMITS_OF_WHAT_MAY_BE_LOST = """
    SELECT set_config('lock_timeout', '1', true), set_config('synchronous_commit', 'off', true)
"""

Value = TypeVar("Value")


class _NoAnswer(psycopg.OperationalError):
    """The server did not answer in time."""


class _Connection(psycopg.Connection[Row]):
    """A connection that does not wait for a server for ever."""

    patience = PATIENCE

    def wait(self, gen: PQGen[Value], *arguments: Any, **keywords: Any) -> Value:
        """As the driver's, with a deadline. After it, the connection is of no use any more."""
        steps = _until(time.monotonic() + self.patience, gen)
        try:
            return super().wait(steps, *arguments, **keywords)
        except _NoAnswer:
            self.close()
            raise

    @property
    def is_read_only(self) -> bool:
        """Whether the server has said that it takes no writes, because it is not the primary now.
        It says so with any answer, without being asked (PostgreSQL 14)."""
        said = self.pgconn.parameter_status
        return b"on" in (said(b"in_hot_standby"), said(b"default_transaction_read_only"))


class _Pool:
    """Connections, each for one thread at a time; they are opened when they are needed."""

    def __init__(self, connect: Callable[[], _Connection], size: int) -> None:
        self._connect = connect
        self._places = Semaphore(size)
        self._idle: deque[_Connection] = deque()

    @contextmanager
    def borrow(self, patience: float) -> Iterator[_Connection]:
        """A connection, when one is free within so many seconds. Raises StoreUnavailable."""
        gate.before_waiting()  # each statement waits for the network
        if not self._places.acquire(timeout=patience):
            raise StoreUnavailable("all connections to the database are in use")
        try:
            connection = self._take()
            try:
                yield connection
            finally:
                self._put_back(connection)
        finally:
            self._places.release()

    def close(self) -> None:
        """Close the idle ones."""
        with suppress(IndexError):  # other threads take from it too
            while True:
                self._idle.pop().close()

    def _take(self) -> _Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return self._connect()

    def _put_back(self, connection: _Connection) -> None:
        is_idle = connection.pgconn.transaction_status == TransactionStatus.IDLE
        if is_idle and not connection.is_read_only:
            self._idle.append(connection)
        else:
            connection.close()


class _Transaction:
    """Runs statements. The first one begins the transaction, in the same round trip."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self._has_begun = False

    def execute(self, sql: str, parameters: Mapping[str, object]) -> list[Row]:
        """As the contract's `Execute`."""
        if self._has_begun:
            return _rows(self._connection.execute(_translate(sql), parameters))
        self._has_begun = True
        with self._connection.pipeline():
            self._connection.execute(_BEGIN)
            self._connection.execute(_LIMITS)
            cursor = self._connection.execute(_translate(sql), parameters)
        return _rows(cursor)

    def commit(self) -> None:
        """When the connection is lost now, the transaction has perhaps taken effect, so it is not
        run again. Neither is it acknowledged where the server warns: its wait for a standby was
        cancelled, and a failover would lose it. Raises StoreUnavailable, and conflicts."""
        if not self._has_begun:
            return
        warnings: list[Diagnostic] = []
        self._connection.add_notice_handler(warnings.append)
        try:
            self._connection.execute("COMMIT")
        except _CONFLICTS:
            raise
        except psycopg.Error as error:
            raise StoreUnavailable(f"no answer to a commit: {first_line(error)}") from None
        finally:
            self._connection.remove_notice_handler(warnings.append)
        if warnings:
            raise StoreUnavailable(f"a commit in doubt: {warnings[0].message_primary}")

    def roll_back(self) -> None:
        """Undo it. Where the connection is lost, the server does."""
        with suppress(psycopg.Error):
            self._connection.execute("ROLLBACK")


class PostgreSQL:
    """The engine on one database. Its URL may name several servers, of which one is the primary.

    Raises UnusableStore when the database cannot be reached or used, belongs to another program, or
    is newer than this code.
    """

    def __init__(self, url: str, *, create: bool) -> None:
        self._parameters = postgres_database.parameters_of(url)
        self._failed_at = -math.inf
        self._readers = _Pool(self._connect, MAX_READERS)
        self._writers = _Pool(self._connect, MAX_WRITERS)
        _engines.add(self)
        try:
            with self._writers.borrow(PATIENCE) as connection:
                connection.patience = postgres_database.OPENING_TIMEOUT
                self.identity = postgres_database.prepare(connection, create=create)
                connection.patience = PATIENCE
        except (StoreUnavailable, UnusableStore, psycopg.Error) as error:
            self.close()
            raise postgres_database.unusable(url, error) from None

    def read(self, sql: str, parameters: Mapping[str, object]) -> Sequence[Row]:
        """As the contract says, in one round trip."""
        statement = _translate(sql)
        return self._run(
            self._readers, lambda connection: connection.execute(statement, parameters).fetchall()
        )

    def write(self, sql: str, parameters: Mapping[str, object]) -> Sequence[Row]:
        """As the contract says."""
        return self.transaction(lambda execute: execute(sql, parameters))

    def write_if_free(self, sql: str, parameters: Mapping[str, object]) -> None:
        """As the contract says. With `synchronous_commit = off` a commit does not wait for the
        disk."""
        try:
            with self._writers.borrow(0) as connection, connection.pipeline():
                connection.execute(_BEGIN)
                connection.execute(_LIMITS_OF_WHAT_MAY_BE_LOST)
                connection.execute(_translate(sql), parameters)
                connection.execute("COMMIT")
        except StoreUnavailable:
            return
        except psycopg.Error as error:
            if not _is_operational(error):
                raise

    def transaction(self, work: Callable[[Execute], Result]) -> Result:
        """As the contract says."""

        def attempt(connection: _Connection) -> Result:
            transaction = _Transaction(connection)
            try:
                result = work(transaction.execute)
            except BaseException:
                transaction.roll_back()
                raise
            transaction.commit()
            return result

        return self._run(self._writers, attempt)

    def snapshot(self, work: Callable[[Execute], Result]) -> Result:
        """As the contract says."""

        def attempt(connection: _Connection) -> Result:
            with connection.transaction():
                connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                return work(
                    lambda sql, parameters: _rows(connection.execute(_translate(sql), parameters))
                )

        return self._run(self._readers, attempt)

    def last_id(self, execute: Execute) -> int:
        """As the contract says."""
        ((number,),) = execute(
            """
            SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('users', 'id')), 0)
            """,
            {},
        )
        return int(number)

    def set_last_id(self, execute: Execute, number: int) -> None:
        """As the contract says. A transaction that is undone leaves a counter where it has come to,
        unless it has restarted it before."""
        execute("ALTER TABLE users ALTER COLUMN id RESTART", {})
        execute("SELECT setval(pg_get_serial_sequence('users', 'id'), :number)", {"number": number})

    def ping(self) -> None:
        """As the contract says: no connection leads to a server that takes no writes."""
        self.read("SELECT 1", {})

    def version(self) -> int:
        """As the contract says."""
        ((number,),) = self.read("SELECT version FROM restauth_schema", {})
        return int(number)

    def backup(self, target: Path, progress: Progress | None = None) -> None:
        """PostgreSQL has programs of its own for this. Raises UnusableFile."""
        raise UnusableFile(
            f"The backup {target} is not made: the database is PostgreSQL's, and pg_dump copies it."
        )

    def close(self) -> None:
        """As the contract says."""
        self._readers.close()
        self._writers.close()

    def _run(self, pool: _Pool, attempt: Callable[[_Connection], Result]) -> Result:
        """Try, and try again after a conflict, or with a new connection in place of a lost one."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with pool.borrow(PATIENCE) as connection:
                    return attempt(connection)
            except psycopg.Error as error:
                if not _is_operational(error):
                    raise
                # In this order: of a server that did not answer in time, no connection is kept.
                if not self._may_pass(error) or time.monotonic() > deadline:
                    raise StoreUnavailable(first_line(error)) from None

    def _may_pass(self, error: psycopg.Error) -> bool:
        """Whether the next attempt may succeed."""
        if isinstance(error, _CONFLICTS):
            time.sleep(secrets.randbelow(20) / 1000)  # or the same two would meet again
            return True
        if error.sqlstate is None or error.sqlstate.startswith(_OF_A_LOST_SERVER):
            self.close()  # the idle connections lead to the same server
            return True
        return False

    def _connect(self) -> _Connection:
        """Open a connection. While the server is away, all threads but one are told so at once."""
        if time.monotonic() < self._failed_at + PAUSE:
            raise StoreUnavailable("the database could not be reached a moment ago")
        try:
            connection = _Connection.connect(**self._parameters)
            # A pooler has session numbers of its own. It may give each transaction another session,
            # where a statement that was prepared in the last one is unknown.
            ((number,),) = connection.execute("SELECT pg_backend_pid()").fetchall()
        except psycopg.Error as error:
            self._failed_at = time.monotonic()
            raise StoreUnavailable(first_line(error)) from None
        if connection.is_read_only:
            connection.close()
            raise StoreUnavailable("the server takes no writes: it is a standby")
        if number != connection.info.backend_pid:
            connection.prepare_threshold = None
        return connection


def _rows(cursor: psycopg.Cursor[Row]) -> list[Row]:
    return cursor.fetchall() if cursor.description else []


@lru_cache
def _translate(sql: str) -> bytes:
    """With the driver's form of parameters."""
    return re.sub(r":([a-z_]+)", r"%(\1)s", sql.replace("%", "%%")).encode()


def _until(deadline: float, work: PQGen[Value]) -> PQGen[Value]:
    """The steps of the driver, which is called every now and then while it waits."""
    try:
        wanted = next(work)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > deadline:
                raise _NoAnswer("the server did not answer in time")
            wanted = work.send(ready)
    except StopIteration as stop:
        result: Value = stop.value
        return result


def _is_operational(error: psycopg.Error) -> bool:
    if error.sqlstate:
        return error.sqlstate.startswith(_OPERATIONAL)
    return isinstance(error, psycopg.OperationalError)  # the driver's own: the connection is lost


_engines: "weakref.WeakSet[PostgreSQL]" = weakref.WeakSet()


def _close_all() -> None:
    """A connection must not cross a fork: two processes would read each other's answers."""
    for engine in list(_engines):
        engine.close()


os.register_at_fork(before=_close_all)
