"""What was read from an SQLite database, for as long as nobody writes to it.

Rule: rows are given again only while the database is in the state in which they were read. All
processes share the memory where SQLite keeps that state, the header of the WAL-index
(https://sqlite.org/walformat.html section 2.1). Each commit puts a new counter and a new checksum
there before it is acknowledged, and SQLite keeps its own cache of pages by the same bytes. To look
at them takes no statement, no system call and no change of threads.
"""

import os
import sys
from collections.abc import Hashable
from contextlib import suppress
from mmap import ACCESS_READ, mmap
from threading import Lock
from weakref import finalize

from restauth.storage.engine import Row

MAX_ANSWERS = 500  # some 400 KiB
MAX_ROWS = 3  # of an answer that is kept: one row, or the failures of a name and a network

_SIZE = 48  # bytes of the header, which stands there twice
_VERSION = (3_007_000).to_bytes(4, sys.byteorder)


class WalIndex:
    """The WAL-index of an open database: the file beside it whose name ends with `-shm`.

    It stays open until the file is removed, which SQLite does when the last connection of all
    processes is closed. To close it before would end the locks of this process on it
    (https://sqlite.org/howtocorrupt.html section 2.2).
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        finalize(self, os.close, descriptor)
        self._memory: mmap | bytes = b""
        with suppress(OSError, ValueError):  # too short, or no memory is left
            self._memory = mmap(descriptor, 2 * _SIZE, access=ACCESS_READ)

    def state(self) -> bytes | None:
        """It is equal only while no transaction was committed. None where it cannot be told: a
        commit is being written (first the second header, then the first), or the form is not the
        one that we know."""
        headers = self._memory[: 2 * _SIZE]
        first = headers[:_SIZE]
        is_whole = first == headers[_SIZE:] and first[:4] == _VERSION
        return first if is_whole else None

    def is_of(self, name: str) -> bool:
        """Whether the file has that name now."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.stat(name))
        except OSError:
            return False

    def is_removed(self) -> bool:
        """Whether the file has no name any more."""
        return not os.fstat(self._descriptor).st_nlink


_open: list[WalIndex] = []
_lock = Lock()


def open_index(name: str) -> WalIndex | None:
    """For a connection that has just read, so that the file is there. None where it is not: on a
    system that keeps the WAL-index elsewhere."""
    with _lock:
        for index in _open:
            if index.is_of(name):
                return index
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            return None
        _open.append(WalIndex(descriptor))
        return _open[-1]


def close_removed() -> None:
    """Close those whose file was removed, once no connection has them."""
    with _lock:
        _open[:] = [each for each in _open if not each.is_removed()]


class Answers:
    """The rows of the statements that were run last, in one state of the database. For all
    threads."""

    def __init__(self) -> None:
        self._kept: tuple[bytes | None, dict[Hashable, list[Row]]] = None, {}

    def at(self, state: bytes | None) -> dict[Hashable, list[Row]]:
        """The answers in that state, by their questions. Who asks reads the state first, and may
        add what it then finds: that is of this state or of a later one."""
        known, answers = self._kept
        if state is None:
            return {}
        if state != known or len(answers) >= MAX_ANSWERS:
            answers = {}
            self._kept = state, answers
        return answers
