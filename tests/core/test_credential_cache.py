"""The memory of verified passwords: what it holds, and for how long."""

import hmac
from dataclasses import replace

import pytest

from restauth.core import credential_cache
from restauth.core.credential_cache import CredentialCache
from restauth.records import Account

NOW = 1_800_000_000
DURATION = 300
ACCOUNT = Account(7, "miguel", "$bcrypt-sha256$one", NOW, None, 1, ("admin",))


@pytest.fixture
def memory() -> CredentialCache:
    """It holds the password "python" of the account, verified just now."""
    memory = CredentialCache(DURATION)
    memory.remember(ACCOUNT, "python", NOW)
    return memory


def test_a_verified_password_is_held(memory: CredentialCache) -> None:
    assert memory.holds(ACCOUNT, "python", NOW)


def test_a_new_memory_holds_nothing() -> None:
    assert not CredentialCache(DURATION).holds(ACCOUNT, "python", NOW)


@pytest.mark.parametrize("password", ["", "Python", "python ", "python\0", "pythoń", "\0python"])
def test_another_password_misses(memory: CredentialCache, password: str) -> None:
    assert not memory.holds(ACCOUNT, password, NOW)


def test_a_changed_hash_misses(memory: CredentialCache) -> None:
    changed = replace(ACCOUNT, password_hash="$bcrypt-sha256$two")
    assert not memory.holds(changed, "python", NOW)


def test_another_account_with_the_same_hash_misses(memory: CredentialCache) -> None:
    assert not memory.holds(replace(ACCOUNT, id=8), "python", NOW)


def test_id_hash_and_password_do_not_run_together(memory: CredentialCache) -> None:
    memory.remember(replace(ACCOUNT, id=1, password_hash="23"), "4", NOW)
    assert not memory.holds(replace(ACCOUNT, id=12, password_hash="3"), "4", NOW)
    assert not memory.holds(replace(ACCOUNT, id=1, password_hash="2"), "34", NOW)


def test_nothing_else_of_the_row_counts(memory: CredentialCache) -> None:
    """The name is shown as typed, roles are read with the row; the lock is asked by the caller."""
    other = Account(7, "Miguel", ACCOUNT.password_hash, 0, NOW, 2, ())
    assert memory.holds(other, "python", NOW)


def test_a_password_expires_at_the_second(memory: CredentialCache) -> None:
    assert memory.holds(ACCOUNT, "python", NOW + DURATION - 1)
    assert not memory.holds(ACCOUNT, "python", NOW + DURATION)


def test_use_does_not_prolong(memory: CredentialCache) -> None:
    assert memory.holds(ACCOUNT, "python", NOW + DURATION - 1)
    assert not memory.holds(ACCOUNT, "python", NOW + DURATION)


def test_a_new_verification_prolongs(memory: CredentialCache) -> None:
    memory.remember(ACCOUNT, "python", NOW + 100)
    assert memory.holds(ACCOUNT, "python", NOW + 100 + DURATION - 1)
    assert not memory.holds(ACCOUNT, "python", NOW + 100 + DURATION)


def test_a_clock_set_back_does_not_prolong(memory: CredentialCache) -> None:
    assert not memory.holds(ACCOUNT, "python", NOW - 1)
    assert not memory.holds(ACCOUNT, "python", NOW - 86_400)


def test_the_one_used_longest_ago_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credential_cache, "MAX_ENTRIES", 3)
    memory = CredentialCache(DURATION)
    for password in ("verified again", "used", "idle"):
        memory.remember(ACCOUNT, password, NOW)
    memory.remember(ACCOUNT, "verified again", NOW)
    assert memory.holds(ACCOUNT, "used", NOW)
    memory.remember(ACCOUNT, "new", NOW)
    held = ("verified again", "used", "idle", "new")
    assert [memory.holds(ACCOUNT, password, NOW) for password in held] == [True, True, False, True]
    memory.remember(ACCOUNT, "newer", NOW)
    assert len(memory._expiries) == 3


def test_duration_zero_remembers_nothing_and_computes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unexpected(*arguments: object) -> bytes:
        raise AssertionError("a digest was computed")

    monkeypatch.setattr(hmac, "digest", unexpected)
    memory = CredentialCache(0)
    memory.remember(ACCOUNT, "python", NOW)
    assert not memory.holds(ACCOUNT, "python", NOW)


def test_entries_are_digests_by_a_key_that_each_process_draws_anew(
    memory: CredentialCache,
) -> None:
    """A dump of the memory is no dictionary of passwords without the key."""
    other = CredentialCache(DURATION)
    other.remember(ACCOUNT, "python", NOW)
    assert [len(digest) for digest in memory._expiries] == [32]
    assert memory._expiries.keys() != other._expiries.keys()
