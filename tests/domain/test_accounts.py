"""The life of an account: names and passwords, what its owner and the operator do, codes, roles."""

from collections.abc import Callable

import bcrypt
import pytest

from restauth import services as services_module
from restauth import settings
from restauth.core import passwords
from restauth.domain.accounts import Accounts
from restauth.errors import (
    AccountLocked,
    BadCredentials,
    Busy,
    Throttled,
    UnacceptablePassword,
    UnacceptableRoles,
    UnacceptableUsername,
    UnknownUser,
    UnusableCode,
    UsernameTaken,
)
from restauth.records import Account, Overview
from restauth.services import Services
from restauth.testing import Clock
from tests.conftest import (
    CHEAPEST,
    CLIENT,
    PUBLIC_CLIENT,
    ServicesFactory,
    expect_refusal,
    race,
    slot_taken,
)
from tests.domain.actions import LAX_PATTERN, NAME, PASSWORD, events, fail, issue, log_in, register
from tests.vectors import LOOK_ALIKES


@pytest.fixture
def accounts(services: Services, account: Account) -> Accounts:
    """Of a service that miguel has registered at."""
    return services.accounts


@pytest.fixture
def code(accounts: Accounts, account: Account) -> str:
    """A fresh one for miguel."""
    return accounts.make_reset_code(account).code


def set_each_way(
    accounts: Accounts, account: Account, code: str, password: str
) -> list[Callable[[], object]]:
    """All ways in which a new password can be set."""
    return [
        lambda: accounts.register("susan", password),
        lambda: accounts.set_password(account, password),
        lambda: accounts.change_password(account, password, CLIENT),
        lambda: accounts.reset_password(code, password, CLIENT),
    ]


def expect_each(
    error: type[Exception], acts: list[Callable[[], object]], match: str | None = None
) -> None:
    for act in acts:
        with pytest.raises(error, match=match):
            act()


# What the operator sees


def test_an_overview_says_how_an_account_is_used(
    make_services: ServicesFactory, clock: Clock
) -> None:
    services = make_services(max_failures=2, session_duration=1000)
    account = register(services)
    assert services.accounts.overview(account) == Overview(account, None, 0, 0, 0, None)
    began = clock.now
    for _ in range(2):
        issue(services)
    services.api_keys.make(account, "ci")
    clock.advance(5)
    fail(services)
    assert services.accounts.overview(account) == Overview(account, began, 2, 1, 1, None)
    fail(services)
    assert services.accounts.overview(account) == Overview(account, began, 2, 1, 2, clock.now)
    clock.advance(995)
    assert services.accounts.overview(account) == Overview(account, began, 0, 1, 2, clock.now - 995)
    services.accounts.delete(account)
    with pytest.raises(UnknownUser):
        services.accounts.overview(account)


def test_accounts_are_listed_by_any_spelling_of_a_prefix_and_page_by_page(
    make_services: ServicesFactory,
) -> None:
    accounts = make_services(username_pattern=LAX_PATTERN).accounts
    names = ("Ada", "bob", "ADAM", "Straße", "eva")
    for name in names:
        accounts.register(name, PASSWORD)
    accounts.lock(accounts.find(3))

    def ids(prefix: str, is_locked: bool | None = None) -> list[int]:
        return [account.id for account in accounts.list(prefix, is_locked=is_locked)]

    assert ids("") == [1, 2, 3, 4, 5]
    for prefix in ("ad", "AD", "\uff41d"):  # full width
        assert (ids(prefix), ids(prefix, True), ids(prefix, False)) == ([1, 3], [3], [1])
    assert ids("STRASSE") == [4]
    assert ids("a" * 300) == ids("ada\0") == ids("\udcff") == []

    def pages(limit: int, **which: object) -> list[list[int]]:
        found, after = [], 0
        while True:
            page, following = accounts.page(after, limit, **which)  # type: ignore[arg-type]
            found.append([account.id for account in page])
            if following is None:
                return found
            after = following

    assert pages(2) == [[1, 2], [3, 4], [5]]
    assert pages(5) == pages(9) == [[1, 2, 3, 4, 5]]
    assert pages(1, prefix="Ad") == [[1], [3]]
    assert pages(1, is_locked=True) == [[3]]
    assert pages(1, prefix="x") == [[]]


