"""EdDSA and ES256 keys, compared with the standards and with another program's."""

import subprocess
import sys
from hashlib import sha256
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jwt import InvalidSignatureError
from jwt.api_jws import PyJWS

from restauth.core.keyring import Algorithm
from tests import vectors
from tests.core.inputs import LIMITED, cases
from tests.key_pairs import P256_ORDER, PAIRED, b64, need_extra, unb64

need_extra()

from restauth.core import asymmetric  # noqa: E402 - which needs it

N = P256_ORDER
P = 2**255 - 19  # Ed25519's field

Members = dict[str, str]


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
    half = asymmetric.read_public(algorithm, coordinates_of(jwk))
    assert both.members == half.members == public
    assert both.private is not None
    assert half.private is None
    assert "private" not in repr(both)


@pytest.mark.parametrize("example", vectors.PAIR_EXAMPLES.values(), ids=vectors.PAIR_EXAMPLES)
def test_the_signature_of_a_standard_is_verified(
    example: tuple[Algorithm, Members, str, str, str],
) -> None:
    algorithm, jwk, header, payload, signature = example
    both = asymmetric.derive(algorithm, unb64(jwk["d"]))
    for pair in (both, asymmetric.read_public(algorithm, coordinates_of(jwk))):
        read = PyJWS().decode(f"{header}.{payload}.{signature}", pair.public, [algorithm])
        assert read == unb64(payload)
        with pytest.raises(InvalidSignatureError):
            PyJWS().decode(f"{header}.AAAA{payload}.{signature}", pair.public, [algorithm])
    if algorithm == "EdDSA":  # which always makes the same signature
        assert b64(both.private.sign(f"{header}.{payload}".encode())) == signature


NO_SECRETS: dict[str, list[bytes]] = {
    "EdDSA": [b"", bytes(range(31)), bytes(range(33)), bytes(range(64))],
    "ES256": [
        *(b"", bytes(range(31)), bytes(1) + bytes(range(32)), bytes(32), b"\xff" * 32),
        *(N.to_bytes(32), (N + 1).to_bytes(32)),
    ],
}


@pytest.mark.parametrize(("algorithm", "secret"), cases(NO_SECRETS))
def test_what_is_no_secret_of_the_curve_is_refused(algorithm: Algorithm, secret: bytes) -> None:
    with pytest.raises(ValueError, match=r".") as refusal:
        asymmetric.derive(algorithm, secret)
    assert refusal.type is ValueError
    assert asymmetric.derive("ES256", (N - 1).to_bytes(32)).private is not None


# Off the curve, the points of order 1 and 2, and numbers in a second spelling.
NO_NUMBERS = (2, 1, 1 + 2**255, P - 1, P, P + 3, 2**256 - 1)
THREE, *OTHERS = (number.to_bytes(32, "little") for number in (3, *NO_NUMBERS))
X, Y = (unb64(vectors.PAIRS["ES256"][name]) for name in "xy")
NO_POINTS: dict[str, list[tuple[bytes, bytes]]] = {
    "EdDSA": [(x, b"") for x in (b"", THREE[:31], THREE + bytes(1), *OTHERS)],
    "ES256": [
        *((b"", b""), (b"", Y), (X, b""), (bytes(1) + X, Y), (Y, X), (bytes(32), bytes(32))),
        *((X, Y[:-1] + bytes([Y[-1] ^ 1])), (b"\xff" * 32, b"\xff" * 32)),
    ],
}


@pytest.mark.parametrize(("algorithm", "point"), cases(NO_POINTS))
def test_what_is_no_point_of_the_curve_is_refused(
    algorithm: Algorithm, point: tuple[bytes, bytes]
) -> None:
    with pytest.raises(ValueError, match=r".") as refusal:
        asymmetric.read_public(algorithm, dict(zip("xy", point, strict=True)))
    assert refusal.type is ValueError
    assert asymmetric.read_public("EdDSA", {"x": THREE, "y": b""}).private is None


@pytest.mark.parametrize("algorithm", PAIRED)
@LIMITED
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
    coordinates = coordinates_of(dict(pair.members))
    assert (coordinates["x"][0], len(coordinates["x"])) == (0, 32)
    assert asymmetric.read_public("ES256", coordinates).members == pair.members


@pytest.mark.parametrize("algorithm", PAIRED)
def test_every_new_secret_is_a_pair_and_another(algorithm: Algorithm) -> None:
    secrets = [asymmetric.generate_secret(algorithm) for _ in range(50)]
    assert len(set(secrets)) == 50
    assert all(asymmetric.derive(algorithm, secret).private for secret in secrets)


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
    assert "restart" in done.stdout
