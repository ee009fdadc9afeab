"""The SQLite file: make it, recognise it as ours, bring its schema up to date, check it.

Rule: a file of another program is never changed, and neither is one that is newer than this code. A
file is made only where there is none. Everything here happens at a start or in `restauth check`,
never during a request.
"""

import errno
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

from restauth.errors import UnusableStore
from restauth.records import Finding
from restauth.storage.engine import Progress, Row
from restauth.storage.private_files import (
    can_access,
    check_directory,
    check_missing,
    check_mode,
    is_full,
    is_mounted_alone,
)
from restauth.storage.schema import APPLICATION_ID, MIGRATIONS, ROLES_OF_ALL
from restauth.storage.sqlite_watch import find_identity

OPENING_TIMEOUT = 30_000  # ms that a start waits: another process may be migrating the file
MAX_PAGES_CHECKED = 16_384  # 64 MiB are checked at each start; `restauth check` reads all of it

Identity = tuple[str, int, int]  # name, device and inode

# Sets what is set: SQLite writes a page of it to the WAL all the same.
WRITE_NOTHING = f"PRAGMA application_id = {APPLICATION_ID}"
LARGEST_WRITE = 64 * 1024  # bytes that a request adds to the WAL, with much to spare

USUAL_WAL = 8 * 2**20  # bytes; twice what SQLite writes to a WAL before it begins anew
LARGE_WAL = 8 * USUAL_WAL
COPIED_AT_ONCE = 1000  # pages, 4 MB


def prepare(path: Path, connect: Callable[[int], sqlite3.Connection], *, create: bool) -> Identity:
    """Make the file if asked and needed, refuse it if it is not ours, and migrate it.

    `connect` opens it for writing, with a busy timeout in ms. Raises UnusableStore.
    """
    try:
        if create:
            _create_private(path)
        identity = identity_of(path)
        _refuse_foreign(path)
        fault = _find_link_fault(path) or find_write_fault(path)
        if fault:
            raise UnusableStore(fault)
        with closing(connect(OPENING_TIMEOUT)) as connection:
            _migrate(connection, path)
    except (OSError, sqlite3.Error) as error:
        raise _unusable(path, error) from None
    return identity


def identity_of(path: Path) -> Identity:
    """What changes when another file takes the name, or the file gets another name. Raises
    OSError."""
    status = path.stat()
    return str(path), status.st_dev, status.st_ino


def find_write_fault(path: Path) -> str | None:
    """Why this process cannot write the file, or make a WAL beside it. SQLite itself opens such a
    file without a complaint, and fails at the first write."""
    real = Path(os.path.realpath(path))
    beside = [real.with_name(real.name + suffix) for suffix in ("-wal", "-shm")]
    for each in (path, *beside, real.parent):
        before = find_identity(each)
        # The files beside it come with the first connection and go with the last one.
        if not can_access(each, os.W_OK) and before and find_identity(each) == before:
            return f"The database {path} cannot be used: {each} is read-only for this user."
    return None


def _find_link_fault(path: Path) -> str | None:
    """https://sqlite.org/howtocorrupt.html section 2.5."""
    if path.stat().st_nlink == 1:
        return None
    return f"The database {path} has a second name, a hard link: SQLite would lose writes."


def is_lost(path: Path, made_after: Path) -> bool:
    """Whether the file has gone or was emptied, because `made_after` exists, which a start makes
    after the file.

    Where `made_after` is in another directory, it may have been put there before the first start,
    and then no file is to be expected yet.
    """
    if not os.path.lexists(made_after):
        return False
    if path.exists():
        return path.is_file() and path.stat().st_size == 0
    return path.absolute().parent.resolve() == made_after.absolute().parent.resolve()


def find_place_fault(path: Path) -> str | None:
    """Why what is written may be lost, although the file itself is as it must be."""
    if is_mounted_alone(path):
        return (
            f"The database {path.absolute()} is mounted as a single file: the newest writes are in "
            "a file beside it, which is not. Mount the directory."
        )
    return None


