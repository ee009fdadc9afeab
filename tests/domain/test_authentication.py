"""Authentication by password: refusals and what they cost, the cache, hashes to renew, races."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import bcrypt
import pytest

from restauth.core import passwords
from restauth.errors import Busy, StoreUnavailable
from restauth.records import Account
from restauth.services import Services, build_services
from restauth.storage import sqlite
from restauth.testing import Clock
from tests.conftest import CHEAPEST, CLIENT, ServicesFactory, expect_refusal, slot_taken
from tests.domain.actions import (
    NAME,
    ONE_HASH,
    PASSWORD,
    WRONG,
    events,
    fail,
    log_in,
    register,
    without_database,
)


def add(services: Services, password_hash: str) -> Account:
    """Miguel, with a hash that was made elsewhere."""
    services._resources.store.add_user(NAME, NAME, password_hash, 0)
    return services.accounts.find_by_name(NAME)


@pytest.fixture
def stale(services: Services) -> Account:
    """Miguel, hashed at another cost than the one in force: a higher one."""
    return add(services, passwords.hash(PASSWORD, CHEAPEST + 1))


CHANGES: dict[str, Callable[[Services, Account], None]] = {
    "another password": lambda services, account: services.accounts.set_password(account, "other"),
    "locked": lambda services, account: services.accounts.lock(account),
    "deleted": lambda services, account: services.accounts.delete(account),
}


# Refusals and what they cost


def test_an_unacceptable_password_costs_nothing_and_tells_nothing_about_the_name(
    services: Services, account: Account, work: list[int]
) -> None:
    work.clear()
    authentication = services.authentication
    refusals = {
        str(expect_refusal(authentication, name, password))
        for name in (NAME, "nobody")
        for password in ("", "x" * 1025, "pass\ud800word")
    }
    assert (len(refusals), work) == (1, [])


def test_every_refusal_is_one_answer_after_exactly_one_hash(
    services: Services, account: Account, work: list[int]
) -> None:
    services.accounts.lock(register(services, "locked"))
    services.accounts.delete(register(services, "deleted"))
    answers = set()
    for username, password in [
        (NAME, "wrong"),
        (NAME, "Python"),
        (NAME, PASSWORD + " "),
        ("nobody", PASSWORD),
        ("", PASSWORD),
        ("miguel\udcff", PASSWORD),
        ("locked", PASSWORD),
        ("locked", "wrong"),
        ("deleted", PASSWORD),
    ]:
        work.clear()
        refusal = expect_refusal(services.authentication, username, password)
        answers.add((type(refusal), refusal.args, refusal.__cause__))
        assert work == [ONE_HASH], username
    assert len(answers) == 1


@pytest.mark.parametrize(
    ("password_hash", "rounds"),
    [
        pytest.param(passwords.hash(PASSWORD, CHEAPEST), 4 * ONE_HASH, id="cheaper"),
        pytest.param("not a hash", 4 * ONE_HASH, id="damaged"),
        # Its own cost cannot be undercut: until the next correct login, the time tells.
        pytest.param(passwords.hash(PASSWORD, CHEAPEST + 3), 8 * ONE_HASH, id="dearer"),
    ],
)
def test_a_hash_of_another_kind_is_compared_with_the_work_in_force_at_least(
    services: Services, clock: Clock, work: list[int], password_hash: str, rounds: int
) -> None:
    add(services, password_hash)
    cost = CHEAPEST + 2
    with build_services(services.settings, create=False, clock=clock, hash_cost=cost) as dearer:
        work.clear()
        fail(dearer)
        assert sum(work) == rounds


def test_a_store_that_does_not_answer_is_no_wrong_password(
    services: Services, account: Account
) -> None:
    with without_database(services), pytest.raises(StoreUnavailable):
        log_in(services)


# The cache of verified passwords


def test_a_verified_password_is_not_hashed_again_and_no_other_is_spared(
    services: Services, account: Account, work: list[int]
) -> None:
    susan = services.accounts.find(services.accounts.register("susan", "another"))
    work.clear()
    assert log_in(services) == account
    assert work == [ONE_HASH]
    assert log_in(services, username=NAME.upper()) == account
    services.accounts.set_roles(account, ["admin"])
    assert log_in(services).roles == ("admin",)  # of now
    assert work == [ONE_HASH]
    fail(services, 2)
    expect_refusal(services.authentication, susan.username, PASSWORD)
    assert work == [ONE_HASH] * 4


@pytest.mark.parametrize("duration", [0, 10])
def test_the_cache_lasts_as_long_as_the_setting_says(
    make_services: ServicesFactory, account: Account, clock: Clock, work: list[int], duration: int
) -> None:
    services = make_services(credential_cache=duration)
    work.clear()
    log_in(services)
    clock.advance(9)
    log_in(services)
    assert len(work) == (1 if duration else 2)
    clock.advance(1)  # counted from the hash: the use in between has prolonged nothing
    log_in(services)
    assert len(work) == (2 if duration else 3)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("elsewhere", [False, True], ids=["this process", "another process"])
def test_a_cached_password_is_dead_at_once(
    make_services: ServicesFactory,
    services: Services,
    account: Account,
    work: list[int],
    change: Callable[[Services, Account], None],
    elsewhere: bool,
) -> None:
    log_in(services)
    change(make_services() if elsewhere else services, account)
    work.clear()
    expect_refusal(services.authentication, NAME, PASSWORD)
    assert work == [ONE_HASH]


# Hashes to renew


def is_fresh(account: Account) -> bool:
    return passwords.cost_of(account.password_hash) == CHEAPEST


def test_a_correct_login_renews_a_stale_hash_once(
    services: Services, stale: Account, work: list[int]
) -> None:
    work.clear()
    renewed = log_in(services)
    assert renewed == services.accounts.find(stale.id)  # or no session could begin with it
    assert is_fresh(renewed)
    assert work == [2 * ONE_HASH, ONE_HASH]  # one to verify, one to renew
    assert log_in(services) == renewed
    assert len(work) == 2
    services.sessions.issue(renewed, CLIENT)


def test_what_is_fresh_or_not_proved_is_renewed_by_nothing(
    services: Services, stale: Account
) -> None:
    fail(services)
    assert services.accounts.find(stale.id) == stale
    services.accounts.lock(stale)
    expect_refusal(services.authentication, NAME, PASSWORD)
    services.accounts.unlock(stale)
    assert services.accounts.find(stale.id) == stale
    susan = register(services, "susan")
    assert log_in(services, username="susan") == susan == services.accounts.find(susan.id)


def test_a_stale_hash_is_renewed_in_the_slot_in_which_it_was_verified(
    one_slot: Services, stale: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    turned_away = []
    hashpw = bcrypt.hashpw

    def hash_and_see(password: bytes, salt: bytes) -> bytes:
        with pytest.raises(Busy):
            log_in(one_slot, username="susan")
        turned_away.append("susan")
        return hashpw(password, salt)

    with monkeypatch.context() as patch:
        patch.setattr(bcrypt, "hashpw", hash_and_see)
        assert is_fresh(log_in(one_slot))
    assert turned_away == ["susan", "susan"]


@contextmanager
def somebody_quicker(
    monkeypatch: pytest.MonkeyPatch, services: Services, rival: Callable[[], object]
) -> Iterator[None]:
    """The rival's write comes between the reading of a stale row and its renewing."""
    renew = services._resources.store.renew_password_hash

    def renew_too_late(user_id: int, old_hash: str, new_hash: str) -> bool:
        rival()
        return renew(user_id, old_hash, new_hash)

    with monkeypatch.context() as patch:
        patch.setattr(services._resources.store, "renew_password_hash", renew_too_late)
        yield