# Registration


def test_a_registered_name_is_kept_as_typed_and_found_in_any_spelling(
    services: Services, clock: Clock
) -> None:
    account = services.accounts.register("Miguel", PASSWORD, roles=["b"])
    assert (account.username, account.roles) == ("Miguel", ("b",))
    assert (account.created_at, account.locked_at) == (clock.now, None)
    for spelling in ("Miguel", "MIGUEL"):
        assert services.accounts.find_by_name(spelling) == account
        assert log_in(services, username=spelling) == account


@pytest.mark.parametrize(
    ("pattern", "username"),
    [
        pytest.param(settings.USERNAME_PATTERN, username, id=f"default: {remark}")
        for remark, username in {
            "nobody": "",
            "too long": "a" * 65,
            "Basic would cut it at the colon": "mig:uel",
            "leading blank": " miguel",
            "a dollar sign would let it pass": "miguel\n",
            "an option on a command line": "-miguel",
            "a Cyrillic letter among Latin ones": "migu\u0435l",
            "full width": "\uff4d\uff49\uff47\uff55\uff45\uff4c",
        }.items()
    ]
    # what `core.names` finds impossible, and the pattern would let pass
    + [(".*", ""), ("[a-z:]+", "mig:uel"), (LAX_PATTERN, "a" * 65), (LAX_PATTERN, "x\udcff")],
)
def test_an_unfitting_username_is_refused_before_a_hash(
    make_services: ServicesFactory, work: list[int], pattern: str, username: str
) -> None:
    accounts = make_services(username_pattern=pattern).accounts
    with pytest.raises(UnacceptableUsername) as caught:
        accounts.register(username, PASSWORD)
    assert pattern in str(caught.value)
    assert (list(accounts.list()), work) == ([], [])


@pytest.mark.parametrize(("username", "look_alike"), LOOK_ALIKES.values(), ids=LOOK_ALIKES)
def test_a_look_alike_username_is_taken_and_logs_in(
    make_services: ServicesFactory, work: list[int], username: str, look_alike: str
) -> None:
    services = make_services(username_pattern=LAX_PATTERN)
    account = register(services, username)
    work.clear()
    with pytest.raises(UsernameTaken):
        services.accounts.register(look_alike, "another")
    assert work == []  # a taken name costs no hash
    assert log_in(services, username=look_alike) == account


