"""The life of an account: names and passwords, what its owner and the operator do, codes, roles."""

from collections.abc import Callable

import bcrypt
import pytest

from restauth import services as services_module
from restauth import settings
from restauth.core import passwords
from restauth.domain.accounts import Accounts
from restauth.domain.authentication import Authentication
from restauth.errors import (
    AccountLocked,
    BadCredentials,
    Busy,
    UnacceptablePassword,
    UnacceptableRoles,
    UnacceptableUsername,
    UnknownUser,
    UnusableCode,
    UsernameTaken,
)
from restauth.records import Account
from restauth.services import Services
from tests.conftest import (
    CHEAPEST,
    CLIENT,
    Clock,
    ServicesFactory,
    expect_refusal,
    race,
    slot_taken,
)
from tests.vectors import LOOK_ALIKES

NAME, PASSWORD = "miguel", "python"
LAX_PATTERN = r"[^:\x00-\x20\x7f]+"


@pytest.fixture
def accounts(services: Services) -> Accounts:
    """Of a service that miguel has registered at."""
    services.accounts.register(NAME, PASSWORD)
    return services.accounts


@pytest.fixture
def authentication(services: Services) -> Authentication:
    return services.authentication


# Registration


def test_a_registered_name_authenticates(services: Services, clock: Clock) -> None:
    user_id = services.accounts.register("Miguel", PASSWORD)
    account = services.authentication.authenticate("Miguel", PASSWORD, CLIENT)
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


@pytest.mark.parametrize(
    ("pattern", "username"),
    [
        pytest.param(".*", "", id="nobody"),
        pytest.param("[a-z:]+", "mig:uel", id="Basic would cut it at the colon"),
        pytest.param(r"[a-z\s]+", "miguel\n", id="line break"),
        pytest.param(r"[a-z\t]+", "mig\tuel", id="tab"),
        pytest.param(r"[^:\s\x7f]+", "mig\0uel", id="NUL"),
        pytest.param(r"[^:\x00-\x20]+", "mig\x7fuel", id="DEL"),
        pytest.param(LAX_PATTERN, "mig\x9buel", id="a terminal's escape, in one character"),
        pytest.param(LAX_PATTERN, "miguel\udcff", id="lone surrogate"),
        pytest.param(LAX_PATTERN, "miguel\ufffd", id="what a lone surrogate becomes"),
        pytest.param("[a-z]+", "a" * 65, id="longer than 64"),
    ],
)
def test_no_pattern_lets_a_name_through_that_cannot_log_in(
    make_services: ServicesFactory, work: list[int], pattern: str, username: str
) -> None:
    accounts = make_services(username_pattern=pattern).accounts
    with pytest.raises(UnacceptableUsername):
        accounts.register(username, PASSWORD)
    assert list(accounts.list()) == []
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
    LOOK_ALIKES.values(),
    ids=LOOK_ALIKES,
)
def test_a_look_alike_username_is_taken(
    make_services: ServicesFactory, work: list[int], username: str, look_alike: str
) -> None:
    accounts = make_services(username_pattern=LAX_PATTERN).accounts
    accounts.register(username, PASSWORD)
    work.clear()
    with pytest.raises(UsernameTaken):
        accounts.register(look_alike, "another")
    assert work == []  # a taken name costs no hash
    assert accounts.find_by_name(look_alike).username == username


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

    def test_replaces_not_ones_own(
        self, accounts: Accounts, work: list[int], password: str
    ) -> None:
        account = accounts.find_by_name(NAME)
        with pytest.raises(UnacceptablePassword):
            accounts.change_password(account, password, CLIENT)
        assert accounts.find(account.id) == account
        assert work == []

    def test_uses_up_no_code(self, accounts: Accounts, work: list[int], password: str) -> None:
        account = accounts.find_by_name(NAME)
        code = accounts.make_reset_code(account)
        for tried in (code, "no code"):  # tells nothing about the code
            with pytest.raises(UnacceptablePassword):
                accounts.reset_password(tried, password, CLIENT)
        assert accounts.find(account.id) == account
        assert work == []
        accounts.reset_password(code, "another", CLIENT)


