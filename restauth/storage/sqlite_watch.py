"""Whether an open SQLite database is still the one that its name means.

Rule: looks and changes nothing. What is written to a file that was removed, emptied or overwritten
succeeds, and is lost. So a writer looks before it begins, and again before the write is
acknowledged. No look reads the tables.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from weakref import WeakValueDictionary, finalize

from restauth.errors import StoreUnavailable
from restauth.storage.sqlite_memory import WalIndex

Identity = tuple[int, int]  # device and inode: what a file stays, whatever its name

_MAGIC = b"SQLite format 3\0"
_WAL_MODE = b"\2\2"  # a copy made by `restauth backup` or by VACUUM INTO is not in WAL mode


class Header:
    """The first 100 bytes of the file (https://sqlite.org/fileformat.html section 1.3), as they are
    on the disk, without what stands in the WAL; and the WAL-index.

    Both files are opened once by a process, and stay open as long as one of its connections:
    closing them costs the process its locks on them
    (https://sqlite.org/howtocorrupt.html section 2.2).
    """

    def __init__(self, path: str) -> None:
        self._descriptor = self._open(path)
        self._newest = b""
        self._index: WalIndex | None = None

    def _open(self, path: str) -> int:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        # Not at the exit of the interpreter: threads may be in transactions then.
        finalize(self, os.close, descriptor).atexit = False
        return descriptor

    def index(self, path: str) -> WalIndex | None:
        """The WAL-index at `path`, for a connection that has just read, so that it is there. All
        connections of a process have one, as long as one of them is open. None where this is not
        sure, or the file cannot be opened."""
        with _headers_lock:
            if self._index is None:
                with suppress(OSError):
                    self._index = WalIndex(self._open(path))
            index = self._index
        return index if index and index.is_of(path) else None

    def is_plausible(self) -> bool:
        """Whether it can follow the header that was seen last. Its change counter never goes back,
        but in an older copy; it stands there twice, so half of a write is not taken for one."""
        header = os.pread(self._descriptor, 100, 0)
        counter = header[24:28]
        if counter == header[92:96]:
            if counter < self._newest:
                return False
            self._newest = counter
        return len(header) == 100 and header[:16] == _MAGIC and header[18:20] == _WAL_MODE


@dataclass(frozen=True, slots=True)
class Opened:
    """What a connection has opened."""

    header: Header
    wal: Identity | None
    index: WalIndex | None

    def state(self) -> bytes | None:
        """As that of the index."""
        return self.index.state() if self.index else None


class Watch:
    """Of the database at `path`, which has the `identity` since the start."""

    def __init__(self, path: Path, identity: Identity) -> None:
        self._path = str(path)
        beside = os.path.realpath(path)  # SQLite too puts them beside the file itself
        self._wal, self._index = f"{beside}-wal", f"{beside}-shm"
        self._identity = identity

    def look_at_name(self) -> None:
        """Raises StoreUnavailable when the name means another file."""
        if find_identity(self._path) != self._identity:
            raise StoreUnavailable(f"the database {self._path} was removed or replaced: restart")

    def open(self, header: Header) -> Opened:
        """For a connection that has just read: so it has opened the WAL. Raises
        StoreUnavailable."""
        opened = Opened(header, find_identity(self._wal), header.index(self._index))
        self.look(opened)
        return opened

    def look(self, opened: Opened) -> None:
        """Raises StoreUnavailable."""
        self.look_at_name()
        if not opened.header.is_plausible():
            raise StoreUnavailable(f"the database {self._path} was emptied or overwritten: restart")
        if opened.wal is None or find_identity(self._wal) != opened.wal:
            raise StoreUnavailable(f"the WAL {self._wal} was removed or replaced: restart")

    def open_header(self) -> Header:
        """To be held since before the connection is made: as long as one is held, none is closed.
        Raises StoreUnavailable."""
        self.look_at_name()
        with _headers_lock:
            header = _headers.get(self._identity)
            if header is None:
                try:
                    header = _headers[self._identity] = Header(self._path)
                except OSError as error:
                    raise StoreUnavailable(
                        f"the database {self._path} cannot be read: {error.strerror}"
                    ) from None
            return header


_headers: "WeakValueDictionary[Identity, Header]" = WeakValueDictionary()
_headers_lock = Lock()
# No thread of the child could release it.
os.register_at_fork(
    before=_headers_lock.acquire,
    after_in_parent=_headers_lock.release,
    after_in_child=_headers_lock.release,
)


def find_identity(name: str | Path) -> Identity | None:
    """Of the file that has the name now; None when there is none, or it cannot be seen."""
    try:
        status = os.stat(name)
    except OSError:
        return None
    return status.st_dev, status.st_ino
