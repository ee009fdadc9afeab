"""The key ring in force: which keys sign and verify now.

Rule: joins the ring (`core.keyring`) to its file (`storage.key_file`), and decides nothing about a
key. A running process follows the file, so that a rotation needs no restart. When the file cannot
be read any more, the ring that was read last stays in force, and the log says so.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from threading import Lock

from restauth.core import jwk
from restauth.core.keyring import Algorithm, Key, KeyRing
from restauth.domain.audit import AuditLog, Event
from restauth.errors import InvalidInput, UnusableKeyRing
from restauth.gate import gate
from restauth.records import OPERATOR
from restauth.storage.key_file import KeyFile

Version = tuple[int, ...] | None

_log = logging.getLogger("restauth")


class SigningKeys:
    """The keys of one key file.

    `max_duration` is the longest life of a token, in seconds: so long a retired key is kept. With
    `signs=False` the file may be a public JWK Set. `clock` gives epoch seconds.
    """

    def __init__(
        self,
        file: KeyFile,
        clock: Callable[[], int],
        max_duration: int,
        audit: AuditLog,
        *,
        signs: bool = True,
    ) -> None:
        self._signs = signs
        self._file = file
        self._clock = clock
        self._max_duration = max_duration
        self._audit = audit
        self._lock = Lock()
        # One tuple, replaced at once: a thread that sees the new version also sees the new ring.
        self._seen: tuple[Version, KeyRing] | None = None
        self._reported: Version = ()  # the version that was found unusable last

    def check(self) -> None:
        """Return if `open` can be expected to succeed. No file is made. Raises UnusableKeyRing."""
        if self._file.read() is not None:
            self.read()
        else:
            self._file.check_directory()

    def open(self) -> None:
        """Make the file if there is none, and read it. Raises UnusableKeyRing."""
        if self._file.read() is None:
            self._create("HS256")
        self.read()

    def create(self, algorithm: Algorithm) -> KeyRing:
        """Make the file, with a key that signs. Raises UnusableKeyRing, also if there is one."""
        if self._file.read() is not None:
            raise UnusableKeyRing(f"There is a key ring {self._file.path} already.")
        self._create(algorithm)
        ring = self.ring
        self._record(Event.KEY_ADDED, ring.signing_key)
        return ring

    def read(self) -> None:
        """Read the file, unless the ring in force is that of the file as it is: tokens that were
        verified are remembered by their key object. Raises UnusableKeyRing."""
        seen = self._seen
        if seen is None or self._file.version() != seen[0]:
            self._seen = self._read()

    @property
    def ring(self) -> KeyRing:
        """The ring of the file as it is now: one `stat` for each call, one read for each change.

        Raises UnusableKeyRing only if no ring was read before.
        """
        seen = self._seen
        if seen is None:
            seen = self._seen = self._read()
        elif self._file.version() != seen[0]:
            seen = self._follow(seen)
        return seen[1]

    def public(self, duration: int) -> dict[str, object]:
        """The public JWK Set of the keys that verify tokens of that duration, in seconds."""
        return jwk.build_public(_pruned(self.ring, self._clock(), duration))

    def find(self, kid: str, duration: int) -> Key | None:
        """The key that verifies tokens of that duration, in seconds."""
        return self.ring.find(kid, self._clock(), duration)

    def add(self, algorithm: Algorithm | None = None) -> KeyRing:
        """Publish a key, of the algorithm in use if none is named: it verifies, and does not sign
        before it is activated. Raises UnusableKeyRing."""
        now = self._clock()

        def change(ring: KeyRing) -> KeyRing:
            key = jwk.generate_key(now, algorithm or ring.signing_key.algorithm)
            return KeyRing(
                (ring.signing_key, key, *_pruned(ring, now, self._max_duration).keys[1:])
            )

        before, after = self._change(change)
        self._record(Event.KEY_ADDED, after.keys[1])
        self._record_dropped(Event.KEYS_PRUNED, before, after)
        return after

    def activate(self, kid: str) -> KeyRing:
        """Sign with a published key from now on. Raises InvalidInput when there is no published key
        of that id; UnusableKeyRing."""
        now = self._clock()

        def change(ring: KeyRing) -> KeyRing:
            published = [key for key in ring.keys[1:] if key.kid == kid and key.retired_at is None]
            if not published:
                raise InvalidInput(f"The key ring has no published key {kid!r}: restauth key list.")
            return _activated(_pruned(ring, now, self._max_duration), published[0], now)

        before, after = self._change(change)
        self._record(Event.KEY_ACTIVATED, after.signing_key)
        self._record_dropped(Event.KEYS_PRUNED, before, after)
        return after

    def rotate(self, *, revoke: bool, algorithm: Algorithm | None = None) -> KeyRing:
        """Add a signing key, of the algorithm in use if none is named. With `revoke` the other keys
        are dropped at once. Raises UnusableKeyRing."""
        now = self._clock()

        def change(ring: KeyRing) -> KeyRing:
            key = jwk.generate_key(now, algorithm or ring.signing_key.algorithm)
            if revoke:
                return KeyRing((key,))
            return _activated(_pruned(ring, now, self._max_duration), key, now)

        before, after = self._change(change)
        self._record(Event.KEY_ROTATED, after.signing_key)
        self._record_dropped(Event.KEYS_REVOKED if revoke else Event.KEYS_PRUNED, before, after)
        return after

    def prune(self) -> KeyRing:
        """Drop the keys whose last token has expired. Raises UnusableKeyRing."""
        before, after = self._change(lambda ring: _pruned(ring, self._clock(), self._max_duration))
        self._record_dropped(Event.KEYS_PRUNED, before, after)
        return after

    def _create(self, algorithm: Algorithm) -> None:
        ring = KeyRing((jwk.generate_key(self._clock(), algorithm),))
        self._file.create(jwk.build(ring))

    def _change(self, change: Callable[[KeyRing], KeyRing]) -> tuple[KeyRing, KeyRing]:
        """The ring before and after."""
        with self._file.lock():
            _, before = self._read()
            after = change(before)
            self._file.replace(jwk.build(after))
        return before, after

    def _record(self, event: Event, key: Key) -> None:
        self._audit.record(event, OPERATOR, kid=key.kid, algorithm=key.algorithm)

    def _record_dropped(self, event: Event, before: KeyRing, after: KeyRing) -> None:
        kept = {key.kid for key in after.keys}
        dropped = [key.kid for key in before.keys if key.kid not in kept]
        if dropped:
            self._audit.record(event, OPERATOR, kids=dropped)

    def _follow(self, seen: tuple[Version, KeyRing]) -> tuple[Version, KeyRing]:
        gate.before_waiting()
        with self._lock:
            if self._seen is not seen and self._seen is not None:
                return self._seen  # another thread has read the file meanwhile
            version = self._file.version()
            try:
                self._seen = seen = self._read()
                if self._reported != ():
                    _log.warning("The key ring %s is read again.", self._file.path)
                self._reported = ()
            except UnusableKeyRing as error:  # read again at the next call, but logged once
                if version != self._reported:
                    _log.error("%s The keys that were read before stay in force.", error)
                self._reported = version
            return seen

    def _read(self) -> tuple[Version, KeyRing]:
        # The version is taken before the bytes. In the other order, a change between the two would
        # never be noticed; in this one, the file is at worst read once more.
        version = self._file.version()
        ring = self._parse(is_public=not self._signs)
        if not self._signs and any(key.secret for key in ring.keys):
            ring = self._parse(is_public=False)  # it has secrets, which no other user may read
        return version, ring

    def _parse(self, *, is_public: bool) -> KeyRing:
        raw = self._file.read(is_public=is_public)
        if raw is None:
            step = (
                "set RESTAUTH_KEY_FILE to that of the service, or make one: restauth serve"
                if self._signs
                else "copy that of the service there, or its public keys (/.well-known/jwks.json)"
            )
            raise UnusableKeyRing(f"There is no key ring {self._file.path}: {step}.")
        try:
            return jwk.parse(raw, signs=self._signs)
        except UnusableKeyRing as error:  # `core.jwk` does not know where the bytes come from
            raise UnusableKeyRing(f"{self._file.path}: {error}") from None


def _activated(ring: KeyRing, new_key: Key, now: int) -> KeyRing:
    """The ring with that signing key in front; the key that signed until now is retired."""
    retired, *others = ring.keys
    others = [key for key in others if key is not new_key]
    return KeyRing((new_key, replace(retired, retired_at=now), *others))


def _pruned(ring: KeyRing, now: int, duration: int) -> KeyRing:
    """The ring without the keys that no unexpired token needs."""
    return KeyRing(tuple(key for key in ring.keys if not key.is_spent(now, duration)))
