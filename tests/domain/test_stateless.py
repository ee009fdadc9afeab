"""A token far from the store: what the keys alone can tell, and what they cannot."""

import json
import os
import shutil
import subprocess
import sys
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier, Event
from typing import Any, get_args
from wsgiref.validate import validator

import pytest
import webtest

from restauth import create_app, settings
from restauth.core.keyring import Algorithm
from restauth.domain.stateless import StatelessTokens
from restauth.errors import BadCredentials, UnusableKeyRing
from restauth.records import User
from restauth.services import Services, start_stateless_services
from tests.conftest import CLIENT, Clock, ServicesFactory, basic, bearer, by_password, client_of
from tests.processes import PATIENCE, environ
from tests.test_journeys import examples

NAME, PASSWORD = "miguel", "python"
ASYMMETRIC = [algorithm for algorithm in get_args(Algorithm) if algorithm != "HS256"]


@pytest.fixture
def services(services: Services) -> Services:
    """Where tokens are minted: miguel is an editor."""
    accounts = services.accounts
    accounts.change_roles(accounts.find(accounts.register(NAME, PASSWORD)), ["editor"], [])
    return services


@pytest.fixture
def copy(services: Services, tmp_path: Path) -> Path:
    """The key ring alone, on another machine."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    return Path(shutil.copy(services.settings.key_file, elsewhere / "restauth.keys"))


Start = Callable[..., StatelessTokens]


@pytest.fixture
def start(copy: Path, clock: Clock) -> Start:
    """What verifies there, with any settings as keywords."""

    def start(**keywords: object) -> StatelessTokens:
        files = {"database": copy.with_name("restauth.db"), "key_file": copy}
        return start_stateless_services(settings.load({}, {**files, **keywords}), clock).tokens

    return start


def log_in(services: Services) -> str:
    return services.sessions.issue(by_password(services, NAME, PASSWORD), CLIENT).token


def is_good(tokens: StatelessTokens, token: str) -> bool:
    try:
        tokens.identify(token)
    except BadCredentials:
        return False
    return True


def send_over(services: Services, copy: Path) -> None:
    """Put the ring of this moment in the place of the copy, as a careful operator does."""
    fresh = copy.with_name("fresh")
    shutil.copy(services.settings.key_file, fresh)
    fresh.rename(copy)


def save_public_keys(services: Services, copy: Path) -> None:
    """Put there what anybody may see of the keys."""
    fresh = copy.with_name("fresh")
    fresh.touch(mode=0o600)
    fresh.write_bytes(client_of(services).get("/.well-known/jwks.json").body)
    fresh.rename(copy)


# The deal


def test_a_token_says_whom_it_was_made_for(services: Services, start: Start) -> None:
    token = log_in(services)
    session_id = services.sessions.identify(token).user.session_id
    assert start().identify(token) == User(1, NAME, ("editor",), session_id, "token")


def test_a_token_is_good_until_it_expires_and_no_second_longer(
    services: Services, start: Start, clock: Clock
) -> None:
    tokens, token = start(), log_in(services)
    clock.advance(599)
    assert is_good(tokens, token)
    clock.advance(1)
    assert not is_good(tokens, token)


@pytest.mark.parametrize("event", ["end-sessions", "lock", "delete", "passwd"])
def test_what_only_the_store_knows_does_not_end_a_token(
    services: Services, start: Start, clock: Clock, event: str
) -> None:
    token = log_in(services)
    account = services.accounts.find(1)
    match event:
        case "end-sessions":
            services.sessions.end_all(account.id)
        case "lock":
            services.accounts.lock(account)
        case "delete":
            services.accounts.delete(account)
        case "passwd":
            services.accounts.set_password(account, "another")
    with pytest.raises(BadCredentials):
        services.sessions.identify(token)
    tokens = start()
    assert tokens.identify(token).username == NAME
    clock.advance(600)
    assert not is_good(tokens, token)


def test_the_roles_are_those_that_the_token_was_given(services: Services, start: Start) -> None:
    token = log_in(services)
    services.accounts.change_roles(services.accounts.find(1), ["admin"], ["editor"])
    assert start().identify(token).roles == ("editor",)
    assert start().identify(log_in(services)).roles == ("admin",)


# What is refused


def altered(token: str) -> str:
    """The same token for another user, under the same signature."""
    header, payload, signature = token.split(".")
    claims = json.loads(urlsafe_b64decode(payload + "=="))
    claims["roles"] = ["admin"]
    raw = json.dumps(claims, separators=(",", ":")).encode()
    return f"{header}.{urlsafe_b64encode(raw).rstrip(b'=').decode()}.{signature}"


def test_a_token_that_was_altered_is_refused(services: Services, start: Start) -> None:
    tokens, token = start(), log_in(services)
    assert is_good(tokens, token)
    for forged in (altered(token), token[:-4] + "AAAA", token.rpartition(".")[0] + ".", ""):
        assert not is_good(tokens, forged)
    assert is_good(tokens, token)


def test_a_token_of_a_key_that_is_not_there_is_refused(
    make_services: ServicesFactory, tmp_path: Path, start: Start
) -> None:
    other = make_services(database=tmp_path / "other.db", key_file=tmp_path / "other.keys")
    other.accounts.register(NAME, PASSWORD)
    assert not is_good(start(), log_in(other))


@pytest.mark.parametrize(
    "keywords", [{"issuer": "other"}, {"audience": "other"}, {"token_duration": 599}], ids=str
)
def test_a_token_made_under_other_settings_is_refused(
    services: Services, start: Start, keywords: dict[str, object]
) -> None:
    assert not is_good(start(**keywords), log_in(services))


def test_a_refresh_token_is_no_access_token(services: Services, start: Start) -> None:
    account = services.authentication.authenticate(NAME, PASSWORD, CLIENT)
    grant = services.sessions.start(account, CLIENT)
    assert is_good(start(), grant.token)
    assert not is_good(start(), str(grant.refresh_token))


# The keys


def test_a_ring_that_is_replaced_counts_from_the_next_token_on(
    services: Services, copy: Path, start: Start
) -> None:
    tokens, old = start(), log_in(services)
    services.keys.rotate(revoke=False)
    new = log_in(services)
    assert (is_good(tokens, old), is_good(tokens, new)) == (True, False)
    send_over(services, copy)
    assert (is_good(tokens, old), is_good(tokens, new)) == (True, True)
    services.keys.rotate(revoke=True)
    send_over(services, copy)
    assert (is_good(tokens, old), is_good(tokens, new)) == (False, False)
    assert is_good(tokens, log_in(services))


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_the_public_halves_are_enough_to_verify_and_not_to_serve(
    services: Services, copy: Path, start: Start, algorithm: Algorithm
) -> None:
    pytest.importorskip("cryptography")
    of_a_secret = log_in(services)
    services.keys.rotate(revoke=False, algorithm=algorithm)
    save_public_keys(services, copy)
    assert b'"d"' not in copy.read_bytes()
    tokens, token = start(), log_in(services)
    assert tokens.identify(token).username == NAME
    assert not is_good(tokens, altered(token))
    assert not is_good(tokens, of_a_secret), "it has no public half"
    database = copy.with_name("restauth.db")
    with pytest.raises(UnusableKeyRing):
        create_app(database=database, key_file=copy)
    assert not database.exists()


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_public_halves_that_are_saved_anew_count_from_the_next_token_on(
    services: Services, copy: Path, start: Start, algorithm: Algorithm
) -> None:
    pytest.importorskip("cryptography")
    services.keys.rotate(revoke=True, algorithm=algorithm)
    save_public_keys(services, copy)
    tokens, old = start(), log_in(services)
    services.keys.rotate(revoke=False)
    new = log_in(services)
    assert (is_good(tokens, old), is_good(tokens, new)) == (True, False)
    save_public_keys(services, copy)
    assert (is_good(tokens, old), is_good(tokens, new)) == (True, True)
    services.keys.rotate(revoke=True)
    save_public_keys(services, copy)
    assert (is_good(tokens, old), is_good(tokens, new)) == (False, False)


def test_a_set_from_which_every_key_was_withdrawn_verifies_nothing_more(
    services: Services, copy: Path, start: Start
) -> None:
    pytest.importorskip("cryptography")
    services.keys.rotate(revoke=True, algorithm="EdDSA")
    save_public_keys(services, copy)
    tokens, token = start(), log_in(services)
    assert is_good(tokens, token)
    services.keys.rotate(revoke=True, algorithm="HS256")
    save_public_keys(services, copy)
    assert not is_good(tokens, token)


def test_of_an_hs256_ring_there_is_nothing_public_to_verify_with(
    services: Services, copy: Path, start: Start
) -> None:
    save_public_keys(services, copy)
    with pytest.raises(UnusableKeyRing, match="has no key to verify with"):
        start()


def test_keys_that_others_could_have_put_there_stop_the_start(copy: Path, start: Start) -> None:
    copy.chmod(0o644)
    with pytest.raises(UnusableKeyRing, match="chmod 600"):
        start()


def test_two_guards_verify_in_two_threads_each_while_the_ring_is_replaced(
    services: Services, copy: Path, start: Start
) -> None:
    old = log_in(services)
    services.keys.rotate(revoke=False)
    new = log_in(services)
    all_have_begun = Barrier(5, timeout=PATIENCE)
    is_replaced = Event()

    def verify(tokens: StatelessTokens) -> bool:
        all_have_begun.wait()
        while not is_replaced.is_set():
            if not is_good(tokens, old):
                return False
        return is_good(tokens, old) and is_good(tokens, new)

    guards = [start(), start()] * 2
    with ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(verify, tokens) for tokens in guards]
        all_have_begun.wait()
        for _ in range(20):
            send_over(services, copy)
        is_replaced.set()
        assert [answer.result(PATIENCE) for answer in answers] == [True] * 4


# Far away


PAGE = """
from wsgiref.handlers import CGIHandler
from restauth import AuthMiddleware

