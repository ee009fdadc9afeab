"""Who you are, by token: the life of a session, its refresh tokens, its end, clocks that step."""

from collections.abc import Callable
from pathlib import Path

import pytest

from restauth.core import refresh_tokens
from restauth.core.access_tokens import AccessTokens, Claims
from restauth.core.refresh_tokens import RefreshClaims
from restauth.errors import BadCredentials
from restauth.records import Account, Client, IssuedTokens, Session, User
from restauth.services import Services
from tests.conftest import CLIENT, Clock, ServicesFactory, by_password, race

NAME, PASSWORD = "miguel", "python"
DAY = 86_400


@pytest.fixture
def services(make_services: ServicesFactory) -> Services:
    """A service that miguel has registered at."""
    services = make_services()
    services.accounts.register(NAME, PASSWORD)
    return services


def log_in(services: Services, username: str = NAME) -> IssuedTokens:
    return services.sessions.issue(by_password(services, username, PASSWORD), CLIENT)


def renew(services: Services, token: str) -> IssuedTokens:
    return services.sessions.issue(services.sessions.identify(token), CLIENT)


def start(services: Services, client: Client = CLIENT) -> IssuedTokens:
    """A session with a refresh token."""
    account = services.authentication.authenticate(NAME, PASSWORD, client)
    return services.sessions.start(account, client)


def refresh(services: Services, grant: IssuedTokens, client: Client = CLIENT) -> IssuedTokens:
    assert grant.refresh_token is not None
    return services.sessions.refresh(grant.refresh_token, client)


def expect_no_refresh(services: Services, *grants: IssuedTokens) -> None:
    for grant in grants:
        with pytest.raises(BadCredentials) as caught:
            refresh(services, grant)
        assert (str(caught.value), caught.value.__cause__) == (BadCredentials.detail, None)


def session_of(services: Services, token: str) -> Session:
    proof = services.sessions.identify(token).proof
    assert isinstance(proof, Session)
    return proof


def end(services: Services, token: str) -> bool:
    """Log out."""
    user = services.sessions.identify(token).user
    assert user.session_id is not None
    return services.sessions.end(user, user.session_id, CLIENT)


def expect_dead(services: Services, *tokens: str) -> None:
    for token in tokens:
        with pytest.raises(BadCredentials):
            services.sessions.identify(token)


# The life of a session


def test_a_token_tells_whose_it_is(services: Services, clock: Clock) -> None:
    account = services.accounts.find_by_name(NAME)
    caller = services.sessions.identify(log_in(services).token)
    session_id = caller.user.session_id
    assert session_id is not None
    assert len(session_id) == 22  # 128 bits in Base64url
    assert caller.user == User(account.id, NAME, (), session_id, "token")
    assert caller.proof == Session(
        id=session_id,
        user_id=account.id,
        username=NAME,
        roles=(),
        created_at=clock.now,
        last_used_at=clock.now,
        expires_at=clock.now + DAY,
        renewable_until=clock.now + DAY,
        refresh_counter=None,
        rotated_at=None,
        peer=CLIENT.peer,
        user_agent=CLIENT.user_agent,
    )


def test_a_token_is_good_until_its_end_and_no_second_longer(
    services: Services, clock: Clock
) -> None:
    grant = log_in(services)
    assert grant.duration == 600
    clock.advance(599)
    services.sessions.identify(grant.token)
    clock.advance(1)
    expect_dead(services, grant.token)


def test_the_durations_are_the_settings(make_services: ServicesFactory, clock: Clock) -> None:
    services = make_services(token_duration=10, session_duration=60)
    services.accounts.register(NAME, PASSWORD)
    grant = log_in(services)
    assert grant.duration == 10
    assert session_of(services, grant.token).expires_at == clock.now + 60


def test_renewals_go_on_until_the_session_ends(
    make_services: ServicesFactory, clock: Clock
) -> None:
    services = make_services(token_duration=100, session_duration=250)
    services.accounts.register(NAME, PASSWORD)
    durations = []
    grant = log_in(services)
    for _ in range(3):
        durations.append(grant.duration)
        clock.advance(83)
        grant = renew(services, grant.token)
    assert durations == [100, 100, 84]  # the third was cut to what was left
    assert grant.duration == 1
    clock.advance(1)
    expect_dead(services, grant.token)


