"""One key signs, the others still verify.

Rule: a key ring is a value. It is read from and written as a private JWK Set (RFC 7517), and it
refuses every key that could be guessed. Files and clocks are for others.
"""

import json
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field, replace
from typing import Any

from restauth.core import json_text
from restauth.errors import MalformedRequest, UnusableKeyRing

MIN_SECRET_LENGTH = 32  # bytes: HS256 wants a key as long as its digest, RFC 7518 section 3.2
MIN_DISTINCT_BYTES = 12  # 32 random bytes have fewer about once in 10^20; a padded word often has
# Seconds for a token that a process was just signing when its key was retired by another one.
ROTATION_GRACE = 5

_KID = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Keys of 32 bytes and more that stand in published tutorials and standards (CVE-2025-45768 and its
# kin: a library verifies with any key, so the guard stands here). Shorter ones fall by length.
_FAMOUS = frozenset(
    {
        b"the quick brown fox jumps over the lazy dog",  # REST-auth
        b"a-string-secret-at-least-256-bits-long",  # jwt.io
        b"09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",  # FastAPI's tutorial
        bytes.fromhex("09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7"),
        # RFC 7515 appendix A.1 and RFC 7520 section 3.5
        urlsafe_b64decode(
            "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow=="
        ),
        urlsafe_b64decode("hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg="),
        b"abcdefghijklmnopqrstuvwxyz012345",
        b"abcdefghijklmnopqrstuvwxyz0123456789",
        b"0123456789abcdefghijklmnopqrstuvwxyz",
        bytes(range(32)),
        bytes(range(1, 33)),
    }
)
# A public key in the place of a secret is known to everybody (PyJWT's advisory of 2022).
_OTHER_KEYS = (b"BEGIN ", b"ssh-", b"ecdsa-", b'"kty"')


@dataclass(frozen=True, slots=True, eq=False)
class Key:
    """An HS256 key. Two keys are the same only if they are the same object: what was verified
    with the key of one reading of the file is verified anew after the next.

    `retired_at` is None for the key that signs. Times are epoch seconds.
    """

    kid: str
    secret: bytes = field(repr=False)
    created_at: int
    retired_at: int | None

    algorithm = "HS256"


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

    def rotated(self, now: int) -> "KeyRing":
        """The same ring with a new signing key before the others."""
        retired = tuple(
            replace(key, retired_at=now) if key.retired_at is None else key for key in self.keys
        )
        return KeyRing((_generate_key(now), *retired))

    def pruned(self, now: int, duration: int) -> "KeyRing":
        """The same ring without the keys that `find` no longer finds."""
        return KeyRing(tuple(key for key in self.keys if not _is_spent(key, now, duration)))


def generate(now: int) -> KeyRing:
    """A new ring: exactly one key, of 32 random bytes."""
    return KeyRing((_generate_key(now),))


def parse(raw: bytes) -> KeyRing:
    """Read a private JWK Set. Raises UnusableKeyRing, which names the key but never its secret."""
    try:
        entries = json_text.parse_object(raw).get("keys")
    except MalformedRequest:
        raise UnusableKeyRing("The key ring is not well-formed JSON.") from None
    if type(entries) is not list or not entries:
        raise UnusableKeyRing('The key ring has no list of "keys".')
    keys = tuple(_parse_key(entry) for entry in entries)
    if len({key.kid for key in keys}) != len(keys):
        raise UnusableKeyRing('Two keys of the key ring have one "kid".')
    if keys[0].retired_at is not None or None in (key.retired_at for key in keys[1:]):
        raise UnusableKeyRing("The first key of the ring signs, and no other may be unretired.")
    return KeyRing(keys)


def build(ring: KeyRing) -> bytes:
    """The ring as a JWK Set, one member to a line. `created_at` and `retired_at` are our own
    members, epoch seconds; RFC 7517 section 4 lets others ignore them."""
    entries = [
        {
            "kty": "oct",
            "use": "sig",
            "alg": key.algorithm,
            "kid": key.kid,
            "k": urlsafe_b64encode(key.secret).rstrip(b"=").decode("ascii"),
            "created_at": key.created_at,
            **({} if key.retired_at is None else {"retired_at": key.retired_at}),
        }
        for key in ring.keys
    ]
    return json.dumps({"keys": entries}, indent=1).encode("ascii") + b"\n"


def _generate_key(now: int) -> Key:
    return Key(secrets.token_urlsafe(9), secrets.token_bytes(32), now, None)


def _is_spent(key: Key, now: int, duration: int) -> bool:
    return key.retired_at is not None and now > key.retired_at + duration + ROTATION_GRACE


def _parse_key(entry: Any) -> Key:
    if type(entry) is not dict:
        raise UnusableKeyRing("A key of the key ring is not an object.")
    kid = entry.get("kid")
    if type(kid) is not str or not _KID.fullmatch(kid):
        raise UnusableKeyRing('A key of the key ring has no usable "kid".')
    if entry.get("kty") != "oct" or entry.get("alg") != "HS256" or entry.get("use") != "sig":
        raise UnusableKeyRing(f'Key "{kid}" is no HS256 signing key (kty, alg, use).')
    secret = _parse_secret(entry.get("k"))
    if secret is None:
        raise UnusableKeyRing(f'The secret of key "{kid}" is not canonical Base64url.')
    if _is_weak(secret):
        raise UnusableKeyRing(f'Key "{kid}" is weak: short, famous, or far from random.')
    created_at, retired_at = entry.get("created_at", 0), entry.get("retired_at")
    if type(created_at) is not int or type(retired_at) not in (int, type(None)):
        raise UnusableKeyRing(f'The times of key "{kid}" are not whole seconds.')
    return Key(kid, secret, created_at, retired_at)


def _parse_secret(k: Any) -> bytes | None:
    if type(k) is not str or not re.fullmatch(r"[A-Za-z0-9_-]*", k):
        return None
    try:
        secret = urlsafe_b64decode(k + "=" * (-len(k) % 4))
    except ValueError:
        return None
    return secret if urlsafe_b64encode(secret).rstrip(b"=").decode("ascii") == k else None


def _is_weak(secret: bytes) -> bool:
    bare = secret.rstrip(b"\0")  # HMAC pads a key with zeros: K and K + NUL are one key
    return (
        len(secret) < MIN_SECRET_LENGTH
        or len(bare) < MIN_SECRET_LENGTH - 8  # a random key may end in a NUL or two
        or not _FAMOUS.isdisjoint((bare, bare.strip(), secret.strip(b"\0 \t\r\n\v\f")))
        or len(set(secret)) < MIN_DISTINCT_BYTES
        or secret in (secret + secret)[1:-1]  # a word repeated is its own rotation
        or any(mark in secret for mark in _OTHER_KEYS)
    )
