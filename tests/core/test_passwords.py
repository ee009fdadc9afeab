"""Password hashes: their form, their equality, and their even work."""

import re
from string import ascii_letters, digits

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restauth.core import passwords
from tests import vectors
from tests.core.inputs import ANY_TEXT, LIMITED

COST = 6  # two steps above the cheapest, so that there is work to top up
HASH = passwords.hash("right", COST)
CHEAPER = passwords.hash("right", COST - 2)
HEAD, SALT, DIGEST = HASH[:28], HASH[28:50], HASH[51:]

DAMAGED = [
    *("", "x", "right", HASH[:-1], HASH[1:], HASH + "a", HASH + "\n", " " + HASH, HASH + HASH),
    *(f"{HEAD}${DIGEST}", f"{HEAD}{SALT}$", f"{HEAD}{DIGEST}${SALT}", f"$2b$06${SALT}{DIGEST}"),
    *(f"{HEAD}{SALT}${character}{DIGEST[1:]}" for character in ("-", "é", "\ud800", "\0")),
    *(HASH.replace("v=2", "v=1"), HASH.replace("t=2b", "t=2x"), HASH.replace("t=2b", "t=2a")),
    "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b4dWA",
]


def with_cost(cost: object) -> str:
    return HASH.replace("r=6", f"r={cost}")


# The form


@pytest.mark.parametrize(
    ("password", "password_hash"), vectors.PASSLIB_HASHES.values(), ids=vectors.PASSLIB_HASHES
)
def test_a_hash_made_by_another_program_matches(password: str, password_hash: str) -> None:
    assert passwords.matches(password, password_hash, 4)
    assert not passwords.matches(password + " ", password_hash, 4)


def test_a_hash_has_the_form_of_bcrypt_sha256_version_2(work: list[int]) -> None:
    form = r"\$bcrypt-sha256\$v=2,t=2b,r=6\$([./A-Za-z0-9]{21}[.Oeu])\$([./A-Za-z0-9]{31})"
    one, other = (re.fullmatch(form, passwords.hash("same", COST)) for _ in range(2))
    assert work == [2**COST] * 2
    assert one
    assert other
    assert one[1] != other[1]  # the salts
    assert one[2] != other[2]
    assert passwords.matches("same", one[0], 4)
    assert passwords.matches("same", other[0], 4)


def test_a_salt_with_stray_bits_is_damage() -> None:
    """22 characters hold 132 bits, a salt has 128; bcrypt raises on the rest."""
    for last in "./" + ascii_letters + digits:
        other = f"{HEAD}{SALT[:-1]}{last}${DIGEST}"
        assert (passwords.cost_of(other) is not None) == (last in ".Oeu")
        assert passwords.matches("right", other, COST) == (last == SALT[-1])


# What is the same password, and what is not


def test_two_spellings_with_one_nfc_are_one_password() -> None:
    for password, typed in (
        ("é", "e\u0301"),
        ("각", "\u1100\u1161\u11a8"),
        ("Å", "\u212b"),
        ("\u1ea1\u0307", "a\u0307\u0323"),
    ):
        assert passwords.matches(typed, passwords.hash(password, 4), 4)
        assert passwords.matches(password, passwords.hash(typed, 4), 4)


def test_two_passwords_that_differ_anywhere_are_two() -> None:
    """Case and width count, nothing is cut off, neither at a NUL nor at 72 bytes."""
    for password, typed in (
        *(("Right", "right"), ("ﬁ", "fi"), ("ｘ", "x"), ("right", "")),  # noqa: RUF001
        *(("right", other) for other in (" right", "right ", "right\n")),
        *((" ", "  "), ("a\0b", "a\0c"), ("a", "a\0"), ("\0", "\0\0")),
        *(("x" * 72 + "a", "x" * 72 + "b"), ("x" * 72, "x" * 73)),
        ("🔑" * 1023 + "a", "🔑" * 1023 + "b"),
    ):
        password_hash = passwords.hash(password, 4)
        assert passwords.matches(password, password_hash, 4)
        assert not passwords.matches(typed, password_hash, 4)


def test_a_password_has_1_to_1024_characters() -> None:
    """Counted as typed, before NFC, and not in bytes."""
    accepted = [" ", "\0", "x" * 1024, "🔑" * 1024, "\ud7ff\ue000"]
    refused = ["", "x" * 1025, "e\u0301" * 513, "\ud800", "x\udfffx"]
    assert [one for one in accepted + refused if passwords.is_acceptable(one)] == accepted


# Even work: the time of an answer must not tell what is stored


@pytest.mark.parametrize(
    ("password", "password_hash", "is_right"),
    [
        pytest.param("right", HASH, True, id="right"),
        pytest.param("wrong", HASH, False, id="wrong"),
        pytest.param("wrong", None, False, id="unknown username"),
        pytest.param("wrong", "", False, id="an empty hash"),
        pytest.param("right", HASH[:-1], False, id="a damaged hash"),
        pytest.param("right", "$2b$31$" + SALT + DIGEST, False, id="an unknown form"),
        pytest.param("right", CHEAPER, True, id="right, but hashed cheaper"),
        pytest.param("wrong", CHEAPER, False, id="wrong, and hashed cheaper"),
        *(
            pytest.param("right", with_cost(cost), False, id=f"cost {cost}")
            for cost in ("31", "16", "99", "3", "1", "0", "00", "-6", "06", "6.0", "")
        ),
    ],
)
def test_the_work_is_the_same_whatever_is_stored(
    work: list[int], password: str, password_hash: str | None, *, is_right: bool
) -> None:
    assert passwords.matches(password, password_hash, COST) == is_right
    assert sum(work) == 2**COST


def test_a_stored_cost_is_4_to_15_and_computed_as_it_is(work: list[int]) -> None:
    costs = [passwords.cost_of(with_cost(cost)) for cost in range(32)]
    assert costs == [cost if 4 <= cost <= 15 else None for cost in range(32)]
    assert passwords.matches("right", HASH, COST - 2)
    assert work == [2**COST]


@pytest.mark.parametrize("rounds", [-1, 0, 15, 16, 47, 48, 2**7 + 2**4])
def test_rounds_are_burnt_to_within_the_cheapest_hash(work: list[int], rounds: int) -> None:
    passwords.burn_rounds(rounds)
    assert sum(work) == max(rounds, 0) // 16 * 16


def test_digests_are_compared_in_constant_time(compared: list[tuple[bytes, bytes]]) -> None:
    assert passwords.matches("right", HASH, COST)
    assert compared == [(DIGEST.encode(), DIGEST.encode())]


# Damage


def test_a_damaged_hash_matches_nothing_and_raises_nothing() -> None:
    assert [one for one in DAMAGED if passwords.cost_of(one) is not None] == []
    assert [one for one in DAMAGED if passwords.matches("right", one, 4)] == []


@LIMITED
@given(ANY_TEXT.filter(passwords.is_acceptable), st.text())
def test_any_password_against_any_stored_text_is_wrong(password: str, stored: str) -> None:
    assert not passwords.matches(password, stored, 4)


@LIMITED
@given(st.integers(0, len(CHEAPER) - 1), st.characters())
def test_any_one_character_changed_makes_the_hash_match_nothing(at: int, other: str) -> None:
    changed = CHEAPER[:at] + other + CHEAPER[at + 1 :]
    assert passwords.matches("right", changed, 4) == (changed == CHEAPER)