def test_a_renewal_comes_too_late_when_the_session_has_just_ended(
    make_services: ServicesFactory, clock: Clock
) -> None:
    services = make_services(session_duration=60)
    services.accounts.register(NAME, PASSWORD)
    caller = services.sessions.identify(log_in(services).token)
    clock.advance(60)
    with pytest.raises(BadCredentials):
        services.sessions.issue(caller, CLIENT)


def test_an_old_token_stays_good_beside_the_new_one(services: Services, clock: Clock) -> None:
    old = log_in(services)
    clock.advance(10)
    new = renew(services, old.token)
    assert new.token != old.token
    assert services.sessions.identify(old.token) == services.sessions.identify(new.token)


def test_a_password_begins_a_session_and_a_token_stays_in_its_own(services: Services) -> None:
    first, second = log_in(services), log_in(services)
    renewed = renew(services, first.token)
    assert first.token != renewed.token
    ids = [session_of(services, grant.token).id for grant in (first, second, renewed)]
    assert ids[0] == ids[2] != ids[1]


def test_a_session_is_used_when_a_token_is_granted_and_not_when_one_is_shown(
    services: Services, clock: Clock
) -> None:
    began, token = clock.now, log_in(services).token
    clock.advance(10)
    assert session_of(services, token).last_used_at == began
    renew(services, token)
    session = session_of(services, token)
    assert (session.created_at, session.last_used_at) == (began, clock.now)


def test_a_session_knows_where_it_began(services: Services, clock: Clock) -> None:
    grant = start(services, Client("2001:db8::1", "curl/8"))
    clock.advance(20)
    renewed = services.sessions.identify(refresh(services, grant, CLIENT).token).proof
    assert isinstance(renewed, Session)
    assert (renewed.peer, renewed.user_agent) == ("2001:db8::1", "curl/8")


def test_a_token_has_the_roles_of_now(services: Services, make_services: ServicesFactory) -> None:
    token = log_in(services).token
    account = services.accounts.find_by_name(NAME)
    other = make_services()
    assert services.sessions.identify(token).user.roles == ()
    other.accounts.change_roles(account, ["editor", "admin"], [])
    assert services.sessions.identify(token).user.roles == ("admin", "editor")
    renewed = renew(services, token).token
    other.accounts.change_roles(account, [], ["admin"])
    for each in (token, renewed):  # though the second one says that it was an admin's
        assert services.sessions.identify(each).user.roles == ("editor",)


# Refresh tokens


def test_a_session_with_a_refresh_token_lives_its_own_life(
    services: Services, clock: Clock
) -> None:
    grant = start(services)
    assert (grant.duration, grant.refresh_duration) == (600, 30 * DAY)
    session = session_of(services, grant.token)
    assert session.id == grant.session_id
    assert (session.expires_at, session.renewable_until) == (clock.now + 30 * DAY, clock.now + DAY)
    assert (session.refresh_counter, session.rotated_at) == (0, clock.now)


def test_a_refresh_gives_new_tokens_of_the_same_session(services: Services, clock: Clock) -> None:
    first = start(services)
    began = clock.now
    clock.advance(1000)
    second = refresh(services, first)
    assert first.token != second.token
    assert first.refresh_token != second.refresh_token
    assert (second.duration, second.refresh_duration) == (600, 30 * DAY - 1000)
    session = session_of(services, second.token)
    assert session.id == first.session_id == second.session_id
    assert (session.created_at, session.last_used_at) == (began, clock.now)
    assert (session.refresh_counter, session.rotated_at) == (1, clock.now)
    assert session.renewable_until == clock.now + DAY
    clock.advance(1000)
    assert session_of(services, refresh(services, second).token).refresh_counter == 2


