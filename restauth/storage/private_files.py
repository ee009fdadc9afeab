"""Findings about who can read or replace a file of ours.

Rule: looks at modes and directories, and changes nothing.
"""

import stat
from collections.abc import Iterator
from pathlib import Path

from restauth.records import Finding


def check_mode(path: Path) -> Iterator[Finding]:
    """An error when other users can read or write the file. Nothing for a missing file."""
    if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
        yield Finding("error", f"Other users can read or write {path}: chmod 600.")


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
