"""Findings about who can read or replace a file of ours.

Rule: looks at modes, directories and mounts, and changes nothing.
"""

import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from restauth.records import Finding

MOUNTS = Path("/proc/self/mountinfo")  # Linux alone has it: proc(5)


def check_mode(path: Path) -> Iterator[Finding]:
    """An error when other users can read or write the file. Nothing for a missing file."""
    if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
        yield Finding("error", f"Other users can read or write {path}: chmod 600.")


def check_log_mode(path: Path) -> Iterator[Finding]:
    """A warning when everyone can read the file, or write to it: it has no secret, but addresses. A
    group may read it, because programs that rotate logs set one."""
    if path.is_file() and path.stat().st_mode & 0o007:
        yield Finding("warning", f"Everyone can read or write {path}: chmod o-rwx.")


def check_managed_mode(path: Path) -> Iterator[Finding]:
    """A warning when everyone can read the file. In a container that is no other user."""
    if path.stat().st_mode & 0o004:
        yield Finding(
            "warning", f"All users of this machine can read {path}. In a container, that is fine."
        )


def can_access(path: Path, mode: int) -> bool:
    """`os.access`, for the user as which this process acts."""
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def is_full(path: Path, needed: int = 1) -> bool:
    """Whether the file system has no place for so many more bytes of a regular file. What is kept
    for root counts for root. A quota of the user is not seen."""
    if path.exists() and not path.is_file():
        return False
    status = os.statvfs(path if path.exists() else path.absolute().parent)
    free = status.f_bavail if os.geteuid() else status.f_bfree
    return free * status.f_frsize < needed


def check_directory(path: Path) -> Iterator[Finding]:
    """An error when other users can replace the file, because they can write its directory."""
    directory = path.absolute().parent
    mode = directory.stat().st_mode
    if mode & 0o022 and not mode & stat.S_ISVTX:
        yield Finding("error", f"Other users can replace files in {directory}: chmod go-w.")


def find_unguarded(path: Path, owners: Collection[int]) -> Path | None:
    """The first name on the way to the file that others than `owners` (user ids) can change; None
    if there is none. Links are followed. Raises OSError.

    A name is a directory, a link or the file itself. It must belong to an owner, and no other user
    may write it. Others may write a directory with the sticky bit, which keeps them from replacing
    what is in it.
    """
    os.stat(path)  # the walk below would follow a loop of links for ever
    here, ahead = Path("/"), list(reversed(path.parts[1:]))
    while True:
        status = os.lstat(here)
        mode = status.st_mode
        if status.st_uid not in owners:
            return here
        if stat.S_ISLNK(mode):
            ahead += reversed(Path(os.readlink(here)).parts)
            here = here.parent
        elif mode & 0o022 and not (stat.S_ISDIR(mode) and mode & stat.S_ISVTX):
            return here
        if not ahead:
            return None
        here /= ahead.pop()  # perhaps "..", or "/" of a link


def check_missing(path: Path, noun: str) -> Iterator[Finding]:
    """What the first start will do about a file that is not there."""
    directory = path.absolute().parent
    if not directory.is_dir():
        yield Finding("error", f"There is no directory for the {noun} {path}.")
        return
    if can_access(directory, os.W_OK | os.X_OK):
        yield Finding("warning", f"There is no {noun} {path} yet: the first start makes it.")
    else:
        yield Finding("error", f"There is no {noun} {path} that this user can see or make.")
    yield from check_directory(path)


def is_mounted_alone(path: Path) -> bool:
    """Whether the file itself is a mount point, as when a container gets one file and not its
    directory: what is made beside it is then elsewhere, and it cannot be replaced."""
    real = os.path.realpath(path)
    try:
        if os.stat(real).st_dev != os.stat(os.path.dirname(real)).st_dev:
            return True
        mounts = MOUNTS.read_bytes()
    except OSError:
        return False
    points = (line.split(b" ")[4] for line in mounts.splitlines())
    return _escaped(real) in points


def _escaped(name: str) -> bytes:
    return b"".join(
        b"\\%03o" % byte if byte in b" \t\n\\" else bytes([byte]) for byte in os.fsencode(name)
    )
