"""One key signs, the others still verify.

Rule: a key ring is a value, and the algorithm is the key's: no token chooses it (RFC 8725 section
3.1). How a ring is written, and which keys are too weak for one, is for `jwk`; files and clocks are
for others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

Algorithm = Literal["HS256", "EdDSA", "ES256"]
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)

# Seconds for a token that a process was just signing when its key was retired by another one.
ROTATION_GRACE = 5


@dataclass(frozen=True, slots=True)
class KeyPair:
    """The halves of an EdDSA or ES256 key, as the cryptography library holds them, and the members
    of the public one's JWK. `private` is None where only tokens of others are verified."""

    private: Any = field(repr=False)
    public: Any
    members: Mapping[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Key:
    """Two keys are the same only if they are the same object: what was verified with the key of
    one reading of the file is verified anew after the next.

    `retired_at` is None for the key that signs. Times are epoch seconds. `pair` is None for HS256.
    """

    kid: str
    secret: bytes = field(repr=False)
    created_at: int
    retired_at: int | None
    algorithm: Algorithm = "HS256"
    pair: KeyPair | None = None

    @property
    def signer(self) -> Any:
        """What PyJWT signs with."""
        return self.pair.private if self.pair else self.secret

    @property
    def verifier(self) -> Any:
        """What PyJWT verifies with."""
        return self.pair.public if self.pair else self.secret


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys in order: the first one signs, all of them verify, the retired ones for a while."""

    keys: tuple[Key, ...]

    @property
    def signing_key(self) -> Key:
        return self.keys[0]

    def find(self, kid: str, now: int, duration: int) -> Key | None:
        """The key of that name, unless it retired so long ago that its last token, which lived
        `duration` seconds, has expired."""
        for key in self.keys:
            if key.kid == kid:
                return None if _is_spent(key, now, duration) else key
        return None

    def rotated(self, key: Key, now: int) -> "KeyRing":
        """The same ring with a new signing key before the others."""
        retired = tuple(
            replace(key, retired_at=now) if key.retired_at is None else key for key in self.keys
        )
        return KeyRing((key, *retired))

    def pruned(self, now: int, duration: int) -> "KeyRing":
        """The same ring without the keys that `find` no longer finds."""
        return KeyRing(tuple(key for key in self.keys if not _is_spent(key, now, duration)))


def _is_spent(key: Key, now: int, duration: int) -> bool:
    return key.retired_at is not None and now > key.retired_at + duration + ROTATION_GRACE
