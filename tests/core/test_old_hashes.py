"""Old hashes: every form is read, and nothing beyond its bounds."""

from base64 import b64encode
from hashlib import sha256

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from restauth.core import old_hashes, passwords
from restauth.core.old_hashes import OldHash
from tests import hash_samples
from tests.core.inputs import ANY_TEXT, LIMITED, cases

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


def read(password_hash: str) -> OldHash:
    old = old_hashes.parse(password_hash)
    assert old is not None
    return old


# Hashes of other programs


@pytest.mark.parametrize("row", hash_samples.CHEAP.values(), ids=hash_samples.CHEAP)
def test_a_hash_of_another_program_matches_its_password_alone(row: hash_samples.Row) -> None:
    old = read(row.password_hash)
    assert old.kind == row.kind
    assert old.matches(row.password)
    assert not old.matches("!" + row.password)
    assert row.password_hash[-20:] not in repr(old)


def test_what_other_programs_make_by_default_is_within_the_bounds() -> None:
    for row in hash_samples.DEFAULTS.values():
        assert read(row.password_hash).kind == row.kind


def test_werkzeug_reads_150_000_iterations_where_the_number_is_left_out() -> None:
    old = read(hash_samples.NUMBER_LEFT_OUT.password_hash)
    assert old.matches(hash_samples.NUMBER_LEFT_OUT.password)


def test_a_password_counts_as_it_was_typed() -> None:
    """A normalised one would lock out who has always typed it decomposed."""
    old = read(hash_samples.CHEAP["werkzeug 1.0.1, decomposed"].password_hash)
    assert old.matches("e\u0301")
    assert not old.matches("\u00e9")


def test_bcrypt_takes_the_first_72_bytes_as_it_did() -> None:
    row = hash_samples.CHEAP["passlib 1.7.4, bcrypt, 72 bytes"]
    old = read(row.password_hash)
    assert not old.matches(row.password[:71])
    for longer in ("", "2", "2 and more", "é", "x" * 900):
        assert old.matches(row.password + longer)
        assert not old.matches(row.password[:71] + "x" + longer)
    cut = ("a" + "é" * 40).encode()[:72]  # in the middle of a character
    old = read(bcrypt.hashpw(cut, bcrypt.gensalt(4)).decode())
    assert old.matches("a" + "é" * 40)
    assert not old.matches("a" + "é" * 35)


def test_bcrypt_sha256_lets_all_of_a_long_password_count() -> None:
    row = hash_samples.CHEAP["passlib 1.7.4, bcrypt_sha256 version 1, 80 characters"]
    old = read(row.password_hash)
    assert not old.matches(row.password[:79])
    assert not old.matches(row.password + "x")
    # What bcrypt-sha256 feeds to bcrypt is no password for its hash.
    assert not old.matches(b64encode(sha256(row.password.encode()).digest()).decode())


# Bounds

