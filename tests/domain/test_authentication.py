"""Who you are, by password or by code: refusals and their cost, the memory, stale hashes, races."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import bcrypt
import pytest

from restauth.core import passwords
from restauth.domain.authentication import Authentication
from restauth.errors import Busy, StoreUnavailable, Throttled, UnknownUser, UnusableCode
from restauth.records import Account
from restauth.services import Services, build_services
from restauth.storage import sqlite
from tests.conftest import (
    CHEAPEST,
    CLIENT,
    Clock,
    ServicesFactory,
    caller_of,
    expect_refusal,
    slot_taken,
)
from tests.vectors import LOOK_ALIKES

NAME, PASSWORD = "miguel", "python"
ONE_HASH = 2**CHEAPEST  # rounds


@pytest.fixture
def authentication(services: Services) -> Authentication:
    """Of a service that miguel has registered at."""
    services.accounts.register(NAME, PASSWORD)
    return services.authentication


# The name and the password


def test_a_name_that_is_no_unicode_text_is_nobodys(
    services: Services, authentication: Authentication
) -> None:
    with pytest.raises(UnknownUser):
        services.accounts.find_by_name("miguel\udcff")
    expect_refusal(authentication, "miguel\udcff", PASSWORD)


@pytest.mark.parametrize(
    ("username", "look_alike"),
    LOOK_ALIKES.values(),
    ids=LOOK_ALIKES,
)
def test_a_look_alike_username_logs_in(
    make_services: ServicesFactory, username: str, look_alike: str
) -> None:
    services = make_services(username_pattern=r"[^:\x00-\x20\x7f]+")
    account = services.accounts.find(services.accounts.register(username, PASSWORD))
    assert services.authentication.authenticate(look_alike, PASSWORD, CLIENT) == account


@pytest.mark.parametrize(
    "password",
    ["", "x" * 1025, "pass\ud800word"],
    ids=["empty", "one character too many", "lone surrogate"],
)
def test_an_unacceptable_password_costs_nothing_and_tells_nothing_about_the_name(
    authentication: Authentication, work: list[int], password: str
) -> None:
    refusals = [expect_refusal(authentication, name, password) for name in (NAME, "nobody")]
    assert len({str(refusal) for refusal in refusals}) == 1
    assert work == []


@pytest.mark.parametrize("character", ["x", "\N{SNAKE}"])
def test_the_longest_password_counts_to_its_end(services: Services, character: str) -> None:
    services.accounts.register(NAME, character * 1024)
    expect_refusal(services.authentication, NAME, character * 1023)
    expect_refusal(services.authentication, NAME, character * 1023 + "y")
    services.authentication.authenticate(NAME, character * 1024, CLIENT)


# Refusals and what they cost


def test_every_refusal_is_one_answer_after_exactly_one_hash(
    services: Services, authentication: Authentication, work: list[int]
) -> None:
    accounts = services.accounts
    accounts.lock(accounts.find(accounts.register("locked", PASSWORD)))
    accounts.delete(accounts.find(accounts.register("deleted", PASSWORD)))
    work.clear()
    answers = set()
    for username, password in [
        (NAME, "wrong"),
        (NAME, "Python"),
        (NAME, PASSWORD + " "),
        ("nobody", PASSWORD),
        ("", PASSWORD),
        ("locked", PASSWORD),
        ("locked", "wrong"),
        ("deleted", PASSWORD),
    ]:
        refusal = expect_refusal(authentication, username, password)
        answers.add((type(refusal), refusal.args, refusal.__cause__))
        assert work == [ONE_HASH], username
        work.clear()
    assert len(answers) == 1


@pytest.mark.parametrize(
    "password_hash", [passwords.hash(PASSWORD, CHEAPEST), "not a hash"], ids=["cheap", "damaged"]
)
def test_a_row_of_another_kind_costs_a_wrong_password_the_same(
    make_services: ServicesFactory, clock: Clock, work: list[int], password_hash: str
) -> None:
    cheap = make_services()
    cheap.store.add_user(NAME, NAME, password_hash, clock())
    work.clear()
    with build_services(
        cheap.settings, create=False, clock=clock, hash_cost_for_tests=CHEAPEST + 2
    ) as dearer:
        expect_refusal(dearer.authentication, NAME, "wrong")
    assert sum(work) == 4 * ONE_HASH


def test_a_store_that_does_not_answer_is_no_wrong_password(
    services: Services, authentication: Authentication
) -> None:
    services.settings.database.unlink()
    services.engine._next_look = 0  # the engine looks once a second, and this test does not wait
    with pytest.raises(StoreUnavailable):
        authentication.authenticate(NAME, PASSWORD, CLIENT)


# The memory of verified passwords


def test_a_verified_password_is_not_hashed_again(
    authentication: Authentication, work: list[int]
) -> None:
    account = authentication.authenticate(NAME, PASSWORD, CLIENT)
    work.clear()
    assert authentication.authenticate(NAME, PASSWORD, CLIENT) == account
    assert authentication.authenticate(NAME.upper(), PASSWORD, CLIENT) == account
    assert work == []


def test_a_verified_password_vouches_for_no_other(
    services: Services, authentication: Authentication, work: list[int]
) -> None:
    authentication.authenticate(NAME, PASSWORD, CLIENT)
    services.accounts.register("susan", "another")
    work.clear()
    expect_refusal(authentication, NAME, "wrong")
    expect_refusal(authentication, "susan", PASSWORD)
    assert work == [ONE_HASH, ONE_HASH]


def test_a_wrong_password_is_hashed_every_time(
    authentication: Authentication, work: list[int]
) -> None:
    work.clear()
    expect_refusal(authentication, NAME, "wrong")
    expect_refusal(authentication, NAME, "wrong")
    assert work == [ONE_HASH, ONE_HASH]


def test_the_memory_lasts_as_long_as_the_setting_says(
    make_services: ServicesFactory, authentication: Authentication, clock: Clock, work: list[int]
) -> None:
    authentication = make_services(credential_cache=10).authentication
    authentication.authenticate(NAME, PASSWORD, CLIENT)
    work.clear()
    clock.advance(9)
    authentication.authenticate(NAME, PASSWORD, CLIENT)
    assert work == []
    clock.advance(1)  # counted from the hash: the use in between has prolonged nothing
    authentication.authenticate(NAME, PASSWORD, CLIENT)
    assert work == [ONE_HASH]


def test_without_a_memory_every_login_is_hashed(
    make_services: ServicesFactory, authentication: Authentication, work: list[int]
) -> None:
    authentication = make_services(credential_cache=0).authentication
    work.clear()
    authentication.authenticate(NAME, PASSWORD, CLIENT)
    authentication.authenticate(NAME, PASSWORD, CLIENT)
    assert work == [ONE_HASH, ONE_HASH]


CHANGES: dict[str, Callable[[Services, Account], None]] = {
    "another password": lambda services, account: services.accounts.set_password(
        account, "another"
    ),
    "locked": lambda services, account: services.accounts.lock(account),
    "deleted": lambda services, account: services.accounts.delete(account),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("elsewhere", [False, True], ids=["this process", "another process"])
def test_a_remembered_password_is_dead_at_once(
    make_services: ServicesFactory,
    services: Services,
    authentication: Authentication,
    work: list[int],
    change: Callable[[Services, Account], None],
    elsewhere: bool,
) -> None:
    account = authentication.authenticate(NAME, PASSWORD, CLIENT)
    change(make_services() if elsewhere else services, account)
    work.clear()
    expect_refusal(authentication, NAME, PASSWORD)
    assert work == [ONE_HASH]


def test_a_name_registered_anew_inherits_no_memory(
    services: Services, authentication: Authentication, work: list[int]
) -> None:
    old = authentication.authenticate(NAME, PASSWORD, CLIENT)
    services.accounts.delete(old)
    services.accounts.register(NAME, PASSWORD)
    work.clear()
    assert authentication.authenticate(NAME, PASSWORD, CLIENT).id != old.id
    assert work == [ONE_HASH]


def test_a_remembered_password_gives_the_roles_of_now(
    services: Services, authentication: Authentication
) -> None:
    account = authentication.authenticate(NAME, PASSWORD, CLIENT)
    services.accounts.change_roles(account, ["admin"], [])
    assert authentication.authenticate(NAME, PASSWORD, CLIENT).roles == ("admin",)


def test_a_client_that_polls_buys_no_guesses_for_another_behind_its_address(
    authentication: Authentication, clock: Clock
) -> None:
    for _ in range(6):
        authentication.authenticate(NAME, PASSWORD, CLIENT)  # hashed once, and then remembered
        expect_refusal(authentication, NAME, "wrong")
    with pytest.raises(Throttled):
        authentication.authenticate(NAME, PASSWORD, CLIENT)
    clock.advance(1)
    authentication.authenticate(NAME, PASSWORD, CLIENT)
    expect_refusal(authentication, NAME, "wrong")
    with pytest.raises(Throttled) as caught:
        authentication.authenticate(NAME, PASSWORD, CLIENT)
    assert caught.value.retry_after == 2


# Stale hashes


@pytest.fixture
def stale(services: Services, clock: Clock) -> Account:
    """miguel, hashed at another cost than the one in force."""
    services.store.add_user(NAME, NAME, passwords.hash(PASSWORD, CHEAPEST + 1), clock())
    return services.accounts.find_by_name(NAME)


def is_fresh(account: Account) -> bool:
    return not passwords.needs_rehash(account.password_hash, CHEAPEST)


def test_a_correct_login_renews_a_stale_hash_once(
    services: Services, stale: Account, work: list[int]
) -> None:
    renewed = services.authentication.authenticate(NAME, PASSWORD, CLIENT)
    assert renewed == services.accounts.find(stale.id)  # or no session could begin with it
    assert is_fresh(renewed)
    assert work == [2 * ONE_HASH, ONE_HASH]  # one to verify, one to renew
    assert services.authentication.authenticate(NAME, PASSWORD, CLIENT) == renewed
    assert len(work) == 2


def test_a_fresh_hash_stays_as_it_is(services: Services, authentication: Authentication) -> None:
    before = services.accounts.find_by_name(NAME)
    assert authentication.authenticate(NAME, PASSWORD, CLIENT) == before
    assert services.accounts.find_by_name(NAME) == before


def test_a_wrong_password_renews_nothing(services: Services, stale: Account) -> None:
    expect_refusal(services.authentication, NAME, "wrong")
    assert services.accounts.find(stale.id) == stale


def test_a_locked_account_renews_nothing(services: Services, stale: Account) -> None:
    services.accounts.lock(stale)
    expect_refusal(services.authentication, NAME, PASSWORD)
    assert services.accounts.find(stale.id).password_hash == stale.password_hash


def test_a_stale_hash_is_renewed_in_the_slot_in_which_it_was_verified(
    one_slot: Services, stale: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    turned_away = []
    hashpw = bcrypt.hashpw

    def hash_and_see(password: bytes, salt: bytes) -> bytes:
        with pytest.raises(Busy):
            one_slot.authentication.authenticate("susan", PASSWORD, CLIENT)
        turned_away.append("susan")
        return hashpw(password, salt)

    with monkeypatch.context() as patch:
        patch.setattr(bcrypt, "hashpw", hash_and_see)
        assert is_fresh(one_slot.authentication.authenticate(NAME, PASSWORD, CLIENT))
    assert turned_away == ["susan", "susan"]


@contextmanager
def somebody_quicker(
    monkeypatch: pytest.MonkeyPatch, services: Services, rival: Callable[[], object]
) -> Iterator[None]:
    """The rival's write comes between the reading of a stale row and its renewing."""
    renew = services.store.renew_password_hash

    def renew_too_late(user_id: int, old_hash: str, new_hash: str) -> bool:
        rival()
        return renew(user_id, old_hash, new_hash)

    with monkeypatch.context() as patch:
        patch.setattr(services.store, "renew_password_hash", renew_too_late)
        yield


