"""API keys: make one, list them, and all that ends them.

Rule: which key is valid is for the tests of `domain.identification`.
"""

from typing import Any

import pytest

from restauth.core.api_keys import parse
from restauth.domain.api_keys import MAX_DURATION
from restauth.errors import BadCredentials, TooManyKeys, UnacceptableKey, UnknownKey
from restauth.records import Account, IssuedKey
from restauth.services import Services
from restauth.storage.store import MAX_API_KEYS
from restauth.testing import Clock
from tests.conftest import CLIENT, ServicesFactory, race
from tests.domain.actions import register


@pytest.fixture
def account(services: Services) -> Account:
    """Of miguel, who has two roles."""
    account = register(services)
    services.accounts.set_roles(account, ["editor", "viewer"])
    return services.accounts.find(account.id)


def make(services: Services, account: Account, **members: Any) -> IssuedKey:
    return services.api_keys.make(account, members.pop("name", "ci"), CLIENT, **members)


def test_a_key_is_made_as_it_was_asked_for_and_shown_once(
    services: Services, account: Account, clock: Clock
) -> None:
    issued = make(services, account, name="deploy é", roles=["viewer", "viewer"], expires_in=60)
    key = issued.key
    assert (key.user_id, key.username, key.name) == (1, "miguel", "deploy é")
    assert (key.roles, key.user_roles) == (("viewer",), ("editor", "viewer"))
    assert (key.created_at, key.expires_at, key.last_used_at) == (clock.now, clock.now + 60, None)
    parts = parse(issued.text)
    assert (parts.id, parts.secret_digest) == (key.id, key.secret_digest)
    assert services.api_keys.list(1) == [key]
    assert issued.text.startswith(f"{key.prefix}_")
    for shown in (repr(issued), str(issued), repr(key)):
        assert parts.secret not in shown
        assert key.secret_digest not in shown


def test_what_is_not_asked_for_is_not_limited(services: Services, account: Account) -> None:
    key = make(services, account).key
    assert (key.roles, key.expires_at) == (None, None)


def test_no_two_keys_share_a_half(services: Services, account: Account) -> None:
    parts = [parse(make(services, account).text) for _ in range(50)]
    assert len({each.id for each in parts}) == len({each.secret for each in parts}) == 50


ACCEPTABLE: dict[str, list[Any]] = {
    "name": ["x", " x ", "x" * 64, "日本", "\U0001f511"],
    "expires_in": [1, MAX_DURATION],
    "roles": [[], ("editor",), {"viewer", "editor"}],
}
UNACCEPTABLE: dict[str, list[Any]] = {
    "name": [
        *("", " ", " " * 64, "x" * 65, "a\nb", "\0", "\x7f", "\x9b", "\u202e", "\ud800"),
        *(None, 1, ["ci"], b"ci", True),
    ],
    "expires_in": [0, -1, MAX_DURATION + 1, 10**30, True, 1.5, "60", []],
    "roles": [
        *("editor", b"editor", 1, True, {"editor": 1}, ["admin"], ["editor", "admin"]),
        *([None], [["editor"]], [{}], [1], [""], ["Editor"], ["editor\n"]),
    ],
}


def test_a_key_has_a_printable_name_roles_of_its_user_and_a_bounded_life(
    services: Services, account: Account
) -> None:
    for member, values in ACCEPTABLE.items():
        for value in values:
            make(services, account, **{member: value})
    before = services.api_keys.list(1)
    for member, values in UNACCEPTABLE.items():
        for value in values:
            with pytest.raises(UnacceptableKey):
                make(services, account, **{member: value})
    assert services.api_keys.list(1) == before


def test_a_user_has_a_hundred_keys_and_room_again_when_one_ends_or_expires(
    services: Services, account: Account, clock: Clock
) -> None:
    first = make(services, account, expires_in=60)
    for _ in range(MAX_API_KEYS - 1):
        last = make(services, account)
    with pytest.raises(TooManyKeys, match=str(MAX_API_KEYS)):
        make(services, account)
    assert services.api_keys.end(1, last.key.id, CLIENT)
    make(services, account)
    with pytest.raises(TooManyKeys):
        make(services, account)
    clock.advance(60)
    make(services, account)
    assert first.key.id not in {key.id for key in services.api_keys.list(1)}
    with pytest.raises(TooManyKeys):
        make(services, account)


def test_parallel_requests_make_no_key_too_many(
    make_services: ServicesFactory,
    services: Services,
    account: Account,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for _ in range(MAX_API_KEYS - 1):
        make(services, account)
    rivals = [make_services() for _ in range(3)]
    outcomes = race(monkeypatch, rivals, "add_api_key", lambda rival: make(rival, account))
    assert outcomes.count(TooManyKeys) == 2
    assert len(services.api_keys.list(1)) == MAX_API_KEYS


def test_no_key_is_made_by_a_password_that_was_right_a_moment_ago(
    services: Services, account: Account
) -> None:
    services.accounts.set_password(account, "another")
    with pytest.raises(BadCredentials):
        make(services, account)
    now = services.accounts.find(1)
    services.accounts.lock(now)
    with pytest.raises(BadCredentials):
        make(services, now)
    assert services.api_keys.list(1) == []


def test_a_key_is_ended_by_its_own_user_and_once(services: Services, account: Account) -> None:
    susan = register(services, "susan")
    kept, ended, hers = (make(services, each).key for each in (account, account, susan))
    assert not services.api_keys.end(susan.id, ended.id, CLIENT)
    assert services.api_keys.end(account.id, ended.id, CLIENT)
    assert not services.api_keys.end(account.id, ended.id, CLIENT)
    assert [key.id for key in services.api_keys.list(account.id)] == [kept.id]
    assert [services.api_keys.end_all(account.id) for _ in range(2)] == [1, 0]
    assert [key.id for key in services.api_keys.list(susan.id)] == [hers.id]


def test_a_lock_ends_keys_for_good_and_a_new_password_none(
    services: Services, account: Account
) -> None:
    make(services, account)
    assert services.accounts.set_password(account, "another") == 1
    account = services.accounts.find(1)
    assert services.accounts.change_password(account, "a third one", CLIENT) == 1
    code = services.accounts.make_reset_code(services.accounts.find(1)).code
    assert services.accounts.reset_password(code, "a fourth one", CLIENT) == 1
    assert len(services.api_keys.list(1)) == 1
    services.accounts.lock(account)
    services.accounts.unlock(account)
    assert services.api_keys.list(1) == []


def test_the_operator_finds_a_key_by_what_is_known_of_it(
    services: Services, account: Account, clock: Clock
) -> None:
    issued = make(services, account, expires_in=60)
    make(services, account)
    prefix, find = issued.key.prefix, services.api_keys.find
    clock.advance(60)  # an expired one as well
    for text in (
        issued.text,
        prefix,
        f" {prefix}\n",
        f"{prefix}_",
        f"{prefix}_???",
        issued.text[:40],
    ):
        assert find(text) == issued.key
    for text in ("", "rak_", prefix[:-1], f"{prefix}0", issued.key.id, f"x{prefix}", "\ud800" * 9):
        with pytest.raises(UnknownKey):
            find(text)
    services.api_keys.end(1, issued.key.id)
    with pytest.raises(UnknownKey):
        find(issued.text)
