"""A key ring: one key signs, and all of them verify.

Rule: a key ring is a value. The algorithm belongs to the key: no token can choose it (RFC 8725
section 3.1). `core.jwk` knows how a ring is written and which keys are too weak. Files and clocks
are not known here.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from restauth.core.key_pair import KeyPair

Algorithm = Literal["HS256", "EdDSA", "ES256"]
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)

# Seconds until each machine has the copy of the ring in which another key signs.
ROTATION_GRACE = 3600


@dataclass(frozen=True, slots=True, eq=False)
class Key:
    """A signing key. `retired_at` is None until it has signed its last token; `pair` is None for
    HS256. `secret` is the HMAC key, or the private half as bytes; empty for a public half.

    Keys are compared by identity: after the file was read again, every token is verified again.
    """

    kid: str
    secret: bytes = field(repr=False)
    created_at: int
    retired_at: int | None
    algorithm: Algorithm = "HS256"
    pair: KeyPair | None = None

    @property
    def verifier(self) -> Any:
        """What PyJWT verifies with."""
        return self.pair.public if self.pair else self.secret

    def is_spent(self, now: int, duration: int) -> bool:
        """Whether it was retired so long ago that its last token of that duration has expired."""
        return self.retired_at is not None and now > self.retired_at + duration + ROTATION_GRACE


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys in order. The first one signs. All verify, a retired one only for a limited time.
    Another one that is not retired is published: it verifies before it signs.
    """

    keys: tuple[Key, ...]

    @property
    def signing_key(self) -> Key:
        """The key of all new tokens."""
        return self.keys[0]

    def find(self, kid: str, now: int, duration: int) -> Key | None:
        """The key of that id, for a token that lives `duration` seconds, unless it is spent."""
        for key in self.keys:
            if key.kid == kid:
                return None if key.is_spent(now, duration) else key
        return None
