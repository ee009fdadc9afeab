"""Moving in from REST-auth: its rows become accounts, all or none.

Rule: an id stays with whom it was given to. Who can log in comes over with name and hash; a row
that cannot is kept under its id, locked, so that the id is never given again; and what does not fit
is reported, by kind and by row. Nothing is rewritten that somebody could still use.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from restauth.core import old_hashes, passwords
from restauth.core.access_tokens import is_token_shaped
from restauth.core.hasher import Hasher
from restauth.core.names import MAX_CANONICAL_LENGTH, canonical
from restauth.errors import ImportConflict
from restauth.records import ImportedUser
from restauth.storage.rest_auth_file import RestAuthFile, RestAuthRow, Value
from restauth.storage.store import Importing, Store

MAX_ID = 2**53 - 1  # what a JSON number holds; far below where SQLite's own ids would end
NO_HASH = "!"  # what no hash looks like: no password matches
MAX_EXAMPLES = 20  # rows shown for each kind of trouble; the counts are of all

_CANNOT_LOG_IN = re.compile(r"[:\x00-\x1f\x7f]")  # RFC 7617 section 2


@dataclass(slots=True)
class Report:
    """What came over. `hashes` and `troubles` count rows by kind; `examples` has the ids and names
    of the first rows of each trouble."""

    users: int = 0
    new: int = 0
    hashes: Counter[str] = field(default_factory=Counter)
    troubles: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def note(self, trouble: str, row: RestAuthRow) -> None:
        self.troubles[trouble] += 1
        examples = self.examples.setdefault(trouble, [])
        if len(examples) < MAX_EXAMPLES:
            examples.append((_shown(row.id), _shown(row.username)))


def import_users(
    source: RestAuthFile,
    store: Store,
    hasher: Hasher,
    now: int,
    *,
    dry_run: bool,
    progress: Callable[[int], None],
) -> Report:
    """Copy all users in one transaction; whoever is already here stays as he is.

    `progress` is called with the number of rows done. Raises ImportConflict when an id or a name
    belongs to somebody else here, and UnusableFile, StoreUnavailable; then nothing has changed.
    """
    report = Report()
    dearest: dict[str, tuple[int, str]] = {}
    with store.importing(keep=not dry_run) as importing:
        for row in source.rows():
            user = _read(row, hasher, report)
            if user is not None:
                report.new += _add(user, row, source, importing, now, report)
                old = old_hashes.parse(user.password_hash)
                if old:
                    known = dearest.get(old.kind, (0, ""))
                    dearest[old.kind] = max(known, (old.work, user.password_hash))
            report.users += 1
            progress(report.users)
        for kind, (work, sample) in dearest.items():
            importing.note_old_hash(kind, work, sample)
    return report


def _read(row: RestAuthRow, hasher: Hasher, report: Report) -> ImportedUser | None:
    """The row as an account; None when its id cannot be kept."""
    if not isinstance(row.id, int) or not 0 < row.id <= MAX_ID:
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
    # Without the setting it cannot log in yet; it is whole, and so it is not locked.
    is_usable = not trouble or kind.endswith("-crypt")
    stored = _text(row.password_hash) if is_usable else NO_HASH
    return ImportedUser(row.id, name, canonical(name), stored or NO_HASH, is_locked=not is_usable)


def _read_name(value: Value) -> tuple[str, str | None]:
    """The name, and what keeps its owner from logging in."""
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
    """The kind of the hash, and what keeps its owner from logging in."""
    if value is None:
        return "none", "no password"
    text = _text(value)
    old = old_hashes.parse(text or "")
    if old is None and passwords.cost_of(text) is None:
        return "unknown", "hash unknown, damaged or beyond bounds"
    kind = old.kind if old else "bcrypt-sha256 v2"
    if old and not hasher.accepts(old):
        return kind, "hash that needs import_sha_crypt=true"
    return kind, None


def _add(
    user: ImportedUser,
    row: RestAuthRow,
    source: RestAuthFile,
    importing: Importing,
    now: int,
    report: Report,
) -> bool:
    """Whether the user is new here. Raises ImportConflict."""
    owner = importing.find_owner(user.canonical_username)
    if owner is not None and owner != user.id:
        name = source.find_name(owner)
        is_from_here = name is not None and canonical(name) == user.canonical_username
        if owner > user.id or not is_from_here:
            raise ImportConflict(f"The name of the user {user.id} belongs to somebody else here.")
        is_same = name == user.username
        report.note("name of a lower id" if is_same else "name of a lower id but for case", row)
        user = _nameless(user.id)
    here = importing.find_name(user.id)
    if here is None:
        importing.add(user, now)
    elif here != user.canonical_username:
        raise ImportConflict(f"The id {user.id} belongs to somebody else here.")
    return here is None


def _nameless(user_id: int) -> ImportedUser:
    """A locked account that only keeps its id. Nobody's name finds it: canonical ones are folded,
    and have no capitals."""
    return ImportedUser(user_id, f"#{user_id}", f"NAMELESS {user_id}", NO_HASH, is_locked=True)


def _text(value: Value) -> str | None:
    """SQLite's text as it came, if it is UTF-8."""
    try:
        return value.decode("utf-8") if isinstance(value, bytes) else None
    except UnicodeDecodeError:
        return None


def _shown(value: Value) -> str:
    if isinstance(value, bytes | memoryview):
        return bytes(value[:MAX_CANONICAL_LENGTH]).decode("utf-8", "backslashreplace")
    return str(value)
