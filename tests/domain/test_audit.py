"""The audit log: every event in its form, at its time, once; and never a secret."""

import json
import logging
import sqlite3
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from restauth.cli import main
from restauth.domain.audit import AuditLog, Event
from restauth.errors import (
    BadCredentials,
    NotReady,
    Refusal,
    Throttled,
    UnknownUser,
    UnusableFile,
)
from restauth.records import Account, Client, IssuedTokens
from restauth.services import Services
from restauth.settings import is_postgres
from restauth.storage.rest_auth_file import open_rest_auth_file
from restauth.testing import Clock
from tests.conftest import CLIENT, PUBLIC_CLIENT, ServicesFactory
from tests.databases import without_database
from tests.domain.actions import events, session_of, verify

NAME, PASSWORD = "miguel", "Zaunkönig-und-Drossel"
WRONG = "Wiedehopf+im+Ginster"
TIME = "2027-01-15T08:00:00Z"  # when the clock of the tests begins


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


def line(event: str, user_id: int | None = 1, peer: str = CLIENT.peer, **more: object) -> object:
    """What is written of it, whole."""
    return {"time": TIME, "event": event, "user_id": user_id, "peer": peer, **more}


@pytest.fixture
def account(services: Services, caplog: pytest.LogCaptureFixture) -> Account:
    """Of miguel, whose registration is not in the log any more."""
    account = services.accounts.register(NAME, PASSWORD)
    caplog.clear()
    return account


# The form of a line


