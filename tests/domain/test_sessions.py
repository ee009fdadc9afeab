"""Sessions: begin one, issue and renew its tokens, and all that ends it.

Rule: which token is valid is for the tests of `domain.identification`.
"""

import time
from collections.abc import Callable

import pytest

from restauth.core import refresh_tokens
from restauth.core.keyring import ROTATION_GRACE
from restauth.core.refresh_tokens import RefreshClaims
from restauth.errors import BadCredentials
from restauth.records import Account, Client, IssuedTokens, Session
from restauth.services import Services
from restauth.storage import sqlite
from restauth.testing import Clock
from tests.conftest import CLIENT, ServicesFactory
from tests.databases import nobody_can_write
from tests.domain.actions import (
    PASSWORD,
    is_valid,
    issue,
    log_in,
    refresh,
    register,
    session_of,
    start,
    verify,
)

DAY = 86_400


pytestmark = pytest.mark.usefixtures("account")


def renew(services: Services, token: str) -> IssuedTokens:
    return services.sessions.issue(session_of(services, token), CLIENT)


def expect_no_refresh(services: Services, *tokens: IssuedTokens) -> None:
    for issued in tokens:
        with pytest.raises(BadCredentials) as caught:
            refresh(services, issued)
        assert (str(caught.value), caught.value.__cause__) == (BadCredentials.detail, None)


def expect_dead(services: Services, *tokens: IssuedTokens) -> None:
    """Neither half is of any use."""
    assert [issued for issued in tokens if is_valid(services, issued.token)] == []
    expect_no_refresh(services, *[issued for issued in tokens if issued.refresh_token])


# Access tokens


def test_a_login_begins_a_session_and_a_token_stays_in_its_own(
    services: Services, account: Account, clock: Clock
) -> None:
    first, second = issue(services), issue(services)
    began = clock.now
    session = session_of(services, first.token)
    assert session == Session(
        id=first.session_id,
        user_id=account.id,
        username=account.username,
        roles=(),
        created_at=began,
        last_used_at=began,
        expires_at=began + DAY,
        renewable_until=began + DAY,
        refresh_counter=None,
        rotated_at=None,
        peer=CLIENT.peer,
        user_agent=CLIENT.user_agent,
    )
    assert len(session.id) == 22  # 128 bits in Base64url
    assert (first.duration, first.refresh_token, first.refresh_duration) == (600, None, 0)
    clock.advance(10)
    renewed = renew(services, first.token)
    assert renewed.token != first.token
    assert renewed.session_id == first.session_id != second.session_id
    session = session_of(services, renewed.token)
    assert session == session_of(services, first.token)  # valid still, beside the new one
    assert (session.created_at, session.last_used_at) == (began, clock.now)


def test_renewals_go_on_until_the_session_ends(
    make_services: ServicesFactory, clock: Clock
) -> None:
    services = make_services(token_duration=100, session_duration=250)
    durations = []
    issued = issue(services)
    for _ in range(3):
        durations.append(issued.duration)
        clock.advance(83)
        issued = renew(services, issued.token)
    assert [*durations, issued.duration] == [100, 100, 84, 1]  # cut to what is left
    session = session_of(services, issued.token)
    clock.advance(1)
    expect_dead(services, issued)
    with pytest.raises(BadCredentials):  # it was verified a moment ago
        services.sessions.issue(session, CLIENT)


def test_a_renewed_token_has_the_roles_of_now(services: Services, account: Account) -> None:
    token = issue(services).token
    services.accounts.set_roles(account, ["admin"])
    assert verify(services, renew(services, token).token).user.roles == ("admin",)


# Refresh tokens


