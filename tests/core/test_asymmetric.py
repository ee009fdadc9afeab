"""EdDSA and ES256 keys, held against the standards and against another program's."""

import subprocess
import sys
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt import InvalidSignatureError
from jwt.api_jws import PyJWS

from restauth.core.keyring import Algorithm
from tests import vectors
from tests.key_pairs import P256_ORDER, PAIRED, need_extra

need_extra()

from restauth.core import asymmetric  # noqa: E402 - which needs it

A_LIMITED_RUN = settings(max_examples=50, derandomize=True, deadline=None)

N = P256_ORDER
P = 2**255 - 19  # Ed25519's field

Members = dict[str, str]


def unb64(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def coordinates_of(members: Members) -> dict[str, bytes]:
    return {name: unb64(members.get(name, "")) for name in ("x", "y")}


EXAMPLES = {
    **vectors.FAMOUS_PAIRS,
    **{f"{algorithm} by Node": pair for algorithm, pair in vectors.PAIRS.items()},
    **{f"another {algorithm} by Node": pair for algorithm, pair in vectors.OTHER_PAIRS.items()},
}


@pytest.mark.parametrize("jwk", EXAMPLES.values(), ids=EXAMPLES)
def test_a_secret_has_the_public_half_that_others_have_for_it(jwk: Members) -> None:
    algorithm: Algorithm = "EdDSA" if jwk["kty"] == "OKP" else "ES256"
    public = {name: text for name, text in jwk.items() if name != "d"}
    both = asymmetric.derive(algorithm, unb64(jwk["d"]))
    assert both.members == public
    assert both.private is not None
    half = asymmetric.read_public(algorithm, coordinates_of(jwk))
    assert half.members == public
    assert half.private is None


@pytest.mark.parametrize("example", vectors.PAIR_EXAMPLES.values(), ids=vectors.PAIR_EXAMPLES)
def test_the_signature_of_a_standard_is_verified(
    example: tuple[Algorithm, Members, str, str, str],
) -> None:
    algorithm, jwk, header, payload, signature = example
    for pair in (
        asymmetric.derive(algorithm, unb64(jwk["d"])),
        asymmetric.read_public(algorithm, coordinates_of(jwk)),
    ):
        read = PyJWS().decode(f"{header}.{payload}.{signature}", pair.public, [algorithm])
        assert read == unb64(payload)
        with pytest.raises(InvalidSignatureError):
            PyJWS().decode(f"{header}.AAAA{payload}.{signature}", pair.public, [algorithm])


def test_what_rfc_8037_signs_is_signed_alike() -> None:
    """EdDSA has no chance in it."""
    _, jwk, header, payload, signature = vectors.PAIR_EXAMPLES["RFC 8037 appendix A.1 and A.4"]
    pair = asymmetric.derive("EdDSA", unb64(jwk["d"]))
    made = pair.private.sign(f"{header}.{payload}".encode())
    assert urlsafe_b64encode(made).rstrip(b"=").decode() == signature


NO_SECRETS: dict[str, tuple[Algorithm, bytes]] = {
    "EdDSA, empty": ("EdDSA", b""),
    "EdDSA, 31 bytes": ("EdDSA", bytes(range(31))),
    "EdDSA, 33 bytes": ("EdDSA", bytes(range(33))),
    "EdDSA, both halves in one": ("EdDSA", bytes(range(64))),
    "ES256, empty": ("ES256", b""),
    "ES256, 31 bytes": ("ES256", bytes(range(31))),
    "ES256, a NUL before": ("ES256", bytes(1) + bytes(range(32))),
    "ES256, zero": ("ES256", bytes(32)),
    "ES256, the order": ("ES256", N.to_bytes(32)),
    "ES256, more than the order": ("ES256", (N + 1).to_bytes(32)),
    "ES256, ones": ("ES256", b"\xff" * 32),
}


@pytest.mark.parametrize(("algorithm", "secret"), NO_SECRETS.values(), ids=NO_SECRETS)
def test_what_is_no_secret_of_the_curve_is_refused(algorithm: Algorithm, secret: bytes) -> None:
    with pytest.raises(ValueError, match=r".") as refusal:
        asymmetric.derive(algorithm, secret)
    assert refusal.type is ValueError


def test_the_largest_secret_of_the_curve_is_one() -> None:
    assert asymmetric.derive("ES256", (N - 1).to_bytes(32)).private is not None


def ed25519(y: int) -> dict[str, bytes]:
    return {"x": y.to_bytes(32, "little"), "y": b""}


X, Y = (unb64(vectors.PAIRS["ES256"][name]) for name in "xy")
NO_POINTS: dict[str, tuple[Algorithm, dict[str, bytes]]] = {
    "EdDSA, empty": ("EdDSA", {"x": b"", "y": b""}),
    "EdDSA, 31 bytes": ("EdDSA", {"x": ed25519(3)["x"][:31], "y": b""}),
    "EdDSA, a NUL behind": ("EdDSA", {"x": ed25519(3)["x"] + bytes(1), "y": b""}),
    "EdDSA, off the curve": ("EdDSA", ed25519(2)),
    "EdDSA, order 1": ("EdDSA", ed25519(1)),
    "EdDSA, order 1 with the other sign": ("EdDSA", ed25519(1 + 2**255)),
    "EdDSA, order 2": ("EdDSA", ed25519(P - 1)),
    "EdDSA, zero in another spelling": ("EdDSA", ed25519(P)),
    "EdDSA, three in another spelling": ("EdDSA", ed25519(P + 3)),
    "EdDSA, ones": ("EdDSA", {"x": b"\xff" * 32, "y": b""}),
    "ES256, nothing": ("ES256", {"x": b"", "y": b""}),
    "ES256, no x": ("ES256", {"x": b"", "y": Y}),
    "ES256, no y": ("ES256", {"x": X, "y": b""}),
    "ES256, a NUL before": ("ES256", {"x": bytes(1) + X, "y": Y}),
    "ES256, zeros": ("ES256", {"x": bytes(32), "y": bytes(32)}),
    "ES256, changed places": ("ES256", {"x": Y, "y": X}),
    "ES256, one bit off": ("ES256", {"x": X, "y": Y[:-1] + bytes([Y[-1] ^ 1])}),
    "ES256, ones": ("ES256", {"x": b"\xff" * 32, "y": b"\xff" * 32}),
}


@pytest.mark.parametrize(("algorithm", "coordinates"), NO_POINTS.values(), ids=NO_POINTS)
def test_what_is_no_point_of_the_curve_is_refused(
    algorithm: Algorithm, coordinates: dict[str, bytes]
) -> None:
    with pytest.raises(ValueError, match=r".") as refusal:
        asymmetric.read_public(algorithm, coordinates)
    assert refusal.type is ValueError


def test_a_point_next_to_those_is_read() -> None:
    assert asymmetric.read_public("EdDSA", ed25519(3)).private is None


@pytest.mark.parametrize("algorithm", PAIRED)
@A_LIMITED_RUN
@given(secret=st.binary(min_size=32, max_size=32))
def test_any_secret_is_a_pair_whose_public_half_can_be_read(
    algorithm: Algorithm, secret: bytes
) -> None:
    try:
        pair = asymmetric.derive(algorithm, secret)
    except ValueError:
        assert algorithm == "ES256"
        assert not 0 < int.from_bytes(secret) < N
        return
    members = dict(pair.members)
    assert asymmetric.read_public(algorithm, coordinates_of(members)).members == members


def test_a_coordinate_keeps_the_zeros_before_it() -> None:
    """RFC 7518 section 6.2.1.2: all 32 bytes of it."""
    pairs = (asymmetric.derive("ES256", sha256(str(n).encode()).digest()) for n in count())
    pair = next(pair for pair in pairs if pair.public.public_numbers().x < 2**248)
    assert unb64(pair.members["x"])[0] == 0
    assert len(unb64(pair.members["x"])) == 32
    read = asymmetric.read_public("ES256", coordinates_of(dict(pair.members)))
    assert read.members == pair.members


@pytest.mark.parametrize("algorithm", PAIRED)
def test_every_new_secret_is_a_pair_and_another(algorithm: Algorithm) -> None:
    secrets = [asymmetric.generate_secret(algorithm) for _ in range(50)]
    assert len(set(secrets)) == 50
    assert all(asymmetric.derive(algorithm, secret).private for secret in secrets)


@pytest.mark.parametrize("algorithm", PAIRED)
def test_no_half_is_shown(algorithm: Algorithm) -> None:
    pair = asymmetric.derive(algorithm, unb64(vectors.PAIRS[algorithm]["d"]))
    assert "private" not in repr(pair)


def test_a_library_that_was_installed_since_the_start_waits_for_the_next_one() -> None:
    """PyJWT has looked for it, and would fail at the first token."""
    script = """
import sys
sys.modules["cryptography"] = None  # as where it is not installed
from restauth.core import jwk
from restauth.errors import UnusableKeyRing
del sys.modules["cryptography"]
try:
    jwk.generate_key(0, "EdDSA")
except UnusableKeyRing as refusal:
    print(refusal)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "The cryptography library is new here: restart, to use such keys.\n"
