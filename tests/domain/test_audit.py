"""What happened to whom: every event in its form, at its time, and never a secret."""

import json
import logging
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from restauth.cli import main
from restauth.core import passwords
from restauth.domain.accounts import Accounts
from restauth.domain.audit import Event, record
from restauth.errors import (
    BadCredentials,
    Refusal,
    StoreUnavailable,
    Throttled,
    UnknownUser,
    UnusableCode,
    UnusableFile,
    UsernameTaken,
)
from restauth.records import Account, Client, IssuedTokens
from restauth.services import Services
from tests.conftest import CHEAPEST, CLIENT, PUBLIC_CLIENT, Clock, ServicesFactory, caller_of, race

NAME, PASSWORD = "miguel", "Zaunkönig-und-Drossel"
WRONG = "Wiedehopf+im+Ginster"
TIME = "2027-01-15T08:00:00Z"  # when the clock of the tests begins


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The events since the last look."""
    messages = [entry.getMessage() for entry in caplog.records if entry.name == "restauth.audit"]
    caplog.clear()
    return [json.loads(message) for message in messages]


def names(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [line["event"] for line in lines(caplog)]


def line(event: str, user_id: int | None = 1, peer: str = CLIENT.peer, **more: object) -> object:
    """What is written of it, whole."""
    return {"time": TIME, "event": event, "user_id": user_id, "peer": peer, **more}


@pytest.fixture
def account(services: Services, caplog: pytest.LogCaptureFixture) -> Account:
    """miguel's, whose registration is not in the log any more."""
    account = services.accounts.find(services.accounts.register(NAME, PASSWORD))
    caplog.clear()
    return account


def fail(services: Services, password: str = WRONG, username: str = NAME) -> None:
    with pytest.raises(BadCredentials):
        services.authentication.authenticate(username, password, CLIENT)


# The form of a line


def test_an_event_is_one_line_of_json_at_level_info(caplog: pytest.LogCaptureFixture) -> None:
    record(Event.SESSION_ENDED, CLIENT, 1_800_000_000, 7, session_id="sid")
    (entry,) = caplog.records
    assert (entry.name, entry.levelname) == ("restauth.audit", "INFO")
    assert entry.getMessage() == (
        f'{{"time": "{TIME}", "event": "session_ended", "user_id": 7, "peer": "192.0.2.7", '
        '"session_id": "sid"}'
    )


def test_an_event_without_a_user_says_so(caplog: pytest.LogCaptureFixture) -> None:
    record(Event.LOGIN_FAILED, CLIENT, 1_800_000_000)
    assert lines(caplog) == [line("login_failed", None)]


@pytest.mark.parametrize(
    "peer",
    [
        pytest.param('192.0.2.7"}\n{"event": "login"}', id="a second line"),
        pytest.param("192.0.2.7\r\0\x1b[2J\x7f", id="control characters"),
        pytest.param("\u2028\u2029\x85", id="line breaks that are not ASCII"),
        pytest.param("\u202emoor\N{SNAKE}", id="right to left"),
        pytest.param("\udcff", id="a lone surrogate"),
        pytest.param("%s %(name)s {0} \\", id="formats"),
    ],
)
def test_what_comes_from_outside_is_escaped(caplog: pytest.LogCaptureFixture, peer: str) -> None:
    record(Event.LOGIN, Client(peer), 1_800_000_000, 1)
    (entry,) = caplog.records
    message = entry.getMessage()
    assert message.isascii()
    assert message.replace("\x7f", "?").isprintable()
    assert json.loads(message)["peer"] == peer


def test_an_event_has_the_name_of_its_member() -> None:
    assert {event.name.lower(): event.value for event in Event} == {
        event.value: event.value for event in Event
    }


# The journey through all that is written