def test_a_refresh_token_is_no_access_token_and_an_access_token_none_to_refresh(
    services: Services,
) -> None:
    grant = start(services)
    assert grant.refresh_token is not None
    expect_dead(services, grant.refresh_token)
    with pytest.raises(BadCredentials):
        services.sessions.refresh(grant.token, CLIENT)
    refresh(services, grant)  # neither attempt has ended the session


def test_a_lost_answer_is_given_again_for_ten_seconds(
    make_services: ServicesFactory, services: Services, clock: Clock
) -> None:
    first = start(services)
    clock.advance(1000)
    second = refresh(services, first)
    for passed in (0, 10):
        clock.advance(passed)
        for process in (services, make_services()):
            again = refresh(process, first)
            assert again.refresh_token == second.refresh_token
            process.sessions.identify(again.token)
    assert session_of(services, second.token).refresh_counter == 1
    third = refresh(services, second)
    refresh(services, third)


def test_a_refresh_token_used_again_after_ten_seconds_ends_its_session(
    services: Services, clock: Clock
) -> None:
    first = start(services)
    second = refresh(services, first)
    clock.advance(11)
    expect_no_refresh(services, first, second)
    expect_dead(services, first.token, second.token)


def test_a_repeated_answer_prolongs_no_grace(services: Services, clock: Clock) -> None:
    first = start(services)
    refresh(services, first)
    clock.advance(10)
    second = refresh(services, first)
    clock.advance(1)
    expect_no_refresh(services, first, second)


def test_a_refresh_token_two_turns_old_ends_its_session_at_once(services: Services) -> None:
    first = start(services)
    second = refresh(services, first)
    third = refresh(services, second)
    expect_no_refresh(services, first, second, third)
    expect_dead(services, first.token, second.token, third.token)


def test_a_reused_refresh_token_ends_no_other_session(services: Services, clock: Clock) -> None:
    stolen, other = start(services), start(services)
    refresh(services, stolen)
    clock.advance(11)
    expect_no_refresh(services, stolen)
    refresh(services, other)


def refresh_token_of(services: Services, session_id: str, counter: int) -> IssuedTokens:
    """As only the holder of the key can make it."""
    token = refresh_tokens.build(RefreshClaims(session_id, counter), services.keys.ring.signing_key)
    return IssuedTokens(session_id, "", 0, token, 0)


@pytest.mark.parametrize("counter", [1, 2, 9_999_999_999])
def test_a_turn_that_was_never_given_out_ends_its_session(services: Services, counter: int) -> None:
    grant = start(services)
    expect_no_refresh(services, refresh_token_of(services, grant.session_id, counter), grant)


def test_a_session_without_refresh_tokens_has_none_that_is_good(services: Services) -> None:
    grant = log_in(services)
    assert (grant.refresh_token, grant.refresh_duration) == (None, 0)
    expect_no_refresh(services, refresh_token_of(services, grant.session_id, 0))


def test_a_turn_of_no_session_is_refused(services: Services) -> None:
    expect_no_refresh(services, refresh_token_of(services, "A" * 22, 0))


def test_a_token_that_renews_another_gives_no_refresh_token(services: Services) -> None:
    renewed = renew(services, start(services).token)
    assert (renewed.refresh_token, renewed.refresh_duration) == (None, 0)


