"""Authentication by password: refusals and what they cost, the cache, hashes to renew, races."""

import hmac
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from threading import Event
from typing import Any

import bcrypt
import pytest

from restauth import services as services_module
from restauth.core import passwords
from restauth.errors import BadCredentials, Busy, Refusal, StoreUnavailable, Throttled
from restauth.records import Account, Client
from restauth.services import Services, build_services
from restauth.testing import Clock
from tests.conftest import (
    CHEAPEST,
    CLIENT,
    ServicesFactory,
    expect_refusal,
    held_hashes,
    slot_taken,
)
from tests.databases import nobody_can_write, without_database
from tests.domain.actions import (
    NAME,
    ONE_HASH,
    PASSWORD,
    WRONG,
    await_waiting,
    events,
    fail,
    log_in,
    register,
)

ELSEWHERE = Client("198.51.100.9", "test")


def add(services: Services, password_hash: str) -> Account:
    """Miguel, with a hash that was made elsewhere."""
    services._resources.store.add_user(NAME, NAME, password_hash, 0)
    return services.accounts.find_by_name(NAME)


@pytest.fixture
def stale(services: Services) -> Account:
    """Miguel, hashed at another cost than the one in force: a higher one."""
    return add(services, passwords.hash(PASSWORD, CHEAPEST + 1))


CHANGES: dict[str, Callable[[Services, Account], object]] = {
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


def test_a_name_too_long_for_any_user_costs_nothing_and_is_counted_nowhere(
    services: Services, account: Account, work: list[int]
) -> None:
    work.clear()
    for name in ("m" * 256, "\u0301" * 8192, "\ufdfa" * 15):
        for _ in range(7):
            expect_refusal(services.authentication, name, PASSWORD)
    assert work == []
    assert services._resources.engine.read("SELECT * FROM failures", {}) == []


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
    susan = services.accounts.register("susan", "another")
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
    clock.advance(9)  # counted from its last use
    log_in(services)
    assert len(work) == (1 if duration else 3)
    clock.advance(10)
    log_in(services)
    assert len(work) == (2 if duration else 4)


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
    make_services: ServicesFactory,
    stale: Account,
    monkeypatch: pytest.MonkeyPatch,
    no_patience: None,
) -> None:
    services = make_services()
    renew = services._resources.store.renew_password_hash

    def renew_in_vain(user_id: int, old_hash: str, new_hash: str) -> bool:
        with nobody_can_write(services):
            return renew(user_id, old_hash, new_hash)

    with monkeypatch.context() as patch:
        patch.setattr(services._resources.store, "renew_password_hash", renew_in_vain)
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                log_in(services)
    assert services.accounts.find(stale.id) == stale
    assert is_fresh(log_in(services))


# Changes while a password is compared


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("waiting", [0, 2])
def test_a_login_under_way_does_not_outlive_a_change_of_its_account(
    make_services: ServicesFactory,
    services: Services,
    account: Account,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Services, Account], None],
    waiting: int,
) -> None:
    elsewhere = make_services()
    new_hash = passwords.hash("other", CHEAPEST)
    with held_hashes(monkeypatch) as held, ThreadPoolExecutor(3) as threads:
        logins = [threads.submit(log_in, services)]
        try:
            assert held.is_hashing.wait(timeout=60)
            logins += [threads.submit(log_in, services) for _ in range(waiting)]
            await_waiting(services, waiting)
            with monkeypatch.context() as patch:
                patch.setattr(passwords, "hash", lambda *_: new_hash)
                change(elsewhere, account)
        finally:
            held.may_go_on.set()
    assert [type(login.exception()) for login in logins] == [BadCredentials] * (1 + waiting)
    expect_refusal(services.authentication, NAME, PASSWORD)  # nothing was cached


def test_a_login_under_way_outlives_a_new_hash_of_its_password(
    make_services: ServicesFactory, services: Services, account: Account,
    monkeypatch: pytest.MonkeyPatch, work: list[int],
) -> None:  # fmt: skip
    renewed = passwords.hash(PASSWORD, CHEAPEST)
    with slot_taken(services, monkeypatch, NAME, PASSWORD):
        store = make_services()._resources.store
        assert store.renew_password_hash(account.id, account.password_hash, renewed)
    work.clear()
    assert log_in(services).password_hash == renewed
    assert work == []  # the cache holds it for the row of now


# Hash slots


def test_a_burst_with_one_password_is_one_hash(
    services: Services, account: Account, monkeypatch: pytest.MonkeyPatch, work: list[int]
) -> None:
    clients = [CLIENT, ELSEWHERE] * 25  # a page with fifty images
    work.clear()
    with held_hashes(monkeypatch) as held, ThreadPoolExecutor(50) as threads:
        logins = [threads.submit(log_in, services, client) for client in clients]
        try:
            await_waiting(services, 49)
        finally:
            held.may_go_on.set()
    assert [login.result() for login in logins] == [account] * 50
    assert work == [ONE_HASH]


