"""Which keys sign and verify now.

Rule: joins the ring (`core.keyring`) to its file (`storage.keyfile`) and decides nothing about a
key. A running process follows the file, so that a rotation needs no restart; a file that cannot be
read any more leaves the last good ring in force, and says so in the log.
"""

import logging
from collections.abc import Callable
from threading import Lock

from restauth.core import jwk
from restauth.core.keyring import Algorithm, Key, KeyRing
from restauth.errors import UnusableKeyRing
from restauth.storage.key_file import KeyFile

Version = tuple[int, ...] | None

_log = logging.getLogger("restauth")


class SigningKeys:
    """The ring in force. `max_duration` is how long, in seconds, the longest-lived token of a
    retired key may live. Where nobody `signs`, a public JWK Set will do for a ring."""

    def __init__(
        self, file: KeyFile, clock: Callable[[], int], max_duration: int, *, signs: bool = True
    ) -> None:
        self._signs = signs
        self._file = file
        self._clock = clock
        self._max_duration = max_duration
        self._lock = Lock()
        # Swapped as one: whoever sees the new version must see the new ring.
        self._seen: tuple[Version, KeyRing] | None = None
        self._reported: Version = ()  # the version that was last found unusable

    def open(self) -> None:
        """Make the ring if there is none, and read it. Raises UnusableKeyRing."""
        if self._file.read() is None:
            ring = KeyRing((jwk.generate_key(self._clock(), "HS256"),))
            self._file.create(jwk.build(ring))
        self.read()

    def read(self) -> None:
        """Read the ring there is. Raises UnusableKeyRing."""
        self._seen = self._read()

    @property
    def ring(self) -> KeyRing:
        """What the file says now: one `lstat` for each look, one reading for each change.

        Raises UnusableKeyRing only if no ring has been read yet.
        """
        seen = self._seen
        if seen is None:
            seen = self._seen = self._read()
        elif self._file.version() != seen[0]:
            seen = self._follow(seen)
        return seen[1]

    def public(self, duration: int) -> dict[str, object]:
        """What may be shown of the keys that verify tokens which live `duration` seconds: a JWK
        Set."""
        return jwk.build_public(self.ring.pruned(self._clock(), duration))

    def find(self, kid: str, duration: int) -> Key | None:
        """The key to verify tokens with that live `duration` seconds."""
        return self.ring.find(kid, self._clock(), duration)

    def rotate(self, *, revoke: bool, algorithm: Algorithm | None = None) -> KeyRing:
        """Add a signing key, of the algorithm in use if none is named; `revoke` drops the others at
        once. Raises UnusableKeyRing."""
        now = self._clock()

        def change(ring: KeyRing) -> KeyRing:
            key = jwk.generate_key(now, algorithm or ring.signing_key.algorithm)
            if revoke:
                return KeyRing((key,))
            return ring.pruned(now, self._max_duration).rotated(key, now)

        return self._change(change)

    def prune(self) -> KeyRing:
        """Drop the keys whose last token has expired. Raises UnusableKeyRing."""
        return self._change(lambda ring: ring.pruned(self._clock(), self._max_duration))

    def _change(self, change: Callable[[KeyRing], KeyRing]) -> KeyRing:
        with self._file.lock():
            _, ring = self._read()
            ring = change(ring)
            self._file.replace(jwk.build(ring))
        return ring

    def _follow(self, seen: tuple[Version, KeyRing]) -> tuple[Version, KeyRing]:
        with self._lock:
            if self._seen is not seen and self._seen is not None:
                return self._seen  # another thread was quicker
            version = self._file.version()
            try:
                self._seen = seen = self._read()
                self._reported = ()
            except UnusableKeyRing as error:  # tried again at the next look, and told once
                if version != self._reported:
                    _log.error("%s The keys read before stay in force.", error)
                self._reported = version
            return seen

    def _read(self) -> tuple[Version, KeyRing]:
        # The version is taken before the bytes: at worst they are read once more.
        version = self._file.version()
        raw = self._file.read()
        if raw is None:
            raise UnusableKeyRing(f"There is no key ring {self._file.path}.")
        return version, jwk.parse(raw, signs=self._signs)