def test_a_session_with_a_refresh_token_lives_its_own_life(
    services: Services, clock: Clock
) -> None:
    began = clock.now
    first = start(services, Client("2001:db8::1", "curl/8"))
    assert (first.duration, first.refresh_duration) == (600, 30 * DAY)
    session = session_of(services, first.token)
    assert (session.id, session.expires_at) == (first.session_id, began + 30 * DAY)
    assert (session.refresh_counter, session.rotated_at) == (0, began)
    assert session.renewable_until == began + DAY
    clock.advance(1000)
    second = refresh(services, first)
    assert (second.duration, second.refresh_duration) == (600, 30 * DAY - 1000)
    assert second.token != first.token
    session = session_of(services, second.token)
    assert (session.id, session.expires_at) == (first.session_id, began + 30 * DAY)
    assert (session.refresh_counter, session.rotated_at) == (1, clock.now)
    assert (session.created_at, session.last_used_at) == (began, clock.now)
    assert session.renewable_until == clock.now + DAY
    assert (session.peer, session.user_agent) == ("2001:db8::1", "curl/8")  # where it began
    renewed = renew(services, second.token)
    assert (renewed.refresh_token, renewed.refresh_duration) == (None, 0)
    assert session_of(services, refresh(services, second).token).refresh_counter == 2


@pytest.mark.parametrize("passed", [0, 10, -10], ids=["at once", "10 s", "clock set back by 10 s"])
def test_a_lost_answer_is_given_again_for_ten_seconds(
    make_services: ServicesFactory, services: Services, clock: Clock, passed: int
) -> None:
    first = start(services)
    clock.advance(1000)
    second = refresh(services, first)
    clock.advance(passed)
    for process in (services, make_services()):
        again = refresh(process, first)
        assert again.refresh_token == second.refresh_token
        assert session_of(process, again.token).refresh_counter == 1
    refresh(services, refresh(services, second))


@pytest.mark.parametrize("pace", [0, 1, 2, -2], ids=["at once", "1 s", "2 s", "clock set back"])
def test_several_tabs_with_tokens_of_the_last_ten_seconds_all_get_the_current_one(
    make_services: ServicesFactory, services: Services, clock: Clock, pace: int
) -> None:
    tabs = [start(services)]
    clock.advance(1000)
    for _ in range(5):
        tabs.append(refresh(services, tabs[-1]))
        clock.advance(pace)
    for process in (services, make_services()):
        for tab in tabs[:-1]:
            assert refresh(process, tab).refresh_token == tabs[-1].refresh_token
    assert session_of(services, tabs[-1].token).refresh_counter == 5
    refresh(services, tabs[-1])


@pytest.mark.parametrize(
    ("uses", "passed"),
    [(1, 11), (1, -11), (2, 11), (2, -11)],
    ids=["11 s", "clock set back by 11 s", "two turns old", "two turns, clock set back"],
)
def test_a_refresh_token_that_was_used_before_ends_its_session_and_no_other(
    services: Services, clock: Clock, uses: int, passed: int
) -> None:
    first, other = start(services), start(services)
    current = first
    for _ in range(uses):
        current = refresh(services, current)
    clock.advance(passed)
    assert is_valid(services, current.token)
    expect_no_refresh(services, first)
    expect_dead(services, first, current)
    refresh(services, other)


def test_a_thief_gains_no_time_by_refreshing(services: Services, clock: Clock) -> None:
    """With the stolen token again and again, and with each successor that it got."""
    stolen = thiefs = start(services)
    refresh(services, stolen)
    for _ in range(10):
        clock.advance(1)
        thiefs = refresh(services, refresh(services, stolen))
    clock.advance(1)
    expect_no_refresh(services, stolen)
    expect_dead(services, stolen, thiefs)


def test_a_repeated_answer_prolongs_no_grace(services: Services, clock: Clock) -> None:
    first = start(services)
    refresh(services, first)
    clock.advance(10)
    second = refresh(services, first)
    clock.advance(1)
    expect_no_refresh(services, first, second)


def forge(services: Services, session_id: str, counter: int) -> IssuedTokens:
    """As only the holder of the key can make it."""
    token = refresh_tokens.build(RefreshClaims(session_id, counter), services.keys.ring.signing_key)
    return IssuedTokens(session_id, "", 0, token, 0)


