"""Import the users of REST-auth: all of them or none.

Rule: an id stays with the user that it was given to. A user who can log in is imported with name
and hash. A row that cannot log in is kept under its id, locked, so that the id is never used again.
What does not fit is reported, by kind and by row. Nothing that a user could still use is changed.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from restauth.core import old_hashes, passwords
from restauth.core.access_tokens import is_token_shaped
from restauth.core.hasher import Hasher
from restauth.core.names import CONTROL_CHARACTERS, MAX_CANONICAL_LENGTH, canonical
from restauth.errors import ImportConflict
from restauth.records import ImportedUser
from restauth.storage.rest_auth_file import RestAuthFile, RestAuthRow, Value

MAX_IMPORTED_ID = 2**53 - 1  # what a JSON number holds exactly; far below the largest id
NO_HASH = "!"  # has the form of no hash, so no password matches it
MAX_EXAMPLES = 20  # rows that are shown for each kind of trouble; all rows are counted

_CANNOT_LOG_IN = re.compile(f"[:{CONTROL_CHARACTERS}]")  # RFC 7617 section 2


@dataclass(slots=True)
class Report:
    """What was imported. `hashes` and `troubles` count rows by kind. `examples` has the ids and
    names of the first rows of each trouble."""

    users: int = 0
    new: int = 0
    hashes: Counter[str] = field(default_factory=Counter)
    troubles: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def note(self, trouble: str, row: RestAuthRow) -> None:
        """Count a row that does not fit."""
        self.troubles[trouble] += 1
        examples = self.examples.setdefault(trouble, [])
        if len(examples) < MAX_EXAMPLES:
            examples.append((_shown(row.id), _shown(row.username)))


class Target(Protocol):
    """Where the users go: `storage.store.Importing`, or `EmptyTarget`."""

    def find_name(self, user_id: int) -> str | None:
        """The canonical name of the account with that id."""

    def find_owner(self, canonical_username: str) -> int | None:
        """The id of the account with that name."""

    def add(self, user: ImportedUser, now: int) -> None:
        """Add the user under its own id."""

    def note_old_hash(self, kind: str, work: int, sample: str) -> None:
        """Keep the slowest hash of the kind."""


class EmptyTarget:
    """A store without users, in memory: for a dry run before there is a database."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._owners: dict[str, int] = {}

    def find_name(self, user_id: int) -> str | None:
        """As `Target` says."""
        return self._names.get(user_id)

    def find_owner(self, canonical_username: str) -> int | None:
        """As `Target` says."""
        return self._owners.get(canonical_username)

    def add(self, user: ImportedUser, now: int) -> None:
        """As `Target` says."""
        self._names[user.id] = user.canonical_username
        self._owners[user.canonical_username] = user.id

    def note_old_hash(self, kind: str, work: int, sample: str) -> None:
        """A dry run measures nothing."""


def import_users(
    source: RestAuthFile,
    target: Target,
    hasher: Hasher,
    now: int,
    progress: Callable[[int], None],
) -> Report:
    """Copy all users of the source. A user that is already in the target is not changed.

    `progress` is called with the number of rows that are done. Raises ImportConflict when an id or
    a name belongs to another user in the target; UnusableFile, StoreUnavailable.
    """
    report = Report()
    slowest: dict[str, tuple[int, str]] = {}
    for row in source.rows():
        user = _read(row, hasher, report)
        if user is not None:
            report.new += _add(user, row, source, target, now, report)
            old = old_hashes.parse(user.password_hash)
            if old:
                known = slowest.get(old.kind, (0, ""))
                slowest[old.kind] = max(known, (old.work, user.password_hash))
        report.users += 1
        progress(report.users)
    for kind, (work, sample) in slowest.items():
        target.note_old_hash(kind, work, sample)
    return report


def _read(row: RestAuthRow, hasher: Hasher, report: Report) -> ImportedUser | None:
    """The row as an account; None when its id cannot be kept."""
    if not isinstance(row.id, int) or not 0 < row.id <= MAX_IMPORTED_ID:
        report.note("id out of range, not imported", row)
        return None
    name, trouble = _read_name(row.username)
    if trouble:
        report.note(trouble, row)
        return _nameless(row.id)
    kind, trouble = _read_hash(row.password_hash, hasher)
    report.hashes[kind] += 1
    if trouble:
        report.note(trouble, row)
    # A SHA-crypt hash that the settings do not accept yet is undamaged, so it is not locked.
    is_usable = not trouble or kind.endswith("-crypt")
    stored = _text(row.password_hash) if is_usable else NO_HASH
    return ImportedUser(row.id, name, canonical(name), stored or NO_HASH, is_locked=not is_usable)


def _read_name(value: Value) -> tuple[str, str | None]:
    """The name, and what prevents a login with it."""
    if value is None:
        return "", "no name"
    name = _text(value)
    if name is None:
        return "", "name is not text"
    if not name:
        return "", "empty name"
    if max(len(name), len(canonical(name))) > MAX_CANONICAL_LENGTH:
        return "", f"name of more than {MAX_CANONICAL_LENGTH} characters"
    if _CANNOT_LOG_IN.search(name):
        return "", "name with a colon or a control character"
    if is_token_shaped(name):
        return "", "name that looks like a token"
    return name, None


def _read_hash(value: Value, hasher: Hasher) -> tuple[str, str | None]:
    """The kind of the hash, and what prevents a login with it."""
    if value is None:
        return "none", "no password"
    text = _text(value)
    old = old_hashes.parse(text or "")
    if old is None and passwords.cost_of(text) is None:
        return "unknown", "hash unknown, damaged or beyond the bounds"
    kind = old.kind if old else "bcrypt-sha256 v2"
    if old and not hasher.accepts(old):
        return kind, "hash that needs import_sha_crypt=true"
    return kind, None


def _add(
    user: ImportedUser,
    row: RestAuthRow,
    source: RestAuthFile,
    target: Target,
    now: int,
    report: Report,
) -> bool:
    """Whether the user is new in the target. Raises ImportConflict."""
    owner = target.find_owner(user.canonical_username)
    if owner is not None and owner != user.id:
        name = source.find_name(owner)
        is_from_source = name is not None and canonical(name) == user.canonical_username
        if owner > user.id or not is_from_source:
            raise ImportConflict(f"The name of the user {user.id} belongs to another user here.")
        is_same = name == user.username
        report.note("name of a lower id" if is_same else "name of a lower id but for case", row)
        user = _nameless(user.id)
    here = target.find_name(user.id)
    if here is None:
        target.add(user, now)
    elif here != user.canonical_username:
        raise ImportConflict(f"The id {user.id} belongs to another user here.")
    return here is None


def _nameless(user_id: int) -> ImportedUser:
    """A locked account that only keeps its id. No login can find its canonical name: that has
    capital letters, and `canonical` never gives one."""
    return ImportedUser(user_id, f"#{user_id}", f"NAMELESS {user_id}", NO_HASH, is_locked=True)


def _text(value: Value) -> str | None:
    """A text of SQLite, if it is UTF-8."""
    try:
        return value.decode("utf-8") if isinstance(value, bytes) else None
    except UnicodeDecodeError:
        return None


def _shown(value: Value) -> str:
    if isinstance(value, bytes | memoryview):
        return bytes(value[:MAX_CANONICAL_LENGTH]).decode("utf-8", "backslashreplace")
    return str(value)
