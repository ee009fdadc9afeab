"""The key ring: which key signs, and how long the others verify."""

from dataclasses import replace
from hashlib import sha256

from restauth.core.key_pair import KeyPair
from restauth.core.keyring import Key, KeyRing

NOW = 1_800_000_000
DURATION = 600
SECRET = sha256(b"a secret of the tests").digest()
KEY = Key("one", SECRET, NOW - 1, None)
RETIRED = Key("two", SECRET[::-1], NOW - 1, NOW)
PUBLISHED = Key("three", SECRET[::-1], NOW, None)
RING = KeyRing((KEY, RETIRED, PUBLISHED))
PAIR = KeyPair("the private half", "the public half", {"kty": "OKP"})


def test_a_secret_is_in_no_repr() -> None:
    shown = repr(RING) + repr(replace(KEY, pair=PAIR))
    assert "kid='one'" in shown
    assert repr(SECRET)[2:-1] not in shown
    assert "private" not in shown


def test_two_keys_of_one_content_are_two_keys() -> None:
    assert replace(KEY) != KEY
    assert KeyRing((replace(KEY), RETIRED, PUBLISHED)) != RING


def test_a_key_verifies_with_its_secret_and_a_pair_with_its_public_half() -> None:
    assert KEY.verifier == SECRET
    pair = Key("two", SECRET, NOW, None, "EdDSA", PAIR)
    assert pair.verifier == "the public half"


def test_the_first_key_signs_and_it_and_a_published_one_are_found_for_ever() -> None:
    assert RING.signing_key is KEY
    for key in (KEY, PUBLISHED):
        assert RING.find(key.kid, NOW + 10**9, DURATION) is key


def test_a_retired_key_still_verifies_until_its_last_token_has_expired() -> None:
    """And an hour more, for tokens of machines that do not know yet that it has retired."""
    last = NOW + DURATION + 3600
    for now, is_spent in ((NOW, False), (last, False), (last + 1, True)):
        assert RING.find("two", now, DURATION) is (None if is_spent else RETIRED)
        assert RETIRED.is_spent(now, DURATION) == is_spent


def test_a_key_is_found_by_its_whole_name_only() -> None:
    names = ("", "o", "on", "one ", "ONE", "one\0", "unknown")
    assert [kid for kid in names if RING.find(kid, NOW, DURATION)] == []