def test_an_event_is_one_line_of_json_at_level_info(
    caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    log = AuditLog(None, clock)
    log.record(Event.SESSION_ENDED, CLIENT, 7, session_id="sid")
    (entry,) = caplog.records
    assert (entry.name, entry.levelname) == ("restauth.audit", "INFO")
    assert entry.getMessage() == (
        f'{{"time": "{TIME}", "event": "session_ended", "user_id": 7, "peer": "192.0.2.7", '
        '"session_id": "sid"}'
    )
    caplog.clear()
    log.record(Event.LOGIN_FAILED, CLIENT)
    assert events(caplog) == [line("login_failed", None)]
    log.close()  # there is nothing to close


def test_what_comes_from_outside_is_escaped(caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    for peer in (
        '192.0.2.7"}\n{"event": "login"}',
        "192.0.2.7\r\0\x1b[2J\x7f",
        "\u2028\u2029\x85\u202emoor\N{SNAKE}\udcff",
        "%s %(name)s {0} \\",
    ):
        caplog.clear()
        AuditLog(None, clock).record(Event.LOGIN, Client(peer), 1)
        (entry,) = caplog.records
        message = entry.getMessage()
        assert message.isascii()
        assert message.replace("\x7f", "?").isprintable()
        assert json.loads(message)["peer"] == peer


def test_an_event_has_the_name_of_its_member() -> None:
    assert [event.value for event in Event] == [event.name.lower() for event in Event]


# The journey through all that is written


class Journey:
    """Every verb, one after another. `expected` are the lines, and `secrets` all that must be in
    none of them."""

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

    def keep(self, issued: IssuedTokens) -> IssuedTokens:
        self.secrets.update(text for text in (issued.token, issued.refresh_token) if text)
        return issued

    def refuse(self, act: Callable[..., object], *arguments: object) -> None:
        with pytest.raises(Refusal):
            act(*arguments)

    def live(self) -> None:
        """From the registration to the end."""
        assert self.accounts.register(NAME, PASSWORD, CLIENT).id == 1
        self.expect("registered")
        self.refuse(self.accounts.register, NAME.upper(), WRONG, CLIENT)
        self.expect("registration_failed", None)
        self._log_in_and_out()
        self._refresh()
        self._make_api_keys()
        self._change_passwords()
        self._be_operated()
        self._change_keys()
        self._copy()
        self.accounts.close(self.authenticate(self.second), CLIENT)
        self.expect("deleted")
        self._invite()
        susan = self.accounts.register("susan", PASSWORD)
        self.secrets.add(susan.password_hash)
        self.expect("registered", 3, "operator")
        self.accounts.delete(susan)
        self.expect("deleted", 3, "operator")

    def _invite(self) -> None:
        for roles in ((), ("editor",)):
            code, invitation = self.services.invitations.make(roles)
            self.secrets.add(code)
            shown = {"invitation": invitation.id}
            self.expect("invitation_made", None, "operator", **shown, roles=list(roles))
        self.services.invitations.revoke(invitation.id)
        self.expect("invitation_revoked", None, "operator", **shown)
        self.refuse(partial(self.accounts.register, invitation=code), "ada", PASSWORD, CLIENT)
        self.expect("registration_failed", None)
        code, invitation = self.services.invitations.make()
        self.secrets.add(code)
        shown = {"invitation": invitation.id}
        self.expect("invitation_made", None, "operator", **shown, roles=[])
        ada = self.accounts.register("ada", PASSWORD, CLIENT, invitation=code).id
        self.secrets.add(self.accounts.find(ada).password_hash)
        self.expect("registered", 2, **shown)

    def _log_in_and_out(self) -> None:
        self.refuse(self.authentication.authenticate, NAME, WRONG, CLIENT)
        self.expect("login_failed")
        for unknown in ("Kuckuck?!", WRONG):  # a password typed into the wrong field
            self.secrets.add(unknown)
            self.refuse(self.authentication.authenticate, unknown, PASSWORD, CLIENT)
            self.expect("login_failed", None)
        issued = self.keep(self.sessions.issue(self.authenticate(PASSWORD), CLIENT))
        self.expect("session_started", session_id=issued.session_id)
        self.keep(self.sessions.issue(session_of(self.services, issued.token), CLIENT))
        self.expect("token_renewed", session_id=issued.session_id)
        user = verify(self.services, issued.token).user
        assert self.sessions.end(user, issued.session_id, CLIENT)
        self.expect("session_ended", session_id=issued.session_id)

    def _refresh(self) -> None:
        account = self.accounts.find(1)
        lost = self.keep(self.sessions.start(account, CLIENT))
        self.expect("session_started", session_id=lost.session_id)
        self.keep(self.sessions.refresh(str(lost.refresh_token), CLIENT))
        self.expect("refreshed", session_id=lost.session_id)
        self.clock.advance(11)
        self.refuse(self.sessions.refresh, lost.refresh_token, CLIENT)
        self.clock.advance(-11)
        self.expect("refresh_reuse", time="2027-01-15T08:00:11Z", session_id=lost.session_id)
        self.refuse(self.sessions.refresh, lost.refresh_token, CLIENT)
        self.expect("refresh_failed", None, session_id=lost.session_id)
        for _ in range(2):
            issued = self.keep(self.sessions.start(account, CLIENT))
            self.expect("session_started", session_id=issued.session_id)
        self.sessions.end_all(1, CLIENT)
        self.expect("sessions_ended", count=2)
        self.sessions.end_all(1)
        self.expect("sessions_ended", 1, "operator", count=0)

    def _make_api_keys(self) -> None:
        api_keys, account = self.services.api_keys, self.accounts.find(1)
        for _ in range(2):
            issued = api_keys.make(account, "Kiebitz", CLIENT)
            self.expect("api_key_made", key_id=issued.key.id)
            self.secrets |= {issued.text, issued.text[25:], issued.key.secret_digest}
            verify(self.services, issued.text)  # no use is an event
        self.refuse(api_keys.make, account, "", CLIENT)
        assert api_keys.end(1, issued.key.id, CLIENT)
        self.expect("api_key_ended", key_id=issued.key.id)
        assert not api_keys.end(1, issued.key.id, CLIENT)
        api_keys.end_all(1, CLIENT)
        self.expect("api_keys_ended", count=1)
        api_keys.end_all(1)
        self.expect("api_keys_ended", 1, "operator", count=0)

    def _change_passwords(self) -> None:
        first, self.second, third = "Amsel am Morgen", "Elster/am/Abend", "Nachtigall~~~~"
        self.accounts.change_password(self.accounts.find(1), first, CLIENT)
        self.expect("password_changed")
        self.accounts.set_password(self.authenticate(first), third)
        self.expect("password_changed", 1, "operator")
        code = self.accounts.make_reset_code(self.authenticate(third)).code
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
        self.accounts.rename(account, NAME.upper())
        self.expect("renamed", 1, "operator")
        self.accounts.change_roles(account, ["editor", "admin"], [])
        self.expect("roles_changed", 1, "operator", roles=["admin", "editor"])
        self.accounts.set_roles(account, [])
        self.expect("roles_changed", 1, "operator", roles=[])
        for _ in range(6):
            self.refuse(self.authentication.authenticate, NAME, WRONG, CLIENT)
            self.expect("login_failed")
        self.expect("throttled", seconds=1)
        self.refuse(self.authentication.authenticate, NAME, self.second, CLIENT)
        self.accounts.unlock(account)
        self.expect("unlocked", 1, "operator")

    def _change_keys(self) -> None:
        keys = self.services.keys
        first = keys.ring.signing_key.kid
        second = keys.rotate(revoke=False).signing_key.kid
        self.expect("key_rotated", None, "operator", kid=second, algorithm="HS256")
        keys.prune()  # there is nothing to prune, and nothing to say
        third = keys.rotate(revoke=True).signing_key.kid
        self.expect("key_rotated", None, "operator", kid=third, algorithm="HS256")
        self.expect("keys_revoked", None, "operator", kids=[second, first])
        fourth = keys.rotate(revoke=False).signing_key.kid
        self.expect("key_rotated", None, "operator", kid=fourth, algorithm="HS256")
        fifth = keys.add().keys[1].kid
        self.expect("key_added", None, "operator", kid=fifth, algorithm="HS256")
        keys.activate(fifth)
        self.expect("key_activated", None, "operator", kid=fifth, algorithm="HS256")
        self.clock.advance(10_000_000)
        keys.prune()
        self.clock.advance(-10_000_000)
        self.expect(
            "keys_pruned", None, "operator", time="2027-05-11T01:46:40Z", kids=[fourth, third]
        )

    def _copy(self) -> None:
        """A backup, a copy, and an import of nobody."""
        copy = Path(self.services.settings.key_file).with_name("copy.db")
        if is_postgres(self.services.settings.database):
            with pytest.raises(UnusableFile):
                self.services.backup(copy)
        else:
            self.services.backup(copy)
            self.expect("backed_up", None, "operator", file=str(copy))
        other = str(copy.with_name("other.db"))
        self.services.copy(other, void)
        users = self.services.accounts.list()
        self.expect("copied", None, "operator", to=other, users=len(list(users)))
        seed = copy.with_name("db.sqlite")
        with closing(sqlite3.connect(seed)) as connection:
            connection.execute("CREATE TABLE users (id INTEGER, username, password_hash)")
        with open_rest_auth_file(seed) as source:
            for dry_run in (True, False):
                self.services.import_users(source, void, dry_run=dry_run)
        self.expect("imported", None, "operator", users=0, new=0)


@pytest.fixture
def journey(make_services: ServicesFactory, clock: Clock) -> Journey:
    return Journey(make_services(credential_cache=0), clock)


def test_a_journey_through_every_verb_yields_exactly_these_lines(
    journey: Journey, caplog: pytest.LogCaptureFixture
) -> None:
    journey.live()
    written = events(caplog)
    assert written == journey.expected
    elsewhere = {"events_lost"}  # of a log in a file alone
    if is_postgres(journey.services.settings.database):
        elsewhere.add("backed_up")
    assert {entry["event"] for entry in written} | elsewhere == {event.value for event in Event}


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


Act = Callable[[Services, str], object]


def log_in_as(username: str) -> Act:
    return lambda services, _: services.authentication.authenticate(username, WRONG, CLIENT)


def test_the_last_account_that_a_peer_may_make_is_written_with_its_wait(
    make_services: ServicesFactory, caplog: pytest.LogCaptureFixture
) -> None:
    services = make_services(peer_registrations=2)
    for name in ("ada", "bob"):
        services.accounts.register(name, PASSWORD, PUBLIC_CLIENT)
    for _ in range(3):
        with pytest.raises(Throttled):
            services.accounts.register("carl", PASSWORD, PUBLIC_CLIENT)
    assert events(caplog) == [
        line("registered", 1, PUBLIC_CLIENT.peer),
        line("registered", 2, PUBLIC_CLIENT.peer),
        line("throttled", None, PUBLIC_CLIENT.peer, seconds=3600),
    ]


@pytest.mark.parametrize(
    ("act", "times", "event", "user_id", "client", "seconds"),
    [
        pytest.param(log_in_as(NAME), 6, "login_failed", 1, CLIENT, 1, id="a name"),
        pytest.param(log_in_as("nobody"), 6, "login_failed", None, CLIENT, 1, id="unknown"),
        pytest.param(
            lambda services, code: services.accounts.reset_password(
                code[:13] + "A" * 24, PASSWORD, CLIENT
            ),
            *(6, "reset_failed", 1, CLIENT, 1),
            id="a code",
        ),
        pytest.param(
            lambda services, _: services.accounts.register(NAME, PASSWORD, PUBLIC_CLIENT),
            *(8, "registration_failed", None, PUBLIC_CLIENT, 300),
            id="taken names",
        ),
    ],
)
def test_a_wait_is_written_once_and_not_for_each_who_runs_into_it(
    make_services: ServicesFactory,
    account: Account,
    caplog: pytest.LogCaptureFixture,
    act: Act,
    times: int,
    event: str,
    user_id: int | None,
    client: Client,
    seconds: int,
) -> None:
    services = make_services(peer_failures=8)
    code = services.accounts.make_reset_code(account).code
    caplog.clear()
    for _ in range(times):
        with pytest.raises(Refusal):
            act(services, code)
    assert events(caplog) == [
        *[line(event, user_id, client.peer)] * times,
        line("throttled", user_id, client.peer, seconds=seconds),
    ]
    with pytest.raises(Throttled):
        act(services, code)
    assert events(caplog) == []


def test_a_success_is_no_wait_though_a_failure_would_have_begun_one(
    services: Services, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        with pytest.raises(BadCredentials):
            services.authentication.authenticate(NAME, WRONG, CLIENT)
    services.authentication.authenticate(NAME, PASSWORD, CLIENT)
    assert [entry["event"] for entry in events(caplog)] == ["login_failed"] * 5 + ["login"]


def test_what_has_happened_is_done_and_written_though_no_failure_can_be_reset(
    services: Services,
    account: Account,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    accounts = services.accounts
    other = accounts.register("ada", PASSWORD)
    code = accounts.make_reset_code(account).code
    reset = services._resources.store.reset_failures

    def reset_in_vain(name: str) -> None:
        with without_database(services):
            reset(name)

    acts: list[tuple[str, Callable[[], object]]] = [
        ("password_reset", lambda: accounts.reset_password(code, WRONG, CLIENT)),
        ("registered", lambda: accounts.register("susan", PASSWORD, CLIENT)),
        ("password_changed", lambda: accounts.set_password(account, WRONG)),
        ("unlocked", lambda: accounts.unlock(account)),
        ("deleted", lambda: accounts.delete(account)),
        ("deleted", lambda: accounts.close(other, CLIENT)),
    ]
    for event, act in acts:
        caplog.clear()
        with monkeypatch.context() as patch:
            patch.setattr(services._resources.store, "reset_failures", reset_in_vain)
            act()
        assert [entry["event"] for entry in events(caplog)] == [event]


# What is not written


def test_what_only_looks_or_fails_without_an_account_writes_nothing(
    services: Services, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    services.authentication.authenticate(NAME, PASSWORD, CLIENT)
    session = session_of(services, services.sessions.start(account, CLIENT).token)
    user = verify(services, services.sessions.preview(session, CLIENT).token).user
    caplog.clear()
    # a cached password: one line a request would flood the log
    services.authentication.authenticate(NAME, PASSWORD, CLIENT)
    services.accounts.find_by_name(NAME)
    list(services.accounts.list())
    services.sessions.list(user.id)
    services.sessions.preview(account, CLIENT)
    for garbage in ("", "a.b.c", "r1.kid.sid.0.seal"):  # whose it is, nobody could say
        with pytest.raises(BadCredentials):
            verify(services, garbage)
        with pytest.raises(BadCredentials):
            services.sessions.refresh(garbage, CLIENT)
    assert not services.sessions.end(user, "A" * 22, CLIENT)
    assert events(caplog) == []


def test_what_did_not_happen_is_not_written(
    services: Services, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    accounts, sessions = services.accounts, services.sessions
    accounts.delete(account)
    caplog.clear()
    acts: list[Callable[[], object]] = [
        lambda: accounts.change_password(account, WRONG, CLIENT),
        lambda: accounts.set_password(account, WRONG),
        lambda: accounts.make_reset_code(account).code,
        lambda: accounts.lock(account),
        lambda: accounts.unlock(account),
        lambda: accounts.set_roles(account, ["a"]),
        lambda: accounts.delete(account),
        lambda: accounts.close(account, CLIENT),
        lambda: sessions.issue(account, CLIENT),
        lambda: sessions.start(account, CLIENT),
    ]
    for act in acts:
        with pytest.raises((BadCredentials, UnknownUser)):
            act()
    assert events(caplog) == []


# A file of its own


def events_in(path: Path) -> list[object]:
    return [json.loads(text)["event"] for text in path.read_text("ascii").splitlines()]


def test_servers_and_commands_write_to_one_private_file(
    make_services: ServicesFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESTAUTH_AUDIT_LOG", "audit.log")
    logging.getLogger().setLevel(logging.ERROR)  # of the root, which is not asked
    make_services(audit_log="audit.log").accounts.register(NAME, PASSWORD)
    assert main.main(["user", "lock", NAME]) == 0
    log = tmp_path / "audit.log"
    assert events_in(log) == ["registered", "locked"]  # each once
    assert log.stat().st_mode & 0o777 == 0o600
    assert events(caplog) == []  # and no other logger has it


def test_each_service_writes_to_its_own_file_until_it_is_closed(
    make_services: ServicesFactory, tmp_path: Path
) -> None:
    paths = [tmp_path / "a.log", tmp_path / "b.log"]
    a, b = (make_services(audit_log=str(path)) for path in paths)
    a.accounts.register("ada", PASSWORD)
    b.accounts.register("bert", PASSWORD)
    a.close()
    b.accounts.lock(b.accounts.find(1))
    assert [events_in(path) for path in paths] == [["registered"], ["registered", "locked"]]
    files = [service.audit._file for service in (a, b)]
    assert [file is not None and file._descriptor is not None for file in files] == [False, True]


def test_a_log_that_was_moved_away_is_begun_anew(
    make_services: ServicesFactory, tmp_path: Path
) -> None:
    log = tmp_path / "audit.log"
    services = make_services(audit_log=str(log))
    services.accounts.register(NAME, PASSWORD)
    log.rename(tmp_path / "audit.log.1")
    services.accounts.lock(services.accounts.find(1))
    assert events_in(log) == ["locked"]
    assert events_in(tmp_path / "audit.log.1") == ["registered"]
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_log_that_cannot_be_written_stops_the_start_and_nothing_is_made(
    make_services: ServicesFactory, tmp_path: Path
) -> None:
    with pytest.raises(UnusableFile, match=r"audit\.log/x .*No such file"):
        make_services(audit_log=str(tmp_path / "audit.log" / "x"))
    assert list(tmp_path.iterdir()) == []


# A file that cannot be written under way


def move_away(log: Path) -> Callable[[], None]:
    """The directory is gone."""
    away = log.parent.rename(log.parent.with_name("away"))
    return lambda: void(away.rename(log.parent))


def fill_the_disk(log: Path) -> Callable[[], None]:
    """Every byte is refused."""
    log.unlink(missing_ok=True)
    log.symlink_to("/dev/full")
    return log.unlink


def put_a_directory(log: Path) -> Callable[[], None]:
    """Its name is taken."""
    log.unlink(missing_ok=True)
    log.mkdir()
    return log.rmdir


def void(_: object) -> None:
    """For a lambda that returns nothing."""


TROUBLES = [move_away, fill_the_disk, put_a_directory]


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [entry.getMessage() for entry in caplog.records if entry.name == "restauth"]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_log_that_cannot_be_written_stops_nobody_and_is_told_once(
    trouble: Callable[[Path], Callable[[], None]],
    make_services: ServicesFactory,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The whole journey, each verb of it, and its store at the end as without any trouble."""
    log = tmp_path / "logs" / "audit.log"
    log.parent.mkdir()
    services = make_services(audit_log=str(log), credential_cache=0)
    caplog.clear()
    mend = trouble(log)
    clock = services.clock
    assert isinstance(clock, Clock)
    journey = Journey(services, clock)
    journey.live()
    lost = len(journey.expected)
    (complaint,) = complaints(caplog)
    assert complaint.startswith(f"The audit log {log} cannot be written: ")
    assert services.audit.fault is not None
    for _ in range(2):
        with pytest.raises(NotReady) as caught:
            services.ping()
        assert caught.value.cause == ""  # it would be logged at each look
    mend()
    services.ping()  # and writing resumes, without an event too
    assert events_in(log) == ["events_lost"]
    services.accounts.register(NAME, PASSWORD)
    written = [json.loads(text) for text in log.read_text().splitlines()]
    assert written[0] == line("events_lost", None, "operator", count=lost)
    assert [entry["event"] for entry in written] == ["events_lost", "registered"]
    assert complaints(caplog)[1:] == [f"The audit log {log} is written again; {lost} events lost."]
    assert capsys.readouterr().err == ""  # no traceback of logging's


def test_a_log_that_went_without_an_event_makes_health_red_and_loses_nothing(
    make_services: ServicesFactory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = tmp_path / "logs" / "audit.log"
    log.parent.mkdir()
    services = make_services(audit_log=str(log))
    services.ping()
    mend = move_away(log)
    with pytest.raises(NotReady):
        services.ping()
    mend()
    services.accounts.register(NAME, PASSWORD)
    assert events_in(log) == ["registered"]
    assert complaints(caplog)[-1].endswith("is written again; 0 events lost.")


def test_a_service_without_a_file_has_none_to_lose(services: Services) -> None:
    services.audit.check()
    services.ping()
    assert services.audit.fault is None


@pytest.mark.parametrize("trouble", TROUBLES)
def test_the_operator_can_lock_while_the_log_cannot_be_written(
    trouble: Callable[[Path], Callable[[], None]],
    services: Services,
    account: Account,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = tmp_path / "logs" / "audit.log"
    log.parent.mkdir()
    trouble(log)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESTAUTH_AUDIT_LOG", str(log))
    assert main.main(["user", "lock", NAME]) == 0
    out, err = capsys.readouterr()
    assert out == f"locked {NAME}; all sessions and API keys have ended\n"
    assert err.startswith(f"restauth: The audit log {log} cannot be written: ")
    assert err.count("\n") == 1
    assert services.accounts.find(account.id).locked_at is not None


# Without end


def test_failures_that_cost_nothing_do_not_fill_the_disk(
    services: Services, account: Account, caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    """From a private address, which no throttle stops; and each client has its own count."""
    client, other = Client("10.0.0.9"), Client("10.0.0.10")
    ended = services.sessions.start(account, client).refresh_token
    assert ended is not None
    services.sessions.end_all(account.id)
    caplog.clear()
    acts: dict[str, Callable[[Client], object]] = {
        "registration_failed": lambda who: services.accounts.register(NAME, PASSWORD, who),
        "reset_failed": lambda who: services.accounts.reset_password("x" * 40, PASSWORD, who),
        "refresh_failed": lambda who: services.sessions.refresh(ended, who),
    }
    for event, act in acts.items():
        for who, times, counts in ((client, 100, [32, 64]), (other, 3, [])):
            for _ in range(times):
                with pytest.raises(Refusal):
                    act(who)
            lines = events(caplog)
            assert {(line["event"], line["peer"]) for line in lines} == {(event, who.peer)}
            assert len(lines) == min(times, 20) + len(counts)
            assert [line["count"] for line in lines if "count" in line] == counts
    clock.advance(60)
    with pytest.raises(Refusal):
        acts["reset_failed"](client)
    assert len(events(caplog)) == 1


def test_what_needs_a_credential_has_a_line_each(
    services: Services, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    session = session_of(services, services.sessions.issue(account, CLIENT).token)
    caplog.clear()
    for _ in range(100):
        services.sessions.issue(session, CLIENT)
    assert len(events(caplog)) == 100
