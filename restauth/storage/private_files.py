"""Findings about who can read or replace a file of ours.

Rule: looks at modes, directories and mounts, and changes nothing.
"""

import os
import stat
from collections.abc import Iterator
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


def is_full(path: Path) -> bool:
    """Whether the file system has no place for one more byte of a regular file."""
    if path.exists() and not path.is_file():
        return False
    return os.statvfs(path if path.exists() else path.absolute().parent).f_bavail == 0


def check_directory(path: Path) -> Iterator[Finding]:
    """An error when other users can replace the file, because they can write its directory."""
    directory = path.absolute().parent
    mode = directory.stat().st_mode
    if mode & 0o022 and not mode & stat.S_ISVTX:
        yield Finding("error", f"Other users can replace files in {directory}: chmod go-w.")


def check_missing(path: Path, noun: str) -> Iterator[Finding]:
    """What the first start will do about a file that is not there."""
    if path.absolute().parent.is_dir():
        yield Finding("warning", f"There is no {noun} {path} yet: the first start makes it.")
        yield from check_directory(path)
    else:
        yield Finding("error", f"There is no directory for the {noun} {path}.")


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