def test_every_new_password_must_please_the_policy(
    make_services: ServicesFactory, accounts: Accounts, work: list[int]
) -> None:
    strict = make_services(password_policy="nist").accounts
    account = accounts.find_by_name(NAME)
    code = accounts.make_reset_code(account)
    work.clear()
    for new_password in (
        lambda: strict.register("susan", "short"),
        lambda: strict.set_password(account, "short"),
        lambda: strict.change_password(account, "short", CLIENT),
        lambda: strict.reset_password(code, "short", CLIENT),
    ):
        with pytest.raises(UnacceptablePassword, match="at least 15"):
            new_password()
    assert work == []
    assert list(accounts.list()) == [account]
    strict.reset_password(code, "correct horse battery", CLIENT)  # the code is still good


def test_of_two_that_register_one_name_at_once_one_wins(
    make_services: ServicesFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    rivals = [make_services(), make_services()]
    outcomes = race(  # both have looked, and found nobody
        monkeypatch, rivals, "add_user", lambda rival: rival.accounts.register(NAME, PASSWORD)
    )
    assert set(outcomes) == {1, UsernameTaken}
    assert [account.id for account in rivals[0].accounts.list()] == [1]


# What the operator does


def test_the_old_password_is_dead_and_the_new_one_good(
    accounts: Accounts, authentication: Authentication
) -> None:
    accounts.set_password(accounts.find_by_name(NAME), "another")
    expect_refusal(authentication, NAME, PASSWORD)
    authentication.authenticate(NAME, "another", CLIENT)


def test_an_unlocked_account_logs_in_again(
    accounts: Accounts, authentication: Authentication, clock: Clock
) -> None:
    accounts.lock(accounts.find_by_name(NAME))
    locked = accounts.find_by_name(NAME)
    assert locked.locked_at == clock.now
    accounts.unlock(locked)
    assert authentication.authenticate(NAME, PASSWORD, CLIENT).locked_at is None


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
        lambda accounts, account: accounts.set_password(account, "another"),
        lambda accounts, account: accounts.make_reset_code(account),
        lambda accounts, account: accounts.lock(account),
        lambda accounts, account: accounts.unlock(account),
        lambda accounts, account: accounts.change_roles(account, ["admin"], []),
        lambda accounts, account: accounts.delete(account),
        lambda accounts, account: accounts.find(account.id),
        lambda accounts, account: accounts.find_by_name(account.username),
    ],
    ids=[
        "password",
        "reset code",
        "locked",
        "unlocked",
        "roles",
        "deleted",
        "found",
        "found by name",
    ],
)
def test_an_account_deleted_by_somebody_else_is_unknown(
    accounts: Accounts, use: Callable[[Accounts, Account], object]
) -> None:
    account = accounts.find_by_name(NAME)
    accounts.delete(account)
    with pytest.raises(UnknownUser):
        use(accounts, account)


# What the owner does


def test_a_changed_password_is_good_and_the_old_one_dead(
    accounts: Accounts, authentication: Authentication
) -> None:
    account = authentication.authenticate(NAME, PASSWORD, CLIENT)
    accounts.change_password(account, "another", CLIENT)
    expect_refusal(authentication, NAME, PASSWORD)
    changed = authentication.authenticate(NAME, "another", CLIENT)
    assert changed.password_version == account.password_version + 1


OWNERS_CHANGES: dict[str, Callable[[Accounts, Account], None]] = {
    "another password": lambda accounts, account: accounts.change_password(
        account, "thief's", CLIENT
    ),
    "deletion": lambda accounts, account: accounts.close(account, CLIENT),
}


@pytest.mark.parametrize("change", OWNERS_CHANGES.values(), ids=OWNERS_CHANGES.keys())
@pytest.mark.parametrize("password", ["another", PASSWORD], ids=["another", "the same again"])
def test_an_old_password_changes_nothing_once_a_new_one_is_set(
    make_services: ServicesFactory,
    accounts: Accounts,
    authentication: Authentication,
    change: Callable[[Accounts, Account], None],
    password: str,
) -> None:
    account = authentication.authenticate(NAME, PASSWORD, CLIENT)
    make_services().accounts.set_password(account, password)
    with pytest.raises(BadCredentials):
        change(accounts, account)
    authentication.authenticate(NAME, password, CLIENT)