def test_two_logins_that_renew_one_hash_both_succeed(
    make_services: ServicesFactory,
    services: Services,
    stale: Account,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = make_services().authentication
    with somebody_quicker(
        monkeypatch, services, lambda: other.authenticate(NAME, PASSWORD, CLIENT)
    ):
        account = services.authentication.authenticate(NAME, PASSWORD, CLIENT)
    assert account == services.accounts.find(stale.id)
    assert is_fresh(account)
    assert services.authentication.authenticate(NAME, PASSWORD, CLIENT) == account
    services.sessions.issue(caller_of(account), CLIENT)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_login_overtaken_while_it_renews_is_refused(
    make_services: ServicesFactory,
    services: Services,
    stale: Account,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Services, Account], None],
) -> None:
    # A lock alone leaves the hash as it was: only with another renewal does the swap notice.
    other = make_services()

    def overtake() -> None:
        change(other, other.authentication.authenticate(NAME, PASSWORD, CLIENT))

    with somebody_quicker(monkeypatch, services, overtake):
        expect_refusal(services.authentication, NAME, PASSWORD)
    expect_refusal(services.authentication, NAME, PASSWORD)


def test_a_login_overtaken_by_the_same_password_set_anew_is_refused(
    make_services: ServicesFactory,
    services: Services,
    stale: Account,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = make_services().accounts
    with somebody_quicker(monkeypatch, services, lambda: other.set_password(stale, PASSWORD)):
        expect_refusal(services.authentication, NAME, PASSWORD)  # it ended whatever was under way
    services.authentication.authenticate(NAME, PASSWORD, CLIENT)


def test_a_store_that_cannot_renew_a_hash_says_so_and_no_login_is_made_of_it(
    make_services: ServicesFactory, stale: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 1)
    services = make_services()
    renew = services.store.renew_password_hash

    def renew_in_vain(user_id: int, old_hash: str, new_hash: str) -> bool:
        with closing(sqlite3.connect(services.settings.database)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            return renew(user_id, old_hash, new_hash)

    with monkeypatch.context() as patch:
        patch.setattr(services.store, "renew_password_hash", renew_in_vain)
        for _ in range(2):  # it is not remembered either
            with pytest.raises(StoreUnavailable):
                services.authentication.authenticate(NAME, PASSWORD, CLIENT)
    assert services.accounts.find(stale.id) == stale
    assert is_fresh(services.authentication.authenticate(NAME, PASSWORD, CLIENT))


# Hash slots


def test_a_flood_of_logins_is_turned_away_before_it_hashes(
    services: Services, one_slot: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    authentication = one_slot.authentication
    services.accounts.register("susan", PASSWORD)
    services.accounts.register(NAME, PASSWORD)
    miguel = authentication.authenticate(NAME, PASSWORD, CLIENT)
    with slot_taken(one_slot, monkeypatch, "susan", PASSWORD):
        for username, password in ((NAME, "wrong"), ("nobody", PASSWORD)):
            with pytest.raises(Busy):
                authentication.authenticate(username, password, CLIENT)
        remembered = authentication.authenticate(NAME, PASSWORD, CLIENT)  # needs no slot
    assert remembered == miguel
    expect_refusal(authentication, NAME, "wrong")  # the slot is free again


# Reset codes


@pytest.fixture
def code(services: Services, authentication: Authentication) -> str:
    """A fresh one for miguel."""
    return services.accounts.make_reset_code(services.accounts.find_by_name(NAME))


def expect_unusable(authentication: Authentication, code: str) -> None:
    with pytest.raises(UnusableCode) as caught:
        authentication.redeem(code, CLIENT)
    assert (str(caught.value), caught.value.__cause__) == (UnusableCode.detail, None)


def test_a_code_is_good_until_it_is_used(
    services: Services, authentication: Authentication, code: str
) -> None:
    miguel = services.accounts.find_by_name(NAME)
    for _ in range(2):
        assert authentication.redeem(code, CLIENT) == (miguel, code.partition(".")[0])


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda code: "", id="nothing"),
        pytest.param(lambda code: code.partition(".")[0], id="the selector alone"),
        pytest.param(lambda code: code.partition(".")[0] + "." + "A" * 24, id="another secret"),
        pytest.param(lambda code: "A" * 12 + code[12:], id="another selector"),
        pytest.param(lambda code: code.swapcase(), id="another case"),
        pytest.param(lambda code: code + "\n", id="a line break after it"),
        pytest.param(lambda code: f" {code}", id="a blank before it"),
        pytest.param(lambda code: code[:-1] + "\N{SNAKE}", id="not ASCII"),
        pytest.param(lambda code: code[:-1] + "\ud800", id="a lone surrogate"),
        pytest.param(lambda code: "%" * 12 + "." + "%" * 24, id="a wildcard"),
    ],
)
def test_a_wrong_code_is_refused_alike_and_without_a_hash(
    authentication: Authentication, code: str, work: list[int], spoil: Callable[[str], str]
) -> None:
    work.clear()
    expect_unusable(authentication, spoil(code))
    assert work == []
    authentication.redeem(code, CLIENT)


def test_an_expired_code_is_refused(
    authentication: Authentication, code: str, clock: Clock
) -> None:
    clock.advance(3599)
    authentication.redeem(code, CLIENT)
    clock.advance(1)
    expect_unusable(authentication, code)


def test_a_code_of_a_user_who_was_just_deleted_is_unusable(
    services: Services, authentication: Authentication, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_reset_code = services.store.find_reset_code

    def find_and_lose(selector: str, now: int) -> tuple[int, str] | None:
        found = find_reset_code(selector, now)
        services.accounts.delete(services.accounts.find_by_name(NAME))
        return found

    monkeypatch.setattr(services.store, "find_reset_code", find_and_lose)
    expect_unusable(authentication, code)
