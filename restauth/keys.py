"""Which keys sign and verify now.

Rule: joins the ring (`core.keyring`) to its file (`storage.keyfile`) and decides nothing about a
key. A running process follows the file, so that a rotation needs no restart; a file that cannot be
read any more leaves the last good ring in force, and says so in the log.
"""

import logging
from collections.abc import Callable
from threading import Lock

from restauth.core import keyring
from restauth.core.keyring import Key, KeyRing
from restauth.errors import UnusableKeyRing
from restauth.storage.keyfile import KeyFile

_log = logging.getLogger(__name__)


class Keys:
    """The ring in force. `duration` is how long, in seconds, a token of a retired key may live."""

    def __init__(self, file: KeyFile, clock: Callable[[], int], duration: int) -> None:
        self._file = file
        self._clock = clock
        self._duration = duration
        self._lock = Lock()
        self._ring: KeyRing | None = None
        self._version: tuple[int, int, int] | None = None

    def open(self) -> None:
        """Make the ring if there is none, and read it. Raises UnusableKeyRing."""
        if self._file.read() is None:
            self._file.create(keyring.build(keyring.generate(self._clock())))
        self._ring = self._read()

    @property
    def ring(self) -> KeyRing:
        """What the file says now: one `lstat` for each look, one reading for each change.

        Raises UnusableKeyRing only if no ring has been read yet.
        """
        if self._ring is None:
            self._ring = self._read()
        elif self._file.version() != self._version:
            self._follow()
        return self._ring

    def find(self, kid: str) -> Key | None:
        """The key to verify with."""
        return self.ring.find(kid, self._clock(), self._duration)

    def rotate(self, *, revoke: bool) -> KeyRing:
        """Add a signing key; `revoke` drops the others at once. Raises UnusableKeyRing."""
        now = self._clock()
        if revoke:
            return self._change(lambda ring: keyring.generate(now))
        return self._change(lambda ring: ring.pruned(now, self._duration).rotated(now))

    def prune(self) -> KeyRing:
        """Drop the keys whose last token has expired. Raises UnusableKeyRing."""
        return self._change(lambda ring: ring.pruned(self._clock(), self._duration))

    def _change(self, change: Callable[[KeyRing], KeyRing]) -> KeyRing:
        with self._file.lock():
            ring = change(self._read())
            self._file.replace(keyring.build(ring))
        return ring

    def _follow(self) -> None:
        with self._lock:
            if self._file.version() == self._version:
                return  # another thread was quicker
            try:
                self._ring = self._read()
            except UnusableKeyRing as error:
                _log.error("%s The keys read before stay in force.", error)

    def _read(self) -> KeyRing:
        # The version is taken before the bytes: at worst they are read once more.
        self._version = self._file.version()
        raw = self._file.read()
        if raw is None:
            raise UnusableKeyRing(f"There is no key ring {self._file.path}.")
        return keyring.parse(raw)
