"""Who you are, by token: the life of a session, what ends it, and clocks that step."""

from collections.abc import Callable
from pathlib import Path

import pytest

from restauth.core.tokens import AccessTokens, Claims
from restauth.errors import BadCredentials
from restauth.records import Account, Caller, Grant, Session, User
from restauth.services import Services
from tests.conftest import Clock, ServicesFactory

NAME, PASSWORD = "miguel", "python"
DAY = 86_400


@pytest.fixture
def services(make_services: ServicesFactory) -> Services:
    """A service that miguel has registered at."""
    services = make_services()
    services.accounts.register(NAME, PASSWORD)
    return services


def by_password(services: Services, username: str = NAME) -> Caller:
    account = services.accounts.authenticate(username, PASSWORD)
    return Caller(User(account.id, account.username, (), None, "password"), account)


def log_in(services: Services, username: str = NAME) -> Grant:
    return services.sessions.grant(by_password(services, username))


def renew(services: Services, token: str) -> Grant:
    return services.sessions.grant(services.sessions.identify(token))


def session_of(services: Services, token: str) -> Session:
    proof = services.sessions.identify(token).proof
    assert isinstance(proof, Session)
    return proof


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
        session_id, account.id, NAME, clock.now, clock.now, clock.now + DAY
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
        services.sessions.grant(caller)


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


# What ends it


ENDINGS: dict[str, Callable[[Services, Account], object]] = {
    "lock": lambda services, account: services.accounts.lock(account),
    "deletion": lambda services, account: services.accounts.delete(account),
    "another password": lambda services, account: services.accounts.set_password(account, "other"),
    "the same password again": lambda services, account: services.accounts.set_password(
        account, PASSWORD
    ),
    "all sessions ended": lambda services, account: services.sessions.end_all(account),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_revocation_is_immediate_in_every_process(
    make_services: ServicesFactory, services: Services, ending: str
) -> None:
    processes = [services, make_services(), make_services()]
    token = log_in(services).token
    renewed = renew(services, token).token
    callers = [process.sessions.identify(token) for process in processes]  # memos are warm
    ENDINGS[ending](processes[1], services.accounts.find_by_name(NAME))
    for process, caller in zip(processes, callers, strict=True):
        expect_dead(process, token, renewed)
        with pytest.raises(BadCredentials):  # it was let in before, and asks for more only now
            process.sessions.grant(caller)


@pytest.mark.parametrize("ending", [name for name in ENDINGS if name != "all sessions ended"])
def test_a_login_under_way_begins_no_session_after_what_ended_the_others(
    make_services: ServicesFactory, services: Services, ending: str
) -> None:
    caller = by_password(services)
    ENDINGS[ending](make_services(), services.accounts.find_by_name(NAME))
    with pytest.raises(BadCredentials):
        services.sessions.grant(caller)


def test_logout_ends_one_session_alone_and_in_every_process(
    make_services: ServicesFactory, services: Services
) -> None:
    services.accounts.register("susan", PASSWORD)
    here, there, susans = log_in(services), log_in(services), log_in(services, "susan")
    renewed = renew(services, here.token)
    other = make_services()
    other.sessions.end(session_of(other, here.token))
    for process in (services, other):
        expect_dead(process, here.token, renewed.token)
        process.sessions.identify(there.token)
        process.sessions.identify(susans.token)


def test_a_second_logout_changes_nothing(services: Services) -> None:
    session = session_of(services, log_in(services).token)
    services.sessions.end(session)
    services.sessions.end(session)


def test_all_sessions_of_one_account_end_and_are_counted(services: Services) -> None:
    services.accounts.register("susan", PASSWORD)
    miguels = [log_in(services).token, log_in(services).token]
    susans = log_in(services, "susan").token
    account = services.accounts.find_by_name(NAME)
    assert services.sessions.end_all(account) == 2
    assert services.sessions.end_all(account) == 0
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
    forged = AccessTokens("restauth", "restauth", 600).mint(claims, services.keys.ring.signing_key)
    expect_dead(services, forged)


# HEAD


def test_a_rehearsed_grant_begins_nothing(services: Services) -> None:
    rehearsed = services.sessions.rehearse_grant(by_password(services))
    expect_dead(services, rehearsed.token)
    assert services.sessions.end_all(services.accounts.find_by_name(NAME)) == 0


def test_a_rehearsed_renewal_uses_nothing(services: Services, clock: Clock) -> None:
    caller = services.sessions.identify(log_in(services).token)
    clock.advance(10)
    rehearsed = services.sessions.rehearse_grant(caller)
    assert services.sessions.identify(rehearsed.token) == caller


@pytest.mark.parametrize("passed", [0, 599], ids=["a whole token", "a token cut short"])
def test_a_rehearsed_grant_has_the_length_of_a_real_one(
    make_services: ServicesFactory, clock: Clock, passed: int
) -> None:
    services = make_services(session_duration=660)
    services.accounts.register(NAME, PASSWORD)
    by_token = services.sessions.identify(log_in(services).token)
    clock.advance(passed)
    for caller in (by_password(services), by_token):
        rehearsed = services.sessions.rehearse_grant(caller)
        real = services.sessions.grant(caller)
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
