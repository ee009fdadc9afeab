"""Old hashes: every form is read, and nothing beyond its bounds."""

from base64 import b64encode
from hashlib import sha256

import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restauth.core import old_hashes, passwords
from tests import hash_samples

BCRYPT_TAIL = "." * 22 + "a" * 31  # salt and digest, well-formed
FORMS = {row.kind: row for row in hash_samples.CHEAP.values()}  # one of each


def pbkdf2(name: str = "sha256", iterations: object = 1000, salt: str = "s", size: int = 32) -> str:
    return f"pbkdf2:{name}:{iterations}${salt}${'0' * 2 * size}"


def scrypt(n: object = 1024, r: object = 8, p: object = 1, salt: str = "s", size: int = 64) -> str:
    return f"scrypt:{n}:{r}:{p}${salt}${'0' * 2 * size}"


def plain_bcrypt(cost: str = "04", ident: str = "2b", tail: str = BCRYPT_TAIL) -> str:
    return f"${ident}${cost}${tail}"


def bcrypt_sha256(
    cost: str = "4", ident: str = "2b", salt: str = "." * 22, digest: str = "a" * 31
) -> str:
    return f"$bcrypt-sha256${ident},{cost}${salt}${digest}"


def sha_crypt(ident: str = "6", rounds: str = "1000", salt: str = "s", size: int = 86) -> str:
    return f"${ident}$rounds={rounds}${salt}${'.' * size}"


# Hashes of other programs


@pytest.mark.parametrize("row", hash_samples.CHEAP.values(), ids=hash_samples.CHEAP)
def test_a_hash_of_another_program_matches_its_password_alone(row: hash_samples.Row) -> None:
    old = old_hashes.parse(row.password_hash)
    assert old is not None
    assert old.kind == row.kind
    assert old.matches(row.password)
    assert not old.matches("!" + row.password)


@pytest.mark.parametrize("row", hash_samples.DEFAULTS.values(), ids=hash_samples.DEFAULTS)
def test_what_other_programs_make_by_default_is_within_the_bounds(row: hash_samples.Row) -> None:
    old = old_hashes.parse(row.password_hash)
    assert old is not None
    assert old.kind == row.kind


def test_werkzeug_reads_150_000_iterations_where_the_number_is_left_out() -> None:
    old = old_hashes.parse(hash_samples.NUMBER_LEFT_OUT.password_hash)
    assert old is not None
    assert old.matches(hash_samples.NUMBER_LEFT_OUT.password)


def test_a_password_counts_as_it_was_typed() -> None:
    """A normalised one would lock out whoever has always typed it decomposed."""
    old = old_hashes.parse(hash_samples.CHEAP["werkzeug 1.0.1, decomposed"].password_hash)
    assert old is not None
    assert old.matches("e\u0301")
    assert not old.matches("\u00e9")


@pytest.mark.parametrize("longer", ["", "2", "2 and more", "é", "x" * 900])
def test_bcrypt_takes_the_first_72_bytes_as_it_did(longer: str) -> None:
    row = hash_samples.CHEAP["passlib 1.7.4, bcrypt, 72 bytes"]
    old = old_hashes.parse(row.password_hash)
    assert old is not None
    assert old.matches(row.password + longer)
    assert not old.matches(row.password[:71])
    assert not old.matches(row.password[:71] + "x" + longer)


def test_bcrypt_cuts_in_the_middle_of_a_character() -> None:
    cut = ("a" + "é" * 40).encode()[:72]
    old = old_hashes.parse(bcrypt.hashpw(cut, bcrypt.gensalt(4)).decode())
    assert old is not None
    assert old.matches("a" + "é" * 40)
    assert not old.matches("a" + "é" * 35)