@pytest.mark.parametrize("counter", [1, 2, 9_999_999_999])
def test_a_number_that_was_never_given_out_ends_its_own_session(
    services: Services, counter: int
) -> None:
    issued = start(services)
    with pytest.raises(BadCredentials):  # an access token ends nothing
        services.sessions.refresh(issued.token, CLIENT)
    expect_no_refresh(services, forge(services, "A" * 22, 0))  # of no session
    expect_no_refresh(services, forge(services, issue(services).session_id, 0))  # has no such
    assert is_valid(services, issued.token)
    expect_no_refresh(services, forge(services, issued.session_id, counter))
    expect_dead(services, issued)


def test_access_tokens_renew_each_other_for_a_session_duration_after_the_last_refresh(
    make_services: ServicesFactory, clock: Clock
) -> None:
    services = make_services(session_duration=1000)
    first = start(services)
    clock.advance(900)
    second = refresh(services, first)
    token = second.token
    for passed in (500, 499):
        clock.advance(passed)
        services.sessions.preview(session_of(services, token), CLIENT)
        token = renew(services, token).token
    clock.advance(1)
    session = session_of(services, token)  # it ends by itself, but has no successor
    for ask in (services.sessions.issue, services.sessions.preview):
        with pytest.raises(BadCredentials):
            ask(session, CLIENT)
    renew(services, refresh(services, second).token)


def test_a_refresh_token_is_valid_until_its_session_ends_and_no_second_longer(
    make_services: ServicesFactory, clock: Clock
) -> None:
    services = make_services(session_duration=500, refresh_duration=1000)
    issued = start(services)
    clock.advance(700)
    issued = refresh(services, issued)
    session = session_of(services, issued.token)
    assert (issued.duration, issued.refresh_duration) == (300, 300)  # cut to what is left
    assert session.renewable_until == session.expires_at == clock.now + 300
    clock.advance(299)
    issued = refresh(services, issued)
    assert (issued.duration, issued.refresh_duration) == (1, 1)
    clock.advance(1)
    expect_dead(services, issued)


def test_a_refresh_token_of_a_retired_key_is_valid_as_long_as_a_session_can_live(
    make_services: ServicesFactory, clock: Clock
) -> None:
    services = make_services(refresh_duration=1000, session_duration=60, token_duration=10)
    keys = services.keys
    before, old_key = start(services), keys.ring.signing_key
    keys.rotate(revoke=False)
    after = refresh(services, before)
    assert f".{keys.ring.signing_key.kid}." in str(after.refresh_token)
    clock.advance(ROTATION_GRACE + 500)
    sessions = [start(services).session_id, start(services).session_id]
    late = [
        IssuedTokens(each, "", 0, refresh_tokens.build(RefreshClaims(each, 0), old_key))
        for each in sessions
    ]
    clock.advance(500)
    refresh(services, late[0])
    clock.advance(1)
    expect_no_refresh(services, late[1])


def test_a_revoked_key_takes_its_refresh_tokens_along(services: Services) -> None:
    issued = start(services)
    services.keys.rotate(revoke=True)
    expect_dead(services, issued)


# Which there are


def test_ones_own_live_sessions_are_listed_the_one_used_last_first(
    make_services: ServicesFactory, clock: Clock
) -> None:
    services = make_services(session_duration=1000)
    register(services, "susan")
    issue(services, "susan")
    user = verify(services, issue(services).token).user
    clock.advance(100)
    old, young = issue(services), start(services)
    clock.advance(1)
    renew(services, old.token)
    listed = services.sessions.list(user.id)
    assert [each.id for each in listed] == [old.session_id, young.session_id, user.session_id]
    assert listed[0] == session_of(services, old.token)
    clock.advance(899)  # the oldest ends
    assert services.sessions.list(user.id) == listed[:2]


# What ends it


