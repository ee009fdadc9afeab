"""SHA-crypt in pure Python, compared with what C libraries make."""

import pytest

from restauth.core import sha_crypt
from tests import hash_samples

ROWS = hash_samples.DREPPER | {
    remark: row for remark, row in hash_samples.CHEAP.items() if row.kind.endswith("-crypt")
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_the_digest_is_that_of_the_other_program(row: hash_samples.Row) -> None:
    _, ident, *number, salt, digest = row.password_hash.split("$")
    rounds = int(number[0].removeprefix("rounds=")) if number else 5000
    name = {"5": "sha256", "6": "sha512"}[ident]
    assert sha_crypt.digest(row.password.encode(), salt.encode(), rounds, name) == digest


def test_a_digest_matches_under_its_own_inputs_alone() -> None:
    expected = sha_crypt.digest(b"right", b"abc", 1000, "sha512")
    assert sha_crypt.matches(b"right", b"abc", 1000, "sha512", expected)
    for password, salt, rounds, name in (
        *((other, b"abc", 1000, "sha512") for other in (b"Right", b"right ", b"")),
        *((b"right", other, 1000, "sha512") for other in (b"abd", b"")),
        (b"right", b"abc", 1001, "sha512"),
        (b"right", b"abc", 1000, "sha256"),
    ):
        assert not sha_crypt.matches(password, salt, rounds, name, expected)
