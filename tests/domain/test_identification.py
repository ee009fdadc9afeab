"""From a claim to the verified caller, with a store and without one.

Rule: what holds for both kinds is tested for both. What only the store knows is tested where it
matters: with a store it ends a token, without one it does not.
"""

import json
import os
import shutil
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest
import webtest

from restauth import create_app, settings
from restauth.core.access_tokens import Claims
from restauth.core.api_keys import KeyParts
from restauth.core.authorization import Basic, Bearer
from restauth.core.keyring import ROTATION_GRACE, Algorithm
from restauth.core.token_issuing import TokenIssuing
from restauth.domain.identification import Identification
from restauth.errors import BadCredentials, Throttled, UnusableKeyRing
from restauth.records import Account, Caller, IssuedKey, User
from restauth.services import Services, build_stateless
from restauth.testing import Clock
from tests.conftest import CLIENT, PUBLIC_CLIENT, ServicesFactory, basic, bearer, client_of
from tests.databases import nobody_can_write
from tests.documents import example
from tests.domain.actions import (
    NAME,
    PASSWORD,
    WRONG,
    fail,
    is_valid,
    issue,
    register,
    session_of,
    start,
    throttled,
    verify,
)
from tests.key_pairs import PAIRED, need_extra


@pytest.fixture
def services(services: Services) -> Services:
    """Where tokens are issued: miguel is an editor."""
    services.accounts.set_roles(register(services), ["editor"])
    return services