class Journey:
    """Every verb of the two bridges, one after another. `expected` are the lines, and `secrets`
    all that must be in none of them."""

    def __init__(self, services: Services, clock: Clock) -> None:
        self.services = services
        self.accounts, self.authentication = services.accounts, services.authentication
        self.sessions = services.sessions
        self.clock = clock
        self.expected: list[object] = []
        self.secrets: set[str] = {PASSWORD, WRONG}

    def expect(
        self, event: str, user_id: int | None = 1, peer: str = CLIENT.peer, **more: object
    ) -> None:
        self.expected.append(line(event, user_id, peer, **more))

    def authenticate(self, password: str) -> Account:
        self.secrets.add(password)
        account = self.authentication.authenticate(NAME, password, CLIENT)
        self.secrets.add(account.password_hash)
        self.expect("login")
        return account

    def keep(self, grant: IssuedTokens) -> IssuedTokens:
        self.secrets.update(text for text in (grant.token, grant.refresh_token) if text)
        return grant

    def refuse(self, act: Callable[..., object], *arguments: object) -> None:
        with pytest.raises(Refusal):
            act(*arguments)

    def refresh(self, grant: IssuedTokens) -> IssuedTokens:
        assert grant.refresh_token is not None
        return self.keep(self.sessions.refresh(grant.refresh_token, CLIENT))

    def live(self) -> None:
        """From the registration to the end."""
        user_id = self.accounts.register(NAME, PASSWORD, CLIENT)
        assert user_id == 1
        self.expect("registered")
        self.refuse(self.accounts.register, NAME.upper(), WRONG, CLIENT)
        self.expect("registration_failed", None)
        self._log_in_and_out()
        self._refresh()
        self._change_passwords()
        self._be_operated()
        self.accounts.close(self.authenticate(self.second), CLIENT)
        self.expect("deleted")
        susan = self.accounts.find(self.accounts.register("susan", PASSWORD))
        self.secrets.add(susan.password_hash)
        self.expect("registered", 2, "operator")
        self.accounts.delete(susan)
        self.expect("deleted", 2, "operator")

    def _log_in_and_out(self) -> None:
        self.refuse(self.authentication.authenticate, NAME, WRONG, CLIENT)
        self.expect("login_failed")
        for unknown in ("Kuckuck?!", WRONG):  # a password typed into the wrong field
            self.secrets.add(unknown)
            self.refuse(self.authentication.authenticate, unknown, PASSWORD, CLIENT)
            self.expect("login_failed", None)
        account = self.authenticate(PASSWORD)
        grant = self.keep(self.sessions.issue(caller_of(account), CLIENT))
        self.expect("session_started", session_id=grant.session_id)
        caller = self.sessions.identify(grant.token)
        self.keep(self.sessions.issue(caller, CLIENT))
        self.expect("token_renewed", session_id=grant.session_id)
        assert self.sessions.end(caller.user, grant.session_id, CLIENT)
        self.expect("session_ended", session_id=grant.session_id)

    def _refresh(self) -> None:
        account = self.accounts.find(1)
        lost = self.keep(self.sessions.start(account, CLIENT))
        self.expect("session_started", session_id=lost.session_id)
        self.refresh(lost)
        self.expect("refreshed", session_id=lost.session_id)
        self.clock.advance(11)
        self.refuse(self.refresh, lost)
        self.clock.advance(-11)
        self.expect("refresh_reuse", time="2027-01-15T08:00:11Z", session_id=lost.session_id)
        self.refuse(self.refresh, lost)
        self.expect("refresh_failed", None, session_id=lost.session_id)
        for count in (2, 0):
            for _ in range(count):
                grant = self.keep(self.sessions.start(account, CLIENT))
                self.expect("session_started", session_id=grant.session_id)
            self.sessions.end_all(1, CLIENT)
            self.expect("sessions_ended", count=count)
        self.sessions.end_all(1)
        self.expect("sessions_ended", 1, "operator", count=0)

    def _change_passwords(self) -> None:
        first, self.second, third = "Amsel am Morgen", "Elster/am/Abend", "Nachtigall~~~~"
        self.accounts.change_password(self.accounts.find(1), first, CLIENT)
        self.expect("password_changed")
        self.accounts.set_password(self.authenticate(first), third)
        self.expect("password_changed", 1, "operator")
        code = self.accounts.make_reset_code(self.authenticate(third))
        self.expect("reset_code_made", 1, "operator")
        guess = code.partition(".")[0] + "." + "Wachtel_" * 3
        for wrong, whose in ((guess, 1), ("Rebhuhn im Korn", None)):
            self.refuse(self.accounts.reset_password, wrong, self.second, CLIENT)
            self.expect("reset_failed", whose)
        self.accounts.reset_password(code, self.second, CLIENT)
        self.expect("password_reset")
        self.secrets |= {first, self.second, third, code, guess, "Rebhuhn im Korn"}

    def _be_operated(self) -> None:
        account = self.authenticate(self.second)
        self.accounts.lock(account)
        self.expect("locked", 1, "operator")
        self.refuse(self.authentication.authenticate, NAME, self.second, CLIENT)
        self.expect("login_failed")
        self.accounts.unlock(account)
        self.expect("unlocked", 1, "operator")
        self.accounts.change_roles(account, ["editor", "admin"], [])
        self.expect("roles_changed", 1, "operator", roles=["admin", "editor"])
        for _ in range(6):
            self.refuse(self.authentication.authenticate, NAME, WRONG, CLIENT)
            self.expect("login_failed")
        self.expect("throttled", seconds=1)
        self.refuse(self.authentication.authenticate, NAME, self.second, CLIENT)
        self.accounts.unlock(account)
        self.expect("unlocked", 1, "operator")