def test_bcrypt_sha256_lets_all_of_a_long_password_count() -> None:
    row = hash_samples.CHEAP["passlib 1.7.4, bcrypt_sha256 version 1, 80 characters"]
    old = old_hashes.parse(row.password_hash)
    assert old is not None
    assert not old.matches(row.password[:79])
    assert not old.matches(row.password + "x")


def test_a_wrapped_hash_is_no_plain_one() -> None:
    """What bcrypt-sha256 feeds to bcrypt is no password for its hash."""
    row = hash_samples.CHEAP["passlib 1.7.4, bcrypt_sha256 version 1, 2b"]
    old = old_hashes.parse(row.password_hash)
    assert old is not None
    assert not old.matches(b64encode(sha256(row.password.encode()).digest()).decode())


@pytest.mark.parametrize(
    ("password_hash", "cost"),
    [
        (plain_bcrypt("04"), 4),
        (plain_bcrypt("15"), 15),
        (bcrypt_sha256("11"), 11),
        (pbkdf2(), None),
        (scrypt(), None),
        (sha_crypt(), None),
    ],
)
def test_the_cost_is_known_where_it_is_bcrypts(password_hash: str, cost: int | None) -> None:
    old = old_hashes.parse(password_hash)
    assert old is not None
    assert old.cost == cost


def test_the_current_form_is_no_old_one() -> None:
    assert old_hashes.parse(passwords.hash("x", 4)) is None


# Bounds

WITHIN = {
    "pbkdf2, 1 iteration": pbkdf2(iterations=1),
    "pbkdf2, 1,000,000 iterations": pbkdf2(iterations=1_000_000),
    "pbkdf2, the number left out": "pbkdf2:sha1$s$" + "0" * 40,
    "pbkdf2, a salt of 128": pbkdf2(salt="s" * 128),
    "scrypt, the least": scrypt(2, 1, 1),
    "scrypt, Werkzeug's": scrypt(32768, 8, 1),
    "scrypt, the most": scrypt(131072, 8, 1),
    "scrypt, a salt of 128": scrypt(salt="s" * 128),
    "bcrypt, the least": plain_bcrypt("04"),
    "bcrypt, the most": plain_bcrypt("15"),
    "bcrypt-sha256, the least": bcrypt_sha256("4"),
    "bcrypt-sha256, the most": bcrypt_sha256("15"),
    "SHA-crypt, 1,000 rounds": sha_crypt(),
    "SHA-crypt, 1,000,000 rounds": sha_crypt(rounds="1000000"),
    "SHA-crypt, a salt of 16": sha_crypt(salt="s" * 16),
    "SHA-crypt, no salt": sha_crypt(salt=""),
}

