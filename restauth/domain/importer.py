"""Import the users of REST-auth: all of them or none.

Rule: an id stays with the user that it was given to. A user who can log in is imported with name
and hash. A row that cannot log in is kept under its id, locked, so that the id is never used again.
What does not fit is reported, by kind and by row. Nothing that a user could still use is changed.
First all rows are read and checked, which locks nothing; then the new users are written.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from restauth.core import old_hashes, passwords
from restauth.core.access_tokens import is_token_shaped
from restauth.core.api_keys import is_key_shaped
from restauth.core.hasher import Hasher
from restauth.core.names import CONTROL_CHARACTERS, MAX_CANONICAL_LENGTH, TOO_LONG, canonical
from restauth.errors import ImportConflict
from restauth.records import ImportedUser
from restauth.storage.rest_auth_file import RestAuthFile, RestAuthRow, Value
from restauth.storage.staging import Staging

MAX_IMPORTED_ID = 2**53 - 1  # what a JSON number holds exactly; far below the largest id
NO_HASH = "!"  # has the form of no hash, so no password matches it
MAX_EXAMPLES = 20  # rows that are shown for each kind of trouble; all rows are counted
MAX_CONFLICTS = 5  # that are shown; all are counted
RENAMED = "id has another name here, not changed"

Shown: TypeAlias = "str | int | None"  # a value as a report has it; JSON has no infinity

_NAMELESS = "NAMELESS"

_CANNOT_LOG_IN = re.compile(f"[:{CONTROL_CHARACTERS}]")  # RFC 7617 section 2


@dataclass(slots=True)
class Report:
    """What was imported. `hashes` and `troubles` count rows by kind. `examples` has the ids and
    names of the first rows of each trouble."""

    users: int = 0
    new: int = 0
    hashes: Counter[str] = field(default_factory=Counter)
    troubles: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[tuple[Shown, Shown]]] = field(default_factory=dict)

    def note(self, trouble: str, row: RestAuthRow) -> None:
        """Count a row that does not fit."""
        self.troubles[trouble] += 1
        examples = self.examples.setdefault(trouble, [])
        if len(examples) < MAX_EXAMPLES:
            examples.append((_shown(row.id), _shown(row.username)))


class Accounts(Protocol):
    """The accounts that are here: `storage.store.Store`, or `NoAccounts`."""

    def find_rivals(self, user_id: int, canonical_username: str) -> dict[int, str]:
        """The accounts with that id or that name: their ids and canonical names."""


class NoAccounts:
    """A store without users, for a dry run before there is a database."""

    def find_rivals(self, user_id: int, canonical_username: str) -> dict[int, str]:
        """As `Accounts` says."""
        return {}


class Target(Accounts, Protocol):
    """Where the users go: `storage.store.Importing`."""

    def add(self, user: ImportedUser, now: int) -> bool:
        """Add the user under its own id. False when the id or the name is taken."""

    def note_old_hash(self, kind: str, work: int, sample: str) -> None:
        """Keep the slowest hash of the kind."""


class Import:
    """One import: `check`, and then `write` if it is not a dry run.

    With `skip_renamed`, a user whose id has another name here is taken for the same one, who was
    renamed here. Nothing else tells them from another user, so without it that is a conflict.
    """

    def __init__(self, staging: Staging, hasher: Hasher, *, skip_renamed: bool = False) -> None:
        self.report = Report()
        self._staging = staging
        self._hasher = hasher
        self._skip_renamed = skip_renamed
        self._slowest: dict[str, tuple[int, str]] = {}
        self._conflicts: list[str] = []
        self._conflict_count = 0

    def check(
        self, source: RestAuthFile, accounts: Accounts, progress: Callable[[int], None]
    ) -> None:
        """Read and check all users of the source.

        `progress` is called with the number of rows that are done. Raises ImportConflict when an id
        or a name belongs to another user here; UnusableFile, StoreUnavailable.
        """
        for row in source.rows():
            user = _read(row, self._hasher, self.report)
            if user is not None:
                self._stage(user, row, accounts)
            self.report.users += 1
            progress(self.report.users)
        self._refuse_conflicts()

    def write(self, target: Target, now: int) -> None:
        """Write what was checked; it may be run again. An account that was made since then is
        respected like one from before: raises ImportConflict."""
        new = 0
        for user in self._staging.new_users():
            if target.add(user, now):
                new += 1
            else:
                self._note_conflict(user, target.find_rivals(user.id, user.canonical_username))
                self._refuse_conflicts()
        self.report.new = new
        for kind, (work, sample) in self._slowest.items():
            target.note_old_hash(kind, work, sample)

    def _stage(self, user: ImportedUser, row: RestAuthRow, accounts: Accounts) -> None:
        """A user that is here already is not changed."""
        owner, shown = self._staging.find_owner(user.canonical_username) or (user.id, "")
        if owner != user.id:
            is_same = shown == user.username
            self.report.note(
                "name of a lower id" if is_same else "name of a lower id but for case", row
            )
            user = _nameless(user.id)
        staged = self._staging.find_name(user.id)
        if staged is None:
            here = accounts.find_rivals(user.id, user.canonical_username)
            if self._note_conflict(user, here):
                self.report.note(RENAMED, row)
            self._staging.add(user, is_new=not here)
            self.report.new += not here
        elif staged != user.canonical_username:
            self._note(f"the id {user.id}: two users in the file")
        old = old_hashes.parse(user.password_hash)
        if old:
            known = self._slowest.get(old.kind, (0, ""))
            self._slowest[old.kind] = max(known, (old.work, user.password_hash))

    def _note_conflict(self, user: ImportedUser, here: dict[int, str]) -> bool:
        """Whether the user is skipped, because it was renamed here."""
        name = here.get(user.id, user.canonical_username)
        if name != user.canonical_username:
            if self._skip_renamed:
                return True
            self._note(
                f"the id {user.id}: {_quoted(user.canonical_username)} in the file, "
                f"{_quoted(name)} here"
            )
        for other in here.keys() - {user.id}:
            self._note(f"the name {user.username!r}: id {user.id} in the file, id {other} here")
        return False

    def _note(self, conflict: str) -> None:
        self._conflict_count += 1
        if len(self._conflicts) < MAX_CONFLICTS:
            self._conflicts.append(conflict)

    def _refuse_conflicts(self) -> None:
        if self._conflicts:
            more = self._conflict_count - len(self._conflicts)
            shown = [*self._conflicts, *([f"and {more} more"] if more else [])]
            hint = "" if self._skip_renamed else " --renamed skips users who were renamed here."
            raise ImportConflict(f"Nothing is imported: {'; '.join(shown)}.{hint}")


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
    if canonical(name) == TOO_LONG != name:
        return "", f"name of more than {MAX_CANONICAL_LENGTH} characters"
    if _CANNOT_LOG_IN.search(name):
        return "", "name with a colon or a control character"
    if is_token_shaped(name) or is_key_shaped(name):
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
    if old and hasher.find_old(text or "") is None:
        return kind, "hash that needs import_sha_crypt=true"
    return kind, None


def _nameless(user_id: int) -> ImportedUser:
    """A locked account that only keeps its id. No login can find its canonical name: that has
    capital letters, and `canonical` never gives one."""
    return ImportedUser(user_id, f"#{user_id}", f"{_NAMELESS} {user_id}", NO_HASH, is_locked=True)


def _quoted(canonical_username: str) -> str:
    is_nameless = canonical_username.startswith(_NAMELESS)
    return "no usable name" if is_nameless else repr(canonical_username)


def _text(value: Value) -> str | None:
    """A text of SQLite, if it is UTF-8."""
    try:
        return value.decode("utf-8") if isinstance(value, bytes) else None
    except UnicodeDecodeError:
        return None


def _shown(value: Value) -> Shown:
    if isinstance(value, bytes | memoryview):
        return bytes(value[:MAX_CANONICAL_LENGTH]).decode("utf-8", "backslashreplace")
    return str(value) if isinstance(value, float) else value
