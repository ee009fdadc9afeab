"""The key ring: which key signs, and how long the others verify."""

from dataclasses import FrozenInstanceError, replace
from hashlib import sha256

import pytest

from restauth.core.keyring import Key, KeyPair, KeyRing

NOW = 1_800_000_000
DURATION = 600
LAST_SECOND = NOW + DURATION + 5  # for what a process was just signing as the key retired
SECRET = sha256(b"a secret of the tests").digest()
KEY = Key("one", SECRET, NOW - 1, None)
RING = KeyRing((KEY,))
PAIR = KeyPair("the private half", "the public half", {"kty": "OKP"})


def new(kid: str, at: int) -> Key:
    return Key(kid, sha256(kid.encode()).digest(), at, None)


# A key


def test_a_secret_is_in_no_repr() -> None:
    shown = repr(RING) + repr(replace(KEY, pair=PAIR))
    assert "kid='one'" in shown
    assert repr(SECRET)[2:-1] not in shown
    assert "private" not in shown


def test_a_ring_and_its_keys_are_values() -> None:
    with pytest.raises(FrozenInstanceError):
        RING.keys = ()  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        KEY.retired_at = NOW  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        PAIR.public = None  # type: ignore[misc]


def test_two_keys_of_one_content_are_two_keys() -> None:
    again = replace(KEY)
    assert again != KEY
    assert KeyRing((again,)) != RING


def test_a_key_signs_and_verifies_with_its_secret_and_a_pair_with_a_half_for_each() -> None:
    assert (KEY.signer, KEY.verifier) == (SECRET, SECRET)
    pair = Key("two", SECRET, NOW, None, "EdDSA", PAIR)
    assert (pair.signer, pair.verifier) == ("the private half", "the public half")


# A ring's life


def test_a_rotated_ring_signs_with_the_new_key_and_retires_the_old() -> None:
    other = new("two", NOW)
    rotated = RING.rotated(other, NOW)
    signing, retired = rotated.keys
    assert rotated.signing_key is signing is other
    assert (retired.kid, retired.secret, retired.created_at) == ("one", SECRET, NOW - 1)
    assert retired.retired_at == NOW
    assert KEY.retired_at is None  # a ring is a value


def test_a_retired_pair_stays_the_pair_that_it_was() -> None:
    ring = KeyRing((Key("one", SECRET, NOW, None, "ES256", PAIR),)).rotated(new("two", NOW), NOW)
    assert (ring.keys[0].algorithm, ring.keys[0].pair) == ("HS256", None)
    assert (ring.keys[1].algorithm, ring.keys[1].pair) == ("ES256", PAIR)


def test_a_second_rotation_leaves_the_first_retirement_as_it_was() -> None:
    ring = RING.rotated(new("two", NOW), NOW).rotated(new("three", NOW + 1), NOW + 1)
    assert [key.retired_at for key in ring.keys] == [None, NOW + 1, NOW]


def test_the_signing_key_is_found_for_ever() -> None:
    assert RING.find("one", NOW + 10**9, DURATION) is KEY
    assert RING.pruned(NOW + 10**9, DURATION).keys == (KEY,)


def test_a_retired_key_still_verifies_until_its_last_token_has_expired() -> None:
    ring = RING.rotated(new("two", NOW), NOW)
    retired = ring.keys[1]
    assert ring.find("one", NOW, DURATION) is retired
    assert ring.find("one", LAST_SECOND, DURATION) is retired
    assert ring.find("one", LAST_SECOND + 1, DURATION) is None


def test_a_key_is_pruned_in_the_second_in_which_it_is_no_longer_found() -> None:
    ring = RING.rotated(new("two", NOW), NOW)
    assert ring.pruned(LAST_SECOND, DURATION).keys == ring.keys
    assert ring.pruned(LAST_SECOND + 1, DURATION).keys == ring.keys[:1]


def test_pruning_drops_only_what_is_spent() -> None:
    ring = RING.rotated(new("two", NOW), NOW).rotated(new("three", NOW + 100), NOW + 100)
    assert ring.pruned(LAST_SECOND + 1, DURATION).keys == ring.keys[:2]


def test_a_ring_finds_a_key_by_its_whole_name_only() -> None:
    for kid in ("", "o", "on", "one ", "ONE", "one\0", "unknown"):
        assert RING.find(kid, NOW, DURATION) is None
