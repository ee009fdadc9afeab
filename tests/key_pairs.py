"""EdDSA and ES256 keys, for the tests of those who have the extra for them.

Rule: a test that asks for one is left out by name where the extra is missing, so that all that
concerns HS256 is still run there.
"""

import hmac
import json
import sys
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from itertools import permutations

import pytest

import restauth.core
from restauth.core.keyring import Algorithm, Key
from tests import vectors

PAIRED: tuple[Algorithm, ...] = ("EdDSA", "ES256")
EVERY: tuple[Algorithm, ...] = ("HS256", *PAIRED)
NEEDS_EXTRA = "EdDSA and ES256 keys need the cryptography library: pip install 'PyJWT[crypto]'."
EVERY_TWO = list(permutations(EVERY, 2))

P256_ORDER = 0xFFFFFFFF_00000000_FFFFFFFF_FFFFFFFF_BCE6FAAD_A7179E84_F3B9CAC2_FC632551
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493


def need_extra() -> None:
    pytest.importorskip(
        "cryptography", reason="cryptography is not installed: pip install '.[jwks]'"
    )


def lose_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on the extra cannot be imported, as where it never was installed."""
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric", None)
    monkeypatch.delitem(sys.modules, "restauth.core.asymmetric", raising=False)
    monkeypatch.delattr(restauth.core, "asymmetric", raising=False)


def key_of(
    algorithm: Algorithm, kid: str, created_at: int = 0, retired_at: int | None = None
) -> Key:
    """The one key of its kind that tests have, under any name."""
    if algorithm == "HS256":
        return Key(kid, sha256(b"a key of the tests").digest(), created_at, retired_at)
    need_extra()
    from restauth.core import asymmetric  # noqa: PLC0415 - which needs it

    secret = unb64(vectors.PAIRS[algorithm]["d"])
    pair = asymmetric.derive(algorithm, secret)
    return Key(kid, secret, created_at, retired_at, algorithm, pair)


def pair_entry(algorithm: Algorithm, **changes: object) -> dict[str, object]:
    """The same key as a private JWK, for whom the extra may be missing."""
    good = {**vectors.PAIRS[algorithm], "use": "sig", "alg": algorithm, "kid": "one"}
    return {**good, "created_at": 0, **changes}


def b64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return urlsafe_b64decode(text + "==")


def sign_with(text: str, key: Key) -> str:
    """The signature as RFC 7518 and RFC 8037 say, by no JWT library."""
    if key.pair is None:
        return b64(hmac.digest(key.secret, text.encode(), "sha256"))
    if key.algorithm == "EdDSA":
        return b64(key.pair.private.sign(text.encode()))
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec, utils  # noqa: PLC0415

    signature = key.pair.private.sign(text.encode(), ec.ECDSA(hashes.SHA256()))
    r, s = utils.decode_dss_signature(signature)
    return b64(r.to_bytes(32) + s.to_bytes(32))


def respell(token: str) -> str:
    """An ES256 token whose signature is the other root: as valid, and anyone can compute it."""
    text, _, signature = token.rpartition(".")
    raw = unb64(signature)
    other = P256_ORDER - int.from_bytes(raw[32:])
    return f"{text}.{b64(raw[:32] + other.to_bytes(32))}"


def public_texts(key: Key) -> dict[str, bytes]:
    """All public parts of a pair, which could be mistaken for a secret."""
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        Encoding,
        PublicFormat,
    )

    assert key.pair is not None
    public, members = key.pair.public, dict(key.pair.members)
    info = PublicFormat.SubjectPublicKeyInfo
    pem = public.public_bytes(Encoding.PEM, info)
    raws = {
        "x": unb64(members["x"]),
        "y": unb64(members.get("y", "")),
        "x as text": members["x"].encode(),
        "PEM": pem,
        "PEM without its last newline": pem.rstrip(),
        "DER": public.public_bytes(Encoding.DER, info),
        "a line for sshd": public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        "a JWK": json.dumps(members).encode(),
        "a JWK without blanks": json.dumps(members, separators=(",", ":")).encode(),
        "a JWK in order": json.dumps(members, separators=(",", ":"), sort_keys=True).encode(),
        "nothing": b"",
    }
    if key.algorithm == "ES256":
        point = PublicFormat.UncompressedPoint
        raws["a point"] = public.public_bytes(Encoding.X962, point)
    return raws