WITHIN: dict[str, tuple[int | None, int]] = {  # the cost of bcrypt, and the work
    plain_bcrypt("04"): (4, 2**4),
    plain_bcrypt("15"): (15, 2**15),
    bcrypt_sha256("4"): (4, 2**4),
    bcrypt_sha256("11"): (11, 2**11),
    bcrypt_sha256("15"): (15, 2**15),
    pbkdf2(iterations=1): (None, 1),
    pbkdf2(iterations=1_000_000): (None, 1_000_000),
    "pbkdf2:sha1$s$" + "0" * 40: (None, 150_000),
    pbkdf2(salt="s" * 128): (None, 1000),
    scrypt(2, 1, 1): (None, 2),
    scrypt(2, 32, 16): (None, 1024),
    scrypt(32768, 1, 1): (None, 2**15),
    scrypt(131072, 8, 1): (None, 2**20),
    scrypt(salt="s" * 128): (None, 8192),
    sha_crypt(): (None, 1000),
    sha_crypt(rounds="1000000"): (None, 1_000_000),
    sha_crypt(salt="s" * 16): (None, 1000),
    sha_crypt(salt=""): (None, 1000),
}
BEYOND: dict[str, list[str]] = {
    "no form": [
        *("", "python", "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b4dWA"),
        *("$1$saltsalt$qjXMvbEw8oaL.CzflDtaK/", "plain$$python", "sha1$s$" + "0" * 40),
        *("pbkdf2_sha256$1000$s$" + "0" * 44, passwords.hash("x", 4)),  # Django's, and our own
    ],
    "pbkdf2": [
        *(pbkdf2(iterations=number) for number in (1_000_001, 10_000_000, "9" * 5000, 0, -1, "")),
        *(pbkdf2(iterations=number) for number in ("01000", "\u0661\u0660\u0660\u0660")),
        *(pbkdf2("md5", size=16), pbkdf2("sha384", size=48), pbkdf2("SHA256")),
        *(pbkdf2(salt=salt) for salt in ("", "s" * 129, "s$s", "\udcff")),
        *(pbkdf2(size=0), pbkdf2("sha256", size=20), pbkdf2("sha1", size=32)),
        *(pbkdf2()[:-1] + "A", pbkdf2()[:-1], pbkdf2() + "\0", pbkdf2() + "\n", " " + pbkdf2()),
    ],
    "scrypt": [
        *(scrypt(n) for n in (0, 1, 3, 1000)),
        *(scrypt(n, r) for n, r in ((65536, 1), (2, 33), (2, 1000), (2**20, 2), (32768, 33))),
        *(scrypt(2, 1, 17), scrypt(2, p=1000), scrypt(32768, 8, 5), scrypt(2**24, 1)),
        *(scrypt(r=0), scrypt(p=0), scrypt(size=32), scrypt()[:-1] + "F"),
        *(scrypt(salt=salt) for salt in ("", "s" * 129, "\u00e9")),
        "scrypt:1024:8$s$" + "0" * 128,
    ],
    "bcrypt": [
        *(plain_bcrypt(cost) for cost in ("03", "16", "31", "00", "4", "004")),  # 31 takes days
        *(plain_bcrypt(ident=ident) for ident in ("2x", "2", "2B")),  # 2x: of a broken program
        plain_bcrypt(tail="." * 21 + "a" * 32),  # stray bits in the salt
        *(plain_bcrypt()[:-1] + end for end in ("", "aa", "-", "\0")),
    ],
    "bcrypt-sha256": [
        *(bcrypt_sha256(cost) for cost in ("3", "16", "31", "04")),
        *(bcrypt_sha256(ident="2y"), bcrypt_sha256(digest="a" * 30)),
        bcrypt_sha256(salt="." * 21 + "a"),
        passwords.hash("x", 4).replace("v=2", "v=3"),
    ],
    "SHA-crypt": [
        # crypt(3) raises 999 rounds to 1,000 and says so; its most are 999,999,999
        *(sha_crypt(rounds=rounds) for rounds in ("0", "999", "1000001", "999999999", "01000", "")),
        *(sha_crypt(salt="s" * 17), sha_crypt(salt="s-s"), sha_crypt(size=85), sha_crypt(size=87)),
        *(sha_crypt("6", size=43), sha_crypt("5", size=86), sha_crypt("7")),
    ],
}


def test_a_hash_within_its_bounds_is_read_with_its_cost_and_work() -> None:
    found = {one: (read(one).cost, read(one).work) for one in WITHIN}
    assert found == WITHIN


@pytest.mark.parametrize(("form", "password_hash"), cases(BEYOND))
def test_a_hash_beyond_its_bounds_is_refused(form: str, password_hash: str) -> None:
    assert old_hashes.parse(password_hash) is None


@pytest.mark.parametrize(("n", "r", "p"), [(2, 1, 1), (2, 1, 16), (2, 32, 1), (32768, 1, 1)])
def test_every_shape_of_scrypt_has_the_memory_it_needs(n: int, r: int, p: int) -> None:
    assert not read(scrypt(n, r, p)).matches("x")


def test_a_long_password_costs_sha_crypt_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each round reads the password: what it costs grows with the length."""
    asked: list[int] = []
    monkeypatch.setattr("restauth.core.sha_crypt.matches", lambda raw, *_: asked.append(len(raw)))
    for length in (512, 513):
        read(sha_crypt()).matches("x" * length)
    assert asked == [512]


# Any text in a row


@LIMITED
@given(ANY_TEXT)
def test_any_text_is_read_or_refused(text: str) -> None:
    assert old_hashes.parse(text) is None


@LIMITED
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
    old = read(row.password_hash[:place] + other + row.password_hash[place + 1 :])
    assert not old.matches(row.password)
