"""SHA-crypt in pure Python, held against what C libraries make."""

import pytest

from restauth.core import sha_crypt
from tests import hash_samples

ROWS = hash_samples.DREPPER | {
    remark: row for remark, row in hash_samples.CHEAP.items() if row.kind.endswith("-crypt")
}


def split(password_hash: str) -> tuple[bytes, int, str, str]:
    """Salt, rounds, name and digest."""
    _, ident, *rounds, salt, digest = password_hash.split("$")
    number = int(rounds[0].removeprefix("rounds=")) if rounds else 5000
    return salt.encode(), number, {"5": "sha256", "6": "sha512"}[ident], digest


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_the_digest_is_that_of_the_other_program(row: hash_samples.Row) -> None:
    salt, rounds, name, digest = split(row.password_hash)
    assert sha_crypt.digest(row.password.encode(), salt, rounds, name) == digest


@pytest.mark.parametrize(
    ("password", "salt", "rounds", "name"),
    [
        pytest.param(b"right", b"abc", 1000, "sha512", id="itself"),
        pytest.param(b"Right", b"abc", 1000, "sha512", id="another password"),
        pytest.param(b"right ", b"abc", 1000, "sha512", id="a longer password"),
        pytest.param(b"", b"abc", 1000, "sha512", id="no password"),
        pytest.param(b"right", b"abd", 1000, "sha512", id="another salt"),
        pytest.param(b"right", b"", 1000, "sha512", id="no salt"),
        pytest.param(b"right", b"abc", 1001, "sha512", id="a round more"),
        pytest.param(b"right", b"abc", 1000, "sha256", id="another hash"),
    ],
)
def test_a_digest_matches_under_its_own_inputs_alone(
    password: bytes, salt: bytes, rounds: int, name: str
) -> None:
    expected = sha_crypt.digest(b"right", b"abc", 1000, "sha512")
    is_itself = (password, salt, rounds, name) == (b"right", b"abc", 1000, "sha512")
    assert sha_crypt.matches(password, salt, rounds, name, expected) == is_itself
