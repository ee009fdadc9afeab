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

from restauth.storage.engine import Row

MAX_ANSWERS = 500  # some 400 KiB
MAX_ROWS = 3  # of an answer that is kept: one row, or the failures of a name and a network

_SIZE = 48  # bytes of the header, which stands there twice
_VERSION = (3_007_000).to_bytes(4, sys.byteorder)
_SALTS = slice(32, 40)  # random, and new in each WAL
_NO_SALTS = bytes(8)


class WalIndex:
    """The WAL-index of an open database, by a descriptor of its file, whose name ends with `-shm`.
    Who has opened the descriptor closes it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._memory: mmap | bytes = b""
        with suppress(OSError, ValueError):  # too short, or no memory is left
            self._memory = mmap(descriptor, 2 * _SIZE, access=ACCESS_READ)

    def state(self) -> bytes | None:
        """It is equal only while no transaction was committed. None where it cannot be told: a
        commit is being written (first the second header, then the first); the form is not the one
        that we know; or the WAL was empty when SQLite built the index, which says nothing of what
        was written before."""
        headers = self._memory[: 2 * _SIZE]
        first = headers[:_SIZE]
        is_whole = first == headers[_SIZE:] and first[:4] == _VERSION
        return first if is_whole and first[_SALTS] != _NO_SALTS else None

    def is_of(self, name: str) -> bool:
        """Whether the file has that name now."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.stat(name))
        except OSError:
            return False


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