BEYOND = {
    "nothing": "",
    "scrypt, n beyond what r allows": scrypt(65536, 1),
    "scrypt, r beyond its bound": scrypt(2, 33),
    "scrypt, p beyond its bound": scrypt(2, 1, 17),
    "a salt that is no ASCII": scrypt(salt="\u00e9"),
    "a salt that is half a character": pbkdf2(salt="\udcff"),
    "a word": "python",
    "argon2": "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b4dWA",
    "MD5-crypt": "$1$saltsalt$qjXMvbEw8oaL.CzflDtaK/",
    "Werkzeug's plain": "plain$$python",
    "Werkzeug's salted SHA-1": "sha1$s$" + "0" * 40,
    "Django's": "pbkdf2_sha256$1000$s$" + "0" * 44,
    "pbkdf2, 1,000,001 iterations": pbkdf2(iterations=1_000_001),
    "pbkdf2, 8 digits": pbkdf2(iterations=10_000_000),
    "pbkdf2, 5,000 digits": pbkdf2(iterations="9" * 5000),
    "pbkdf2, no iterations": pbkdf2(iterations=0),
    "pbkdf2, a negative number": pbkdf2(iterations=-1),
    "pbkdf2, an empty number": pbkdf2(iterations=""),
    "pbkdf2, a leading zero": pbkdf2(iterations="01000"),
    "pbkdf2, other digits": pbkdf2(iterations="\u0661\u0660\u0660\u0660"),
    "pbkdf2, MD5": pbkdf2("md5", size=16),
    "pbkdf2, SHA-384": pbkdf2("sha384", size=48),
    "pbkdf2, capitals": pbkdf2("SHA256"),
    "pbkdf2, no salt": pbkdf2(salt=""),
    "pbkdf2, a salt of 129": pbkdf2(salt="s" * 129),
    "pbkdf2, a salt of two parts": pbkdf2(salt="s$s"),
    "pbkdf2, no digest": pbkdf2(size=0),
    "pbkdf2, a digest of another hash": pbkdf2("sha256", size=20),
    "pbkdf2, a digest too long": pbkdf2("sha1", size=32),
    "pbkdf2, upper-case hex": pbkdf2()[:-1] + "A",
    "pbkdf2, half a byte": pbkdf2()[:-1],
    "pbkdf2, a NUL behind": pbkdf2() + "\0",
    "pbkdf2, a newline behind": pbkdf2() + "\n",
    "pbkdf2, a blank before": " " + pbkdf2(),
    "scrypt, n = 0": scrypt(0),
    "scrypt, n = 1": scrypt(1),
    "scrypt, n = 3": scrypt(3),
    "scrypt, n is no power of two": scrypt(1000),
    "scrypt, r = 0": scrypt(r=0),
    "scrypt, p = 0": scrypt(p=0),
    "scrypt, r of 4 digits": scrypt(2, r=1000),
    "scrypt, p of 4 digits": scrypt(2, p=1000),
    "scrypt, n too large": scrypt(2**20, 2),
    "scrypt, r too large": scrypt(32768, 33),
    "scrypt, p too large": scrypt(32768, 8, 5),
    "scrypt, n of 8 digits": scrypt(2**24, 1),
    "scrypt, no salt": scrypt(salt=""),
    "scrypt, a salt of 129": scrypt(salt="s" * 129),
    "scrypt, a digest of 32 bytes": scrypt(size=32),
    "scrypt, upper-case hex": scrypt()[:-1] + "F",
    "scrypt, a parameter less": "scrypt:1024:8$s$" + "0" * 128,
    "bcrypt, cost 3": plain_bcrypt("03"),
    "bcrypt, cost 16": plain_bcrypt("16"),
    "bcrypt, cost 31": plain_bcrypt("31"),  # days
    "bcrypt, cost 00": plain_bcrypt("00"),
    "bcrypt, one digit": plain_bcrypt("4"),
    "bcrypt, three digits": plain_bcrypt("004"),
    "bcrypt, $2x$": plain_bcrypt(ident="2x"),  # made by a broken program
    "bcrypt, $2$": plain_bcrypt(ident="2"),
    "bcrypt, $2B$": plain_bcrypt(ident="2B"),
    "bcrypt, stray bits in the salt": plain_bcrypt(tail="." * 21 + "a" * 32),
    "bcrypt, a character less": plain_bcrypt()[:-1],
    "bcrypt, a character more": plain_bcrypt() + "a",
    "bcrypt, outside the alphabet": plain_bcrypt()[:-1] + "-",
    "bcrypt, a NUL": plain_bcrypt()[:-1] + "\0",
    "bcrypt-sha256, cost 3": bcrypt_sha256("3"),
    "bcrypt-sha256, cost 16": bcrypt_sha256("16"),
    "bcrypt-sha256, cost 31": bcrypt_sha256("31"),
    "bcrypt-sha256, a leading zero": bcrypt_sha256("04"),
    "bcrypt-sha256, 2y": bcrypt_sha256(ident="2y"),
    "bcrypt-sha256, stray bits in the salt": bcrypt_sha256(salt="." * 21 + "a"),
    "bcrypt-sha256, a short digest": bcrypt_sha256(digest="a" * 30),
    "bcrypt-sha256, version 3": passwords.hash("x", 4).replace("v=2", "v=3"),
    "SHA-crypt, 0 rounds": sha_crypt(rounds="0"),
    "SHA-crypt, 999 rounds": sha_crypt(rounds="999"),  # crypt(3) raises them to 1,000 and says so
    "SHA-crypt, 1,000,001 rounds": sha_crypt(rounds="1000001"),
    "SHA-crypt, 999,999,999 rounds": sha_crypt(rounds="999999999"),  # crypt(3)'s most
    "SHA-crypt, a leading zero": sha_crypt(rounds="01000"),
    "SHA-crypt, an empty number": sha_crypt(rounds=""),
    "SHA-crypt, a salt of 17": sha_crypt(salt="s" * 17),
    "SHA-crypt, a salt outside the alphabet": sha_crypt(salt="s-s"),
    "SHA-crypt, a short digest": sha_crypt(size=85),
    "SHA-crypt, a long digest": sha_crypt(size=87),
    "SHA-crypt, SHA-512 with the digest of SHA-256": sha_crypt("6", size=43),
    "SHA-crypt, SHA-256 with the digest of SHA-512": sha_crypt("5", size=86),
    "SHA-crypt, $7$": sha_crypt("7"),
}


