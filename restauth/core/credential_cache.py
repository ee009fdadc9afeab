"""Passwords that were verified a short time ago need no new hash.

Rule: only a success is kept, and never the password. An entry binds a credential (a MAC over name
and password; the key is random and lives only in the memory of this process) to the account's id
and the stored hash *as they were when it was verified*. The row is read each time, and must not be
locked. After a password change the hash differs, so no entry matches any more, in every process.
"""

import hmac
import secrets
from collections.abc import Callable
from hashlib import blake2b

from restauth.core.recent import Recent
from restauth.records import Account

MAX_ENTRIES = 10_000  # about 4 MB
MAX_PROLONGED = 12  # use prolongs an entry up to so many durations: 5 minutes to an hour


class CredentialCache:
    """One for all services of a process on one database. Threads may share it."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        # By credential: the digest of its row, when it was verified, and when it was used last.
        self._entries: Recent[bytes, tuple[bytes, int, int]] = Recent(MAX_ENTRIES)

    def digest(self, name: str, password: str) -> bytes:
        """The credential: what stands for a canonical name and an acceptable password."""
        return self._mac(f"{len(name)}\0{name}{password}".encode())

    def find(
        self, credential: bytes, read: Callable[[], Account | None], now: int, duration: int
    ) -> Account | None:
        """The account that `read` finds, if the credential was verified against this row; verified
        or used within `duration` seconds before `now`. Without such an entry nothing is read."""
        digest, verified_at, used_at = self._entries.get(credential, (b"", 0, 0))
        # A time ahead of us was noted before the clock was set back.
        is_fresh = 0 <= now - used_at < duration
        if not is_fresh or not 0 <= now - verified_at < duration * MAX_PROLONGED:
            return None
        account = read()
        if account is None or account.locked_at is not None:
            return None
        if not hmac.compare_digest(digest, self._bind(credential, account)):
            return None
        self._entries.put(credential, (digest, verified_at, now))
        return account

    def add(self, credential: bytes, account: Account, now: int) -> None:
        """Note that the credential was verified against this row."""
        self._entries.put(credential, (self._bind(credential, account), now, now))

    def _bind(self, credential: bytes, account: Account) -> bytes:
        return self._mac(credential + f"{account.id}\0{account.password_hash}".encode())

    def _mac(self, message: bytes) -> bytes:
        """Keyed BLAKE2b (RFC 7693), which is a MAC by itself, and faster than an HMAC."""
        return blake2b(message, key=self._key, digest_size=32).digest()