def test_two_logins_that_renew_one_hash_both_succeed(
    make_services: ServicesFactory,
    services: Services,
    stale: Account,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = make_services()
    with somebody_quicker(monkeypatch, services, lambda: log_in(other)):
        account = log_in(services)
    assert account == services.accounts.find(stale.id)
    assert is_fresh(account)
    assert log_in(services) == account
    services.sessions.issue(account, CLIENT)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_login_overtaken_while_it_renews_is_refused(
    make_services: ServicesFactory,
    services: Services,
    stale: Account,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Services, Account], None],
) -> None:
    # A lock alone leaves the hash as it was: only with another renewal does the swap notice.
    other = make_services()
    with somebody_quicker(monkeypatch, services, lambda: change(other, log_in(other))):
        expect_refusal(services.authentication, NAME, PASSWORD)
    expect_refusal(services.authentication, NAME, PASSWORD)


def test_a_login_overtaken_by_the_same_password_set_anew_is_refused_and_written_as_failed(
    make_services: ServicesFactory,
    services: Services,
    stale: Account,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    other = make_services().accounts
    with somebody_quicker(monkeypatch, services, lambda: other.set_password(stale, PASSWORD)):
        expect_refusal(services.authentication, NAME, PASSWORD)  # it ended what was under way
    assert [line["event"] for line in events(caplog)] == ["password_changed", "login_failed"]
    log_in(services)


def test_a_store_that_cannot_renew_a_hash_says_so_and_nothing_is_cached(
    make_services: ServicesFactory, stale: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 1)
    services = make_services()
    renew = services._resources.store.renew_password_hash

    def renew_in_vain(user_id: int, old_hash: str, new_hash: str) -> bool:
        with closing(sqlite3.connect(services.settings.database)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            return renew(user_id, old_hash, new_hash)

    with monkeypatch.context() as patch:
        patch.setattr(services._resources.store, "renew_password_hash", renew_in_vain)
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                log_in(services)
    assert services.accounts.find(stale.id) == stale
    assert is_fresh(log_in(services))


# Hash slots


def test_a_flood_of_logins_is_turned_away_before_it_hashes(
    services: Services, account: Account, one_slot: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(services, "susan")
    log_in(one_slot)
    with slot_taken(one_slot, monkeypatch, "susan", PASSWORD):
        for username, password in ((NAME, WRONG), ("nobody", PASSWORD)):
            with pytest.raises(Busy):
                one_slot.authentication.authenticate(username, password, CLIENT)
        assert log_in(one_slot) == account  # cached: it needs no slot
    fail(one_slot)  # the slot is free again