def test_of_two_that_register_one_name_at_once_one_wins_and_the_other_is_counted(
    make_services: ServicesFactory,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    rivals = [make_services(peer_failures=1), make_services(peer_failures=1)]
    outcomes = race(  # both have looked, and found nobody
        monkeypatch,
        rivals,
        "add_user",
        lambda rival: rival.accounts.register(NAME, PASSWORD, PUBLIC_CLIENT).id,
    )
    assert set(outcomes) == {1, UsernameTaken}
    assert [account.id for account in rivals[0].accounts.list()] == [1]
    written = sorted(str(line["event"]) for line in events(caplog))
    assert written == ["registered", "registration_failed", "throttled"]


# Passwords


@pytest.mark.parametrize("password", ["", "x" * 1025, "\ud800"], ids=["empty", "long", "surrogate"])
def test_an_unacceptable_password_changes_nothing_costs_nothing_and_tells_nothing_of_a_code(
    accounts: Accounts, account: Account, code: str, work: list[int], password: str
) -> None:
    work.clear()
    for each in (code, "no code"):
        expect_each(UnacceptablePassword, set_each_way(accounts, account, each, password))
    assert (list(accounts.list()), work) == ([account], [])
    accounts.reset_password(code, "another", CLIENT)


def test_every_new_password_must_please_the_policy_and_the_check(
    make_services: ServicesFactory, accounts: Accounts, account: Account, code: str, work: list[int]
) -> None:
    strict = make_services(password_policy="nist").accounts
    raising = make_services(password_check="builtins:divmod").accounts  # which takes no texts
    work.clear()
    expect_each(UnacceptablePassword, set_each_way(strict, account, code, "short"), "at least 15")
    expect_each(TypeError, set_each_way(raising, account, code, "another"))
    assert (list(accounts.list()), work) == ([account], [])
    strict.reset_password(code, "correct horse battery", CLIENT)  # the code can still be used


CHANGES: dict[str, Callable[[Accounts, Account], object]] = {
    "set by the operator": lambda accounts, it: accounts.set_password(it, "another"),
    "changed by the owner": lambda accounts, it: accounts.change_password(it, "another", CLIENT),
    "reset": lambda accounts, it: accounts.reset_password(
        accounts.make_reset_code(it).code, "another", CLIENT
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_old_password_is_dead_and_the_new_one_valid(
    services: Services, account: Account, change: Callable[[Accounts, Account], object]
) -> None:
    log_in(services)
    change(services.accounts, account)
    expect_refusal(services.authentication, NAME, PASSWORD)
    changed = services.authentication.authenticate(NAME, "another", CLIENT)
    assert changed.password_version == account.password_version + 1


# What the operator does


def test_a_locked_account_is_unlocked(services: Services, account: Account, clock: Clock) -> None:
    services.accounts.lock(account)
    locked = services.accounts.find(account.id)
    assert locked.locked_at == clock.now
    expect_refusal(services.authentication, NAME, PASSWORD)
    services.accounts.unlock(locked)
    assert log_in(services) == account


@pytest.mark.parametrize("is_owner", [True, False], ids=["closed", "deleted"])
def test_an_account_is_gone_and_its_name_free_and_its_id_never_given_again(
    services: Services, account: Account, is_owner: bool
) -> None:
    accounts = services.accounts
    log_in(services)
    if is_owner:
        accounts.close(account, CLIENT)
    else:
        accounts.delete(account)
    expect_refusal(services.authentication, NAME, PASSWORD)
    assert register(services).id > account.id


def test_an_account_deleted_by_somebody_else_is_unknown(
    accounts: Accounts, account: Account
) -> None:
    accounts.delete(account)
    uses: list[Callable[[], object]] = [
        lambda: accounts.set_password(account, "another"),
        lambda: accounts.make_reset_code(account).code,
        lambda: accounts.lock(account),
        lambda: accounts.unlock(account),
        lambda: accounts.change_roles(account, ["admin"], []),
        lambda: accounts.set_roles(account, ["admin"]),
        lambda: accounts.delete(account),
        lambda: accounts.find(account.id),
        lambda: accounts.find_by_name(NAME),
        lambda: accounts.find_by_name("miguel\udcff"),  # no Unicode text, so nobody's name
    ]
    expect_each(UnknownUser, uses)


# Invitations


@pytest.fixture
def invitation(services: Services) -> str:
    return services.invitations.make(["editor"])[0]


def accept(services: Services, code: str, name: str = "ada") -> int:
    return services.accounts.register(name, PASSWORD, CLIENT, invitation=code).id


def expect_useless(services: Services, *codes: str, name: str = "ada") -> None:
    """One answer for every cause."""
    for code in codes:
        with pytest.raises(UnusableCode) as caught:
            accept(services, code, name)
        assert (str(caught.value), caught.value.__cause__) == (UnusableCode.detail, None)


def test_an_invitation_registers_one_user_with_its_roles(
    services: Services, invitation: str, work: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "restauth.audit")
    ada = services.accounts.find(accept(services, invitation))
    assert (ada.username, ada.roles) == ("ada", ("editor",))
    work.clear()
    expect_useless(services, invitation, name="susan")
    assert work == []
    registered, failed = events(caplog)
    assert (registered["event"], failed["event"]) == ("registered", "registration_failed")
    assert registered["invitation"] == invitation.partition(".")[0]
    assert invitation.partition(".")[2] not in caplog.text


def test_a_wrong_invitation_tells_nothing_and_costs_no_hash(
    services: Services, account: Account, invitation: str, work: list[int]
) -> None:
    work.clear()
    selector, _, secret = invitation.partition(".")
    wrong = ("", selector, f"{selector}.{'A' * 24}", f"{'A' * 12}.{secret}")
    for name in ("ada", NAME):  # free or taken
        expect_useless(services, *wrong, name=name)
    code = services.accounts.make_reset_code(account).code
    expect_useless(services, code)  # of another kind
    with pytest.raises(UnusableCode):
        services.accounts.reset_password(invitation, PASSWORD, CLIENT)
    assert work == []
    accept(services, invitation)


def test_what_refuses_the_registration_leaves_the_invitation(
    services: Services, account: Account, invitation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, password, error in (
        (NAME, PASSWORD, UsernameTaken),
        ("a b", PASSWORD, UnacceptableUsername),
        ("ada", "", UnacceptablePassword),
    ):
        with pytest.raises(error):
            services.accounts.register(name, password, CLIENT, invitation=invitation)
    with monkeypatch.context() as patch:  # taken meanwhile
        patch.setattr(services._resources.store, "find_user_by_name", lambda name: None)
        with pytest.raises(UsernameTaken):
            accept(services, invitation, NAME)
    accept(services, invitation)


def test_of_all_that_use_an_invitation_at_once_one_registers(
    make_services: ServicesFactory, invitation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rivals = [make_services() for _ in range(8)]
    names = {id(rival): f"user{number}" for number, rival in enumerate(rivals)}
    outcomes = race(
        monkeypatch,
        rivals,
        "add_invited_user",
        lambda rival: accept(rival, invitation, names[id(rival)]),
    )
    assert outcomes.count(UnusableCode) == 7
    assert len(list(rivals[0].accounts.list())) == 1


def test_guesses_at_an_invitation_are_counted_by_its_selector(
    services: Services, invitation: str, clock: Clock
) -> None:
    expect_useless(services, *[invitation[:13] + "A" * 24] * 6)
    with pytest.raises(Throttled) as caught:
        accept(services, invitation)
    assert caught.value.retry_after == 1
    accept(services, services.invitations.make()[0])
    clock.advance(1)
    accept(services, invitation, "susan")


# What the owner does


OWNERS: dict[str, Callable[[Accounts, Account], object]] = {
    "another password": lambda accounts, it: accounts.change_password(it, "thief's", CLIENT),
    "deletion": lambda accounts, it: accounts.close(it, CLIENT),
}
MEANWHILE: dict[str, Callable[[Accounts, Account], object]] = {
    "another": lambda accounts, it: accounts.set_password(it, "another"),
    "the same again": lambda accounts, it: accounts.set_password(it, PASSWORD),
    "locked": lambda accounts, it: accounts.lock(it),
    "deleted": lambda accounts, it: accounts.delete(it),
}


@pytest.mark.parametrize("change", OWNERS.values(), ids=OWNERS)
@pytest.mark.parametrize("meanwhile", MEANWHILE.values(), ids=MEANWHILE)
def test_a_verified_password_changes_nothing_once_the_account_has_changed(
    make_services: ServicesFactory,
    accounts: Accounts,
    account: Account,
    change: Callable[[Accounts, Account], object],
    meanwhile: Callable[[Accounts, Account], object],
) -> None:
    meanwhile(make_services().accounts, account)
    left = list(accounts.list())
    with pytest.raises(BadCredentials):
        change(accounts, account)
    assert list(accounts.list()) == left


@pytest.mark.parametrize("change", OWNERS.values(), ids=OWNERS)
def test_a_renewed_hash_is_no_new_password_to_its_owner(
    services: Services, account: Account, change: Callable[[Accounts, Account], None]
) -> None:
    renewed = passwords.hash(PASSWORD, CHEAPEST + 1)
    assert services._resources.store.renew_password_hash(account.id, account.password_hash, renewed)
    change(services.accounts, account)


# Reset codes


def expect_unusable(accounts: Accounts, *codes: str) -> None:
    """One answer for every cause."""
    for code in codes:
        with pytest.raises(UnusableCode) as caught:
            accounts.reset_password(code, "another", CLIENT)
        assert (str(caught.value), caught.value.__cause__) == (UnusableCode.detail, None)


def test_a_code_is_used_once_within_an_hour(
    make_services: ServicesFactory, accounts: Accounts, code: str, clock: Clock
) -> None:
    late = accounts.make_reset_code(register(make_services(), "susan")).code
    clock.advance(3599)
    make_services().accounts.reset_password(code, "another", CLIENT)
    expect_unusable(accounts, code)
    clock.advance(1)
    expect_unusable(accounts, late)


def test_a_wrong_code_is_refused_without_a_hash_and_the_right_one_can_still_be_used(
    accounts: Accounts, code: str, work: list[int]
) -> None:
    work.clear()
    selector, _, secret = code.partition(".")
    expect_unusable(accounts, "", selector, f"{selector}.{'A' * 24}", f"{'A' * 12}.{secret}")
    assert work == []
    accounts.reset_password(code, "another", CLIENT)


def test_a_code_that_expires_during_the_hash_is_not_used(
    services: Services, account: Account, code: str, clock: Clock,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level("INFO")
    hashpw = bcrypt.hashpw

    def slow(password: bytes, salt: bytes) -> bytes:
        clock.advance(3600)
        return hashpw(password, salt)

    with monkeypatch.context() as patch:
        patch.setattr(bcrypt, "hashpw", slow)
        expect_unusable(services.accounts, code)
    assert events(caplog)[-1]["event"] == "reset_failed"
    assert log_in(services) == account


def test_a_code_of_a_user_who_was_just_deleted_is_unusable(
    services: Services, account: Account, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_reset_code = services._resources.store.find_reset_code

    def find_and_lose(selector: str, now: int) -> tuple[int, str] | None:
        found = find_reset_code(selector, now)
        services.accounts.delete(account)
        return found

    monkeypatch.setattr(services._resources.store, "find_reset_code", find_and_lose)
    expect_unusable(services.accounts, code)


def test_an_account_has_one_code_and_none_while_it_is_locked(
    accounts: Accounts, account: Account, code: str
) -> None:
    accounts.lock(account)
    with pytest.raises(UnknownUser):  # as it was read before the lock
        accounts.make_reset_code(account)
    with pytest.raises(AccountLocked):
        accounts.make_reset_code(accounts.find(account.id))
    accounts.unlock(account)
    expect_unusable(accounts, code)
    void, _ = accounts.make_reset_code(account).code, accounts.make_reset_code(account).code
    expect_unusable(accounts, void)


# Roles


def test_roles_come_and_go_and_stand_in_order(services: Services, account: Account) -> None:
    accounts = services.accounts
    assert accounts.change_roles(account, ["editor", "admin"], []) == ("admin", "editor")
    # what counts is the row, not the account as it was read
    assert accounts.change_roles(account, ["viewer"], ["editor", "nothing"]) == ("admin", "viewer")
    assert log_in(services).roles == ("admin", "viewer")
    assert accounts.set_roles(account, iter(["viewer", "editor"])) == ("editor", "viewer")
    assert accounts.find(account.id).roles == ("editor", "viewer")
    assert accounts.change_roles(account, iter(["both"]), iter(["both", "editor", "viewer"])) == ()
    assert accounts.find(account.id) == account


def test_what_is_no_role_changes_nothing(accounts: Accounts, account: Account) -> None:
    accounts.set_roles(account, ["editor"])
    many = [f"r{number}" for number in range(33)]
    writes: list[Callable[[], object]] = [
        lambda: accounts.change_roles(account, ["admin", "No Role"], ["editor"]),
        lambda: accounts.change_roles(account, ["admin"], ["editor", "No Role"]),
        lambda: accounts.change_roles(account, many[:32], []),
        lambda: accounts.set_roles(account, ["admin", "No Role"]),
        lambda: accounts.set_roles(account, many),
        lambda: accounts.register("susan", PASSWORD, roles=["No Role"]),
    ]
    expect_each(UnacceptableRoles, writes)
    assert [each.roles for each in accounts.list()] == [("editor",)]


# Hash slots


@pytest.fixture
def two_places(make_services: ServicesFactory, monkeypatch: pytest.MonkeyPatch) -> Services:
    """Two hashes at a time, and nobody waits."""
    with monkeypatch.context() as patch:
        patch.setattr(services_module, "HASH_SLOTS", 2)
        patch.setattr(services_module, "HASH_QUEUE", 0)
        return make_services()


def test_a_new_password_that_would_take_the_last_place_is_turned_away_before_it_hashes(
    two_places: Services, accounts: Accounts, account: Account, code: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with slot_taken(two_places, monkeypatch, NAME, PASSWORD):
        expect_each(Busy, set_each_way(two_places.accounts, account, code, "another"))
    assert list(accounts.list()) == [account]
    two_places.accounts.reset_password(code, "another", CLIENT)  # there is a place again
