"""The key file: a private file that is read and replaced safely.

Rule: this file moves bytes; `core.jwk` knows what they mean. A file that another user could have
read or written is refused. A reader sees the old bytes or the new ones, never a part. Of two
processes that create it at once, both use the file of the one that was first. POSIX only.
"""

import fcntl
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from restauth.errors import UnusableKeyRing
from restauth.storage.private_files import is_mounted_alone

LOCK_TIMEOUT = 10  # seconds; a command holds the lock for some milliseconds
MAX_SIZE = 65_536  # bytes; a ring of a hundred keys has about 30,000


def find_place_fault(path: Path) -> str | None:
    """Why the file cannot be replaced, although it can be read."""
    if is_mounted_alone(path):
        return (
            f"The key ring {path} is mounted as a single file, which cannot be replaced: restauth "
            "key rotate fails. Mount the directory."
        )
    return None


class KeyFile:
    """The file at `path`. Every method may raise UnusableKeyRing."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._name = str(self.path)  # `version` runs once a request: no conversion there

    def version(self) -> tuple[int, ...] | None:
        """A value that changes when the file is replaced or its mode is changed; None when there is
        no file, or it cannot be seen."""
        try:
            status = os.lstat(self._name)
        except OSError:
            return None
        return status.st_dev, status.st_ino, status.st_ctime_ns

    def read(self) -> bytes | None:
        """The bytes; None when there is no such file."""
        try:
            # O_NOFOLLOW: the owner of a link can change where it points. O_NONBLOCK: a pipe must
            # not block us.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                self._refuse_unsafe(os.fstat(descriptor))
                return os.read(descriptor, MAX_SIZE)
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(f"cannot be read ({error.strerror})") from None

    def check_directory(self) -> None:
        """Return if the file could be made."""
        try:
            os.close(os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY))
        except OSError as error:
            raise self._unusable(f"cannot be made ({error.strerror})") from None
        if not os.access(self.path.parent, os.W_OK | os.X_OK):
            raise self._unusable("cannot be made (Permission denied)")

    def create(self, content: bytes) -> None:
        """Make the file with this content, unless another process has just made it."""
        with self._temporary(content) as temporary:
            with suppress(FileExistsError):
                os.link(temporary, self.path)  # atomic, and fails when the name exists
            self._sync_directory()

    def replace(self, content: bytes) -> None:
        """Replace the file by one with this content. Hold `lock` since before the file was read."""
        if len(content) > MAX_SIZE:  # it could not be read again, not even to prune it
            raise self._unusable("would become too large: prune or revoke old keys first")
        with self._temporary(content) as temporary:
            os.rename(temporary, self.path)
            self._sync_directory()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Let no other command change the file between a read and a replace.

        The lock is on the file itself: nobody but its owner can open it, and so hold the lock. A
        missing file needs no lock, because it is not replaced.
        """
        try:
            os.stat(self.path.parent)
            descriptor = self._wait_for_lock() if os.path.lexists(self.path) else None
        except OSError as error:
            raise self._unusable(f"cannot be locked ({error.strerror})") from None
        try:
            yield
        finally:
            if descriptor is not None:
                os.close(descriptor)

    @contextmanager
    def _temporary(self, content: bytes) -> Iterator[Path]:
        """A synced private file next to ours; it is removed at the end, unless it was renamed."""
        temporary = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}")
        try:
            descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            try:
                with open(descriptor, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(descriptor)
                yield temporary
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise self._unusable(f"cannot be written ({error.strerror})") from None

    def _wait_for_lock(self) -> int:
        """The descriptor that holds the lock. Raises OSError; UnusableKeyRing at the deadline."""
        deadline = time.monotonic() + LOCK_TIMEOUT
        while True:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with suppress(BlockingIOError), ExitStack() as failed:
                failed.callback(os.close, descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Else it was replaced before it was locked, and the lock is on the old file.
                if os.path.samestat(os.fstat(descriptor), os.lstat(self.path)):
                    failed.pop_all()
                    return descriptor
            if time.monotonic() > deadline:
                raise self._unusable("is being changed by another command")
            time.sleep(0.02)

    def _refuse_unsafe(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise self._unusable("is not a regular file")
        if status.st_uid != os.geteuid():
            raise self._unusable("belongs to another user")
        if status.st_mode & 0o077:
            raise self._unusable("can be read or written by other users: chmod 600")
        if status.st_size > MAX_SIZE:
            raise self._unusable("is too large")

    def _sync_directory(self) -> None:
        descriptor = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _unusable(self, reason: str) -> UnusableKeyRing:
        return UnusableKeyRing(f"The key ring {self.path} {reason}.")
