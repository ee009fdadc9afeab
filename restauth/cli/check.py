"""What production needs, held against what is here.

Rule: looks and never touches: no file is made, migrated or mended. A finding is one line; it is
grave when somebody could get in, or users could get lost.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from restauth.domain.keys import SigningKeys
from restauth.errors import UnusableKeyRing, UnusableStore
from restauth.settings import Settings
from restauth.storage.sqlite import inspect

KEY_AGE = 90 * 86_400  # seconds after which a new signing key is due


@dataclass(frozen=True, slots=True)
class Finding:
    level: Literal["ok", "warning", "error"]
    text: str


def check(settings: Settings, keys: SigningKeys, now: int) -> Iterator[Finding]:
    """All findings, in the order of the files and then the settings."""
    yield from _check_database(settings.database)
    yield from _check_keys(settings.key_file, keys, now)
    yield from _check_settings(settings)


def _check_database(path: Path) -> Iterator[Finding]:
    if not os.path.lexists(path):
        yield from _check_future(path, "database")
        return
    try:
        is_current = inspect(path)
    except UnusableStore as error:
        yield Finding("error", str(error))
    else:
        yield Finding("ok", f"The database {path} is ours and undamaged.")
        if not is_current:
            yield Finding("warning", f"The next start brings the database {path} up to date.")
    for file in (path, path.with_name(path.name + "-wal")):
        if file.exists() and stat.S_IMODE(file.stat().st_mode) & 0o077:
            yield Finding("error", f"Others can read or write {file}: chmod 600.")
    yield from _check_directory(path)


def _check_keys(path: Path, keys: SigningKeys, now: int) -> Iterator[Finding]:
    if not os.path.lexists(path):
        yield from _check_future(path, "key ring")
        return
    try:
        ring = keys.ring
    except UnusableKeyRing as error:
        yield Finding("error", str(error))
        return
    age = now - ring.signing_key.created_at
    if age > KEY_AGE:
        days = age // 86_400
        yield Finding("warning", f"The signing key is {days} days old: restauth key rotate.")
    else:
        yield Finding("ok", f"The key ring {path} is private and its {len(ring.keys)} keys good.")
    yield from _check_directory(path)


def _check_future(path: Path, noun: str) -> Iterator[Finding]:
    if path.absolute().parent.is_dir():
        yield Finding("warning", f"There is no {noun} {path} yet: the first start makes it.")
        yield from _check_directory(path)
    else:
        yield Finding("error", f"There is no directory for the {noun} {path}.")


def _check_directory(path: Path) -> Iterator[Finding]:
    """Who can write a directory can put another file in the place of ours."""
    directory = path.absolute().parent
    mode = directory.stat().st_mode
    if mode & 0o022 and not mode & stat.S_ISVTX:
        yield Finding("error", f"Others can replace files in {directory}: chmod go-w.")


def _check_settings(settings: Settings) -> Iterator[Finding]:
    if not settings.require_https:
        yield Finding("warning", "require_https is false: passwords may come over plain http.")
    if not settings.base_url:
        yield Finding("warning", "base_url is not set: Location is absolute for known hosts only.")
    if settings.registration == "open":
        yield Finding("warning", "registration is open: anybody can make an account.")
    if settings.password_policy == "open":
        yield Finding("warning", "password_policy is open: any password is accepted.")
    if settings.bcrypt_rounds < 12:
        yield Finding("warning", "bcrypt_rounds is below 12: a stolen database is guessed faster.")