def test_logout_ends_one_session_alone_in_every_process_and_once(
    make_services: ServicesFactory, services: Services
) -> None:
    register(services, "susan")
    here, there, susans = start(services), issue(services), issue(services, "susan")
    renewed = renew(services, here.token)
    user = verify(services, there.token).user
    other = make_services()
    assert other.sessions.end(user, here.session_id, CLIENT)
    for process in (services, other):
        expect_dead(process, here, renewed)
    assert is_valid(services, there.token)
    for session_id in (here.session_id, susans.session_id, "A" * 22, "", "%"):
        assert not services.sessions.end(user, session_id, CLIENT)
    other.sessions.end_all(1)
    expect_dead(services, there)
    assert is_valid(services, susans.token)


ENDINGS: dict[str, Callable[[Services, Account], object]] = {
    "lock": lambda services, account: services.accounts.lock(account),
    "deletion": lambda services, account: services.accounts.delete(account),
    "another password": lambda services, account: services.accounts.set_password(account, "other"),
    "the same again": lambda services, account: services.accounts.set_password(account, PASSWORD),
    "password changed": lambda services, account: services.accounts.change_password(
        account, "other", CLIENT
    ),
    "password reset": lambda services, account: services.accounts.reset_password(
        services.accounts.make_reset_code(account).code, "other", CLIENT
    ),
    "account closed": lambda services, account: services.accounts.close(account, CLIENT),
}


@pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS)
def test_what_ends_all_sessions_does_so_at_once_in_every_process_and_for_a_login_under_way(
    make_services: ServicesFactory,
    services: Services,
    account: Account,
    end: Callable[[Services, Account], object],
) -> None:
    processes = [services, make_services()]
    started, token = start(services), issue(services)
    renewed = renew(services, token.token)
    warm = [session_of(process, token.token) for process in processes]  # their caches
    end(make_services(), account)
    for process in processes:
        expect_dead(process, token, renewed, started)
        proofs: list[Account | Session] = [account, *warm]
        for proof in proofs:  # it was verified before, and asks for more only now
            with pytest.raises(BadCredentials):
                process.sessions.issue(proof, CLIENT)
        with pytest.raises(BadCredentials):
            process.sessions.start(account, CLIENT)


def test_a_session_in_use_outlives_any_number_of_new_logins(
    services: Services, account: Account, clock: Clock
) -> None:
    used, unused = issue(services), issue(services)
    for _ in range(250):
        clock.advance(2)  # all within the life of one token
        services.sessions.issue(account, CLIENT)
        assert is_valid(services, used.token)
    expect_dead(services, unused)


def test_a_use_that_cannot_be_noted_delays_and_fails_nothing(
    services: Services, account: Account, clock: Clock
) -> None:
    used = issue(services)
    clock.advance(1)
    for _ in range(60):
        services.sessions.issue(account, CLIENT)
    with nobody_can_write(services):
        began = time.monotonic()
        assert all(is_valid(services, used.token) for _ in range(20))
        assert time.monotonic() - began < sqlite.BUSY_TIMEOUT / 1000
        assert session_of(services, used.token).last_used_at < clock.now
    assert session_of(services, used.token).last_used_at == clock.now


# HEAD


def test_a_preview_begins_nothing_and_uses_nothing(
    services: Services, account: Account, clock: Clock
) -> None:
    assert not is_valid(services, services.sessions.preview(account, CLIENT).token)
    assert services.sessions.end_all(account.id) == 0
    session = session_of(services, issue(services).token)
    clock.advance(10)
    preview = services.sessions.preview(session, CLIENT)
    assert session_of(services, preview.token) == session


@pytest.mark.parametrize("passed", [0, 599], ids=["a whole token", "a token cut short"])
def test_a_preview_has_the_length_of_the_real_tokens(
    make_services: ServicesFactory, clock: Clock, passed: int
) -> None:
    services = make_services(session_duration=660)
    tokens = [issue(services).token, start(services).token]
    proofs: list[Account | Session] = [session_of(services, token) for token in tokens]
    clock.advance(passed)
    for proof in (*proofs, log_in(services)):
        preview = services.sessions.preview(proof, CLIENT)
        real = services.sessions.issue(proof, CLIENT)
        assert (preview.duration, preview.refresh_token) == (real.duration, real.refresh_token)
        assert len(preview.token) == len(real.token)
