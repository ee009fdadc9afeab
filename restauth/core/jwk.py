"""A key ring as a JWK Set (RFC 7517), and the keys that are too weak for one.

Rule: a set that is not well-formed as a whole is refused, and so is every key that could be
guessed. The private set is our key file. The public set never holds a secret.
"""

import json
import re
import secrets
from typing import Any, cast

from restauth.core import base64url, json_text
from restauth.core.json_text import MalformedJSON
from restauth.core.key_pair import KeyPair
from restauth.core.keyring import Algorithm, Key, KeyRing
from restauth.core.published_keys import is_published
from restauth.errors import UnusableKeyRing

MIN_SECRET_LENGTH = 32  # bytes: HS256 wants a key as long as its digest, RFC 7518 section 3.2
MAX_TIME = 253_402_300_799  # the end of the year 9999: RFC 3339 can write no later time
MIN_DISTINCT_BYTES = 12  # 32 random bytes have fewer about once in 10^20; padded words often do

_KINDS: dict[str, dict[str, str]] = {
    "HS256": {"kty": "oct"},
    "EdDSA": {"kty": "OKP", "crv": "Ed25519"},
    "ES256": {"kty": "EC", "crv": "P-256"},
}
_KID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def generate_key(now: int, algorithm: Algorithm) -> Key:
    """A new key that signs. Raises UnusableKeyRing when its algorithm needs a missing library."""
    kid = secrets.token_hex(9)  # a Base64url text could begin with "-", like an option
    if algorithm == "HS256":
        return Key(kid, secrets.token_bytes(MIN_SECRET_LENGTH), now, None)
    from restauth.core import asymmetric  # noqa: PLC0415 - which needs an extra

    secret = asymmetric.generate_secret(algorithm)
    return Key(kid, secret, now, None, algorithm, asymmetric.derive(algorithm, secret))


def parse(raw: bytes, *, signs: bool = True) -> KeyRing:
    """Read a JWK Set. Raises UnusableKeyRing, which names the key but never its secret.

    A ring that `signs` needs all secrets, and a first key that is not retired. Otherwise public
    halves are enough, and the set may be empty: then all keys were withdrawn.
    """
    try:
        entries = json_text.parse_object(raw).get("keys")
    except MalformedJSON:
        raise UnusableKeyRing("The key ring is not well-formed JSON.") from None
    if type(entries) is not list or (signs and not entries):
        raise UnusableKeyRing('The key ring has no list of "keys", or an empty one.')
    keys = tuple(_parse_key(entry, signs=signs) for entry in entries)
    if len({key.kid for key in keys}) != len(keys):
        raise UnusableKeyRing('Two keys of the key ring have one "kid".')
    if signs and keys[0].retired_at is not None:
        raise UnusableKeyRing("The first key of the ring signs, and is retired.")
    return KeyRing(keys)


def build(ring: KeyRing) -> bytes:
    """The ring as a private JWK Set, one member a line. `created_at` and `retired_at` are members
    of our own, in epoch seconds; other software ignores them (RFC 7517 section 4).

    Raises UnusableKeyRing for a ring that `parse` would refuse: it could not be read back.
    """
    entries = [
        {
            **(key.pair.members if key.pair else {"kty": "oct"}),
            **_labels(key),
            "d" if key.pair else "k": base64url.build(key.secret),
            "created_at": key.created_at,
            **({} if key.retired_at is None else {"retired_at": key.retired_at}),
        }
        for key in ring.keys
    ]
    raw = json.dumps({"keys": entries}, indent=1).encode("ascii") + b"\n"
    parse(raw)
    return raw


def build_public(ring: KeyRing) -> dict[str, object]:
    """The public halves as a JWK Set. An HS256 key has no public half."""
    return {"keys": [{**key.pair.members, **_labels(key)} for key in ring.keys if key.pair]}


def _labels(key: Key) -> dict[str, str]:
    return {"use": "sig", "alg": key.algorithm, "kid": key.kid}


def _parse_key(entry: Any, *, signs: bool) -> Key:
    if type(entry) is not dict:
        raise UnusableKeyRing("A key of the key ring is not an object.")
    kid, algorithm = entry.get("kid"), entry.get("alg")
    if type(kid) is not str or not _KID.fullmatch(kid):
        raise UnusableKeyRing('A key of the key ring has no valid "kid".')
    kind = _KINDS.get(algorithm) if type(algorithm) is str else None
    if kind is None or entry.get("use") != "sig" or not kind.items() <= _strings(entry).items():
        raise UnusableKeyRing(
            f'Key "{kid}" is not a signing key of {", ".join(_KINDS)} (kty, crv, alg, use).'
        )
    created_at, retired_at = entry.get("created_at", 0), entry.get("retired_at")
    times = (created_at,) if retired_at is None else (created_at, retired_at)
    if any(type(at) is not int or not 0 <= at <= MAX_TIME for at in times):
        raise UnusableKeyRing(
            f'The times of key "{kid}" are not whole seconds up to the year 9999.'
        )
    if algorithm == "HS256":
        return Key(kid, _parse_secret(kid, entry.get("k")), created_at, retired_at)
    known = cast("Algorithm", algorithm)
    is_public = "d" not in entry and not signs
    secret = b"" if is_public else _parse_secret(kid, entry.get("d"))
    pair = _parse_pair(kid, known, secret, entry)
    return Key(kid, secret, created_at, retired_at, known, pair)


def _parse_secret(kid: str, text: Any) -> bytes:
    secret = base64url.parse(text)
    if secret is None:
        raise UnusableKeyRing(f'The secret of key "{kid}" is not canonical Base64url.')
    if _is_weak(secret):
        raise _weakness(kid)
    return secret


def _parse_pair(kid: str, algorithm: Algorithm, secret: bytes, entry: dict[str, Any]) -> KeyPair:
    """Both halves, made of the secret; without a secret the public half, of its coordinates."""
    from restauth.core import asymmetric  # noqa: PLC0415 - which needs an extra

    coordinates = {name: base64url.parse(entry.get(name)) or b"" for name in ("x", "y")}
    try:
        if secret:
            pair = asymmetric.derive(algorithm, secret)
        else:
            pair = asymmetric.read_public(algorithm, coordinates)
    except ValueError:
        raise UnusableKeyRing(f'Key "{kid}" is not a key of its curve.') from None
    if not pair.members.items() <= _strings(entry).items():
        raise UnusableKeyRing(f'The public half of key "{kid}" does not belong to its secret.')
    if _is_weak(coordinates["x"]):
        raise _weakness(kid)
    return pair


def _weakness(kid: str) -> UnusableKeyRing:
    return UnusableKeyRing(f'Key "{kid}" is weak: too short, published, or not random.')


def _strings(entry: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in entry.items() if type(value) is str}


def _is_weak(secret: bytes) -> bool:
    # HMAC pads a key with zero bytes, so K and K followed by NULs are the same key.
    padded = {secret.rstrip(b"\0"), secret.rstrip(b"\0").strip(), secret.strip(b"\0 \t\r\n\v\f")}
    is_short = len(secret) < MIN_SECRET_LENGTH
    is_mostly_padding = len(secret.strip(b"\0")) < MIN_SECRET_LENGTH - 8
    is_known = any(map(is_published, padded))
    has_few_bytes = len(set(secret)) < MIN_DISTINCT_BYTES
    is_repeated = secret in (secret + secret)[1:-1]  # a repeated word is a rotation of itself
    return is_short or is_mostly_padding or is_known or has_few_bytes or is_repeated
