"""The cache of verified passwords: what it holds, and for how long."""

from dataclasses import replace

import pytest

from restauth.core import credential_cache
from restauth.core.credential_cache import MAX_PROLONGED, CredentialCache
from restauth.records import Account

NOW = 1_800_000_000
DURATION = 300
ACCOUNT = Account(7, "miguel", "$bcrypt-sha256$one", NOW, None, 1, ("admin",))


@pytest.fixture
def cache() -> CredentialCache:
    """It holds the password "python" of the account, verified just now."""
    cache = CredentialCache()
    add(cache)
    return cache


def add(
    cache: CredentialCache, password: str = "python", account: Account = ACCOUNT, now: int = NOW
) -> None:
    cache.add(cache.digest(account.username, password), account, now)


def is_held(
    cache: CredentialCache, password: str = "python", account: Account = ACCOUNT, now: int = NOW
) -> bool:
    credential = cache.digest(account.username, password)
    return cache.find(credential, lambda: account, now, DURATION) is account


def test_a_verified_password_is_held_and_no_other(cache: CredentialCache) -> None:
    assert is_held(cache)
    others = ("", "Python", "python ", "python\0", "pythoń", "\0python")
    assert not [password for password in others if is_held(cache, password)]
    assert not is_held(CredentialCache())


def test_name_and_password_do_not_run_together(cache: CredentialCache) -> None:
    pairs = [("miguel", "python"), ("miguelpy", "thon"), ("6\0miguel", "python"), ("", "python")]
    assert len({cache.digest(*pair) for pair in pairs}) == len(pairs)


def test_it_is_held_for_one_id_and_one_hash_and_while_it_is_not_locked(
    cache: CredentialCache,
) -> None:
    assert not is_held(cache, account=replace(ACCOUNT, password_hash="$bcrypt-sha256$two"))
    assert not is_held(cache, account=replace(ACCOUNT, id=8))
    assert not is_held(cache, account=replace(ACCOUNT, locked_at=0))
    assert is_held(cache)
    add(cache, "4", replace(ACCOUNT, id=1, password_hash="23"))
    assert not is_held(cache, "4", replace(ACCOUNT, id=12, password_hash="3"))


def test_an_account_that_is_gone_is_not_found(cache: CredentialCache) -> None:
    credential = cache.digest("miguel", "python")
    assert cache.find(credential, lambda: None, NOW, DURATION) is None


def test_nothing_else_of_the_row_counts(cache: CredentialCache) -> None:
    """Roles and the name as it is shown are read with the row."""
    row = Account(7, "Miguel", ACCOUNT.password_hash, 0, None, 2, ())
    assert cache.find(cache.digest("miguel", "python"), lambda: row, NOW, DURATION) is row


def test_a_row_is_read_only_for_a_credential_that_was_verified(cache: CredentialCache) -> None:
    """Else the look-up could tell which names exist, before the throttle is asked."""

    def unexpected() -> Account | None:
        raise AssertionError("a row was read")

    for credential, now, duration in [
        (cache.digest("miguel", "Python"), NOW, DURATION),
        (cache.digest("susan", "python"), NOW, DURATION),
        (cache.digest("miguel", "python"), NOW + DURATION, DURATION),
        (cache.digest("miguel", "python"), NOW, 0),
    ]:
        assert cache.find(credential, unexpected, now, duration) is None


def test_a_password_expires_at_the_second_without_use(cache: CredentialCache) -> None:
    assert not is_held(cache, now=NOW + DURATION)
    assert is_held(cache, now=NOW + DURATION - 1)


def test_use_prolongs_up_to_a_limit_and_a_new_hash_begins_anew(cache: CredentialCache) -> None:
    step = DURATION - 1
    end = NOW + DURATION * MAX_PROLONGED
    times = [*range(NOW, end, step), end - 1]
    assert [is_held(cache, now=now) for now in times] == [True] * len(times)
    assert not is_held(cache, now=end)
    add(cache, now=end)
    assert is_held(cache, now=end + step)


def test_a_use_that_fails_prolongs_nothing(cache: CredentialCache) -> None:
    assert not is_held(cache, account=replace(ACCOUNT, password_hash="new"), now=NOW + 200)
    assert not is_held(cache, now=NOW + DURATION)


def test_a_clock_set_back_does_not_prolong(cache: CredentialCache) -> None:
    assert not is_held(cache, now=NOW - 1)
    assert not is_held(cache, now=NOW - 86_400)
    assert is_held(cache, now=NOW + 10)
    assert not is_held(cache, now=NOW + 9)


def test_the_one_used_longest_ago_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credential_cache, "MAX_ENTRIES", 3)
    cache = CredentialCache()
    for password in ("verified again", "used", "idle"):
        add(cache, password)
    add(cache, "verified again")
    assert is_held(cache, "used")
    add(cache, "new")
    held = [one for one in ("verified again", "used", "idle", "new") if is_held(cache, one)]
    assert held == ["verified again", "used", "new"]


def test_entries_are_digests_by_a_key_that_each_process_draws_anew(cache: CredentialCache) -> None:
    """A dump of the memory is no dictionary of passwords without the key."""
    credential = cache.digest("miguel", "python")
    assert len(credential) == 32
    assert credential != CredentialCache().digest("miguel", "python")
    (digest, *_) = cache._entries.get(credential, (b"", 0, 0))
    assert len(digest) == 32
    assert ACCOUNT.password_hash.encode() not in digest
