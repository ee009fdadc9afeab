"""A private file that grows by whole lines, and that another program may move away (logrotate).

Rule: this file moves bytes, and raises OSError when it cannot. A new file has mode 0600 and the
owner of the database, no matter which user ran the command. No call waits for a pipe's reader.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path
from weakref import finalize

_APPEND = os.O_APPEND | os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC


class LogFile:
    """The file at `path`, opened at the first line. A new one gets the owner of the file
    `database`. It is closed when this object goes. One thread at a time may use it."""

    def __init__(self, path: Path, database: Path) -> None:
        self.path = path.absolute()
        self._database = database.absolute()
        self._descriptor: int | None = None
        self._is_torn = False  # a part of a line is at the end

    def check(self) -> None:
        """Return if a line could be written. No file is made."""
        if os.path.lexists(self.path):
            os.close(os.open(self.path, _APPEND))
            return
        directory = self.path.parent
        os.close(os.open(directory, os.O_RDONLY | os.O_DIRECTORY))
        if not os.access(directory, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def write(self, line: str) -> None:
        """Append one line of ASCII; of a line that finds no space, no part stays."""
        descriptor = self.follow()
        data = b"\n" * self._is_torn + line.encode("ascii") + b"\n"
        written = os.write(descriptor, data)
        if written < len(data):
            self._is_torn = not _take_back(descriptor, written) or self._is_torn
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._is_torn = False

    def follow(self) -> int:
        """The descriptor of the file that has the name now. If there is none, it is made."""
        if self._descriptor is not None and not self._is_current(self._descriptor):
            self.close()
        if self._descriptor is None:
            self._descriptor = self._open()
            self._closing = finalize(self, os.close, self._descriptor)
        return self._descriptor

    def close(self) -> None:
        """Close the file. The next line opens it again."""
        if self._descriptor is not None:
            self._closing()
        self._descriptor = None
        self._is_torn = False

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self.path))
        except OSError:
            return False

    def _open(self) -> int:
        with suppress(FileNotFoundError):
            return os.open(self.path, _APPEND)
        try:
            # O_EXCL follows no link: root must not give away a file that a link points to.
            descriptor = os.open(self.path, _APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:  # another process was faster
            return os.open(self.path, _APPEND)
        with suppress(OSError):  # only root can give a file away
            owner = os.stat(self._database)
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        return descriptor


def _take_back(descriptor: int, written: int) -> bool:
    """Remove the bytes that were written last. False when they stay: another process has written
    after them, or it is a pipe.

    A line that another process writes between the look and the cut would go with them. It would
    have to find the space that was missing a moment ago.
    """
    try:
        end = os.lseek(descriptor, 0, os.SEEK_CUR)  # an append leaves it after its own bytes
        is_last = os.fstat(descriptor).st_size == end
        if is_last:
            os.ftruncate(descriptor, end - written)
    except OSError:
        return False
    return is_last
