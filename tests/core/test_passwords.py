"""Password hashes: their form, their equality, and their even work."""

import hmac
import re
import string

import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restauth.core import passwords
from tests import vectors

COST = 6  # two steps above the cheapest, so that there is work to top up
ALPHABET = "./" + string.ascii_letters + string.digits
HASH = passwords.hash("right", COST)
CHEAPER = passwords.hash("right", COST - 2)
HEAD, SALT, DIGEST = HASH[:28], HASH[28:50], HASH[51:]

DAMAGED = {
    "nothing": "",
    "a word": "x",
    "the end cut off": HASH[:-1],
    "the beginning cut off": HASH[1:],
    "one character more": HASH + "a",
    "a newline behind": HASH + "\n",
    "a blank before": " " + HASH,
    "twice": HASH + HASH,
    "no salt": f"{HEAD}${DIGEST}",
    "no digest": f"{HEAD}{SALT}$",
    "salt and digest exchanged": f"{HEAD}{DIGEST}${SALT}",
    "a character outside the alphabet": f"{HEAD}{SALT}$-{DIGEST[1:]}",
    "a letter outside ASCII": f"{HEAD}{SALT}$é{DIGEST[1:]}",
    "a lone surrogate": f"{HEAD}{SALT}$\ud800{DIGEST[1:]}",
    "a NUL": f"{HEAD}{SALT}$\0{DIGEST[1:]}",
    "version 1": HASH.replace("v=2", "v=1"),
    "ident 2x": HASH.replace("t=2b", "t=2x"),
    "ident 2a": HASH.replace("t=2b", "t=2a"),
    "plain bcrypt": f"$2b$06${SALT}{DIGEST}",
    "argon2": "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b4dWA",
    "a password in plain text": "right",
}