@pytest.fixture
def copy(services: Services, tmp_path: Path) -> Path:
    """The key ring alone, on another machine."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    return Path(shutil.copy(services.settings.key_file, elsewhere / "restauth.keys"))


Build = Callable[..., Identification]


@pytest.fixture
def build_far(copy: Path, clock: Clock) -> Build:
    """What verifies by the copy alone, with any settings as keywords."""

    def build(**keywords: object) -> Identification:
        files = {"database": copy.with_name("restauth.db"), "key_file": copy}
        return build_stateless(settings.load({}, {**files, **keywords}), clock)

    return build


@pytest.fixture
def build_near(make_services: ServicesFactory) -> Build:
    """What verifies in another process, with the store."""
    return lambda **keywords: make_services(**keywords).identification


@pytest.fixture(params=["with a store", "stateless"])
def build(request: pytest.FixtureRequest, services: Services) -> Build:
    """Each of them."""
    name = "build_far" if request.param == "stateless" else "build_near"
    found: Build = request.getfixturevalue(name)
    return found


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


def sign(services: Services, session_id: str, now: int, user_id: int = 1) -> str:
    """A token for a session, as only the holder of the key can make it."""
    claims = Claims(user_id, session_id, NAME, ("editor",), now, now + 600)
    return TokenIssuing("restauth", "restauth").issue(claims, services.keys.ring.signing_key)


# What holds with a store and without one


def test_a_token_says_whom_it_was_issued_for(services: Services, build: Build) -> None:
    issued = issue(services)
    caller = verify(build(), issued.token)
    assert caller.user == User(1, NAME, ("editor",), issued.session_id, "token")
    assert build().identify(Basic(issued.token, "anything"), CLIENT) == caller


def test_no_claim_is_no_caller(build: Build) -> None:
    assert build().identify(None, CLIENT) is None


def test_a_token_is_valid_until_it_expires_and_no_second_longer(
    services: Services, build: Build, clock: Clock
) -> None:
    verifier, token = build(), issue(services).token
    clock.advance(599)
    assert is_valid(verifier, token)
    clock.advance(1)
    assert not is_valid(verifier, token)


def altered(token: str) -> str:
    """The same token with another role, under the same signature."""
    header, payload, signature = token.split(".")
    claims = json.loads(urlsafe_b64decode(payload + "=="))
    raw = json.dumps({**claims, "roles": ["admin"]}, separators=(",", ":")).encode()
    return f"{header}.{urlsafe_b64encode(raw).rstrip(b'=').decode()}.{signature}"


def test_what_we_have_not_signed_as_an_access_token_is_refused(
    make_services: ServicesFactory, services: Services, build: Build, tmp_path: Path
) -> None:
    verifier, issued = build(), start(services)
    stranger = make_services(key_file=tmp_path / "other.keys")
    token = issued.token
    assert is_valid(verifier, token)
    for forged in (
        "",
        altered(token),
        token[:-4] + "AAAA",
        str(issued.refresh_token),
        issue(stranger).token,  # of the same database
    ):
        assert not is_valid(verifier, forged)
        with pytest.raises(BadCredentials):
            verifier.identify(Basic(forged, PASSWORD), CLIENT)
    assert is_valid(verifier, token)


@pytest.mark.parametrize(
    "keywords", [{"issuer": "other"}, {"audience": "other"}, {"token_duration": 599}], ids=str
)
def test_a_token_issued_under_other_settings_is_refused(
    services: Services, build: Build, keywords: dict[str, object]
) -> None:
    assert not is_valid(build(**keywords), issue(services).token)


def test_a_retired_key_verifies_for_its_last_token_and_a_revoked_one_no_longer(
    services: Services, copy: Path, build: Build, clock: Clock
) -> None:
    verifier, issued, began = build(), issue(services), clock.now
    late = sign(services, issued.session_id, began + ROTATION_GRACE + 100)
    services.keys.rotate(revoke=False)
    new = issue(services).token
    send_over(services, copy)
    assert is_valid(verifier, issued.token)
    assert is_valid(verifier, new)
    clock.advance(600 + ROTATION_GRACE)
    assert is_valid(verifier, late)
    clock.advance(1)
    assert not is_valid(verifier, late)
    young = issue(services).token
    services.keys.rotate(revoke=True)
    send_over(services, copy)
    assert not is_valid(verifier, young)
    assert is_valid(verifier, issue(services).token)


# What the store alone knows


def replace(services: Services, account: Account) -> None:
    """The same name, and another user."""
    services.accounts.delete(account)
    register(services)


EVENTS: dict[str, Callable[[Services, Account], object]] = {
    "logged out": lambda services, account: services.sessions.end_all(account.id),
    "locked": lambda services, account: services.accounts.lock(account),
    "deleted": lambda services, account: services.accounts.delete(account),
    "new password": lambda services, account: services.accounts.set_password(account, "another"),
    "registered anew": replace,
}


@pytest.mark.parametrize("happen", EVENTS.values(), ids=EVENTS)
def test_what_ends_a_session_ends_its_token_only_where_the_store_is_asked(
    services: Services,
    build_near: Build,
    build_far: Build,
    clock: Clock,
    happen: Callable[[Services, Account], object],
) -> None:
    near, far, token = build_near(), build_far(), issue(services).token
    assert is_valid(near, token)
    happen(services, services.accounts.find(1))
    assert (is_valid(near, token), is_valid(far, token)) == (False, True)
    clock.advance(600)
    assert not is_valid(far, token)


def test_a_token_of_no_session_an_ended_one_or_another_users_is_refused_by_the_store(
    make_services: ServicesFactory, services: Services, build_far: Build, clock: Clock
) -> None:
    register(services, "susan")
    near, far = make_services(session_duration=60), build_far()
    session_id = issue(near).session_id
    token = sign(services, session_id, clock.now)
    assert is_valid(near, token)
    for wrong in (
        sign(services, session_id, clock.now, user_id=2),
        sign(services, "A" * 22, clock.now),
    ):
        assert (is_valid(near, wrong), is_valid(far, wrong)) == (False, True)
    clock.advance(60)
    assert (is_valid(near, token), is_valid(far, token)) == (False, True)


def test_the_roles_are_those_of_now_or_those_of_the_token(
    services: Services, build_near: Build, build_far: Build
) -> None:
    token = issue(services).token
    services.accounts.set_roles(services.accounts.find(1), ["admin"])
    assert verify(build_near(), token).user.roles == ("admin",)
    assert verify(build_far(), token).user.roles == ("editor",)
    assert verify(build_far(), issue(services).token).user.roles == ("admin",)


def test_a_token_is_proved_by_its_session_or_by_nothing(
    services: Services, build_far: Build
) -> None:
    token = issue(services).token
    assert session_of(services, token).id == verify(services, token).user.session_id
    assert verify(build_far(), token).proof is None


def test_a_token_of_a_lost_database_is_dead_in_the_next_one(
    make_services: ServicesFactory, services: Services, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()  # beside the key file, a start would refuse
    recreated = make_services(database=tmp_path / "elsewhere" / "recreated.db")
    assert register(recreated, "susan").id == 1  # the key file and the ids are the same
    issue(recreated, "susan")
    assert not is_valid(recreated, issue(services).token)


def test_a_password_is_verified_and_throttled_where_there_is_a_store(
    services: Services, build_near: Build, work: list[int]
) -> None:
    verifier = build_near()
    caller = verifier.identify(Basic("Miguel", PASSWORD), CLIENT)
    assert caller is not None
    assert caller.proof == services.accounts.find(1)
    assert caller.user == User(1, NAME, ("editor",), None, "password")
    with pytest.raises(BadCredentials):
        verifier.identify(Basic(NAME, WRONG), CLIENT)
    fail(services, 5)
    with pytest.raises(Throttled):
        verifier.identify(Basic(NAME, PASSWORD), CLIENT)
    assert verifier.identify(Basic(NAME, PASSWORD), PUBLIC_CLIENT) == caller


def test_without_a_store_no_password_is_accepted(
    services: Services, copy: Path, build_far: Build, work: list[int]
) -> None:
    verifier = build_far()
    work.clear()
    for username in (NAME, "nobody"):
        with pytest.raises(BadCredentials):
            verifier.identify(Basic(username, PASSWORD), CLIENT)
    assert work == []
    assert os.listdir(copy.parent) == [copy.name]  # no database was made


# API keys


@pytest.fixture
def key(services: Services) -> IssuedKey:
    """Of miguel, with all roles."""
    return services.api_keys.make(services.accounts.find(1), "ci")


def by_key(verifier: Identification, text: str, owner: str = NAME) -> list[Caller | None]:
    """What each way to present a key gives; None where it is refused."""
    claims = (Bearer(text), Basic(text, "x"), Basic(text, ""), Basic(owner, text))
    return [caller_or_none(verifier, claim) for claim in claims]


def caller_or_none(verifier: Identification, claim: Basic | Bearer) -> Caller | None:
    try:
        return verifier.identify(claim, CLIENT)
    except BadCredentials:
        return None


NO_ONE = [None] * 4


def test_a_key_is_its_user_in_each_way_to_present_it_and_costs_no_hash(
    key: IssuedKey, build_near: Build, work: list[int]
) -> None:
    near, caller = build_near(), Caller(User(1, NAME, ("editor",), None, "key"), None)
    assert by_key(near, key.text) == [caller] * 4
    assert by_key(near, key.text, owner=NAME.upper()) == [caller] * 4  # as at a login
    assert work == []


def test_without_a_store_no_key_is_accepted(
    key: IssuedKey, copy: Path, build_far: Build, work: list[int]
) -> None:
    assert by_key(build_far(), key.text) == NO_ONE
    assert work == []
    assert os.listdir(copy.parent) == [copy.name]


def test_a_key_with_the_name_of_another_is_refused(
    services: Services, key: IssuedKey, build_near: Build, work: list[int]
) -> None:
    register(services, "susan")
    work.clear()
    for other in ("susan", "nobody", f"{NAME}x", ":" * 300):
        assert by_key(build_near(), key.text, owner=other)[3] is None
    assert work == []


def with_checksum(key_id: str, secret: str) -> str:
    return KeyParts(key_id, secret).build()


def damaged(text: str) -> str:
    """With another checksum."""
    return text[:-1] + ("0" if text[-1] != "0" else "1")


def test_what_is_not_the_key_is_refused_without_a_hash_and_counts_as_no_failure(
    services: Services, key: IssuedKey, build_near: Build, work: list[int]
) -> None:
    near, key_id, secret = build_near(), key.key.id, key.text[25:65]
    work.clear()
    for text in (
        with_checksum("0" * 20, secret),  # no such key
        with_checksum(key_id, "0" * 40),  # another secret
        *(damaged(key.text), key.text[:-1], key.text[:65], key.text + "0", key.text + "\n"),
    ):
        assert by_key(near, text) == NO_ONE
    for text in (key.text.upper(), key.text.replace("_", "-"), key.text[4:], key.text[:64]):
        assert caller_or_none(near, Bearer(text)) is None
    assert work == []
    assert services.accounts.failures_of(services.accounts.find(1)).count == 0


def test_a_damaged_key_is_refused_before_the_store_is_asked(
    key: IssuedKey, build_near: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = build_near()
    assert near.store is not None
    asked: list[str] = []
    monkeypatch.setattr(near.store, "find_live_api_key", lambda key_id, _: asked.append(key_id))
    assert by_key(near, damaged(key.text)) == NO_ONE
    assert asked == []
    assert by_key(near, key.text) == NO_ONE
    assert asked == [key.key.id] * 4  # once for each request


KEY_EVENTS: dict[str, Callable[[Services, Account], object]] = {
    "ended": lambda services, account: services.api_keys.end_all(account.id),
    "locked": lambda services, account: services.accounts.lock(account),
    "deleted": lambda services, account: services.accounts.delete(account),
    "registered anew": replace,
}


@pytest.mark.parametrize("happen", KEY_EVENTS.values(), ids=KEY_EVENTS)
def test_what_ends_a_key_ends_it_at_once_in_every_process(
    services: Services,
    key: IssuedKey,
    build_near: Build,
    happen: Callable[[Services, Account], object],
) -> None:
    near = build_near()
    assert None not in by_key(near, key.text)
    happen(services, services.accounts.find(1))
    assert by_key(near, key.text) == NO_ONE


def test_a_key_lives_on_after_a_logout_a_new_password_and_failures(
    services: Services, key: IssuedKey, make_services: ServicesFactory
) -> None:
    near = make_services(max_failures=2, peer_failures=1)
    services.sessions.end_all(1)
    services.accounts.set_password(services.accounts.find(1), "another")
    for client in (CLIENT, PUBLIC_CLIENT):
        fail(near, 1, client)
    assert throttled(near) is None  # the password is blocked
    for claim in (Bearer(key.text), Basic(NAME, key.text)):
        caller = near.identification.identify(claim, PUBLIC_CLIENT)
        assert caller is not None
        assert caller.user.how == "key"


def test_a_key_expires_at_its_second(services: Services, build_near: Build, clock: Clock) -> None:
    near = build_near()
    key = services.api_keys.make(services.accounts.find(1), "ci", expires_in=60)
    clock.advance(59)
    assert None not in by_key(near, key.text)
    clock.advance(1)
    assert by_key(near, key.text) == NO_ONE


def test_a_key_has_the_roles_of_now_that_it_was_made_with(
    services: Services, build_near: Build
) -> None:
    def roles(key: IssuedKey) -> tuple[str, ...]:
        return verify(build_near(), key.text).user.roles

    services.accounts.set_roles(services.accounts.find(1), ["editor", "viewer"])
    miguel = services.accounts.find(1)
    every = services.api_keys.make(miguel, "every")
    one, none = (services.api_keys.make(miguel, "some", roles=some) for some in (["viewer"], []))
    assert [roles(key) for key in (every, one, none)] == [("editor", "viewer"), ("viewer",), ()]
    services.accounts.set_roles(miguel, ["admin", "viewer"])
    assert [roles(key) for key in (every, one, none)] == [("admin", "viewer"), ("viewer",), ()]
    services.accounts.set_roles(miguel, ["admin"])
    assert [roles(key) for key in (every, one, none)] == [("admin",), (), ()]


def test_a_use_is_noted_to_the_hour_and_a_refused_one_is_not(
    services: Services, key: IssuedKey, build_near: Build, clock: Clock
) -> None:
    near = build_near()

    def last_used_at() -> int | None:
        return services.api_keys.list(1)[0].last_used_at

    assert by_key(near, with_checksum(key.key.id, "0" * 40)) == NO_ONE
    assert caller_or_none(near, Basic("susan", key.text)) is None
    assert last_used_at() is None
    clock.advance(1800)
    verify(near, key.text)
    assert last_used_at() == clock.now - 1800
    clock.advance(3600)
    verify(near, key.text)
    assert last_used_at() == clock.now - 1800


def test_a_use_that_cannot_be_noted_is_no_refusal(
    services: Services, key: IssuedKey, build_near: Build, no_patience: None
) -> None:
    near = build_near()
    with nobody_can_write(services):
        assert verify(near, key.text).user.how == "key"
    assert services.api_keys.list(1)[0].last_used_at is None


# The keys of a verifier without a store


@pytest.mark.parametrize("algorithm", PAIRED)
def test_the_public_halves_are_enough_to_verify_and_not_to_serve(
    services: Services, copy: Path, build_far: Build, algorithm: Algorithm
) -> None:
    need_extra()
    of_a_secret = issue(services).token
    services.keys.rotate(revoke=False, algorithm=algorithm)
    save_public_keys(services, copy)
    assert b'"d"' not in copy.read_bytes()
    verifier, token = build_far(), issue(services).token
    assert verify(verifier, token).user.username == NAME
    assert not is_valid(verifier, altered(token))
    assert not is_valid(verifier, of_a_secret), "it has no public half"
    database = copy.with_name("restauth.db")
    with pytest.raises(UnusableKeyRing):
        create_app(database=database, key_file=copy)
    assert not database.exists()


@pytest.mark.parametrize("publish", [send_over, save_public_keys], ids=["ring", "public keys"])
def test_keys_that_are_replaced_count_from_the_next_token_on(
    services: Services, copy: Path, build_far: Build, publish: Callable[[Services, Path], None]
) -> None:
    need_extra()
    services.keys.rotate(revoke=True, algorithm="EdDSA")
    publish(services, copy)
    verifier, old = build_far(), issue(services).token
    services.keys.rotate(revoke=False)
    new = issue(services).token
    assert (is_valid(verifier, old), is_valid(verifier, new)) == (True, False)
    publish(services, copy)
    assert (is_valid(verifier, old), is_valid(verifier, new)) == (True, True)
    services.keys.rotate(revoke=True, algorithm="HS256")  # of which nothing is public
    publish(services, copy)
    assert (is_valid(verifier, old), is_valid(verifier, new)) == (False, False)


def test_the_pages_example_guards_with_public_keys(
    services: Services, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_extra()
    monkeypatch.chdir(tmp_path)
    clock.now = int(time.time())  # the example has no other clock
    services.keys.rotate(revoke=True, algorithm="EdDSA")
    editor = issue(services).token
    register(services, "susan")
    save_public_keys(services, tmp_path / "jwks.json")
    names: dict[str, Any] = {}
    greeting = example("README", "python", "AuthMiddleware(hello)")
    exec(greeting.partition("app = ")[0], names)  # noqa: S102 - the documents are ours
    exec(example("embedding", "python", 'key_file="jwks.json"'), names)  # noqa: S102
    client = webtest.TestApp(validator(names["app"]), lint=True)
    assert client.get("/", headers=bearer(editor)).text == f"Hello, {NAME}!"
    client.get("/", headers=bearer(issue(services, "susan").token), status=403)
    client.get("/", headers=basic(NAME, PASSWORD), status=401)
    client.get("/", status=401)