@pytest.mark.parametrize("change", OWNERS_CHANGES.values(), ids=OWNERS_CHANGES.keys())
def test_an_account_that_is_gone_cannot_be_changed_by_its_owner(
    accounts: Accounts, authentication: Authentication, change: Callable[[Accounts, Account], None]
) -> None:
    account = authentication.authenticate(NAME, PASSWORD, CLIENT)
    accounts.delete(account)
    with pytest.raises(BadCredentials):
        change(accounts, account)


@pytest.mark.parametrize("change", OWNERS_CHANGES.values(), ids=OWNERS_CHANGES.keys())
def test_an_account_that_is_locked_cannot_be_changed_by_its_owner(
    make_services: ServicesFactory,
    accounts: Accounts,
    authentication: Authentication,
    change: Callable[[Accounts, Account], None],
) -> None:
    account = authentication.authenticate(NAME, PASSWORD, CLIENT)
    make_services().accounts.lock(account)
    locked = accounts.find(account.id)
    for under_way in (account, locked):
        with pytest.raises(BadCredentials):
            change(accounts, under_way)
    assert accounts.find(account.id) == locked
    accounts.unlock(account)
    change(accounts, account)


@pytest.mark.parametrize("change", OWNERS_CHANGES.values(), ids=OWNERS_CHANGES.keys())
def test_a_renewed_hash_is_no_new_password_to_its_owner(
    services: Services, accounts: Accounts, change: Callable[[Accounts, Account], None]
) -> None:
    account = accounts.find_by_name(NAME)
    renewed = passwords.hash(PASSWORD, CHEAPEST + 1)
    assert services.store.renew_password_hash(account.id, account.password_hash, renewed)
    change(accounts, account)