def test_a_burst_of_different_users_is_queued_and_not_refused(
    services: Services, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = [add_named(services, f"user{number}", account) for number in range(50)]
    with held_hashes(monkeypatch) as held, ThreadPoolExecutor(50) as threads:
        logins = [threads.submit(log_in, services, CLIENT, user.username) for user in users]
        try:
            assert held.is_hashing.wait(timeout=60)
            await_waiting(services, 50 - services._resources.limiter._turns)
        finally:
            held.may_go_on.set()
    assert [login.result() for login in logins] == users


def add_named(services: Services, name: str, like: Account) -> Account:
    services._resources.store.add_user(name, name, like.password_hash, 0)
    return services.accounts.find_by_name(name)


def test_a_wrong_password_beside_a_right_one_is_another_attempt(
    services: Services, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held_hashes(monkeypatch) as held, ThreadPoolExecutor(2) as threads:
        right = threads.submit(log_in, services)
        wrong = threads.submit(services.authentication.authenticate, NAME, WRONG, CLIENT)
        try:
            assert held.is_hashing.wait(timeout=60)
        finally:
            held.may_go_on.set()
    assert right.result() == account
    assert isinstance(wrong.exception(), BadCredentials)


@pytest.mark.parametrize("refusal", [Throttled(1), StoreUnavailable("locked")], ids=str)
def test_when_the_first_of_equals_cannot_be_tried_the_others_are_tried_by_themselves(
    one_turn: Services, account: Account, monkeypatch: pytest.MonkeyPatch, refusal: Refusal
) -> None:
    reserve = one_turn.authentication._throttle.reserve
    is_reserving, may_go_on = Event(), Event()

    def refuse_once(*arguments: Any, **keywords: Any) -> int | None:
        if not is_reserving.is_set():
            is_reserving.set()
            assert may_go_on.wait(timeout=60)
            raise refusal
        return reserve(*arguments, **keywords)

    monkeypatch.setattr(one_turn.authentication._throttle, "reserve", refuse_once)
    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(log_in, one_turn)
        try:
            assert is_reserving.wait(timeout=60)
            others = [threads.submit(log_in, one_turn, ELSEWHERE) for _ in range(2)]
            await_waiting(one_turn, 2)
        finally:
            may_go_on.set()
    assert first.exception() is refusal
    assert [other.result() for other in others] == [account] * 2


@pytest.fixture
def one_turn(make_services: ServicesFactory, monkeypatch: pytest.MonkeyPatch) -> Services:
    with monkeypatch.context() as patch:
        patch.setattr(services_module, "HASH_SLOTS", 1)
        patch.setattr(services_module, "HASH_QUEUE", 8)
        return make_services()


def test_no_slot_is_held_while_the_store_is_waited_for(
    one_turn: Services, stale: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Booking, taking back, renewing a hash, reading the row again: others can hash meanwhile."""
    slot, store = one_turn._resources.limiter.slot, one_turn._resources.store
    held = []

    def watched(method: str) -> Callable[..., Any]:
        act = getattr(store, method)

        def watch(*arguments: Any, **keywords: Any) -> Any:
            held.append((method, slot._value == 0))
            return act(*arguments, **keywords)

        return watch

    methods = {"change_failures", "renew_password_hash", "find_unchanged", "find_user_by_name"}
    for method in methods:
        monkeypatch.setattr(store, method, watched(method))
    log_in(one_turn)
    assert {method for method, _ in held} == methods
    assert not any(is_held for _, is_held in held)


# Names that exist, and names that do not


@pytest.mark.parametrize("refusal", [Busy, Throttled])
def test_no_refusal_before_the_hash_looks_a_name_up(
    services: Services, account: Account, one_slot: Services,
    monkeypatch: pytest.MonkeyPatch, refusal: type[Refusal],
) -> None:  # fmt: skip
    """Counted in work, because time cannot be measured well enough: the same statements, digests
    and normalisations, whether the name exists or not."""
    register(services, "susan")
    names = (NAME, "abcdef")
    for name in names:
        fail(services, 6 if refusal is Throttled else 0, username=name)
    log = []
    read = one_slot._resources.store._read

    def logged_read(sql: str, parameters: dict[str, object]) -> Any:
        log.append(("read", sql, len(parameters)))
        return read(sql, parameters)

    monkeypatch.setattr(one_slot._resources.store, "_read", logged_read)
    for function in ("digest", "compare_digest"):
        monkeypatch.setattr(hmac, function, logged(log, function, getattr(hmac, function)))
    taken = slot_taken(one_slot, monkeypatch, "susan", PASSWORD)
    with taken if refusal is Busy else nullcontext():
        work = []
        for name in names:
            log.clear()
            with pytest.raises(refusal):
                one_slot.authentication.authenticate(name, PASSWORD, CLIENT)
            work.append(tuple(log))
    assert work[0] == work[1]
    assert [step for step in work[0] if "users" in str(step)] == []


def logged(log: list[Any], name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        log.append((name, [len(each) for each in arguments]))
        return function(*arguments)

    return call


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