def with_cost(cost: str) -> str:
    return HASH.replace("r=6", f"r={cost}")


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rounds of every bcrypt computed in the test; their sum is what a clock would see."""
    rounds: list[int] = []
    hashpw = bcrypt.hashpw

    def counted(password: bytes, salt: bytes) -> bytes:
        rounds.append(2 ** int(salt[4:6]))
        return hashpw(password, salt)

    monkeypatch.setattr(bcrypt, "hashpw", counted)
    return rounds


# The form


@pytest.mark.parametrize(
    ("password", "password_hash"), vectors.PASSLIB_HASHES.values(), ids=vectors.PASSLIB_HASHES
)
def test_a_hash_made_by_another_program_verifies(password: str, password_hash: str) -> None:
    assert passwords.cost_of(password_hash) is not None
    assert passwords.verify(password, password_hash, 4)
    assert not passwords.verify(password + " ", password_hash, 4)


def test_a_hash_has_the_form_of_bcrypt_sha256_version_2() -> None:
    assert re.fullmatch(
        r"\$bcrypt-sha256\$v=2,t=2b,r=6\$[./A-Za-z0-9]{21}[.Oeu]\$[./A-Za-z0-9]{31}", HASH
    )
    assert passwords.cost_of(HASH) is not None


def test_two_hashes_of_one_password_differ_and_both_verify() -> None:
    first, second = passwords.hash("same", 4), passwords.hash("same", 4)
    assert first[:27] == second[:27]
    assert first[27:49] != second[27:49]  # the salts
    assert first[50:] != second[50:]  # the digests
    assert passwords.verify("same", first, 4)
    assert passwords.verify("same", second, 4)


def test_hashing_does_the_rounds_of_its_cost(work: list[int]) -> None:
    passwords.hash("x", COST)
    assert work == [2**COST]


@pytest.mark.parametrize("last", ALPHABET)
def test_a_salt_with_stray_bits_is_damage(last: str) -> None:
    """22 characters hold 132 bits, a salt has 128; bcrypt raises on the rest."""
    other = f"{HEAD}{SALT[:-1]}{last}${DIGEST}"
    assert (passwords.cost_of(other) is not None) == (last in ".Oeu")
    assert passwords.verify("right", other, COST) == (last == SALT[-1])


# What is the same password, and what is not


@pytest.mark.parametrize(
    ("password", "typed"),
    [
        pytest.param("é", "e\u0301", id="composed and decomposed"),
        pytest.param("각", "\u1100\u1161\u11a8", id="Hangul"),
        pytest.param("Å", "\u212b", id="the Angstrom sign"),
        pytest.param("\u1ea1\u0307", "a\u0307\u0323", id="the order of marks"),
    ],
)
def test_two_spellings_with_one_nfc_are_one_password(password: str, typed: str) -> None:
    assert passwords.verify(typed, passwords.hash(password, 4), 4)
    assert passwords.verify(password, passwords.hash(typed, 4), 4)


@pytest.mark.parametrize(
    ("password", "typed"),
    [
        pytest.param("Right", "right", id="case counts"),
        pytest.param("ﬁ", "fi", id="NFC is not NFKC"),
        pytest.param("ｘ", "x", id="width counts"),  # noqa: RUF001
        pytest.param("right", " right", id="no blank is cut off before"),
        pytest.param("right", "right ", id="nor behind"),
        pytest.param("right", "right\n", id="nor a newline"),
        pytest.param(" ", "  ", id="blanks are characters"),
        pytest.param("a\0b", "a\0c", id="what follows a NUL counts"),
        pytest.param("a", "a\0", id="a NUL counts"),
        pytest.param("\0", "\0\0", id="two NULs are not one"),
        pytest.param("x" * 72 + "a", "x" * 72 + "b", id="no cut at 72 bytes"),
        pytest.param("x" * 72, "x" * 73, id="nor of what exceeds them"),
        pytest.param("🔑" * 1023 + "a", "🔑" * 1023 + "b", id="the 1024th character counts"),
        pytest.param("right", "", id="nothing is no password"),
    ],
)
def test_two_passwords_that_differ_anywhere_are_two(password: str, typed: str) -> None:
    password_hash = passwords.hash(password, 4)
    assert passwords.verify(password, password_hash, 4)
    assert not passwords.verify(typed, password_hash, 4)


@pytest.mark.parametrize(
    ("password", "is_acceptable"),
    [
        pytest.param("", False, id="empty"),
        pytest.param(" ", True, id="one blank"),
        pytest.param("\0", True, id="one NUL"),
        pytest.param("x" * 1024, True, id="1024 characters"),
        pytest.param("x" * 1025, False, id="1025 characters"),
        pytest.param("🔑" * 1024, True, id="characters, not bytes"),
        pytest.param("e\u0301" * 513, False, id="counted as typed, before NFC"),
        pytest.param("\ud800", False, id="the first surrogate"),
        pytest.param("x\udfffx", False, id="the last surrogate"),
        pytest.param("\ud7ff\ue000", True, id="the neighbours of the surrogates"),
    ],
)
def test_a_password_has_1_to_1024_characters(password: str, *, is_acceptable: bool) -> None:
    assert passwords.is_acceptable(password) == is_acceptable


# Even work: the time of an answer must not tell what is stored


@pytest.mark.parametrize(
    ("password", "password_hash", "is_right"),
    [
        pytest.param("right", HASH, True, id="right"),
        pytest.param("wrong", HASH, False, id="wrong"),
        pytest.param("wrong", None, False, id="nobody has that name"),
        pytest.param("wrong", "", False, id="an empty hash"),
        pytest.param("right", HASH[:-1], False, id="a damaged hash"),
        pytest.param("right", "$2b$31$" + SALT + DIGEST, False, id="an unknown form"),
        pytest.param("right", CHEAPER, True, id="right, but hashed cheaper"),
        pytest.param("wrong", CHEAPER, False, id="wrong, and hashed cheaper"),
    ],
)
def test_verifying_does_the_same_work_whatever_is_stored(
    work: list[int], password: str, password_hash: str | None, *, is_right: bool
) -> None:
    assert passwords.verify(password, password_hash, COST) == is_right
    assert sum(work) == 2**COST


@pytest.mark.parametrize("cost", ["31", "16", "99", "3", "1", "0", "00", "-6", "06", "6.0", ""])
def test_a_stored_cost_out_of_bounds_is_not_computed(work: list[int], cost: str) -> None:
    assert passwords.cost_of(with_cost(cost)) is None
    assert not passwords.verify("right", with_cost(cost), COST)
    assert sum(work) == 2**COST


@pytest.mark.parametrize("cost", range(4, 16))
def test_a_stored_cost_within_bounds_is_readable(cost: int) -> None:
    assert passwords.cost_of(with_cost(str(cost))) is not None


def test_a_costlier_stored_hash_is_computed_at_its_own_cost(work: list[int]) -> None:
    assert passwords.verify("right", HASH, COST - 2)
    assert work == [2**COST]


def test_digests_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def counted(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", counted)
    assert passwords.verify("right", HASH, COST)
    assert compared == [(DIGEST.encode(), DIGEST.encode())]


# Damage


@pytest.mark.parametrize("password_hash", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_hash_matches_nothing_and_raises_nothing(password_hash: str) -> None:
    assert passwords.cost_of(password_hash) is None
    assert not passwords.verify("right", password_hash, 4)
    assert passwords.needs_rehash(password_hash, 4)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.text(st.characters(), min_size=1).filter(passwords.is_acceptable), st.text())
def test_any_password_against_any_stored_text_is_wrong(password: str, stored: str) -> None:
    assert not passwords.verify(password, stored, 4)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.integers(0, len(CHEAPER) - 1), st.characters())
def test_any_one_character_changed_makes_the_hash_match_nothing(at: int, other: str) -> None:
    changed = CHEAPER[:at] + other + CHEAPER[at + 1 :]
    assert passwords.verify("right", changed, 4) == (changed == CHEAPER)


# Renewal


@pytest.mark.parametrize(
    ("password_hash", "needs_rehash"),
    [
        pytest.param(HASH, False, id="of this cost"),
        pytest.param(CHEAPER, True, id="cheaper"),
        pytest.param(with_cost("7"), True, id="costlier"),
        pytest.param("x", True, id="damaged"),
    ],
)
def test_a_hash_of_another_cost_wants_renewal(password_hash: str, *, needs_rehash: bool) -> None:
    assert passwords.needs_rehash(password_hash, COST) == needs_rehash
