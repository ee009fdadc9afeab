"""Who you are, by password: refusals and what they cost, the memory, stale hashes, races."""

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from threading import Barrier, Event

import bcrypt
import pytest

from restauth import services as services_module
from restauth import settings
from restauth.accounts import Accounts
from restauth.core import passwords
from restauth.errors import (
    BadCredentials,
    Busy,
    StoreUnavailable,
    UnacceptablePassword,
    UnacceptableUsername,
    UnknownUser,
    UsernameTaken,
)
from restauth.records import Account
from restauth.services import Services, build_services
from restauth.storage import sqlite
from tests.conftest import CHEAPEST, Clock, ServicesFactory

NAME, PASSWORD = "miguel", "python"
LAX_PATTERN = r"[^:\x00-\x20\x7f]+"
ONE_HASH = 2**CHEAPEST  # rounds


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rounds of each bcrypt that has run, in order."""
    done = []
    hashpw = bcrypt.hashpw

    def counted(password: bytes, salt: bytes) -> bytes:
        done.append(2 ** int(salt[4:6]))
        return hashpw(password, salt)

    monkeypatch.setattr(bcrypt, "hashpw", counted)
    return done


@pytest.fixture
def accounts(services: Services) -> Accounts:
    """Of a service that miguel has registered at."""
    services.accounts.register(NAME, PASSWORD)
    return services.accounts


def expect_refusal(accounts: Accounts, username: str, password: str) -> BadCredentials:
    """Expect one refusal, and give it."""
    with pytest.raises(BadCredentials) as caught:
        accounts.authenticate(username, password)
    return caught.value


# Registration


def test_a_registered_name_authenticates(services: Services, clock: Clock) -> None:
    user_id = services.accounts.register("Miguel", PASSWORD)
    account = services.accounts.authenticate("Miguel", PASSWORD)
    assert (account.id, account.username) == (user_id, "Miguel")
    assert (account.created_at, account.locked_at) == (clock.now, None)
    assert services.accounts.find(user_id) == account
    assert services.accounts.find_by_name("MIGUEL") == account


@pytest.mark.parametrize("username", ["a", "7", "a" * 64, "m.g_u-e@l+1"])
def test_a_fitting_username_is_kept_as_typed(services: Services, username: str) -> None:
    assert services.accounts.find(services.accounts.register(username, PASSWORD)).username == (
        username
    )


@pytest.mark.parametrize(
    "username",
    [
        pytest.param("", id="nobody"),
        pytest.param("a" * 65, id="one character too many"),
        pytest.param("mig:uel", id="Basic would cut it at the colon"),
        pytest.param(" miguel", id="leading blank"),
        pytest.param("miguel ", id="trailing blank"),
        pytest.param("miguel\n", id="a dollar sign would let it pass"),
        pytest.param("mig\0uel", id="NUL"),
        pytest.param("-miguel", id="an option on a command line"),
        pytest.param("migu\u0435l", id="a Cyrillic letter among Latin ones"),
        pytest.param("\uff4d\uff49\uff47\uff55\uff45\uff4c", id="full width"),
        pytest.param("mig\ud800uel", id="lone surrogate"),
    ],
)
def test_an_unfitting_username_is_refused(
    services: Services, work: list[int], username: str
) -> None:
    with pytest.raises(UnacceptableUsername) as caught:
        services.accounts.register(username, PASSWORD)
    assert settings.USERNAME_PATTERN in str(caught.value)
    assert list(services.accounts.list()) == []
    assert work == []


def test_a_username_that_looks_like_a_token_is_refused_by_any_pattern(
    make_services: ServicesFactory,
) -> None:
    accounts = make_services(username_pattern=LAX_PATTERN).accounts
    accounts.register("a.b." + "c" * 60, PASSWORD)  # 64 characters: no token is that short
    with pytest.raises(UnacceptableUsername):
        accounts.register("a.b." + "c" * 61, PASSWORD)


@pytest.mark.parametrize(
    ("username", "look_alike"),
    [
        pytest.param(NAME, NAME, id="itself"),
        pytest.param(NAME, "Miguel", id="case"),
        pytest.param(NAME, "\uff4d\uff49\uff47\uff55\uff45\uff4c", id="full width"),
        pytest.param("strasse", "Straße", id="sharp s"),
        pytest.param("fiona", "\ufb01ona", id="ligature"),
        pytest.param("mu\u0308ller", "m\u00fcller", id="composed and not"),
    ],
)
def test_a_look_alike_username_is_taken_and_logs_in(
    make_services: ServicesFactory, work: list[int], username: str, look_alike: str
) -> None:
    accounts = make_services(username_pattern=LAX_PATTERN).accounts
    user_id = accounts.register(username, PASSWORD)
    work.clear()
    with pytest.raises(UsernameTaken):
        accounts.register(look_alike, "another")
    assert work == []  # a taken name costs no hash
    assert accounts.authenticate(look_alike, PASSWORD) == accounts.find(user_id)


@pytest.mark.parametrize(
    "password",
    ["", "x" * 1025, "pass\ud800word"],
    ids=["empty", "one character too many", "lone surrogate"],
)
class TestAnUnacceptablePassword:
    """It is refused wherever one is given, and costs nothing."""

    def test_registers_nobody(self, services: Services, work: list[int], password: str) -> None:
        with pytest.raises(UnacceptablePassword):
            services.accounts.register(NAME, password)
        assert list(services.accounts.list()) == []
        assert work == []

    def test_replaces_no_other(self, accounts: Accounts, work: list[int], password: str) -> None:
        account = accounts.find_by_name(NAME)
        with pytest.raises(UnacceptablePassword):
            accounts.set_password(account, password)
        assert accounts.find(account.id) == account
        assert work == []

    def test_logs_nobody_in_and_tells_nothing_about_the_name(
        self, accounts: Accounts, work: list[int], password: str
    ) -> None:
        refusals = [expect_refusal(accounts, name, password) for name in (NAME, "nobody")]
        assert len({str(refusal) for refusal in refusals}) == 1
        assert work == []


@pytest.mark.parametrize("character", ["x", "\N{SNAKE}"])
def test_the_longest_password_counts_to_its_end(services: Services, character: str) -> None:
    services.accounts.register(NAME, character * 1024)
    expect_refusal(services.accounts, NAME, character * 1023)
    expect_refusal(services.accounts, NAME, character * 1023 + "y")
    services.accounts.authenticate(NAME, character * 1024)


def test_of_two_that_register_one_name_at_once_one_wins(
    make_services: ServicesFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_have_looked = Barrier(2)

    def register(services: Services) -> object:
        look = services.store.find_user_by_name

        def look_together(name: str) -> Account | None:
            found = look(name)
            both_have_looked.wait(timeout=60)
            return found

        monkeypatch.setattr(services.store, "find_user_by_name", look_together)
        try:
            return services.accounts.register(NAME, PASSWORD)
        except UsernameTaken:
            return "taken"

    rivals = [make_services(), make_services()]
    with ThreadPoolExecutor(2) as threads:
        outcomes = set(threads.map(register, rivals))
    assert outcomes == {1, "taken"}
    assert [account.id for account in rivals[0].accounts.list()] == [1]


# Refusals and what they cost


def test_every_refusal_is_one_answer_after_exactly_one_hash(
    accounts: Accounts, work: list[int]
) -> None:
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
        refusal = expect_refusal(accounts, username, password)
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
    dearer = build_services(
        cheap.settings, create=False, clock=clock, hash_cost_for_tests=CHEAPEST + 2
    )
    with closing(dearer):
        expect_refusal(dearer.accounts, NAME, "wrong")
    assert sum(work) == 4 * ONE_HASH


def test_a_store_that_does_not_answer_is_no_wrong_password(
    services: Services, accounts: Accounts
) -> None:
    services.settings.database.unlink()
    services.engine._next_look = 0  # the engine looks once a second, and this test does not wait
    with pytest.raises(StoreUnavailable):
        accounts.authenticate(NAME, PASSWORD)


# The memory of verified passwords


def test_a_verified_password_is_not_hashed_again(accounts: Accounts, work: list[int]) -> None:
    account = accounts.authenticate(NAME, PASSWORD)
    work.clear()
    assert accounts.authenticate(NAME, PASSWORD) == account
    assert accounts.authenticate(NAME.upper(), PASSWORD) == account
    assert work == []


def test_a_verified_password_vouches_for_no_other(accounts: Accounts, work: list[int]) -> None:
    accounts.authenticate(NAME, PASSWORD)
    accounts.register("susan", "another")
    work.clear()
    expect_refusal(accounts, NAME, "wrong")
    expect_refusal(accounts, "susan", PASSWORD)
    assert work == [ONE_HASH, ONE_HASH]


def test_a_wrong_password_is_hashed_every_time(accounts: Accounts, work: list[int]) -> None:
    work.clear()
    expect_refusal(accounts, NAME, "wrong")
    expect_refusal(accounts, NAME, "wrong")
    assert work == [ONE_HASH, ONE_HASH]


def test_the_memory_lasts_as_long_as_the_setting_says(
    make_services: ServicesFactory, clock: Clock, work: list[int]
) -> None:
    accounts = make_services(credential_cache=10).accounts
    accounts.register(NAME, PASSWORD)
    accounts.authenticate(NAME, PASSWORD)
    work.clear()
    clock.advance(9)
    accounts.authenticate(NAME, PASSWORD)
    assert work == []
    clock.advance(1)  # counted from the hash: the use in between has prolonged nothing
    accounts.authenticate(NAME, PASSWORD)
    assert work == [ONE_HASH]


def test_without_a_memory_every_login_is_hashed(
    make_services: ServicesFactory, work: list[int]
) -> None:
    accounts = make_services(credential_cache=0).accounts
    accounts.register(NAME, PASSWORD)
    work.clear()
    accounts.authenticate(NAME, PASSWORD)
    accounts.authenticate(NAME, PASSWORD)
    assert work == [ONE_HASH, ONE_HASH]


CHANGES: dict[str, Callable[[Accounts, Account], None]] = {
    "another password": lambda accounts, account: accounts.set_password(account, "another"),
    "locked": lambda accounts, account: accounts.lock(account),
    "deleted": lambda accounts, account: accounts.delete(account),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("elsewhere", [False, True], ids=["this process", "another process"])
def test_a_remembered_password_is_dead_at_once(
    make_services: ServicesFactory,
    accounts: Accounts,
    work: list[int],
    change: Callable[[Accounts, Account], None],
    elsewhere: bool,
) -> None:
    account = accounts.authenticate(NAME, PASSWORD)
    change(make_services().accounts if elsewhere else accounts, account)
    work.clear()
    expect_refusal(accounts, NAME, PASSWORD)
    assert work == [ONE_HASH]


def test_a_name_registered_anew_inherits_no_memory(accounts: Accounts, work: list[int]) -> None:
    old = accounts.authenticate(NAME, PASSWORD)
    accounts.delete(old)
    accounts.register(NAME, PASSWORD)
    work.clear()
    assert accounts.authenticate(NAME, PASSWORD).id != old.id
    assert work == [ONE_HASH]


# What the operator does


def test_the_old_password_is_dead_and_the_new_one_good(accounts: Accounts) -> None:
    accounts.set_password(accounts.find_by_name(NAME), "another")
    expect_refusal(accounts, NAME, PASSWORD)
    accounts.authenticate(NAME, "another")


def test_an_unlocked_account_logs_in_again(accounts: Accounts, clock: Clock) -> None:
    accounts.lock(accounts.find_by_name(NAME))
    locked = accounts.find_by_name(NAME)
    assert locked.locked_at == clock.now
    accounts.unlock(locked)
    assert accounts.authenticate(NAME, PASSWORD).locked_at is None


def test_a_deleted_id_is_never_given_again(accounts: Accounts) -> None:
    old = accounts.find_by_name(NAME)
    accounts.delete(old)
    assert accounts.register(NAME, PASSWORD) > old.id
    with pytest.raises(UnknownUser):
        accounts.find(old.id)


def test_all_accounts_are_listed_in_the_order_of_registration(accounts: Accounts) -> None:
    accounts.register("adam", PASSWORD)
    assert [account.username for account in accounts.list()] == [NAME, "adam"]


@pytest.mark.parametrize(
    "use",
    [
        *CHANGES.values(),
        lambda accounts, account: accounts.unlock(account),
        lambda accounts, account: accounts.find(account.id),
        lambda accounts, account: accounts.find_by_name(account.username),
    ],
    ids=[*CHANGES.keys(), "unlocked", "found", "found by name"],
)
def test_an_account_deleted_by_somebody_else_is_unknown(
    accounts: Accounts, use: Callable[[Accounts, Account], object]
) -> None:
    account = accounts.find_by_name(NAME)
    accounts.delete(account)
    with pytest.raises(UnknownUser):
        use(accounts, account)


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
    renewed = services.accounts.authenticate(NAME, PASSWORD)
    assert renewed == services.accounts.find(stale.id)  # or no session could begin with it
    assert is_fresh(renewed)
    assert work == [2 * ONE_HASH, ONE_HASH]  # one to verify, one to renew
    assert services.accounts.authenticate(NAME, PASSWORD) == renewed
    assert len(work) == 2


def test_a_fresh_hash_stays_as_it_is(accounts: Accounts) -> None:
    before = accounts.find_by_name(NAME)
    assert accounts.authenticate(NAME, PASSWORD) == before
    assert accounts.find_by_name(NAME) == before


def test_a_wrong_password_renews_nothing(services: Services, stale: Account) -> None:
    expect_refusal(services.accounts, NAME, "wrong")
    assert services.accounts.find(stale.id) == stale


def test_a_locked_account_renews_nothing(services: Services, stale: Account) -> None:
    services.accounts.lock(stale)
    expect_refusal(services.accounts, NAME, PASSWORD)
    assert services.accounts.find(stale.id).password_hash == stale.password_hash


@contextmanager
def somebody_quicker(
    monkeypatch: pytest.MonkeyPatch, services: Services, rival: Callable[[], object]
) -> Iterator[None]:
    """The rival's write comes between the reading of a stale row and its renewing."""
    replace = services.store.replace_password_hash

    def replace_too_late(user_id: int, old_hash: str, new_hash: str) -> bool:
        rival()
        return replace(user_id, old_hash, new_hash)

    with monkeypatch.context() as patch:
        patch.setattr(services.store, "replace_password_hash", replace_too_late)
        yield


