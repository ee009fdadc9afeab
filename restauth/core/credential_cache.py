"""Passwords verified a moment ago, remembered by a keyed digest.

Rule: only a success is remembered, and never the password: an entry is an HMAC, by a key that dies
with the process, over the account's id, *the stored hash as just read* and the password. A changed
hash misses by construction, in every process. Whether the account is locked is not asked here:
the caller has read the row.
"""

import hmac
import secrets
from collections import OrderedDict
from threading import Lock

from restauth.records import Account

MAX_ENTRIES = 10_000  # about 2 MB; the one used longest ago goes first


class CredentialCache:
    """A bounded memory of `duration` seconds; 0 remembers nothing."""

    def __init__(self, duration: int) -> None:
        self._duration = duration
        self._key = secrets.token_bytes(32)
        self._expiries: OrderedDict[bytes, int] = OrderedDict()
        self._lock = Lock()

    def holds(self, account: Account, password: str, now: int) -> bool:
        """Whether this very password was verified against this very row within the duration."""
        if not self._duration:
            return False
        digest = self._digest(account, password)
        with self._lock:
            expires_at = self._expiries.get(digest, 0)
            if not now < expires_at <= now + self._duration:  # above: the clock was set back
                return False
            self._expiries.move_to_end(digest)
            return True

    def remember(self, account: Account, password: str, now: int) -> None:
        if not self._duration:
            return
        digest = self._digest(account, password)
        with self._lock:
            self._expiries[digest] = now + self._duration
            self._expiries.move_to_end(digest)
            while len(self._expiries) > MAX_ENTRIES:
                self._expiries.popitem(last=False)

    def _digest(self, account: Account, password: str) -> bytes:
        # The hash has one length per form and no NUL; so the three parts cannot run together.
        message = f"{account.id}\0{account.password_hash}\0{password}".encode()
        return hmac.digest(self._key, message, "sha256")