@pytest.fixture
def journey(make_services: ServicesFactory, clock: Clock) -> Journey:
    return Journey(make_services(credential_cache=0), clock)


def test_a_journey_through_every_verb_yields_exactly_these_lines(
    journey: Journey, caplog: pytest.LogCaptureFixture
) -> None:
    journey.live()
    written = lines(caplog)
    assert written == journey.expected
    assert {entry["event"] for entry in written} == {event.value for event in Event}


def forms(secret: bytes) -> Iterator[str]:
    """The secret as it could stand in a log: plain, escaped, or within something in Base64."""
    text = secret.decode("utf-8", "backslashreplace")
    yield from (text, json.dumps(text)[1:-1], repr(secret)[2:-1], secret.hex())
    for shift in range(3):
        begin, end = -(-shift * 4 // 3), (shift + len(secret)) * 4 // 3  # what is its alone
        for encode in (b64encode, urlsafe_b64encode):
            yield encode(b" " * shift + secret).decode()[begin:end]


def leaks(caplog: pytest.LogCaptureFixture, secrets: set[bytes]) -> set[bytes]:
    """Which of the secrets stand in what any logger was given."""
    log = caplog.text + "".join(repr(vars(entry)) for entry in caplog.records)
    return {secret for secret in secrets if any(form in log for form in forms(secret))}


def test_no_secret_is_ever_logged(journey: Journey, caplog: pytest.LogCaptureFixture) -> None:
    journey.live()
    # also what alone makes a token, a code or a hash hard to guess: its last part
    last_parts = {
        text.rpartition("$" if text.startswith("$") else ".")[2] for text in journey.secrets
    }
    secrets = {text.encode() for text in journey.secrets | last_parts}
    secrets |= {key.secret for key in journey.services.keys.ring.keys}
    assert len(secrets) > 30
    assert leaks(caplog, secrets) == set()
    for secret in (PASSWORD.encode(), journey.services.keys.ring.signing_key.secret):
        for form in forms(secret):  # or the search would not be worth much
            logging.getLogger("any").debug("so %s it is", form)
            assert leaks(caplog, secrets) == {secret}
            caplog.clear()


# What is written once


def test_a_block_is_written_once_and_not_for_each_who_runs_into_it(
    services: Services, account: Account, caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    for _ in range(6):
        fail(services)
    assert lines(caplog) == [*[line("login_failed")] * 6, line("throttled", seconds=1)]
    for password in (WRONG, PASSWORD):
        with pytest.raises(Throttled):
            services.authentication.authenticate(NAME, password, CLIENT)
    assert lines(caplog) == []
    clock.advance(1)
    fail(services)
    assert [entry.get("seconds") for entry in lines(caplog)] == [None, 2]


def test_a_success_is_no_block_though_a_failure_would_have_been(
    services: Services, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        fail(services)
    services.authentication.authenticate(NAME, PASSWORD, CLIENT)
    assert names(caplog) == ["login_failed"] * 5 + ["login"]


def test_a_name_that_is_shut_is_written_with_its_wait(
    make_services: ServicesFactory, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    services = make_services(max_failures=2)
    fail(services)
    fail(services)
    assert lines(caplog)[-1] == line("throttled", seconds=900)


def test_a_block_of_an_unknown_name_is_nobodys(
    services: Services, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(6):
        fail(services, username="nobody")
    assert lines(caplog) == [
        *[line("login_failed", None)] * 6,
        line("throttled", None, seconds=1),
    ]


def test_a_block_for_unknown_codes_is_nobodys(
    make_services: ServicesFactory, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    accounts = make_services(peer_failures=3).accounts
    for expected in (UnusableCode, UnusableCode, UnusableCode, Throttled):
        with pytest.raises(expected):
            accounts.reset_password("A" * 12 + "." + "A" * 24, PASSWORD, PUBLIC_CLIENT)
    peer = PUBLIC_CLIENT.peer
    assert lines(caplog) == [
        *[line("reset_failed", None, peer)] * 3,
        line("throttled", None, peer, seconds=300),
    ]


def test_a_block_of_a_code_is_written_of_its_user(
    services: Services, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    code = services.accounts.make_reset_code(account)
    caplog.clear()
    for _ in range(6):
        with pytest.raises(UnusableCode):
            services.accounts.reset_password(code[:13] + "A" * 24, PASSWORD, CLIENT)
    assert lines(caplog) == [*[line("reset_failed")] * 6, line("throttled", seconds=1)]


def test_a_peer_blocked_for_trying_which_names_are_taken_is_written_once(
    make_services: ServicesFactory, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    accounts = make_services(peer_failures=3).accounts
    for expected in (UsernameTaken, UsernameTaken, UsernameTaken, Throttled):
        with pytest.raises(expected):
            accounts.register(NAME, PASSWORD, PUBLIC_CLIENT)
    peer = PUBLIC_CLIENT.peer
    assert lines(caplog) == [
        *[line("registration_failed", None, peer)] * 3,
        line("throttled", None, peer, seconds=300),
    ]


# What is lost to somebody quicker


def test_a_name_lost_in_a_race_is_written_as_a_failed_registration(
    make_services: ServicesFactory,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    race(
        monkeypatch,
        [make_services(), make_services()],
        "add_user",
        lambda rival: rival.accounts.register(NAME, PASSWORD, CLIENT),
    )
    written = sorted(lines(caplog), key=lambda entry: str(entry["event"]))
    assert written == [line("registered"), line("registration_failed", None)]


def test_a_login_overtaken_while_it_renews_a_hash_is_written_as_failed(
    make_services: ServicesFactory,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    services, rival = make_services(), make_services()
    services.store.add_user(NAME, NAME, passwords.hash(PASSWORD, CHEAPEST + 1), clock())
    stale = services.accounts.find_by_name(NAME)
    renew = services.store.renew_password_hash

    def renew_too_late(user_id: int, old_hash: str, new_hash: str) -> bool:
        rival.accounts.set_password(stale, WRONG)
        return renew(user_id, old_hash, new_hash)

    monkeypatch.setattr(services.store, "renew_password_hash", renew_too_late)
    fail(services, PASSWORD)
    assert lines(caplog) == [line("password_changed", peer="operator"), line("login_failed")]


def test_a_code_used_by_somebody_quicker_is_written_as_failed(
    services: Services,
    account: Account,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    code = services.accounts.make_reset_code(account)
    use = services.store.use_reset_code
    caplog.clear()

    def use_too_late(selector: str, new_hash: str, now: int) -> bool:
        assert use(selector, new_hash, now)
        return use(selector, new_hash, now)

    monkeypatch.setattr(services.store, "use_reset_code", use_too_late)
    with pytest.raises(UnusableCode):
        services.accounts.reset_password(code, WRONG, CLIENT)
    assert lines(caplog) == [line("reset_failed")]


FORGETTING: list[tuple[str, Callable[[Accounts, Account], object]]] = [
    ("registered", lambda accounts, account: accounts.register("susan", PASSWORD, CLIENT)),
    ("password_changed", lambda accounts, account: accounts.set_password(account, WRONG)),
    (
        "password_reset",
        lambda accounts, account: accounts.reset_password(
            accounts.make_reset_code(account), WRONG, CLIENT
        ),
    ),
    ("unlocked", lambda accounts, account: accounts.unlock(account)),
    ("deleted", lambda accounts, account: accounts.delete(account)),
    ("deleted", lambda accounts, account: accounts.close(account, CLIENT)),
]


@pytest.mark.parametrize(("event", "happen"), FORGETTING)
def test_what_has_happened_is_written_though_no_failure_can_be_forgotten(
    services: Services,
    account: Account,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    event: str,
    happen: Callable[[Accounts, Account], object],
) -> None:
    forget = services.store.forget_failures

    def forget_too_late(name: str) -> None:
        services.settings.database.unlink()
        services.engine._next_look = 0  # or the engine would look in a second
        forget(name)

    monkeypatch.setattr(services.store, "forget_failures", forget_too_late)
    with pytest.raises(StoreUnavailable):
        happen(services.accounts, account)
    assert names(caplog)[-1] == event


# What is not written


def test_what_only_looks_writes_nothing(
    services: Services, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    account = services.authentication.authenticate(NAME, PASSWORD, CLIENT)
    caller = services.sessions.identify(services.sessions.issue(caller_of(account), CLIENT).token)
    caplog.clear()
    services.authentication.authenticate(
        NAME, PASSWORD, CLIENT
    )  # remembered: one a request would flood
    services.accounts.find(account.id)
    services.accounts.find_by_name(NAME)
    list(services.accounts.list())
    services.sessions.list(caller.user)
    services.sessions.identify(services.sessions.preview(caller, CLIENT).token)
    services.sessions.preview(caller_of(account), CLIENT)
    for garbage in ("", "a.b.c", "r1.kid.sid.0.seal"):  # whose it is, nobody could say
        with pytest.raises(BadCredentials):
            services.sessions.identify(garbage)
        with pytest.raises(BadCredentials):
            services.sessions.refresh(garbage, CLIENT)
    assert lines(caplog) == []


REFUSED: dict[str, Callable[[Services, Account], object]] = {
    "password changed": lambda services, account: services.accounts.change_password(
        account, WRONG, CLIENT
    ),
    "password set": lambda services, account: services.accounts.set_password(account, WRONG),
    "reset code made": lambda services, account: services.accounts.make_reset_code(account),
    "locked": lambda services, account: services.accounts.lock(account),
    "unlocked": lambda services, account: services.accounts.unlock(account),
    "roles changed": lambda services, account: services.accounts.change_roles(account, ["a"], []),
    "deleted": lambda services, account: services.accounts.delete(account),
    "closed": lambda services, account: services.accounts.close(account, CLIENT),
    "granted": lambda services, account: services.sessions.issue(caller_of(account), CLIENT),
    "started": lambda services, account: services.sessions.start(account, CLIENT),
}


@pytest.mark.parametrize("act", REFUSED.values(), ids=REFUSED.keys())
def test_what_did_not_happen_is_not_written(
    services: Services,
    account: Account,
    caplog: pytest.LogCaptureFixture,
    act: Callable[[Services, Account], object],
) -> None:
    services.accounts.delete(account)
    caplog.clear()
    with pytest.raises((BadCredentials, UnknownUser)):
        act(services, account)
    assert lines(caplog) == []


def test_a_session_that_is_not_ones_own_ends_neither_in_fact_nor_in_the_log(
    services: Services, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    user = caller_of(account).user
    caplog.clear()
    assert not services.sessions.end(user, "A" * 22, CLIENT)
    assert lines(caplog) == []


# A file of its own


@pytest.fixture
def audit_log(tmp_path: Path) -> Iterator[Path]:
    """A path for the log; what was hung on the logger is taken off it again."""
    logger = logging.getLogger("restauth.audit")
    before = list(logger.handlers), logger.level
    yield tmp_path / "audit.log"
    for handler in set(logger.handlers) - set(before[0]):
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(before[1])


def events_in(path: Path) -> list[object]:
    return [json.loads(text)["event"] for text in path.read_text().splitlines()]


def test_servers_and_commands_write_to_one_private_file(
    make_services: ServicesFactory,
    audit_log: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESTAUTH_AUDIT_LOG", "audit.log")
    make_services(audit_log="audit.log").accounts.register(NAME, PASSWORD)
    assert main.main(["user", "lock", NAME]) == 0
    assert events_in(audit_log) == ["registered", "locked"]  # each once
    assert audit_log.stat().st_mode & 0o777 == 0o600


def test_a_log_that_was_moved_away_is_begun_anew(
    make_services: ServicesFactory, audit_log: Path
) -> None:
    services = make_services(audit_log=str(audit_log))
    services.accounts.register(NAME, PASSWORD)
    audit_log.rename(audit_log.with_suffix(".1"))
    services.accounts.lock(services.accounts.find_by_name(NAME))
    assert events_in(audit_log) == ["locked"]
    assert events_in(audit_log.with_suffix(".1")) == ["registered"]


def test_a_log_that_cannot_be_written_stops_the_start(
    make_services: ServicesFactory, audit_log: Path
) -> None:
    with pytest.raises(UnusableFile, match=r"audit\.log/x cannot be written: No such file"):
        make_services(audit_log=str(audit_log / "x"))