def page(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    user = environ["restauth.user"]
    return [f"{user} {environ['REMOTE_USER']} {environ['AUTH_TYPE']}".encode()]

CGIHandler().run(AuthMiddleware(page, role="editor", stateless=True))
"""


def ask(directory: Path, headers: dict[str, str]) -> tuple[str, str]:
    """One request to a guard in a process of its own, as a web server asks by CGI: the status and
    the body."""
    request = {
        "REQUEST_METHOD": "GET",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        **{f"HTTP_{name.upper()}": value for name, value in headers.items()},
    }
    done = subprocess.run(
        [sys.executable, "-c", PAGE],
        cwd=directory,
        env=environ() | request,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    head, _, body = done.stdout.partition("\n\n")
    return head.splitlines()[0].removeprefix("Status: "), body


def test_another_process_with_nothing_but_the_keys_lets_the_right_ones_in(tmp_path: Path) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    files = {"database": here / "restauth.db", "key_file": here / "restauth.keys"}
    with closing(create_app(**files, bcrypt_rounds=10).services) as services:
        accounts = services.accounts
        accounts.change_roles(accounts.find(accounts.register(NAME, PASSWORD)), ["editor"], [])
        token = log_in(services)
        session_id = services.sessions.identify(token).user.session_id
    shutil.copy(files["key_file"], elsewhere)
    shutil.rmtree(here)
    user = User(1, NAME, ("editor",), session_id, "token")
    assert ask(elsewhere, bearer(token)) == ("200 OK", f"{user} {NAME} Bearer")
    assert ask(elsewhere, basic(NAME, PASSWORD))[0] == "401 Unauthorized"
    assert os.listdir(elsewhere) == ["restauth.keys"]


def test_the_readmes_example_guards_with_public_keys(
    make_services: ServicesFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cryptography")
    (example,) = examples("python", "stateless=True")
    (greeting,) = examples("python", "AuthMiddleware(hello)")
    monkeypatch.chdir(tmp_path)
    files = {"database": tmp_path / "a.db", "key_file": tmp_path / "a.keys"}
    with closing(create_app(**files, bcrypt_rounds=10).services) as services:
        services.keys.rotate(revoke=True, algorithm="EdDSA")
        account = services.accounts.find(services.accounts.register(NAME, PASSWORD))
        viewer = log_in(services)
        services.accounts.change_roles(account, ["editor"], [])
        editor = log_in(services)
        save_public_keys(services, tmp_path / "jwks.json")
    names: dict[str, Any] = {}
    exec(greeting.partition("app = ")[0], names)  # noqa: S102 - the README is ours
    exec(example, names)  # noqa: S102
    client = webtest.TestApp(validator(names["app"]), lint=True)
    assert client.get("/", headers=bearer(editor)).text == f"Hello, {NAME}!"
    client.get("/", headers=bearer(viewer), status=403)
    client.get("/", headers=basic(NAME, PASSWORD), status=401)
    client.get("/", status=401)