def test_of_two_changes_with_one_password_one_wins(
    make_services: ServicesFactory, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = accounts.find_by_name(NAME)
    rivals = [make_services(), make_services()]
    outcomes = race(
        monkeypatch,
        rivals,
        "set_password_hash",
        lambda rival: rival.accounts.change_password(account, "another", CLIENT),
    )
    assert outcomes.count(None) == outcomes.count(BadCredentials) == 1


def test_a_closed_account_is_gone_and_its_name_free(
    accounts: Accounts, authentication: Authentication
) -> None:
    account = authentication.authenticate(NAME, PASSWORD, CLIENT)
    accounts.close(account, CLIENT)
    expect_refusal(authentication, NAME, PASSWORD)
    assert accounts.register(NAME, PASSWORD) > account.id


# Reset codes


def expect_unusable(accounts: Accounts, code: str, password: str = "another") -> None:
    with pytest.raises(UnusableCode) as caught:
        accounts.reset_password(code, password, CLIENT)
    assert (str(caught.value), caught.value.__cause__) == (UnusableCode.detail, None)


@pytest.fixture
def code(accounts: Accounts) -> str:
    """A fresh one for miguel."""
    return accounts.make_reset_code(accounts.find_by_name(NAME))


def test_a_code_sets_a_password_once(
    accounts: Accounts, authentication: Authentication, code: str
) -> None:
    authentication.authenticate(NAME, PASSWORD, CLIENT)
    accounts.reset_password(code, "another", CLIENT)
    expect_refusal(authentication, NAME, PASSWORD)
    authentication.authenticate(NAME, "another", CLIENT)
    expect_unusable(accounts, code, "a third")
    authentication.authenticate(NAME, "another", CLIENT)


def test_a_code_is_good_for_an_hour_and_no_second_longer(
    make_services: ServicesFactory,
    accounts: Accounts,
    authentication: Authentication,
    code: str,
    clock: Clock,
) -> None:
    accounts.register("susan", PASSWORD)
    late = accounts.make_reset_code(accounts.find_by_name("susan"))
    clock.advance(3599)
    make_services().accounts.reset_password(code, "another", CLIENT)
    clock.advance(1)
    expect_unusable(accounts, late)
    authentication.authenticate("susan", PASSWORD, CLIENT)


def test_a_code_that_expires_during_the_hash_is_not_used(
    accounts: Accounts,
    authentication: Authentication,
    code: str,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hashpw = bcrypt.hashpw

    def slow(password: bytes, salt: bytes) -> bytes:
        clock.advance(3600)
        return hashpw(password, salt)

    with monkeypatch.context() as patch:
        patch.setattr(bcrypt, "hashpw", slow)
        expect_unusable(accounts, code)
    authentication.authenticate(NAME, PASSWORD, CLIENT)


def test_a_second_code_voids_the_first(accounts: Accounts, code: str) -> None:
    second = accounts.make_reset_code(accounts.find_by_name(NAME))
    expect_unusable(accounts, code)
    accounts.reset_password(second, "another", CLIENT)


@pytest.mark.parametrize(
    "end",
    [
        lambda accounts, account: accounts.set_password(account, "third"),
        lambda accounts, account: accounts.change_password(account, "third", CLIENT),
        lambda accounts, account: accounts.delete(account),
        lambda accounts, account: accounts.close(account, CLIENT),
    ],
    ids=["password set", "password changed", "deleted", "closed"],
)
def test_a_code_ends_with_the_password_that_it_was_to_replace(
    accounts: Accounts, code: str, end: Callable[[Accounts, Account], None]
) -> None:
    end(accounts, accounts.find_by_name(NAME))
    expect_unusable(accounts, code)


def test_a_wrong_code_is_refused_and_the_right_one_still_good(
    accounts: Accounts, code: str, work: list[int]
) -> None:
    for wrong in ("no code", code.partition(".")[0] + "." + "A" * 24):
        expect_unusable(accounts, wrong)
    assert work == []
    accounts.reset_password(code, "another", CLIENT)


def test_the_secret_of_a_code_is_not_stored(services: Services, code: str) -> None:
    services.close()  # so that all stands in one file
    assert code.partition(".")[2].encode() not in services.settings.database.read_bytes()
    assert code.partition(".")[0].encode() in services.settings.database.read_bytes()


def test_of_two_that_use_one_code_at_once_one_wins(
    make_services: ServicesFactory, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rivals = [make_services(), make_services()]
    passwords_of = {id(rival): f"of {number}" for number, rival in enumerate(rivals)}
    outcomes = race(  # both have found the code good
        monkeypatch,
        rivals,
        "use_reset_code",
        lambda rival: rival.accounts.reset_password(code, passwords_of[id(rival)], CLIENT),
    )
    assert outcomes.count(None) == outcomes.count(UnusableCode) == 1
    winner, loser = sorted(range(2), key=lambda number: outcomes[number] is not None)
    rivals[0].authentication.authenticate(NAME, f"of {winner}", CLIENT)
    expect_refusal(rivals[0].authentication, NAME, f"of {loser}")


# Roles


def test_roles_come_and_go_and_stand_in_order(
    accounts: Accounts, authentication: Authentication
) -> None:
    account = accounts.find_by_name(NAME)
    assert account.roles == ()
    assert accounts.change_roles(account, ["editor", "admin"], []) == ("admin", "editor")
    # what counts is the row, not the account as it was read
    assert accounts.change_roles(account, ["viewer"], ["editor", "nothing"]) == ("admin", "viewer")
    assert accounts.find(account.id).roles == ("admin", "viewer")
    assert authentication.authenticate(NAME, PASSWORD, CLIENT).roles == ("admin", "viewer")
    assert accounts.change_roles(account, ["both"], ["both", "admin", "viewer"]) == ()
    assert accounts.find(account.id) == account


def test_a_user_has_32_roles_of_32_characters_at_most(accounts: Accounts) -> None:
    account = accounts.find_by_name(NAME)
    roles = [f"r{number:02}".ljust(32, "x") for number in range(32)]
    assert accounts.change_roles(account, roles, []) == tuple(sorted(roles))
    with pytest.raises(UnacceptableRoles):
        accounts.change_roles(account, ["one_more"], [])
    accounts.change_roles(account, ["one_more"], roles[:1])


@pytest.mark.parametrize(
    "role",
    [
        pytest.param("", id="empty"),
        pytest.param("a" * 33, id="33 characters"),
        pytest.param("Admin", id="case"),
        pytest.param("2nd", id="a digit first"),
        pytest.param("-admin", id="a dash first"),
        pytest.param("a,b", id="would be two"),
        pytest.param("a b", id="a blank"),
        pytest.param("admin\n", id="a line break"),
        pytest.param("\u0430dmin", id="a Cyrillic letter"),
        pytest.param("admin\ud800", id="a lone surrogate"),
    ],
)
@pytest.mark.parametrize("is_added", [True, False], ids=["added", "removed"])
def test_what_is_no_role_changes_nothing(accounts: Accounts, role: str, is_added: bool) -> None:
    account = accounts.find_by_name(NAME)
    accounts.change_roles(account, ["editor"], [])
    change = (["admin", role], ["editor"]) if is_added else (["admin"], ["editor", role])
    with pytest.raises(UnacceptableRoles):
        accounts.change_roles(account, *change)
    assert accounts.find(account.id).roles == ("editor",)


# Hash slots


@pytest.fixture
def two_places(make_services: ServicesFactory, monkeypatch: pytest.MonkeyPatch) -> Services:
    """Two hashes at a time, and nobody waits."""
    with monkeypatch.context() as patch:
        patch.setattr(services_module, "HASH_SLOTS", 2)
        patch.setattr(services_module, "HASH_QUEUE", 0)
        return make_services()


def test_a_new_password_that_would_take_the_last_place_is_turned_away_before_it_hashes(
    two_places: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = two_places.accounts
    accounts.register("susan", PASSWORD)
    miguel = accounts.find(accounts.register(NAME, PASSWORD))
    code = accounts.make_reset_code(miguel)
    with slot_taken(two_places, monkeypatch, "susan", PASSWORD):
        for hashing in (
            lambda: accounts.register("adam", PASSWORD),
            lambda: accounts.set_password(miguel, "another"),
            lambda: accounts.change_password(miguel, "another", CLIENT),
            lambda: accounts.reset_password(code, "another", CLIENT),
        ):
            with pytest.raises(Busy):
                hashing()
    assert accounts.find(miguel.id) == miguel
    accounts.reset_password(code, "another", CLIENT)  # the slot is free, and the code still good


def test_a_flood_of_registrations_keeps_no_login_out(
    two_places: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = two_places.accounts
    miguel = accounts.find(accounts.register(NAME, PASSWORD))
    let_in: list[Account] = []
    hashpw = bcrypt.hashpw
    hashes = []

    def hash_and_see(password: bytes, salt: bytes) -> bytes:
        hashes.append(password)
        if len(hashes) == 1:  # of the registration
            with pytest.raises(Busy):
                accounts.register("adam", PASSWORD)
            let_in.append(two_places.authentication.authenticate(NAME, PASSWORD, CLIENT))
        return hashpw(password, salt)

    with monkeypatch.context() as patch:
        patch.setattr(bcrypt, "hashpw", hash_and_see)
        accounts.register("susan", PASSWORD)
    assert let_in == [miguel]
    assert len(hashes) == 2


def test_a_locked_account_has_no_code(accounts: Accounts) -> None:
    accounts.register("ada", "python")
    account = accounts.find_by_name("ada")
    code = accounts.make_reset_code(account)
    accounts.lock(account)
    with pytest.raises(UnusableCode):
        accounts.reset_password(code, "ruby", CLIENT)
    with pytest.raises(UnknownUser):  # as it was read before the lock
        accounts.make_reset_code(account)
    with pytest.raises(AccountLocked):
        accounts.make_reset_code(accounts.find_by_name("ada"))
    accounts.unlock(account)
    with pytest.raises(UnusableCode):
        accounts.reset_password(code, "ruby", CLIENT)