def test_two_logins_that_renew_one_hash_both_succeed(
    make_services: ServicesFactory,
    services: Services,
    stale: Account,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = make_services().accounts
    with somebody_quicker(monkeypatch, services, lambda: other.authenticate(NAME, PASSWORD)):
        account = services.accounts.authenticate(NAME, PASSWORD)
    assert account == services.accounts.find(stale.id)
    assert is_fresh(account)
    assert services.accounts.authenticate(NAME, PASSWORD) == account


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_login_overtaken_while_it_renews_is_refused(
    make_services: ServicesFactory,
    services: Services,
    stale: Account,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Accounts, Account], None],
) -> None:
    # A lock alone leaves the hash as it was: only with another renewal does the swap notice.
    other = make_services().accounts

    def overtake() -> None:
        change(other, other.authenticate(NAME, PASSWORD))

    with somebody_quicker(monkeypatch, services, overtake):
        expect_refusal(services.accounts, NAME, PASSWORD)
    expect_refusal(services.accounts, NAME, PASSWORD)


def test_a_login_overtaken_by_the_same_password_set_anew_is_good(
    make_services: ServicesFactory,
    services: Services,
    stale: Account,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = make_services().accounts
    with somebody_quicker(monkeypatch, services, lambda: other.set_password(stale, PASSWORD)):
        account = services.accounts.authenticate(NAME, PASSWORD)
    assert account == services.accounts.find(stale.id)


def test_a_store_that_takes_no_write_keeps_nobody_with_a_stale_hash_out(
    make_services: ServicesFactory, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 1)
    services = make_services(credential_cache=0)
    services.store.add_user(NAME, NAME, passwords.hash(PASSWORD, CHEAPEST + 1), clock())
    stale = services.accounts.find_by_name(NAME)
    with closing(sqlite3.connect(services.settings.database)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert services.accounts.authenticate(NAME, PASSWORD) == stale
        with pytest.raises(StoreUnavailable):
            services.accounts.register("susan", PASSWORD)
    assert is_fresh(services.accounts.authenticate(NAME, PASSWORD))


# Hash slots


@contextmanager
def all_slots_taken(services: Services, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A login on another thread is in the middle of its hash."""
    is_hashing, may_go_on = Event(), Event()
    hashpw = bcrypt.hashpw

    def slow(password: bytes, salt: bytes) -> bytes:
        is_hashing.set()
        may_go_on.wait(timeout=60)
        return hashpw(password, salt)

    with ThreadPoolExecutor(1) as thread, monkeypatch.context() as patch:
        patch.setattr(bcrypt, "hashpw", slow)
        login = thread.submit(services.accounts.authenticate, "susan", PASSWORD)
        try:
            assert is_hashing.wait(timeout=60)
            yield
        finally:
            may_go_on.set()
        assert login.result(timeout=60).username == "susan"


def test_a_flood_of_logins_is_turned_away_before_it_hashes(
    make_services: ServicesFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services_module, "HASH_SLOTS", 1)
    monkeypatch.setattr(services_module, "HASH_QUEUE", 0)
    services = make_services()
    accounts = services.accounts
    accounts.register("susan", PASSWORD)
    accounts.register(NAME, PASSWORD)
    miguel = accounts.authenticate(NAME, PASSWORD)
    with all_slots_taken(services, monkeypatch):
        for hashing in (
            lambda: accounts.authenticate(NAME, "wrong"),
            lambda: accounts.authenticate("nobody", PASSWORD),
            lambda: accounts.register("adam", PASSWORD),
            lambda: accounts.set_password(miguel, "another"),
        ):
            with pytest.raises(Busy):
                hashing()
        assert accounts.authenticate(NAME, PASSWORD) == miguel  # remembered: it needs no slot
    expect_refusal(accounts, NAME, "wrong")  # the slot is free again
