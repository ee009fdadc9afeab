"""EdDSA and ES256 keys: generate one, or build one from the members of a JWK.

Rule: the one file that knows the cryptography library. The library is optional, so this file is
imported only when a key needs it. RFC 8037 (Ed25519), RFC 7518 section 6.2 (P-256).
"""

import secrets
from collections.abc import Mapping

from jwt.algorithms import has_crypto

from restauth.core import base64url
from restauth.core.key_pair import KeyPair
from restauth.core.keyring import Algorithm
from restauth.errors import UnusableKeyRing

try:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )
except ImportError:
    raise UnusableKeyRing(
        "EdDSA and ES256 keys need the cryptography library: pip install 'PyJWT[crypto]'."
    ) from None
if not has_crypto:  # PyJWT looks for the library only once, when PyJWT is imported
    raise UnusableKeyRing("The cryptography library was just installed: restart to use it.")

KEY_LENGTH = 32  # bytes of a secret, and of a coordinate: both curves have 256 bits

_P = 2**255 - 19  # Ed25519's field, and the d of its curve (RFC 8032 section 5.1)
_D = -121665 * pow(121666, -1, _P) % _P


def generate_secret(algorithm: Algorithm) -> bytes:
    """A random Ed25519 seed, or a random scalar of P-256."""
    if algorithm == "EdDSA":
        return secrets.token_bytes(KEY_LENGTH)
    numbers = ec.generate_private_key(ec.SECP256R1()).private_numbers()
    return numbers.private_value.to_bytes(KEY_LENGTH)


def derive(algorithm: Algorithm, secret: bytes) -> KeyPair:
    """Both halves. Raises ValueError when the secret cannot belong to this algorithm."""
    if algorithm == "EdDSA":
        private = Ed25519PrivateKey.from_private_bytes(secret)
        return _ed25519(private, private.public_key())
    if len(secret) != KEY_LENGTH:
        raise ValueError("not as long as the curve's order")
    scalar = ec.derive_private_key(int.from_bytes(secret), ec.SECP256R1())
    return _p256(scalar, scalar.public_key())


def read_public(algorithm: Algorithm, coordinates: Mapping[str, bytes]) -> KeyPair:
    """The public half. Raises ValueError when the coordinates are not on the curve."""
    if algorithm == "EdDSA":
        if not _is_on_ed25519(coordinates["x"]):
            raise ValueError("not on the curve")
        return _ed25519(None, Ed25519PublicKey.from_public_bytes(coordinates["x"]))
    if {len(coordinate) for coordinate in coordinates.values()} != {KEY_LENGTH}:
        raise ValueError("not as long as the curve's coordinates")
    x, y = (int.from_bytes(coordinates[name]) for name in ("x", "y"))
    return _p256(None, ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key())


def _is_on_ed25519(point: bytes) -> bool:
    """Whether the other coordinate exists: its square has a root (RFC 8032 section 5.1.3).

    The library accepts any 32 bytes, and then verifies no signature with them. A square of zero is
    refused too: it belongs to the points of order 1 and 2, for which anyone can sign.
    """
    y = int.from_bytes(point, "little") & ~(1 << 255)
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    return y < _P and pow(square, (_P - 1) // 2, _P) == 1


def _ed25519(private: Ed25519PrivateKey | None, public: Ed25519PublicKey) -> KeyPair:
    members = {"kty": "OKP", "crv": "Ed25519", "x": base64url.build(public.public_bytes_raw())}
    return KeyPair(private, public, members)


def _p256(private: ec.EllipticCurvePrivateKey | None, public: ec.EllipticCurvePublicKey) -> KeyPair:
    numbers = public.public_numbers()
    x, y = (base64url.build(number.to_bytes(KEY_LENGTH)) for number in (numbers.x, numbers.y))
    return KeyPair(private, public, {"kty": "EC", "crv": "P-256", "x": x, "y": y})
