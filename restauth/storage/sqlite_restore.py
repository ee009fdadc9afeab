"""Put a copy in the place of the SQLite database, or a new one where there is none.

Rule: whatever happens, there is one whole database at the end: the one before, or the copy. It is
replaced as a file and never written to, so a process that still has the old one open can do the new
one no harm. A database that is in use is not replaced, and a copy that is not ours and whole is not
put in its place.
"""

import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from restauth.errors import UnusableFile, UnusableStore
from restauth.storage import sqlite_file
from restauth.storage.engine import Progress


def restore(
    path: Path, copy: Path, before: Callable[[], None], progress: Progress | None = None
) -> None:
    """`before` is called when the copy is checked and ready, and the database is not in use;
    `progress` with percents before that.

    Raises UnusableStore, UnusableFile, and what `before` raises; then the database is as it was.
    """
    place = Path(os.path.realpath(path))
    try:
        if not sqlite_file.read_version(copy):  # an older one is brought up to date by the start
            raise UnusableStore(f"The copy {copy} is empty.")
        _refuse_place(place, copy)
        with _duplicate(copy, place.parent, progress) as duplicate, _unused(place):
            before()
            duplicate.rename(place)
            _sync(place.parent)
    except (OSError, sqlite3.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UnusableFile(f"{copy} cannot be restored to {path}: {reason}.") from None


@contextmanager
def new_database(path: Path) -> Iterator[Path]:
    """The name of a database to write and close. When it is whole, it gets the name `path`, and it
    replaces no file. Raises UnusableStore; then no file is left."""
    part = path.with_name(f"{path.name}.part")
    for name in (path, *_files_beside(path), part):  # an older WAL would be taken for the new one's
        if os.path.lexists(name):
            raise UnusableStore(f"There is a file {name.absolute()}: a copy replaces none.")
    try:
        yield part
        if any(name.exists() for name in _files_beside(part)):  # not all rows are in the file
            raise UnusableStore(
                f"{path.absolute()} cannot be made: the disk is full, or a program reads {part}."
            )
        os.link(part, path)  # unlike a renaming, it replaces no file
        _sync(path.absolute().parent)
    except OSError as error:
        raise UnusableStore(f"{path.absolute()} cannot be made: {error.strerror}.") from None
    finally:
        part.unlink(missing_ok=True)
        _remove_wal(part)


def _refuse_place(place: Path, copy: Path) -> None:
    """Raises OSError, UnusableStore, UnusableFile."""
    exists = place.exists()
    if exists and place.samefile(copy):
        raise UnusableFile(f"{copy} is the database itself: name a copy of it.")
    if exists and sqlite_file.is_foreign(place):
        raise UnusableStore(f"The database {place} belongs to another program.")
    # The server could not open a file that is private to another user.
    owner = (place if exists else place.parent).stat().st_uid
    if owner != os.geteuid() and (exists or os.geteuid() == 0):
        raise UnusableFile(f"{place} belongs to another user: run this command as that user.")


@contextmanager
def _duplicate(copy: Path, directory: Path, progress: Progress | None) -> Iterator[Path]:
    """A private and synced file in the directory, of the copy and of what stands in its WAL; it is
    removed at the end, unless it was renamed."""
    duplicate = directory / f".restore.{secrets.token_hex(8)}"
    try:
        os.close(os.open(duplicate, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with (
            closing(sqlite_file.open_read_only(copy)) as source,
            closing(sqlite3.connect(duplicate)) as target,
        ):
            sqlite_file.copy_pages(source, target, progress)
            target.execute("PRAGMA journal_mode = DELETE")
        _sync(duplicate)
        sqlite_file.read_version(duplicate)  # and once more: it is whole as well
        yield duplicate
    finally:
        duplicate.unlink(missing_ok=True)


@contextmanager
def _unused(place: Path) -> Iterator[None]:
    """Hold the database alone. Its WAL is merged into it and removed: beside another database, the
    WAL would be taken for that one's. Raises UnusableStore when a process has it open."""
    if not place.exists():
        _remove_wal(place)
        yield
        return
    with closing(sqlite3.connect(place, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("PRAGMA journal_mode = DELETE")  # fails when others have it open
            connection.execute("BEGIN EXCLUSIVE")
            (journal,) = connection.execute("PRAGMA journal_mode").fetchone()
            is_used = journal != "delete"  # another process was quicker, and has it in WAL mode
        except sqlite3.Error as error:
            code = sqlite_file.result_code(error)
            is_used = code == sqlite3.SQLITE_BUSY
            # Nothing can be merged into a damaged file. On a full disk, the WAL is still needed.
            if not is_used and code not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise
        if is_used:
            raise UnusableStore(f"The database {place} is in use: stop the server first.")
        _remove_wal(place)
        yield


def _files_beside(place: Path) -> list[Path]:
    return [place.with_name(place.name + suffix) for suffix in ("-wal", "-shm", "-journal")]


def _remove_wal(place: Path) -> None:
    for name in _files_beside(place):
        name.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
