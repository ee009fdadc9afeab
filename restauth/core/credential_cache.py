"""Passwords that were verified a short time ago need no new hash.

Rule: only a success is kept, and never the password. An entry is an HMAC over the account's id,
the stored hash *as it was just read*, and the password; its key is random and lives only in the
memory of this process. After a password change the hash differs, so the entry no longer matches,
in every process. The caller has read the row, and has checked that the account is not locked.
"""

import hmac
import secrets
from collections import OrderedDict
from threading import Lock

from restauth.records import Account

MAX_ENTRIES = 10_000  # about 2 MB; the entry that was used least recently goes first


class CredentialCache:
    """One for all services of a process on one database. Threads may share it."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._verified_at: OrderedDict[bytes, int] = OrderedDict()
        self._lock = Lock()

    def find(self, candidate: Account, password: str, now: int, duration: int) -> Account | None:
        """The candidate, if this password was verified against this row within `duration` seconds
        before `now`; else None, and always with a duration of 0."""
        if not duration:
            return None
        digest = self._digest(candidate, password)
        with self._lock:
            verified_at = self._verified_at.get(digest)
            # A time ahead of us was noted before the clock was set back.
            if verified_at is None or not 0 <= now - verified_at < duration:
                return None
            self._verified_at.move_to_end(digest)
        return candidate

    def add(self, account: Account, password: str, now: int) -> None:
        """Note that the password was verified against this row."""
        digest = self._digest(account, password)
        with self._lock:
            self._verified_at[digest] = now
            self._verified_at.move_to_end(digest)
            while len(self._verified_at) > MAX_ENTRIES:
                self._verified_at.popitem(last=False)

    def _digest(self, account: Account, password: str) -> bytes:
        # A hash has a fixed length per form and no NUL, so the three parts cannot run together.
        message = f"{account.id}\0{account.password_hash}\0{password}".encode()
        return hmac.digest(self._key, message, "sha256")
