"""The cache of verified passwords: what it holds, and for how long."""

import hmac
from dataclasses import replace

import pytest

from restauth.core import credential_cache
from restauth.core.credential_cache import CredentialCache
from restauth.records import Account
from tests.core.inputs import CountedLock

NOW = 1_800_000_000
DURATION = 300
ACCOUNT = Account(7, "miguel", "$bcrypt-sha256$one", NOW, None, 1, ("admin",))


@pytest.fixture
def cache() -> CredentialCache:
    """It holds the password "python" of the account, verified just now."""
    cache = CredentialCache()
    cache.add(ACCOUNT, "python", NOW)
    return cache


def is_held(
    cache: CredentialCache, password: str = "python", account: Account = ACCOUNT, now: int = NOW
) -> bool:
    return cache.find(account, password, now, DURATION) is account


def test_a_verified_password_is_held_and_no_other(cache: CredentialCache) -> None:
    assert is_held(cache)
    others = ("", "Python", "python ", "python\0", "pythoń", "\0python")
    assert not [password for password in others if is_held(cache, password)]
    assert not is_held(CredentialCache())


def test_it_is_held_for_one_id_and_one_hash(cache: CredentialCache) -> None:
    assert not is_held(cache, account=replace(ACCOUNT, password_hash="$bcrypt-sha256$two"))
    assert not is_held(cache, account=replace(ACCOUNT, id=8))
    cache.add(replace(ACCOUNT, id=1, password_hash="23"), "4", NOW)
    assert not is_held(cache, "4", replace(ACCOUNT, id=12, password_hash="3"))
    assert not is_held(cache, "34", replace(ACCOUNT, id=1, password_hash="2"))


def test_nothing_else_of_the_row_counts(cache: CredentialCache) -> None:
    """The name is shown as typed, roles are read with the row; the lock is asked by the caller."""
    assert is_held(cache, account=Account(7, "Miguel", ACCOUNT.password_hash, 0, NOW, 2, ()))


def test_a_password_expires_at_the_second_and_use_does_not_prolong(cache: CredentialCache) -> None:
    assert is_held(cache, now=NOW + DURATION - 1)
    assert not is_held(cache, now=NOW + DURATION)
    cache.add(ACCOUNT, "python", NOW + 100)
    assert is_held(cache, now=NOW + 100 + DURATION - 1)
    assert not is_held(cache, now=NOW + 100 + DURATION)


def test_a_clock_set_back_does_not_prolong(cache: CredentialCache) -> None:
    assert not is_held(cache, now=NOW - 1)
    assert not is_held(cache, now=NOW - 86_400)


def test_the_one_used_longest_ago_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credential_cache, "MAX_ENTRIES", 3)
    cache = CredentialCache()
    for password in ("verified again", "used", "idle"):
        cache.add(ACCOUNT, password, NOW)
    cache.add(ACCOUNT, "verified again", NOW)
    assert is_held(cache, "used")
    cache.add(ACCOUNT, "new", NOW)
    held = [one for one in ("verified again", "used", "idle", "new") if is_held(cache, one)]
    assert held == ["verified again", "used", "new"]
    assert len(cache._verified_at) == 3


def test_threads_share_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, lock = CredentialCache(), CountedLock()
    monkeypatch.setattr(cache, "_lock", lock)
    cache.add(ACCOUNT, "python", NOW)
    assert is_held(cache)
    assert lock.taken == 2


def test_duration_zero_finds_nothing_and_computes_nothing(
    cache: CredentialCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unexpected(*arguments: object) -> bytes:
        raise AssertionError("a digest was computed")

    monkeypatch.setattr(hmac, "digest", unexpected)
    assert cache.find(ACCOUNT, "python", NOW, 0) is None


def test_entries_are_digests_by_a_key_that_each_process_draws_anew(cache: CredentialCache) -> None:
    """A dump of the memory is no dictionary of passwords without the key."""
    other = CredentialCache()
    other.add(ACCOUNT, "python", NOW)
    assert [len(digest) for digest in cache._verified_at] == [32]
    assert cache._verified_at.keys() != other._verified_at.keys()