def result_code(error: sqlite3.Error) -> int:
    """The primary result code; an extended code has it in its low byte."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def is_up_to_date(path: Path) -> bool:
    """Whether the file, which is read whole and not changed, has the newest schema.

    Raises UnusableStore when it is not ours, damaged, or newer than this code.
    """
    return read_version(path.absolute()) == len(MIGRATIONS)


def read_version(path: Path) -> int:
    """How many migrations the file has seen; 0 for an empty one. Otherwise as `is_up_to_date`."""
    try:
        with closing(open_read_only(path)) as connection:
            _refuse_damaged(connection, path, max_pages=None)
            return _version(connection, path)
    except (OSError, sqlite3.Error) as error:
        raise _unusable(path, error) from None


def has_users(path: Path) -> bool:
    """Whether the file has users, as far as it can be read."""
    try:
        with closing(open_read_only(path)) as connection:
            return bool(connection.execute("SELECT id FROM users LIMIT 1").fetchall())
    except (OSError, UnusableStore, sqlite3.Error):
        return False


def find_roles(path: Path) -> set[str]:
    """All roles that users have. Raises UnusableStore."""
    try:
        with closing(open_read_only(path)) as connection:
            rows = connection.execute(ROLES_OF_ALL).fetchall()
    except (OSError, sqlite3.Error) as error:
        raise UnusableStore(f"The database {path} cannot be read: {error}.") from None
    return {role for (roles,) in rows for role in roles.split(",")}


def is_foreign(path: Path) -> bool:
    """Whether the file is a whole database of another program."""
    try:
        with closing(open_read_only(path)) as connection:
            application_id, objects = connection.execute(
                "SELECT application_id, (SELECT count(*) FROM sqlite_schema) "
                "FROM pragma_application_id"
            ).fetchone()
    except sqlite3.Error:
        return False
    return bool(application_id != APPLICATION_ID and (application_id or objects))


def check(path: Path) -> Iterator[Finding]:
    """What the operator should know of the file; it is not changed. A server that runs may still
    have another one open, under the same name."""
    path = path.absolute()
    if not os.path.lexists(path):
        yield from check_missing(path, "database")
        return
    try:
        is_current = is_up_to_date(path)
    except UnusableStore as error:
        yield Finding("error", str(error))
    else:
        yield Finding(
            "ok",
            f"The database {path} belongs to restauth and is undamaged. Whether a running server "
            "can use it, /api/health says.",
        )
        if not is_current:
            yield Finding("warning", f"The next start brings the database {path} up to date.")
        for fault in (_find_link_fault(path), find_write_fault(path), find_place_fault(path)):
            if fault:
                yield Finding("error", fault)
        if is_full(path, LARGEST_WRITE):
            yield Finding("error", f"The disk of the database {path} is full.")
        yield from _check_wal(path)
    yield from check_modes(path)
    yield from check_directory(path)


def check_modes(path: Path) -> Iterator[Finding]:
    """Whether other users can read or write the file, or its WAL."""
    path = path.absolute()
    yield from check_mode(path)
    yield from check_mode(path.with_name(path.name + "-wal"))


def _check_wal(path: Path) -> Iterator[Finding]:
    wal = Path(os.path.realpath(path) + "-wal")
    try:
        size = wal.stat().st_size
    except FileNotFoundError:
        return
    if size > LARGE_WAL:
        yield Finding(
            "warning",
            f"{wal} has {size // 2**20} MiB: another program has read the database for a long time "
            "without an end.",
        )


def _unusable(path: Path, error: Exception) -> UnusableStore:
    reason = error.strerror if isinstance(error, OSError) else error
    step = " Run restauth as its user." if isinstance(error, PermissionError) else ""
    return UnusableStore(f"The database {path} cannot be used: {reason}.{step}")


def _create_private(path: Path) -> None:
    """Make the file, if there is none, with mode 0600; SQLite gives its WAL the same mode."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _refuse_foreign(path: Path) -> None:
    """Checked before the file is opened for writing: SQLite would then repair what a crash of the
    other program has left. Raises UnusableStore."""
    with closing(open_read_only(path)) as connection:
        _version(connection, path)


def copy_pages(
    source: sqlite3.Connection, target: sqlite3.Connection, progress: Progress | None
) -> None:
    """Copy a whole database. `progress` is called with percents. Raises sqlite3.Error."""

    def tell(_: int, remaining: int, total: int) -> None:
        if progress:
            progress(100 * (total - remaining) // total)

    source.backup(target, pages=COPIED_AT_ONCE, progress=tell)


def open_read_only(path: Path) -> sqlite3.Connection:
    """A connection that makes and changes nothing. Raises OSError; UnusableStore for what is no
    regular file, and for a file of one byte, which SQLite takes for an empty one.

    Nothing but SQLite opens the file: a process that closes it loses all of its locks on it, those
    of its other connections too (https://sqlite.org/howtocorrupt.html section 2.2).
    """
    status = path.stat()
    if not can_access(path, os.R_OK):  # SQLite would not say why
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    if not stat.S_ISREG(status.st_mode):  # to open a named pipe would wait for its other end
        raise UnusableStore(f"The database {path} cannot be used: it is not a regular file.")
    if status.st_size == 1:
        raise UnusableStore(f"The database {path} belongs to another program.")
    # mode=ro makes no database, but it makes a WAL. immutable=1 does not, when no process has the
    # file open.
    is_idle = not os.path.exists(os.path.realpath(path) + "-wal")
    options = "mode=ro&immutable=1" if is_idle else "mode=ro"
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?{options}", uri=True, timeout=OPENING_TIMEOUT / 1000
    )


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the schema up to date, each migration in one transaction. Others may start too."""
    version = _version(connection, path)
    if version:
        _refuse_damaged(connection, path)
    _switch_to_wal(connection)
    while version < len(MIGRATIONS):
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = _version(connection, path)  # again, now that no other process can migrate
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
    """How many migrations the file has seen. Raises UnusableStore if it is not ours."""
    # One statement reads one state of the file: another process may be at its first migration.
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
    """In WAL mode, writers do not block readers. The file remembers the mode.

    The switch needs the file alone, and ignores the busy timeout when two starts compete: the one
    that loses tries again.
    """
    deadline = time.monotonic() + OPENING_TIMEOUT / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if result_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _refuse_damaged(
    connection: sqlite3.Connection, path: Path, max_pages: int | None = MAX_PAGES_CHECKED
) -> None:
    """Raises UnusableStore. A file of more than `max_pages` is not read whole."""
    with closing(sqlite3.connect(":memory:")) as pattern:
        connection.execute("BEGIN")  # one state of the file: another process may be migrating it
        for migration in MIGRATIONS[: _version(connection, path)]:
            for statement in migration:
                pattern.execute(statement)
        found = _schema(connection)
        connection.execute("ROLLBACK")
        if found != _schema(pattern):
            raise UnusableStore(f"The tables of the database {path} were changed.")
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    if max_pages is None or pages <= max_pages:
        (finding,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if finding != "ok":
            raise UnusableStore(f"The database {path} is damaged: {' '.join(finding.split())}.")


def _schema(connection: sqlite3.Connection) -> Sequence[Row]:
    return connection.execute(
        "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%' ORDER BY name"
    ).fetchall()