def test_of_two_that_refresh_at_once_both_get_the_one_successor(
    make_services: ServicesFactory, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = start(services)
    rivals = [make_services(), make_services()]
    outcomes = race(monkeypatch, rivals, "rotate_session", lambda rival: refresh(rival, first))
    here, there = outcomes
    assert isinstance(here, IssuedTokens)
    assert isinstance(there, IssuedTokens)
    assert here.refresh_token == there.refresh_token != first.refresh_token
    for grant in (here, there):
        assert session_of(services, grant.token).refresh_counter == 1


def test_access_tokens_renew_each_other_for_a_session_duration_after_the_last_refresh(
    make_services: ServicesFactory, clock: Clock
) -> None:
    services = make_services(session_duration=1000)
    services.accounts.register(NAME, PASSWORD)
    first = start(services)
    clock.advance(900)
    second = refresh(services, first)
    token = second.token
    for passed in (500, 499):
        clock.advance(passed)
        services.sessions.preview(services.sessions.identify(token), CLIENT)
        token = renew(services, token).token
    clock.advance(1)
    caller = services.sessions.identify(token)  # it ends by itself, but has no successor
    for ask in (services.sessions.issue, services.sessions.preview):
        with pytest.raises(BadCredentials):
            ask(caller, CLIENT)
    renew(services, refresh(services, second).token)


def test_a_refresh_token_is_good_until_its_session_ends_and_no_second_longer(
    make_services: ServicesFactory, clock: Clock
) -> None:
    services = make_services(session_duration=500, refresh_duration=1000)
    services.accounts.register(NAME, PASSWORD)
    grant = start(services)
    clock.advance(700)
    grant = refresh(services, grant)
    session = session_of(services, grant.token)
    assert (grant.duration, grant.refresh_duration) == (300, 300)  # cut to what is left
    assert session.renewable_until == session.expires_at == clock.now + 300
    clock.advance(299)
    grant = refresh(services, grant)
    assert (grant.duration, grant.refresh_duration) == (1, 1)
    clock.advance(1)
    expect_no_refresh(services, grant)
    expect_dead(services, grant.token)


def test_a_refresh_token_of_a_retired_key_is_good_as_long_as_a_session_can_live(
    make_services: ServicesFactory, clock: Clock
) -> None:
    services = make_services(refresh_duration=1000, session_duration=60, token_duration=10)
    services.accounts.register(NAME, PASSWORD)
    before = start(services)
    retired = services.keys.ring.signing_key
    services.keys.rotate(revoke=False)
    clock.advance(500)
    assert start(services).token  # by the new key
    after = refresh(services, before)
    assert after.refresh_token is not None
    assert f".{services.keys.ring.signing_key.kid}." in after.refresh_token
    late = [
        IssuedTokens(
            "",
            "",
            0,
            refresh_tokens.build(RefreshClaims(start(services).session_id, 0), retired),
            0,
        )
        for _ in range(2)
    ]
    clock.advance(505)  # the key's grace included
    refresh(services, late[0])
    clock.advance(1)
    expect_no_refresh(services, late[1])


def test_a_revoked_key_takes_its_refresh_tokens_along(services: Services) -> None:
    grant = start(services)
    services.keys.rotate(revoke=True)
    expect_no_refresh(services, grant)
    expect_dead(services, grant.token)


def test_an_access_token_of_a_retired_key_ends_long_before_a_refresh_token(
    make_services: ServicesFactory, clock: Clock
) -> None:
    services = make_services(token_duration=10)
    services.accounts.register(NAME, PASSWORD)
    grant = start(services)
    retired = services.keys.ring.signing_key
    services.keys.rotate(revoke=False)
    clock.advance(16)
    user = services.accounts.find_by_name(NAME)
    claims = Claims(user.id, grant.session_id, NAME, (), clock.now, clock.now + 10)
    expect_dead(services, AccessTokens("restauth", "restauth", 10).issue(claims, retired))
    refresh(services, grant)


# Which there are


def test_ones_own_live_sessions_are_listed_the_one_used_last_first(
    make_services: ServicesFactory, clock: Clock
) -> None:
    services = make_services(session_duration=1000)
    services.accounts.register(NAME, PASSWORD)
    services.accounts.register("susan", PASSWORD)
    log_in(services, "susan")
    user = services.sessions.identify(log_in(services).token).user
    old = log_in(services)
    clock.advance(100)
    refreshable, young = start(services), log_in(services)
    ended = log_in(services)
    end(services, ended.token)
    clock.advance(1)
    renewed = renew(services, old.token)
    clock.advance(1)
    refresh(services, refreshable)

    def listed() -> list[str]:
        return [session.id for session in services.sessions.list(user)]

    assert user.session_id is not None
    ids = [refreshable.session_id, renewed.session_id, young.session_id, user.session_id]
    assert listed() == ids
    assert services.sessions.list(user)[2] == session_of(services, young.token)
    clock.advance(898)  # the two oldest end
    assert listed() == [refreshable.session_id, young.session_id]


def test_another_of_ones_own_sessions_can_be_ended(services: Services) -> None:
    here, there = log_in(services), start(services)
    user = services.sessions.identify(here.token).user
    assert services.sessions.end(user, there.session_id, CLIENT)
    expect_no_refresh(services, there)
    services.sessions.identify(here.token)


def test_somebody_elses_session_cannot_be_ended(services: Services) -> None:
    services.accounts.register("susan", PASSWORD)
    miguels, susans = log_in(services), log_in(services, "susan")
    user = services.sessions.identify(susans.token).user
    for session_id in (miguels.session_id, "A" * 22, "", "%"):
        assert not services.sessions.end(user, session_id, CLIENT)
    services.sessions.identify(miguels.token)
    services.sessions.identify(susans.token)


# What ends it


ENDINGS: dict[str, Callable[[Services, Account], object]] = {
    "lock": lambda services, account: services.accounts.lock(account),
    "deletion": lambda services, account: services.accounts.delete(account),
    "another password": lambda services, account: services.accounts.set_password(account, "other"),
    "the same password again": lambda services, account: services.accounts.set_password(
        account, PASSWORD
    ),
    "all sessions ended": lambda services, account: services.sessions.end_all(account.id),
    "password changed": lambda services, account: services.accounts.change_password(
        account, "other", CLIENT
    ),
    "password reset": lambda services, account: services.accounts.reset_password(
        services.accounts.make_reset_code(account), "other", CLIENT
    ),
    "account closed": lambda services, account: services.accounts.close(account, CLIENT),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_revocation_is_immediate_in_every_process(
    make_services: ServicesFactory, services: Services, ending: str
) -> None:
    processes = [services, make_services(), make_services()]
    refreshable = [start(services) for _ in processes]
    token = log_in(services).token
    renewed = renew(services, token).token
    callers = [process.sessions.identify(token) for process in processes]  # memos are warm
    ENDINGS[ending](processes[1], services.accounts.find_by_name(NAME))
    for process, caller, grant in zip(processes, callers, refreshable, strict=True):
        expect_dead(process, token, renewed, grant.token)
        expect_no_refresh(process, grant)
        with pytest.raises(BadCredentials):  # it was let in before, and asks for more only now
            process.sessions.issue(caller, CLIENT)


@pytest.mark.parametrize("ending", [name for name in ENDINGS if name != "all sessions ended"])
def test_a_login_under_way_begins_no_session_after_what_ended_the_others(
    make_services: ServicesFactory, services: Services, ending: str
) -> None:
    caller = by_password(services, NAME, PASSWORD)
    account = services.accounts.find_by_name(NAME)
    ENDINGS[ending](make_services(), account)
    with pytest.raises(BadCredentials):
        services.sessions.issue(caller, CLIENT)
    with pytest.raises(BadCredentials):
        services.sessions.start(account, CLIENT)


def test_logout_ends_one_session_alone_and_in_every_process(
    make_services: ServicesFactory, services: Services
) -> None:
    services.accounts.register("susan", PASSWORD)
    here, there, susans = log_in(services), log_in(services), log_in(services, "susan")
    renewed = renew(services, here.token)
    other = make_services()
    assert end(other, here.token)
    for process in (services, other):
        expect_dead(process, here.token, renewed.token)
        process.sessions.identify(there.token)
        process.sessions.identify(susans.token)


def test_a_second_logout_changes_nothing(services: Services) -> None:
    user = services.sessions.identify(log_in(services).token).user
    assert user.session_id is not None
    assert services.sessions.end(user, user.session_id, CLIENT)
    assert not services.sessions.end(user, user.session_id, CLIENT)


def test_all_sessions_of_one_account_end_and_are_counted(services: Services) -> None:
    services.accounts.register("susan", PASSWORD)
    miguels = [log_in(services).token, log_in(services).token]
    susans = log_in(services, "susan").token
    account = services.accounts.find_by_name(NAME)
    assert services.sessions.end_all(account.id) == 2
    assert services.sessions.end_all(account.id) == 0
    expect_dead(services, *miguels)
    services.sessions.identify(susans)


def test_an_unlocked_account_logs_in_anew_and_no_old_token_revives(services: Services) -> None:
    old = log_in(services).token
    account = services.accounts.find_by_name(NAME)
    services.accounts.lock(account)
    services.accounts.unlock(account)
    services.sessions.identify(log_in(services).token)
    expect_dead(services, old)


# Whose it never becomes


def test_a_name_registered_anew_does_not_inherit_a_token(services: Services) -> None:
    token = log_in(services).token
    services.accounts.delete(services.accounts.find_by_name(NAME))
    services.accounts.register(NAME, PASSWORD)
    expect_dead(services, token)


def test_a_token_of_a_lost_database_is_dead_in_the_next_one(
    make_services: ServicesFactory, services: Services, tmp_path: Path
) -> None:
    token = log_in(services).token
    recreated = make_services(database=tmp_path / "recreated.db")
    heir = recreated.accounts.register("susan", PASSWORD)
    assert heir == services.accounts.find_by_name(NAME).id  # the key file and the ids are the same
    log_in(recreated, "susan")
    expect_dead(recreated, token)


def test_a_token_of_another_key_ring_is_refused(
    make_services: ServicesFactory, services: Services, tmp_path: Path
) -> None:
    stranger = make_services(key_file=tmp_path / "other.keys")
    expect_dead(services, log_in(stranger).token)


def test_a_token_that_lends_its_session_to_another_user_is_refused(
    services: Services, clock: Clock
) -> None:
    susan = services.accounts.register("susan", PASSWORD)
    session = session_of(services, log_in(services).token)
    claims = Claims(susan, session.id, "susan", (), clock.now, clock.now + 600)
    forged = AccessTokens("restauth", "restauth", 600).issue(claims, services.keys.ring.signing_key)
    expect_dead(services, forged)


# HEAD


def test_a_rehearsed_grant_begins_nothing(services: Services) -> None:
    rehearsed = services.sessions.preview(by_password(services, NAME, PASSWORD), CLIENT)
    expect_dead(services, rehearsed.token)
    assert services.sessions.end_all(services.accounts.find_by_name(NAME).id) == 0


def test_a_rehearsed_renewal_uses_nothing(services: Services, clock: Clock) -> None:
    caller = services.sessions.identify(log_in(services).token)
    clock.advance(10)
    rehearsed = services.sessions.preview(caller, CLIENT)
    assert services.sessions.identify(rehearsed.token) == caller


@pytest.mark.parametrize("passed", [0, 599], ids=["a whole token", "a token cut short"])
def test_a_rehearsed_grant_has_the_length_of_a_real_one(
    make_services: ServicesFactory, clock: Clock, passed: int
) -> None:
    services = make_services(session_duration=660)
    services.accounts.register(NAME, PASSWORD)
    by_token = services.sessions.identify(log_in(services).token)
    clock.advance(passed)
    for caller in (by_password(services, NAME, PASSWORD), by_token):
        rehearsed = services.sessions.preview(caller, CLIENT)
        real = services.sessions.issue(caller, CLIENT)
        assert rehearsed.refresh_token is real.refresh_token is None
        assert rehearsed.duration == real.duration
        assert len(rehearsed.token) == len(real.token)


# Clocks that step


def test_a_clock_set_back_by_half_a_minute_refuses_nobody(services: Services, clock: Clock) -> None:
    token = log_in(services).token
    clock.advance(-30)
    services.sessions.identify(renew(services, token).token)


def test_a_clock_set_back_by_hours_refuses_old_tokens_and_grants_new_ones(
    services: Services, clock: Clock
) -> None:
    token = log_in(services).token
    clock.advance(-7200)
    expect_dead(services, token)
    services.sessions.identify(log_in(services).token)


def test_a_clock_set_forward_ends_what_it_would_have_ended(
    services: Services, clock: Clock
) -> None:
    token = log_in(services).token
    clock.advance(DAY)
    expect_dead(services, token)
    services.sessions.identify(log_in(services).token)
