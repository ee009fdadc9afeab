"""The key file: a private file that is read and replaced safely.

Rule: this file moves bytes; `core.jwk` knows what they mean. A reader sees the old bytes or the new
ones, never a part. Of two processes that create it at once, both use the file of the one that was
first. POSIX only.

A file is read only if nobody but root and its owner can have changed it, in one of two ways.
- It is **ours**: it belongs to the user of this process, is no link, and no other user can read or
  write it (mode 0600).
- It is **managed from outside**, as the secrets of Kubernetes and Docker are: this process is not
  root, and the file, each link and each directory on the way to it belong to root, who alone can
  write them. Who may read it is then root's decision. It is never changed from here.
A file that holds only public keys may be read by all, and may be a link if all names on the way to
it are root's or ours.
"""

import errno
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from restauth.errors import UnusableKeyRing
from restauth.storage.private_files import find_unguarded, is_mounted_alone

ROOT = 0
LOCK_TIMEOUT = 10  # seconds; a command holds the lock for some milliseconds
MAX_SIZE = 65_536  # bytes; a ring of a hundred keys has about 30,000


def find_place_fault(path: Path) -> str | None:
    """Why the file cannot be replaced, although it can be read."""
    if is_mounted_alone(path) and not KeyFile(path).is_managed():
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
        """A value that changes when the file is replaced (by a link to another one, too) or its
        mode is changed; None when there is no file, or it cannot be seen."""
        try:
            status = os.stat(self._name)
        except OSError:
            return None
        return status.st_dev, status.st_ino, status.st_ctime_ns

    def is_managed(self) -> bool:
        """Whether the file is managed from outside."""
        return self._find_weakness(is_public=False) is None

    def read(self, *, is_public: bool = False) -> bytes | None:
        """The bytes; None when there is no such file. With `is_public` others may be able to read
        it."""
        weakness = self._find_weakness(is_public=is_public)
        try:
            descriptor = self._open(os.O_NOFOLLOW if weakness else 0)
            try:
                self._refuse_unsafe(os.fstat(descriptor), weakness, is_public=is_public)
                return os.read(descriptor, MAX_SIZE)
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            return None
        except OSError as error:
            is_link = error.errno == errno.ELOOP
            reason = (
                f"is a link, and {weakness}" if is_link else f"cannot be read ({error.strerror})"
            )
            raise self._unusable(reason) from None

    def check_directory(self) -> None:
        """Return if the file could be made."""
        try:
            os.close(os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY))
        except OSError as error:
            raise self._unusable(f"cannot be made ({error.strerror})") from None
        if not os.access(self.path.parent, os.W_OK | os.X_OK):
            raise self._unusable(
                "does not exist, and cannot be made (Permission denied): put it there, or set "
                "RESTAUTH_KEY_FILE to a directory that this user can write"
            )

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
        if self.is_managed():
            raise self._unusable(
                "is managed from outside: use restauth key on the file that it is a copy of (set "
                "RESTAUTH_KEY_FILE), and replace the copies"
            )
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
            descriptor = self._open(os.O_NOFOLLOW)
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

    def _open(self, flags: int) -> int:
        # O_NOFOLLOW: the owner of a link can change where it points. O_NONBLOCK: a pipe must not
        # block us.
        return os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | flags)

    def _find_weakness(self, *, is_public: bool) -> str | None:
        """Why the names on the way to the file do not guard it; None if they do."""
        if os.geteuid() == ROOT and not is_public:
            return "restauth runs as root"
        try:
            unguarded = find_unguarded(self.path, {ROOT, os.geteuid()} if is_public else {ROOT})
        except OSError as error:
            return f"it cannot be followed ({error.strerror})"
        return f"{unguarded} can be changed by users other than root" if unguarded else None

    def _refuse_unsafe(
        self, status: os.stat_result, weakness: str | None, *, is_public: bool
    ) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise self._unusable("is not a regular file")
        if status.st_size > MAX_SIZE:
            raise self._unusable("is too large")
        if weakness is None:
            return
        if status.st_uid == ROOT != os.geteuid():
            raise self._unusable(f"belongs to root, and {weakness}")
        if status.st_uid != os.geteuid():
            raise self._unusable("belongs to another user: run restauth as that user")
        if is_public and status.st_mode & 0o022:
            raise self._unusable("can be written by other users: chmod go-w")
        if not is_public and status.st_mode & 0o077:
            raise self._unusable(
                "can be read or written by other users: if it is a key ring, chmod 600"
            )

    def _sync_directory(self) -> None:
        descriptor = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _unusable(self, reason: str) -> UnusableKeyRing:
        return UnusableKeyRing(f"The key ring {self.path} {reason}.")