@pytest.mark.parametrize("password_hash", WITHIN.values(), ids=WITHIN)
def test_a_hash_within_its_bounds_is_read(password_hash: str) -> None:
    assert old_hashes.parse(password_hash) is not None


@pytest.mark.parametrize("password_hash", BEYOND.values(), ids=BEYOND)
def test_a_hash_beyond_its_bounds_is_refused(password_hash: str) -> None:
    assert old_hashes.parse(password_hash) is None


@pytest.mark.parametrize(("n", "r", "p"), [(2, 1, 1), (2, 1, 16), (2, 32, 1), (32768, 1, 1)])
def test_every_shape_of_scrypt_has_the_memory_it_needs(n: int, r: int, p: int) -> None:
    old = old_hashes.parse(scrypt(n, r, p))
    assert old is not None
    assert not old.matches("x")


def test_a_long_password_costs_sha_crypt_nothing() -> None:
    """Each round reads the password: what it costs grows with the length."""
    old = old_hashes.parse(sha_crypt())
    assert old is not None
    longest = old_hashes.MAX_SHA_CRYPT_LENGTH
    with pytest.MonkeyPatch.context() as patch:
        asked: list[int] = []
        patch.setattr("restauth.core.sha_crypt.matches", lambda raw, *_: asked.append(len(raw)))
        old.matches("x" * longest)
        old.matches("x" * (longest + 1))
    assert asked == [longest]


# Whatever stands in a row


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.text(st.characters()))
def test_any_text_is_read_or_refused(text: str) -> None:
    assert old_hashes.parse(text) is None


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.sampled_from(sorted(FORMS)), st.integers(0, 150), st.characters())
def test_any_damage_is_read_or_refused(kind: str, place: int, character: str) -> None:
    row = FORMS[kind]
    damaged = row.password_hash[:place] + character + row.password_hash[place + 1 :]
    old = old_hashes.parse(damaged)
    assert old is None or old.kind in FORMS


@pytest.mark.parametrize("kind", FORMS)
def test_a_digest_with_another_character_matches_nothing(kind: str) -> None:
    row = FORMS[kind]
    place = len(row.password_hash) - 5
    other = "0" if row.password_hash[place] != "0" else "1"
    old = old_hashes.parse(row.password_hash[:place] + other + row.password_hash[place + 1 :])
    assert old is not None
    assert not old.matches(row.password)


@pytest.mark.parametrize("kind", FORMS)
def test_no_secret_is_in_the_text_of_a_hash(kind: str) -> None:
    assert FORMS[kind].password_hash[-20:] not in repr(old_hashes.parse(FORMS[kind].password_hash))
