"""The keys of a service on another machine, for a guard without a store.

Rule: joins a public JWK Set (`core.jwk`) to its URL (`storage.key_url`). The set is kept, and read
again when it is old, or when a token names a key that is not in it. One thread reads, and no other
waits for it. When the URL does not answer, the set that was read last stays in force, and the log
says so. Secrets are not taken: a key that everyone can read signs for everyone.
"""

import logging
from collections.abc import Callable
from threading import Lock

from restauth.core import jwk
from restauth.core.keyring import Key, KeyRing
from restauth.errors import KeysUnavailable, UnusableKeyRing
from restauth.storage.key_url import KeyURL

MAX_AGE = 300  # seconds; so long a revoked key is accepted, unless a token names an unknown one
MIN_AGE = 30  # seconds between two readings, whatever keys the tokens of strangers name

_log = logging.getLogger("restauth")


class RemoteKeys:
    """The keys of one URL. `clock` gives seconds and is never set back."""

    def __init__(self, url: KeyURL, clock: Callable[[], float]) -> None:
        self._url = url
        self._clock = clock
        self._lock = Lock()
        self._begun_at = 0.0  # the last reading
        self._read_at = 0.0  # the last reading that has succeeded, by its beginning
        self._has_failed = False
        self.ring = KeyRing(())

    def read(self) -> None:
        """Read the set. Raises UnusableKeyRing."""
        self._begun_at = self._clock()
        raw = self._url.read()
        try:
            ring = jwk.parse(raw, signs=False)
        except UnusableKeyRing as error:  # `core.jwk` does not know where the bytes come from
            raise UnusableKeyRing(f"{self._url.url}: {error}") from None
        self.ring = KeyRing(tuple(key for key in ring.keys if not key.secret))
        self._read_at = self._begun_at

    def find(self, kid: str) -> Key | None:
        """The key of that id.

        Raises KeysUnavailable for a key that is not in the set that was read last, while a newer
        one is being read, or could not be.
        """
        key = self._find(kid)
        if key is not None and self._clock() - self._read_at <= MAX_AGE:
            return key
        if self._is_due() and self._lock.acquire(blocking=False):
            try:
                if self._is_due():  # no other thread has just read it
                    self._refresh()
            finally:
                self._lock.release()
        is_newest = self._read_at == self._begun_at and not self._lock.locked()
        key = self._find(kid)  # after that: another thread may have read the set meanwhile
        if key is None and not is_newest:
            raise KeysUnavailable
        return key

    def _find(self, kid: str) -> Key | None:
        return self.ring.find(kid, 0, 0)  # no time: what is in a public set verifies

    def _is_due(self) -> bool:
        return self._clock() - self._begun_at >= MIN_AGE

    def _refresh(self) -> None:
        try:
            self.read()
            if self._has_failed:
                _log.warning("%s is read again.", self._url.url)
            self._has_failed = False
        except UnusableKeyRing as error:
            if not self._has_failed:
                _log.error("%s The keys that were read before stay in force.", error)
            self._has_failed = True
